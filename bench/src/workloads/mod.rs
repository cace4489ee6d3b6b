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
use crate::store::{Data, Start, Store, Terms};
use crate::{data, process};
use std::time::{Duration, Instant};

/// How much is done.
#[derive(Debug, Clone)]
pub struct Scale {
    /// Pairs of 16 B + 100 B; a tenth of it of 4 KiB values; ten times in `…20m`; three times
    /// in `…6m`, of 200 B.
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
pub enum Size {
    /// 100 B values.
    Base,
    /// 4 KiB values, a tenth as many.
    Pages,
    /// 100 B values, ten times as many.
    Large,
    /// 200 B values, three times as many, in a memory cgroup that cannot hold them.
    Confined,
}

/// What a cgroup holds, page cache included, and the part of it that the engine is given.
const CGROUP_BYTES: u64 = 300 << 20;
const CONFINED_MEMORY: u64 = 128 << 20;

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
    /// How long a workload without a number of operations runs.
    time: Duration,
    /// When one with a number of operations is cut.
    limit: Duration,
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

pub use Size::Base;
use Size::{Confined, Large, Pages};
use Start::{Continued, Empty, Filled, Loaded, Resting, Warm};

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
    new("tailread2at20m", Large, Continued, mixed::reads_by_two),
    new("tailwrite2at20m", Large, Continued, mixed::writes_by_two),
    new("tailread64at20m", Large, Continued, mixed::reads_by_64),
    new("tailwrite64at20m", Large, Continued, mixed::writes_by_64),
    new("fillrandom6m", Confined, Empty, fill::random),
    new("readloaded6m", Confined, Loaded, read::right_after_load),
    new("readrandom6m", Confined, Resting, read::random),
    new("readzipf6m", Confined, Resting, read::zipfian),
    new("readrandom2at6m", Confined, Resting, read::random_by_two),
    new("seek10at6m", Confined, Resting, read::seek_10),
    new("readmissing6m", Confined, Resting, read::missing),
    new("overwrite6m", Confined, Filled, fill::overwrite),
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
    /// Workloads of one kind stand on the same data, or on parts of it.
    pub fn kind(&self) -> Size {
        if self.size == Pages { Base } else { self.size }
    }

    /// Prepares what it starts from, runs it, and adds what the process used.
    pub fn run(&self, store: &mut Store, scale: &Scale) -> Outcome<Row> {
        let cgroup = (self.size == Confined).then_some(CGROUP_BYTES);
        if let Err(reason) = store.confine(cgroup) {
            let mut row = Row { workload: self.name.into(), ..Row::default() };
            row.notes = vec![format!("{NO_CGROUP}{reason}")];
            return Ok(row);
        }
        let data = match self.size {
            Base => Data { pairs: scale.pairs, value_bytes: 100 },
            Pages => Data { pairs: scale.pairs / 10, value_bytes: 4096 },
            Large => Data { pairs: scale.pairs * 10, value_bytes: 100 },
            Confined => Data { pairs: scale.pairs * 3, value_bytes: 200 },
        };
        let memory = match (self.budget, self.size) {
            (Budget::Tenth, _) => data.raw_bytes() / 10,
            (Budget::Full, Large) => scale.memory / 2,
            (Budget::Full, Confined) => CONFINED_MEMORY,
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
        let (time, limit) = match (self.size, self.start) {
            // Reads of the disk differ more from each other than those of memory.
            (Confined, Empty) => (scale.time * 5, scale.limit * 4),
            (Confined, _) => (scale.time * 5, scale.limit * 2),
            // Ten times the pairs, ten times the time.
            _ if data.pairs > scale.pairs => (scale.time, scale.limit * 10),
            _ => (scale.time, scale.limit),
        };
        let (load_limit, warm_up) = (scale.limit * 4, scale.time);
        let terms = Terms { memory, durability: self.durability, load_limit, warm_up };
        if !store.prepare(data, start, terms)? {
            let mut row = Row { workload: self.name.into(), cut: true, ..Row::default() };
            row.notes = vec![format!("not loaded after {} s", load_limit.as_secs_f64())];
            return Ok(row);
        }

        process::reset_peak();
        let (cpu, written) = (process::cpu_seconds(), process::bytes_written()?);
        let mut turn = Turn { store, data, scale, time, limit };
        let (mut row, anonymous) = process::with_anonymous_peak(|| (self.run)(&mut turn))?;
        row.set(figure::CPU, process::cpu_seconds() - cpu);
        row.set(figure::WRITTEN, (process::bytes_written()? - written) as f64);
        row.set(figure::PEAK, process::peak_bytes()? as f64);
        row.set(figure::PEAK_ANONYMOUS, anonymous as f64);
        row.set(figure::PAIRS, data.pairs as f64);
        row.set(figure::MEMORY, memory as f64);
        if self.size == Confined {
            row.set(figure::CGROUP, CGROUP_BYTES as f64);
            if self.start == Empty && row.cut {
                store.slow_load(limit);
            }
        }

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
        row.notes.extend(store.notes());
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

/// How the note of a row begins that was not measured for want of a cgroup.
pub const NO_CGROUP: &str = "not measured, for there is no memory cgroup: ";

/// Tanada takes no budget below this.
const SMALLEST_BUDGET: u64 = 16 << 20;

impl Turn<'_> {
    /// So many operations, or until the limit.
    fn operations(&self, count: u64) -> Goal {
        Goal::Operations(count, self.limit)
    }

    /// As long as a workload of reads takes.
    fn time(&self) -> Goal {
        Goal::Time(self.time)
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
