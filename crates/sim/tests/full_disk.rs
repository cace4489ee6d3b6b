//! Deletes on a disk that is full for everybody else, while nobody flushes unless a
//! writer waits for it.

use std::path::Path;
use std::sync::Arc;
use tanada::{Compression, Db, Durability, Error, Scheduler, Tuning};
use tanada_sim::runner::PATH;
use tanada_vfs::MemoryMachine;

/// Work is done only where somebody waits for it, flushes first.
#[derive(Debug)]
struct OnlyWhenWaitedFor;

impl Scheduler for OnlyWhenWaitedFor {
    fn order(&self) -> u64 {
        0
    }
}

fn key(n: u32) -> [u8; 4] {
    n.wrapping_mul(0x9e37_79b1).to_be_bytes()
}

/// The MemTables were full, a delete waited for their flush, and was refused when that
/// had made room: the database took no puts, and that was asked once more.
#[test]
fn a_delete_that_has_waited_for_a_flush_goes_on_though_puts_are_refused() {
    const DELETES: u32 = 40_000;
    let machine = MemoryMachine::new(1);
    let tuning = Tuning {
        memtable_bytes: Some(64 << 10),
        memtables_max_bytes: Some(1 << 20),
        log_bytes: Some(8 << 10),
        ..Tuning::default()
    };
    let db = Db::builder(PATH)
        .memory(16 << 20)
        .durability(Durability::Buffered)
        .compression(Compression::None)
        .tuning(tuning)
        .scheduler(Arc::new(OnlyWhenWaitedFor))
        .env(machine.env())
        .open()
        .unwrap();
    // For ever: so that no merge makes room.
    let snapshot = db.snapshot();
    let mut written = 0;
    let refused = loop {
        if written == 40 {
            machine.set_disk_size(machine.used_space() + (3 << 20));
        }
        match db.put(key(written), vec![written as u8; 8 << 10]) {
            Ok(_) => written += 1,
            Err(e) => break e,
        }
        assert!(written < 2_000, "a full disk refuses");
    };
    assert!(matches!(refused, Error::ReadOnly { .. }), "{refused:?}");

    let (flushes, free) =
        (db.stats().flush.jobs, || machine.env().fs.free_space(Path::new(PATH)).unwrap());
    assert!(free() > 1 << 20, "what is kept free is");
    for n in 0..DELETES {
        // Others take what flushes free: there is never room for puts again.
        machine.set_disk_size(machine.used_space() + (3 << 19));
        let (free, held) = (free(), db.stats().memory.memtable_bytes);
        let deleted = db.delete(key(n));
        assert!(deleted.is_ok(), "{n}: {free} bytes free, {held} in MemTables: {deleted:?}");
    }
    assert!(db.stats().flush.jobs > flushes, "deletes alone filled MemTables");
    assert!(db.stats().read_only.is_some(), "nothing has made room for puts");
    drop(snapshot);
}
