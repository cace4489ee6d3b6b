//! Workloads of mixed work alone: they make no assumption about what those
//! before them left.

use super::Turn;
use crate::data::{self, MISSING, fill_value, key};
use crate::engine::Outcome;
use crate::measure::{Goal, Timed, Timing, run};
use crate::row::Row;
use crate::store::{check_get, check_scan};
use std::time::Instant;

/// All entries in order, once at least; the rate is of entries.
pub fn scan(turn: &mut Turn<'_>) -> Outcome<Row> {
    let (data, mut reader) = (turn.data, turn.store.engine().reader()?);
    let mut timed = Timed::new();
    let started = Instant::now();
    while timed.operations == 0 || started.elapsed() < turn.scale.time {
        let count = check_scan(&mut *reader, &[0; data::KEY_BYTES], u64::MAX, data.value_bytes)?;
        assert!(count >= data.pairs, "a full scan sees every pair of the fill");
        timed.operations += count;
        timed.seconds = started.elapsed().as_secs_f64();
    }
    Ok(Row::of(&timed, 1))
}

/// How many values [`large_values`] writes, and how many threads read them.
const LARGE_VALUES: u64 = 6;
const LARGE_READERS: u64 = 4;
/// Where their keys begin: no other workload comes here.
const LARGE_FROM: u64 = MISSING << 1;
/// Length of each, where the budget allows it: a value is at most 3/16 of it.
const LARGE_BYTES: u64 = 50_000_000;

/// Six values of 50 MB, written, read by four threads, and deleted. The rate is
/// of values read.
pub fn large_values(turn: &mut Turn<'_>) -> Outcome<Row> {
    let engine = turn.store.engine();
    let bytes = LARGE_BYTES.min(turn.scale.memory / 16 * 3 - (1 << 20)) as usize;
    let mut value = vec![0; bytes];
    for n in LARGE_FROM..LARGE_FROM + LARGE_VALUES {
        fill_value(n, 0, &mut value);
        engine.put(&key(n), &value)?;
    }
    drop(value);
    let goal = Goal::Time(turn.scale.time * 2);
    let one = |thread: u64| -> Outcome<Timed> {
        let mut reader = engine.reader()?;
        run(goal, Timing::Every, |i| {
            check_get(&mut *reader, LARGE_FROM + (i + thread) % LARGE_VALUES, bytes)?;
            reader.refresh()
        })
    };
    let timed = std::thread::scope(|scope| -> Outcome<Timed> {
        let others: Vec<_> = (1..LARGE_READERS).map(|t| scope.spawn(move || one(t))).collect();
        let first = one(0)?;
        others.into_iter().try_fold(first, |sum, other| {
            Ok(sum.beside(other.join().expect("a panic ends the run")?))
        })
    })?;
    for n in LARGE_FROM..LARGE_FROM + LARGE_VALUES {
        engine.delete(&key(n))?;
    }
    let mut row = Row::of(&timed, 1);
    row.series.clear();
    row.figures.remove(crate::row::figure::LOWEST_SECOND);
    Ok(row)
}
