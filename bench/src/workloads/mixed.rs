//! Some threads read while others overwrite, none waiting for another.

use super::Turn;
use crate::data::{fill_value, key};
use crate::engine::Outcome;
use crate::measure::{Goal, Timed, Timing, run};
use crate::picks::uniform;
use crate::row::{Row, figure};
use crate::store::check_get;

/// Rate and percentiles are the reader's; every one of its reads is timed.
pub fn read_while_writing(turn: &mut Turn<'_>) -> Outcome<Row> {
    let (reads, writes) = readers_and_writers(turn, Goal::Time(turn.scale.time * 3), 1)?;
    Ok(row_of(&reads, &writes))
}

/// How long tails are looked for, in times of a workload of reads: some hundred thousand
/// operations come into the last ten thousandth.
const TAIL_TIMES: u32 = 5;

/// Threads of either kind, many times those of a machine.
const CROWD: u64 = 32;

/// Reads of one thread beside one that writes.
pub fn reads_by_two(turn: &mut Turn<'_>) -> Outcome<Row> {
    let goal = Goal::Time(turn.scale.time * TAIL_TIMES);
    let (reads, writes) = readers_and_writers(turn, goal, 1)?;
    Ok(row_of(&reads, &writes))
}

/// Writes of one thread beside one that reads.
pub fn writes_by_two(turn: &mut Turn<'_>) -> Outcome<Row> {
    let goal = Goal::Time(turn.scale.time * TAIL_TIMES);
    let (reads, writes) = readers_and_writers(turn, goal, 1)?;
    Ok(row_of(&writes, &reads))
}

/// Reads of 32 threads beside 32 that write.
pub fn reads_by_64(turn: &mut Turn<'_>) -> Outcome<Row> {
    let goal = Goal::Time(turn.scale.time * TAIL_TIMES);
    let (reads, writes) = readers_and_writers(turn, goal, CROWD)?;
    Ok(row_of(&reads, &writes))
}

/// Writes of 32 threads beside 32 that read.
pub fn writes_by_64(turn: &mut Turn<'_>) -> Outcome<Row> {
    let goal = Goal::Time(turn.scale.time * TAIL_TIMES);
    let (reads, writes) = readers_and_writers(turn, goal, CROWD)?;
    Ok(row_of(&writes, &reads))
}

/// Rate and percentiles of `measured`, with the rate of the `others`.
fn row_of(measured: &Timed, others: &Timed) -> Row {
    let mut row = Row::of(measured, 1);
    row.series.clear();
    row.figures.remove(figure::LOWEST_SECOND);
    row.set(figure::WRITES, others.rate());
    row.set(figure::WRITES_MAX, others.latency.max() as f64);
    row
}

/// So many readers and as many writers side by side, all over the pairs at random.
fn readers_and_writers(turn: &mut Turn<'_>, goal: Goal, each: u64) -> Outcome<(Timed, Timed)> {
    let (engine, data) = (turn.store.engine(), turn.data);
    let write = |thread: u64| {
        let mut value = vec![0; data.value_bytes];
        run(goal, Timing::Every, |i| {
            let n = uniform(i, 10 + 2 * thread, data.pairs);
            fill_value(n, i + 1, &mut value);
            engine.put(&key(n), &value)
        })
    };
    let read = |thread: u64| {
        let mut reader = engine.reader()?;
        run(goal, Timing::Every, |i| {
            let n = uniform(i, 11 + 2 * thread, data.pairs);
            check_get(&mut *reader, n, data.value_bytes)?;
            reader.refresh()
        })
    };
    let (reads, writes) = std::thread::scope(|scope| {
        let (read, write) = (&read, &write);
        let spawn =
            |thread| (scope.spawn(move || read(thread)), scope.spawn(move || write(thread)));
        let threads: Vec<_> = (0..each).map(spawn).collect();
        let (mut reads, mut writes) = (Timed::new(), Timed::new());
        for (reader, writer) in threads {
            reads = reads.beside(reader.join().expect("a panic ends the run")?);
            writes = writes.beside(writer.join().expect("a panic ends the run")?);
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((reads, writes))
    })?;
    turn.store.overwritten();
    Ok((reads, writes))
}
