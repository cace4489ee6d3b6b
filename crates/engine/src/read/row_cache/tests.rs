//! The row cache under its protocol: every order of a reader's and a flush's steps, and
//! real threads; what it keeps, and what it weighs.
#![allow(clippy::disallowed_methods)] // real threads: nothing else shows a race

use super::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tanada_format::{awkward_keys, hash_key};
use tanada_vfs::memory::Dice;
use tanada_vfs::sync::Mutex;

const KS: KeyspaceId = KeyspaceId::DEFAULT;

fn row(seqno: u64) -> Row {
    Row { value: Value::from(&seqno.to_le_bytes()[..]), seqno: SeqNo(seqno), expires_at_ms: 0 }
}

fn insert(cache: &RowCache, key: &[u8], row: &Row) {
    cache.insert(KS, key, hash_key(key), row, cache.generation());
}

fn get(cache: &RowCache, key: &[u8]) -> Option<u64> {
    cache.get(KS, key, hash_key(key), SeqNo::MAX).map(|row| {
        assert_eq!(*row.value, row.seqno.0.to_le_bytes());
        row.seqno.0
    })
}

fn check(cache: &RowCache) {
    for cell in cache.shards.iter() {
        cell.shard.read().check();
        assert_eq!(cell.len.load(Relaxed), cell.shard.read().len());
    }
    let stats = cache.stats();
    assert!(stats.entries == 0 || stats.used_bytes <= stats.capacity_bytes, "{stats:?}");
}

/// Numbers that look random and are the same in every run.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((z ^ (z >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 32) % n
    }
}

/// A cache that hashes and compares the beginnings of keys answers one for another.
#[test]
fn keys_that_are_easily_taken_for_one_another_have_rows_of_their_own() {
    for seed in 0..20 {
        let mut dice = Dice::new(seed);
        let mut below = |bound| dice.below(bound);
        let mut keys = awkward_keys::pool(&mut below, 60);
        let mut absent = keys.clone();
        absent.iter_mut().for_each(|key| awkward_keys::beside(&mut below, key));
        keys.sort();
        keys.dedup();
        absent.retain(|key| keys.binary_search(key).is_err());
        let cache = RowCache::new(64 << 20);
        // A new cache turns nothing away, so that every row is in.
        for (n, key) in keys.iter().enumerate() {
            insert(&cache, key, &row(n as u64 + 1));
        }
        check(&cache);
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(get(&cache, key), Some(n as u64 + 1), "{seed}: {}", key.escape_ascii());
        }
        assert!(absent.iter().all(|key| get(&cache, key).is_none()));
        for key in &keys {
            cache.remove(KS, key, hash_key(key));
            assert_eq!(get(&cache, key), None);
        }
        assert_eq!(cache.stats().entries, 0, "each removal took its own row");
    }
}

// ---- The protocol. A tiny engine: key to seqnos, ascending, in each MemTable, and to
// the newest in tables.

type Tier = Arc<Mutex<HashMap<u64, Vec<u64>>>>;

#[derive(Clone, Default)]
struct View {
    active: Tier,
    sealed: Option<Tier>,
    tables: Arc<HashMap<u64, u64>>,
}

struct Engine {
    cache: RowCache,
    view: Mutex<Arc<View>>,
    visible: AtomicU64,
}

impl Engine {
    fn new() -> Engine {
        let view = Mutex::new(Arc::new(View::default()));
        Engine { cache: RowCache::new(1 << 20), view, visible: AtomicU64::new(0) }
    }

    fn pinned(&self) -> Arc<View> {
        Arc::clone(&self.view.lock())
    }

    fn change(&self, f: impl FnOnce(&mut View)) {
        let mut view = self.view.lock();
        let mut changed = View::clone(&view);
        f(&mut changed);
        *view = Arc::new(changed);
    }

    fn write(&self, key: u64, seqno: u64) {
        self.pinned().active.lock().entry(key).or_default().push(seqno);
        self.visible.store(seqno, std::sync::atomic::Ordering::Release);
    }

