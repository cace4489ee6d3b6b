//! The public API as a first user meets it.

use tanada::vfs::MemoryMachine;
use tanada::{Batch, Compression, Db, Durability, KeyspaceOptions, PutOptions};

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
