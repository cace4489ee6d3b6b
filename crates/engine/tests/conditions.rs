//! Batches with conditions: exact compare-and-set, whoever else writes.

use std::time::Duration;
use tanada::vfs::MemoryMachine;
use tanada::{
    Batch, Condition, Db, Durability, Error, KeyspaceOptions, PutOptions, SeqNo, WriteOptions,
};

fn conflict(answer: tanada::Result<SeqNo>) -> Vec<(usize, Vec<u8>, Option<SeqNo>)> {
    match answer {
        Err(Error::Conflict(conflict)) => {
            conflict.failed.iter().map(|f| (f.index, f.key.to_vec(), f.version)).collect()
        }
        other => panic!("a conflict was due, and not {other:?}"),
    }
}

/// Adds one to a counter, however often others come in between.
fn increment(db: &Db, key: &str, durability: Durability) {
    for _ in 0..1_000_000 {
        let mut batch = Batch::new();
        match db.get_record(key).expect("a read succeeds") {
            Some(record) => {
                let count = std::str::from_utf8(&record.value).expect("digits");
                let count: u64 = count.parse().expect("a number");
                batch.put_if_version(key, (count + 1).to_string(), record.version);
            }
            None => {
                batch.check_absent(key);
                batch.put(key, "1");
            }
        }
        match db.write_with(batch, WriteOptions::new().durability(durability)) {
            Ok(_) => return,
            Err(Error::Conflict(_)) => {}
            Err(e) => panic!("{e}"),
        }
    }
    panic!("others come in between again and again, and they are few");
}

/// Four threads incremented one counter a thousand times each, by `get` and `put`: 2,845
/// was the sum. There was no way to do it right but a lock of one's own.
#[test]
fn four_threads_of_a_thousand_increments_are_four_thousand() {
    const THREADS: u64 = 4;
    const INCREMENTS: u64 = 1_000;
    for durability in [Durability::Memory, Durability::Synced] {
        let db = Db::builder("/db").env(MemoryMachine::new(1).env()).open().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                let db = &db;
                scope.spawn(move || {
                    (0..INCREMENTS).for_each(|_| increment(db, "n", durability));
                });
            }
            // Plain writes beside them, in the same groups.
            let db = &db;
            scope.spawn(move || {
                for n in 0..INCREMENTS {
                    db.put("other", n.to_string()).unwrap();
                }
            });
        });
        let sum = db.get("n").unwrap().unwrap();
        assert_eq!(std::str::from_utf8(&sum).unwrap(), (THREADS * INCREMENTS).to_string());
        assert_eq!(&*db.get("other").unwrap().unwrap(), b"999");
        // Each that was refused wrote nothing and took no number.
        let numbers = THREADS * INCREMENTS + INCREMENTS;
        assert_eq!(db.snapshot().seqno().0, numbers);
        assert_eq!(db.stats().operations.puts, numbers);
    }
}

#[test]
fn each_condition_is_asked_of_tables_and_memtables_alike() {
    let db = Db::builder("/db").env(MemoryMachine::new(1).env()).open().unwrap();
    let users = db.keyspace("users", KeyspaceOptions::new()).unwrap();
    for flushed in [false, true] {
        let version = db.put("present", "value").unwrap();
        db.put("deleted", "value").unwrap();
        db.delete("deleted").unwrap();
        if flushed {
            db.flush().unwrap();
        }
        let holds = |key: &str, condition: Condition| {
            let mut batch = Batch::new();
            batch.check(key, condition);
            match db.write(batch) {
                Ok(seqno) => {
                    assert_eq!(seqno, db.snapshot().seqno(), "nothing was written");
                    true
                }
                answer => {
                    let wanted = (key == "present").then_some(version);
                    assert_eq!(conflict(answer), [(0, key.into(), wanted)]);
                    false
                }
            }
        };
        assert!(holds("present", Condition::Present));
        assert!(holds("present", Condition::Version(version)));
        assert!(holds("present", Condition::VersionIn(vec![SeqNo(0), version])));
        assert!(!holds("present", Condition::VersionNotIn(vec![version])));
        assert!(!holds("present", Condition::Version(SeqNo(version.0 - 1))));
        assert!(!holds("present", Condition::Absent));
        for absent in ["deleted", "never"] {
            assert!(holds(absent, Condition::Absent));
            assert!(holds(absent, Condition::VersionNotIn(vec![version])));
            assert!(!holds(absent, Condition::Present));
            assert!(!holds(absent, Condition::Version(SeqNo(version.0 + 1))));
        }
    }
    // The same key of another keyspace is another key.
    let mut batch = Batch::new();
    batch.check_in(&users, "present", Condition::Absent);
    batch.put_in(&users, "present", "other");
    batch.check("present", Condition::Present);
    db.write(batch).unwrap();
    assert_eq!(&*users.get("present").unwrap().unwrap(), b"other");
}

