//! What simulations found that the background owed and never paid: logs that nobody
//! needed and that stayed, and refusals to write that nothing ended.

#![allow(clippy::unwrap_used)] // in a test a panic is the answer

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tanada::{Builder, Db, Durability, Error, KeyspaceOptions, PutOptions, Scheduler, Tuning};
use tanada_vfs::fault::{EIO, ENOSPC, Faults, Op, Rule};
use tanada_vfs::{Env, MemoryMachine};

/// Looks for work in an order that the test sets.
#[derive(Debug, Default)]
struct Set(AtomicU64);

impl Scheduler for Set {
    fn order(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// As in an idle time, which compacts more.
const IDLE: u64 = 0;
/// Not as in an idle time.
const BUSY: u64 = 24;
/// All that is due is compacted before any file is removed.
const COMPACTION_FIRST: u64 = 44;
/// Files are removed before anything is flushed.
const REMOVAL_FIRST: u64 = 39;

struct World {
    machine: MemoryMachine,
    faults: Faults,
    order: Arc<Set>,
}

impl World {
    fn new() -> World {
        let machine = MemoryMachine::new(1);
        World { faults: Faults::over_memory(&machine), machine, order: Arc::default() }
    }

    fn builder(&self) -> Builder {
        let env = self.faults.env(&self.machine.env());
        Db::builder("/db").memory(16 << 20).durability(Durability::Buffered).env(env)
    }

    /// Small logs, and a background that works when it is told to.
    fn open_scheduled(&self) -> Db {
        let tuning = Tuning { log_bytes: Some(8 << 10), ..Tuning::default() };
        let order = Arc::clone(&self.order) as Arc<dyn Scheduler>;
        self.builder().tuning(tuning).scheduler(order).open().unwrap()
    }

    fn pass(&self, seconds: u64) {
        self.machine.clock().advance(Duration::from_secs(seconds));
    }

    fn logs(&self) -> usize {
        let entries = self.machine.env().fs.read_dir(Path::new("/db")).unwrap();
        entries.iter().filter(|entry| entry.name.ends_with(".log")).count()
    }
}

/// More than there is ever to do here.
const MOST_STEPS: usize = 1000;

/// Lets the background do all that is due.
#[track_caller]
fn do_all_work(db: &Db) {
    assert!((0..MOST_STEPS).any(|_| !db.step()), "it never ends");
}

fn is_read_only<T>(answer: tanada::Result<T>) -> bool {
    matches!(answer, Err(Error::ReadOnly { .. }))
}

/// A database that has failed to remove a log, with a write that waits for its flush.
fn unable_to_remove(world: &World) -> Db {
    let db = world.open_scheduled();
    for n in 0..10 {
        db.put(format!("key {n}"), [7; 3_000]).unwrap();
    }
    db.flush().unwrap();
    db.put("later", "value").unwrap();
    world.faults.add(Rule::fail(EIO).on(Op::Remove).from_nth(1));
    world.order.0.store(COMPACTION_FIRST, Ordering::Relaxed);
    let mut steps = 0;
    while db.stats().read_only.is_none() {
        steps += 1;
        assert!(steps < MOST_STEPS && db.step(), "nothing was removed");
    }
    world.faults.clear();
    world.order.0.store(REMOVAL_FIRST, Ordering::Relaxed);
    assert!(is_read_only(db.put("refused", "value")));
    world.pass(2);
    db
}

#[test]
fn a_removal_that_succeeds_at_last_ends_the_refusal_of_writes() {
    let world = World::new();
    let db = unable_to_remove(&world);
    do_all_work(&db);
    db.put("taken", "value").unwrap();
}

#[test]
fn a_flush_waits_for_its_own_failure_and_not_for_that_of_others() {
    let world = World::new();
    let db = unable_to_remove(&world);
    db.flush().unwrap();
    db.put("taken", "value").unwrap();
}

#[test]
fn a_compaction_that_failed_and_is_no_longer_due_ends_the_refusal_of_writes() {
    let world = World::new();
    let db = world.open_scheduled();
    db.put("key", "value").unwrap();
    db.flush().unwrap();
    db.put("key", "newer").unwrap();
    db.flush().unwrap();
    let mut steps = 0;
    while db.stats().read_only.is_none() {
        steps += 1;
        assert!(steps < MOST_STEPS, "it goes on and on");
        world.faults.clear();
        world.faults.add(Rule::fail(EIO).on(Op::Create).path_suffix(".sst"));
        world.order.0.store(IDLE, Ordering::Relaxed);
        assert!(db.step(), "nothing was compacted");
    }
    world.faults.clear();
    assert!(is_read_only(db.put("refused", "value")));
    world.pass(2);
    world.order.0.store(BUSY, Ordering::Relaxed);
    do_all_work(&db);
    db.put("taken", "value").unwrap();
}

#[test]
fn no_log_outlives_the_last_flush_whichever_keyspace_is_flushed_last() {
    let world = World::new();
    let db = world.builder().open().unwrap();
    let first = db.keyspace("flushed last", KeyspaceOptions::new()).unwrap();
    first.put("key", "value").unwrap();
    world.faults.add(Rule::fail(ENOSPC).on(Op::Create).path_suffix(".sst").nth(1));
    first.flush().unwrap_err();
    for n in 0..7 {
        // It ends behind the other one, in a later log, and is flushed before.
        db.put(format!("key {n}"), vec![7; 200 << 10]).unwrap();
    }
    assert!(db.stats().wal.files >= 2);
    world.pass(2);
    db.flush().unwrap();
    assert_eq!(db.stats().keyspaces.iter().map(|k| k.sealed_memtables).sum::<u64>(), 0);
    assert_eq!(db.stats().wal.files, 1);
}

#[test]
fn openings_without_writes_leave_no_logs_behind() {
    let world = World::new();
    let db = world.builder().open().unwrap();
    db.put("key", "value").unwrap();
    db.flush().unwrap();
    drop(db);
    for _ in 0..10 {
        let db = world.open_scheduled();
        do_all_work(&db);
        assert_eq!(db.get("key").unwrap().as_deref(), Some(&b"value"[..]));
        assert_eq!(world.logs(), 1);
    }
}

#[test]
fn openings_with_a_few_writes_leave_a_bounded_log() {
    let world = World::new();
    let mut most = 0;
    for n in 0..40 {
        let db = world.builder().open().unwrap();
        db.put(format!("key {n}"), "value").unwrap();
        most = most.max(world.logs());
        for n in 0..=n {
            assert_eq!(db.get(format!("key {n}")).unwrap().as_deref(), Some(&b"value"[..]));
        }
    }
    // Twice what all MemTables may hold, in logs of 1 MiB, and the one being written.
    assert!((2..=13).contains(&most), "{most} logs");
}

#[test]
fn who_waits_for_a_flush_hears_that_the_log_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let real = Env::real();
    let faults = Faults::over(Arc::clone(&real.fs));
    let db = Db::builder(dir.path().join("db"))
        .memory(16 << 20)
        .durability(Durability::Buffered)
        .env(faults.env(&real))
        .open()
        .unwrap();
    db.put("key", "value").unwrap();
    faults.add(Rule::fail(EIO).on(Op::LogAppend).from_nth(1));
    db.put("key", "newer").unwrap_err();
    // Its threads do nothing any more: nothing would ever end this wait.
    assert!(matches!(db.flush(), Err(Error::Poisoned { .. })));
    assert!(matches!(db.compact(..), Err(Error::Poisoned { .. })));
    assert_eq!(db.get("key").unwrap().as_deref(), Some(&b"value"[..]));
}

/// A night in which nobody writes: what has expired and what was deleted goes, in whatever
/// order the background looks for work, and then there is nothing left to do.
#[test]
fn after_a_quiet_night_nothing_is_owed() {
    for order in [IDLE, COMPACTION_FIRST, REMOVAL_FIRST] {
        let world = World::new();
        let db = world.open_scheduled();
        let brief = PutOptions::new().ttl(Duration::from_secs(30));
        for n in 0..300 {
            db.put(format!("deleted {n}"), [7; 300]).unwrap();
            db.put_with(format!("expires {n}"), [7; 300], brief).unwrap();
        }
        db.flush().unwrap();
        let snapshot = db.snapshot();
        for n in 0..300 {
            db.delete(format!("deleted {n}")).unwrap();
        }
        let iterator = db.iter();
        drop((iterator, snapshot));
        // In idle times only is a MemTable sealed that is not full.
        for order in [IDLE, order, IDLE] {
            world.order.0.store(order, Ordering::Relaxed);
            for _ in 0..3 {
                world.pass(700);
                do_all_work(&db);
            }
        }
        let stats = db.stats();
        assert_eq!(stats.keyspaces[0].table_entries, 0, "order {order}");
        assert_eq!((stats.obsolete.files, stats.obsolete.held_tables), (0, 0));
        assert!(world.logs() <= 2, "{} logs", world.logs());
        assert!(!db.step());
    }
}
