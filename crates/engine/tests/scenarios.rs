//! Failures that happened to other engines, by the names under which
//! docs/scenarios.md lists them, as a user of this one would meet them. Those of
//! single parts stand beside their parts: the log's, the manifest's, the caches'.

#![allow(clippy::unwrap_used)] // of outcomes that must not fail

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tanada::vfs::fault::{EIO, Faults, Op, Rule};
use tanada::vfs::{Clock, Env, MemoryMachine};
use tanada::{Db, Durability, Error, PutOptions, Value};

/// The least memory there may be: MemTables of 2 MiB.
const SMALL: u64 = 16 << 20;

fn open(env: Env, memory: u64) -> Db {
    let builder = Db::builder("/db").durability(Durability::Buffered).memory(memory);
    builder.env(env).open().unwrap()
}

fn get(db: &Db, key: &str) -> Option<String> {
    db.get(key).unwrap().map(|value| String::from_utf8_lossy(&value).into_owned())
}

fn entries(iter: impl Iterator<Item = tanada::Result<(Value, Value)>>) -> Vec<(String, String)> {
    let text = |value: &Value| String::from_utf8_lossy(value).into_owned();
    iter.map(Result::unwrap).map(|(key, value)| (text(&key), text(&value))).collect()
}

/// Some 50 KiB that no other key has.
fn large_value(n: u32) -> Vec<u8> {
    n.to_be_bytes().repeat(12 << 10)
}

#[test]
fn replay_boundary_too_high() {
    // slatedb #1625, #1857: a flush noted as the place from where the log must be
    // replayed one that lay behind writes which were in no table yet. A process
    // that died then had lost them.
    let machine = MemoryMachine::new(1);
    let db = open(machine.env(), SMALL);
    let mut flushes = 0;
    for n in 0..250u32 {
        db.put(n.to_be_bytes(), large_value(n)).unwrap();
        let jobs = db.stats().flush.jobs;
        if jobs == flushes {
            continue;
        }
        flushes = jobs;
        // The write that was one too many for the MemTable lies in the next one.
        let again = open(machine.kill().env(), SMALL);
        for n in 0..=n {
            let found = again.get(n.to_be_bytes()).unwrap();
            assert!(found.as_deref() == Some(&large_value(n)[..]), "key {n}, {flushes} flushes");
        }
    }
    assert!(flushes >= 4, "MemTables must fill: {flushes} flushes");
}

#[test]
fn stall_forever_after_kill() {
    // fjall #257: a process was killed, the next one found full MemTables in the
    // log, and its writers waited for a flush of them that nobody had scheduled.
    let machine = MemoryMachine::new(1);
    let db = open(machine.env(), 128 << 20);
    let count = 150u32;
    for n in 0..count {
        db.put(n.to_be_bytes(), large_value(n)).unwrap();
    }
    assert_eq!(db.stats().flush.jobs, 0, "all of it is to be in the log alone");
    // With less memory that is more than all MemTables may hold.
    let db = open(machine.kill().env(), SMALL);
    for n in 0..count {
        db.put(n.to_be_bytes(), large_value(n + 1)).unwrap();
    }
    db.flush().unwrap();
    assert!(db.stats().flush.jobs > 0);
    assert_eq!(db.iter().count(), count as usize);
}

#[test]
fn lost_inserts_bulk() {
    // fjall #112, lsm-tree #230: of very many inserts some were never seen again:
    // they had gone into a MemTable that was being flushed, or had been.
    let machine = MemoryMachine::new(1);
    let db = open(machine.env(), SMALL);
    let count = 3_000u32;
    let value = |n: u32| n.to_be_bytes().repeat(1 << 10);
    for n in 0..count {
        // Not in the order of keys, and each found at once.
        let key = n.wrapping_mul(2_654_435_761).to_be_bytes();
        db.put(key, value(n)).unwrap();
        assert!(db.get(key).unwrap().as_deref() == Some(&value(n)[..]), "insert {n}");
    }
    assert!(db.stats().flush.jobs >= 4, "MemTables must fill");
    assert_eq!(db.iter().count(), count as usize);
    assert_eq!(db.iter().rev().count(), count as usize);
    drop(db);
    let db = open(machine.env(), SMALL);
    for n in 0..count {
        let key = n.wrapping_mul(2_654_435_761).to_be_bytes();
        assert!(db.get(key).unwrap().as_deref() == Some(&value(n)[..]), "insert {n}, reopened");
    }
}

#[test]
fn snapshot_missed_by_flush() {
    // rocksdb #9648: a flush did not know of a snapshot, and dropped the version
    // that only this one still saw.
    let machine = MemoryMachine::new(1);
    let db = open(machine.env(), SMALL);
    db.put("k", "old").unwrap();
    let snapshot = db.snapshot();
    db.put("k", "new").unwrap();
    db.put("later", "new").unwrap();
    db.flush().unwrap();
    assert_eq!(snapshot.get("k").unwrap().as_deref(), Some(&b"old"[..]));
    assert_eq!(entries(snapshot.iter()), [("k".into(), "old".into())]);
    assert_eq!(get(&db, "k").as_deref(), Some("new"));
}

