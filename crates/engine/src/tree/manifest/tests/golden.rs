//! A manifest written by the first version of the format. Every later version
//! must read it; this one must still write it byte for byte.

use super::*;

const GOLDEN: &[u8] = include_bytes!("../../../../tests/golden/MANIFEST-000001");

fn written() -> (MemoryMachine, Manifest) {
    let machine = MemoryMachine::new(1);
    let mut manifest = create(&machine.env());
    let edit = flush(&mut manifest, ("apple", "cherry"));
    manifest.append(&edit).unwrap();
    let mut edit = flush(&mut manifest, ("banana", "date"));
    edit.created = vec![keyspace(1, "users")];
    manifest.append(&edit).unwrap();
    let edit = compact(&mut manifest);
    manifest.append(&edit).unwrap();
    (machine, manifest)
}

#[test]
fn the_first_format_is_still_written_byte_for_byte() {
    let (machine, manifest) = written();
    let bytes = read_all(&*machine.env().fs, &manifest.current);
    if bytes != GOLDEN {
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        panic!("the bytes differ; what is written now, for `xxd -r -p`:\n{hex}");
    }
}

#[test]
fn the_first_format_still_opens() {
    let (machine, manifest) = written();
    replace(&*machine.env().fs, &manifest.current, GOLDEN);
    assert_eq!(snapshot(&open(&machine.env()).unwrap()), snapshot(&manifest));
}
