//! Queues and windows that slide: what is deleted in front of the head costs a look at the
//! head nothing, however much it is. Steps are counted, not time.

#![allow(clippy::unwrap_used)] // of outcomes that must not fail

use std::time::Duration;
use tanada::vfs::MemoryMachine;
use tanada::{Db, Durability, Keyspace, KeyspaceOptions, PutOptions};

/// Elements alive.
const ALIVE: u64 = 100;

/// Elements that go through a queue.
const PASSED: u64 = 20_000;

/// What a look may step over: whatever died since the last one and a few entries more, that
/// are met before anybody looks for a span.
const STEPS: u64 = 16;

fn open(machine: &MemoryMachine) -> Db {
    let builder = Db::builder("db").memory(16 << 20).durability(Durability::Buffered);
    builder.env(machine.env()).open().unwrap()
}

fn key(queue: &str, n: u64) -> String {
    format!("{queue}:{n:012}")
}

/// Entries that scans have stepped over.
fn stepped(db: &Db) -> u64 {
    db.stats().dead_keys.entries_stepped_over
}

/// What `look` steps over.
fn steps_of<T>(db: &Db, look: impl FnOnce() -> T) -> (T, u64) {
    let before = stepped(db);
    let found = look();
    (found, stepped(db) - before)
}

fn first(space: &Keyspace, queue: &str) -> Option<Vec<u8>> {
    let mut found = space.prefix(format!("{queue}:"));
    found.next().map(|pair| pair.unwrap().0.to_vec())
}

fn last(space: &Keyspace, queue: &str) -> Option<Vec<u8>> {
    let mut found = space.prefix(format!("{queue}:"));
    found.next_back().map(|pair| pair.unwrap().0.to_vec())
}

/// Pushes, looks, deletes: `passed` times. Answers the most that a look stepped over, and the sum.
fn run(db: &Db, space: &Keyspace, queue: &str, from: u64, passed: u64) -> (u64, u64) {
    let (mut most, mut all) = (0, 0);
    for n in from..from + passed {
        space.put(key(queue, n + ALIVE), "element").unwrap();
        let (head, steps) = steps_of(db, || first(space, queue));
        assert_eq!(head.as_deref(), Some(key(queue, n).as_bytes()));
        space.delete(key(queue, n)).unwrap();
        most = most.max(steps);
        all += steps;
    }
    (most, all)
}

fn fill(space: &Keyspace, queue: &str) {
    for n in 0..ALIVE {
        space.put(key(queue, n), "element").unwrap();
    }
}

/// Issue: 8,500 elements a second at first, 1,150 after 60,000, and slower without end: each
/// look at the head walked all tombstones that were ever in front of it.
#[test]
fn a_look_at_the_head_costs_the_same_however_many_were_deleted() {
    let db = open(&MemoryMachine::new(7));
    let space = db.keyspace("jobs", KeyspaceOptions::default()).unwrap();
    fill(&space, "q");
    let (_, early) = run(&db, &space, "q", 0, PASSED / 10);
    let (most, late) = run(&db, &space, "q", PASSED / 10, PASSED);
    assert!(most <= STEPS + 16, "{most} steps of one look");
    assert!(late <= PASSED * STEPS, "{late} steps of {PASSED} looks");
    assert!(early <= PASSED / 10 * STEPS, "{early} steps of the first {}", PASSED / 10);
}

#[test]
fn queues_in_one_keyspace_and_in_several_do_not_disturb_each_other() {
    let db = open(&MemoryMachine::new(7));
    let spaces: Vec<_> = (0..10)
        .map(|n| db.keyspace(&format!("s{n}"), KeyspaceOptions::default()).unwrap())
        .collect();
    let queues: Vec<_> = (0..40).map(|n| (&spaces[n % 10], format!("q{n}"))).collect();
    queues.iter().for_each(|(space, queue)| fill(space, queue));
    let before = stepped(&db);
    let rounds = 20;
    for round in 0..rounds {
        for (space, queue) in &queues {
            run(&db, space, queue, round * 25, 25);
        }
    }
    let looks = rounds * 25 * queues.len() as u64;
    let steps = stepped(&db) - before;
    assert!(steps <= looks * STEPS, "{steps} steps of {looks} looks");
}

/// A stack that grows and shrinks, with its newest elements asked for from the back.
#[test]
fn the_newest_is_found_from_the_back_over_whatever_was_deleted_there() {
    let db = open(&MemoryMachine::new(7));
    let space = db.keyspace("jobs", KeyspaceOptions::default()).unwrap();
    fill(&space, "q");
    for n in ALIVE..PASSED {
        space.put(key("q", n), "element").unwrap();
    }
    let mut sum = 0;
    for n in (ALIVE..PASSED).rev() {
        let (newest, steps) = steps_of(&db, || last(&space, "q"));
        assert_eq!(newest.as_deref(), Some(key("q", n).as_bytes()));
        space.delete(key("q", n)).unwrap();
        sum += steps;
        assert!(steps <= STEPS + 16, "{steps} steps");
    }
    assert!(sum <= PASSED * STEPS, "{sum} steps");
    // Something put in the middle of what is dead is found at once.
    space.put(key("q", PASSED / 2), "again").unwrap();
    assert_eq!(last(&space, "q").as_deref(), Some(key("q", PASSED / 2).as_bytes()));
    space.delete(key("q", PASSED / 2)).unwrap();
    let (newest, _) = steps_of(&db, || last(&space, "q"));
    assert_eq!(newest.as_deref(), Some(key("q", ALIVE - 1).as_bytes()));
}

