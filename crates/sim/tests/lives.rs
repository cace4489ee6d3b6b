//! Lives of any length, in any order, whose background threads never get to run: what
//! they leave on the disk, and what an opening does, is bounded by the data.
//!
//! 1,000 times (open, one put of 5 bytes, drop) left 1,003 MiB in 1,894 logs, and an
//! opening took 357 ms: each had begun a log, had asked a thread to flush what the others
//! held, and was over before the thread had done it.

#![allow(clippy::unwrap_used)] // in a test a panic is the answer

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tanada::{
    Batch, Builder, Db, Durability, KeyspaceOptions, PutOptions, Scheduler, WriteOptions,
};
use tanada_vfs::fault::{Faults, Op};
use tanada_vfs::memory::Dice;
use tanada_vfs::{Env, MemoryMachine};

const LIVES: u64 = 1_000;
const PATH: &str = "/db";

/// The background is never asked to work.
#[derive(Debug)]
struct Never;

impl Scheduler for Never {
    fn order(&self) -> u64 {
        0
    }
}

fn builder(env: Env) -> Builder {
    let builder = Db::builder(PATH).memory(16 << 20).durability(Durability::Buffered);
    builder.scheduler(Arc::new(Never)).env(env)
}

/// Scattered: each flush lies over the tables of those before.
fn key(number: u64) -> [u8; 8] {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()
}

/// What is in the directory.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
struct Files {
    logs: u64,
    tables: u64,
    manifests: u64,
    others: u64,
    bytes: u64,
}

fn files(machine: &MemoryMachine) -> Files {
    let mut found = Files::default();
    for entry in machine.env().fs.read_dir(Path::new(PATH)).unwrap_or_default() {
        found.bytes += entry.len;
        match entry.name.as_str() {
            name if name.ends_with(".log") => found.logs += 1,
            name if name.ends_with(".sst") => found.tables += 1,
            name if name.starts_with("MANIFEST") => found.manifests += 1,
            "CURRENT" | "LOCK" => {}
            _ => found.others += 1,
        }
    }
    found
}

/// How a life goes on once it is open, and how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    PutAndClose,
    PutAndKill,
    PutAndCutPower,
    SyncedPutAndCutPower,
    ReadAndClose,
    ReadAndKill,
    /// Killed at one of the calls of its opening; each tenth gets further, and writes.
    KilledWhileOpening,
    CutWhileOpening,
    /// Keys that ascend, from life to life: no flush lies over another's tables.
    PutInOrder,
    /// Keys that descend.
    PutInReverse,
    /// Keys that ascend, of which each life deletes the one of [`QUEUE`] lives before.
    Queue,
    /// Keys that ascend, every second of which expires.
    Expiring,
    /// One put to one of many keyspaces.
    ManyKeyspaces,
    /// Two MiB of values: each life leaves a flush behind.
    FillAndKill,
    /// Any of the above.
    Any,
}

/// Keys that a queue holds.
const QUEUE: u64 = 100;

/// Bounds that no life may leave behind, or go over in an opening.
struct Bounds {
    logs: u64,
    tables: u64,
    bytes: u64,
    /// Calls to the file system that change it, in one opening.
    changes: u64,
}

/// Runs of level 0 that an opening leaves alone.
const LEFT_IN_LEVEL_0: u64 = 24;
/// Tables of a level that are not joined, however small they are, and one that waits.
const JOINED: u64 = 9;

const FEW: Bounds = Bounds { logs: 12, tables: 48, bytes: 16 << 20, changes: 400 };

