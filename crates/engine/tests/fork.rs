//! A database and the children forked from the process that has it open.
#![allow(unsafe_code, clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "../../vfs/tests/house/mod.rs"]
mod forking;
#[path = "../../vfs/tests/house/patience.rs"]
mod patience;

use forking::{Side, fork, in_a_child, ran_alone};
use patience::{SetAtEnd, until};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tanada::{
    Batch, Db, Durability, Error, KeyspaceOptions, PutOptions, Result, Since, WriteOptions,
};

/// The least there may be.
const SMALL: u64 = 16 << 20;

fn open(path: &Path) -> Db {
    Db::builder(path).memory(SMALL).durability(Durability::Buffered).open().unwrap()
}

/// Sees that all is refused in a child of `parent`.
struct Refusals {
    parent: u32,
}

impl Refusals {
    /// # Panics
    /// At the first call that is not refused: what follows might wait for ever.
    fn of<T>(&self, call: &str, answer: Result<T>) {
        match answer {
            Err(Error::Forked { pid }) if pid == self.parent => {}
            Err(e) => panic!("{call} failed with {e:?}"),
            Ok(_) => panic!("{call} was done in a child"),
        }
    }
}

#[test]
fn fork_with_an_open_database() {
    // leveldb-ruby #21: a program opened a database and forked workers, which went on
    // with the handle that they had inherited. A child's write overwrote its parent's
    // log where the parent had just written, and both were acknowledged; closing in the
    // child panicked, for the threads to be joined were not there.
    if ran_alone("fork_with_an_open_database") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = open(&path);
    let users = db.keyspace("users", KeyspaceOptions::default()).unwrap();
    for n in 0..100u32 {
        db.put(n.to_be_bytes(), "flushed").unwrap();
        users.put(n.to_be_bytes(), "flushed").unwrap();
    }
    db.flush().unwrap();
    for n in 50..150u32 {
        db.put(n.to_be_bytes(), "logged").unwrap();
    }
    let snapshot = db.snapshot();
    let mut iter = db.iter();
    assert!(iter.next().unwrap().is_ok() && iter.next_back().unwrap().is_ok());
    let mut untouched = users.iter();
    let mut cursor = db.cursor();
    cursor.seek(60u32.to_be_bytes()).unwrap();
    let kept = db.get(0u32.to_be_bytes()).unwrap().unwrap();
    let mut changes = db.changes(Since::Oldest).unwrap();
    assert!(changes.wait(Duration::ZERO).unwrap());
    let position = changes.position();
    let mut hold = db.hold_changes(position).unwrap();

    let told = match fork() {
        Side::Parent(child) => child.told(),
        Side::Child(teller) => {
            let refused = Refusals { parent: std::os::unix::process::parent_id() };
            let mut batch = Batch::new();
            batch.put("batch", "child");
            batch.delete_in(&users, "batch");
            refused.of("put", db.put("put", "child"));
            refused.of("put_with", db.put_with("put", "child", PutOptions::new()));
            refused.of("delete", db.delete(60u32.to_be_bytes()));
            refused.of("write", db.write(batch.clone()));
            let synced = WriteOptions::new().durability(Durability::Synced);
            refused.of("write_with", db.write_with(batch, synced));
            refused.of("write of nothing", db.write(Batch::new()));
            refused.of("put in a keyspace", users.put("put", "child"));
            refused.of("get", db.get("put"));
            refused.of("get_record", db.get_record(0u32.to_be_bytes()));
            refused.of("try_get_record", users.try_get_record(0u32.to_be_bytes()));
            refused.of("contains", db.contains(0u32.to_be_bytes()));
            refused.of("multi_get", db.multi_get([0u32.to_be_bytes()]));
            refused.of("multi_get of nothing", db.multi_get::<&str>([]));
            refused.of("explain", db.explain(0u32.to_be_bytes()));
            refused.of("keyspace, known", db.keyspace("users", KeyspaceOptions::default()));
            refused.of("keyspace, new", db.keyspace("new", KeyspaceOptions::default()));
            refused.of("flush", db.flush());
            refused.of("flush of a keyspace", users.flush());
            refused.of("compact", db.compact(..));
            refused.of("verify", db.verify());
            refused.of("snapshot get", snapshot.get(0u32.to_be_bytes()));
            refused.of("snapshot get_in", snapshot.get_in(&users, 0u32.to_be_bytes()));
            refused.of("snapshot iter", snapshot.iter().next().unwrap());
            refused.of("new snapshot", db.snapshot().get(0u32.to_be_bytes()));
            refused.of("next", iter.next().unwrap());
            assert!(iter.next().is_none(), "an iterator ends with its error");
            refused.of("next_back", untouched.next_back().unwrap());
            refused.of("new iterator", db.range(..).next().unwrap());
            refused.of("new prefix", users.prefix("a").next_back().unwrap());
            refused.of("cursor next", cursor.next());
            refused.of("cursor prev", cursor.prev());
            refused.of("cursor seek", cursor.seek("a"));
            refused.of("cursor seek_first", cursor.seek_first());
            refused.of("cursor seek_last", cursor.seek_last());
            refused.of("cursor seek_for_prev", cursor.seek_for_prev("a"));
            refused.of("new cursor", db.cursor().seek_first());
            refused.of("snapshot cursor", snapshot.cursor().seek_last());
            refused.of("changes next", changes.next().map(|group| group.is_some()));
            refused.of("changes wait", changes.wait(Duration::from_secs(60)));
            refused.of("hold move_to", hold.move_to(position));
            refused.of("new changes", db.changes(Since::Now));
            refused.of("new hold", db.hold_changes(position));
            refused.of("close", db.close());
            refused.of("close again", db.clone().close());
            let mut wrong = String::new();
            if !db.stats().read_only.is_some_and(|why| why.contains("forked")) {
                wrong.push_str("stats do not say why; ");
            }
            if &*kept != b"flushed" || cursor.entry().is_none() || users.name() != "users" {
                wrong.push_str("what had been read is gone; ");
            }
            match Db::open(&path) {
                Err(Error::Locked { pid, .. }) if pid == Some(refused.parent) => {}
                other => wrong.push_str(&format!("opened what the parent has open: {other:?}; ")),
            }
            drop((kept, iter, untouched, cursor, snapshot));
            drop((changes, hold));
            drop((users, db));
            // A database of its own is like any other.
            let own = open(&dir.path().join("own"));
            own.put("k", "v").unwrap();
            own.flush().unwrap();
            if own.get("k").unwrap().is_none() || own.iter().count() != 1 {
                wrong.push_str("its own database does not work; ");
            }
            own.close().unwrap();
            teller.exit(&wrong)
        }
    };
    assert_eq!(told, "", "in the child");

    // Nothing of it reached the parent, whose readers go on where they stood.
    assert_eq!(cursor.entry().unwrap().0, 60u32.to_be_bytes());
    cursor.next().unwrap();
    assert_eq!(cursor.entry().unwrap().0, 61u32.to_be_bytes());
    assert_eq!(iter.by_ref().map(Result::unwrap).count(), 148);
    assert_eq!(untouched.by_ref().map(Result::unwrap).count(), 100);
    assert!(changes.next().unwrap().is_some());
    hold.move_to(changes.position()).unwrap();
    drop((iter, untouched, cursor, snapshot, changes, hold));
    db.put("after", "parent").unwrap();
    users.put("after", "parent").unwrap();
    assert_eq!(db.verify().unwrap().damage, Vec::<String>::new());
    db.close().unwrap();
    drop((users, db));
    let db = open(&path);
    let users = db.keyspace("users", KeyspaceOptions::default()).unwrap();
    assert_eq!((db.iter().count(), users.iter().count()), (151, 101));
    assert_eq!(db.keyspaces(), ["users"]);
    for key in ["put", "batch"] {
        assert!(!db.contains(key).unwrap() && !users.contains(key).unwrap());
    }
    assert_eq!(db.get(60u32.to_be_bytes()).unwrap().unwrap(), "logged");
    assert_eq!(db.get("after").unwrap().unwrap(), "parent");
    db.compact(..).unwrap();
    assert_eq!(db.iter().map(Result::unwrap).count(), 151);
}

