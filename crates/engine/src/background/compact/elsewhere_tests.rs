//! Compactions that another process carries out: what it leaves when it fails, and what it
//! must not do to the database's directory.

use crate::{Compactor, Db, Error, Result, Stats, run_compaction};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tanada_vfs::fault::{EIO, Faults, Op, Rule};
use tanada_vfs::{Env, MemoryMachine};

const DIR: &str = "/db";

/// How a compaction elsewhere goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Goes {
    Well,
    /// All is written, and the answer is an error.
    WrittenButFails,
    /// All is written, and nobody has taken the job.
    WrittenButDeclined,
    /// All is written, and a file besides, under the id behind the last.
    LeavesAStray,
    /// All is written, and the answer has a byte changed.
    AnswersNonsense,
    /// A file that was told of is cut.
    CutsAFile,
}

/// Carries out jobs over a file system of its own.
#[derive(Debug)]
struct Elsewhere {
    env: Env,
    goes: Mutex<Goes>,
    wrote: AtomicBool,
}

impl Compactor for Elsewhere {
    fn compact(&self, job: &[u8]) -> Result<Option<Vec<u8>>> {
        let goes = *self.goes.lock().unwrap();
        let before = tables(&self.env);
        let mut answer = run_compaction(&self.env, DIR, job, 4 << 20)?;
        let new: Vec<_> = tables(&self.env).into_iter().filter(|t| !before.contains(t)).collect();
        self.wrote.fetch_or(!new.is_empty(), Ordering::Relaxed);
        match goes {
            Goes::Well => {}
            Goes::WrittenButFails => return Err(Error::InvalidArgument("lost".into())),
            Goes::WrittenButDeclined => return Ok(None),
            Goes::LeavesAStray => {
                let last = new.iter().max().unwrap().strip_suffix(".sst").unwrap();
                let next =
                    format!("{:0width$}.sst", last.parse::<u64>().unwrap() + 1, width = last.len());
                let mut file = self.env.fs.create(&Path::new(DIR).join(next)).unwrap();
                file.append(b"half").unwrap();
            }
            Goes::AnswersNonsense => *answer.last_mut().unwrap() ^= 1,
            Goes::CutsAFile => {
                let path = Path::new(DIR).join(&new[0]);
                self.env.fs.remove(&path).unwrap();
                let mut file = self.env.fs.create(&path).unwrap();
                file.append(b"half").unwrap();
                file.sync().unwrap();
            }
        }
        Ok(Some(answer))
    }
}

fn tables(env: &Env) -> Vec<String> {
    let names = env.fs.read_dir(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name);
    names.filter(|name| name.ends_with(".sst")).collect()
}

fn tables_of(stats: &Stats) -> u64 {
    let levels = stats.keyspaces.iter().flat_map(|keyspace| &keyspace.levels);
    levels.map(|level| level.tables).sum()
}

/// Two tables that overlap, and who compacts them.
fn two_tables(ours: Env, theirs: Env) -> (Db, Arc<Elsewhere>) {
    let elsewhere = Arc::new(Elsewhere {
        env: theirs,
        goes: Mutex::new(Goes::Well),
        wrote: AtomicBool::new(false),
    });
    let compactor = Arc::clone(&elsewhere);
    let db = Db::builder(DIR).memory(16 << 20).env(ours).compactor(compactor).open().unwrap();
    for value in ["old", "new"] {
        for n in 0..100 {
            db.put(format!("key {n}"), value).unwrap();
        }
        db.flush().unwrap();
    }
    (db, elsewhere)
}

fn holds_all(db: &Db) {
    for n in 0..100 {
        let value = db.get(format!("key {n}")).unwrap();
        assert_eq!(value.as_deref(), Some(&b"new"[..]), "key {n}");
    }
}