    /// A flush's steps; returns whether there are more.
    fn flush_step(&self, step: usize) -> bool {
        let sealed = |view: &View| view.sealed.clone().expect("sealed in step 0");
        match step {
            0 => self.change(|v| v.sealed = Some(std::mem::take(&mut v.active))),
            1 => drop(self.cache.begin_invalidation()),
            2 => {
                for key in sealed(&self.pinned()).lock().keys().map(|k| k.to_le_bytes()) {
                    self.cache.remove(KS, &key, hash_key(&key));
                }
            }
            _ => self.change(|v| {
                let mut tables = HashMap::clone(&v.tables);
                let newest = |(k, versions): (&u64, &Vec<u64>)| (*k, versions[versions.len() - 1]);
                tables.extend(sealed(v).lock().iter().map(newest));
                (v.tables, v.sealed) = (Arc::new(tables), None);
            }),
        }
        step < 3
    }

    fn flush(&self) {
        (0..).take_while(|&step| self.flush_step(step)).for_each(drop);
    }
}

/// A get that can stop between any two of its steps.
#[derive(Default)]
struct Get {
    key: u64,
    step: usize,
    /// The newest visible write when it began: it must not find less.
    began: u64,
    generation: u64,
    view: Arc<View>,
    seqno: u64,
    found: Option<u64>,
}

impl Get {
    fn of(key: u64) -> Get {
        Get { key, ..Get::default() }
    }

    /// The next step; returns whether there are more.
    fn advance(&mut self, engine: &Engine) -> bool {
        let key = self.key.to_le_bytes();
        let hash = hash_key(&key);
        let sees = |tier: &Tier| {
            let tier = tier.lock();
            tier.get(&self.key)?.iter().rfind(|s| **s <= self.seqno).copied()
        };
        match self.step {
            0 => {
                self.began = engine.visible.load(Acquire);
                self.generation = engine.cache.generation();
            }
            1 => self.view = engine.pinned(),
            2 => self.seqno = engine.visible.load(Acquire),
            3 => self.found = sees(&self.view.active),
            4 => self.found = self.view.sealed.as_ref().and_then(sees),
            5 => {
                let row = engine.cache.get(KS, &key, hash, SeqNo(self.seqno));
                self.found = row.map(|row| row.seqno.0);
            }
            6 => {
                self.found = self.view.tables.get(&self.key).copied();
                self.step += 1;
                return self.found.is_some();
            }
            _ => {
                let row = row(self.found.expect("from a table"));
                engine.cache.insert(KS, &key, hash, &row, self.generation);
                return false;
            }
        }
        self.step += 1;
        self.found.is_none()
    }

    fn run(mut self, engine: &Engine) -> Option<u64> {
        while self.advance(engine) {}
        self.found
    }
}

/// Scenario row_cache_stale_under_race: a reader put an old value back after a writer
/// had replaced it. Here two readers of a key that is in tables and two rounds of
/// overwriting and flushing it take their steps in 30,000 different orders; after each
/// step a whole get must see the newest visible write.
#[test]
fn row_cache_stale_under_race() {
    for seed in 0..if cfg!(miri) { 10 } else { 30_000 } {
        let mut random = Seeded(seed);
        let engine = Engine::new();
        engine.write(7, 1);
        engine.flush();
        let (mut first, mut second) = (Some(Get::of(7)), Some(Get::of(7)));
        let (mut seqno, mut flush_step) = (1, None);
        while first.is_some() || second.is_some() {
            let reader = match random.below(3) {
                0 => &mut first,
                1 => &mut second,
                _ => {
                    // The writer, and the flush that follows a write.
                    flush_step = match flush_step {
                        None if seqno < 3 => {
                            seqno += 1;
                            engine.write(7, seqno);
                            Some(0)
                        }
                        Some(step) => engine.flush_step(step).then_some(step + 1),
                        None => None,
                    };
                    continue;
                }
            };
            if reader.as_mut().is_some_and(|get| !get.advance(&engine)) {
                let ended = reader.take().expect("just advanced");
                assert!(ended.found.is_some_and(|s| s >= ended.began), "seed {seed}");
            }
            let row = get(&engine.cache, &7u64.to_le_bytes());
            let truth = engine.visible.load(Acquire);
            assert_eq!(Get::of(7).run(&engine), Some(truth), "seed {seed}, cached {row:?}");
        }
        check(&engine.cache);
    }
}

