//! Real threads on a real disk: writers, readers, scanners, snapshots and a
//! compactor at once, for a bounded number of operations.
//!
//! Every value carries the number of its version, so that a reader can tell an
//! older answer from a newer one. A key's floor is its newest acknowledged
//! version: no read that begins later may answer with less.

#![allow(clippy::unwrap_used)] // in a test a panic is the answer

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tanada::{Batch, Db, Durability, Keyspace, KeyspaceOptions, Value, WriteOptions};
use tanada_sim::seeds::for_each_seed;
use tanada_vfs::memory::Dice;

const WRITERS: u64 = 3;
const KEYS_EACH: u64 = 400;
const WRITES_EACH: u64 = 6_000;
const ACCOUNTS_EACH: u64 = 20;
const BALANCE: i64 = 1_000;

struct World {
    db: Db,
    bank: Keyspace,
    /// Newest acknowledged version of each key.
    floors: Vec<AtomicU64>,
    writers_left: AtomicU64,
    failed: AtomicBool,
}

/// Takes a writer off the count, whether it ends well or panics; and makes a
/// panic of any thread end the others.
struct Leaves<'w>(&'w World, bool);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        if self.1 {
            self.0.writers_left.fetch_sub(1, Ordering::SeqCst);
        }
        if std::thread::panicking() {
            self.0.failed.store(true, Ordering::SeqCst);
        }
    }
}

impl World {
    fn open(path: &std::path::Path) -> World {
        let db = Db::builder(path)
            .memory(16 << 20)
            .durability(Durability::Buffered)
            .threads(3)
            .open()
            .unwrap();
        let bank = db.keyspace("bank", KeyspaceOptions::new()).unwrap();
        let floors = (0..WRITERS * KEYS_EACH).map(|_| AtomicU64::new(0)).collect();
        let writers_left = AtomicU64::new(WRITERS);
        World { db, bank, floors, writers_left, failed: AtomicBool::new(false) }
    }

    fn busy(&self) -> bool {
        self.writers_left.load(Ordering::SeqCst) > 0 && !self.failed.load(Ordering::SeqCst)
    }
}

/// Writers' keys lie interleaved, so that they meet in the same nodes and blocks.
fn key(n: u64) -> Vec<u8> {
    format!("key with a common prefix {n:06}").into_bytes()
}

fn value(version: u64, dice: &mut Dice) -> Vec<u8> {
    let mut value = version.to_le_bytes().to_vec();
    value.resize(8 + dice.below(1_200) as usize, version as u8);
    value
}

/// The version in a value, whose every byte must be of the same write.
fn version(value: &[u8]) -> u64 {
    let version = u64::from_le_bytes(value[..8].try_into().unwrap());
    assert!(value[8..].iter().all(|&b| b == version as u8), "bytes of two writes in one value");
    version
}

fn account(n: u64) -> Vec<u8> {
    format!("account {n:04}").into_bytes()
}

fn balance(value: &Value) -> i64 {
    i64::from_le_bytes(value[..].try_into().unwrap())
}

/// Puts new versions of its own keys, and moves money between its own accounts
/// and its two keyspaces.
fn write(world: &World, writer: u64, seed: u64) {
    let _leaves = Leaves(world, true);
    let mut dice = Dice::new(seed * 31 + writer);
    for n in 1..=WRITES_EACH {
        let own = if dice.chance(300) { dice.below(8) } else { dice.below(KEYS_EACH) };
        let k = own * WRITERS + writer;
        world.db.put(key(k), value(n, &mut dice)).unwrap();
        world.floors[k as usize].fetch_max(n, Ordering::SeqCst);
        if n % 4 == 0 {
            transfer(world, writer, &mut dice);
        }
    }
}

fn transfer(world: &World, writer: u64, dice: &mut Dice) {
    let from = account(dice.below(ACCOUNTS_EACH) * WRITERS + writer);
    let to = account(dice.below(ACCOUNTS_EACH) * WRITERS + writer);
    let amount = dice.below(100) as i64;
    // Nobody else writes these two.
    let mut balances = [
        balance(&world.db.get(&from).unwrap().unwrap()),
        balance(&world.bank.get(&to).unwrap().unwrap()),
    ];
    balances[0] -= amount;
    balances[1] += amount;
    let mut batch = Batch::new();
    batch.put(&from, balances[0].to_le_bytes());
    batch.put_in(&world.bank, &to, balances[1].to_le_bytes());
    let durability = if dice.chance(10) { Durability::Synced } else { Durability::Buffered };
    world.db.write_with(batch, WriteOptions::new().durability(durability)).unwrap();
}

/// Single keys: never older than the floor, never older than what it saw last.
fn read(world: &World, seed: u64) {
    let _leaves = Leaves(world, false);
    let mut dice = Dice::new(seed);
    let mut seen = vec![0; world.floors.len()];
    while world.busy() {
        let k = if dice.chance(500) { dice.below(24) } else { dice.below(WRITERS * KEYS_EACH) };
        let floor = world.floors[k as usize].load(Ordering::SeqCst);
        let found = world.db.get(key(k)).unwrap().map_or(0, |v| version(&v));
        let seen = &mut seen[k as usize];
        assert!(found >= floor, "key {k}: version {found}, acknowledged {floor}");
        assert!(found >= *seen, "key {k}: version {found}, seen before {seen}");
        *seen = found;
    }
}

