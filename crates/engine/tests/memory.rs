//! One budget: what is counted in it, who waits for it, who is refused.
//!
//! Users of other engines opened long iterators and met ten times the memory that they
//! had allowed: MemTables that only readers held were in no account.
#![allow(clippy::unwrap_used)]

use std::time::Duration;
use tanada::vfs::{Env, MemoryMachine};
use tanada::{
    Cursor, Db, Durability, Error, Iter, KeyspaceOptions, MemoryClaim, MemoryStats, PutOptions,
};

const BUDGET: u64 = 16 << 20;
/// What a fill writes.
const FILL: u64 = 2 << 20;
const VALUE_LEN: u64 = 1000;

fn open(env: Env) -> Db {
    Db::builder("db").memory(BUDGET).durability(Durability::Buffered).env(env).open().unwrap()
}

/// Checks that the parts are the sum, and the sum is within the budget.
#[track_caller]
fn check_memory(db: &Db) -> MemoryStats {
    let m = db.stats().memory;
    let parts = [
        m.memtable_bytes,
        m.pooled_bytes,
        m.row_cache_bytes,
        m.block_cache_bytes,
        m.table_bytes,
        m.job_bytes,
        m.reader_bytes,
        m.queue_bytes,
        m.claimed_bytes,
        m.tree_bytes,
    ];
    assert_eq!(parts.iter().sum::<u64>(), m.used_bytes, "{m:?}");
    assert!(m.used_bytes <= m.budget_bytes, "{m:?}");
    m
}

fn value(round: u64, n: u64) -> Vec<u8> {
    let mut value = vec![n as u8; VALUE_LEN as usize];
    value[..8].copy_from_slice(&round.to_le_bytes());
    value
}

fn key(n: u64) -> [u8; 8] {
    n.to_be_bytes()
}

/// Writes every key once more, or until it is refused.
fn fill(db: &Db, round: u64) -> tanada::Result<()> {
    for n in 0..FILL / VALUE_LEN {
        db.put(key(n), value(round, n))?;
        if n.is_multiple_of(100) {
            check_memory(db);
        }
    }
    Ok(())
}

/// Fills until a write is refused, with what `open_reader` opens in between.
fn until_refused<R>(db: &Db, mut open_reader: impl FnMut(&Db) -> R) -> (Vec<R>, String) {
    let mut readers = Vec::new();
    for round in 0..20 {
        match fill(db, round) {
            Ok(()) => readers.push(open_reader(db)),
            Err(Error::MemoryFull { reason }) => return (readers, reason),
            Err(e) => panic!("{e}"),
        }
    }
    panic!("40 MiB of MemTables are held in a budget of 16 MiB");
}

fn cursor_at_the_start(db: &Db) -> Cursor {
    let mut cursor = db.cursor();
    cursor.seek_first().unwrap();
    cursor
}

/// 20 cursors, a fill between each, 256 MiB of budget: the process had 1,193 MiB, and
/// the statistics said 38 to 64. So here, with a budget of 16 MiB.
#[test]
fn iterators_pin_memory() {
    let machine = MemoryMachine::new(1);
    let db = open(machine.env());
    let (cursors, _) = until_refused(&db, |db| {
        machine.clock().advance(Duration::from_secs(10));
        cursor_at_the_start(db)
    });
    assert!(cursors.len() >= 4, "most of the budget can be held: {}", cursors.len());
    let memory = check_memory(&db);
    assert!(memory.memtable_held_bytes > BUDGET / 2, "{memory:?}");
    assert!(memory.memtable_bytes >= memory.memtable_held_bytes);

    // The error says who holds how much for how long, and what to do.
    let e = db.put("one more", value(0, 0)).unwrap_err().to_string();
    let who = format!("{} cursors open for ", cursors.len());
    for said in [&who, "s hold ", "MiB", "close them or move them on", "nothing was done"] {
        assert!(e.contains(said), "{said:?} is not in: {e}");
    }
    // Nothing was done, and reads go on.
    assert_eq!(db.get("one more").unwrap(), None);
    for (round, cursor) in cursors.iter().enumerate() {
        assert_eq!(cursor.entry().unwrap().1, value(round as u64, 0));
    }
    // The statistics name them, the oldest first.
    assert_eq!(memory.readers, cursors.len() as u64);
    let oldest = &memory.oldest_readers[0];
    assert_eq!((oldest.kind, oldest.keyspace.as_deref()), ("cursor", Some("default")));
    assert!(oldest.age_ms > 10_000 && oldest.memtable_bytes >= FILL, "{oldest:?}");
    assert!(memory.oldest_readers.is_sorted_by(|a, b| a.age_ms >= b.age_ms));

    drop(cursors);
    fill(&db, 99).unwrap();
    db.flush().unwrap();
    let memory = check_memory(&db);
    assert_eq!((memory.memtable_held_bytes, memory.reader_bytes, memory.readers), (0, 0, 0));
}

