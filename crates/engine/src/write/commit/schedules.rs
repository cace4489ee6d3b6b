//! The whole write path of a database in memory with shuttle's threads: it may change
//! them at every lock of the engine and when the newest visible write is read or set.
//! "Found" says what was broken by hand, once, and made that test fail.

use crate::{Batch, Condition, Db, Error, SeqNo, WriteOptions};
use std::collections::BTreeSet;
use std::sync::Arc;
use tanada_vfs::MemoryMachine;
use tanada_vfs::fault::{EIO, Faults, Op, Rule};
use tanada_vfs::sync::{explore, shuttle::thread};

const WRITERS: u8 = 3;
const BATCHES: u8 = 2;
const CRASHES: u64 = 4;

/// The two keys of one batch.
fn keys(writer: u8, batch: u8) -> [[u8; 3]; 2] {
    [[0, writer, batch], [1, writer, batch]]
}

fn keys_of(db: &Db) -> BTreeSet<Vec<u8>> {
    db.iter().map(|entry| entry.unwrap().0.to_vec()).collect()
}

/// Every writer is answered, with a seqno of its own, and reads what it wrote; a reader
/// sees both writes of a batch or none; and what one reader has seen no later one misses.
// Found: a group visible before it is inserted; a lead given up behind the queue's lock,
// after a look at the queue under it; answers that do not count the followers' writes.
#[test]
fn schedules_of_writers_and_a_reader() {
    explore("writers_and_a_reader", 20, || {
        let machine = MemoryMachine::new(1);
        let db = Arc::new(Db::builder("/db").env(machine.env()).open().unwrap());
        let writers = std::array::from_fn::<_, { WRITERS as usize }, _>(|writer| {
            let (db, writer) = (Arc::clone(&db), writer as u8);
            thread::spawn(move || {
                let write = |number| {
                    let mut batch = Batch::new();
                    keys(writer, number).iter().for_each(|key| batch.put(key, b"value"));
                    let seqno = db.write(batch).unwrap();
                    for key in keys(writer, number) {
                        assert!(db.contains(key).unwrap(), "a writer reads what it wrote");
                    }
                    seqno.0
                };
                (0..BATCHES).map(write).collect::<Vec<u64>>()
            })
        });
        let reader = thread::spawn({
            let db = Arc::clone(&db);
            move || {
                let mut before = BTreeSet::new();
                for _ in 0..2 {
                    let now = keys_of(&db);
                    assert!(now.is_superset(&before), "what was seen is seen again");
                    for key in &now {
                        let twin = [1 - key[0], key[1], key[2]];
                        assert!(now.contains(&twin[..]), "a batch is seen as a whole");
                    }
                    before = now;
                }
            }
        });
        let mut seqnos = Vec::new();
        for writer in writers {
            let answers = writer.join().unwrap();
            assert!(answers.is_sorted_by(|a, b| a < b));
            seqnos.extend(answers);
        }
        reader.join().unwrap();
        seqnos.sort_unstable();
        // Each batch took two, and no two batches the same.
        assert!(seqnos.is_sorted_by(|a, b| a + 2 <= *b), "{seqnos:?}");
        assert_eq!(keys_of(&db).len(), usize::from(2 * WRITERS * BATCHES));
    });
}

/// A sync fails: whoever is told that its write is safe can read it, before and after
/// a crash; and nobody waits for ever.
// Found: a sync whose failure nobody is told of; a queue that keeps its leader when the
// log has failed. And a planted bug: followers that are told all is well.
#[test]
fn schedules_of_writers_and_a_failing_sync() {
    explore("writers_and_a_failing_sync", 20, || {
        let machine = MemoryMachine::new(1);
        let faults = Faults::over_memory(&machine);
        let db = Arc::new(Db::builder("/db").env(faults.env(&machine.env())).open().unwrap());
        faults.add(Rule::fail(EIO).on(Op::LogSync).nth(2));
        let writers = std::array::from_fn::<_, { WRITERS as usize }, _>(|writer| {
            let db = Arc::clone(&db);
            thread::spawn(move || {
                let key = [writer as u8];
                let answer = db.put(key, b"value");
                match &answer {
                    Ok(_) => assert!(db.contains(key).unwrap(), "told that it is written"),
                    Err(e) => assert!(matches!(e, Error::Poisoned { .. }), "{e:?}"),
                }
                answer.is_ok().then_some(key)
            })
        });
        let told: Vec<_> = writers.into_iter().filter_map(|w| w.join().unwrap()).collect();
        assert!(!told.is_empty(), "the first sync did not fail");
        assert_eq!(keys_of(&db).len(), told.len(), "nothing of a failed group is visible");
        drop(db);
        // Each crash keeps other parts of what was not synced.
        for crash in 0..CRASHES {
            let db = Db::builder("/db").env(machine.crash(crash).env()).open().unwrap();
            for key in &told {
                assert!(db.contains(key).unwrap(), "told that it is safe");
            }
        }
    });
}

