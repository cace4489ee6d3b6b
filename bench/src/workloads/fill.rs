//! Writes by one thread: fills, overwrites, deletions.

use super::{Turn, assert_empty};
use crate::data::{self, Order, fill_value, key, key_in};
use crate::engine::Outcome;
use crate::measure::{Timing, run};
use crate::row::Row;

/// Pairs in the order of their keys.
pub fn sequential(turn: &mut Turn<'_>) -> Outcome<Row> {
    fill(turn, Order::Ascending)
}

/// Pairs in random order.
pub fn random(turn: &mut Turn<'_>) -> Outcome<Row> {
    fill(turn, Order::Random)
}

fn fill(turn: &mut Turn<'_>, order: Order) -> Outcome<Row> {
    let mut value = turn.value();
    let engine = turn.store.engine();
    let timed = run(turn.operations(turn.data.pairs), Timing::Every, |i| {
        fill_value(i, 0, &mut value);
        engine.put(&key_in(order, i), &value)
    })?;
    match order {
        Order::Random if !timed.cut => turn.store.filled(turn.data),
        _ => turn.store.changed(),
    }
    Ok(Row::of(&timed, 1))
}

const BATCH: u64 = 1000;

/// Pairs in random order, a thousand a batch. Percentiles are of batches.
pub fn batches(turn: &mut Turn<'_>) -> Outcome<Row> {
    let mut batch: Vec<_> = (0..BATCH).map(|_| ([0; data::KEY_BYTES], turn.value())).collect();
    let engine = turn.store.engine();
    let timed = run(turn.operations(turn.data.pairs / BATCH), Timing::Every, |i| {
        for (n, (key_of_n, value)) in (i * BATCH..).zip(&mut batch) {
            *key_of_n = key(n);
            fill_value(n, 0, value);
        }
        engine.put_batch(&batch)
    })?;
    turn.store.changed();
    Ok(Row::of(&timed, BATCH))
}

/// Every pair again, in another random order.
pub fn overwrite(turn: &mut Turn<'_>) -> Outcome<Row> {
    let mut value = turn.value();
    let engine = turn.store.engine();
    let timed = run(turn.operations(turn.data.pairs), Timing::Every, |i| {
        let n = turn.shuffled(i);
        fill_value(n, 1, &mut value);
        engine.put(&key(n), &value)
    })?;
    turn.store.overwritten();
    Ok(Row::of(&timed, 1))
}

/// Every pair goes, in random order.
pub fn delete(turn: &mut Turn<'_>) -> Outcome<Row> {
    let engine = turn.store.engine();
    let timed = run(turn.operations(turn.data.pairs), Timing::Every, |i| {
        engine.delete(&key(turn.shuffled(i)))
    })?;
    if !timed.cut {
        assert_empty(&mut *engine.reader()?)?;
    }
    turn.store.changed();
    Ok(Row::of(&timed, 1))
}
