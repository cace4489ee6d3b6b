//! Puts and deletes on a disk that others fill: what is refused, what passes, and when
//! it ends.

use crate::{Batch, Compression, Db, Durability, Error};
use std::time::Duration;
use tanada_vfs::MemoryMachine;
use tanada_vfs::fault::{ENOSPC, Faults, Op, Rule};

fn key(n: u32) -> [u8; 4] {
    n.wrapping_mul(0x9e37_79b1).to_be_bytes()
}

/// Deletes are how room is made: what is kept free is enough for their logs, and for the
/// flushes of what they fill.
#[test]
fn a_full_disk_takes_deletes_through_many_flushes_and_refuses_puts() {
    const DELETES: u32 = 80_000;
    let machine = MemoryMachine::new(1);
    let builder = Db::builder("/db").memory(16 << 20).durability(Durability::Buffered);
    let db = builder.compression(Compression::None).env(machine.env()).open().unwrap();
    let value = vec![7; 30 << 10];
    for n in 0..600 {
        db.put(key(n), &value).unwrap();
    }
    let core = db.default_keyspace().core();
    machine.set_disk_size(machine.used_space() + core.reserve_bytes() + (1 << 20));
    let mut written = 600;
    let refused = loop {
        match db.put(key(written), &value) {
            Ok(_) => written += 1,
            Err(e) => break e,
        }
        assert!(written < 2_000, "a full disk refuses");
    };
    assert!(matches!(refused, Error::ReadOnly { .. }), "{refused:?}");

    // A batch of deletes with one put among them is no batch of deletes.
    let mut mixed = Batch::new();
    mixed.delete(key(1));
    mixed.put(key(2), "value");
    assert!(matches!(db.write(mixed), Err(Error::ReadOnly { .. })));
    assert!(db.contains(key(1)).unwrap(), "nothing of it was done");

    let flushes = db.stats().flush.jobs;
    for n in 0..DELETES {
        if n % 1000 == 0 {
            // What failed is tried again after a while.
            machine.clock().advance(Duration::from_secs(2));
        }
        let free = machine.env().fs.free_space("/".as_ref()).unwrap();
        db.delete(key(n)).unwrap_or_else(|e| panic!("delete {n}, {free} bytes free: {e}"));
        assert!(!db.contains(key(n)).unwrap());
    }
    assert!(db.stats().flush.jobs > flushes + 2, "deletes alone filled MemTables");
    assert_eq!(db.iter().count(), 0);

    machine.set_disk_size(u64::MAX);
    db.put("room", "again").unwrap();
    assert_eq!(db.stats().read_only, None);
}

/// A flush that finds the disk full is tried again a second later. Deletes were refused until
/// then though the disk had room again.
#[test]
fn a_delete_waits_for_no_retry_once_the_disk_has_room_again() {
    for healed_by_a_put in [false, true] {
        let machine = MemoryMachine::new(1);
        let faults = Faults::over_memory(&machine);
        let builder = Db::builder("/db").memory(16 << 20).durability(Durability::Buffered);
        let db = builder.env(faults.env(&machine.env())).open().unwrap();
        // No room for tables, and enough for logs.
        faults.add(Rule::fail(ENOSPC).on(Op::Append).path_suffix(".sst"));
        let refused = (0..1_000_000).find_map(|n| db.put(key(n), "value").err()).unwrap();
        assert!(matches!(refused, Error::ReadOnly { .. }), "{refused:?}");
        let tried = faults.calls();
        let again = db.delete(key(0)).unwrap_err();
        assert!(matches!(again, Error::ReadOnly { .. }), "it is as full as before: {again:?}");
        assert!(faults.calls() < tried + 100, "one write does not try again and again");

        // It says that it has room, and still has none: one write in a while tries at once.
        machine.clock().advance(Duration::from_secs(2));
        db.flush().unwrap_err();
        faults.clear();
        if healed_by_a_put {
            db.put("room", "again").unwrap();
        }
        for n in 0..10 {
            db.delete(key(n)).unwrap();
        }
    }
}
