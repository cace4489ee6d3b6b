//! Who follows the changes of a database sees every commit once, in order and whole, and
//! none that a power cut could take back; over restarts too, or is told that the window has
//! gone. And what it keeps of the log is bounded.
#![allow(clippy::unwrap_used)] // of outcomes that must not fail

#[path = "../../vfs/tests/house/patience.rs"]
mod patience;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tanada::vfs::fault::{EIO, Faults, Op, Rule};
use tanada::vfs::memory::Dice;
use tanada::vfs::{Env, MemoryMachine};
use tanada::{
    Batch, Changes, CommitGroup, Compression, Db, Durability, Error, KeyspaceOptions, Operation,
    Position, PutOptions, SeqNo, Since, WriteOptions,
};

const DIR: &str = "/db";

fn builder(env: Env) -> tanada::Builder {
    Db::builder(DIR).memory(16 << 20).compression(Compression::None).env(env)
}

fn open(machine: &MemoryMachine, durability: Durability) -> Db {
    builder(machine.env()).durability(durability).open().unwrap()
}

/// A change, owned: sequence number, keyspace, key, value.
type Seen = (u64, String, Vec<u8>, Option<Vec<u8>>);

fn seen(group: &CommitGroup<'_>) -> Vec<Seen> {
    let changes = group.changes().map(|change| {
        let value = match change.operation {
            Operation::Put { value, .. } => Some(value.to_vec()),
            _ => None,
        };
        (change.seqno.0, change.keyspace.to_owned(), change.key.to_vec(), value)
    });
    let changes: Vec<_> = changes.collect();
    assert_eq!(changes.len() as u32, group.count());
    assert_eq!(changes.first().unwrap().0, group.first_seqno().0);
    assert_eq!(changes.last().unwrap().0, group.last_seqno().0);
    changes
}

/// All groups that can be shown now.
fn groups(changes: &mut Changes) -> Vec<Vec<Seen>> {
    let mut all = Vec::new();
    while let Some(group) = changes.next().unwrap() {
        all.push(seen(&group));
    }
    all
}

fn seqnos(changes: &mut Changes) -> Vec<u64> {
    groups(changes).into_iter().flatten().map(|change| change.0).collect()
}

fn logs(env: &Env, dir: &Path) -> usize {
    let names = env.fs.read_dir(dir).unwrap();
    names.iter().filter(|entry| entry.name.ends_with(".log")).count()
}

