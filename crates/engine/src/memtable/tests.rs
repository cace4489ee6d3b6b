//! The MemTable against a sorted map, and readers against a writer.

#![allow(clippy::disallowed_methods)] // real threads: nothing else shows a race

use super::*;
use proptest::prelude::*;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use tanada_format::{ValueKind, awkward_keys, hash_key};
use tanada_table::Cursor;
use tanada_vfs::memory::Dice;

/// What a version holds besides key and seqno.
type Version = (ValueKind, u64, Vec<u8>);

/// The same entries in a map that needs no thought.
#[derive(Default)]
struct Model(BTreeMap<(Vec<u8>, Reverse<u64>), Version>);

type Flat = (Vec<u8>, u64, Version);

fn flat(e: EntryRef<'_>) -> Flat {
    (e.key.to_vec(), e.seqno.0, (e.kind, e.expires_at_ms, e.value.to_vec()))
}

impl Model {
    fn all(&self) -> Vec<Flat> {
        self.0.iter().map(|((k, s), v)| (k.clone(), s.0, v.clone())).collect()
    }

    fn visible_at(&self, seqno: u64) -> Vec<Flat> {
        let mut seen = self.all();
        seen.retain(|e| e.1 <= seqno);
        seen.dedup_by(|later, first| later.0 == first.0);
        seen
    }

    fn get(&self, key: &[u8], seqno: u64) -> Option<Flat> {
        let from = Bound::Included((key.to_vec(), Reverse(seqno)));
        let ((k, s), v) = self.0.range((from, Bound::Unbounded)).next()?;
        (k == key).then(|| (k.clone(), s.0, v.clone()))
    }
}

/// A MemTable and its model, written together.
struct Pair {
    memtable: Arc<MemTable>,
    model: Model,
    token: WriterToken,
    seqno: u64,
}

impl Pair {
    fn new() -> Pair {
        let memtable =
            Arc::new(MemTable::new(ChunkPool::new(0, crate::control::account::Account::new())));
        Pair { memtable, model: Model::default(), token: WriterToken::new(), seqno: 0 }
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) {
        self.seqno += 1;
        let n = self.seqno;
        let kind = if n.is_multiple_of(5) { ValueKind::Delete } else { ValueKind::Put };
        let value = if kind == ValueKind::Delete { b"".as_slice() } else { value };
        let expires_at_ms = if n.is_multiple_of(3) { n * 1_000 } else { 0 };
        let entry = EntryRef { key, seqno: SeqNo(n), kind, expires_at_ms, value };
        self.memtable.insert(&mut self.token, entry);
        self.model.0.insert((key.to_vec(), Reverse(n)), (kind, expires_at_ms, value.to_vec()));
    }

    fn check(&self, probes: &[Vec<u8>]) {
        let all = self.model.all();
        let mut keys: Vec<&Vec<u8>> = all.iter().map(|e| &e.0).collect();
        keys.dedup();
        assert_eq!(self.memtable.tree.check(), keys.len());
        assert_eq!(self.memtable.entries(), all.len() as u64);
        check_walk(&mut self.memtable.cursor(), &all, probes);
        // Miri has time for one: writes before it and behind it.
        let seqnos = [self.seqno / 2, self.seqno, 1, 0];
        for &seqno in &seqnos[..if cfg!(miri) { 1 } else { 4 }] {
            let visible = self.model.visible_at(seqno);
            check_walk(&mut self.memtable.cursor().visible_at(SeqNo(seqno)), &visible, probes);
            for key in probes.iter().chain(keys.iter().copied()) {
                let got = self.memtable.get(key, hash_key(key), SeqNo(seqno)).map(flat);
                assert_eq!(got, self.model.get(key, seqno));
            }
        }
    }
}

