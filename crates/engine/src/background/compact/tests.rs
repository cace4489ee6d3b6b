//! What a compaction by hand says about itself.

use crate::Db;
use std::time::Duration;
use tanada_vfs::fault::Faults;
use tanada_vfs::{Clock, Env, MemoryMachine};

/// Two tables: of four keys, two are written again and one is deleted.
fn two_tables(env: Env) -> Db {
    let db = Db::builder("db").memory(16 << 20).env(env).open().unwrap();
    for key in ["a", "b", "c", "d"] {
        db.put(key, "first").unwrap();
    }
    db.flush().unwrap();
    db.put("a", "second").unwrap();
    db.put("c", "second").unwrap();
    db.delete("d").unwrap();
    db.flush().unwrap();
    db
}

#[test]
fn its_summary_says_what_was_there_what_is_left_and_what_has_gone() {
    let db = two_tables(Env::memory(1));
    let before = db.stats();
    let summary = db.compact(..).unwrap();
    let after = db.stats();
    // Three old versions, and the tombstone.
    assert_eq!(summary.entries_dropped, 4);
    assert_eq!((summary.tables_before, summary.tables_after), (2, 1));
    let jobs = after.compaction.jobs - before.compaction.jobs;
    assert!(jobs > 0);
    assert_eq!(summary.jobs, jobs);
    let again = db.compact(..).unwrap();
    assert_eq!((again.bytes_before, again.bytes_after), (summary.bytes_after, summary.bytes_after));
    assert_eq!((again.jobs, again.entries_dropped), (0, 0));
}

#[test]
fn compactions_are_busy_for_as_long_as_they_run() {
    let machine = MemoryMachine::new(1);
    let faults = Faults::over_memory(&machine);
    let db = two_tables(faults.env(&machine.env()));
    machine.clock().advance(Duration::from_secs(1000));
    let moved = machine.clone();
    faults.before_each_change(move |_, _| moved.clock().advance(Duration::from_millis(1)));
    let before = machine.clock().monotonic_ns();
    db.compact(..).unwrap();
    let passed = machine.clock().monotonic_ns() - before;
    let busy = db.stats().compaction.busy_ns;
    assert!(busy >= 1_000_000 && busy <= passed, "{busy} of {passed}");
}

/// Load, compact, take a snapshot, overwrite all, compact, drop the snapshot: a compaction
/// by hand found nothing to do, and space stayed double for good.
#[test]
fn what_was_kept_for_a_snapshot_goes_with_the_next_compaction_by_hand() {
    let keys = || 0..500u32;
    for compacted in [true, false] {
        let db = Db::builder("db").memory(16 << 20).env(Env::memory(1)).open().unwrap();
        for n in keys() {
            db.put(n.to_be_bytes(), [1; 100]).unwrap();
        }
        if compacted {
            db.compact(..).unwrap();
        }
        let snapshot = db.snapshot();
        for n in keys() {
            db.put(n.to_be_bytes(), [2; 100]).unwrap();
        }
        if compacted {
            db.compact(..).unwrap();
        }
        // With one MemTable for both a plain flush is enough.
        db.flush().unwrap();
        assert_eq!(db.stats().keyspaces[0].table_entries, 1000);
        assert_eq!(db.compact(..).unwrap().entries_dropped, 0, "it is read at");
        assert_eq!(snapshot.iter().count(), 500);
        drop(snapshot);
        let summary = db.compact(..).unwrap();
        assert_eq!(summary.entries_dropped, 500);
        assert_eq!(db.stats().keyspaces[0].table_entries, 500);
        assert_eq!(db.compact(..).unwrap().jobs, 0);
        for n in keys() {
            assert_eq!(db.get(n.to_be_bytes()).unwrap().as_deref(), Some(&[2; 100][..]));
        }
    }
}
