//! What leaves many deleted keys in front of those that are alive: queues, windows that
//! slide over time, prefixes that were emptied.

use super::Turn;
use crate::data::{KEY_BYTES, Order, check_value, fill_value, item, key_in};
use crate::engine::{Engine, Outcome, Reader};
use crate::measure::{Timing, run};
use crate::row::Row;

/// Elements that are alive in a queue.
const ALIVE: u64 = 1_000;

/// Points of a series that are deleted together.
const SLICE: u64 = 1_000;

fn put(engine: &dyn Engine, n: u64, value: &mut [u8]) -> Outcome<()> {
    fill_value(n, 0, value);
    engine.put(&key_in(Order::Ascending, n), value)
}

/// Looks at the first pair of all, which must be `n`.
fn look(reader: &mut dyn Reader, n: u64, value_bytes: usize) -> Outcome<()> {
    let mut first = None;
    reader.scan(&[0; KEY_BYTES], 1, &mut |key, value| {
        check_value(item(key), value, value_bytes);
        first = Some(item(key));
    })?;
    assert_eq!(first, Some(n), "the oldest pair that is left is another one");
    reader.refresh()
}

/// Each element is pushed at the tail; then the head is looked at and deleted.
pub fn queue(turn: &mut Turn<'_>) -> Outcome<Row> {
    let (engine, mut value) = (turn.store.engine(), turn.value());
    for n in 0..ALIVE {
        put(engine, n, &mut value)?;
    }
    let mut reader = engine.reader()?;
    let timed = run(turn.operations(turn.data.pairs), Timing::Every, |i| {
        put(engine, i + ALIVE, &mut value)?;
        look(&mut *reader, i, turn.data.value_bytes)?;
        engine.delete(&key_in(Order::Ascending, i))
    })?;
    drop(reader);
    turn.store.changed();
    Ok(Row::of(&timed, 1))
}

/// A tenth of the pairs is alive. Each operation adds a point at the end of the series and
/// looks at the oldest; after every thousand the oldest thousand go, one by one.
pub fn window(turn: &mut Turn<'_>) -> Outcome<Row> {
    let (engine, mut value) = (turn.store.engine(), turn.value());
    let alive = (turn.data.pairs / 10).next_multiple_of(SLICE);
    for n in 0..alive {
        put(engine, n, &mut value)?;
    }
    let mut reader = engine.reader()?;
    let timed = run(turn.operations(turn.data.pairs), Timing::Every, |i| {
        put(engine, i + alive, &mut value)?;
        let oldest = i / SLICE * SLICE;
        look(&mut *reader, oldest, turn.data.value_bytes)?;
        if (i + 1) % SLICE == 0 {
            (oldest..oldest + SLICE)
                .try_for_each(|n| engine.delete(&key_in(Order::Ascending, n)))?;
        }
        Ok(())
    })?;
    drop(reader);
    turn.store.changed();
    Ok(Row::of(&timed, 1))
}

/// All pairs but the last thousand have been deleted, in order, before the clock starts.
/// Each operation looks for the first that is left; the first one may take long. An engine
/// that is too slow to write or to delete them all has fewer of them, and says so.
pub fn dead_prefix(turn: &mut Turn<'_>) -> Outcome<Row> {
    let (engine, mut value) = (turn.store.engine(), turn.value());
    let written =
        run(turn.operations(turn.data.pairs), Timing::OneOfEight, |n| put(engine, n, &mut value))?;
    let dead = written.operations.saturating_sub(ALIVE);
    let deleted = run(turn.operations(dead), Timing::OneOfEight, |n| {
        engine.delete(&key_in(Order::Ascending, n))
    })?;
    let left = deleted.operations;
    let mut reader = engine.reader()?;
    let mut timed =
        run(turn.time(), Timing::Every, |_| look(&mut *reader, left, turn.data.value_bytes))?;
    timed.cut = written.cut || deleted.cut;
    drop(reader);
    turn.store.changed();
    Ok(Row::of(&timed, 1))
}