/// Walks `cursor` every way and expects exactly `entries`.
fn check_walk(cursor: &mut MemTableCursor, entries: &[Flat], probes: &[Vec<u8>]) {
    let at = |cursor: &MemTableCursor| cursor.valid().then(|| flat(cursor.entry()));
    assert_eq!(at(cursor), None);
    cursor.seek_first().unwrap();
    for entry in entries {
        assert_eq!(at(cursor).as_ref(), Some(entry));
        cursor.next().unwrap();
    }
    assert_eq!(at(cursor), None);
    cursor.seek_last().unwrap();
    for entry in entries.iter().rev() {
        assert_eq!(at(cursor).as_ref(), Some(entry));
        cursor.prev().unwrap();
    }
    assert_eq!(at(cursor), None);
    for probe in probes {
        for seqno in [SeqNo::MAX.0, 40, 7, 0] {
            let i = entries.partition_point(|e| (&e.0, Reverse(e.1)) < (probe, Reverse(seqno)));
            cursor.seek(probe, SeqNo(seqno)).unwrap();
            assert_eq!(at(cursor).as_ref(), entries.get(i));
            if i < entries.len() {
                cursor.prev().unwrap();
                assert_eq!(at(cursor).as_ref(), i.checked_sub(1).map(|i| &entries[i]));
                cursor.seek(probe, SeqNo(seqno)).unwrap();
                cursor.next().unwrap();
                assert_eq!(at(cursor).as_ref(), entries.get(i + 1));
            }
        }
        let i = entries.partition_point(|e| &e.0 < probe);
        cursor.seek_before(probe).unwrap();
        assert_eq!(at(cursor).as_ref(), i.checked_sub(1).map(|i| &entries[i]));
        if i > 0 {
            cursor.next().unwrap();
            assert_eq!(at(cursor).as_ref(), entries.get(i));
        }
    }
}

/// Numbers that look random and are the same in every run.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn a_key() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop::sample::select(vec![0x00, 0x01, b'a', b'b', 0xff]);
    let short = prop::collection::vec(byte.clone(), 0..5);
    let shared = (0usize..4, prop::collection::vec(byte, 0..4)).prop_map(|(n, tail)| {
        let mut key = b"shared by all of them, and longer than a node keeps"[..n * 17].to_vec();
        key.extend(tail);
        key
    });
    let decimal = (0u32..3_000).prop_map(|n| format!("key{n:013}").into_bytes());
    let words = prop::collection::vec(any::<u64>(), 0..=awkward_keys::WORDS);
    let awkward = words.prop_map(|words| awkward_keys::of_words(&words));
    prop_oneof![1 => short, 1 => shared, 1 => decimal, 3 => awkward]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_inserted_is_read_as_a_sorted_map_reads_it(
        keys in prop::collection::vec(a_key(), 0..400),
        probes in prop::collection::vec(a_key(), 1..8),
    ) {
        let mut pair = Pair::new();
        for key in &keys {
            pair.insert(key, key);
        }
        pair.check(&probes);
    }
}

/// The heads of keys were padded with zeros, and equal heads were taken for equal keys.
#[test]
fn keys_that_only_zeros_or_late_bytes_tell_apart_are_different_keys() {
    for seed in 0..if cfg!(miri) { 1 } else { 40 } {
        let mut dice = Dice::new(seed);
        let mut below = |bound| dice.below(bound);
        let keys = awkward_keys::pool(&mut below, if cfg!(miri) { 4 } else { 200 });
        let mut probes = keys.clone();
        probes.iter_mut().for_each(|key| awkward_keys::beside(&mut below, key));
        probes.truncate(40);
        probes.push(Vec::new());
        let mut pair = Pair::new();
        keys.iter().for_each(|key| pair.insert(key, b"value"));
        pair.check(&probes);
    }
}

#[test]
fn an_empty_memtable_has_nothing_and_costs_little() {
    let pair = Pair::new();
    assert!(pair.memtable.is_empty());
    assert!(pair.memtable.size_bytes() < 6 << 10);
    assert_eq!((pair.memtable.min_seqno(), pair.memtable.max_seqno()), (SeqNo::MAX, SeqNo::ZERO));
    pair.check(&[b"".to_vec(), b"k".to_vec()]);
}

