//! The workloads: db_bench's and YCSB's, by the names that the report uses.

mod fill;
mod mixed;
pub mod open;
mod queue;
mod read;
mod sync;
mod ycsb;
mod whole;

use crate::engine::{Durability, Outcome};
use crate::measure::Goal;
use crate::row::{Row, figure};
use crate::store::{Data, Start, Store};
use crate::{data, process};
use std::time::{Duration, Instant};

/// How much is done.
#[derive(Debug, Clone)]
pub struct Scale {
    /// Pairs of 16 B + 100 B; a tenth of it of 4 KiB values; ten times in `…20m`.
    pub pairs: u64,
    /// Budget where data should fit; half of it in `…20m`.
    pub memory: u64,
    /// How long a workload without a number of operations runs.
    pub time: Duration,
    /// When one with a number of operations is cut.
    pub limit: Duration,
}

/// A workload by its name.
pub struct Workload {
    pub name: &'static str,
    size: Size,
    start: Start,
    budget: Budget,
    durability: Durability,
    run: fn(&mut Turn<'_>) -> Outcome<Row>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    /// 100 B values.
    Base,
    /// 4 KiB values, a tenth as many.
    Pages,
    /// 100 B values, ten times as many.
    Large,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Budget {
    /// Data fits.
    Full,
    /// A tenth of the raw data.
    Tenth,
}

/// What a workload's code is given.
pub struct Turn<'a> {
    store: &'a mut Store,
    data: Data,
    scale: &'a Scale,
}

const fn new(
    name: &'static str,
    size: Size,
    start: Start,
    run: fn(&mut Turn<'_>) -> Outcome<Row>,
) -> Workload {
    Workload { name, size, start, budget: Budget::Full, durability: Durability::Kernel, run }
}

const fn tenth(name: &'static str, run: fn(&mut Turn<'_>) -> Outcome<Row>) -> Workload {
    Workload { budget: Budget::Tenth, ..new(name, Size::Base, Start::Warm, run) }
}

const fn synced(name: &'static str, run: fn(&mut Turn<'_>) -> Outcome<Row>) -> Workload {
    Workload { durability: Durability::Device, ..new(name, Size::Base, Start::Empty, run) }
}

use Size::{Base, Large, Pages};
use Start::{Continued, Empty, Filled, Warm};

/// All workloads, in the order in which a full run takes them.
pub const ALL: &[Workload] = &[
    new("fillseq", Base, Empty, fill::sequential),
    new("fillbatch", Base, Empty, fill::batches),
    new("fillrandom", Base, Empty, fill::random),
    new("readrandom", Base, Warm, read::random),
    new("readzipf", Base, Warm, read::zipfian),
    new("readrandom2", Base, Warm, read::random_by_two),
    new("readzipf2", Base, Warm, read::zipfian_by_two),
    new("readmissing", Base, Warm, read::missing),
    new("readseq", Base, Warm, read::sequential),
    new("seek10", Base, Warm, read::seek_10),
    new("seek100", Base, Warm, read::seek_100),
    tenth("readtenth", read::random),
    tenth("seek10tenth", read::seek_10),
    new("readwhilewriting", Base, Warm, mixed::read_while_writing),
    new("ycsba", Base, Continued, ycsb::a),
    new("ycsbb", Base, Continued, ycsb::b),
    new("ycsbc", Base, Continued, ycsb::c),
    new("ycsbf", Base, Continued, ycsb::f),
    new("ycsbd", Base, Continued, ycsb::d),
    new("ycsbe", Base, Continued, ycsb::e),
    new("overwrite", Base, Filled, fill::overwrite),
    new("open", Base, Filled, open::after_closing),
    new("openkilled", Base, Filled, open::after_a_kill),
    new("deleterandom", Base, Filled, fill::delete),
    new("queue", Base, Empty, queue::queue),
    new("window", Base, Empty, queue::window),
    new("deadprefix", Base, Empty, queue::dead_prefix),
    synced("fillsync1", sync::one_writer),
    synced("fillsync8", sync::eight_writers),
    new("fill4k", Pages, Empty, fill::random),
    new("readrandom4k", Pages, Warm, read::random),
    new("readseq4k", Pages, Warm, read::sequential),
    new("overwrite4k", Pages, Filled, fill::overwrite),
    new("fillrandom20m", Large, Empty, fill::random),
    new("readrandom20m", Large, Warm, read::random),
    new("readmissing20m", Large, Warm, read::missing),
    new("seek10at20m", Large, Warm, read::seek_10),
];

/// Those that only mixed work has.
const MIXED: &[Workload] = &[
    new("scan", Base, Continued, whole::scan),
    new("largevalues", Base, Continued, whole::large_values),
];

