//! The public API as a first user meets it.

use tanada::vfs::MemoryMachine;
use tanada::{Batch, Compression, Db, Durability, Keyspace, KeyspaceOptions, PutOptions};

fn temp() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("db");
    (dir, path)
}

#[test]
fn what_was_put_is_read_before_and_after_flush_compaction_and_reopening() {
    let (_dir, path) = temp();
    let db = Db::builder(&path).memory(16 << 20).durability(Durability::Buffered).open().unwrap();
    let n = 30_000u32;
    for i in 0..n {
        db.put(i.to_be_bytes(), format!("value {i}")).unwrap();
    }
    let check = |db: &Db| {
        for i in (0..n).step_by(7) {
            let value = db.get(i.to_be_bytes()).unwrap();
            assert_eq!(value.as_deref(), Some(format!("value {i}").as_bytes()));
        }
        assert!(db.get(n.to_be_bytes()).unwrap().is_none());
        assert_eq!(db.iter().count(), n as usize);
        assert_eq!(db.iter().rev().count(), n as usize);
    };
    check(&db);
    db.flush().unwrap();
    check(&db);
    for i in 0..n {
        db.put(i.to_be_bytes(), format!("value {i}")).unwrap();
    }
    let summary = db.compact(..).unwrap();
    assert!(summary.entries_dropped >= u64::from(n), "{summary:?}");
    check(&db);
    assert_eq!(db.verify().unwrap().damage, Vec::<String>::new());
    drop(db);
    let db = Db::open(&path).unwrap();
    check(&db);
    db.close().unwrap();
    assert!(matches!(db.get("a"), Err(tanada::Error::Closed)));
}

#[test]
fn batches_span_keyspaces_and_snapshots_hold_a_moment() {
    let (_dir, path) = temp();
    let db = Db::builder(&path).compression(Compression::Zstd).open().unwrap();
    let users = db.keyspace("users", KeyspaceOptions::default()).unwrap();
    let mut batch = Batch::new();
    batch.put("a", "1");
    batch.put_in(&users, "a", "2");
    batch.delete("gone");
    let last = db.write(batch).unwrap();
    assert_eq!(last, db.snapshot().seqno());
    let snapshot = db.snapshot();
    db.delete("a").unwrap();
    users.put("a", "3").unwrap();
    db.compact(..).unwrap();
    users.compact(..).unwrap();
    assert_eq!(snapshot.get("a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(snapshot.get_in(&users, "a").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(db.get("a").unwrap(), None);
    assert_eq!(users.get("a").unwrap().as_deref(), Some(&b"3"[..]));
    drop((snapshot, users, db));
    let db = Db::open(&path).unwrap();
    assert_eq!(db.keyspaces(), ["users"]);
    let users = db.keyspace("users", KeyspaceOptions::default()).unwrap();
    assert_eq!(users.get("a").unwrap().as_deref(), Some(&b"3"[..]));
}

/// The compression given when a database that was already there was opened had
/// no effect: new tables had the one it was created with.
#[test]
fn the_compression_given_at_open_holds_for_the_tables_written_from_then_on() {
    const USER_BYTES: u64 = 400 * 1000;
    let machine = MemoryMachine::new(1);
    let rewrite = |keyspace: &Keyspace| {
        for i in 0..400u32 {
            keyspace.put(i.to_be_bytes(), [b'a'; 1000]).unwrap();
        }
        keyspace.compact(..).unwrap();
        assert_eq!(keyspace.iter().count(), 400);
    };
    // Opens, writes all tables anew, and says how long they are then.
    let table_bytes = |given: Option<Compression>| {
        let mut builder = Db::builder("db").env(machine.env());
        let mut options = KeyspaceOptions::new();
        if let Some(compression) = given {
            builder = builder.compression(compression);
            options = options.compression(compression);
        }
        let db = builder.open().unwrap();
        let users = db.keyspace("users", options).unwrap();
        rewrite(db.default_keyspace());
        rewrite(&users);
        let bytes = [0, 1].map(|i| db.stats().keyspaces[i].table_bytes);
        db.close().unwrap();
        bytes
    };
    let squeezed = |bytes: [u64; 2]| bytes.iter().all(|&b| b < USER_BYTES / 4);
    let plain = |bytes: [u64; 2]| bytes.iter().all(|&b| b > USER_BYTES);
    for (given, holds) in [
        (Some(Compression::None), &plain as &dyn Fn([u64; 2]) -> bool),
        (Some(Compression::Zstd), &squeezed),
        (Some(Compression::None), &plain),
        (Some(Compression::Lz4), &squeezed),
        // Nothing given: what it was created with.
        (None, &plain),
    ] {
        let bytes = table_bytes(given);
        assert!(holds(bytes), "opened with {given:?}: tables of {bytes:?} bytes");
    }
    // A keyspace that is open already takes what is given as well.
    let db = Db::builder("db").env(machine.env()).open().unwrap();
    let users = db.keyspace("users", KeyspaceOptions::new()).unwrap();
    db.keyspace("users", KeyspaceOptions::new().compression(Compression::Lz4)).unwrap();
    rewrite(&users);
    let bytes = db.stats().keyspaces[1].table_bytes;
    assert!(bytes < USER_BYTES / 4, "tables of {bytes} bytes");
}

#[test]
fn an_expired_key_is_gone_for_gets_and_scans() {
    let machine = MemoryMachine::new(1);
    let db = Db::builder("db").env(machine.env()).open().unwrap();
    let ttl = std::time::Duration::from_secs(10);
    db.put("k", "old").unwrap();
    db.put_with("k", "v", PutOptions::new().ttl(ttl)).unwrap();
    assert!(db.contains("k").unwrap());
    db.flush().unwrap();
    assert!(db.contains("k").unwrap() && db.contains("k").unwrap());
    machine.env().clock.sleep(ttl);
    assert_eq!(db.get("k").unwrap(), None);
    assert_eq!(db.iter().count(), 0);
    db.compact(..).unwrap();
    assert_eq!(db.get("k").unwrap(), None);
}