#[test]
fn splits_at_every_level_keep_order_for_every_shape_of_keys() {
    type Shape = fn(&mut Seeded, u64) -> Vec<u8>;
    let shapes: [(&str, Shape); 8] = [
        ("ascending", |_, i| format!("key{i:013}").into_bytes()),
        ("descending", |_, i| format!("key{:013}", 1_000_000 - i).into_bytes()),
        ("random bytes", |r, _| r.next().to_be_bytes().to_vec()),
        ("decimal", |r, _| format!("key{:013}", r.below(1 << 40)).into_bytes()),
        ("few bytes, many lengths", |r, _| {
            (0..r.below(14)).map(|_| [0, 0xff][r.below(2) as usize]).collect()
        }),
        ("late divergence", |r, _| {
            let mut key = vec![b'x'; 70 + 9 * r.below(3) as usize];
            key.extend(r.below(1 << 20).to_be_bytes());
            key
        }),
        ("two ends", |r, i| {
            let i = if r.below(2) == 0 { i } else { u64::MAX - i };
            [&i.to_be_bytes()[..], &i.to_be_bytes()[..]].concat()
        }),
        ("a stranger now and then", |r, i| match i % 500 {
            499 => vec![r.below(256) as u8; r.below(40) as usize],
            _ => format!("tenant/0001/object/{:016}", r.below(1 << 50)).into_bytes(),
        }),
    ];
    for (name, shape) in shapes {
        println!("{name}");
        let mut random = Seeded(7);
        let mut pair = Pair::new();
        // Under Miri enough to split a leaf, and so to make a root.
        for i in 0..if cfg!(miri) { 70 } else { 6_000 } {
            let key = shape(&mut random, i);
            pair.insert(&key, &i.to_le_bytes());
        }
        let probes = if cfg!(miri) { 1 } else { 20 };
        let probes: Vec<_> = (0..probes).map(|i| shape(&mut random, i * 300)).collect();
        pair.check(&probes);
    }
}

#[test]
fn an_ascending_sequence_fills_its_leaves() {
    let mut pair = Pair::new();
    for i in 0..10_000u64 {
        pair.insert(&i.to_be_bytes(), b"");
    }
    // 8 + 16 bytes an entry and 16 a slot, and a third of the entries with expiry.
    let per_entry = pair.memtable.size_bytes() as f64 / 10_000.0;
    assert!(per_entry < 64.0, "{per_entry} bytes an entry");
}

#[test]
fn a_hot_key_with_many_versions_is_read_at_any_age_and_does_not_grow_the_tree() {
    let mut pair = Pair::new();
    for i in 0..if cfg!(miri) { 60 } else { 2_000u64 } {
        pair.insert(b"before", b"");
        pair.insert(b"hot", &i.to_le_bytes());
    }
    pair.insert(b"zz behind", b"");
    pair.check(&[b"hot".to_vec(), b"hos".to_vec(), b"hot\0".to_vec()]);
    assert_eq!(pair.memtable.tree.check(), 3);
}

#[test]
fn the_longest_keys_and_large_values_come_back_whole() {
    let mut pair = Pair::new();
    let long = vec![0xab; tanada_format::MAX_KEY_LEN];
    for cut in (0..=long.len()).step_by(1_111) {
        pair.insert(&long[..cut], &long[cut..]);
        let mut other = long.clone();
        other[cut.min(long.len() - 1)] = 0xac;
        pair.insert(&other, b"");
    }
    let large: Vec<u8> = (0..9 << 20).map(|i: u32| (i >> 7) as u8).collect();
    pair.insert(b"large", &large);
    pair.insert(b"after", b"small");
    pair.check(&[b"large".to_vec(), long.clone(), long[..70].to_vec()]);
}

#[test]
#[should_panic(expected = "one token only")]
fn a_second_token_is_refused() {
    let mut pair = Pair::new();
    pair.insert(b"k", b"v");
    pair.token = WriterToken::new();
    pair.insert(b"k", b"v");
}

