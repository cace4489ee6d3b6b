//! Writes that return when the device has them. Few, and bounded in time: the
//! device sets the pace.

use super::Turn;
use crate::data::{fill_value, key};
use crate::engine::Outcome;
use crate::measure::{Goal, Timed, Timing, run};
use crate::row::Row;
use std::time::Duration;

/// One thread.
pub fn one_writer(turn: &mut Turn<'_>) -> Outcome<Row> {
    writers(turn, 1)
}

/// Eight threads, on disjoint keys.
pub fn eight_writers(turn: &mut Turn<'_>) -> Outcome<Row> {
    writers(turn, 8)
}

fn writers(turn: &mut Turn<'_>, threads: u64) -> Outcome<Row> {
    let writes = (turn.scale.pairs / 400 / threads).max(100) * if threads > 1 { 4 } else { 1 };
    let goal = Goal::Operations(writes, turn.scale.limit.min(Duration::from_secs(15)));
    let (engine, length) = (turn.store.engine(), turn.data.value_bytes);
    let (all, fewest) = std::thread::scope(|scope| -> Outcome<(Timed, u64)> {
        let started: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let mut value = vec![0; length];
                    run(goal, Timing::Every, |i| {
                        let n = i * threads + thread;
                        fill_value(n, 0, &mut value);
                        engine.put(&key(n), &value)
                    })
                })
            })
            .collect();
        let mut all: Option<Timed> = None;
        let mut fewest = u64::MAX;
        for thread in started {
            let one = thread.join().expect("a panic ends the run")?;
            fewest = fewest.min(one.operations);
            all = Some(match all {
                Some(all) => all.beside(one),
                None => one,
            });
        }
        Ok((all.expect("there is a thread"), fewest))
    })?;
    let mut reader = engine.reader()?;
    for n in 0..threads * fewest {
        crate::store::check_get(&mut *reader, n, length)?;
    }
    drop(reader);
    turn.store.changed();
    Ok(Row::of(&all, 1))
}