#[test]
fn iterators_that_do_not_move_and_those_of_snapshots_are_in_the_budget_as_well() {
    let db = open(Env::memory(1));
    let iter = |db: &Db| {
        let mut iter = db.iter();
        iter.next().unwrap().unwrap();
        iter.next_back().unwrap().unwrap();
        iter
    };
    let (iters, reason) = until_refused(&db, iter);
    assert!(reason.contains(&format!("{} iterators open for ", iters.len())), "{reason}");
    drop(iters);
    let of_a_snapshot = |db: &Db| {
        let snapshot = db.snapshot();
        let mut cursor = snapshot.cursor();
        cursor.seek_last().unwrap();
        cursor
    };
    let (cursors, reason) = until_refused(&db, of_a_snapshot);
    assert!(reason.contains(&format!("{} cursors open for ", cursors.len())), "{reason}");
}

/// A cursor that moves goes over to the tables and finds its moment there.
#[test]
fn readers_that_move_hold_no_memtable_beyond_its_flush_and_answer_their_own_moment() {
    let db = open(Env::memory(1));
    let last = FILL / VALUE_LEN - 1;
    let mut cursors: Vec<(Cursor, Cursor, Iter)> = Vec::new();
    for round in 0..12 {
        fill(&db, round).unwrap();
        let mut backward = db.cursor();
        backward.seek_last().unwrap();
        cursors.push((cursor_at_the_start(&db), backward, db.iter()));
        db.flush().unwrap();
        for (opened, (forward, backward, iter)) in cursors.iter_mut().enumerate() {
            let (opened, step) = (opened as u64, round - opened as u64);
            assert_eq!(forward.entry().unwrap(), (&key(step)[..], &value(opened, step)[..]));
            let at = last - step;
            assert_eq!(backward.entry().unwrap(), (&key(at)[..], &value(opened, at)[..]));
            let (k, v) = iter.next().unwrap().unwrap();
            assert_eq!((&*k, &*v), (&key(step)[..], &value(opened, step)[..]));
            let (k, v) = iter.next_back().unwrap().unwrap();
            assert_eq!((&*k, &*v), (&key(at)[..], &value(opened, at)[..]));
            forward.next().unwrap();
            backward.prev().unwrap();
        }
        assert_eq!(check_memory(&db).memtable_held_bytes, 0);
    }
}

/// A turn behind a change of tables, at each place where a cursor can stand.
#[test]
fn a_cursor_turns_round_where_its_memtables_have_gone() {
    let db = open(Env::memory(1));
    for n in 0..9 {
        db.put(key(n), "old").unwrap();
    }
    db.delete(key(4)).unwrap();
    let flush = |db: &Db| {
        for n in 0..9 {
            db.put(key(n), "new").unwrap();
        }
        db.flush().unwrap();
        db.compact(..).unwrap();
    };
    let stands_on = |cursor: &Cursor, n: Option<u64>| {
        let expected = n.map(|n| (key(n).to_vec(), b"old".to_vec()));
        assert_eq!(cursor.entry().map(|(k, v)| (k.to_vec(), v.to_vec())), expected);
    };
    for forward in [true, false] {
        let mut cursor = db.cursor();
        if forward {
            cursor.seek(key(3)).unwrap();
        } else {
            cursor.seek_for_prev(key(3)).unwrap();
        }
        stands_on(&cursor, Some(3));
        if forward {
            flush(&db);
        }
        cursor.next().unwrap();
        stands_on(&cursor, Some(5));
        flush(&db);
        cursor.prev().unwrap();
        stands_on(&cursor, Some(3));
        cursor.prev().unwrap();
        flush(&db);
        cursor.next().unwrap();
        stands_on(&cursor, Some(3));
        flush(&db);
        cursor.seek_last().unwrap();
        stands_on(&cursor, Some(8));
        flush(&db);
        cursor.next().unwrap();
        stands_on(&cursor, None);
        // For the next turn: what a cursor that is opened now sees.
        drop(cursor);
        for n in 0..9 {
            db.put(key(n), "old").unwrap();
        }
        db.delete(key(4)).unwrap();
    }
}