/// A batch is not its own reader, and a single condition that fails leaves all undone.
#[test]
fn all_conditions_are_asked_before_the_first_write_and_one_that_fails_is_enough() {
    let db = Db::builder("/db").env(MemoryMachine::new(1).env()).open().unwrap();
    let mut batch = Batch::new();
    batch.put("a", "1");
    batch.check_absent("a");
    batch.put("b", "1");
    let last = db.write(batch).unwrap();
    assert_eq!(last, SeqNo(2));

    let mut batch = Batch::new();
    batch.put("c", "2");
    batch.put_if_version("a", "2", SeqNo(1));
    batch.check_absent("b");
    batch.check_version("never", SeqNo(1));
    batch.delete("b");
    let error = db.write(batch).unwrap_err();
    assert_eq!(
        error.to_string(),
        "condition 1 of the batch does not hold: the key \"b\" has version 2, and 1 more do not hold; nothing was done; read again and decide anew"
    );
    assert_eq!(
        conflict(Err(error)),
        [(1, b"b".to_vec(), Some(SeqNo(2))), (2, b"never".to_vec(), None)]
    );
    assert_eq!(db.iter().count(), 2, "nothing of it was written");
    assert_eq!(db.put("d", "3").unwrap(), SeqNo(3), "and no number was used");
}

#[test]
fn what_has_expired_is_absent_for_conditions() {
    let machine = MemoryMachine::new(1);
    let db = Db::builder("/db").env(machine.env()).open().unwrap();
    for flushed in [false, true] {
        let lease = |holder: &str| {
            let mut batch = Batch::new();
            batch.check_absent("lease");
            batch.put_with("lease", holder, PutOptions::new().ttl(Duration::from_secs(10)));
            db.write(batch)
        };
        let first = lease("a").unwrap();
        if flushed {
            db.flush().unwrap();
        }
        machine.clock().advance(Duration::from_millis(9_999));
        assert_eq!(conflict(lease("b")), [(0, b"lease".to_vec(), Some(first))]);
        machine.clock().advance(Duration::from_millis(1));
        let mut late = Batch::new();
        late.put_if_version("lease", "a again", first);
        assert_eq!(conflict(db.write(late)), [(0, b"lease".to_vec(), None)]);
        lease("b").unwrap();
        machine.clock().advance(Duration::from_secs(10));
    }
}

