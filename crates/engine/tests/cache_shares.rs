//! What the caches have: all that nobody else needs, and at once.
#![allow(clippy::unwrap_used)]

use tanada::vfs::MemoryMachine;
use tanada::{Batch, Db, Durability};

const BUDGET: u64 = 16 << 20;
const VALUE_LEN: usize = 1000;
/// Rows of this length come into a row cache of any size.
const SHORT_LEN: usize = 100;

fn open(machine: &MemoryMachine) -> Db {
    let builder = Db::builder("db").memory(BUDGET).durability(Durability::Buffered);
    builder.env(machine.env()).open().unwrap()
}

fn key(n: u64) -> [u8; 8] {
    n.to_be_bytes()
}

fn fill(db: &Db, keys: u64, round: u8) {
    for n in 0..keys {
        db.put(key(n), [round; VALUE_LEN]).unwrap();
    }
}

fn capacity(db: &Db) -> u64 {
    let stats = db.stats();
    stats.block_cache.capacity_bytes + stats.row_cache.capacity_bytes
}

/// What they have where nothing was written.
fn capacity_at_rest() -> u64 {
    capacity(&open(&MemoryMachine::new(1)))
}

#[track_caller]
fn check_all_is_theirs(db: &Db) {
    let (now, rest) = (capacity(db), capacity_at_rest());
    let trees = db.stats().memory.tree_bytes;
    assert!(now + trees + 4096 >= rest, "{now} of {rest}; {:?}", db.stats().memory);
}

/// The flush itself still had the MemTables when it divided what they gave back, and while
/// nobody wrote there was no other division: a fifth of the budget stayed with nobody.
#[test]
fn behind_the_last_flush_the_caches_have_all_that_the_memtables_had() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine);
    for round in 0..3 {
        fill(&db, 4_000, round);
        db.flush().unwrap();
        check_all_is_theirs(&db);
    }
}

#[test]
fn when_the_last_reader_of_a_memtable_goes_the_caches_have_what_it_took() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine);
    fill(&db, 1_500, 0);
    let (mut cursor, mut iter) = (db.cursor(), db.iter());
    cursor.seek_first().unwrap();
    iter.next().unwrap().unwrap();
    fill(&db, 1_500, 1);
    db.flush().unwrap();
    assert!(capacity(&db) + (1 << 20) < capacity_at_rest(), "they hold a MemTable");
    drop(cursor);
    drop(iter);
    check_all_is_theirs(&db);
}

/// An eighth of what the caches had was kept for rows from the beginning, before any read had
/// shown that blocks do not fit; and since they did not fit beside it, it was kept.
#[test]
fn blocks_that_fit_are_all_kept_though_rows_could_be_cached() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine);
    let keys = capacity_at_rest() / 64 * 57 / (SHORT_LEN as u64 + 22);
    for n in 0..keys {
        db.put(key(n), [3; SHORT_LEN]).unwrap();
    }
    db.compact(..).unwrap();
    assert_eq!(db.iter().count() as u64, keys);
    let mut n = 0;
    let mut get_some = |gets: u64| {
        for _ in 0..gets {
            n = (n + 7_919) % keys;
            assert!(db.get(key(n)).unwrap().is_some());
        }
    };
    get_some(4_000);
    assert!(db.stats().row_cache.entries > 100, "rows come in until somebody looks");
    get_some(6_000);
    let blocks = db.stats().block_cache;
    let rest = capacity_at_rest();
    assert!(
        blocks.used_bytes > rest / 32 * 27,
        "{} of {rest}: too few to show it",
        blocks.used_bytes
    );
    get_some(150_000);
    assert_eq!(db.stats().block_cache.misses, blocks.misses, "{blocks:?}");
    assert_eq!(db.stats().row_cache.entries, 0);
}

/// Rows went one shard of 64 at every 8,192nd read, and all the while blocks had no more room.
#[test]
fn a_row_cache_that_has_stepped_aside_is_empty_within_some_reads_a_row() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine);
    let keys = 3 * capacity_at_rest() / VALUE_LEN as u64;
    fill(&db, keys, 0);
    db.compact(..).unwrap();
    let get = |n: u64| assert!(db.get(key(n)).unwrap().is_some());
    // A third more than blocks alone can hold, again and again: rows are kept …
    let often = capacity_at_rest() * 4 / 3 / VALUE_LEN as u64;
    let mut n = 0;
    for _ in 0..100 {
        for _ in 0..10_000 {
            n = (n + 7_919) % often;
            get(n);
        }
        if db.stats().row_cache.entries > 500 {
            break;
        }
    }
    assert!(db.stats().row_cache.entries > 500, "{:?}", db.stats().row_cache);
    let rows = db.stats().row_cache.capacity_bytes;
    assert!(rows > capacity_at_rest() / 10, "its whole share, once it is asked: {rows}");
    // … and then what fits.
    for n in 0..200_000 {
        get(n % 1_000);
    }
    let stats = db.stats();
    let rows = stats.row_cache;
    assert_eq!((rows.entries, rows.capacity_bytes), (0, rows.used_bytes), "nothing but itself");
}

/// Whoever read with `multi_get` alone never looked.
#[test]
fn reads_of_several_keys_find_out_as_well_whether_rows_pay() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine);
    for n in 0..1_000 {
        db.put(key(n), [3; SHORT_LEN]).unwrap();
    }
    db.flush().unwrap();
    let get_some = |times: u64| {
        for _ in 0..times {
            db.multi_get((0..100).map(key)).unwrap();
        }
    };
    get_some(50);
    assert!(db.stats().row_cache.entries > 0, "nobody has looked yet");
    get_some(150);
    let rows = db.stats().row_cache;
    let aside = (0, rows.used_bytes);
    assert_eq!((rows.entries, rows.capacity_bytes), aside, "blocks fit: it has stepped aside");
}

/// What a write that was refused had asked for stayed asked for until the next one.
#[test]
fn a_write_that_is_refused_leaves_nothing_behind_that_the_caches_may_not_have() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine);
    db.put("there", "already").unwrap();
    let mut batch = Batch::new();
    batch.check_absent("there");
    batch.put("long", vec![7; 2_500_000]);
    db.write(batch).unwrap_err();
    db.flush().unwrap();
    check_all_is_theirs(&db);
}
