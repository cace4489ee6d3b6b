//! Databases that are opened for reading only: nothing of them is changed, whoever writes
//! beside.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use tanada::vfs::fault::{EIO, Faults, Op, Rule};
use tanada::vfs::{Env, FileSystem, MemoryMachine};
use tanada::{Batch, Builder, Db, Durability, Error, KeyspaceOptions};

const DIR: &str = "/data/db";

fn builder(env: &Env) -> Builder {
    Db::builder(DIR).env(env.clone()).memory(16 << 20).threads(1).durability(Durability::Buffered)
}

fn reader(env: &Env) -> Db {
    builder(env).read_only().open().unwrap()
}

/// Tables of two levels, what is in the log alone, two keyspaces, a delete.
fn write_all(db: &Db) {
    for n in 0..500u32 {
        db.put(format!("key{n:03}"), format!("first {n}")).unwrap();
    }
    db.compact(..).unwrap();
    for n in (0..500u32).step_by(5) {
        db.put(format!("key{n:03}"), format!("second {n}")).unwrap();
    }
    db.flush().unwrap();
    let users = db.keyspace("users", KeyspaceOptions::new()).unwrap();
    users.put("kyoto", "in the log").unwrap();
    db.delete("key007").unwrap();
    db.put("key008", "third 8").unwrap();
}

fn check_all(db: &Db) {
    let all: Vec<_> = db.iter().map(|entry| entry.unwrap()).collect();
    assert_eq!(all.len(), 499);
    assert_eq!(db.get("key000").unwrap().unwrap(), "second 0");
    assert_eq!(db.get("key001").unwrap().unwrap(), "first 1");
    assert_eq!(db.get("key007").unwrap(), None);
    assert_eq!(db.get("key008").unwrap().unwrap(), "third 8");
    assert_eq!(db.keyspaces(), ["users"]);
    let users = db.find_keyspace("users").unwrap().unwrap();
    assert_eq!(users.get("kyoto").unwrap().unwrap(), "in the log");
    assert_eq!(db.keyspace("users", KeyspaceOptions::new()).unwrap().name(), "users");
    assert_eq!(db.snapshot().get("key000").unwrap().unwrap(), "second 0");
    assert_eq!(db.range("key010".."key020").rev().count(), 10);
    assert_eq!(db.multi_get(["key001", "none"]).unwrap()[1], None);
}