/// Changes a byte of a file behind the back of whoever has it open.
fn change_byte(machine: &MemoryMachine, path: &str, place: impl Fn(&[u8]) -> usize) {
    let (fs, path) = (machine.env().fs, Path::new(path));
    let file = fs.open(path).unwrap();
    let mut bytes = vec![0; file.len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let place = place(&bytes);
    bytes[place] ^= 0x40;
    fs.remove(path).unwrap();
    fs.create(path).unwrap().append(&bytes).unwrap();
}

fn gone(answer: Result<Changes, Error>) -> (String, Position) {
    match answer {
        Err(Error::WindowGone { reason, oldest }) => (reason, oldest),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the window is there"),
    }
}

#[test]
fn every_commit_is_shown_once_whole_and_as_it_was_written() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine, Durability::Synced);
    db.put("before", "1").unwrap();
    let mut changes = db.changes(Since::Now).unwrap();
    assert!(changes.next().unwrap().is_none());
    let users = db.keyspace("users", KeyspaceOptions::new()).unwrap();
    let mut batch = Batch::new();
    batch.put("a", "1");
    batch.put_in(&users, "b", "2");
    batch.delete("c");
    let last = db.write(batch).unwrap().0;
    db.put_with("d", "", PutOptions::new().ttl(Duration::from_secs(5))).unwrap();
    users.delete("b").unwrap();

    let default = || "default".to_owned();
    let batch = [
        (last - 2, default(), b"a".to_vec(), Some(b"1".to_vec())),
        (last - 1, "users".to_owned(), b"b".to_vec(), Some(b"2".to_vec())),
        (last, default(), b"c".to_vec(), None),
    ];
    let before = changes.position();
    assert_eq!(seen(&changes.next().unwrap().unwrap()), batch);
    let behind = changes.position();
    assert!(behind.log_bytes() > before.log_bytes());
    let group = changes.next().unwrap().unwrap();
    let change = group.changes().next().unwrap();
    let Operation::Put { value: b"", expires_at: Some(at) } = change.operation else { panic!() };
    assert_eq!(at.0, db.now().0 + 5000);
    assert_eq!(groups(&mut changes), [[(last + 2, "users".to_owned(), b"b".to_vec(), None)]]);
    // From anywhere again.
    let mut again = db.changes(before).unwrap();
    assert_eq!(seen(&again.next().unwrap().unwrap()), batch);
    assert_eq!(again.position(), behind);
    assert_eq!(seqnos(&mut db.changes(behind).unwrap()), [last + 1, last + 2]);
    assert_eq!(seqnos(&mut db.changes(Since::Oldest).unwrap()).len(), 6);
    // A write in the middle of a commit: it is not cut.
    for (since, first) in [(0, 1), (1, last - 2), (last - 2, last - 2), (last, last + 1)] {
        let mut changes = db.changes(SeqNo(since)).unwrap();
        assert_eq!(seqnos(&mut changes), (first..=last + 2).collect::<Vec<_>>(), "since {since}");
    }
    assert_eq!(seqnos(&mut db.changes(SeqNo(last + 2)).unwrap()), []);
}

#[test]
fn batches_that_share_a_record_are_shown_and_one_whose_condition_failed_is_not() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine, Durability::Synced);
    let mut changes = db.changes(Since::Now).unwrap();
    let batch = |key: &str, absent: bool| {
        let mut batch = Batch::new();
        batch.put(key, "v");
        batch.put(format!("{key}2"), "v");
        if absent {
            batch.check_absent(key);
        }
        (batch, WriteOptions::new())
    };
    let batches = [batch("a", true), batch("b", false), batch("a", true), batch("c", true)];
    let answers = db.write_each(batches);
    assert!(matches!(answers[2], Err(Error::Conflict(_))));
    let shown: Vec<_> = groups(&mut changes).into_iter().flatten().collect();
    let keys: Vec<_> = shown.iter().map(|change| &*change.2).collect();
    assert_eq!(keys, [&b"a"[..], b"a2", b"b", b"b2", b"c", b"c2"]);
    assert_eq!(shown.last().unwrap().0, answers[3].as_ref().unwrap().0);
}

#[test]
fn what_is_not_synced_is_not_shown_and_is_synced_after_a_while_or_once_there_is_much() {
    for durability in [Durability::Memory, Durability::Buffered] {
        let machine = MemoryMachine::new(1);
        // So much memory that no flush syncs the log.
        let builder = builder(machine.env()).memory(512 << 20);
        let db = builder.durability(durability).open().unwrap();
        db.put("early", "value").unwrap();
        let mut changes = db.changes(Since::Oldest).unwrap();
        assert_eq!(seqnos(&mut changes), []);
        db.put("late", "value").unwrap();
        machine.clock().advance(Duration::from_millis(200));
        assert_eq!(seqnos(&mut changes), []);
        machine.clock().advance(Duration::from_millis(60));
        assert_eq!(seqnos(&mut changes), [1, 2]);
        assert_eq!(open(&machine.crash(1), durability).stats().seqno, 2, "shown is durable");
        assert_eq!(seqnos(&mut changes), []);

        let value = vec![7; 1 << 20];
        for n in 0..7 {
            db.put(format!("{n}"), &value).unwrap();
        }
        assert_eq!(seqnos(&mut changes), []);
        db.put("8", &value).unwrap();
        db.put("9", &value).unwrap();
        assert_eq!(seqnos(&mut changes).len(), 9);
        // One that waits does not look at the clock of a machine that stands still.
        db.put("last", "value").unwrap();
        assert!(changes.wait(Duration::from_secs(60)).unwrap());
        assert_eq!(seqnos(&mut changes), [12]);
        assert!(!changes.wait(Duration::from_millis(1)).unwrap());
    }
}