/// What the error tells a child to do.
#[test]
fn a_child_opens_the_database_once_its_parent_has_closed_it() {
    if ran_alone("a_child_opens_the_database_once_its_parent_has_closed_it") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = open(&path);
    db.put("parent", "before").unwrap();
    let (mut ear, mut mouth) = std::io::pipe().unwrap();
    let child = match fork() {
        Side::Parent(child) => child,
        Side::Child(teller) => {
            ear.read_exact(&mut [0]).unwrap();
            let refused = db.put("child", "inherited").unwrap_err();
            drop(db);
            let db = open(&path);
            let seen = db.get("parent").unwrap().unwrap();
            db.put("child", "its own").unwrap();
            // What it made itself it may give to a child of its own as little.
            let below = in_a_child(|| db.get("child").unwrap_err().to_string());
            let pid = std::process::id();
            let told = below.contains(&format!("opened by process {pid}"));
            db.close().unwrap();
            let seen = String::from_utf8_lossy(&seen).into_owned();
            teller.exit(&format!("{seen} {told} {refused}"))
        }
    };
    db.close().unwrap();
    mouth.write_all(b".").unwrap();
    let pid = std::process::id();
    let refused = format!(
        "the database was opened by process {pid}, and this process was forked from it; a forked child must open the database itself, once process {pid} has closed it"
    );
    assert_eq!(child.told(), format!("before true {refused}"));
    // The old handle is closed, not forked.
    assert!(matches!(db.get("child"), Err(Error::Closed)));
    assert_eq!(open(&path).get("child").unwrap().unwrap(), "its own");
}