/// Each time left the tables behind that it had written, until the next opening; and a job
/// of the background that failed so refused all writes until one succeeded.
#[test]
fn a_compaction_elsewhere_that_fails_leaves_no_file_and_is_done_by_the_database() {
    for goes in
        [Goes::WrittenButFails, Goes::WrittenButDeclined, Goes::AnswersNonsense, Goes::CutsAFile]
    {
        let machine = MemoryMachine::new(1);
        let (db, elsewhere) = two_tables(machine.env(), machine.env());
        *elsewhere.goes.lock().unwrap() = goes;
        assert_eq!(db.compact(..).unwrap().entries_dropped, 100, "{goes:?}");
        assert!(elsewhere.wrote.load(Ordering::Relaxed), "{goes:?}");
        let stats = db.stats();
        assert_eq!(tables(&machine.env()).len() as u64, tables_of(&stats), "{goes:?}");
        let declined = u64::from(goes == Goes::WrittenButDeclined);
        let offloaded = &stats.offloaded;
        assert_eq!((offloaded.done, offloaded.declined), (0, declined), "{goes:?}");
        assert_eq!(offloaded.failed, 1 - declined, "{goes:?}");
        assert_eq!(offloaded.last_failure.is_some(), declined == 0, "{goes:?}");
        assert_eq!(stats.read_only, None);
        holds_all(&db);
        // The ids of the strays are nobody's: later tables are written without a word.
        *elsewhere.goes.lock().unwrap() = Goes::Well;
        for _ in 0..5 {
            db.put("key 0", "new").unwrap();
            db.flush().unwrap();
        }
        db.compact(..).unwrap();
        assert_eq!(db.stats().offloaded.done, 1);
        holds_all(&db);
        drop(db);
        let db = Db::builder(DIR).memory(16 << 20).env(machine.crash(1).env()).open().unwrap();
        holds_all(&db);
    }
}

/// An attempt that was cut elsewhere had written under an id that was then given to a flush.
#[test]
fn a_file_that_a_compactor_does_not_tell_of_goes_and_is_in_nobodys_way() {
    let machine = MemoryMachine::new(1);
    let (db, elsewhere) = two_tables(machine.env(), machine.env());
    *elsewhere.goes.lock().unwrap() = Goes::LeavesAStray;
    db.compact(..).unwrap();
    let stats = db.stats();
    assert_eq!(stats.offloaded.done, 1);
    assert_eq!(tables(&machine.env()).len() as u64, tables_of(&stats));
    for n in 0..20 {
        db.put(format!("later {n}"), "value").unwrap();
        db.flush().unwrap();
    }
    assert_eq!(db.stats().read_only, None);
    holds_all(&db);
}

/// The job synced the directory through a file system of its own. When that failed, names
/// of others were given up, of which the database did not hear: it synced again, was told
/// that all was well, and named a table that a power cut took away.
#[test]
fn a_compaction_elsewhere_leaves_it_to_the_database_to_make_its_names_durable() {
    let machine = MemoryMachine::new(1);
    let (ours, theirs) = (Faults::over_memory(&machine), Faults::over_memory(&machine));
    let (db, _) = two_tables(ours.env(&machine.env()), theirs.env(&machine.env()));
    ours.start_recording();
    theirs.start_recording();
    db.compact(..).unwrap();
    let syncs = |faults: &Faults| {
        faults.take_recorded().iter().filter(|call| call.op == Op::SyncDir).count()
    };
    assert_eq!(syncs(&theirs), 0);
    assert!(syncs(&ours) > 0);
    for seed in 0..5 {
        let db = Db::builder(DIR).memory(16 << 20).env(machine.crash(seed).env()).open().unwrap();
        holds_all(&db);
    }
}

#[test]
fn a_failed_sync_of_the_names_of_a_compaction_elsewhere_keeps_the_inputs() {
    let machine = MemoryMachine::new(1);
    let ours = Faults::over_memory(&machine);
    let (db, elsewhere) = two_tables(ours.env(&machine.env()), machine.env());
    let before = tables(&machine.env());
    ours.add(Rule::fail(EIO).on(Op::SyncDir).nth(1));
    let refused = db.compact(..).unwrap_err();
    assert!(matches!(refused, Error::Poisoned { .. }), "{refused}");
    assert!(elsewhere.wrote.load(Ordering::Relaxed));
    assert_eq!(tables(&machine.env()), before);
    assert!(db.put("late", "value").is_err(), "what is on disk is not known");
    holds_all(&db);
    for seed in 0..5 {
        let db = Db::builder(DIR).memory(16 << 20).env(machine.crash(seed).env()).open().unwrap();
        holds_all(&db);
    }
}
