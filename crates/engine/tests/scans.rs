//! Cursors and iterators against a map, over every way in which versions of a
//! key can lie: in MemTables, in runs of several tables, behind snapshots,
//! deleted, many in a row. The map knows no fast path.

#![allow(clippy::unwrap_used)] // of outcomes that must not fail

use std::collections::BTreeMap;
use std::ops::Bound;
use tanada::vfs::MemoryMachine;
use tanada::{Cursor, Db, Durability, Snapshot};

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Keys whose first sixteen bytes tell them apart, that agree in them, that
/// begin with each other, and of ones.
fn key(dice: &mut Dice, keys: u64) -> Vec<u8> {
    let n = dice.below(keys);
    match n % 6 {
        0 => format!("{n:04}").into_bytes(),
        1 => format!("a shared beginning of some length/{n:06}").into_bytes(),
        2 => vec![b'z'; n as usize % 40 + 1],
        3 => vec![0xff; n as usize % 30 + 1],
        4 => [b"zeros".to_vec(), vec![0; n as usize % 30]].concat(),
        _ => (n * 0x0101_0101_0101).to_be_bytes().repeat(1 + n as usize % 3),
    }
}

fn fill(db: &Db, dice: &mut Dice, keys: u64, writes: u64) -> (Map, Vec<(Snapshot, Map)>) {
    let mut map = Map::new();
    let mut moments = Vec::new();
    for i in 0..writes {
        let key = key(dice, keys);
        match dice.below(4) {
            0 => {
                db.delete(&key).unwrap();
                map.remove(&key);
            }
            _ => {
                let value = format!("{i} ").repeat(dice.below(40) as usize).into_bytes();
                db.put(&key, &value).unwrap();
                map.insert(key, value);
            }
        }
        if dice.below(writes / 5) == 0 {
            moments.push((db.snapshot(), map.clone()));
        }
        match dice.below(writes / 3) {
            0 => db.flush().unwrap(),
            1 if dice.below(2) == 0 => drop(db.compact(..).unwrap()),
            2 => drop(moments.pop()),
            _ => {}
        }
    }
    (map, moments)
}

fn entry(cursor: &Cursor) -> Option<(Vec<u8>, Vec<u8>)> {
    cursor.entry().map(|(key, value)| (key.to_vec(), value.to_vec()))
}

fn owned(entry: Option<(&Vec<u8>, &Vec<u8>)>) -> Option<(Vec<u8>, Vec<u8>)> {
    entry.map(|(key, value)| (key.clone(), value.clone()))
}

/// Walks both ways and to and fro, and compares every position with the map.
fn check(mut cursor: Cursor, map: &Map, dice: &mut Dice, keys: u64) {
    cursor.seek_first().unwrap();
    for want in map {
        assert_eq!(entry(&cursor), owned(Some(want)));
        cursor.next().unwrap();
    }
    assert_eq!(entry(&cursor), None);
    cursor.seek_last().unwrap();
    for want in map.iter().rev() {
        assert_eq!(entry(&cursor), owned(Some(want)));
        cursor.prev().unwrap();
    }
    assert_eq!(entry(&cursor), None);
    for _ in 0..60 {
        let target = key(dice, keys);
        let mut want = match dice.below(2) {
            0 => {
                cursor.seek(&target).unwrap();
                map.range(target..).next()
            }
            _ => {
                cursor.seek_for_prev(&target).unwrap();
                map.range(..=target).next_back()
            }
        };
        for _ in 0..dice.below(12) {
            assert_eq!(entry(&cursor), owned(want));
            let Some((at, _)) = want else { break };
            let at = at.as_slice();
            if dice.below(3) > 0 {
                cursor.next().unwrap();
                want = map.range::<[u8], _>((Bound::Excluded(at), Bound::Unbounded)).next();
            } else {
                cursor.prev().unwrap();
                want = map.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(at))).next_back();
            }
        }
    }
}

/// Ranges from both ends, and bounded cursors.
fn check_ranges(db: &Db, map: &Map, dice: &mut Dice, keys: u64) {
    for _ in 0..20 {
        let (a, b) = (key(dice, keys), key(dice, keys));
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        let want: Vec<_> = map.range(low.clone()..high.clone()).collect();
        let mut iter = db.range(low.clone()..high.clone());
        let (mut front, mut back) = (0, want.len());
        while front < back {
            if dice.below(2) == 0 {
                let (key, value) = iter.next().unwrap().unwrap();
                assert_eq!((&key[..], &value[..]), (&want[front].0[..], &want[front].1[..]));
                front += 1;
            } else {
                let (key, value) = iter.next_back().unwrap().unwrap();
                back -= 1;
                assert_eq!((&key[..], &value[..]), (&want[back].0[..], &want[back].1[..]));
            }
        }
        assert!(iter.next().is_none() && iter.next_back().is_none());
        let got = db.range((Bound::Excluded(low.clone()), Bound::Included(high.clone())));
        let got = got.map(Result::unwrap).map(|(k, v)| (k.to_vec(), v.to_vec()));
        if low < high {
            let want = map.range((Bound::Excluded(low), Bound::Included(high)));
            assert!(got.eq(want.map(|(k, v)| (k.clone(), v.clone()))));
        } else {
            assert_eq!(got.count(), 0);
        }
    }
}

fn run(seed: u64, keys: u64, writes: u64) {
    let machine = MemoryMachine::new(seed);
    let db = Db::builder("/db").durability(Durability::Buffered).memory(16 << 20);
    let db = db.env(machine.env()).open().unwrap();
    let mut dice = Dice(seed);
    let (map, moments) = fill(&db, &mut dice, keys, writes);
    for pass in 0..2 {
        check(db.default_keyspace().cursor(), &map, &mut dice, keys);
        check_ranges(&db, &map, &mut dice, keys);
        for (snapshot, map) in &moments {
            check(snapshot.cursor(), map, &mut dice, keys);
        }
        if pass == 0 {
            db.flush().unwrap();
        }
    }
}

#[test]
fn a_scan_at_any_moment_in_any_direction_shows_what_a_map_holds() {
    for seed in 0..30 {
        println!("seed {seed}");
        run(seed, 300, 3000);
    }
}

#[test]
fn a_scan_over_few_keys_with_very_many_versions_shows_what_a_map_holds() {
    for seed in 100..120 {
        println!("seed {seed}");
        run(seed, 12, 3000);
    }
}