/// The workload called `name`.
pub fn find(name: &str) -> Outcome<&'static Workload> {
    ALL.iter().chain(MIXED).find(|w| w.name == name).ok_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|w| w.name).collect();
        format!("no workload '{name}'; there are {}", names.join(", ")).into()
    })
}

impl Workload {
    /// Prepares what it starts from, runs it, and adds what the process used.
    pub fn run(&self, store: &mut Store, scale: &Scale) -> Outcome<Row> {
        let data = match self.size {
            Base => Data { pairs: scale.pairs, value_bytes: 100 },
            Pages => Data { pairs: scale.pairs / 10, value_bytes: 4096 },
            Large => Data { pairs: scale.pairs * 10, value_bytes: 100 },
        };
        let memory = match (self.budget, self.size) {
            (Budget::Tenth, _) => data.raw_bytes() / 10,
            (Budget::Full, Large) => scale.memory / 2,
            (Budget::Full, _) => scale.memory,
        }
        .max(SMALLEST_BUDGET);
        self.run_on(store, scale, data, self.start, memory)
    }

    /// The same on `data`, from `start`, with a budget of `memory`.
    pub fn run_on(
        &self,
        store: &mut Store,
        scale: &Scale,
        data: Data,
        start: Start,
        memory: u64,
    ) -> Outcome<Row> {
        store.prepare(data, start, memory, self.durability)?;

        process::reset_peak();
        let (cpu, written) = (process::cpu_seconds(), process::bytes_written()?);
        let mut turn = Turn { store, data, scale };
        let (mut row, anonymous) = process::with_anonymous_peak(|| (self.run)(&mut turn))?;
        row.set(figure::CPU, process::cpu_seconds() - cpu);
        row.set(figure::WRITTEN, (process::bytes_written()? - written) as f64);
        row.set(figure::PEAK, process::peak_bytes()? as f64);
        row.set(figure::PEAK_ANONYMOUS, anonymous as f64);
        row.set(figure::PAIRS, data.pairs as f64);
        row.set(figure::MEMORY, memory as f64);

        // What these cost is known when their background work is done.
        if SETTLED.contains(&self.name) && start == self.start && !row.cut {
            let resting = Instant::now();
            store.settle()?;
            let took = row.get(figure::SECONDS).unwrap_or(0.0) + resting.elapsed().as_secs_f64();
            row.set(figure::SETTLED_SECONDS, took);
            row.set(figure::SETTLED_CPU, process::cpu_seconds() - cpu);
            row.set(figure::SETTLED_WRITTEN, (process::bytes_written()? - written) as f64);
            row.set(figure::SETTLED_SPACE, store.space_bytes()? as f64);
            row.set(figure::USER, data.raw_bytes() as f64);
        }
        store.continued(start == Continued);
        row.workload = self.name.into();
        row.notes = store.engine().settings();
        let counters = store.engine().counters();
        if !counters.is_empty() {
            row.notes.push(counters);
        }
        Ok(row)
    }
}

/// Fills and overwrites after which the engine is brought to rest, with the
/// bytes, the CPU and the space that it took until then.
const SETTLED: &[&str] = &["fillrandom", "overwrite", "fill4k", "overwrite4k", "fillrandom20m"];

/// Tanada takes no budget below this.
const SMALLEST_BUDGET: u64 = 16 << 20;

impl Turn<'_> {
    /// So many operations, or until the limit.
    fn operations(&self, count: u64) -> Goal {
        // Ten times the pairs, ten times the time.
        let limit = match self.data.pairs > self.scale.pairs {
            true => self.scale.limit * 10,
            false => self.scale.limit,
        };
        Goal::Operations(count, limit)
    }

    /// As long as a workload of reads takes.
    fn time(&self) -> Goal {
        Goal::Time(self.scale.time)
    }

    /// A buffer for values.
    fn value(&self) -> Vec<u8> {
        vec![0; self.data.value_bytes]
    }

    /// Item number `i` of an order that has each item once and has nothing to
    /// do with the order in which they were written.
    fn shuffled(&self, i: u64) -> u64 {
        ((u128::from(i) * 2_305_843_009_213_693_951 + 7) % u128::from(self.data.pairs)) as u64
    }
}

/// Whether `data` has nothing left.
fn assert_empty(reader: &mut dyn crate::engine::Reader) -> Outcome<()> {
    let mut count = 0;
    reader.scan(&[0; data::KEY_BYTES], 1, &mut |_, _| count += 1)?;
    assert_eq!(count, 0, "a deleted pair is still there");
    Ok(())
}
