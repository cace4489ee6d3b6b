//! Openings of what lives of any length leave behind.

use super::*;
use crate::Db;
use std::sync::atomic::Ordering;
use tanada_vfs::MemoryMachine;

fn open(machine: &MemoryMachine) -> Db {
    Db::builder("/db").memory(64 << 20).env(machine.env()).open().unwrap()
}

/// Leaves `runs` runs of level 0 of a mebibyte each behind: nobody compacts.
fn leave_runs(machine: &MemoryMachine, runs: u32) {
    let db = open(machine);
    let core = db.default_keyspace().core();
    core.background.inline.store(false, Ordering::Relaxed);
    for run in 0..runs {
        for n in 0..256u32 {
            let key = n.wrapping_mul(0x9e37_79b9).to_be_bytes();
            let value: Vec<u8> =
                (0..4096u32).map(|i| (i.wrapping_mul((run + 7) * (n + 3)) >> 5) as u8).collect();
            db.put([&key[..], &run.to_be_bytes()].concat(), value).unwrap();
        }
        core.flush_before_anybody_writes().unwrap();
    }
    assert_eq!(db.stats().keyspaces[0].levels[0].runs, u64::from(runs));
    db.close().unwrap();
}

/// After a load of 20 GB the next opening merged for three minutes before it answered: any
/// plan was taken once there were many runs.
#[test]
fn an_opening_leaves_long_merges_to_the_threads() {
    let machine = MemoryMachine::new(1);
    leave_runs(&machine, 120);
    let db = open(&machine);
    let stats = db.stats();
    assert!(stats.compaction.bytes_read <= SHORT_MERGE_BYTES, "{:?}", stats.compaction);
    assert!(stats.keyspaces[0].levels[0].runs > 24, "it is still behind");
    // Who uses it brings it into shape.
    db.put("one", "more").unwrap();
    db.compact(..).unwrap();
    assert_eq!(db.stats().keyspaces[0].levels[0].runs, 0);
}