/// A commit or two, some of them long, some flushed, and what they wrote.
fn work(db: &Db, dice: &mut Dice, truth: &mut BTreeMap<u64, Seen>) {
    for _ in 0..dice.below(12) {
        let mut batch = Batch::new();
        let mut writes = Vec::new();
        for _ in 0..=dice.below(4) {
            let key = format!("key {}", dice.below(30)).into_bytes();
            let value = dice.chance(700).then(|| {
                let len = if dice.chance(20) { 300_000 } else { 200 };
                vec![dice.below(256) as u8; dice.below(len) as usize]
            });
            match &value {
                Some(value) => batch.put(&key, value),
                None => batch.delete(&key),
            }
            writes.push((key, value));
        }
        let durability =
            [Durability::Memory, Durability::Buffered, Durability::Synced][dice.below(3) as usize];
        let options = WriteOptions::new().durability(durability);
        let last = db.write_with(batch, options).unwrap().0;
        let first = last + 1 - writes.len() as u64;
        for (seqno, (key, value)) in (first..).zip(writes) {
            truth.insert(seqno, (seqno, "default".to_owned(), key, value));
        }
        if dice.chance(80) {
            db.flush().unwrap();
        }
    }
}

/// A consumer that keeps its position as text goes on in each life of the database.
#[test]
fn a_consumer_misses_nothing_and_repeats_nothing_over_power_cuts_kills_and_closes() {
    let (mut resumed, mut lost) = (0, 0);
    for seed in 1..=150 {
        let mut dice = Dice::new(seed);
        let mut machine = MemoryMachine::new(seed);
        let mut truth: BTreeMap<u64, Seen> = BTreeMap::new();
        let mut kept: Option<(String, u64)> = None;
        for life in 0..8 {
            let db = open(&machine, Durability::Buffered);
            let here = db.stats().seqno;
            truth.retain(|&seqno, _| seqno <= here);
            let what = format!("seed {seed}, life {life}");
            let (since, mut seen_to) = match &kept {
                None => (Since::Oldest, 0),
                Some((position, seen_to)) => {
                    assert!(*seen_to <= here, "{what}: {seen_to} was shown, and {here} is left");
                    (Since::Position(position.parse().unwrap()), *seen_to)
                }
            };
            let mut changes = match db.changes(since) {
                Ok(changes) => {
                    resumed += 1;
                    changes
                }
                Err(Error::WindowGone { oldest, .. }) => {
                    lost += 1;
                    // It is told so only where something was missed.
                    let missed = truth.range(seen_to + 1..).next().map(|(&seqno, _)| seqno);
                    let missed = missed.unwrap_or_else(|| panic!("{what}: nothing was missed"));
                    let mut changes = db.changes(oldest).unwrap();
                    let first = changes.next().unwrap().map(|group| group.first_seqno().0);
                    assert!(first.is_none_or(|first| first > missed), "{what}");
                    seen_to = here;
                    db.changes(Since::Now).unwrap()
                }
                Err(e) => panic!("{what}: {e}"),
            };
            for _ in 0..dice.below(6) {
                work(&db, &mut dice, &mut truth);
                if dice.chance(200) {
                    machine.clock().advance(Duration::from_millis(300));
                }
                if dice.chance(100) {
                    changes = db.changes(changes.position()).unwrap();
                }
                for _ in 0..dice.below(30) {
                    let Some(group) = changes.next().unwrap() else { break };
                    for change in seen(&group) {
                        let (_, next) = truth.range(seen_to + 1..).next().expect(&what);
                        assert_eq!(&change, next, "{what}");
                        seen_to = change.0;
                    }
                    assert_eq!(group.position(), changes.position());
                }
            }
            kept = Some((changes.position().to_string(), seen_to));
            drop(changes);
            match dice.below(4) {
                0 => db.close().unwrap(),
                1 => drop(db),
                2 => machine = machine.kill(),
                _ => machine = machine.crash(dice.next_u64()),
            }
        }
    }
    assert!(resumed > 500 && lost > 20, "{resumed} went on, {lost} windows had gone");
}

