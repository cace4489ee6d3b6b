//! Figures for docs/decisions/0001-memtable.md: the MemTable, a lock-free skiplist
//! and a locked B-tree map on the same entries. Not a test: run it with
//!
//! `cargo test --release -p tanada memtable::bench -- --ignored --nocapture --test-threads 1`

use super::*;
use crossbeam_skiplist::SkipMap;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use tanada_format::ValueKind;
use tanada_table::Cursor;
use tanada_vfs::sync::RwLock;

const KEY_LEN: usize = 16;
const VALUE: [u8; 100] = [0x76; 100];

/// One takes no longer than the kernel counts processor time.
const SCANS: usize = 10;

type Key = [u8; KEY_LEN];
type Internal = (Box<[u8]>, Reverse<u64>);

trait Candidate: Sync {
    fn insert(&self, token: &mut WriterToken, key: &Key, seqno: u64);
    fn get(&self, key: &Key) -> bool;
    fn scan(&self) -> usize;
}

impl Candidate for Arc<MemTable> {
    fn insert(&self, token: &mut WriterToken, key: &Key, seqno: u64) {
        let seqno = SeqNo(seqno);
        let kind = ValueKind::Put;
        let entry = EntryRef { key, seqno, kind, expires_at_ms: 0, value: &VALUE };
        MemTable::insert(self, token, entry);
    }
    fn get(&self, key: &Key) -> bool {
        MemTable::get(self, key, hash_key(key), SeqNo::MAX)
            .is_some_and(|e| black_box(e.value[99]) == 0x76)
    }
    fn scan(&self) -> usize {
        let mut cursor = self.cursor().visible_at(SeqNo::MAX);
        let mut bytes = 0;
        cursor.seek_first().unwrap();
        while cursor.valid() {
            let entry = cursor.entry();
            bytes += entry.key.len() + usize::from(entry.value[99]);
            cursor.next().unwrap();
        }
        bytes
    }
}

impl Candidate for SkipMap<Internal, Box<[u8]>> {
    fn insert(&self, _: &mut WriterToken, key: &Key, seqno: u64) {
        SkipMap::insert(self, (key.as_slice().into(), Reverse(seqno)), VALUE.as_slice().into());
    }
    fn get(&self, key: &Key) -> bool {
        let from = (key.as_slice().into(), Reverse(u64::MAX));
        self.lower_bound(Bound::Included(&from))
            .is_some_and(|e| *e.key().0 == *key && black_box(e.value()[99]) == 0x76)
    }
    fn scan(&self) -> usize {
        self.iter().map(|e| e.key().0.len() + usize::from(e.value()[99])).sum()
    }
}

impl Candidate for RwLock<BTreeMap<Internal, Box<[u8]>>> {
    fn insert(&self, _: &mut WriterToken, key: &Key, seqno: u64) {
        let key = (key.as_slice().into(), Reverse(seqno));
        self.write().insert(key, VALUE.as_slice().into());
    }
    fn get(&self, key: &Key) -> bool {
        let from = (key.as_slice().into(), Reverse(u64::MAX));
        let map = self.read();
        map.range((Bound::Included(&from), Bound::Unbounded))
            .next()
            .is_some_and(|(k, v)| *k.0 == *key && black_box(v[99]) == 0x76)
    }
    fn scan(&self) -> usize {
        self.read().iter().map(|(k, v)| k.0.len() + usize::from(v[99])).sum()
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn keys(shape: &str, count: usize) -> Vec<Key> {
    (0..count as u64)
        .map(|i| match shape {
            "random" => {
                let high = u128::from(mix(i + 1)) << 64;
                (high | u128::from(mix(!i))).to_be_bytes()
            }
            // Each number below `count` about once, in random order.
            "decimal" => {
                let n = mix(i + 1) % (4 * count as u64);
                format!("key{n:013}").into_bytes().try_into().unwrap()
            }
            _ => format!("key{i:013}").into_bytes().try_into().unwrap(),
        })
        .collect()
}

/// Processor time of this thread in nanoseconds: other work on the machine counts less.
fn now_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

/// Millions a second.
fn rate(count: usize, since_ns: u64) -> f64 {
    count as f64 * 1e3 / (now_ns() - since_ns) as f64
}

fn measure(name: &str, shape: &str, mib: usize, new: &dyn Fn() -> Box<dyn Candidate>) {
    let count = (mib << 20) / (KEY_LEN + VALUE.len());
    let keys = keys(shape, count);
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.sort_unstable_by_key(|&i| mix(u64::from(i)));
    let mut token = WriterToken::new();

    let alone = new();
    let start = now_ns();
    keys.iter().enumerate().for_each(|(i, key)| alone.insert(&mut token, key, i as u64 + 1));
    let insert = rate(count, start);
    let start = now_ns();
    assert!(order.iter().all(|&i| alone.get(&keys[i as usize])));
    let get = rate(count, start);
    let start = now_ns();
    (0..SCANS).for_each(|_| assert!(black_box(alone.scan()) > 0));
    let scan = rate(count * SCANS, start);
    drop(alone);

    let shared = new();
    let written = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let (insert2, get2) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut reads, mut i) = (0, 1u64);
            while written.load(Ordering::Acquire) < 1_000 {
                std::hint::spin_loop();
            }
            let start = now_ns();
            while !done.load(Ordering::Relaxed) {
                i = mix(i + 1);
                let n = i % written.load(Ordering::Acquire);
                assert!(shared.get(&keys[n as usize]));
                reads += 1;
            }
            rate(reads, start)
        });
        let start = now_ns();
        for (i, key) in keys.iter().enumerate() {
            shared.insert(&mut token, key, i as u64 + 1);
            written.store(i as u64 + 1, Ordering::Release);
        }
        let insert = rate(count, start);
        done.store(true, Ordering::Relaxed);
        (insert, reader.join().unwrap())
    });
    println!(
        "| {mib} MiB {shape} | {name} | {insert:.2} | {get:.2} | {scan:.1} | {insert2:.2} | {get2:.2} |"
    );
}

/// Prints millions of operations a second: insert, get and scan alone, then insert
/// and get at the same time on two threads.
#[test]
#[ignore = "a measurement"]
fn figures() {
    let only = std::env::var("MEMTABLE_BENCH").unwrap_or_default();
    println!(
        "| entries | structure | insert | get | scan | insert beside get | get beside insert |"
    );
    println!("|---|---|---|---|---|---|---|");
    for mib in [16, 64] {
        for shape in ["random", "decimal", "ascending"] {
            for _ in 0..2 {
                measure("MemTable", shape, mib, &|| {
                    Box::new(Arc::new(MemTable::new(ChunkPool::new(
                        0,
                        crate::control::account::Account::new(),
                    ))))
                });
                if only != "memtable" {
                    measure("crossbeam-skiplist", shape, mib, &|| {
                        Box::new(SkipMap::<Internal, Box<[u8]>>::new())
                    });
                    measure("BTreeMap, RwLock", shape, mib, &|| {
                        Box::new(RwLock::<BTreeMap<Internal, Box<[u8]>>>::default())
                    });
                }
            }
        }
    }
}