/// Batches that each take more than the queue may hold: whoever waits outside is let in
/// or leads, and every one is written.
// Found: no wake-up behind a group that nobody had queued for.
#[test]
fn schedules_of_writers_that_wait_outside_the_queue() {
    explore("writers_that_wait_outside_the_queue", 20, || {
        let machine = MemoryMachine::new(1);
        let db = Db::builder("/db").memory(16 << 20).env(machine.env()).open().unwrap();
        let writers = std::array::from_fn::<_, { WRITERS as usize + 1 }, _>(|writer| {
            let db = db.clone();
            thread::spawn(move || db.put([writer as u8], vec![0; 300 << 10]).unwrap())
        });
        let seqnos: BTreeSet<_> = writers.into_iter().map(|w| w.join().unwrap()).collect();
        assert_eq!(seqnos.len(), usize::from(WRITERS) + 1);
        assert_eq!(db.stats().memory.queue_bytes, 0);
        assert_eq!(keys_of(&db).len(), usize::from(WRITERS) + 1);
    });
}

/// Increments of one counter by compare-and-set, each in a line of batches that one thread
/// hands in together, some of them too long for the queue: each is answered for itself, in
/// order, and none of the increments is lost.
#[test]
fn schedules_of_batches_handed_in_together() {
    explore("batches_handed_in_together", 20, || {
        let machine = MemoryMachine::new(1);
        let db = Db::builder("/db").memory(64 << 20).env(machine.env()).open().unwrap();
        let writers = std::array::from_fn::<_, { WRITERS as usize }, _>(|writer| {
            let db = db.clone();
            thread::spawn(move || {
                let seen = db.get_record("n").unwrap();
                let number = seen.as_ref().map_or(0, |record| record.value[0]);
                let mut increment = Batch::new();
                match &seen {
                    Some(record) => increment.check_version("n", record.version),
                    None => increment.check_absent("n"),
                }
                increment.put("n", [number + 1]);
                let mut long = Batch::new();
                long.put([writer as u8], vec![0; 1 << 20]);
                let mut again = Batch::new();
                again.check("n", Condition::Present);
                again.delete([writer as u8]);
                let batches = [increment, long.clone(), again, long];
                let answers = db.write_each(batches.map(|batch| (batch, WriteOptions::new())));
                let of = |answer: &crate::Result<SeqNo>| match answer {
                    Ok(seqno) => *seqno,
                    Err(e) => panic!("{e}: {answers:?}"),
                };
                let numbers: Vec<SeqNo> = answers[1..].iter().map(of).collect();
                assert!(numbers.is_sorted_by(|a, b| a < b), "in the order of the line");
                match &answers[0] {
                    Ok(seqno) => assert!(*seqno < numbers[0]),
                    Err(Error::Conflict(conflict)) => {
                        let version = conflict.failed[0].version;
                        assert!(version > seen.map(|record| record.version), "{conflict}");
                    }
                    Err(e) => panic!("{e:?}"),
                }
                u8::from(answers[0].is_ok())
            })
        });
        let done: u8 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        assert!(done > 0, "the first of them cannot be refused");
        assert_eq!(db.get("n").unwrap().unwrap()[..], [done]);
        assert_eq!(db.stats().memory.queue_bytes, 0);
        assert_eq!(db.snapshot().seqno().0, u64::from(3 * WRITERS + done));
        for writer in 0..WRITERS {
            assert_eq!(db.get([writer]).unwrap().unwrap().len(), 1 << 20);
        }
    });
}