#[test]
fn who_has_seen_all_goes_on_after_any_number_of_restarts_and_flushes() {
    let mut machine = MemoryMachine::new(1);
    let mut kept = None;
    for life in 0..20u64 {
        let db = open(&machine, Durability::Synced);
        let mut changes = match kept {
            None => db.changes(Since::Now).unwrap(),
            Some(position) => db.changes(Since::Position(position)).unwrap(),
        };
        if life % 2 == 0 {
            let seqno = db.put("key", "value").unwrap().0;
            assert_eq!(seqnos(&mut changes), [seqno], "life {life}");
        }
        assert_eq!(seqnos(&mut changes), []);
        kept = Some(changes.position());
        drop(changes);
        if life % 3 == 0 {
            db.flush().unwrap();
            db.flush().unwrap();
        }
        match life % 4 {
            0 => db.close().unwrap(),
            1 => machine = machine.crash(life),
            _ => machine = machine.kill(),
        }
    }
}

#[test]
fn a_consumer_keeps_the_log_that_it_reads_and_its_end_lets_go_of_it() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine, Durability::Synced);
    let mut changes = db.changes(Since::Now).unwrap().named("search index");
    let hold = db.hold_changes(changes.position()).unwrap();
    for n in 0..5 {
        for k in 0..20 {
            db.put(format!("{n} {k}"), [n; 100_000]).unwrap();
        }
        db.flush().unwrap();
    }
    let wal = db.stats().wal;
    assert!(wal.held_files >= 5 && wal.held_bytes > 9_000_000, "{wal:?}");
    assert_eq!((wal.consumers, wal.lost_windows), (2, 0));
    let consumer = &wal.oldest_consumers[0];
    assert_eq!(consumer.name, "search index");
    assert!(consumer.lag_bytes > 10_000_000);
    machine.clock().advance(Duration::from_secs(3));
    assert_eq!(db.stats().wal.oldest_consumers[1].idle_ms, 3000);
    assert_eq!(db.stats().wal.oldest_consumers[1].name, "changes");

    assert_eq!(seqnos(&mut changes).len(), 100);
    assert_eq!(db.stats().wal.held_files, wal.held_files, "another one holds them");
    assert!(db.stats().wal.oldest_consumers[0].lag_bytes <= 24, "a mark at most");
    let mut hold = hold;
    hold.move_to(changes.position()).unwrap();
    assert_eq!(db.stats().wal.held_files, 0);
    let mut old = db.changes(Since::Oldest).unwrap();
    assert!(seqnos(&mut old).len() < 20, "only those of the last log");
    for k in 0..30 {
        db.put(format!("more {k}"), vec![0; 100_000]).unwrap();
    }
    db.flush().unwrap();
    assert!(db.stats().wal.held_files > 0);
    drop((old, hold, changes));
    let wal = db.stats().wal;
    assert_eq!((wal.held_files, wal.held_bytes, wal.consumers), (0, 0, 0));
    // The thread that removes files is the caller of the next write here.
    db.put("last", "value").unwrap();
    assert!(
        logs(&machine.env(), Path::new(DIR)) as u64 <= db.stats().wal.files + 1,
        "and one that is prepared"
    );
}

