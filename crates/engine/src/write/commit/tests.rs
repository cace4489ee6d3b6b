//! What each writer of a commit group is told.

use crate::{Db, Error};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tanada_vfs::MemoryMachine;
use tanada_vfs::fault::{EIO, Faults, Op, Rule};

/// scylladb #1490: writers shared one write of the log, it failed, and only the
/// one whose thread had done it heard of that; the others were told that they
/// are safe.
#[test]
fn group_commit_one_waiter_sees_error() {
    const WRITERS: usize = 4;
    let machine = MemoryMachine::new(1);
    let faults = Faults::over_memory(&machine);
    let db = Db::builder("/db").env(faults.env(&machine.env())).open().unwrap();
    // The others come when the first writer syncs, and its sync lasts until they all
    // stand in line. So they are the next group, and its sync fails.
    faults.add(Rule::fail(EIO).on(Op::LogSync).nth(2));
    let core = Arc::clone(db.default_keyspace().core());
    let first_syncs = Arc::new(AtomicBool::new(false));
    let until = |done: &dyn Fn() -> bool| {
        while !done() {
            std::thread::yield_now();
        }
    };
    let syncs = Arc::clone(&first_syncs);
    faults.before_each_change(move |_, call| {
        if call.op == Op::LogSync && !syncs.swap(true, Ordering::SeqCst) {
            until(&|| core.commit.queue.lock().pending.len() == WRITERS - 1);
        }
    });
    let told: Vec<_> = std::thread::scope(|scope| {
        let write = |n: usize| {
            let (db, first_syncs) = (&db, &first_syncs);
            scope.spawn(move || {
                until(&|| n == 0 || first_syncs.load(Ordering::SeqCst));
                (n, db.put(n.to_be_bytes(), "value"))
            })
        };
        let writers: Vec<_> = (0..WRITERS).map(write).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    faults.remove_hook();

    for (n, answer) in &told {
        match answer {
            Ok(_) => assert_eq!(*n, 0, "only the first was synced: {told:?}"),
            Err(e) => assert!(*n > 0 && matches!(e, Error::Poisoned { .. }), "{n}: {e:?}"),
        }
    }
    // What was promised is there, and nothing of the failed group is visible.
    assert_eq!(db.iter().count(), 1);
    let db = Db::builder("/db").env(machine.crash(1).env()).open().unwrap();
    assert!(db.contains(0usize.to_be_bytes()).unwrap());
}
