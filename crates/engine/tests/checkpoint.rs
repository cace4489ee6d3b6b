//! Checkpoints: one moment of the whole database, there whole or not at all, and from then
//! on a database that shares nothing with the first but what neither changes.
//!
//! The machine is in memory, so that every call to it can fail or be the last one, and so
//! that others can come in between any two of them. What only real file systems do is in
//! `checkpoint_files`.

#![allow(clippy::unwrap_used)] // of outcomes that must not fail

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tanada::vfs::fault::{EIO, EMFILE, EMLINK, ENOSPC, EOPNOTSUPP, EPERM, EXDEV, Faults, Op, Rule};
use tanada::vfs::{Clock, Env, FileSystem, MemoryMachine};
use tanada::{Batch, CheckpointDir, Db, Durability, Error, KeyspaceOptions, PutOptions};

const DB: &str = "/db";
const COPY: &str = "/copies/monday";
const SMALL: u64 = 16 << 20;

/// Key and value of everything, by keyspace.
type Contents = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

fn builder(env: Env, path: impl AsRef<Path>) -> tanada::Builder {
    Db::builder(path).durability(Durability::Buffered).memory(SMALL).env(env)
}

fn open(env: Env, path: impl AsRef<Path>) -> Db {
    builder(env, path).open().unwrap()
}