/// Nobody else would wake the thread that removes files on a database where nothing happens.
#[test]
fn logs_go_when_their_consumer_does_on_a_quiet_database() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::builder(dir.path().join("db")).memory(16 << 20).open().unwrap();
    let changes = db.changes(Since::Now).unwrap();
    for n in 0..5u8 {
        db.put([n], vec![n; 1 << 20]).unwrap();
        db.flush().unwrap();
    }
    let held = db.stats().wal;
    assert!(held.held_files > 0);
    let logs = || logs(&Env::real(), &dir.path().join("db")) as u64;
    assert!(logs() >= held.files);
    drop(changes);
    assert_eq!(db.stats().wal.held_files, 0);
    // One may be prepared.
    patience::until("the logs are removed", || logs() <= db.stats().wal.files + 1);
}

#[test]
fn a_consumer_that_is_too_far_behind_loses_its_window_and_the_disk_does_not_fill() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine, Durability::Buffered);
    db.put("first", "value").unwrap();
    let mut lazy = db.changes(Since::Oldest).unwrap().named("lazy");
    let mut busy = db.changes(Since::Now).unwrap();
    assert_eq!(lazy.next().unwrap().unwrap().first_seqno(), SeqNo(1));
    let value = vec![7; 1 << 20];
    let mut shown = 0;
    for n in 0..200u32 {
        db.put(n.to_be_bytes(), &value).unwrap();
        shown += seqnos(&mut busy).len();
        let wal = db.stats().wal;
        assert_eq!(wal.held_limit_bytes, 64 << 20);
        assert!(wal.held_bytes <= wal.held_limit_bytes, "{wal:?}");
        assert!(wal.bytes_on_disk < 110 << 20, "{wal:?}");
    }
    machine.clock().advance(Duration::from_secs(1));
    shown += seqnos(&mut busy).len();
    assert_eq!(shown, 200, "a consumer that keeps up keeps its window");
    let wal = db.stats().wal;
    assert_eq!((wal.lost_windows, wal.consumers), (1, 1));
    let position = lazy.position();
    let (reason, oldest) = loop {
        match lazy.next() {
            // What it had in memory.
            Ok(Some(_)) => {}
            Ok(None) => panic!("it is told of nothing"),
            Err(Error::WindowGone { reason, oldest }) => break (reason, oldest),
            Err(e) => panic!("{e}"),
        }
    };
    assert!(reason.contains("far behind"), "{reason}");
    assert!(matches!(lazy.wait(Duration::ZERO), Err(Error::WindowGone { .. })), "each time");
    assert!(gone(db.changes(position)).0.contains("removed"));
    assert!(gone(db.changes(SeqNo(1))).0.contains("removed"));
    assert!(!seqnos(&mut db.changes(oldest).unwrap()).is_empty());
}

#[test]
fn a_position_of_another_history_is_refused() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine, Durability::Synced);
    db.put("a", "1").unwrap();
    db.checkpoint("/copy").unwrap();
    let restored = machine.kill();
    for n in 0..10 {
        db.put("a", format!("{n}")).unwrap();
    }
    let mut changes = db.changes(Since::Oldest).unwrap();
    let mut positions = Vec::new();
    while let Some(group) = changes.next().unwrap() {
        positions.push(group.position());
    }
    drop((changes, db));

    let copy = Db::builder("/copy").memory(16 << 20).env(machine.env()).open().unwrap();
    let (reason, _) = gone(copy.changes(positions[0]));
    assert!(reason.contains("lineage"), "{reason}");
    // The same lineage, put back to how it was on an earlier day.
    let db = open(&restored, Durability::Synced);
    assert_eq!(seqnos(&mut db.changes(positions[0]).unwrap()), []);
    let (reason, _) = gone(db.changes(positions[5]));
    assert!(reason.contains("ends before"), "{reason}");
    for _ in 0..10 {
        db.put("a", "x").unwrap();
    }
    for position in &positions[1..] {
        let (reason, _) = gone(db.changes(*position));
        assert!(reason.contains("other records") || reason.contains("ends before"), "{reason}");
    }
}

