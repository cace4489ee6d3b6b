//! No sequence number names two writes, whatever a power cut takes: a program that was told
//! one may hold on to it, and ask later whether the key still has that version.
//!
//! Below `Synced` a power cut may take the tail of the log. The next life gave its numbers
//! to other writes: `If-Match` with the ETag of a lost write changed one that its client had
//! never seen.

#![allow(clippy::unwrap_used)] // of outcomes that must not fail

mod house;

use std::collections::HashMap;
use tanada::vfs::MemoryMachine;
use tanada::{Batch, Db, Durability, WriteOptions};

fn open(machine: &MemoryMachine) -> Db {
    Db::builder("/db").memory(16 << 20).threads(1).env(machine.env()).open().unwrap()
}

fn put(db: &Db, n: u64, durability: Durability) -> u64 {
    let mut batch = Batch::new();
    batch.put("key", n.to_le_bytes());
    db.write_with(batch, WriteOptions::new().durability(durability)).unwrap().0
}

#[derive(Clone, Copy, Debug)]
enum End {
    PowerCut,
    Kill,
    Close,
    Drop,
}

#[test]
fn no_number_is_given_twice_whatever_the_durability_and_the_end() {
    for durability in [Durability::Memory, Durability::Buffered, Durability::Synced] {
        for end in [End::PowerCut, End::Kill, End::Close, End::Drop] {
            for flushes in [false, true] {
                let what = format!("{durability:?}, {end:?}, flushes: {flushes}");
                let mut machine = MemoryMachine::new(1);
                let mut given: HashMap<u64, u64> = HashMap::new();
                let mut writes = 0;
                for life in 0..20u64 {
                    let db = open(&machine);
                    for _ in 0..life % 4 {
                        writes += 1;
                        let next = db.stats().next_seqno;
                        let seqno = put(&db, writes, durability);
                        assert_eq!(seqno, next, "{what}: the statistics say another");
                        if let Some(other) = given.insert(seqno, writes) {
                            panic!("{what}: {seqno} is write {other} and {writes}");
                        }
                    }
                    if let Some(record) = db.get_record("key").unwrap() {
                        let write = u64::from_le_bytes((*record.value).try_into().unwrap());
                        assert_eq!(given[&record.version.0], write, "{what}");
                    }
                    if flushes && life % 3 == 0 {
                        db.flush().unwrap();
                    }
                    let next = match end {
                        End::PowerCut => machine.crash(life),
                        End::Kill => machine.kill(),
                        End::Close => {
                            db.close().unwrap();
                            machine.clone()
                        }
                        End::Drop => machine.clone(),
                    };
                    drop(db);
                    machine = next;
                }
                let greatest = given.keys().max().copied().unwrap();
                if matches!(end, End::Close | End::Drop) {
                    assert_eq!(greatest, writes, "{what}: nothing is left out behind a clean end");
                }
                // Twenty lives; 2^53 is what every client can tell apart.
                assert!(greatest < 1 << 28, "{what}: {greatest}");
            }
        }
    }
}

#[test]
fn lives_that_only_read_cost_no_numbers_and_no_sync_at_their_end() {
    use tanada::vfs::fault::{Faults, Op};
    let machine = MemoryMachine::new(1);
    assert_eq!(put(&open(&machine), 1, Durability::Synced), 1);
    for _ in 0..100 {
        let faults = Faults::over_memory(&machine);
        let db = Db::builder("/db").memory(16 << 20).threads(1).env(faults.env(&machine.env()));
        let db = db.open().unwrap();
        assert!(db.get("key").unwrap().is_some());
        faults.start_recording();
        db.close().unwrap();
        let calls = faults.take_recorded();
        let is_sync = |op| matches!(op, Op::Sync | Op::LogSync | Op::SyncDir);
        let syncs = calls.iter().filter(|call| is_sync(call.op)).count();
        assert_eq!(syncs, 0, "{calls:?}");
    }
    assert_eq!(put(&open(&machine), 2, Durability::Synced), 2);
}

#[test]
fn a_database_has_one_lineage_for_life_and_another_has_another() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine);
    let lineage = db.lineage();
    assert_eq!(db.stats().lineage, lineage.to_string());
    assert_eq!(lineage.to_string().len(), 16);
    let other =
        Db::builder("/other").memory(16 << 20).threads(1).env(machine.env()).open().unwrap();
    assert_ne!(other.lineage(), lineage);
    drop(db);
    for seed in 0..10 {
        let machine = machine.crash(seed);
        assert_eq!(open(&machine).lineage(), lineage);
    }
}

#[test]
fn a_database_of_an_earlier_version_gets_a_lineage_and_leaves_numbers_out() {
    // That version did not note how far its numbers had been given.
    let kept = |golden| [house::kept_first(golden), house::kept_second(golden)];
    let all = house::GOLDEN.into_iter().flat_map(|golden| kept(golden).map(|f| (golden, f)));
    for (golden, files) in all {
        let machine = house::machine(&files);
        let (lineage, seqno) = {
            let db = house::open(&machine, house::DIR).unwrap();
            let before = db.snapshot().seqno().0;
            let seqno = put(&db, 1, Durability::Synced);
            assert!(seqno > before + 1_000_000, "{}: {seqno} behind {before}", golden.name);
            (db.lineage(), seqno)
        };
        let db = house::open(&machine, house::DIR).unwrap();
        assert_eq!(db.lineage(), lineage, "{}", golden.name);
        assert_eq!(put(&db, 2, Durability::Synced), seqno + 1, "{}", golden.name);
    }
}
