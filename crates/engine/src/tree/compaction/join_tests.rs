//! Which small neighbours are joined, and what that costs and leaves.

use super::model::{ENTRY_BYTES, Model};
use super::plan::Reason;
use super::simulate::Dice;
use super::sketch::Sketch;
use super::*;
use crate::tree::merge::vec_cursor::OwnedEntry;
use crate::tree::version::TableHandle;
use std::collections::HashMap;
use std::sync::Arc;
use tanada_format::TableId;

/// Tables are cut at 1000 B, and few levels are in use.
fn config() -> Config {
    Config { base_bytes: 100_000, table_bytes: 1000, ..Config::for_memtable(64 << 20) }
}

/// Of a run of the last level, in key order, tables of these sizes with the numbers from
/// 10 on.
fn last_level(sizes: &[u64]) -> String {
    let table = |(at, size): (usize, &u64)| {
        let (id, key) = (10 + at, char::from(b'A' + at as u8));
        format!("{id} {key}-{key} {size}")
    };
    let tables: Vec<String> = sizes.iter().enumerate().map(table).collect();
    format!("L6: {}", tables.join(", "))
}

#[track_caller]
fn picked(sizes: &[u64], expected: &str) {
    assert_eq!(Sketch::new(config(), &last_level(sizes)).picked(), expected, "{sizes:?}");
}

#[test]
fn small_neighbours_are_joined_once_they_are_more_than_a_level_may_have() {
    picked(&[10; 8], "nothing");
    picked(&[10; 9], "SmallTables Merge: L6 10 11 12 13 14 15 16 17 18 to L6, run 10");
    // Five more for the bytes of five quarters of a table.
    picked(&[100; 13], "nothing");
    let ten = "SmallTables Merge: L6 10 11 12 13 14 15 16 17 18 19 to L6, run 10";
    picked(&[100; 14], ten);
}

#[test]
fn those_are_joined_whose_table_grows_most_by_it() {
    // Ten times ten, and not the pair of large ones; nor is the large one before them
    // taken along, or the one behind that would make more of it than one table.
    let sizes = [&[600, 300, 300][..], &[10; 10], &[995]].concat();
    let ten = "SmallTables Merge: L6 13 14 15 16 17 18 19 20 21 22 to L6, run 10";
    picked(&[&sizes[..], &[1; 7]].concat(), ten);
}

#[test]
fn nothing_is_joined_that_would_not_make_a_table_of_twice_the_size() {
    let picked = |sizes: &[u64]| {
        let config = Config { table_bytes: 10_000, ..config() };
        Sketch::new(config, &last_level(sizes)).picked()
    };
    // Each is larger than all behind it together.
    assert_eq!(picked(&[512, 256, 128, 64, 32, 16, 8, 4, 2, 1]), "nothing");
    let all = "SmallTables Merge: L6 10 11 12 13 14 15 16 17 18 19 to L6, run 10";
    assert_eq!(picked(&[512, 256, 128, 64, 32, 16, 8, 4, 2, 2]), all);
}

#[test]
fn tables_that_will_go_for_free_are_not_joined_with_others() {
    let table = |at: u8| {
        let (id, key) = (10 + at, char::from(b'a' + at));
        // Four entries each; of the last three all expire.
        let expiry = if at >= 7 { " x4@500" } else { " x3@500" };
        format!("{id} {key}-{key} 10{expiry}")
    };
    let tables: Vec<String> = (0..10).map(table).collect();
    let sketch = Sketch::new(config(), &format!("L6: {}", tables.join(", ")));
    assert_eq!(sketch.picked(), "SmallTables Merge: L6 10 11 12 13 14 15 16 to L6, run 10");
    let alternating: Vec<String> = (0..10)
        .map(|at| {
            let key = char::from(b'a' + at);
            let expiry = if at % 2 == 0 { "" } else { " x4@500" };
            format!("{} {key}-{key} 10{expiry}", 10 + at)
        })
        .collect();
    let sketch = Sketch::new(config(), &format!("L6: {}", alternating.join(", ")));
    assert_eq!(sketch.picked(), "nothing");
}

#[test]
fn tables_of_a_job_under_way_part_their_neighbours() {
    let mut sketch = Sketch::new(config(), &last_level(&[10; 20]));
    let all = sketch.start_picked();
    assert_eq!(all.tables().count(), 20);
    assert_eq!(sketch.picked(), "nothing");
    let mut sketch = Sketch::new(config(), &last_level(&[10; 20]));
    let middle = Sketch::new(config(), &last_level(&[10; 20]).replace("L6", "L5"));
    let taken: Vec<Arc<TableHandle>> =
        middle.version.tables().skip(8).take(1).map(Arc::clone).collect();
    let mut plan = all;
    plan.inputs[0].tables = taken;
    (plan.min_key, plan.max_key) = ((*b"I").into(), (*b"I").into());
    sketch.in_flight.start(&plan);
    let expected = "SmallTables Merge: L6 19 20 21 22 23 24 25 26 27 28 29 to L6, run 10";
    assert_eq!(sketch.picked(), expected);
}