#[test]
fn readers_on_threads_never_see_what_they_have_seen_replaced() {
    const KEYS: u64 = 50;
    let engine = Arc::new(Engine::new());
    (1..=KEYS).for_each(|n| engine.write(n % KEYS, n));
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|reader| {
            let (engine, stop) = (Arc::clone(&engine), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut random = Seeded(reader);
                let mut last = [0; KEYS as usize];
                while !stop.load(Relaxed) {
                    let key = random.below(KEYS);
                    let found = Get::of(key).run(&engine).expect("written before");
                    assert!(found >= last[key as usize], "an older version came back");
                    last[key as usize] = found;
                }
            })
        })
        .collect();
    let mut random = Seeded(99);
    for n in KEYS + 1..if cfg!(miri) { 300 } else { 20_000 } {
        engine.write(random.below(KEYS), n);
        if n % 40 == 0 {
            engine.flush();
        }
    }
    stop.store(true, Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    check(&engine.cache);
}

#[test]
fn a_find_from_before_an_invalidation_is_refused() {
    let cache = RowCache::new(1 << 20);
    let before = cache.generation();
    assert!(!cache.begin_invalidation(), "nothing to remove");
    cache.insert(KS, b"k", hash_key(b"k"), &row(1), before);
    assert_eq!(get(&cache, b"k"), None);
    insert(&cache, b"k", &row(1));
    assert_eq!(get(&cache, b"k"), Some(1));
    assert!(cache.begin_invalidation());
    let before = cache.generation();
    cache.clear();
    cache.insert(KS, b"k", hash_key(b"k"), &row(1), before);
    assert_eq!((get(&cache, b"k"), cache.stats().entries), (None, 0));
}

// ---- Contents.

#[test]
fn keyspaces_and_snapshots_are_told_apart() {
    let cache = RowCache::new(1 << 20);
    insert(&cache, b"k", &row(5));
    let hash = hash_key(b"k");
    assert!(cache.get(KS, b"k", hash, SeqNo(4)).is_none());
    assert!(cache.get(KS, b"k", hash, SeqNo(5)).is_some());
    assert!(cache.get(KeyspaceId(1), b"k", hash, SeqNo::MAX).is_none());
    assert!(cache.get(KS, b"l", hash, SeqNo::MAX).is_none(), "a hash is not a key");
    cache.insert(KeyspaceId(1), b"k", hash, &row(9), cache.generation());
    cache.remove(KS, b"k", hash);
    assert_eq!(get(&cache, b"k"), None);
    assert!(cache.get(KeyspaceId(1), b"k", hash, SeqNo::MAX).is_some());
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.entries), (2, 4, 1));
}

/// Scenario cache_key_reuse (rocksdb #14209, yugabyte #20852): what a cache knew a
/// thing by was given to another thing, and it served the one for the other. Blocks
/// lie in slots of their own table here and have no name that could be given twice;
/// rows have one, and keyspaces share keys.
#[test]
fn cache_key_reuse() {
    let cache = RowCache::new(4 << 20);
    let spaces = || (0..8).map(KeyspaceId);
    for n in 0..100u64 {
        let key = n.to_le_bytes();
        for space in spaces() {
            let hash = hash_key(&key);
            assert!(cache.get(space, &key, hash, SeqNo::MAX).is_none(), "{space:?}, key {n}");
            let row = row(n * 10 + u64::from(space.0));
            cache.insert(space, &key, hash, &row, cache.generation());
        }
        for space in spaces() {
            let found = cache.get(space, &key, hash_key(&key), SeqNo::MAX);
            assert_eq!(found.map(|row| row.seqno.0), Some(n * 10 + u64::from(space.0)));
        }
    }
    check(&cache);
}

