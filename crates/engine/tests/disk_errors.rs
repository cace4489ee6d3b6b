//! What one failing call to the disk may do to the database, and for how long: a full disk
//! refuses puts until there is room, one unreadable table stops nothing but its own
//! compaction, and only what leaves unknown what is on disk ends the writing.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tanada::vfs::fault::{EIO, ENOSPC, Faults, Op, Rule};
use tanada::vfs::{Clock, Env, MemoryMachine};
use tanada::{Batch, Db, Durability, Error, KeyspaceOptions, WriteOptions};

const DIR: &str = "/db";

fn open(env: Env, durability: Durability) -> Db {
    Db::builder(DIR).memory(16 << 20).durability(durability).env(env).open().unwrap()
}

fn tables_on_disk(machine: &MemoryMachine) -> u64 {
    let names = machine.env().fs.read_dir(Path::new(DIR)).unwrap();
    names.iter().filter(|entry| entry.name.ends_with(".sst")).count() as u64
}

fn tables_of(db: &Db) -> u64 {
    let keyspaces = db.stats().keyspaces;
    keyspaces.iter().flat_map(|k| &k.levels).map(|level| level.tables).sum()
}

/// Two overlapping tables.
fn two_tables(db: &Db) {
    for value in ["old", "new"] {
        for n in 0..100 {
            db.put(format!("key {n}"), value).unwrap();
        }
        db.flush().unwrap();
    }
}

/// An edit of the manifest that met a full disk ended the writing until somebody opened the
/// database again, whoever wanted the edit: a flush, a compaction, a new keyspace.
#[test]
fn a_manifest_on_a_full_disk_refuses_puts_and_ends_by_itself_whoever_wanted_the_edit() {
    type Want = fn(&Db) -> Result<(), Error>;
    let wants: [(&str, Want); 4] = [
        ("flush", |db| db.flush()),
        ("compaction", |db| db.compact(..).map(drop)),
        ("keyspace", |db| db.keyspace("more", KeyspaceOptions::new()).map(drop)),
        ("clock", |db| db.trust_clock().map(drop)),
    ];
    for (name, want) in wants {
        for fails in [Rule::fail(ENOSPC).on(Op::Reserve), Rule::short_write(9, ENOSPC)] {
            let machine = MemoryMachine::new(1);
            let faults = Faults::over_memory(&machine);
            let db = open(faults.env(&machine.env()), Durability::Buffered);
            two_tables(&db);
            db.put("late", "value").unwrap();
            let of_manifests = |path: &Path| path.to_string_lossy().contains("MANIFEST");
            let rule = fails.on(Op::Append).matching(move |call| of_manifests(&call.path));
            faults.add(rule);
            let refused = want(&db).unwrap_err();
            assert!(matches!(refused, Error::ReadOnly { .. }), "{name}: {refused}");
            let why = db.stats().read_only.unwrap();
            assert!(why.contains("the disk is full") && why.contains("MANIFEST"), "{why}");
            assert_eq!(db.get("late").unwrap().as_deref(), Some(&b"value"[..]));

            faults.clear();
            machine.clock().advance(Duration::from_secs(2));
            db.put("again", "value").unwrap();
            assert_eq!(db.stats().read_only, None);
            want(&db).unwrap();
            db.flush().unwrap();
            db.compact(..).unwrap();
            assert_eq!(tables_on_disk(&machine), tables_of(&db), "{name} leaves no table behind");
            for seed in 0..3 {
                let db = open(machine.crash(seed).env(), Durability::Buffered);
                for key in ["late", "again", "key 7"] {
                    assert!(db.get(key).unwrap().is_some(), "{name}, {key}");
                }
            }
        }
    }
}

