//! What each writer of a commit group is told, and how many may wait.

use crate::control::account::Part;
use crate::patience::{comes, until};
use crate::{Batch, Db, Durability, Error, KeyspaceOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    let syncs = Arc::clone(&first_syncs);
    faults.before_each_change(move |_, call| {
        if call.op == Op::LogSync && !syncs.swap(true, Ordering::SeqCst) {
            // What is told below shows it when they do not come.
            comes(|| core.commit.queue.lock().pending.len() == WRITERS - 1);
        }
    });
    let told: Vec<_> = std::thread::scope(|scope| {
        let write = |n: usize| {
            let (db, first_syncs) = (&db, &first_syncs);
            scope.spawn(move || {
                until("the first one syncs", || n == 0 || first_syncs.load(Ordering::SeqCst));
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

/// A writer that was answered a moment ago came back just too late for the next sync, and
/// waited for two.
#[test]
fn a_leader_waits_for_the_writer_that_is_coming_back() {
    let machine = MemoryMachine::new(1);
    let db = Db::builder("/db").env(machine.env()).open().unwrap();
    let core = Arc::clone(db.default_keyspace().core());
    {
        let returning = &mut core.commit.queue.lock().returning;
        returning.wait_for_hours();
        // The last sync was for two writers.
        returning.answered(2, 1);
    }
    let before = db.stats();
    std::thread::scope(|scope| {
        scope.spawn(|| db.put("first", "value").unwrap());
        until("the leader waits", || core.commit.queue.lock().returning.awaited);
        scope.spawn(|| db.put("second", "value").unwrap());
    });
    let after = db.stats();
    let of = |stats: &crate::Stats| (stats.wal.batches, stats.wal.syncs);
    let ((batches, syncs), (batches_before, syncs_before)) = (of(&after), of(&before));
    assert_eq!((batches - batches_before, syncs - syncs_before), (2, 1));
}

/// A batch was measured by its bytes in the log, and 230,000 puts of five bytes take
/// eight times as many in a MemTable; and a write to each of a thousand keyspaces takes a
/// thousand first chunks.
#[test]
fn no_batch_takes_more_memory_than_the_budget_gives_to_memtables() {
    /// What a chunk may be larger than what it holds.
    const ROUNDING: u64 = 2 << 20;
    let machine = MemoryMachine::new(1);
    let faults = Faults::over_memory(&machine);
    let builder = Db::builder("/db").memory(16 << 20).durability(Durability::Buffered);
    let db = builder.env(faults.env(&machine.env())).open().unwrap();
    let spaces: Vec<_> = (0..1_000)
        .map(|n| db.keyspace(&format!("keyspace {n}"), KeyspaceOptions::new()).unwrap())
        .collect();
    let core = Arc::clone(db.default_keyspace().core());
    let max = core.reading.budget.memtables_max;
    let most = Arc::new(AtomicU64::new(0));
    // The background works in this thread, so a flush sees all that there was.
    let (seen, looked_at) = (Arc::clone(&most), Arc::clone(&core));
    let look = move || {
        let held = looked_at.reading.budget.memtable_bytes.load(Ordering::Relaxed);
        seen.fetch_max(held, Ordering::Relaxed);
    };
    let at_each_change = look.clone();
    faults.before_each_change(move |_, _| at_each_change());

    let value = vec![7; 1 << 20];
    let mut outcomes = Vec::new();
    for (writes, value_len, keyspaces) in [
        (100, 5, 1),
        (10_000, 5, 1),
        (30_000, 5, 1),
        (230_000, 1, 1),
        (20, 60 << 10, 1),
        (2, 1 << 20, 1),
        (3, 1 << 20, 1),
        (200, 5, 200),
        (1_000, 5, 1_000),
        (5_000, 5, 10),
        (511 * 100, 5, 100),
    ] {
        for round in 0..4u32 {
            let mut batch = Batch::new();
            for n in 0..writes {
                let key = (n as u32).wrapping_mul(0x9E37_79B1) ^ round;
                match keyspaces {
                    1 => batch.put(key.to_be_bytes(), &value[..value_len]),
                    _ => {
                        let space = &spaces[n % keyspaces];
                        batch.put_in(space, key.to_be_bytes(), &value[..value_len]);
                    }
                }
            }
            let written = db.write(batch);
            look();
            let held = most.load(Ordering::Relaxed);
            let what = format!("{writes} of {value_len} in {keyspaces}");
            assert!(held <= max + ROUNDING, "{what}: {held} bytes of MemTables, {max} allowed");
            match written {
                Ok(_) => outcomes.push(true),
                Err(Error::InvalidArgument(e)) => {
                    assert!(e.contains("split it") && !e.contains("--"), "{e}");
                    outcomes.push(false);
                }
                Err(e) => panic!("{what}: {e}"),
            }
        }
    }
    faults.remove_hook();
    let taken: Vec<_> = outcomes.chunks(4).map(|rounds| rounds[0]).collect();
    assert_eq!(
        taken,
        [true, true, true, false, true, true, false, true, false, true, false],
        "what is small is taken, and what is large refused"
    );
}

/// While one sync lasted, every writer that came left a copy of its batch in the queue:
/// sixteen batches of 1 MiB were sixteen more MiB, in a budget of sixteen.
#[test]
fn batches_wait_outside_when_the_queue_holds_its_part_of_the_budget() {
    const WRITERS: usize = 16;
    let machine = MemoryMachine::new(1);
    let faults = Faults::over_memory(&machine);
    let env = faults.env(&machine.env());
    let db = Db::builder("/db").memory(16 << 20).env(env).open().unwrap();
    let core = Arc::clone(db.default_keyspace().core());
    let first_syncs = Arc::new(AtomicBool::new(false));
    let most = Arc::new(AtomicU64::new(0));
    let (syncs, seen) = (Arc::clone(&first_syncs), Arc::clone(&most));
    faults.before_each_change(move |_, call| {
        if call.op == Op::LogSync && !syncs.swap(true, Ordering::SeqCst) {
            let are_all_there = comes(|| {
                let queue = core.commit.queue.lock();
                queue.pending.len() + queue.outside == WRITERS - 1
            });
            if !are_all_there {
                return; // and no byte has waited, which is noticed below
            }
            let queue = core.commit.queue.lock();
            let bytes: usize = queue.pending.iter().map(|w| w.request.body.len()).sum();
            assert_eq!(queue.bytes, bytes as u64);
            assert_eq!(core.reading.budget.account.of(Part::Queue), queue.bytes);
            seen.store(queue.bytes, Ordering::SeqCst);
        }
    });
    std::thread::scope(|scope| {
        for n in 0..WRITERS {
            let (db, first_syncs) = (&db, &first_syncs);
            scope.spawn(move || {
                until("the first one syncs", || n == 0 || first_syncs.load(Ordering::SeqCst));
                // Large ones are handed over, small ones copied.
                let len = if n % 2 == 0 { 100 << 10 } else { 40 << 10 };
                db.put(n.to_be_bytes(), vec![n as u8; len]).unwrap();
            });
        }
    });
    let (most, bound) = (most.load(Ordering::SeqCst), (16 << 20) / 32);
    assert!(most > bound / 2 && most <= bound, "{most} bytes waited");
    let memory = db.stats().memory;
    assert_eq!(memory.queue_bytes, 0);
    assert!(memory.used_bytes <= memory.budget_bytes, "{memory:?}");
    for n in 0..WRITERS {
        assert_eq!(db.get(n.to_be_bytes()).unwrap().unwrap()[0], n as u8);
    }
}
