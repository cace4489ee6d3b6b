//! Write amplification of tree shapes, measured on trees of vectors.
//!
//! `cargo test -p tanada --release simulate_shapes -- --ignored --nocapture`
//!
//! The model has infinitely fast compaction: after each flush the tree settles.
//! A real one lags behind and so merges more at once, which writes less.

use super::model::{ENTRY_BYTES, Model};
use super::*;
use crate::tree::merge::vec_cursor::OwnedEntry;
use tanada_format::SeqNo;

/// Entries of one MemTable.
const MEMTABLE: u64 = 1000;

/// A small generator with a seed; quality beyond that does not matter here.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn unit(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Zipfian ranks with exponent 0.99 (Gray et al., SIGMOD'94), scattered over the keys.
struct Zipf {
    n: f64,
    zeta: f64,
}

impl Zipf {
    const THETA: f64 = 0.99;

    fn new(n: u64) -> Zipf {
        let zeta = (1..=n).map(|i| (i as f64).powf(-Zipf::THETA)).sum();
        Zipf { n: n as f64, zeta }
    }

    fn key(&self, dice: &mut Dice) -> u64 {
        let u = dice.unit();
        let uz = u * self.zeta;
        let half = 0.5f64.powf(Zipf::THETA);
        let eta = (1.0 - (2.0 / self.n).powf(1.0 - Zipf::THETA)) / (1.0 - (1.0 + half) / self.zeta);
        let rank = match uz {
            uz if uz < 1.0 => 0.0,
            uz if uz < 1.0 + half => 1.0,
            _ => self.n * (eta * u - eta + 1.0).powf(1.0 / (1.0 - Zipf::THETA)),
        };
        ((rank as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)) % self.n as u64
    }
}

struct Phase {
    write: f64,
    space: f64,
    /// Runs that a lookup or a short scan meets, on average and at most.
    runs: f64,
    most_runs: usize,
    largest_job: f64,
}

fn run(model: &mut Model, seqno: &mut u64, writes: u64, mut next: impl FnMut() -> u64) -> Phase {
    let before = model.flushed_bytes + model.merged_bytes;
    let (mut runs, mut most_runs, mut largest_job) = (0, 0, 0);
    let flushes = writes / MEMTABLE;
    let mut space = 0.0f64;
    for _ in 0..flushes {
        let entries = (0..MEMTABLE).map(|_| {
            *seqno += 1;
            OwnedEntry::put(next().to_be_bytes(), *seqno, "")
        });
        let entries: Vec<_> = entries.collect();
        let probe = entries[0].key.clone();
        model.flush(entries);
        while let Some(plan) = model.pick() {
            if plan.method == Method::Merge {
                largest_job = largest_job.max(plan.input_bytes());
            }
            let job = model.start(plan);
            model.finish(job);
        }
        let met = model.version.tables_for_key(&probe).count();
        runs += met;
        most_runs = most_runs.max(met);
        let last = model.version.levels()[MAX - 1].size_bytes().max(1);
        space = space.max(model.version.size_bytes() as f64 / last as f64);
    }
    let memtable = (MEMTABLE * ENTRY_BYTES) as f64;
    Phase {
        write: (model.flushed_bytes + model.merged_bytes - before) as f64
            / (writes * ENTRY_BYTES) as f64,
        space,
        runs: runs as f64 / flushes as f64,
        most_runs,
        largest_job: largest_job as f64 / memtable,
    }
}

const MAX: usize = tanada_format::MAX_LEVELS;

#[test]
#[ignore = "a measurement"]
fn simulate_shapes() {
    println!("data in MemTables | L0 runs, inner runs, ratio, base in L0s |");
    println!(
        "fill: write amp., runs met (most), largest job in MemTables | uniform overwrite | zipfian"
    );
    for size in [36, 200] {
        let n = size * MEMTABLE;
        let zipf = Zipf::new(n);
        for (l0_runs, inner_runs, size_ratio, base) in [
            (4, 1, 10, 1.0),
            (8, 1, 10, 1.0),
            (8, 1, 8, 1.0),
            (8, 1, 8, 0.5),
            (8, 1, 6, 0.5),
            (8, 1, 4, 0.5),
            (8, 2, 8, 0.5),
            (8, 4, 8, 0.5),
            (12, 1, 8, 1.0),
        ] {
            let memtable_bytes = MEMTABLE * ENTRY_BYTES;
            let config = Config {
                l0_runs,
                inner_runs,
                last_runs: 1,
                size_ratio,
                base_bytes: (memtable_bytes as f64 * l0_runs as f64 * base) as u64,
                table_bytes: memtable_bytes / 4,
                job_bytes: memtable_bytes * 4,
                garbage_percent: 25,
                garbage_age_ms: 60_000,
                tables_a_level: 256,
                window: 256,
            };
            let mut model = Model::new(config);
            model.snapshots = vec![SeqNo::MAX];
            let mut dice = Dice(42);
            let mut seqno = 0;
            let uniform = |dice: &mut Dice| dice.roll() % n;
            let fill = run(&mut model, &mut seqno, n, || uniform(&mut dice));
            let over = run(&mut model, &mut seqno, 3 * n, || uniform(&mut dice));
            let skew = run(&mut model, &mut seqno, 3 * n, || zipf.key(&mut dice));
            print!("{size:3} | {l0_runs:2} {inner_runs} {size_ratio:2} {base:.1} |");
            for p in [fill, over, skew] {
                print!(
                    " w {:5.2} s {:4.2} r {:4.1} ({:2}) job {:5.1} |",
                    p.write, p.space, p.runs, p.most_runs, p.largest_job
                );
            }
            println!();
        }
    }
}