/// A job made the names of its tables durable, failed, and tried again: the second sync of
/// the directory said that all was well, and the name of a log that the first one had given
/// up was lost with the power, and with it what had been acknowledged as durable.
#[test]
fn a_failed_sync_of_the_directory_in_a_job_ends_the_writing() {
    for by_hand in [false, true] {
        let machine = MemoryMachine::new(1);
        let faults = Faults::over_memory(&machine);
        let db = open(faults.env(&machine.env()), Durability::Buffered);
        two_tables(&db);
        // The next log, whose name nobody has synced.
        let value = vec![7; 100 << 10];
        for n in 0..30 {
            db.put(format!("long {n}"), &value).unwrap();
        }
        faults.add(Rule::fail(EIO).on(Op::SyncDir).nth(1));
        let failed = match by_hand {
            false => db.flush(),
            true => db.compact(..).map(drop),
        };
        assert!(failed.is_err(), "{failed:?}");
        faults.clear();
        machine.clock().advance(Duration::from_secs(2));
        for n in 0..3 {
            let refused = db.put(format!("key {n}"), "value");
            assert!(matches!(refused, Err(Error::Poisoned { .. })), "{refused:?}");
        }
        let why = db.stats().read_only.unwrap();
        assert!(why.contains("sync directory"), "{why}");
        drop(db);
        let db = open(machine.kill().env(), Durability::Synced);
        assert!(db.get("long 29").unwrap().is_some());
        db.put("again", "value").unwrap();
    }
}

/// A job hears that its sync of the directory failed, and ends the writing a moment later. In
/// between a writer may sync the directory for the name of its log, which the failed sync has
/// given up: that the second one says nothing of it was taken for durable.
#[test]
fn a_write_beside_a_job_whose_sync_of_the_directory_failed_is_not_acknowledged() {
    let machine = MemoryMachine::new(1);
    let faults = Faults::over_memory(&machine);
    let db = Arc::new(open(faults.env(&machine.env()), Durability::Buffered));
    two_tables(&db);
    // The next log, whose name nobody has synced.
    let value = vec![7; 100 << 10];
    for n in 0..30 {
        db.put(format!("long {n}"), &value).unwrap();
    }
    let acknowledged = Arc::new(AtomicBool::new(false));
    let (writer, answer) = (Arc::downgrade(&db), Arc::clone(&acknowledged));
    // The job removes its tables when the sync has failed: then somebody writes.
    faults.add(Rule::fail(EIO).on(Op::SyncDir).nth(1));
    faults.before_each_change(move |_, call| {
        let removes = call.op == Op::Remove && call.path.extension() == Some("sst".as_ref());
        if let Some(db) = writer.upgrade().filter(|_| removes) {
            let mut batch = Batch::new();
            batch.put("promised", "value");
            let synced = WriteOptions::new().durability(Durability::Synced);
            answer.store(db.write_with(batch, synced).is_ok(), Ordering::Relaxed);
        }
    });
    db.flush().unwrap_err();
    assert!(!acknowledged.load(Ordering::Relaxed), "its log may vanish with the power");
}

