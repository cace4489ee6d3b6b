//! Where tables end, and where runs outside of a job may hold a key.

use super::cut::Cutter;
use super::older::Older;
use super::sketch::Sketch;
use crate::tree::compaction::Config;
use crate::tree::version::TableHandle;
use std::sync::Arc;

/// Tables in key order, as [`Sketch::new`] reads them.
fn tables(text: &str) -> Vec<Arc<TableHandle>> {
    let sketch = Sketch::new(Config::for_memtable(1 << 20), &format!("L6: {text}"));
    sketch.version.tables().cloned().collect()
}

fn guards(keys: &[&str]) -> Vec<Box<[u8]>> {
    keys.iter().map(|key| key.as_bytes().into()).collect()
}

/// The keys that start tables, of these with the bytes written before each since the
/// last that did.
fn starts(mut cutter: Cutter<'_>, keys: &[(&'static str, u64)]) -> Vec<&'static str> {
    let starts = keys.iter().filter(|(key, written)| cutter.starts_table(key.as_bytes(), *written));
    starts.map(|&(key, _)| key).collect()
}

#[test]
fn a_table_ends_when_it_has_its_size() {
    let cutter = Cutter::new(800, &[], 0);
    assert_eq!(starts(cutter, &[("a", 0), ("b", 799), ("c", 800), ("d", 10)]), ["c"]);
}

#[test]
fn a_table_ends_at_guards_unless_it_is_too_small_to_be_worth_a_file() {
    let guards = guards(&["d", "g", "k", "p"]);
    let cutter = || Cutter::with_guards(3200, &guards);
    // A thirty-second of the size is enough.
    assert_eq!(starts(cutter(), &[("c", 0), ("d", 100), ("e", 100)]), ["d"]);
    assert_eq!(starts(cutter(), &[("c", 0), ("d", 99), ("e", 3199)]), [""; 0]);
    // A guard that is itself no key counts at the next one; of several passed one does.
    assert_eq!(starts(cutter(), &[("a", 0), ("l", 100), ("m", 100), ("p", 200)]), ["l", "p"]);
    // The first table of all begins in any case.
    assert_eq!(starts(cutter(), &[("d", 0), ("e", 200), ("h", 200)]), ["h"]);
}

#[test]
fn a_table_ends_before_it_overlaps_too_much_of_the_level_below() {
    let below = tables("1 a-b 100, 2 c-d 100, 3 e-f 100, 4 g-h 100, 5 i-j 100");
    let cutter = || Cutter::new(8000, &below, 200);
    // At g three of them have been passed, at f two.
    let keys = [("a", 0), ("c", 1000), ("f", 1000), ("g", 1000), ("h", 1000), ("j", 1000)];
    assert_eq!(starts(cutter(), &keys), ["g"]);
    // An eighth of the size is enough, less is not.
    assert_eq!(starts(cutter(), &[("a", 0), ("g", 1000)]), ["g"]);
    assert_eq!(starts(cutter(), &[("a", 0), ("g", 999), ("h", 1000)]), ["h"]);
    // What a table has not begun with it does not overlap; each counts anew.
    assert_eq!(starts(cutter(), &[("k", 0), ("l", 7999)]), [""; 0]);
    assert_eq!(starts(cutter(), &[("a", 0), ("g", 1000), ("k", 1000)]), ["g"]);
    // The last key of a table below lies in it yet.
    let narrow = || Cutter::new(8000, &below, 99);
    assert_eq!(starts(narrow(), &[("a", 0), ("b", 1000), ("c", 1000)]), ["c"]);
}

#[test]
fn a_key_may_be_held_by_the_runs_whose_tables_span_it() {
    let runs = [tables("1 c-f, 2 h-k"), tables("3 m-p")];
    let mut older = Older::new(&runs);
    let keys = ["a", "c", "d", "f", "g", "h", "k", "l", "m", "p", "q"];
    let held = keys.into_iter().filter(|key| older.may_hold(key.as_bytes()));
    assert_eq!(held.collect::<Vec<_>>(), ["c", "d", "f", "h", "k", "m", "p"]);
}
