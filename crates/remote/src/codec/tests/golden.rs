//! Golden files: the bytes of this version, as they were when it was released. A change here
//! is a change of format, and wants a version of its own.

use super::all;

const GOLDEN: [(&str, &[u8]); 6] = [
    ("MANIFEST", include_bytes!("../../../tests/golden/MANIFEST")),
    ("chunk", include_bytes!("../../../tests/golden/chunk")),
    ("fence", include_bytes!("../../../tests/golden/fence")),
    ("dead-list", include_bytes!("../../../tests/golden/dead-list")),
    ("lease", include_bytes!("../../../tests/golden/lease")),
    ("job", include_bytes!("../../../tests/golden/job")),
];

#[test]
fn every_object_is_written_as_its_golden_file_has_it() {
    for ((name, written), (golden_name, golden)) in all().into_iter().zip(GOLDEN) {
        assert_eq!(name, golden_name);
        assert!(written == golden, "the bytes of {name} have changed");
    }
}