/// What other threads do, over and over, while children are forked.
type Work<'w> = &'w (dyn Fn(u64) + Sync);

/// Forks children, 30 of them, while other threads do each of `works`. Answers what the
/// first child told that told anything: what was wrong, or how it ended.
fn forked_amid(works: &[Work<'_>], child: impl Fn(u32) -> String) -> Option<String> {
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for work in works {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    work(rounds.fetch_add(1, Ordering::Relaxed));
                }
            });
        }
        let _stop = SetAtEnd(&stop);
        let mut told = (0..30).map(|number| {
            let before = rounds.load(Ordering::Relaxed);
            until("the others are at work", || rounds.load(Ordering::Relaxed) >= before + 50);
            match fork() {
                Side::Parent(child) => child.told(),
                Side::Child(teller) => {
                    // SAFETY: ends this process when it hangs, so that the test fails.
                    unsafe { libc::alarm(20) };
                    teller.exit(&child(number))
                }
            }
        });
        told.find(|told| !told.is_empty())
    })
}

/// The other threads hold locks when a child is forked, and nobody in the child ever lets
/// go of them: whatever takes one there waits for ever.
#[test]
fn a_child_of_a_busy_process_is_refused_and_waits_for_nothing() {
    if ran_alone("a_child_of_a_busy_process_is_refused_and_waits_for_nothing") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir.path().join("db"));
    let key = |n: u64| (n % 2_000).to_be_bytes();
    let works: [Work<'_>; 4] = [
        &|n| drop(db.get(key(n)).unwrap()),
        &|n| assert_ne!(db.put(key(n), [8; 100]).unwrap().0, 0),
        &|_| drop((db.snapshot(), db.stats(), db.iter().next())),
        &|_| db.flush().unwrap(),
    ];
    let parent = std::process::id();
    let told = forked_amid(&works, |_| {
        let refused = Refusals { parent };
        refused.of("put", db.put("k", "child"));
        refused.of("get", db.get("k"));
        refused.of("multi_get", db.multi_get(["k"]));
        refused.of("snapshot", db.snapshot().get("k"));
        refused.of("iter", db.iter().next().unwrap());
        refused.of("cursor", db.cursor().seek_first());
        refused.of("keyspace", db.keyspace("new", KeyspaceOptions::default()));
        refused.of("flush", db.flush());
        refused.of("compact", db.compact(..));
        refused.of("verify", db.verify());
        refused.of("close", db.close());
        drop((db.stats(), db.keyspaces(), db.clone()));
        String::new()
    });
    assert_eq!(told, None, "in a child");
    assert_eq!(db.verify().unwrap().damage, Vec::<String>::new());
    db.close().unwrap();
}

/// Threads that were reading at the fork are readers for ever in the child, and what it
/// replaces in a database of its own waits until no reader is left: its first flush
/// waited for ever.
#[test]
fn a_child_forked_amid_reads_flushes_a_database_of_its_own() {
    if ran_alone("a_child_forked_amid_reads_flushes_a_database_of_its_own") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir.path().join("db"));
    for n in 0..1_000u64 {
        db.put(n.to_be_bytes(), [7; 100]).unwrap();
    }
    let read = |n: u64| assert!(db.contains((n % 1_000).to_be_bytes()).unwrap());
    let told = forked_amid(&[&read, &read, &read], |number| {
        let own = open(&dir.path().join(format!("own-{number}")));
        for n in 0..3u64 {
            own.put(n.to_be_bytes(), "v").unwrap();
            own.flush().unwrap();
        }
        let entries = own.iter().map(Result::unwrap).count();
        own.close().unwrap();
        if entries == 3 { String::new() } else { format!("{entries} entries") }
    });
    assert_eq!(told, None, "in a child");
    db.close().unwrap();
}