#[test]
fn batches_handed_in_together_are_answered_one_by_one() {
    let db = Db::builder("/db").env(MemoryMachine::new(1).env()).open().unwrap();
    let foreign = Db::builder("/db").env(MemoryMachine::new(2).env()).open().unwrap();
    let put = |key: &str, version: Option<u64>| {
        let mut batch = Batch::new();
        match version {
            Some(0) => batch.check_absent(key),
            Some(version) => batch.check_version(key, SeqNo(version)),
            None => {}
        }
        batch.put(key, "value");
        batch
    };
    let mut bad = Batch::new();
    bad.put("", "no key");
    let mut of_another = Batch::new();
    of_another.put_in(foreign.default_keyspace(), "a", "value");
    let batches = [
        put("a", Some(0)),
        put("a", Some(0)),
        put("a", Some(1)),
        bad,
        Batch::new(),
        put("b", None),
        of_another,
        put("a", Some(2)),
        put("b", Some(3)),
    ];
    let syncs = db.stats().wal.syncs;
    let answers = db.write_each(batches.map(|batch| (batch, WriteOptions::new())));
    assert_eq!(db.stats().wal.syncs, syncs + 1, "one sync for all of them");
    let numbers: Vec<_> = answers.iter().map(|answer| answer.as_ref().ok().map(|n| n.0)).collect();
    let last = Some(5);
    assert_eq!(numbers, [Some(1), None, Some(2), None, last, Some(3), None, Some(4), Some(5)]);
    assert_eq!(conflict(answers[1].clone()), [(0, b"a".to_vec(), Some(SeqNo(1)))]);
    assert!(matches!(answers[3], Err(Error::InvalidArgument(_))));
    assert!(matches!(answers[6], Err(Error::InvalidArgument(_))));
}

/// Many at once, from several threads, each through a queue that holds few of them.
#[test]
fn batches_handed_in_together_pass_a_queue_that_is_shorter_than_they_are() {
    let db = Db::builder("/db").memory(16 << 20).env(MemoryMachine::new(1).env()).open();
    let db = db.unwrap();
    const EACH: usize = 60;
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let db = &db;
            scope.spawn(move || {
                let batches = (0..EACH).map(|n| {
                    let mut batch = Batch::new();
                    batch.check_absent([thread, n as u8]);
                    batch.put([thread, n as u8], vec![thread; 20 << 10]);
                    (batch, WriteOptions::new().durability(Durability::Buffered))
                });
                let answers = db.write_each(batches);
                assert_eq!(answers.len(), EACH);
                let numbers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
                assert!(numbers.is_sorted(), "in the order in which they were handed in");
            });
        }
    });
    assert_eq!(db.iter().count(), 3 * EACH);
    assert_eq!(db.stats().memory.queue_bytes, 0);
}

#[test]
fn more_conditions_than_memory_allows_are_refused() {
    let db = Db::builder("/db").memory(16 << 20).env(MemoryMachine::new(1).env()).open().unwrap();
    let with = |count: u32| {
        let mut batch = Batch::new();
        (0..count).for_each(|n| batch.check_absent(n.to_be_bytes()));
        batch.put("k", "v");
        batch
    };
    db.write(with(20_000)).unwrap();
    match db.write(with(40_000)) {
        Err(Error::InvalidArgument(e)) => {
            assert!(e.contains("1 writes and 40000 conditions") && e.contains("split it"), "{e}");
        }
        other => panic!("{other:?}"),
    }
    let mut bad = Batch::new();
    bad.check_absent("");
    assert!(matches!(db.write(bad), Err(Error::InvalidArgument(_))));
}

/// A condition that cannot be asked is no condition that failed: nothing was done, and
/// those in the same group are written.
#[test]
fn a_condition_on_damaged_bytes_refuses_its_own_batch_alone() {
    use tanada::vfs::fault::{EIO, Faults, Op, Rule};
    let machine = MemoryMachine::new(1);
    let faults = Faults::over_memory(&machine);
    let db = Db::builder("/db").env(faults.env(&machine.env())).open().unwrap();
    db.put("on disk", "value").unwrap();
    db.flush().unwrap();
    db.close().unwrap();
    let db = Db::builder("/db").env(faults.env(&machine.env())).open().unwrap();
    faults.add(Rule::fail(EIO).on(Op::Read));
    let mut batch = Batch::new();
    batch.check_absent("on disk");
    batch.put("a", "1");
    let mut plain = Batch::new();
    plain.put("b", "1");
    let answers = db.write_each([(batch, WriteOptions::new()), (plain, WriteOptions::new())]);
    match &answers[0] {
        Err(e @ Error::Undecided(_)) => assert!(e.to_string().ends_with("nothing was done"), "{e}"),
        other => panic!("{other:?}"),
    }
    assert!(answers[1].is_ok());
    faults.clear();
    assert!(!db.contains("a").unwrap() && db.contains("b").unwrap());
}