#[test]
#[should_panic(expected = "commit order")]
fn a_version_out_of_commit_order_is_refused() {
    let mut pair = Pair::new();
    pair.insert(b"k", b"v");
    pair.seqno = 0;
    pair.insert(b"k", b"v");
}

/// Readers that hold a seqno must see exactly what was written up to it, while the
/// writer splits, shifts and re-cuts prefixes under their eyes. The value of a
/// version is its seqno, and version `n` has key `key_of(n)`.
#[test]
fn readers_beside_the_writer_see_every_write_up_to_their_seqno() {
    const WRITES: u64 = if cfg!(miri) { 400 } else { 60_000 };
    fn key_of(n: u64) -> Vec<u8> {
        let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        match n % 4 {
            0 => b"hot".to_vec(),
            1 => format!("key{:012}", mixed % 5_000).into_bytes(),
            2 => mixed.to_be_bytes().to_vec(),
            _ => format!("key{n:012}").into_bytes(),
        }
    }
    let memtable =
        Arc::new(MemTable::new(ChunkPool::new(0, crate::control::account::Account::new())));
    let visible = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2u64)
        .map(|reader| {
            let (memtable, visible, stop) = (memtable.clone(), visible.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut random = Seeded(reader);
                let mut reads = 0u64;
                while !stop.load(Ordering::Relaxed) || reads == 0 {
                    let seqno = visible.load(Ordering::Acquire);
                    if seqno == 0 {
                        std::thread::yield_now();
                        continue;
                    }
                    let n = 1 + random.below(seqno);
                    let got = memtable
                        .get(&key_of(n), hash_key(&key_of(n)), SeqNo(seqno))
                        .expect("written before");
                    assert!(got.seqno.0 >= n && got.seqno.0 <= seqno);
                    assert_eq!(got.key, key_of(got.seqno.0));
                    assert_eq!(got.value, got.seqno.0.to_le_bytes());
                    let old = memtable
                        .get(&key_of(n), hash_key(&key_of(n)), SeqNo(n))
                        .expect("written before");
                    assert_eq!(old.seqno.0, n);
                    reads += 1;
                    if reads.is_multiple_of(32) {
                        walk_beside_the_writer(&memtable, seqno, &mut random, reads / 32);
                    }
                }
                reads
            })
        })
        .collect();
    let mut token = WriterToken::new();
    for n in 1..=WRITES {
        let entry = EntryRef {
            key: &key_of(n),
            seqno: SeqNo(n),
            kind: ValueKind::Put,
            expires_at_ms: 0,
            value: &n.to_le_bytes(),
        };
        memtable.insert(&mut token, entry);
        visible.store(n, Ordering::Release);
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.join().unwrap() > 0);
    }
    memtable.tree.check();

    /// A stretch forward or backward: strictly ordered, nothing newer than the
    /// snapshot, and equal to what a second walk sees.
    fn walk_beside_the_writer(
        memtable: &Arc<MemTable>,
        seqno: u64,
        random: &mut Seeded,
        round: u64,
    ) {
        let from = key_of(1 + random.below(seqno));
        let forward = round.is_multiple_of(2);
        let walk = || {
            let mut cursor = memtable.cursor().visible_at(SeqNo(seqno));
            if forward {
                cursor.seek(&from, SeqNo::MAX).unwrap();
            } else {
                cursor.seek_before(&from).unwrap();
            }
            let mut seen = Vec::new();
            while cursor.valid() && seen.len() < 200 {
                let entry = cursor.entry();
                assert!(entry.seqno.0 <= seqno);
                assert_eq!(entry.key, key_of(entry.seqno.0));
                seen.push((entry.key.to_vec(), entry.seqno.0));
                if forward { cursor.next().unwrap() } else { cursor.prev().unwrap() }
            }
            seen
        };
        let seen = walk();
        assert!(seen.is_sorted_by(|a, b| if forward { a.0 < b.0 } else { a.0 > b.0 }));
        assert_eq!(seen, walk());
    }
}