#[test]
fn damage_to_the_log_is_an_error_each_time_and_nothing_behind_it_is_shown() {
    let machine = MemoryMachine::new(1);
    let faults = Faults::over_memory(&machine);
    let db = builder(faults.env(&machine.env())).open().unwrap();
    db.put("a", "1").unwrap();
    let mut changes = db.changes(Since::Oldest).unwrap();
    assert_eq!(seqnos(&mut changes), [1]);
    db.put("b", "2").unwrap();
    faults.add(Rule::fail(EIO).on(Op::Read).path_suffix(".log"));
    for _ in 0..2 {
        assert!(matches!(changes.next(), Err(Error::Io(_))));
    }
    faults.clear();
    assert_eq!(seqnos(&mut changes), [2], "what could not be read is not passed over");
    db.put("c", "3").unwrap();
    change_byte(&machine, "/db/000001.log", |bytes| {
        // Of the value of the last commit.
        bytes.windows(2).rposition(|pair| pair == b"c3").unwrap() + 1
    });
    let Err(Error::Corruption(damage)) = changes.next() else { panic!("it is damaged") };
    assert!(damage.file.ends_with("000001.log") && damage.offset > 256, "{damage}");
    let Err(e) = changes.wait(Duration::ZERO) else { panic!("it is damaged") };
    assert!(matches!(e, Error::Corruption(_)));
}

#[test]
fn a_poisoned_database_shows_what_was_durable_before_and_then_says_so() {
    let machine = MemoryMachine::new(1);
    let faults = Faults::over_memory(&machine);
    let db = builder(faults.env(&machine.env())).open().unwrap();
    let mut changes = db.changes(Since::Now).unwrap();
    db.put("a", "1").unwrap();
    faults.add(Rule::fail(EIO).on(Op::LogSync));
    assert!(matches!(db.put("b", "2"), Err(Error::Io(_) | Error::Poisoned { .. })));
    faults.clear();
    assert_eq!(seen(&changes.next().unwrap().unwrap())[0].0, 1);
    for _ in 0..2 {
        assert!(matches!(changes.next(), Err(Error::Poisoned { .. })));
        assert!(matches!(changes.wait(Duration::from_secs(60)), Err(Error::Poisoned { .. })));
    }
    let position = changes.position();
    let again = db.changes(position).map(|mut changes| changes.next().map(|g| g.is_some()));
    assert!(matches!(again, Ok(Err(Error::Poisoned { .. }))), "{again:?}");
    db.close().unwrap();
    assert!(matches!(changes.next(), Err(Error::Closed)));
    drop(db);
    // Whether the commit that failed was done is known now.
    let db = open(&machine, Durability::Synced);
    let there = db.contains("b").unwrap();
    assert_eq!(seqnos(&mut db.changes(position).unwrap()).len(), usize::from(there));
}

#[test]
fn who_waits_is_woken_by_a_commit_by_a_flush_and_by_the_end() {
    const LONG: Duration = Duration::from_secs(600);
    let dir = tempfile::tempdir().unwrap();
    let db = Db::builder(dir.path().join("db")).memory(16 << 20).open().unwrap();
    let mut changes = db.changes(Since::Now).unwrap();
    std::thread::scope(|scope| {
        let consumer = scope.spawn(move || {
            let mut all = Vec::new();
            loop {
                match changes.wait(LONG) {
                    Ok(true) => all.extend(seqnos(&mut changes)),
                    Ok(false) => panic!("nobody came for {LONG:?}"),
                    Err(Error::Closed) => return all,
                    Err(e) => panic!("{e}"),
                }
            }
        });
        for n in 0..50 {
            let durability = [Durability::Buffered, Durability::Synced][n % 2];
            let mut batch = Batch::new();
            batch.put("key", "value");
            db.write_with(batch, WriteOptions::new().durability(durability)).unwrap();
        }
        let lag = || db.stats().wal.oldest_consumers[0].lag_bytes;
        // But for a mark, which nobody syncs.
        patience::until("all commits are shown", || lag() <= 24);
        // One that nobody syncs but the consumer.
        let mut batch = Batch::new();
        batch.put("key", "last");
        db.write_with(batch, WriteOptions::new().durability(Durability::Memory)).unwrap();
        patience::until("the last commit is shown", || lag() <= 24);
        db.close().unwrap();
        assert_eq!(consumer.join().unwrap(), (1..=51).collect::<Vec<_>>());
    });
}