/// Every file and its bytes.
fn files(fs: &dyn FileSystem) -> BTreeMap<String, Vec<u8>> {
    let read = |name: &str| {
        let file = fs.open(&Path::new(DIR).join(name)).unwrap();
        let mut bytes = vec![0; file.len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    let names = fs.read_dir(Path::new(DIR)).unwrap();
    names.into_iter().map(|entry| (entry.name.clone(), read(&entry.name))).collect()
}

#[test]
fn all_is_read_and_not_a_byte_or_a_name_is_changed() {
    let machine = MemoryMachine::new(1);
    let env = machine.env();
    let db = builder(&env).open().unwrap();
    write_all(&db);
    db.close().unwrap();
    drop(db);
    env.fs.remove(&Path::new(DIR).join("LOCK")).unwrap();
    let before = files(&*env.fs);
    let db = reader(&env);
    check_all(&db);
    let report = db.verify().unwrap();
    assert!(report.damage.is_empty() && report.tables >= 2, "{report:?}");
    let stats = db.stats();
    assert!(stats.read_only.as_deref().unwrap().contains("opened for reading only"));
    assert_eq!(stats.keyspaces.len(), 2);
    assert!(stats.operations.gets >= 5);
    db.close().unwrap();
    assert!(matches!(db.get("key000"), Err(Error::Closed)));
    assert!(matches!(db.put("k", "v"), Err(Error::Closed)));
    drop(db);
    assert!(files(&*env.fs) == before, "nothing is created, changed or removed");
}

#[test]
fn writes_are_refused_by_their_reason() {
    let machine = MemoryMachine::new(1);
    let env = machine.env();
    write_all(&builder(&env).open().unwrap());
    let db = reader(&env);
    let mut batch = Batch::new();
    batch.put("a", "b");
    let refused = [
        db.put("k", "v").map(drop),
        db.delete("k").map(drop),
        db.write(batch.clone()).map(drop),
        db.write_each([(batch, Default::default())]).remove(0).map(drop),
        db.flush(),
        db.compact(..).map(drop),
        db.checkpoint("/data/copy").map(drop),
        db.keyspace("new", KeyspaceOptions::new()).map(drop),
        db.find_keyspace("users").unwrap().unwrap().put("k", "v").map(drop),
        db.trust_clock().map(drop),
    ];
    for refused in refused {
        match refused {
            Err(Error::ReadOnly { reason }) => assert!(reason.contains("for reading only")),
            other => panic!("{other:?}"),
        }
    }
    check_all(&db);
}

/// Another process has it open, and holds the lock.
#[test]
fn a_reader_beside_a_writer_sees_the_moment_of_its_opening() {
    let machine = MemoryMachine::new(1);
    let env = machine.env();
    let writer = builder(&env).open().unwrap();
    write_all(&writer);
    let db = reader(&env);
    check_all(&db);
    writer.put("key008", "later").unwrap();
    writer.put("new", "later").unwrap();
    writer.flush().unwrap();
    check_all(&db);
    assert_eq!(reader(&env).get("new").unwrap().unwrap(), "later");
    assert_eq!(writer.get("key008").unwrap().unwrap(), "later", "it goes on as before");
}

/// Between its look at a log and that behind the log's end the writer went on, as it does a
/// thousand times a second: what it had appended passed for proof of damage.
#[test]
fn a_log_that_grows_while_it_is_read_is_not_damaged() {
    for rotates in [false, true] {
        let machine = MemoryMachine::new(1);
        let writer = builder(&machine.env()).durability(Durability::Synced).open().unwrap();
        write_all(&writer);
        let faults = Faults::over_memory(&machine);
        let busy = (writer.clone(), AtomicU32::new(0));
        // Never applies: it is asked about each call, and lets the writer go on meanwhile.
        let meanwhile = Rule::fail(EIO).on(Op::Read).path_suffix(".log").matching(move |_| {
            let (writer, written) = &busy;
            for _ in 0..3 {
                let n = written.fetch_add(1, Ordering::Relaxed);
                writer.put(format!("while {n:05}"), vec![7; 1000]).unwrap();
            }
            if rotates {
                writer.flush().unwrap();
            }
            false
        });
        faults.add(meanwhile);
        let db = reader(&faults.env(&machine.env()));
        let seen: Vec<_> = db.prefix("while ").map(|entry| entry.unwrap().0).collect();
        let expected: Vec<_> = (0..seen.len()).map(|n| format!("while {n:05}")).collect();
        assert!(seen.iter().map(|key| &key[..]).eq(expected.iter().map(|key| key.as_bytes())));
        assert_eq!(db.get("key008").unwrap().unwrap(), "third 8");
    }
}

/// The writer has merged the tables of the reader's view away, and removed them.
#[test]
fn a_reader_whose_tables_have_gone_is_told_to_open_again() {
    let machine = MemoryMachine::new(1);
    let env = machine.env();
    let writer = builder(&env).open().unwrap();
    write_all(&writer);
    let db = reader(&env);
    writer.compact(..).unwrap();
    let error = db.get("key001").unwrap_err();
    assert!(error.to_string().contains("this view is too old"), "{error}");
    let scanned = db.iter().find_map(|entry| entry.err()).unwrap();
    assert!(scanned.to_string().contains("open the database again"), "{scanned}");
    // What is in its memory is there as before.
    assert_eq!(db.get("key008").unwrap().unwrap(), "third 8");
    check_all(&reader(&env));
}

#[test]
fn what_a_power_cut_leaves_is_read_as_an_opening_would_find_it() {
    for seed in 0..8 {
        let machine = MemoryMachine::new(1);
        let db = builder(&machine.env()).durability(Durability::Synced).open().unwrap();
        write_all(&db);
        let after = machine.crash(seed);
        let before = files(&*after.env().fs);
        check_all(&reader(&after.env()));
        assert!(files(&*after.env().fs) == before, "a torn tail stays");
    }
}

#[test]
fn a_directory_without_a_database_is_refused_and_left_as_it_is() {
    let machine = MemoryMachine::new(1);
    let env = machine.env();
    let open = || builder(&env).read_only().open();
    assert!(matches!(open(), Err(Error::NotADatabase { .. })));
    assert!(!env.fs.exists(Path::new(DIR)).unwrap());
    env.fs.create_dir_all(Path::new(DIR)).unwrap();
    assert!(matches!(open(), Err(Error::NotADatabase { .. })));
    assert!(files(&*env.fs).is_empty());
}

/// One who writes would flush while it replays.
#[test]
fn a_log_that_is_longer_than_the_budget_is_refused_with_a_word_on_memory() {
    let machine = MemoryMachine::new(1);
    let env = machine.env();
    let db = Db::builder(DIR).env(env.clone()).memory(256 << 20).threads(1);
    let db = db.durability(Durability::Buffered).open().unwrap();
    for n in 0..200u32 {
        db.put(n.to_be_bytes(), vec![7; 100_000]).unwrap();
    }
    let error = builder(&env).read_only().open().unwrap_err();
    assert!(
        matches!(&error, Error::InvalidArgument(what) if what.contains("memory budget")),
        "{error}"
    );
    let large = builder(&env).memory(256 << 20).read_only().open().unwrap();
    assert_eq!(large.iter().count(), 200);
}

#[test]
fn damage_is_refused_as_by_any_opening() {
    let machine = MemoryMachine::new(1);
    let env = machine.env();
    let db = builder(&env).open().unwrap();
    write_all(&db);
    db.close().unwrap();
    let manifest = files(&*env.fs).into_keys().find(|name| name.starts_with("MANIFEST")).unwrap();
    let path = Path::new(DIR).join(manifest);
    let mut bytes = files(&*env.fs)[path.file_name().unwrap().to_str().unwrap()].clone();
    bytes[200] ^= 1;
    env.fs.remove(&path).unwrap();
    env.fs.create(&path).unwrap().append(&bytes).unwrap();
    let error = builder(&env).read_only().open().unwrap_err();
    assert!(matches!(&error, Error::Corruption(c) if c.file == path), "{error}");
}

/// On a real file system, in a directory in which nothing may be created.
#[test]
#[cfg(unix)]
fn a_directory_that_cannot_be_written_is_read() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = Db::open(&path).unwrap();
    db.put("k", "v").unwrap();
    db.flush().unwrap();
    db.put("logged", "v").unwrap();
    db.close().unwrap();
    drop(db);
    let set = |mode: u32| {
        #[allow(clippy::disallowed_methods)] // the permissions are what is tested
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(0o555);
    let db = Db::open_read_only(&path).unwrap();
    assert_eq!(db.get("k").unwrap().unwrap(), "v");
    assert_eq!(db.get("logged").unwrap().unwrap(), "v");
    assert!(matches!(db.put("k", "w"), Err(Error::ReadOnly { .. })));
    drop(db);
    set(0o755);
}