/// Whole scans, either way: every key with a floor is there and not older.
fn scan(world: &World, seed: u64) {
    let _leaves = Leaves(world, false);
    let mut dice = Dice::new(seed);
    while world.busy() {
        let floors: Vec<u64> = world.floors.iter().map(|f| f.load(Ordering::SeqCst)).collect();
        let mut entries: Vec<_> = if dice.chance(500) {
            world.db.prefix("key ").map(Result::unwrap).collect()
        } else {
            let mut back: Vec<_> = world.db.prefix("key ").rev().map(Result::unwrap).collect();
            back.reverse();
            back
        };
        assert!(entries.is_sorted_by(|a, b| *a.0 < *b.0), "out of order, or twice");
        let mut left = entries.drain(..).peekable();
        for (k, floor) in floors.iter().enumerate() {
            let found = left.next_if(|(found, _)| **found == *key(k as u64));
            let found = found.map_or(0, |(_, value)| version(&value));
            assert!(found >= *floor, "key {k}: version {found} in a scan, acknowledged {floor}");
        }
        assert!(left.next().is_none(), "a key that nobody wrote");
    }
}

/// The total over both keyspaces is the same in every snapshot, read by scan
/// and by key, also after a flush and a compaction.
fn audit(world: &World, seed: u64) {
    let _leaves = Leaves(world, false);
    let mut dice = Dice::new(seed);
    while world.busy() {
        check_bank(world, dice.chance(500));
    }
}

fn check_bank(world: &World, by_scan: bool) {
    let snapshot = world.db.snapshot();
    let total = || -> i64 {
        if by_scan {
            let here = snapshot.prefix("account ").map(|e| balance(&e.unwrap().1)).sum::<i64>();
            let there = snapshot.range_in(&world.bank, ..).rev();
            here + there.map(|e| balance(&e.unwrap().1)).sum::<i64>()
        } else {
            let of = |n| {
                let here = snapshot.get(account(n)).unwrap().unwrap();
                let there = snapshot.get_in(&world.bank, account(n)).unwrap().unwrap();
                balance(&here) + balance(&there)
            };
            (0..WRITERS * ACCOUNTS_EACH).map(of).sum()
        }
    };
    let expected = 2 * BALANCE * (WRITERS * ACCOUNTS_EACH) as i64;
    assert_eq!(total(), expected, "money was made or lost");
    assert_eq!(total(), expected, "a snapshot changed");
}

fn tidy(world: &World, seed: u64) {
    let _leaves = Leaves(world, false);
    let mut dice = Dice::new(seed);
    while world.busy() {
        match dice.below(4) {
            0 => world.db.flush().unwrap(),
            1 => drop(world.bank.compact(..).unwrap()),
            2 => drop(world.db.compact(..).unwrap()),
            _ => {
                let (a, b) = (dice.below(WRITERS * KEYS_EACH), dice.below(WRITERS * KEYS_EACH));
                world.db.compact(key(a.min(b))..key(a.max(b))).unwrap();
            }
        }
    }
}

fn check_floors(world: &World) {
    for (k, floor) in world.floors.iter().enumerate() {
        let floor = floor.load(Ordering::SeqCst);
        let found = world.db.get(key(k as u64)).unwrap().map_or(0, |v| version(&v));
        assert_eq!(found, floor, "key {k}");
    }
    check_bank(world, true);
    check_bank(world, false);
    assert_eq!(world.db.verify().unwrap().damage, Vec::<String>::new());
}

#[test]
fn threads_never_read_what_is_older_than_what_was_acknowledged_nor_half_a_batch() {
    let name =
        "threads threads_never_read_what_is_older_than_what_was_acknowledged_nor_half_a_batch";
    for_each_seed(name, 1, |seed| {
        let dir = tempfile::tempdir().unwrap();
        let world = World::open(&dir.path().join("db"));
        let mut batch = Batch::new();
        for n in 0..WRITERS * ACCOUNTS_EACH {
            batch.put(account(n), BALANCE.to_le_bytes());
            batch.put_in(&world.bank, account(n), BALANCE.to_le_bytes());
        }
        world.db.write(batch).unwrap();
        std::thread::scope(|scope| {
            let world = &world;
            for writer in 0..WRITERS {
                scope.spawn(move || write(world, writer, seed));
            }
            for reader in 0..2 {
                scope.spawn(move || read(world, seed + 100 + reader));
            }
            scope.spawn(move || scan(world, seed + 200));
            scope.spawn(move || audit(world, seed + 300));
            scope.spawn(move || tidy(world, seed + 400));
        });
        check_floors(&world);
        let World { db, bank, floors, .. } = world;
        drop((bank, db));
        let again = World { floors, ..World::open(&dir.path().join("db")) };
        check_floors(&again);
    });
}