/// What had not expired when a scan began is part of it to the end: a compaction
/// dropped such values from under a cursor that had to look for them again.
#[test]
fn what_expires_during_a_scan_stays_in_it() {
    let machine = MemoryMachine::new(1);
    let db = open(machine.env());
    for n in 0..9 {
        db.put_with(key(n), "short", PutOptions::new().ttl(Duration::from_secs(10))).unwrap();
    }
    let (mut cursor, mut iter) = (cursor_at_the_start(&db), db.iter());
    iter.next_back().unwrap().unwrap();
    machine.clock().advance(Duration::from_secs(60));
    db.flush().unwrap();
    db.compact(..).unwrap();
    for n in 0..9 {
        assert_eq!(cursor.entry(), Some((&key(n)[..], &b"short"[..])));
        cursor.next().unwrap();
    }
    assert_eq!(iter.by_ref().count(), 8);
    drop((cursor, iter));
    assert_eq!(db.iter().count(), 0);
    db.compact(..).unwrap();
    assert_eq!(db.stats().keyspaces[0].table_entries, 0, "nobody reads it any more");
}

/// Claims all that can be had, in steps.
#[track_caller]
fn claim_the_rest(db: &Db, claim: &mut MemoryClaim, step: u64) {
    let budget = db.stats().memory.budget_bytes;
    while claim.grow(step).is_ok() {
        assert!(claim.bytes() <= budget, "{} bytes are claimed of {budget}", claim.bytes());
    }
}

#[test]
fn a_claim_takes_from_the_caches_and_what_is_not_there_is_refused_and_changes_nothing() {
    let db = open(Env::memory(1));
    for round in 0..6 {
        fill(&db, round).unwrap();
    }
    assert_eq!(db.iter().count() as u64, FILL / VALUE_LEN);
    let before = check_memory(&db);
    assert!(before.block_cache_bytes > 1 << 20, "{before:?}");
    let mut claim = db.claim_memory(1 << 20).unwrap();
    while claim.grow(1 << 20).is_ok() {
        let memory = check_memory(&db);
        assert!(claim.bytes() <= memory.budget_bytes, "{memory:?}");
    }
    let (claimed, memory) = (claim.bytes(), check_memory(&db));
    assert_eq!(memory.claimed_bytes, claimed);
    assert!(claimed >= BUDGET / 2, "{claimed}");
    assert!(memory.block_cache_bytes < before.block_cache_bytes);
    let e = db.claim_memory(4 << 20).unwrap_err();
    assert!(matches!(e, Error::MemoryFull { .. }), "{e}");
    assert!(e.to_string().contains("the program has claimed"), "{e}");
    // Writing goes on in what is left.
    fill(&db, 7).unwrap();
    claim.shrink(1 << 20);
    assert_eq!(check_memory(&db).claimed_bytes, claimed - (1 << 20));
    drop(claim);
    assert_eq!(check_memory(&db).claimed_bytes, 0);
}

#[test]
fn a_batch_of_more_than_three_sixteenths_of_the_budget_is_refused_with_both_figures() {
    let db = open(Env::memory(1));
    let largest = db.stats().memory.largest_batch_bytes;
    assert_eq!(largest, BUDGET * 3 / 16);
    let e = db.put("k", vec![0; largest as usize]).unwrap_err().to_string();
    for said in ["3/16", &largest.to_string(), &BUDGET.to_string()] {
        assert!(e.contains(said), "{said:?} is not in: {e}");
    }
    // What a write takes beside its key and value.
    db.put("k", vec![0; largest as usize - 4096]).unwrap();
    check_memory(&db);
}

