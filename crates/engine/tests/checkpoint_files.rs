//! Checkpoints on real file systems: what links, symbolic links, long names and a second
//! file system do, and threads that write meanwhile.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // of outcomes that must not fail

#[path = "../../vfs/tests/house/patience.rs"]
mod patience;

use patience::{SetAtEnd, until};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tanada::vfs::Env;
use tanada::{Batch, CheckpointDir, Db, Durability, Error, KeyspaceOptions};

fn open(path: &Path) -> Db {
    Db::builder(path).durability(Durability::Buffered).memory(16 << 20).open().unwrap()
}

fn tables(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let tables = entries.filter(|path| path.extension().is_some_and(|ending| ending == "sst"));
    tables.map(|path| (path.clone(), fs::metadata(path).unwrap().ino())).collect()
}

fn filled(path: &Path) -> Db {
    let db = open(path);
    for n in 0..500u32 {
        db.put(n.to_be_bytes(), [7; 300]).unwrap();
    }
    db.flush().unwrap();
    db.put("k", "in the log").unwrap();
    db
}

#[test]
fn tables_are_second_names_and_nothing_writes_into_them() {
    let dir = tempfile::tempdir().unwrap();
    let (source, copy) = (dir.path().join("db"), dir.path().join("copy"));
    let db = filled(&source);
    db.checkpoint(&copy).unwrap();
    let inodes = |dir: &Path| tables(dir).into_values().collect::<Vec<_>>();
    assert!(!inodes(&source).is_empty());
    assert_eq!(inodes(&source), inodes(&copy));
    let shared: Vec<u64> = inodes(&copy);
    for entry in fs::read_dir(&copy).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.nlink() == 2, shared.contains(&metadata.ino()), "{}", path.display());
    }
    let bytes: Vec<_> = tables(&source).keys().map(|path| fs::read(path).unwrap()).collect();
    {
        let copy = open(&copy);
        copy.put("k", "changed").unwrap();
        copy.delete(1u32.to_be_bytes()).unwrap();
        copy.compact(..).unwrap();
    }
    let again: Vec<_> = tables(&source).keys().map(|path| fs::read(path).unwrap()).collect();
    assert!(bytes == again, "the source's tables are as they were");
    db.compact(..).unwrap();
    assert_eq!(db.get("k").unwrap().as_deref(), Some(&b"in the log"[..]));
    assert!(db.verify().unwrap().damage.is_empty());
    assert_eq!(open(&copy).get("k").unwrap().as_deref(), Some(&b"changed"[..]));
}

#[test]
fn a_checkpoint_on_another_file_system_is_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else { return };
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    if device(dir.path()) == device(other.path()) {
        return;
    }
    let db = filled(&dir.path().join("db"));
    let copy = other.path().join("copy");
    let summary = db.checkpoint(&copy).unwrap();
    assert_eq!((summary.copied_tables, summary.linked_bytes), (summary.tables, 0));
    let copy = open(&copy);
    assert_eq!(copy.get("k").unwrap().as_deref(), Some(&b"in the log"[..]));
    assert!(copy.verify().unwrap().damage.is_empty());
}

#[test]
fn the_database_s_own_directory_is_known_behind_links_and_dots() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("db");
    let db = filled(&source);
    let link = dir.path().join("link");
    symlink(&source, &link).unwrap();
    symlink(dir.path().join("nowhere"), dir.path().join("dangling")).unwrap();
    for inside in [link.join("copy"), source.join("../db/copy"), source.join("./copy")] {
        let refused = db.checkpoint(&inside).unwrap_err();
        assert!(matches!(refused, Error::InvalidArgument(_)), "{}: {refused}", inside.display());
    }
    for taken in [link.clone(), source.clone(), dir.path().to_owned()] {
        assert!(db.checkpoint(&taken).is_err(), "{}", taken.display());
    }
    db.checkpoint(dir.path().join("dangling")).unwrap_err();
    let long = dir.path().join("n".repeat(300));
    let nul = dir.path().join(std::ffi::OsStr::from_bytes(b"a\0b"));
    for bad in [long, nul, PathBuf::from("/proc/copy"), dir.path().join("no/copy")] {
        assert!(db.checkpoint(&bad).is_err(), "{}", bad.display());
    }
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
    // Through a link to where copies lie, and under a name that is no ASCII.
    fs::create_dir(dir.path().join("disk")).unwrap();
    symlink(dir.path().join("disk"), dir.path().join("copies")).unwrap();
    db.checkpoint(dir.path().join("copies/火曜日")).unwrap();
    assert!(open(&dir.path().join("disk/火曜日")).contains("k").unwrap());
    assert_eq!(db.stats().read_only, None);
}