#[test]
fn every_writer_s_commits_are_shown_in_order_and_can_be_read_when_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::builder(dir.path().join("db")).memory(16 << 20).open().unwrap();
    let mut changes = db.changes(Since::Now).unwrap();
    const WRITERS: u64 = 4;
    const EACH: u64 = 100;
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let db = &db;
            scope.spawn(move || {
                for n in 0..EACH {
                    let mut batch = Batch::new();
                    batch.put([writer as u8], n.to_be_bytes());
                    batch.put([writer as u8, 1], n.to_be_bytes());
                    db.write(batch).unwrap();
                }
            });
        }
        let (mut next, mut next_of) = (1, [0; WRITERS as usize]);
        while next <= 2 * WRITERS * EACH {
            assert!(changes.wait(Duration::from_secs(60)).unwrap());
            let group = changes.next().unwrap().unwrap();
            assert_eq!((group.first_seqno().0, group.count() % 2), (next, 0), "batches are whole");
            for change in seen(&group) {
                next += 1;
                let version = db.get_record(&change.2).unwrap().unwrap().version.0;
                assert!(version >= change.0, "{change:?} is shown before it can be read");
                if change.2.len() == 1 {
                    let of = &mut next_of[usize::from(change.2[0])];
                    assert_eq!(change.3.unwrap(), u64::to_be_bytes(*of));
                    *of += 1;
                }
            }
        }
    });
}

#[test]
fn the_buffer_is_part_of_the_memory_budget_and_long_values_pass() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine, Durability::Synced);
    let mut changes = db.changes(Since::Now).unwrap();
    let value = vec![7; 2 << 20];
    db.put("short", "value").unwrap();
    db.put("long", &value).unwrap();
    assert!(changes.next().unwrap().is_some());
    assert!(db.stats().memory.reader_bytes > 0);
    let long = seen(&changes.next().unwrap().unwrap());
    assert_eq!(long[0].3.as_deref(), Some(&value[..]));
    assert!(db.stats().memory.reader_bytes >= 2 << 20);
    assert!(changes.next().unwrap().is_none());
    db.put("short", "value").unwrap();
    assert!(changes.next().unwrap().is_some());
    let claim = db.claim_memory(1 << 20).unwrap();
    assert!(db.stats().memory.reader_bytes < 1 << 20, "{}", db.stats().memory.reader_bytes);
    drop((changes, claim));
    assert_eq!(db.stats().memory.reader_bytes, 0);
}

#[test]
fn a_stream_does_not_keep_the_database_open() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine, Durability::Synced);
    let mut changes = db.changes(Since::Now).unwrap();
    let mut hold = db.hold_changes(changes.position()).unwrap();
    let position = changes.position();
    drop(db);
    assert!(matches!(changes.next(), Err(Error::Closed)));
    assert!(matches!(changes.wait(Duration::from_secs(60)), Err(Error::Closed)));
    assert!(matches!(hold.move_to(position), Err(Error::Closed)));
    let again = open(&machine, Durability::Synced);
    assert!(matches!(changes.next(), Err(Error::Closed)));
    drop((changes, hold));
    assert_eq!(seqnos(&mut again.changes(position).unwrap()), []);
}
