//! YCSB's core workloads A to F, one thread, over pairs of 16 B + 100 B.
//!
//! They follow one another on one database, in the order that YCSB names (A, B,
//! C, F, D, E), and nothing is settled between them: each meets what those
//! before it left behind.

use super::Turn;
use crate::data::{fill_value, key, mix};
use crate::engine::{Engine, Outcome, Reader};
use crate::measure::{Timing, run};
use crate::picks::Zipf;
use crate::row::Row;
use crate::store::{check_get, check_scan};

/// Percentages of operations; what is left of 100 are reads.
struct Mix {
    update: u64,
    insert: u64,
    read_modify_write: u64,
    scan: u64,
    latest: bool,
    /// Operations a hundred pairs.
    share: u64,
}

const NONE: Mix =
    Mix { update: 0, insert: 0, read_modify_write: 0, scan: 0, latest: false, share: 50 };

/// Half reads, half updates.
pub fn a(turn: &mut Turn<'_>) -> Outcome<Row> {
    mixed(turn, Mix { update: 50, ..NONE })
}

/// 95 reads, 5 updates.
pub fn b(turn: &mut Turn<'_>) -> Outcome<Row> {
    mixed(turn, Mix { update: 5, ..NONE })
}

/// Reads.
pub fn c(turn: &mut Turn<'_>) -> Outcome<Row> {
    mixed(turn, NONE)
}

/// 95 reads of what was inserted lately, 5 inserts.
pub fn d(turn: &mut Turn<'_>) -> Outcome<Row> {
    mixed(turn, Mix { insert: 5, latest: true, ..NONE })
}

/// 95 scans of 1 to 100 entries, 5 inserts.
pub fn e(turn: &mut Turn<'_>) -> Outcome<Row> {
    mixed(turn, Mix { insert: 5, scan: 95, share: 10, ..NONE })
}

/// Half reads, half read-modify-writes.
pub fn f(turn: &mut Turn<'_>) -> Outcome<Row> {
    mixed(turn, Mix { read_modify_write: 50, ..NONE })
}

fn mixed(turn: &mut Turn<'_>, mix_of: Mix) -> Outcome<Row> {
    let data = turn.data;
    let operations = (data.pairs * mix_of.share / 100).max(1);
    let zipf = Zipf::new(data.pairs);
    let seed = 20 + mix_of.update + 3 * mix_of.insert + 7 * mix_of.scan;
    let picks = match mix_of.latest {
        true => zipf.ranks(operations, seed),
        false => zipf.scrambled(operations, seed),
    };
    // Writes are timed all, so in mixes of half writes every operation is.
    let timing = match mix_of.update + mix_of.read_modify_write >= 50 {
        true => Timing::Every,
        false => Timing::OneOfEight,
    };
    let engine = turn.store.engine();
    let mut items = inserted(engine, data.pairs)?;
    let mut reader = engine.reader()?;
    let mut value = turn.value();
    let timed = run(turn.operations(operations), timing, |i| {
        let die = mix(i ^ (seed << 40));
        let (percent, length) = (die % 100, (die >> 32) % 100 + 1);
        let n = match mix_of.latest {
            true => items - 1 - u64::from(picks[i as usize]),
            false => u64::from(picks[i as usize]),
        };
        if percent < mix_of.insert {
            fill_value(items, 0, &mut value);
            engine.put(&key(items), &value)?;
            items += 1;
            return Ok(());
        }
        if percent < mix_of.update {
            fill_value(n, i, &mut value);
            return engine.put(&key(n), &value);
        }
        if percent < mix_of.insert + mix_of.scan {
            let count = check_scan(&mut *reader, &key(n), length, data.value_bytes)?;
            assert!(count >= 1, "the key that was sought is there");
            return reader.refresh();
        }
        check_get(&mut *reader, n, data.value_bytes)?;
        reader.refresh()?;
        if percent < mix_of.read_modify_write {
            fill_value(n, i, &mut value);
            engine.put(&key(n), &value)?;
        }
        Ok(())
    })?;
    drop(reader);
    turn.store.changed();
    let mut row = Row::of(&timed, 1);
    row.series.clear();
    row.figures.remove(crate::row::figure::LOWEST_SECOND);
    Ok(row)
}

/// The number of items: those of the fill and those that D and E inserted.
fn inserted(engine: &dyn Engine, filled: u64) -> Outcome<u64> {
    let mut reader = engine.reader()?;
    let there = |reader: &mut dyn Reader, n: u64| reader.get(&key(n), &mut |_| {});
    let mut step = 1;
    while there(&mut *reader, filled - 1 + step)? {
        step *= 2;
    }
    let (mut low, mut high) = (step / 2, step);
    while low + 1 < high {
        let middle = low.midpoint(high);
        match there(&mut *reader, filled - 1 + middle)? {
            true => low = middle,
            false => high = middle,
        }
    }
    Ok(filled + low)
}