/// Bytes of a long value: six of them and what else there is fill the budget.
const LONG_LEN: usize = 2 << 20;

fn long_value(n: u64) -> Vec<u8> {
    let mut value = vec![n as u8; LONG_LEN];
    for (i, word) in value[..LONG_LEN / 2].chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(
            &(n << 40 | i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes(),
        );
    }
    value
}

/// What is in the account, with what values in use keep.
fn in_account(db: &Db) -> u64 {
    let memory = check_memory(db);
    memory.used_bytes + memory.block_cache_unlisted_bytes
}

/// Takes what `next` gives until it is refused; everything taken.
fn take_until_refused<V>(db: &Db, mut next: impl FnMut(u64) -> tanada::Result<V>) -> Vec<V> {
    let mut held = Vec::new();
    for n in 0..20 {
        match next(n) {
            Ok(value) => held.push(value),
            Err(Error::MemoryFull { reason }) => {
                assert!(reason.contains("to read a value"), "{reason}");
                return held;
            }
            Err(e) => panic!("{e}"),
        }
        // Holes, besides.
        assert!(in_account(db) <= BUDGET + (1 << 20), "{:?}", db.stats().memory);
    }
    panic!("40 MiB of values are held in a budget of 16 MiB");
}

/// A get of a value in a MemTable gave a copy of it that no account knew: four readers of
/// values of 50 MB took 200 MiB so.
#[test]
fn long_values_that_readers_hold_are_in_the_budget_wherever_they_lie() {
    let db = open(Env::memory(1));
    db.put(key(0), long_value(0)).unwrap();
    // Each is a copy from the MemTable.
    let copies = take_until_refused(&db, |_| Ok(db.get(key(0))?.expect("it is there")));
    assert!(copies.len() >= 3 && copies.iter().all(|copy| *copy == long_value(0)));
    drop(copies);
    assert!(db.get(key(0)).unwrap().unwrap() == long_value(0), "there is room again");
    let items = take_until_refused(&db, |n| {
        let mut iter = db.iter();
        if n % 2 == 0 { iter.next() } else { iter.next_back() }.expect("it is there")
    });
    assert!(items.len() >= 3 && items.iter().all(|(_, copy)| *copy == long_value(0)));
    drop(items);
    // Each is a block of a table.
    for n in 0..20 {
        db.put(key(n), long_value(n)).unwrap();
    }
    db.flush().unwrap();
    let values = take_until_refused(&db, |n| Ok(db.get(key(n))?.expect("it is there")));
    assert!(values.len() >= 3, "{}", values.len());
    assert!((0..).zip(&values).all(|(n, value)| *value == long_value(n)));
    // Writers wait for what readers hold as well.
    db.put("short", "is written").unwrap();
    drop(values);
    let items = take_until_refused(&db, |n| db.range(key(n)..).next().expect("it is there"));
    assert!(items.len() >= 3, "{}", items.len());
    drop(items);
    assert!(db.get(key(19)).unwrap().unwrap() == long_value(19));
    assert!(in_account(&db) <= BUDGET);
}

/// Each run of a scan had its present value in memory, wanted or not.
#[test]
fn a_scan_of_many_runs_of_long_values_holds_one_of_them() {
    let db = open(Env::memory(1));
    let keys = 7u64;
    for n in 0..keys {
        db.put(key(n), long_value(n)).unwrap();
        db.put(key(n + 100), value(1, n)).unwrap();
        db.flush().unwrap();
    }
    db.put(key(keys), long_value(keys)).unwrap();
    let one = |cursor: &Cursor, n: u64| {
        let (k, v) = cursor.entry().unwrap();
        assert!(k == key(n) && v == long_value(n), "{n}");
        in_account(&db)
    };
    let mut cursor = db.cursor();
    for round in 0..2 {
        cursor.seek_first().unwrap();
        for n in 0..=keys {
            assert!(one(&cursor, n) <= BUDGET, "{n} of round {round}");
            cursor.next().unwrap();
        }
        assert_eq!(cursor.entry().unwrap().0, key(100));
        for n in (0..=keys).rev() {
            cursor.prev().unwrap();
            assert!(one(&cursor, n) <= BUDGET, "{n} of round {round}");
        }
        cursor.seek(key(3)).unwrap();
        one(&cursor, 3);
        cursor.seek_for_prev(key(5)).unwrap();
        one(&cursor, 5);
        cursor.next().unwrap();
        one(&cursor, 6);
    }
    drop(cursor);
    let items: Vec<_> = db.iter().map(|item| item.unwrap().0.to_vec()).collect();
    assert_eq!(items.len() as u64, 2 * keys + 1);
    db.compact(..).unwrap();
    for n in 0..=keys {
        assert!(db.get(key(n)).unwrap().unwrap() == long_value(n));
    }
}