#[test]
fn checkpoints_beside_writers_hold_whole_batches_and_all_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir.path().join("db"));
    let spaces: Vec<_> =
        (0..3).map(|n| db.keyspace(&format!("ks{n}"), KeyspaceOptions::new()).unwrap()).collect();
    let (acknowledged, stop) = ([AtomicU64::new(0), AtomicU64::new(0)], AtomicBool::new(false));
    std::thread::scope(|scope| {
        for (writer, acknowledged) in acknowledged.iter().enumerate() {
            let (db, spaces, stop) = (&db, &spaces, &stop);
            scope.spawn(move || {
                for n in 1u64.. {
                    let mut batch = Batch::new();
                    for space in spaces {
                        batch.put_in(space, [writer as u8], n.to_be_bytes());
                        batch.put_in(space, (n % 2000).to_be_bytes(), [writer as u8; 700]);
                    }
                    db.write(batch).unwrap();
                    acknowledged.store(n, Ordering::Release);
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                db.flush().unwrap();
                spaces[0].compact(..).unwrap();
            }
        });
        let _stop = SetAtEnd(&stop);
        for n in 0..12 {
            until("both write", || acknowledged.iter().all(|n| n.load(Ordering::Acquire) > 0));
            let before = acknowledged.each_ref().map(|n| n.load(Ordering::Acquire));
            let path = dir.path().join(format!("copy{n}"));
            db.checkpoint(&path).unwrap();
            let after = acknowledged.each_ref().map(|n| n.load(Ordering::Acquire));
            let copy = open(&path);
            for writer in 0..2 {
                let counts = (0..3).map(|n| {
                    let space = copy.find_keyspace(&format!("ks{n}")).unwrap().unwrap();
                    let value = space.get([writer as u8]).unwrap().unwrap();
                    u64::from_be_bytes(value[..].try_into().unwrap())
                });
                let counts: Vec<u64> = counts.collect();
                assert!(counts.iter().all(|&count| count == counts[0]), "{counts:?}");
                assert!(counts[0] >= before[writer], "{counts:?}, {before:?} were acknowledged");
                // One more may have been on its way.
                assert!(counts[0] <= after[writer] + 1, "{counts:?}, {after:?}");
            }
            assert!(copy.verify().unwrap().damage.is_empty());
        }
    });
}

#[test]
fn names_of_checkpoints_are_no_paths() {
    let dir = tempfile::tempdir().unwrap();
    let db = filled(&dir.path().join("db"));
    let copies = dir.path().join("copies");
    let env = Env::real();
    let missing = CheckpointDir::open(&env, &copies).unwrap_err();
    assert!(matches!(missing, Error::InvalidArgument(_)), "{missing}");
    fs::create_dir(&copies).unwrap();
    let directory = CheckpointDir::open(&env, &copies).unwrap();
    let long = "n".repeat(101);
    for bad in [
        "",
        ".",
        "..",
        "a.b",
        "a/b",
        "/a",
        "../a",
        "a/",
        "a\\b",
        "-a",
        "_a",
        "a b",
        "a\0",
        "a\n",
        "é",
        "火",
        "x.unfinished",
        "C:",
        "*",
        "~",
        "%2e%2e",
        &long,
    ] {
        let refused = directory.place(bad).unwrap_err();
        assert!(matches!(refused, Error::InvalidArgument(_)), "{bad:?}: {refused}");
        assert!(directory.remove(bad).is_err(), "{bad:?}");
    }
    let names = ["2026-11-30_0200", "A", &long[1..]];
    for name in names {
        db.checkpoint(directory.place(name).unwrap()).unwrap();
    }
    // What is no checkpoint is none: files, directories of others.
    fs::write(copies.join("file"), "").unwrap();
    fs::create_dir(copies.join("other")).unwrap();
    fs::write(copies.join("other/thesis.txt"), "").unwrap();
    let listed = directory.list().unwrap();
    assert_eq!(listed.iter().map(|entry| &*entry.name).collect::<Vec<_>>(), names);
    assert!(listed.iter().all(|entry| entry.bytes > 1000), "{listed:?}");
    for none in ["file", "other", "nothing"] {
        assert!(!directory.remove(none).unwrap(), "{none}");
    }
    let opened = open(&copies.join("A"));
    assert!(matches!(directory.remove("A"), Err(Error::Locked { .. })));
    drop(opened);
    assert!(directory.remove("A").unwrap());
    assert!(!copies.join("A").exists());
    fs::write(copies.join(names[0]).join("notes.txt"), "mine").unwrap();
    let refused = directory.remove(names[0]).unwrap_err();
    assert!(refused.to_string().contains("notes.txt"), "{refused}");
    assert!(open(&copies.join(names[0])).contains("k").unwrap());

    // What a process that died has left goes when the directory is next opened.
    fs::create_dir(copies.join("dead.unfinished")).unwrap();
    fs::write(copies.join("dead.unfinished/000001.sst"), "half").unwrap();
    fs::create_dir(copies.join("kept.unfinished")).unwrap();
    fs::write(copies.join("kept.unfinished/thesis.txt"), "").unwrap();
    CheckpointDir::open(&env, &copies).unwrap();
    assert!(!copies.join("dead.unfinished").exists());
    assert!(copies.join("kept.unfinished/thesis.txt").exists());
}
