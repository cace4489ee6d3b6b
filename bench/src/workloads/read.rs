//! Reads and scans of data at rest.

use super::Turn;
use crate::data::{self, MISSING, Order, key};
use crate::engine::{Engine, Outcome, Reader};
use crate::measure::{Goal, Timed, Timing, run};
use crate::picks::{Zipf, uniform};
use crate::row::Row;
use crate::store::{check_get, check_scan, near_the_end};
use std::time::Instant;

/// Uniform gets.
pub fn random(turn: &mut Turn<'_>) -> Outcome<Row> {
    let (data, mut reader) = (turn.data, turn.store.engine().reader()?);
    let timed = run(turn.time(), Timing::OneOfEight, |i| {
        check_get(&mut *reader, uniform(i, 1, data.pairs), data.value_bytes)
    })?;
    Ok(Row::of(&timed, 1))
}

/// Uniform gets while the engine goes on with what a load has left it to do. Each is timed:
/// the rate of each second shows when that is done.
pub fn right_after_load(turn: &mut Turn<'_>) -> Outcome<Row> {
    let (data, mut reader) = (turn.data, turn.store.engine().reader()?);
    let timed = run(turn.time(), Timing::Every, |i| {
        check_get(&mut *reader, uniform(i, 1, data.pairs), data.value_bytes)
    })?;
    Ok(Row::of(&timed, 1))
}

/// Zipfian gets.
pub fn zipfian(turn: &mut Turn<'_>) -> Outcome<Row> {
    let (data, mut reader) = (turn.data, turn.store.engine().reader()?);
    // In a cgroup the picks take of its memory: no more than a run needs.
    let count = data.pairs.min(2_000_000);
    let picks = Zipf::new(data.pairs).scrambled(count, 2);
    let timed = run(turn.time(), Timing::OneOfEight, |i| {
        let n = picks[(i % count) as usize];
        check_get(&mut *reader, u64::from(n), data.value_bytes)
    })?;
    Ok(Row::of(&timed, 1))
}

/// Uniform gets by two threads.
pub fn random_by_two(turn: &mut Turn<'_>) -> Outcome<Row> {
    let data = turn.data;
    by_two(turn.store.engine(), turn.time(), |reader, thread, i| {
        check_get(reader, uniform(i, thread + 3, data.pairs), data.value_bytes)
    })
}

/// Zipfian gets by two threads.
pub fn zipfian_by_two(turn: &mut Turn<'_>) -> Outcome<Row> {
    let data = turn.data;
    let picks = Zipf::new(data.pairs).scrambled(data.pairs, 5);
    by_two(turn.store.engine(), turn.time(), |reader, thread, i| {
        // They start half the sequence apart.
        let n = picks[((i + thread * data.pairs / 2) % data.pairs) as usize];
        check_get(reader, u64::from(n), data.value_bytes)
    })
}

fn by_two(
    engine: &dyn Engine,
    goal: Goal,
    read: impl Fn(&mut dyn Reader, u64, u64) -> Outcome<()> + Sync,
) -> Outcome<Row> {
    let one = |thread: u64| -> Outcome<Timed> {
        let mut reader = engine.reader()?;
        run(goal, Timing::OneOfEight, |i| read(&mut *reader, thread, i))
    };
    let timed = std::thread::scope(|scope| -> Outcome<Timed> {
        let second = scope.spawn(|| one(1));
        let first = one(0)?;
        Ok(first.beside(second.join().expect("a panic ends the run")?))
    })?;
    Ok(Row::of(&timed, 1))
}

/// Gets of keys that are not there but lie between those that are.
pub fn missing(turn: &mut Turn<'_>) -> Outcome<Row> {
    let (data, mut reader) = (turn.data, turn.store.engine().reader()?);
    let timed = run(turn.time(), Timing::OneOfEight, |i| {
        let there = reader.get(&key(MISSING + uniform(i, 6, data.pairs)), &mut |_| {})?;
        assert!(!there, "a key that was never written is there");
        Ok(())
    })?;
    Ok(Row::of(&timed, 1))
}

/// All entries in order, again and again; the rate is of entries.
pub fn sequential(turn: &mut Turn<'_>) -> Outcome<Row> {
    let (data, mut reader) = (turn.data, turn.store.engine().reader()?);
    let mut timed = Timed::new();
    let started = Instant::now();
    while timed.operations == 0 || started.elapsed() < turn.time {
        let count = check_scan(&mut *reader, &[0; data::KEY_BYTES], u64::MAX, data.value_bytes)?;
        assert_eq!(count, data.pairs, "a full scan sees every pair");
        timed.operations += count;
        timed.seconds = started.elapsed().as_secs_f64();
    }
    Ok(Row::of(&timed, 1))
}

/// Seeks to a random key and reads 10 entries.
pub fn seek_10(turn: &mut Turn<'_>) -> Outcome<Row> {
    seek(turn, 10)
}

/// Seeks to a random key and reads 100 entries.
pub fn seek_100(turn: &mut Turn<'_>) -> Outcome<Row> {
    seek(turn, 100)
}

fn seek(turn: &mut Turn<'_>, entries: u64) -> Outcome<Row> {
    let (data, mut reader) = (turn.data, turn.store.engine().reader()?);
    let near_the_end = near_the_end(data, Order::Random, entries);
    let timed = run(turn.time(), Timing::OneOfEight, |i| {
        let from = key(uniform(i, 7, data.pairs));
        let count = check_scan(&mut *reader, &from, entries, data.value_bytes)?;
        assert!(count == entries || data::place(&from) > near_the_end, "a scan ended early");
        Ok(())
    })?;
    Ok(Row::of(&timed, 1))
}
