//! One thread reads while another overwrites, neither waiting for the other.

use super::Turn;
use crate::data::{fill_value, key};
use crate::engine::Outcome;
use crate::measure::{Goal, Timing, run};
use crate::picks::uniform;
use crate::row::{Row, figure};
use crate::store::check_get;

/// Rate and percentiles are the reader's; every one of its reads is timed.
pub fn read_while_writing(turn: &mut Turn<'_>) -> Outcome<Row> {
    let (engine, data) = (turn.store.engine(), turn.data);
    let goal = Goal::Time(turn.scale.time * 3);
    let (reads, writes) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut value = vec![0; data.value_bytes];
            run(goal, Timing::Every, |i| {
                let n = uniform(i, 10, data.pairs);
                fill_value(n, i + 1, &mut value);
                engine.put(&key(n), &value)
            })
        });
        let reads = engine.reader().and_then(|mut reader| {
            run(goal, Timing::Every, |i| {
                check_get(&mut *reader, uniform(i, 11, data.pairs), data.value_bytes)?;
                reader.refresh()
            })
        });
        (reads, writer.join().expect("a panic ends the run"))
    });
    let (reads, writes) = (reads?, writes?);
    turn.store.overwritten();
    let mut row = Row::of(&reads, 1);
    row.series.clear();
    row.figures.remove(figure::LOWEST_SECOND);
    row.set(figure::WRITES, writes.rate());
    row.set(figure::WRITES_MAX, writes.latency.max() as f64);
    Ok(row)
}
