//! fsync_retry_lies: after a failed fsync the kernel takes the lost bytes for
//! written (PostgreSQL 2018; measured on this kernel: ENOSPC, EIO, OK).

use tanada::vfs::MemoryMachine;
use tanada::vfs::fault::{EIO, Faults, Op, Rule};
use tanada::{Db, Durability, Error};

#[test]
fn what_a_new_process_acknowledges_survives_though_a_sync_failed_in_the_one_before() {
    // A sync of the log failed, the process was killed, and the next one found
    // the records of the first in the kernel's cache, readable but on no disk.
    // It synced that log, which succeeded without writing anything, went on in
    // a new log behind it, and acknowledged a write there as synced. The power
    // cut then took the records, and with them, as what survives is a prefix,
    // the acknowledged write.
    for seed in 0..20 {
        let machine = MemoryMachine::new(seed);
        let faults = Faults::over_memory(&machine);
        let open =
            |env| Db::builder("/db").durability(Durability::Buffered).env(env).open().unwrap();
        let db = open(faults.env(&machine.env()));
        db.put("first", "buffered").unwrap();
        faults.add(Rule::fail(EIO).on(Op::LogSync).nth(1));
        let mut batch = tanada::Batch::new();
        batch.put("second", "unknown");
        let synced = tanada::WriteOptions::new().durability(Durability::Synced);
        let failed = db.write_with(batch, synced).unwrap_err();
        assert!(matches!(failed, Error::Poisoned { .. }), "{failed}");

        let machine = machine.kill();
        let db = open(machine.env());
        assert_eq!(db.get("first").unwrap().as_deref(), Some(&b"buffered"[..]));
        let mut batch = tanada::Batch::new();
        batch.put("third", "synced");
        db.write_with(batch, synced).unwrap();

        let machine = machine.crash(seed);
        let db = open(machine.env());
        assert_eq!(db.get("third").unwrap().as_deref(), Some(&b"synced"[..]), "seed {seed}");
        assert_eq!(db.get("first").unwrap().as_deref(), Some(&b"buffered"[..]), "seed {seed}");
    }
}
