//! The same on a real file system, as far as a test can have one.

use super::*;

#[test]
fn the_real_machine_creates_appends_and_opens_again() {
    let env = Env::real();
    let mut unique = [0; 8];
    env.random.fill(&mut unique);
    let root =
        std::env::temp_dir().join(format!("tanada-manifest-{:x}", u64::from_ne_bytes(unique)));
    let dir = root.join("above/db");
    let files = || TableStore::new(env.fs.clone(), &dir, ID, tanada_table::BlockCache::new(0));
    assert_eq!(inspect(&*env.fs, &dir).unwrap(), Found::Nothing);
    let mut manifest = Manifest::create(files(), &first_edit()).unwrap();
    for _ in 0..3 {
        let edit = flush(&mut manifest, ("a", "c"));
        manifest.append(&edit).unwrap();
    }
    let edit = compact(&mut manifest);
    manifest.append(&edit).unwrap();
    manifest.verify().unwrap();
    delete_obsolete(&manifest);
    let Found::Database(current) = inspect(&*env.fs, &dir).unwrap() else { panic!("it is there") };
    let mut again = Manifest::open(files(), &current).unwrap();
    assert_eq!(snapshot(&again), snapshot(&manifest));
    again.settle().unwrap();
    delete_obsolete(&again);
    let names = env.fs.read_dir(&dir).unwrap().into_iter().map(|entry| entry.name);
    assert_eq!(names.collect::<Vec<_>>(), ["000004.sst", "CURRENT", "MANIFEST-000002"]);
    #[allow(clippy::disallowed_methods)] // the vfs removes files, never trees
    std::fs::remove_dir_all(root).unwrap();
}
