//! Groups over a database in memory: what each request is told, and what is written.

use super::*;
use tanada::vfs::MemoryMachine;
use tanada::vfs::fault::{EIO, Faults, Op as Call, Rule};
use tanada::{Condition, PutOptions, SeqNo};

fn database(faults: &Faults, machine: &MemoryMachine) -> Database {
    let db = Db::builder("/db").memory(16 << 20).env(faults.env(&machine.env())).open().unwrap();
    Database { keyspace: db.default_keyspace().clone(), db }
}

fn in_memory() -> Database {
    let machine = MemoryMachine::new(1);
    database(&Faults::over_memory(&machine), &machine)
}

fn op(key: &'static str, action: Action, condition: Option<Condition>) -> Op {
    let key = bytes::Bytes::from_static(key.as_bytes());
    Op { keyspace: None, key, action, conditions: condition.into_iter().collect() }
}

fn put(key: &'static str, condition: Option<Condition>) -> Op {
    put_bytes(key, 0, condition)
}

fn put_bytes(key: &'static str, len: usize, condition: Option<Condition>) -> Op {
    let value = vec![b'v'; len].into();
    op(key, Action::Put { value, options: PutOptions::new() }, condition)
}

fn commit_all(database: &Database, requests: Vec<(Vec<Op>, Durability)>) -> Vec<Outcome> {
    let mut receivers = Vec::new();
    let mut group = Vec::new();
    for (ops, durability) in requests {
        let (answer, receiver) = oneshot::channel();
        group.push(WriteRequest { ops: Ops::Many(ops), durability, share: None, answer });
        receivers.push(receiver);
    }
    commit(&mut group, database);
    receivers.into_iter().map(|mut r| r.try_recv().expect("answered")).collect()
}

fn memory(requests: Vec<Vec<Op>>) -> Vec<(Vec<Op>, Durability)> {
    requests.into_iter().map(|ops| (ops, Durability::Memory)).collect()
}

fn failed(outcome: &Outcome) -> Vec<Failed> {
    match outcome {
        Err(WriteError::Conditions(failed)) => failed.clone(),
        other => panic!("conditions should have failed, but {other:?}"),
    }
}

/// Records of the log, and syncs of it.
fn written(database: &Database) -> (u64, u64) {
    let wal = database.db.stats().wal;
    (wal.groups, wal.syncs)
}

#[test]
fn a_group_is_one_record_and_each_request_learns_its_own_numbers() {
    let database = in_memory();
    let before = written(&database);
    let outcomes = commit_all(
        &database,
        vec![
            (vec![put("a", None)], Durability::Memory),
            (vec![put("b", None), op("a", Action::Delete, None)], Durability::Synced),
            (vec![put("c", None)], Durability::Buffered),
        ],
    );
    let numbers: Vec<_> = outcomes.into_iter().map(|o| o.expect("done")).collect();
    assert_eq!(numbers, [(1, 1), (2, 2), (4, 1)].map(|(first, count)| Committed { first, count }));
    assert_eq!(numbers[1].last(), Some(3));
    let after = written(&database);
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 1), "the strongest durability asked");
}

#[test]
fn of_many_that_want_the_key_absent_exactly_one_wins() {
    let database = in_memory();
    let wants = || vec![put("lock", Some(Condition::Absent))];
    let outcomes = commit_all(&database, memory((0..64).map(|_| wants()).collect()));
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1);
    assert_eq!(failed(&outcomes[1]), [Failed { index: 0, version: Some(1) }]);
    assert_eq!(database.db.stats().operations.puts, 1);
}

#[test]
fn conditions_see_earlier_requests_of_the_group_but_not_their_own_request() {
    let database = in_memory();
    commit_all(&database, memory(vec![vec![put("a", None)]]));
    let version = |n| Some(Condition::VersionIn(vec![SeqNo(n)]));
    let outcomes = commit_all(
        &database,
        memory(vec![
            vec![op("a", Action::Delete, version(1))],
            vec![put("a", version(1))],
            vec![put("a", Some(Condition::Absent)), put("a", Some(Condition::Absent))],
            vec![op("a", Action::Check, Some(Condition::Present))],
            vec![op("a", Action::Check, version(4))],
        ]),
    );
    assert!(outcomes[0].is_ok());
    assert_eq!(failed(&outcomes[1]), [Failed { index: 0, version: None }]);
    assert_eq!(outcomes[2].as_ref().ok().and_then(Committed::last), Some(4));
    assert_eq!(outcomes[3].as_ref().ok().map(Committed::last), Some(None));
    assert!(outcomes[4].is_ok());
}

#[test]
fn a_request_with_one_failed_condition_writes_nothing() {
    let database = in_memory();
    let before = written(&database);
    let outcomes = commit_all(
        &database,
        memory(vec![vec![put("a", None), put("b", Some(Condition::Present)), put("c", None)]]),
    );
    assert_eq!(failed(&outcomes[0]), [Failed { index: 1, version: None }]);
    assert_eq!(database.db.iter().count(), 0);
    assert_eq!(written(&database), before, "no empty write");
}