#[test]
fn snapshot_dirty_read_during_compaction() {
    // fjall #198: what a snapshot read changed under it while a compaction ran.
    let machine = MemoryMachine::new(1);
    let db = open(machine.env(), SMALL);
    for key in ["changed", "deleted", "same"] {
        db.put(key, "old").unwrap();
    }
    db.flush().unwrap();
    let snapshot = db.snapshot();
    let before = entries(snapshot.iter());
    assert_eq!(before.len(), 3);
    db.put("changed", "new").unwrap();
    db.delete("deleted").unwrap();
    db.put("later", "new").unwrap();
    db.flush().unwrap();
    for _ in 0..2 {
        assert!(db.compact(..).unwrap().jobs > 0 || db.stats().compaction.jobs > 0);
        assert_eq!(entries(snapshot.iter()), before);
        let backwards: Vec<_> = entries(snapshot.iter().rev()).into_iter().rev().collect();
        assert_eq!(backwards, before);
        for (key, value) in &before {
            assert_eq!(snapshot.get(key).unwrap().as_deref(), Some(value.as_bytes()), "{key}");
        }
        assert_eq!(snapshot.get("later").unwrap(), None);
    }
    let now = entries(db.iter());
    assert_eq!(now.iter().map(|(key, _)| &**key).collect::<Vec<_>>(), ["changed", "later", "same"]);
}

/// A clock at whose next look somebody else has a turn.
struct Interrupting {
    clock: Arc<dyn Clock>,
    turn: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl fmt::Debug for Interrupting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.clock.fmt(f)
    }
}

impl Clock for Interrupting {
    fn wall_ms(&self) -> u64 {
        let turn = self.turn.lock().unwrap().take();
        if let Some(turn) = turn {
            turn();
        }
        self.clock.wall_ms()
    }

    fn monotonic_ns(&self) -> u64 {
        self.clock.monotonic_ns()
    }

    fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration);
    }
}

#[test]
fn seq_taken_before_version_pinned() {
    // rocksdb #6973: a reader took the newest sequence number, and then the tables
    // to read from. Between the two a key was overwritten, and a flush dropped the
    // version that this number sees: the reader found no version at all.
    let machine = MemoryMachine::new(1);
    let env = machine.env();
    let clock = Arc::new(Interrupting { clock: Arc::clone(&env.clock), turn: Mutex::default() });
    let db = open(Env { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..env }, SMALL);
    db.put("k", "old").unwrap();
    let writer = db.clone();
    *clock.turn.lock().unwrap() = Some(Box::new(move || {
        writer.put("k", "new").unwrap();
        writer.flush().unwrap();
    }));
    let found = entries(db.iter());
    assert!(clock.turn.lock().unwrap().is_none(), "the writer has had its turn");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(get(&db, "k").as_deref(), Some("new"));
}

#[test]
fn io_error_returns_older_value() {
    // pebble #3199: the newest table could not be read, the error was taken for
    // "not in here", and the next table answered with the value of before.
    let machine = MemoryMachine::new(1);
    let db = open(machine.env(), SMALL);
    for value in ["old", "new"] {
        db.put("k", value).unwrap();
        db.flush().unwrap();
    }
    assert_eq!(db.stats().compaction.bytes_written, 0, "there are two tables to ask");
    drop(db);
    let reads = |rule: Option<Rule>| {
        let copy = machine.kill();
        let faults = Faults::over_memory(&copy);
        let db = open(faults.env(&copy.env()), SMALL);
        if let Some(rule) = rule {
            faults.add(rule);
        }
        faults.start_recording();
        let found =
            db.get("k").map(|value| value.map(|v| String::from_utf8_lossy(&v).into_owned()));
        let calls = faults.take_recorded();
        (found, calls.iter().filter(|call| call.op == Op::Read).count() as u64)
    };
    let (found, count) = reads(None);
    assert_eq!(found.unwrap().as_deref(), Some("new"));
    assert!(count >= 2, "footer and blocks are read: {count}");
    for n in 1..=count {
        let (found, _) = reads(Some(Rule::fail(EIO).on(Op::Read).nth(n)));
        assert!(matches!(found, Err(Error::Io(_))), "read {n} failed: {found:?}");
    }
}

#[test]
fn ttl_revived_by_clock_set_back() {
    // kvrocks #2315 and its kin: the clock was set back, and keys that had expired
    // and been read as gone were there again.
    let machine = MemoryMachine::new(1);
    let db = open(machine.env(), SMALL);
    let ttl = PutOptions::new().ttl(Duration::from_secs(10));
    db.put("k", "older").unwrap();
    db.default_keyspace().put_with("k", "v", ttl).unwrap();
    db.default_keyspace().put_with("in a table", "v", ttl).unwrap();
    db.default_keyspace().flush().unwrap();
    machine.clock().advance(Duration::from_secs(11));
    let gone = |db: &Db, when: &str| {
        for key in ["k", "in a table"] {
            assert_eq!(get(db, key), None, "{when}: {key}");
        }
        assert_eq!(entries(db.iter()), [], "{when}");
    };
    gone(&db, "expired");
    machine.clock().set_wall_ms(machine.clock().wall_ms() - 20_000);
    gone(&db, "the clock was set back");
    db.close().unwrap();
    let db = open(machine.env(), SMALL);
    gone(&db, "opened again");
}
