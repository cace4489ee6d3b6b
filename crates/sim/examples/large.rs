//! Databases as large as it takes to meet the limits of descriptors and memory: what
//! `cargo xtask large` runs, each step in a process of its own that may have 256 files
//! open, with 256 MiB.
//!
//! `tables`: 6,400 tables of 25 million small blocks in all, the counts of a database
//! of 100 GB. `bytes`: 20 GB of pairs that no compression makes smaller, with the
//! sizes that any user gets. Each step checks every answer, and fails when its
//! resident memory was larger than the budget and 64 MiB at any time.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a program about processes

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tanada::{Batch, Compression, Db, Durability, Tuning};

const MEMORY: u64 = 256 << 20;
/// Above the budget: program, stacks, the allocator's spare pages.
const SLACK: u64 = 64 << 20;
/// Pairs of a batch.
const BATCH: u64 = 1_000;
const GETS: u64 = 200_000;

/// What is built.
struct Plan {
    tuning: Tuning,
    pairs: u64,
    value_len: usize,
    /// Keys in no order, so that every level is merged.
    scattered: bool,
    /// Tables that must be there, at least.
    tables: u64,
}

impl Plan {
    /// `scale` parts of a thousand of the whole.
    fn new(what: &str, scale: u64) -> Plan {
        match what {
            // A block holds one pair. A table has some 4,000 of them.
            "tables" => Plan {
                tuning: Tuning {
                    block_bytes: Some(64),
                    table_bytes: Some(470 << 10),
                    // As many as the data has room for.
                    tables_a_level: Some(1 << 20),
                    ..Tuning::default()
                },
                pairs: 25_000_000 * scale / 1_000,
                value_len: 80,
                scattered: false,
                tables: 6_400 * scale / 1_000,
            },
            "bytes" => Plan {
                tuning: Tuning::default(),
                pairs: 20_000_000 * scale / 1_000,
                value_len: 1_000,
                scattered: true,
                tables: 0,
            },
            other => panic!("{other:?} is neither `tables` nor `bytes`"),
        }
    }

    fn key(&self, number: u64) -> [u8; 16] {
        let place = if self.scattered { mix(number) } else { number };
        let mut key = [0; 16];
        key[..8].copy_from_slice(&place.to_be_bytes());
        key[8..].copy_from_slice(&number.to_be_bytes());
        key
    }

    fn value(&self, number: u64, into: &mut Vec<u8>) {
        into.clear();
        let mut state = number;
        while into.len() < self.value_len {
            state = mix(state);
            into.extend_from_slice(&state.to_le_bytes());
        }
        into.truncate(self.value_len);
    }
}

/// SplitMix64: a bijection.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Keys whose gets go all over the tree.
fn somewhere(plan: &Plan) -> impl Iterator<Item = u64> {
    let pairs = plan.pairs;
    (0..GETS.min(pairs)).map(move |n| mix(n ^ 0x5eed) % pairs)
}

fn load(plan: &Plan, db: &Db) -> u64 {
    let mut value = Vec::new();
    for first in (0..plan.pairs).step_by(BATCH as usize) {
        let mut batch = Batch::new();
        for number in first..(first + BATCH).min(plan.pairs) {
            plan.value(number, &mut value);
            batch.put(plan.key(number), &value);
        }
        db.write(batch).unwrap();
    }
    db.flush().unwrap();
    plan.pairs
}

fn get(plan: &Plan, db: &Db) -> u64 {
    let mut value = Vec::new();
    for number in somewhere(plan) {
        plan.value(number, &mut value);
        let found = db.get(plan.key(number)).unwrap();
        assert!(found.as_deref() == Some(&value[..]), "pair {number}");
    }
    GETS.min(plan.pairs)
}

fn miss(plan: &Plan, db: &Db) -> u64 {
    for number in somewhere(plan) {
        let mut key = plan.key(number).to_vec();
        key.push(0);
        assert_eq!(db.get(key).unwrap(), None);
    }
    GETS.min(plan.pairs)
}