#[test]
fn a_step_of_two_failed_conditions_is_named_once() {
    let database = in_memory();
    let both = vec![Condition::Present, Condition::VersionIn(vec![SeqNo(9)])];
    let step = Op { conditions: both, ..put("a", None) };
    let outcomes = commit_all(&database, memory(vec![vec![put("b", None), step]]));
    assert_eq!(failed(&outcomes[0]), [Failed { index: 1, version: None }]);
}

/// A conditional request and the plain ones beside it are written by one thread of many:
/// a program that embeds the server's database writes to it as well.
#[test]
fn conditions_are_exact_beside_writes_that_come_past_the_committer() {
    let database = in_memory();
    const EACH: u64 = 300;
    // Each refusal is for a write of the other.
    const MOST_TRIES: u64 = 1_000 * EACH;
    std::thread::scope(|scope| {
        let db = &database.db;
        let outside = scope.spawn(move || {
            for _ in 0..EACH {
                for tries in 1.. {
                    assert!(tries < MOST_TRIES, "refused again and again");
                    let record = db.get_record("n").unwrap();
                    let mut batch = Batch::new();
                    let count = record.as_ref().map_or(0, |r| r.value.len());
                    match &record {
                        Some(record) => batch.check_version("n", record.version),
                        None => batch.check_absent("n"),
                    }
                    batch.put("n", vec![b'v'; count + 1]);
                    match db.write(batch) {
                        Ok(_) => break,
                        Err(tanada::Error::Conflict(_)) => {}
                        Err(e) => panic!("{e}"),
                    }
                }
            }
        });
        for _ in 0..EACH {
            for tries in 1.. {
                assert!(tries < MOST_TRIES, "refused again and again");
                let record = database.db.get_record("n").unwrap();
                let condition = match &record {
                    Some(record) => Condition::VersionIn(vec![record.version]),
                    None => Condition::Absent,
                };
                let count = record.map_or(0, |record| record.value.len());
                let step = put_bytes("n", count + 1, Some(condition));
                match &commit_all(&database, memory(vec![vec![step]]))[0] {
                    Ok(_) => break,
                    Err(WriteError::Conditions(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        outside.join().unwrap();
    });
    assert_eq!(database.db.get("n").unwrap().unwrap().len() as u64, 2 * EACH);
}

/// What waited at the same time was written as one batch of up to 8 MiB: with a small
/// budget that is more than a batch may have, and every request in it was refused.
#[test]
fn no_request_is_refused_for_its_neighbours() {
    let database = in_memory();
    let most = database.db.stats().memory.largest_batch_bytes as usize;
    let large = || vec![put_bytes("more", most, None)];
    let third = |key| put_bytes(key, most / 3, None);
    let requests = vec![
        vec![put("a", Some(Condition::Absent))],
        vec![third("b")],
        large(),
        vec![put("a", Some(Condition::Absent))],
        vec![third("c"), third("d")],
        large(),
        vec![third("e"), third("f")],
    ];
    let before = written(&database);
    let outcomes = commit_all(&database, memory(requests));
    let is_done: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(is_done, [true, true, false, false, true, false, true]);
    let too_large = |at: usize| match &outcomes[at] {
        Err(WriteError::Engine(tanada::Error::InvalidArgument(e))) => e.contains("split it"),
        _ => false,
    };
    assert!(too_large(2) && too_large(5));
    assert_eq!(failed(&outcomes[3]).len(), 1);
    assert_eq!(database.db.iter().count(), 6);
    assert_eq!(outcomes[4].as_ref().ok().and_then(Committed::last), Some(4));
    assert!(written(&database).0 - before.0 <= 4, "no more records than their sizes ask for");
}

#[test]
fn a_refused_request_costs_its_group_no_more_writes() {
    let database = in_memory();
    let most = database.db.stats().memory.largest_batch_bytes as usize;
    let before = written(&database);
    let requests = (0..256).map(|n| vec![put_bytes("k", if n == 77 { most } else { 1 }, None)]);
    let outcomes = commit_all(&database, memory(requests.collect()));
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 255);
    assert_eq!(written(&database).0, before.0 + 1);
}

#[test]
fn a_group_is_no_more_than_a_part_of_the_longest_batch() {
    let small = group_within(192 << 10);
    assert_eq!((small.requests, small.bytes), (192, 48 << 10));
    let large = group_within(1 << 40);
    assert_eq!((large.requests, large.bytes), (1024, 8 << 20));
}

/// scylladb #1490: of a group only one writer heard of the failure.
#[test]
fn every_request_of_a_failed_group_hears_of_it() {
    let machine = MemoryMachine::new(1);
    let faults = Faults::over_memory(&machine);
    let database = database(&faults, &machine);
    faults.add(Rule::fail(EIO).on(Call::LogSync));
    let requests = (0..5).map(|_| (vec![put("a", None)], Durability::Synced)).collect();
    let outcomes = commit_all(&database, requests);
    assert_eq!(outcomes.len(), 5);
    for outcome in outcomes {
        assert!(matches!(outcome, Err(WriteError::Engine(tanada::Error::Poisoned { .. }))));
    }
}