#[test]
fn an_older_version_does_not_replace_a_newer_one() {
    let cache = RowCache::new(1 << 20);
    for seqno in [3, 8, 5] {
        insert(&cache, b"k", &row(seqno));
    }
    assert_eq!(get(&cache, b"k"), Some(8));
    assert_eq!(cache.stats().entries, 1);
}

#[test]
fn it_fills_freely_stays_within_its_capacity_and_follows_it_down_and_up() {
    let cache = RowCache::new(4 << 20);
    let mut random = Seeded(3);
    for (capacity, value_len) in [(4, 40), (1, 40), (8, 900), (2, 5), (0, 5), (6, 10)] {
        cache.set_capacity(capacity << 20);
        check(&cache);
        for n in 0..60_000u64 {
            let key = n.to_be_bytes();
            let mut row = row(n + 1);
            row.value = Value::from(&vec![7; random.below(2 * value_len) as usize][..]);
            insert(&cache, &key, &row);
            // Twice: the doorkeeper lets it in now.
            insert(&cache, &key, &row);
            if n.is_multiple_of(3) {
                let old = random.below(n + 1).to_be_bytes();
                cache.remove(KS, &old, hash_key(&old));
            }
        }
        check(&cache);
        let stats = cache.stats();
        assert_eq!(stats.entries > 0, capacity > 0, "{stats:?}");
        assert!(stats.used_bytes >= capacity << 20 >> 1 || stats.evictions == 0, "{stats:?}");
    }
}

#[test]
fn what_is_read_once_does_not_drive_out_what_is_read_often() {
    let cache = RowCache::new(1 << 20);
    let hot: Vec<_> = (0..1_000u64).map(|n| n.to_le_bytes()).collect();
    let read = |key: &[u8; 8]| {
        let found = get(&cache, key);
        if found.is_none() {
            insert(&cache, key, &row(1));
        }
        found.is_some()
    };
    for key in &hot {
        read(key);
    }
    let mut once = 1u64 << 32;
    let mut hits = 0;
    for _ in 0..100 {
        for key in &hot {
            hits += u32::from(read(key));
            // Ten times as many strangers as hot keys, far more than there is room for.
            for _ in 0..10 {
                once += 1;
                read(&once.to_le_bytes());
            }
        }
    }
    assert!(cache.stats().entries < 20_000);
    assert!(hits > 99_000, "{hits} of 100,000");
    check(&cache);
}

#[test]
fn a_value_too_large_for_a_shard_is_not_copied_in() {
    let cache = RowCache::new(1 << 20);
    let large = Row { value: Value::from(&vec![0; 100_000][..]), ..row(1) };
    cache.insert(KS, b"k", hash_key(b"k"), &large, cache.generation());
    assert_eq!(cache.stats().entries, 0);
}

/// A shard went at once, and a large one had 100 MiB of rows: a get that came by took the
/// time for all of them.
#[test]
fn a_step_of_emptying_drops_no_more_rows_than_it_may_and_the_last_takes_all_memory() {
    let cache = RowCache::new(64 << 20);
    let in_each = 2 * ROWS_A_STEP + 100;
    for n in 0..(in_each * SHARDS) as u64 {
        insert(&cache, &n.to_be_bytes(), &row(n + 1));
    }
    let all = cache.stats().entries;
    assert!(all > (2 * ROWS_A_STEP * SHARDS) as u64, "{all}");
    let (mut left, mut steps) = (all, 0);
    while cache.empty_a_step() {
        let now = cache.stats().entries;
        assert!(now < left && left - now <= ROWS_A_STEP as u64, "{left} rows, then {now}");
        check(&cache);
        (left, steps) = (now, steps + 1);
    }
    assert!(left == 0 && steps <= 4 * SHARDS, "{left} rows after {steps} steps");
    assert_eq!(cache.used_bytes(), size_of::<[Cell; SHARDS]>() as u64);
}