fn scan(plan: &Plan, db: &Db) -> u64 {
    let (mut cursor, mut value, mut count) = (db.cursor(), Vec::new(), 0);
    let mut last = Vec::new();
    cursor.seek([]).unwrap();
    while let Some((key, found)) = cursor.entry() {
        assert!(last < key.to_vec() || count == 0, "keys are in order");
        last = key.to_vec();
        let number = u64::from_be_bytes(key[8..].try_into().unwrap());
        plan.value(number, &mut value);
        assert!(found == value, "pair {number}");
        count += 1;
        cursor.next().unwrap();
    }
    assert_eq!(count, plan.pairs);
    count
}

fn compact(plan: &Plan, db: &Db) -> u64 {
    // So that there is something to merge everywhere.
    let mut value = Vec::new();
    for number in (0..plan.pairs).step_by(1_000) {
        plan.value(number, &mut value);
        db.put(plan.key(number), &value).unwrap();
    }
    let summary = db.compact(..).unwrap();
    println!("         {summary:?}");
    plan.pairs
}

/// What is resident now, or was at most if the kernel knows.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let lines =
        text.lines().filter(|line| line.starts_with("VmHWM:") || line.starts_with("VmRSS:"));
    let kib = lines.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap());
    kib.max().unwrap() << 10
}

/// Does `work`, and looks at what is resident twenty times a second meanwhile: some
/// kernels note no peak.
fn with_peak<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let (peak, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let outcome = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            while !done.load(Relaxed) {
                peak.fetch_max(resident_bytes(), Relaxed);
                std::thread::park_timeout(Duration::from_millis(50));
            }
        });
        let outcome = work();
        done.store(true, Relaxed);
        sampler.thread().unpark();
        outcome
    });
    (outcome, peak.load(Relaxed).max(resident_bytes()))
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, step, scale, dir] = &words[..] else {
        eprintln!("usage: large tables|bytes load|get|miss|scan|compact PER_MILLE DIR");
        return ExitCode::from(2);
    };
    let plan = Plan::new(what, scale.parse().unwrap());
    let started = Instant::now();
    let db = Db::builder(Path::new(dir))
        .memory(MEMORY)
        .durability(Durability::Buffered)
        .compression(Compression::None)
        .tuning(plan.tuning)
        .open()
        .unwrap();
    let opened = started.elapsed();
    let started = Instant::now();
    let (done, peak) = with_peak(|| match step.as_str() {
        "load" => load(&plan, &db),
        "get" => get(&plan, &db),
        "miss" => miss(&plan, &db),
        "scan" => scan(&plan, &db),
        "compact" => compact(&plan, &db),
        other => panic!("no step {other:?}"),
    });
    let (took, stats) = (started.elapsed(), db.stats());
    let tables: u64 = stats.keyspaces[0].levels.iter().map(|level| level.tables).sum();
    let own = std::fs::read_dir("/proc/self/fd").unwrap().count();
    db.close().unwrap();
    let t = &stats.tables;
    println!(
        "{step:8} opened in {:.0} ms, {done} in {:.1} s; {tables} tables, {} open, {} MiB \
         resident; {} openings, {} closings; {} descriptors of {}, {own} in all; block cache \
         {} of {} MiB, {} blocks; peak {} MiB",
        opened.as_secs_f64() * 1e3,
        took.as_secs_f64(),
        t.open,
        t.resident_bytes >> 20,
        t.openings,
        t.closings,
        t.descriptors,
        t.descriptor_limit,
        stats.block_cache.used_bytes >> 20,
        stats.block_cache.capacity_bytes >> 20,
        stats.block_cache.entries,
        peak >> 20,
    );
    assert!(tables >= plan.tables, "{tables} tables of {}", plan.tables);
    if peak > MEMORY + SLACK {
        eprintln!("error: {} MiB were resident, {} may be", peak >> 20, (MEMORY + SLACK) >> 20);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