fn live(life: Life, lives: u64, bounds: &Bounds) {
    let mut machine = MemoryMachine::new(1);
    let mut dice = Dice::new(lives);
    let mut promised = 0;
    // Without a write since, and with one: the first puts make the database.
    drop(builder(machine.env()).open().unwrap());
    if matches!(life, Life::ReadAndClose | Life::ReadAndKill) {
        builder(machine.env()).open().unwrap().put("key", "12345").unwrap();
    }
    let mut most = Files::default();
    for number in 0..lives {
        let now = match life {
            Life::Any => [
                Life::PutAndClose,
                Life::PutAndKill,
                Life::ReadAndClose,
                Life::ReadAndKill,
                Life::KilledWhileOpening,
                Life::CutWhileOpening,
                Life::ManyKeyspaces,
                Life::SyncedPutAndCutPower,
            ][dice.below(8) as usize],
            life => life,
        };
        let faults = Faults::over_memory(&machine);
        if matches!(now, Life::KilledWhileOpening | Life::CutWhileOpening) && number % 10 != 0 {
            faults.cut_after(dice.below(60));
        }
        let opened = builder(faults.env(&machine.env())).open();
        let (cut, changes) = (faults.is_cut(), faults.changes());
        assert!(changes <= bounds.changes, "{now:?} {number}: {changes} changes in an opening");
        if let Ok(db) = opened.as_ref().map_err(|e| assert!(cut, "{number}: {e}")) {
            let key = key(number);
            match now {
                Life::PutInOrder => drop(db.put(number.to_be_bytes(), "12345").unwrap()),
                Life::PutInReverse => drop(db.put((!number).to_be_bytes(), "12345").unwrap()),
                Life::Queue => {
                    db.put(number.to_be_bytes(), "12345").unwrap();
                    if let Some(oldest) = number.checked_sub(QUEUE) {
                        db.delete(oldest.to_be_bytes()).unwrap();
                    }
                }
                Life::Expiring => {
                    let for_ever = PutOptions::new();
                    let options = match number % 2 {
                        0 => for_ever,
                        _ => for_ever.ttl(Duration::from_secs(QUEUE)),
                    };
                    db.default_keyspace().put_with(number.to_be_bytes(), "12345", options).unwrap();
                    machine.clock().advance(Duration::from_secs(1));
                }
                Life::ReadAndClose | Life::ReadAndKill => drop(db.get("key").unwrap()),
                Life::ManyKeyspaces => {
                    let name = format!("keyspace {}", number % 20);
                    let keyspace = db.keyspace(&name, KeyspaceOptions::new()).unwrap();
                    keyspace.put(key, "12345").unwrap();
                }
                Life::FillAndKill => {
                    for part in 0..20u8 {
                        let value = vec![part; 100 << 10];
                        db.put([&(number % 8).to_be_bytes()[..], &[part]].concat(), value).unwrap();
                    }
                }
                _ if cut => {}
                Life::SyncedPutAndCutPower => {
                    let mut batch = Batch::new();
                    batch.put(key, "12345");
                    let synced = WriteOptions::new().durability(Durability::Synced);
                    db.write_with(batch, synced).unwrap();
                }
                _ => match db.put(key, "12345") {
                    Ok(_) => promised = number,
                    Err(e) => assert!(faults.is_cut(), "{number}: {e}"),
                },
            }
        }
        match now {
            Life::PutAndClose
            | Life::ReadAndClose
            | Life::PutInOrder
            | Life::Queue
            | Life::Expiring
            | Life::ManyKeyspaces => drop(opened),
            Life::PutAndCutPower | Life::SyncedPutAndCutPower | Life::CutWhileOpening => {
                machine = machine.crash(number);
                drop(opened);
            }
            _ => {
                machine = machine.kill();
                drop(opened);
            }
        }
        let left = files(&machine);
        most = Files {
            logs: most.logs.max(left.logs),
            tables: most.tables.max(left.tables),
            manifests: most.manifests.max(left.manifests),
            others: most.others.max(left.others),
            bytes: most.bytes.max(left.bytes),
        };
        let what = format!("life {number}, {now:?}: {left:?}");
        assert!(left.logs <= bounds.logs, "{what}");
        assert!(left.tables <= bounds.tables, "{what}");
        // A few KB each, all of them removed by the first opening that comes to its end.
        assert!(left.manifests <= 40 && left.others <= 4, "{what}");
        assert!(left.bytes <= bounds.bytes, "{what}");
    }
    println!("{life:?}: {most:?}");
    let db = builder(machine.env()).open().unwrap();
    let is_there = |number: u64| db.get(key(number)).unwrap().is_some();
    match life {
        Life::PutAndClose | Life::PutAndKill | Life::SyncedPutAndCutPower => {
            assert!((0..lives).all(is_there));
        }
        Life::KilledWhileOpening => assert!(is_there(promised)),
        Life::PutInOrder | Life::PutInReverse => assert_eq!(db.iter().count() as u64, lives),
        Life::Queue => assert_eq!(db.iter().count() as u64, QUEUE),
        Life::Expiring => assert_eq!(db.iter().count() as u64, lives / 2 + QUEUE / 2),
        Life::FillAndKill => assert_eq!(db.iter().count(), 8 * 20),
        _ => {}
    }
    drop(db);
    let left = files(&machine);
    assert!(left.logs <= bounds.logs && left.manifests == 1 && left.others == 0, "{left:?}");
}