/// Each keyspace has an empty MemTable, and no budget knew of them.
#[test]
fn a_keyspace_for_which_there_is_no_room_is_refused_and_not_created() {
    let db = open(Env::memory(1));
    let keyspace = |name: &str| db.keyspace(name, KeyspaceOptions::new());
    let before = check_memory(&db).memtable_bytes;
    keyspace("first").unwrap();
    let each = check_memory(&db).memtable_bytes - before;
    assert!(each >= 1 << 10, "{each}");
    let mut claim = db.claim_memory(8 << 20).unwrap();
    claim_the_rest(&db, &mut claim, each / 2);
    let names = ["second", "third", "fourth"];
    let (name, refused) = names.iter().find_map(|n| Some((n, keyspace(n).err()?))).unwrap();
    assert!(matches!(refused, Error::MemoryFull { .. }), "{refused}");
    assert!(!db.keyspaces().contains(&(*name).to_owned()));
    drop(claim);
    keyspace(name).unwrap();
    check_memory(&db);
}

/// Each had its copy for the log in the account, and together they left no room for what
/// the first of them takes in a MemTable: it was refused, though the others only waited
/// for it.
#[test]
fn puts_of_long_values_at_once_wait_for_each_other_and_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let builder = Db::builder(dir.path().join("db")).memory(BUDGET);
    let db = builder.durability(Durability::Buffered).open().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..12u64 {
            let db = &db;
            scope.spawn(move || {
                for n in 0..5 {
                    let n = 100 * thread + n;
                    db.put(key(n), long_value(n)).unwrap();
                }
            });
        }
    });
    for n in (0..12).flat_map(|thread| (0..5).map(move |n| 100 * thread + n)) {
        assert!(db.get(key(n)).unwrap().unwrap() == long_value(n), "{n}");
    }
    assert_eq!(check_memory(&db).queue_bytes, 0);
}

/// Short values were written, for a full MemTable is flushed where there is no room.
#[test]
fn a_long_value_is_written_where_a_flush_of_what_is_not_sealed_yet_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let builder = Db::builder(dir.path().join("db")).memory(4 * BUDGET);
    let db = builder.durability(Durability::Buffered).open().unwrap();
    for n in 0..7_000 {
        db.put(key(n), value(1, n)).unwrap();
    }
    // All that can be had: beside it there is a MemTable of 7 MB, and room for a chunk.
    let mut claim = db.claim_memory(1 << 20).unwrap();
    claim_the_rest(&db, &mut claim, 64 << 10);
    let active = check_memory(&db).memtable_bytes;
    assert!(active > 7 << 20, "{active}");
    let long = vec![7; 3 << 20];
    db.put("long", &long).unwrap();
    drop(claim);
    assert!(db.get("long").unwrap().unwrap() == long);
}

/// A reader had what blocks might take when a claim was there, for as long as nobody wrote.
#[test]
fn a_long_value_is_read_once_a_claim_that_left_no_room_for_it_is_given_back() {
    let db = open(Env::memory(1));
    for n in 0..4 {
        db.put(key(n), long_value(n)).unwrap();
    }
    db.flush().unwrap();
    let mut claim = db.claim_memory(1 << 20).unwrap();
    claim_the_rest(&db, &mut claim, 64 << 10);
    let held = db.get(key(0)).unwrap().unwrap();
    assert!(matches!(db.get(key(1)), Err(Error::MemoryFull { .. })));
    drop(claim);
    let second = db.get(key(1)).unwrap().unwrap();
    assert!(second == long_value(1) && held == long_value(0));
}