/// A cursor that is kept looks back to its own moment; one that is opened anew does not.
/// Neither walks twice what it has walked.
#[test]
fn a_snapshot_walks_its_own_dead_keys_once_while_the_queue_runs_on() {
    let db = open(&MemoryMachine::new(7));
    let space = db.keyspace("jobs", KeyspaceOptions::default()).unwrap();
    fill(&space, "q");
    run(&db, &space, "q", 0, 1_000);
    let snapshot = db.snapshot();
    let mut kept = space.cursor();
    run(&db, &space, "q", 1_000, 1_000);
    let old_head = key("q", 1_000);
    let mut look_back = || {
        let seen = snapshot.prefix_in(&space, "q:").next().unwrap().unwrap().0;
        assert_eq!(&*seen, old_head.as_bytes());
        kept.seek("q:").unwrap();
        assert_eq!(kept.entry().unwrap().0, old_head.as_bytes());
    };
    let (_, first) = steps_of(&db, &mut look_back);
    for round in 0..50 {
        let (_, again) = steps_of(&db, &mut look_back);
        assert!(again <= 4 * STEPS + 128, "{again} steps in round {round}, {first} at first");
        let (most, _) = run(&db, &space, "q", 2_000 + round * 100, 100);
        assert!(most <= STEPS + 16, "{most} steps of a look beside a snapshot");
    }
}

#[test]
fn what_has_expired_is_stepped_over_like_what_was_deleted() {
    let machine = MemoryMachine::new(7);
    let db = open(&machine);
    let space = db.keyspace("jobs", KeyspaceOptions::default()).unwrap();
    for n in 0..PASSED {
        let soon = PutOptions::new().ttl(Duration::from_secs(5));
        space.put_with(key("q", n), "element", soon).unwrap();
    }
    space.put(key("q", PASSED), "stays").unwrap();
    assert_eq!(first(&space, "q").as_deref(), Some(key("q", 0).as_bytes()));
    machine.clock().advance(Duration::from_secs(6));
    let look = || assert_eq!(first(&space, "q").as_deref(), Some(key("q", PASSED).as_bytes()));
    let (_, once) = steps_of(&db, look);
    assert!(once >= PASSED, "{once} steps");
    let (_, again) = steps_of(&db, look);
    assert!(again <= STEPS, "{again} steps");
}

/// The log is replayed into MemTables, and nobody knows of any span then.
#[test]
fn after_a_restart_what_is_dead_is_walked_once() {
    let machine = MemoryMachine::new(7);
    let db = open(&machine);
    let space = db.keyspace("jobs", KeyspaceOptions::default()).unwrap();
    fill(&space, "q");
    run(&db, &space, "q", 0, PASSED);
    let machine = machine.kill();
    let db = open(&machine);
    let space = db.keyspace("jobs", KeyspaceOptions::default()).unwrap();
    let head = key("q", PASSED);
    let look = || assert_eq!(first(&space, "q").as_deref(), Some(head.as_bytes()));
    steps_of(&db, look);
    let (_, again) = steps_of(&db, look);
    assert!(again <= STEPS, "{again} steps");
    let (most, _) = run(&db, &space, "q", PASSED, 1_000);
    assert!(most <= STEPS + 16, "{most} steps");
}

/// In MemTables and in tables, in versions that lie in several of them.
#[test]
fn a_dead_prefix_is_walked_once_wherever_it_lies() {
    let db = open(&MemoryMachine::new(7));
    let space = db.keyspace("jobs", KeyspaceOptions::default()).unwrap();
    for round in 0..3 {
        for n in 0..PASSED {
            space.put(key("q", n), format!("version {round}")).unwrap();
        }
        space.flush().unwrap();
    }
    space.put(key("r", 0), "behind").unwrap();
    for n in 0..PASSED {
        space.delete(key("q", n)).unwrap();
        if n == PASSED / 2 {
            space.flush().unwrap();
        }
    }
    let empty = || assert_eq!(first(&space, "q"), None);
    let (_, once) = steps_of(&db, empty);
    assert!(once >= PASSED, "{once} steps");
    let (_, again) = steps_of(&db, empty);
    assert!(again <= STEPS, "{again} steps");
    // The other way it is known as well.
    let (_, back) = steps_of(&db, || assert_eq!(last(&space, "q"), None));
    assert!(back <= STEPS, "{back} steps");
    // Flushes and compactions change nothing that is seen.
    space.flush().unwrap();
    space.compact(..).unwrap();
    let (_, later) = steps_of(&db, empty);
    assert!(later <= STEPS, "{later} steps");
}