/// A machine with a directory for copies.
fn machine() -> MemoryMachine {
    let machine = MemoryMachine::new(1);
    let fs = machine.env().fs;
    fs.create_dir_all(Path::new("/copies")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    machine
}

fn contents(db: &Db) -> Contents {
    let mut all = Contents::new();
    let names = std::iter::once("default".to_owned()).chain(db.keyspaces());
    for name in names {
        let keyspace = db.find_keyspace(&name).unwrap().unwrap();
        let entries = keyspace.iter().map(Result::unwrap);
        all.insert(name, entries.map(|(key, value)| (key.to_vec(), value.to_vec())).collect());
    }
    all
}

fn verify(db: &Db) {
    assert_eq!(db.verify().unwrap().damage, Vec::<String>::new());
}

fn names(fs: &dyn FileSystem, dir: &str) -> Vec<String> {
    fs.read_dir(Path::new(dir)).unwrap().into_iter().map(|entry| entry.name).collect()
}

/// Writes of three keyspaces: some in tables of several levels, some overwritten, deleted
/// or expiring, some in MemTables alone.
fn fill(db: &Db) {
    let users = db.keyspace("users", KeyspaceOptions::new()).unwrap();
    let quiet = db.keyspace("quiet", KeyspaceOptions::new()).unwrap();
    quiet.put("only", "in the log").unwrap();
    for round in 0..3u32 {
        for n in 0..200u32 {
            db.put(n.to_be_bytes(), [round as u8; 300]).unwrap();
            users.put((n * 2).to_be_bytes(), [n as u8; 100]).unwrap();
        }
        users.delete((2 * round).to_be_bytes()).unwrap();
        db.flush().unwrap();
    }
    db.put_with("short", "lived", PutOptions::new().ttl(Duration::from_secs(5))).unwrap();
    mixed_batch(db, 7);
}

/// One write in each keyspace, all or nothing.
fn mixed_batch(db: &Db, n: u32) {
    let mut batch = Batch::new();
    batch.put(b"batch", n.to_be_bytes());
    for name in ["users", "quiet"] {
        let keyspace = db.find_keyspace(name).unwrap().unwrap();
        batch.put_in(&keyspace, b"batch", n.to_be_bytes());
    }
    db.write(batch).unwrap();
}

/// Runs `act` before the first change of a file with this ending that a checkpoint makes.
fn meanwhile(faults: &Faults, ending: &'static str, act: impl FnOnce() + Send + 'static) {
    let act = Mutex::new(Some(act));
    faults.before_each_change(move |_, call| {
        let path = call.path.to_string_lossy();
        if path.starts_with("/copies") && path.ends_with(ending) {
            let act = act.lock().unwrap().take();
            if let Some(act) = act {
                act();
            }
        }
    });
}

#[test]
fn a_checkpoint_is_the_moment_of_its_call_and_a_database_of_its_own() {
    let machine = machine();
    let db = open(machine.env(), DB);
    fill(&db);
    let before = contents(&db);
    let summary = db.checkpoint(COPY).unwrap();
    assert_eq!(summary.path, Path::new(COPY));
    assert_eq!(summary.seqno, db.snapshot().seqno().0);
    assert_eq!((summary.keyspaces, summary.copied_tables), (3, 0));
    assert!(summary.tables > 2 && summary.linked_bytes > 0 && summary.log_bytes > 256);
    assert!(!names(&*machine.env().fs, COPY).iter().any(|name| name.starts_with("LOCK")));

    // Whatever the source does from here on is its own.
    mixed_batch(&db, 8);
    for n in 0..200u32 {
        db.delete(n.to_be_bytes()).unwrap();
    }
    db.flush().unwrap();
    db.compact(..).unwrap();
    let after = contents(&db);

    let copy = open(machine.env(), COPY);
    assert_eq!(contents(&copy), before);
    verify(&copy);
    assert_eq!(copy.snapshot().seqno().0, summary.seqno, "the numbers go on from there");
    assert_eq!(copy.put("new", "in the copy").unwrap().0, summary.seqno + 1);
    for n in 0..200u32 {
        copy.put(n.to_be_bytes(), "changed").unwrap();
    }
    copy.flush().unwrap();
    copy.compact(..).unwrap();
    let changed = contents(&copy);
    drop(copy);
    verify(&db);
    assert_eq!(contents(&db), after);
    drop(db);
    assert_eq!(contents(&open(machine.env(), DB)), after);
    assert_eq!(contents(&open(machine.env(), COPY)), changed);
}

#[test]
fn what_expires_expires_in_a_checkpoint_too_though_its_clock_is_behind() {
    let machine = machine();
    let db = open(machine.env(), DB);
    fill(&db);
    machine.clock().advance(Duration::from_secs(6));
    assert_eq!(db.get("short").unwrap(), None);
    db.checkpoint(COPY).unwrap();
    let now_ms = machine.clock().wall_ms();
    machine.clock().set_wall_ms(now_ms - 6_000);
    assert_eq!(open(machine.env(), COPY).get("short").unwrap(), None);
}

#[test]
fn checkpoints_of_an_empty_database_of_many_keyspaces_and_of_a_checkpoint() {
    let machine = machine();
    let db = open(machine.env(), DB);
    db.checkpoint("/copies/empty").unwrap();
    assert_eq!(contents(&open(machine.env(), "/copies/empty"))["default"].len(), 0);

    for n in 0..1000u32 {
        let keyspace = db.keyspace(&format!("ks{n}"), KeyspaceOptions::new()).unwrap();
        keyspace.put("k", n.to_be_bytes()).unwrap();
    }
    let held = db.snapshot();
    db.put("k", "later").unwrap();
    let before = contents(&db);
    assert_eq!(db.checkpoint(COPY).unwrap().keyspaces, 1001);
    drop(held);
    let first = open(machine.env(), COPY);
    assert_eq!(contents(&first), before);
    first.flush().unwrap();
    first.put("k", "in the first").unwrap();
    first.checkpoint("/copies/of-a-copy").unwrap();
    let expected = contents(&first);
    drop(first);
    machine.env().fs.remove(Path::new("/copies/monday/CURRENT")).unwrap();
    let second = open(machine.env(), "/copies/of-a-copy");
    assert_eq!(contents(&second), expected);
    verify(&second);
}

#[test]
fn tables_and_logs_stay_while_a_checkpoint_needs_them_and_go_afterwards() {
    // rocksdb #9208, #7369, #10083: a backup met files that were being deleted.
    for ending in [".sst", ".log"] {
        let machine = machine();
        let faults = Faults::over_memory(&machine);
        let db = open(faults.env(&machine.env()), DB);
        fill(&db);
        let before = contents(&db);
        let other = db.clone();
        meanwhile(&faults, ending, move || {
            mixed_batch(&other, 9);
            for n in 0..200u32 {
                other.put(n.to_be_bytes(), [9; 400]).unwrap();
            }
            other.compact(..).unwrap();
            for name in ["users", "quiet"] {
                other.find_keyspace(name).unwrap().unwrap().compact(..).unwrap();
            }
        });
        db.checkpoint(COPY).unwrap();
        faults.remove_hook();
        db.compact(..).unwrap();
        let stats = db.stats();
        assert_eq!((stats.obsolete.files, stats.obsolete.held_tables), (0, 0), "{ending}");
        assert!(stats.wal.files <= 2, "{ending}: logs stay: {}", stats.wal.files);
        let copy = open(machine.env(), COPY);
        assert_eq!(contents(&copy), before, "{ending}");
        verify(&copy);
    }
}

#[test]
fn a_batch_of_several_keyspaces_is_whole_whenever_others_write() {
    for ending in [".sst", ".log", "MANIFEST-000001", "CURRENT", "monday"] {
        let machine = machine();
        let faults = Faults::over_memory(&machine);
        let db = open(faults.env(&machine.env()), DB);
        fill(&db);
        let other = db.clone();
        meanwhile(&faults, ending, move || {
            mixed_batch(&other, 8);
            other.find_keyspace("users").unwrap().unwrap().flush().unwrap();
            mixed_batch(&other, 9);
        });
        db.checkpoint(COPY).unwrap();
        let copy = contents(&open(machine.env(), COPY));
        let batches: Vec<_> = copy.values().map(|space| space[&b"batch"[..]].clone()).collect();
        assert_eq!(batches, vec![7u32.to_be_bytes(); 3], "{ending}");
        assert_eq!(db.get("batch").unwrap().unwrap()[..], 9u32.to_be_bytes(), "{ending}");
    }
}

/// The changing calls of a checkpoint, by number.
fn changes_of_a_checkpoint() -> u64 {
    let machine = machine();
    let faults = Faults::over_memory(&machine);
    let db = open(faults.env(&machine.env()), DB);
    fill(&db);
    let before = faults.changes();
    db.checkpoint(COPY).unwrap();
    faults.changes() - before
}

#[test]
fn at_every_power_cut_a_checkpoint_is_there_whole_or_not_at_all() {
    let machine = machine();
    let faults = Faults::over_memory(&machine);
    let db = open(faults.env(&machine.env()), DB);
    fill(&db);
    let expected = contents(&db);
    let (seen, checked) = (Arc::new(Mutex::new((0, 0))), expected.clone());
    let look = move |left: MemoryMachine| {
        let env = left.env();
        let there = env.fs.exists(Path::new(COPY)).unwrap();
        if there {
            let copy = open(env.clone(), COPY);
            assert_eq!(contents(&copy), checked);
            verify(&copy);
        }
        // What was left in the middle is in nobody's way.
        let db = open(env.clone(), DB);
        if there {
            assert!(matches!(db.checkpoint(COPY), Err(Error::AlreadyExists { .. })));
        } else {
            db.checkpoint(COPY).unwrap();
            assert_eq!(names(&*env.fs, "/copies"), ["monday"]);
            verify(&open(env.clone(), COPY));
        }
        there
    };
    let look = Arc::new(look);
    let (cut, noted, hooked) = (machine.clone(), Arc::clone(&seen), Arc::clone(&look));
    faults.before_each_change(move |n, _| {
        if std::thread::panicking() {
            return; // one failure is enough
        }
        for seed in 0..6 {
            let left = if seed == 5 { cut.kill() } else { cut.crash(n * 10 + seed) };
            let there = hooked(left);
            let mut seen = noted.lock().unwrap();
            if there { seen.0 += 1 } else { seen.1 += 1 }
        }
    });
    db.checkpoint(COPY).unwrap();
    faults.remove_hook();
    let (there, not) = *seen.lock().unwrap();
    assert!(there > 0 && not > 50, "{there} times there, {not} times not");
    for seed in 0..20 {
        assert!(look(machine.crash(seed)), "a checkpoint that was answered is durable");
    }
}

/// Who comes across what is left of a checkpoint whose directory could not be synced.
type Finder = fn(&Env) -> Result<(), Error>;

#[test]
fn what_a_failed_sync_has_left_never_comes_back_in_part() {
    // Makes the checkpoint, and lets all syncs of directories fail from its renaming on.
    fn left_by_making(machine: &MemoryMachine, faults: &Faults) -> Contents {
        let db = open(faults.env(&machine.env()), DB);
        fill(&db);
        let expected = contents(&db);
        faults.add(Rule::fail(EIO).on(Op::SyncDir).from_nth(2));
        db.checkpoint(COPY).unwrap_err();
        expected
    }
    fn left_by_removing(machine: &MemoryMachine, faults: &Faults) -> Contents {
        let db = open(faults.env(&machine.env()), DB);
        fill(&db);
        let expected = contents(&db);
        db.checkpoint(COPY).unwrap();
        faults.add(Rule::fail(EIO).on(Op::SyncDir).from_nth(1));
        let dir = CheckpointDir::open(&faults.env(&machine.env()), "/copies").unwrap();
        dir.remove("monday").unwrap_err();
        expected
    }
    let finders: [Finder; 2] = [
        |env| CheckpointDir::open(env, "/copies").map(drop),
        |env| builder(env.clone(), DB).open()?.checkpoint(COPY).map(drop),
    ];
    let mut whole = 0;
    for left_by in [left_by_making, left_by_removing] {
        for finder in finders {
            let machine = machine();
            let faults = Faults::over_memory(&machine);
            let expected = left_by(&machine, &faults);
            faults.clear();
            assert_eq!(names(&*machine.env().fs, "/copies"), ["monday.unfinished"]);
            let (cut, seen) = (machine.clone(), Arc::new(Mutex::new(0)));
            let noted = Arc::clone(&seen);
            faults.before_each_change(move |n, _| {
                if std::thread::panicking() {
                    return; // one failure is enough
                }
                for seed in 0..12 {
                    let left = if seed == 11 { cut.kill() } else { cut.crash(n * 20 + seed) };
                    let fs = left.env().fs;
                    let is_empty = || names(&*fs, COPY).is_empty();
                    if fs.exists(Path::new(COPY)).unwrap() && !is_empty() {
                        assert_eq!(contents(&open(left.env(), COPY)), expected);
                        *noted.lock().unwrap() += 1;
                        continue;
                    }
                    // An empty one, and what is not finished, are in nobody's way.
                    open(left.env(), DB).checkpoint(COPY).unwrap();
                    assert_eq!(names(&*fs, "/copies"), ["monday"]);
                }
            });
            finder(&faults.env(&machine.env())).unwrap();
            faults.remove_hook();
            whole += *seen.lock().unwrap();
        }
    }
    assert!(whole > 10, "a power cut brought it back {whole} times");
}

#[test]
fn whatever_call_fails_the_database_goes_on_and_nothing_is_left_of_the_checkpoint() {
    let changes = changes_of_a_checkpoint();
    assert!(changes > 15, "{changes}");
    let ways: [fn() -> Rule; 4] = [
        || Rule::fail(EIO),
        || Rule::fail(ENOSPC),
        || Rule::fail(EMFILE),
        || Rule::apply_and_fail(EIO),
    ];
    let mut failed = 0;
    for way in ways {
        for nth in 1.. {
            let machine = machine();
            let faults = Faults::over_memory(&machine);
            let db = open(faults.env(&machine.env()), DB);
            fill(&db);
            faults.add(way().nth(nth));
            let began = faults.calls();
            let made = db.checkpoint(COPY);
            let calls = faults.calls() - began;
            faults.clear();
            match made {
                // The removal of a name that opening removes too may fail.
                Ok(_) => verify(&open(machine.env(), COPY)),
                Err(e) => {
                    failed += 1;
                    assert!(matches!(e, Error::Io(_)), "call {nth}: {e}");
                    assert_eq!(names(&*machine.env().fs, "/copies"), [""; 0], "call {nth}: {e}");
                    assert_eq!(db.stats().checkpoints.failed, 1);
                }
            }
            assert_eq!(db.stats().read_only, None, "call {nth}");
            db.put("k", "v").unwrap();
            db.flush().unwrap();
            verify(&db);
            db.checkpoint("/copies/again").unwrap();
            if calls < nth {
                break;
            }
        }
    }
    assert!(failed > 3 * changes, "{failed} of {changes} changes");
}

#[test]
fn tables_that_cannot_be_linked_are_copied_and_the_copies_are_checked() {
    for errno in [EXDEV, EPERM, EMLINK, EOPNOTSUPP] {
        let machine = machine();
        let faults = Faults::over_memory(&machine);
        let db = open(faults.env(&machine.env()), DB);
        fill(&db);
        let before = contents(&db);
        faults.add(Rule::fail(errno).on(Op::HardLink));
        let summary = db.checkpoint(COPY).unwrap();
        assert_eq!((summary.copied_tables, summary.linked_bytes), (summary.tables, 0));
        assert!(summary.written_bytes > summary.log_bytes);
        let copy = open(machine.env(), COPY);
        assert_eq!(contents(&copy), before);
        verify(&copy);
    }
    // One file of many has too many names.
    let machine = machine();
    let faults = Faults::over_memory(&machine);
    let db = open(faults.env(&machine.env()), DB);
    fill(&db);
    faults.add(Rule::fail(EMLINK).on(Op::HardLink).nth(2));
    let summary = db.checkpoint(COPY).unwrap();
    assert_eq!(summary.copied_tables, 1);
    assert_eq!(contents(&open(machine.env(), COPY)), contents(&db));
}

#[test]
fn damage_of_a_table_that_is_copied_is_told_and_no_checkpoint_is_made() {
    let machine = machine();
    let faults = Faults::over_memory(&machine);
    let db = open(faults.env(&machine.env()), DB);
    fill(&db);
    let fs = machine.env().fs;
    let tables = names(&*fs, DB);
    let table = tables.iter().find(|name| name.ends_with(".sst")).unwrap();
    let path = Path::new(DB).join(table);
    let file = fs.open(&path).unwrap();
    let mut bytes = vec![0; file.len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes[100] ^= 1;
    fs.remove(&path).unwrap();
    fs.create(&path).unwrap().append(&bytes).unwrap();
    faults.add(Rule::fail(EXDEV).on(Op::HardLink));
    let refused = db.checkpoint(COPY).unwrap_err();
    assert!(matches!(refused, Error::Corruption(_)), "{refused}");
    assert_eq!(names(&*fs, "/copies"), [""; 0]);
}

#[test]
fn places_that_cannot_be_a_checkpoints_are_refused_before_anything_is_made() {
    let machine = machine();
    let db = open(machine.env(), DB);
    fill(&db);
    let fs = machine.env().fs;
    fs.create_dir_all(Path::new("/copies/empty")).unwrap();
    fs.create(Path::new("/copies/file")).unwrap();
    db.checkpoint(COPY).unwrap();
    for taken in ["/copies/file", COPY, DB] {
        let refused = db.checkpoint(taken).unwrap_err();
        let is_taken = matches!(refused, Error::AlreadyExists { .. });
        assert!(is_taken || taken == DB, "{taken}: {refused}");
        assert!(refused.to_string().contains(taken), "{refused}");
    }
    for bad in [
        "",
        "/",
        "..",
        "/copies/..",
        "/copies/x.unfinished",
        "/db/copy",
        "/db/../db/copy",
        "/missing/copy",
    ] {
        let refused = db.checkpoint(bad).unwrap_err();
        assert!(matches!(refused, Error::InvalidArgument(_)), "{bad}: {refused}");
    }
    assert_eq!(names(&*fs, "/copies"), ["empty", "file", "monday"]);
    assert_eq!(names(&*fs, "/"), ["copies", "db"]);
    assert_eq!(db.stats().checkpoints.failed, 11);
    assert_eq!(db.stats().checkpoints.made, 1);
    // In one that is there and holds nothing.
    db.checkpoint("/copies/empty").unwrap();
    verify(&open(machine.env(), "/copies/empty"));
    assert_eq!(names(&*fs, "/copies"), ["empty", "file", "monday"]);
    // Beside the database, by a relative path too.
    db.checkpoint("copies/relative").unwrap();
    db.checkpoint("db2").unwrap();
}

#[test]
fn what_was_left_is_cleaned_away_and_what_is_foreign_is_kept() {
    let machine = machine();
    let db = open(machine.env(), DB);
    fill(&db);
    let fs = machine.env().fs;
    let left = PathBuf::from("/copies/monday.unfinished");
    fs.create_dir_all(&left).unwrap();
    for name in ["000001.sst", "000001.log", "MANIFEST-000001", "CURRENT", "LOCK.tmp"] {
        fs.create(&left.join(name)).unwrap().append(b"left").unwrap();
    }
    db.checkpoint(COPY).unwrap();
    verify(&open(machine.env(), COPY));
    assert_eq!(names(&*fs, "/copies"), ["monday"]);

    let left = PathBuf::from("/copies/tuesday.unfinished");
    fs.create_dir_all(&left).unwrap();
    for name in ["000001.sst", "thesis.txt"] {
        fs.create(&left.join(name)).unwrap().append(b"mine").unwrap();
    }
    let refused = db.checkpoint("/copies/tuesday").unwrap_err();
    assert!(refused.to_string().contains("thesis.txt"), "{refused}");
    assert_eq!(fs.len(&left.join("thesis.txt")).unwrap(), 4);
    assert_eq!(fs.len(&left.join("000001.sst")).unwrap(), 4);
}

#[test]
fn of_two_checkpoints_of_one_name_at_once_one_is_made() {
    let machine = machine();
    let faults = Faults::over_memory(&machine);
    let db = open(faults.env(&machine.env()), DB);
    fill(&db);
    let other = db.clone();
    meanwhile(&faults, ".log", move || {
        let refused = other.checkpoint(COPY).unwrap_err();
        assert!(matches!(refused, Error::AlreadyExists { .. }), "{refused}");
        other.checkpoint("/copies/beside").unwrap();
        assert_eq!(other.stats().checkpoints.running, 1);
    });
    db.checkpoint(COPY).unwrap();
    let stats = db.stats().checkpoints;
    assert_eq!((stats.made, stats.failed, stats.running), (2, 1, 0));
    for path in [COPY, "/copies/beside"] {
        assert_eq!(contents(&open(machine.env(), path)), contents(&db));
    }
}

#[test]
fn a_full_disk_and_a_damaged_table_can_be_saved_and_a_poisoned_database_is_refused() {
    let machine = machine();
    let faults = Faults::over_memory(&machine);
    let db = open(faults.env(&machine.env()), DB);
    fill(&db);
    let before = contents(&db);
    // All but deletes is refused; what is there can be linked, and the log's part is short.
    machine.set_disk_size(machine.used_space() + (1 << 20));
    let mut n = 0u32;
    while db.put(n.to_be_bytes(), vec![1; 100 << 10]).is_ok() {
        n += 1;
        assert!(n < 1000, "the disk never fills");
    }
    assert!(db.stats().read_only.is_some());
    let full = contents(&db);
    let made = db.checkpoint(COPY);
    if let Err(e) = &made {
        assert!(matches!(e, Error::Io(_)), "{e}");
        assert_eq!(names(&*machine.env().fs, "/copies"), [""; 0]);
    }
    machine.set_disk_size(u64::MAX);
    db.checkpoint("/copies/saved").unwrap();
    assert_eq!(contents(&open(machine.env(), "/copies/saved")), full);
    assert!(before.len() == full.len());

    faults.add(Rule::fail(EIO).on(Op::LogSync));
    let options = tanada::WriteOptions::new().durability(Durability::Synced);
    let mut batch = Batch::new();
    batch.put(b"k", b"v");
    db.write_with(batch, options).unwrap_err();
    faults.clear();
    let refused = db.checkpoint("/copies/poisoned").unwrap_err();
    assert!(matches!(refused, Error::Poisoned { .. }), "{refused}");
    assert_eq!(names(&*machine.env().fs, "/copies"), ["saved"]);
}

#[test]
fn a_checkpoint_that_is_cut_by_closing_leaves_nothing() {
    let machine = machine();
    let db = open(machine.env(), DB);
    fill(&db);
    let kept = db.clone();
    db.close().unwrap();
    assert!(matches!(kept.checkpoint(COPY), Err(Error::Closed)));
    assert_eq!(names(&*machine.env().fs, "/copies"), [""; 0]);
}

#[test]
fn a_cut_log_of_a_checkpoint_is_damage_and_no_torn_tail() {
    let machine = machine();
    let db = open(machine.env(), DB);
    fill(&db);
    db.checkpoint(COPY).unwrap();
    let fs = machine.env().fs;
    let log = names(&*fs, COPY).into_iter().find(|name| name.ends_with(".log")).unwrap();
    let path = Path::new(COPY).join(log);
    let file = fs.open(&path).unwrap();
    let mut bytes = vec![0; file.len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    for cut in [0, 100, 256, bytes.len() - 8] {
        fs.remove(&path).unwrap();
        fs.create(&path).unwrap().append(&bytes[..cut]).unwrap();
        let refused = builder(machine.env(), COPY).open().map(drop).unwrap_err();
        assert!(matches!(refused, Error::Corruption(_)), "{cut}: {refused}");
    }
}

#[test]
fn statistics_tell_of_checkpoints() {
    let machine = machine();
    let db = open(machine.env(), DB);
    fill(&db);
    let summary = db.checkpoint(COPY).unwrap();
    db.checkpoint(COPY).unwrap_err();
    let stats = db.stats().checkpoints;
    assert_eq!((stats.made, stats.failed, stats.running), (1, 1, 0));
    assert_eq!(stats.last_seqno, summary.seqno);
    assert_eq!(stats.linked_bytes, summary.linked_bytes);
    assert_eq!(stats.written_bytes, summary.written_bytes);
}