/// One bad sector stopped the compaction of its whole keyspace until the database was opened
/// again, where its checksum told; where the disk did, every write was refused, each second
/// anew.
#[test]
fn one_unreadable_table_is_set_aside_and_all_others_are_compacted() {
    for damaged in [false, true] {
        let machine = MemoryMachine::new(1);
        let faults = Faults::over_memory(&machine);
        let env = || faults.env(&machine.env());
        let db = open(env(), Durability::Buffered);
        let fill = |db: &Db, prefix: &str, round: u32| {
            for n in 0..200 {
                db.put(format!("{prefix} {n:03}"), format!("{round} {}", "v".repeat(100))).unwrap();
            }
            db.flush().unwrap();
        };
        fill(&db, "a", 0);
        let bad = machine.env().fs.read_dir(Path::new(DIR)).unwrap();
        let bad = bad.into_iter().map(|entry| entry.name).find(|name| name.ends_with(".sst"));
        let bad = bad.unwrap();
        drop(db);
        if damaged {
            let (fs, path) = (machine.env().fs, Path::new(DIR).join(&bad));
            let file = fs.open(&path).unwrap();
            let mut bytes = vec![0; file.len() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes[200] ^= 1;
            fs.remove(&path).unwrap();
            fs.create(&path).unwrap().append(&bytes).unwrap();
        } else {
            faults.add(Rule::fail(EIO).on(Op::Read).path_suffix(&bad));
        }
        let db = open(env(), Durability::Buffered);
        faults.start_recording();
        let (mut tries, mut merged) = (0, 0);
        for round in 0..60 {
            fill(&db, "a", round);
            fill(&db, "z", round);
            let stats = db.stats();
            assert_eq!(stats.read_only, None, "round {round}");
            if tries == 0 && stats.tables.set_aside == 1 {
                (tries, merged) = (1, stats.compaction.jobs);
                let why = stats.tables.set_aside_reason.unwrap();
                assert!(why.contains(&bad), "{why}");
            }
        }
        assert_eq!(tries, 1, "nobody has met it");
        assert!(db.stats().compaction.jobs > merged + 5, "the rest goes on");
        let level_0 = db.stats().keyspaces[0].levels[0].runs;
        assert!(level_0 < 20, "{level_0} runs are left in level 0");
        let met = |faults: &Faults| {
            let calls = faults.take_recorded();
            faults.start_recording();
            calls.iter().filter(|c| c.op == Op::Read && c.path.ends_with(&bad)).count()
        };
        let once = met(&faults);
        assert!(once > 0);
        // Longer after each try.
        let mut tries = 0;
        for _ in 0..64 {
            machine.clock().advance(Duration::from_secs(1));
            db.put("z", "value").unwrap();
            tries += usize::from(met(&faults) > 0);
        }
        assert!((4..=7).contains(&tries), "{tries} tries in about a minute");
        assert_eq!((db.stats().tables.set_aside, db.stats().read_only), (1, None));
        // Whoever asks for it is told why it cannot be.
        let refused = db.compact(..).unwrap_err();
        assert!(refused.to_string().contains(&bad), "{refused}");
        if damaged {
            continue;
        }
        faults.clear();
        machine.clock().advance(Duration::from_secs(3_601));
        for round in 0..10 {
            fill(&db, "a", round);
        }
        assert_eq!(db.stats().tables.set_aside, 0);
        assert!(!machine.env().fs.exists(&Path::new(DIR).join(&bad)).unwrap(), "it is merged");
    }
}

/// Panics when a thread that compacts looks at it.
#[derive(Debug)]
struct Trap {
    clock: Arc<dyn Clock>,
    set: AtomicBool,
}

impl Clock for Trap {
    fn wall_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    fn monotonic_ns(&self) -> u64 {
        let name = std::thread::current().name().map(str::to_owned);
        let compacts = name.is_some_and(|name| name.starts_with("tanada-0"));
        assert!(!(compacts && self.set.load(Ordering::Relaxed)), "as this test wants it");
        self.clock.monotonic_ns()
    }

    fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration);
    }
}

/// A panic in a job was caught; one while a thread looked for its next job ended the thread
/// in silence, and whoever waited for a compaction waited for ever.
#[test]
fn a_panic_while_a_thread_looks_for_work_is_told_as_one_in_a_job_is() {
    let machine = MemoryMachine::new(1);
    let env = machine.env();
    let trap = Arc::new(Trap { clock: env.clock.clone(), set: AtomicBool::new(false) });
    let clock = Arc::clone(&trap) as Arc<dyn Clock>;
    let db = open(Env { clock, threads: Env::real().threads, ..env }, Durability::Buffered);
    trap.set.store(true, Ordering::Relaxed);
    // A bound for a build that does not hear of it, not a wait.
    let (started, mut answer) = (Instant::now(), Ok(()));
    while answer.is_ok() && started.elapsed() < Duration::from_secs(30) {
        // Wakes all threads.
        answer = db.put("key", "value").and_then(|_| db.flush());
    }
    assert!(matches!(answer, Err(Error::Poisoned { .. })), "{answer:?}");
    assert!(db.stats().read_only.unwrap().contains("panicked"));
}