/// Tables of an inner level that lie over much of the next one are small on purpose: their
/// output is cut so that each overlaps little. Joined, they would be cut again.
#[test]
fn what_would_be_cut_again_is_not_joined() {
    let over = |below: u64| {
        let keys = || (b'a'..=b'i').map(char::from);
        let above = keys().zip(30..).map(|(key, id)| format!("{id} {key}a-{key}b 20"));
        let last = keys().zip(10..).map(|(key, id)| format!("{id} {key}a-{key}c {below}"));
        let lines = [("L5", above.collect::<Vec<_>>()), ("L6", last.collect())];
        let text = lines.map(|(level, tables)| format!("{level}: {}", tables.join(", ")));
        Sketch::new(Config { base_bytes: 1000, ..config() }, &text.join("\n")).picked()
    };
    // One table of 1000 B may overlap 12 kB of the next level.
    let joined = "SmallTables Merge: L5 30 31 32 33 34 35 36 37 38 to L5, run 30";
    assert_eq!(over(12_000 / 9), joined);
    assert_eq!(over(12_001), "nothing");
}

/// How often each table's bytes have been rewritten to join small tables, at most.
struct Joins {
    model: Model,
    rewritten: HashMap<TableId, u32>,
    most: u32,
    joined_bytes: u64,
}

impl Joins {
    fn new(config: Config) -> Joins {
        let model = Model::new(config);
        Joins { model, rewritten: HashMap::new(), most: 0, joined_bytes: 0 }
    }

    fn flush(&mut self, entries: Vec<OwnedEntry>) {
        self.model.flush(entries);
        for jobs in 0.. {
            assert!(jobs < 100, "it does not come to rest");
            let Some(plan) = self.model.pick() else { break };
            let joins = plan.reason == Reason::SmallTables;
            let merges = plan.method == Method::Merge;
            let before = plan.tables().map(|t| self.rewritten.get(&t.id()).copied().unwrap_or(0));
            let before = before.max().unwrap_or(0);
            if joins {
                self.joined_bytes += plan.input_bytes();
            }
            let after = self.model.next_id().0;
            let job = self.model.start(plan);
            self.model.finish(job);
            if merges {
                let outputs = self.model.version.tables().filter(|t| t.id().0 > after);
                let times = before + u32::from(joins);
                self.most = self.most.max(times);
                self.rewritten.extend(outputs.map(|t| (t.id(), times)));
            }
        }
    }

    /// Tables below level 0, and how many there may be for their bytes and besides.
    fn below_level_0(&self) -> (u64, u64) {
        let levels = &self.model.version.levels()[1..];
        let bytes: u64 = levels.iter().map(|level| level.size_bytes()).sum();
        let tables: usize = levels.iter().map(|level| level.table_count()).sum();
        let used = levels.iter().filter(|level| !level.is_empty()).count() as u64;
        (tables as u64, 8 * used + 4 * bytes / self.model.config.table_bytes)
    }
}

/// An entry a flush, in this order, into tables of up to 1024 of them.
fn one_by_one(count: u64, key: impl Fn(u64) -> u64) {
    let table_bytes = 1024 * ENTRY_BYTES;
    let config = Config { table_bytes, base_bytes: 8 * table_bytes, ..config() };
    let mut joins = Joins::new(config);
    for n in 0..count {
        joins.flush(vec![OwnedEntry::put(key(n).to_be_bytes(), n + 1, "")]);
        let (tables, most) = joins.below_level_0();
        assert!(tables <= most, "{tables} tables after {n}, and not {most}");
    }
    let times = joins.joined_bytes as f64 / joins.model.flushed_bytes as f64;
    println!(
        "{} tables, each byte joined {times:.2} times, {} at most",
        joins.below_level_0().0,
        joins.most
    );
    assert!(joins.most <= 10, "a table of 1024 entries is ten doublings large: {}", joins.most);
}

#[test]
fn tables_of_one_key_in_ascending_order_stay_few_and_are_rewritten_a_few_times() {
    one_by_one(5000, |n| n);
}

#[test]
fn tables_of_one_key_in_descending_order_stay_few_and_are_rewritten_a_few_times() {
    one_by_one(5000, |n| u64::MAX - n);
}

#[test]
fn tables_of_one_key_in_scattered_order_stay_few_and_are_rewritten_a_few_times() {
    one_by_one(5000, |n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
}

#[test]
fn tables_of_one_key_from_both_ends_stay_few_and_are_rewritten_a_few_times() {
    one_by_one(5000, |n| if n.is_multiple_of(2) { n } else { u64::MAX - n });
}

#[test]
fn tables_of_one_key_in_many_ascending_sequences_stay_few() {
    one_by_one(5000, |n| ((n % 50) << 32) + n);
}

/// Flushes of any size at any place: it comes to rest each time, no table is rewritten
/// more often than it can double, and reads find what was written.
#[test]
fn flushes_of_any_size_in_any_order_come_to_rest() {
    for seed in 1..20 {
        let mut dice = Dice(seed);
        let mut joins = Joins::new(Config { garbage_age_ms: 0, ..config() });
        let mut seqno = 0;
        let mut newest = HashMap::new();
        for _ in 0..300 {
            let count = 1 + dice.roll() % 12;
            let first = dice.roll() % 5000;
            let entries = (first..first + count).map(|key| {
                seqno += 1;
                let dead = dice.roll().is_multiple_of(4);
                newest.insert(key, (!dead).then_some(seqno));
                match dead {
                    true => OwnedEntry::delete(key.to_be_bytes(), seqno),
                    false => OwnedEntry::put(key.to_be_bytes(), seqno, seqno.to_string()),
                }
            });
            let entries = entries.collect();
            joins.flush(entries);
        }
        for (key, seqno) in newest {
            let found = joins.model.get(&key.to_be_bytes(), tanada_format::SeqNo::MAX);
            assert_eq!(found, seqno.map(|n| n.to_string().into_bytes()), "{key} of seed {seed}");
        }
    }
}
