//! What is left of a database in its process once it is closed: nothing, not even while
//! other threads start programs, and however its opening or closing went.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "../../vfs/tests/house/patience.rs"]
mod patience;

use patience::{SetAtEnd, until};
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tanada::vfs::fault::{EIO, Faults, Op, Rule};
use tanada::vfs::{Env, JoinHandle, MemoryMachine, Priority, Threads};
use tanada::{Db, Durability, Error, KeyspaceOptions};

/// The least there may be.
const SMALL: u64 = 16 << 20;

fn open_in(env: Env, path: &Path) -> tanada::Result<Db> {
    Db::builder(path).memory(SMALL).durability(Durability::Buffered).env(env).open()
}

#[test]
fn reopening_succeeds_while_other_threads_start_programs() {
    // doltlite #1205, leveldb #455: closing ended the lock only where no child of the
    // process had a copy of its descriptor, and every child has one until it executes
    // its program. Two threads that ran `true`, and 9 of 10 reopenings were refused: the
    // database was in use by this very process.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let (stop, started) = (AtomicBool::new(false), AtomicUsize::new(0));
    let refused = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert!(Command::new("true").status().unwrap().success());
                    started.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _stop = SetAtEnd(&stop);
        let mut refused = Vec::new();
        for n in 0..50u32 {
            let before = started.load(Ordering::Relaxed);
            match open_in(Env::real(), &path) {
                Ok(db) => {
                    db.put(n.to_be_bytes(), "v").unwrap();
                    // At least one program has been started while it was open.
                    until("programs start", || started.load(Ordering::Relaxed) >= before + 2);
                    if n % 2 == 0 {
                        db.close().unwrap();
                    }
                }
                Err(e) => refused.push(e.to_string()),
            }
        }
        refused
    });
    assert_eq!(refused, Vec::<String>::new());
    assert_eq!(open_in(Env::real(), &path).unwrap().iter().count(), 50);
}

/// Threads of which only the first few start.
#[derive(Debug)]
struct FewThreads {
    real: Arc<dyn Threads>,
    left: AtomicUsize,
}

impl Threads for FewThreads {
    fn spawn(
        &self,
        name: &str,
        priority: Priority,
        body: Box<dyn FnOnce() + Send>,
    ) -> io::Result<Option<JoinHandle>> {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 0 {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        self.real.spawn(name, priority, body)
    }
}

/// Where threads are few, the third did not start, and the opening failed. The first two
/// went on, and with them the lock of a database that nobody could close.
#[test]
fn an_opening_that_cannot_start_its_threads_holds_nothing_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    for left in 0..3 {
        let real = Env::real();
        let threads = Arc::new(FewThreads { real: real.threads.clone(), left: left.into() });
        let refused = open_in(Env { threads, ..real }, &path).unwrap_err();
        assert!(matches!(refused, Error::Io(_)), "{left} threads: {refused}");
        open_in(Env::real(), &path).unwrap().put("k", "v").unwrap();
    }
}

/// Every step of an opening fails once; the lock must be free each time.
#[test]
fn an_opening_that_fails_anywhere_holds_nothing_afterwards() {
    let path = Path::new("/db");
    let mut failed = 0;
    for nth in 1.. {
        let machine = MemoryMachine::new(nth);
        let db = open_in(machine.env(), path).unwrap();
        db.put("k", "v").unwrap();
        db.close().unwrap();
        drop(db);
        let faults = Faults::over_memory(&machine);
        faults.add(Rule::fail(EIO).nth(nth));
        let opened = open_in(faults.env(&machine.env()), path);
        let reached = faults.calls() >= nth;
        faults.clear();
        failed += u32::from(opened.is_err());
        drop(opened);
        machine.env().fs.lock(&path.join("LOCK")).expect("nothing holds it");
        assert_eq!(open_in(machine.env(), path).unwrap().get("k").unwrap().unwrap(), "v");
        if !reached {
            break;
        }
    }
    assert!(failed > 5, "an opening makes more calls than {failed}");
}

/// A thread compacts by hand while another one closes. Closing waited for the threads of
/// the background alone: the directory was another process's already when the compaction
/// still created tables in it and wrote to the manifest.
#[test]
fn the_directory_stays_locked_until_a_compaction_by_hand_has_ended() {
    let path = Path::new("/db");
    let machine = MemoryMachine::new(1);
    let faults = Faults::over_memory(&machine);
    let db = open_in(faults.env(&machine.env()), path).unwrap();
    for _ in 0..2 {
        for n in 0..100u32 {
            db.put(n.to_be_bytes(), [7; 100]).unwrap();
        }
        db.flush().unwrap();
    }
    let (inside, go_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let gate = {
        let (inside, go_on) = (inside.clone(), go_on.clone());
        move || {
            inside.store(true, Ordering::Release);
            until("the test lets it go on", || go_on.load(Ordering::Acquire));
        }
    };
    faults.before_each_change(move |_, call| {
        if call.op == Op::Create && call.path.extension().is_some_and(|e| e == "sst") {
            gate();
        }
    });
    std::thread::scope(|scope| {
        let compacting = scope.spawn(|| db.compact(..));
        let _go_on = SetAtEnd(&go_on);
        until("the compaction makes a table", || inside.load(Ordering::Acquire));
        let closing = scope.spawn(|| db.close());
        until("it is closed", || matches!(db.get("k"), Err(Error::Closed)));
        // Long enough for a close that does not wait; one that does never comes here.
        let lock = path.join("LOCK");
        let free = (0..10_000).any(|_| {
            std::thread::yield_now();
            machine.env().fs.lock(&lock).is_ok()
        });
        go_on.store(true, Ordering::Release);
        closing.join().unwrap().unwrap();
        let ended = compacting.join().unwrap();
        assert!(!free, "others were let in while {ended:?} was on its way");
        machine.env().fs.lock(&lock).expect("closed");
    });
    assert!(matches!(db.keyspace("new", KeyspaceOptions::default()), Err(Error::Closed)));
    assert!(matches!((db.flush(), db.compact(..)), (Err(Error::Closed), Err(Error::Closed))));
    drop(db);
    faults.remove_hook();
    assert_eq!(open_in(machine.env(), path).unwrap().iter().map(Result::unwrap).count(), 100);
}