#[test]
fn lives_of_one_put_leave_a_bounded_number_of_logs_however_they_end() {
    for life in
        [Life::PutAndClose, Life::PutAndKill, Life::PutAndCutPower, Life::SyncedPutAndCutPower]
    {
        live(life, LIVES, &FEW);
    }
}

#[test]
fn lives_that_only_read_leave_nothing_behind() {
    for life in [Life::ReadAndClose, Life::ReadAndKill] {
        live(life, LIVES, &Bounds { logs: 3, tables: 1, bytes: 4 << 20, changes: 60 });
    }
}

#[test]
fn lives_that_die_while_they_open_leave_a_bounded_number_of_files() {
    for life in [Life::KilledWhileOpening, Life::CutWhileOpening] {
        live(life, LIVES, &Bounds { logs: 16, bytes: 20 << 20, ..FEW });
    }
}

/// 392 lives of one put in order left 49 tables of some hundred bytes, 8 lives in each,
/// and so it would have gone on: a table that lies over no other was moved down, and
/// nothing looked at it any more.
#[test]
fn lives_of_puts_in_order_leave_a_bounded_number_of_tables() {
    for life in [Life::PutInOrder, Life::PutInReverse, Life::Queue, Life::Expiring] {
        live(life, 2 * LIVES, &Bounds { tables: LEFT_IN_LEVEL_0 + JOINED, ..FEW });
    }
}

#[test]
fn lives_in_many_keyspaces_leave_a_bounded_number_of_logs() {
    // Each flush finds one key a keyspace: a table of one key lies over no other.
    let tables = 20 * (LEFT_IN_LEVEL_0 + JOINED);
    live(Life::ManyKeyspaces, 2 * LIVES, &Bounds { tables, changes: 2_000, ..FEW });
}

#[test]
fn lives_that_write_much_and_are_killed_leave_a_bounded_number_of_tables() {
    let bounds = Bounds { logs: 30, tables: 80, bytes: 120 << 20, changes: 2_000 };
    live(Life::FillAndKill, LIVES / 5, &bounds);
}

#[test]
fn lives_in_any_order_leave_a_bounded_number_of_files() {
    live(Life::Any, LIVES, &Bounds { tables: 21 * 27, changes: 2_000, ..FEW });
}

/// A process died each time while the threads were about to remove what it no longer
/// needed: what was found at the opening was left to a thread again.
#[test]
fn what_an_earlier_life_was_about_to_remove_is_removed_by_the_opening() {
    let machine = MemoryMachine::new(1);
    let faults = Faults::over_memory(&machine);
    let db = Db::builder(PATH).env(faults.env(&machine.env())).open().unwrap();
    for n in 0..4 {
        db.put("first", "value").unwrap();
        db.put([n], "value").unwrap();
        db.put("last", "value").unwrap();
        db.flush().unwrap();
    }
    let left: Arc<Mutex<Option<MemoryMachine>>> = Arc::default();
    let (killed, copied) = (Arc::clone(&left), machine.clone());
    faults.before_each_change(move |_, call| {
        if call.op == Op::Remove && call.path.extension().is_some_and(|e| e == "sst") {
            killed.lock().unwrap().get_or_insert_with(|| copied.kill());
        }
    });
    db.compact(..).unwrap();
    drop(db);
    faults.remove_hook();
    let left = left.lock().unwrap().take().expect("compaction makes tables useless");
    assert!(files(&left).tables > 1, "{:?}", files(&left));
    let db = builder(left.env()).open().unwrap();
    let after = files(&left);
    assert_eq!((after.tables, after.logs, after.manifests, after.others), (1, 1, 1, 0));
    assert_eq!(db.iter().count(), 6);
}