/// A scan of a range that ends among dead keys does not walk what lies behind its end.
#[test]
fn a_range_among_dead_keys_is_not_left() {
    let db = open(&MemoryMachine::new(7));
    let space = db.keyspace("jobs", KeyspaceOptions::default()).unwrap();
    for n in 0..PASSED {
        space.put(key("q", n), "element").unwrap();
        space.delete(key("q", n)).unwrap();
    }
    let middle = PASSED / 2;
    let range = || space.range(key("q", middle)..key("q", middle + 2));
    let (_, up) = steps_of(&db, || assert!(range().next().is_none()));
    let (_, down) = steps_of(&db, || assert!(range().next_back().is_none()));
    assert!(up <= STEPS && down <= STEPS, "{up} steps up, {down} down");
}

/// What a cursor does not see because it came behind its moment lives for all others: in
/// the MemTable that it walks, or in one that was empty when it was opened.
#[test]
fn a_cursor_that_looks_back_makes_nothing_known_that_later_readers_see_otherwise() {
    for (flushed, known) in [(false, false), (true, false), (false, true), (true, true)] {
        let db = open(&MemoryMachine::new(7));
        let space = db.keyspace("jobs", KeyspaceOptions::default()).unwrap();
        for n in 0..50 {
            space.put(key("q", n), "element").unwrap();
        }
        space.put(key("r", 0), "behind").unwrap();
        space.flush().unwrap();
        for n in 0..50 {
            space.delete(key("q", n)).unwrap();
        }
        if flushed {
            space.flush().unwrap();
        }
        if known {
            // The put cuts it, and the cursors meet the cut.
            assert_eq!(first(&space, "q"), None);
        }
        let mut back = space.cursor();
        let mut up = space.cursor();
        space.put(key("q", 25), "new").unwrap();
        for _ in 0..3 {
            up.seek("q:").unwrap();
            assert_eq!(up.entry().unwrap().0, key("r", 0).as_bytes());
            back.seek_for_prev(key("q", 99)).unwrap();
            assert!(back.entry().is_none());
            assert_eq!(first(&space, "q").as_deref(), Some(key("q", 25).as_bytes()));
            assert_eq!(last(&space, "q").as_deref(), Some(key("q", 25).as_bytes()));
        }
    }
}

/// What scans have paid for is done: a MemTable of which they step over more than they leave
/// is flushed, with nothing left of keys that lie in no table, and tables of tombstones are
/// merged away though they are not old.
#[test]
fn what_scans_step_over_is_flushed_and_compacted_away() {
    let db = open(&MemoryMachine::new(7));
    let space = db.keyspace("jobs", KeyspaceOptions::default()).unwrap();
    for n in 0..PASSED {
        space.put(key("q", n), "element").unwrap();
        space.delete(key("q", n)).unwrap();
    }
    space.put(key("r", 0), "behind").unwrap();
    space.flush().unwrap();
    let entries = || {
        let stats = db.stats();
        let jobs = stats.keyspaces.iter().find(|space| space.name == "jobs").unwrap();
        (jobs.table_entries, jobs.memtable_entries)
    };
    assert_eq!(entries(), (1, 0), "deletes that hide nothing are not written to tables");
    for n in 0..PASSED {
        space.put(key("q", n), "element").unwrap();
    }
    space.flush().unwrap();
    for n in 0..PASSED {
        space.delete(key("q", n)).unwrap();
    }
    space.flush().unwrap();
    assert_eq!(entries(), (2 * PASSED + 1, 0));
    assert_eq!(first(&space, "q"), None);
    assert_eq!(first(&space, "r").as_deref(), Some(key("r", 0).as_bytes()));
    let paid = db.stats().dead_keys;
    assert!(paid.tables_paid >= 1, "{paid:?}");
    // Without threads a write does what is due.
    space.put(key("r", 1), "behind").unwrap();
    assert!(entries().0 <= 2, "{:?}", entries());
}

/// A walk back that began at a dead key which has come back since ended there, and was begun
/// again for ever.
#[test]
fn a_snapshot_passes_dead_keys_that_have_come_back_since() {
    for every in [1, 2, 3, 7] {
        let machine = MemoryMachine::new(1);
        let db = open(&machine);
        for n in 0..200 {
            db.put(key("q", n), "first").unwrap();
        }
        for n in 0..200 {
            db.delete(key("q", n)).unwrap();
        }
        let snapshot = db.snapshot();
        for n in (0..200).step_by(every) {
            db.put(key("q", n), "again").unwrap();
        }
        for _ in 0..3 {
            assert!(snapshot.iter().next_back().is_none());
            assert!(snapshot.iter().next().is_none());
            assert_eq!(db.iter().rev().count(), 200usize.div_ceil(every));
            db.flush().unwrap();
        }
    }
}
