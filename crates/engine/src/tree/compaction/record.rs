//! What the policy comes to, in figures: a change of it cannot leave them as they are.
//!
//! Workloads run on trees of vectors, beside jobs that take their time; what each
//! came to stands in `record.txt`. A change of policy that is meant is recorded by
//!
//! `TANADA_WRITE_GOLDEN=1 cargo nextest run -p tanada the_policy_does_what_is_recorded`
//!
//! and the difference, which belongs into its commit, says what it costs. All figures
//! are whole numbers, and the same on every machine.

use super::model::{ENTRY_BYTES, Model, RunningJob};
use super::shape::level_0_width;
use super::simulate::Dice;
use super::*;
use crate::tree::merge::vec_cursor::OwnedEntry;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Bound;
use std::path::Path;
use tanada_format::{SeqNo, hash_key};

/// Entries of one MemTable, and their bytes.
const MEMTABLE: u64 = 64;
const MEMTABLE_BYTES: u64 = MEMTABLE * ENTRY_BYTES;

/// One write: a key, and what becomes of it.
struct Put {
    key: u64,
    /// Milliseconds, one for each flush; none for a delete.
    lives: Option<u64>,
}

const FOR_EVER: Option<u64> = Some(0);

struct Workload {
    name: &'static str,
    config: Config,
    flushes: u64,
    /// Jobs at once.
    slots: usize,
    /// Bytes that a job takes in between two flushes.
    pace: u64,
    /// Flushes that a snapshot is held for, one after the other; 0 for none.
    holds: u64,
    /// The write with this number.
    put: fn(&mut Dice, u64) -> Put,
}

/// The shape that the engine has, for these MemTables.
fn as_shipped() -> Config {
    let shipped = Config::for_memtable(64 << 20);
    let table_bytes = MEMTABLE_BYTES / 4;
    Config {
        base_bytes: MEMTABLE_BYTES * shipped.l0_runs as u64 / 2,
        table_bytes,
        job_bytes: 16 * table_bytes,
        garbage_age_ms: 8,
        ..shipped
    }
}

/// Several inner levels over little data.
fn deep() -> Config {
    Config { l0_runs: 4, size_ratio: 4, base_bytes: 2 * MEMTABLE_BYTES, ..as_shipped() }
}

fn workloads() -> Vec<Workload> {
    let uniform = |dice: &mut Dice, _| Put { key: dice.roll() % 4000, lives: FOR_EVER };
    let skewed = |dice: &mut Dice, _| {
        let within = if dice.roll().is_multiple_of(8) { 4000 } else { 250 };
        Put { key: dice.roll() % within, lives: FOR_EVER }
    };
    let ascending = |_: &mut Dice, n| Put { key: n, lives: FOR_EVER };
    // What is put at one end is taken at the other.
    let queue = |_: &mut Dice, n: u64| match n % 2 {
        1 if n > 2000 => Put { key: n - 2001, lives: None },
        _ => Put { key: n, lives: FOR_EVER },
    };
    let deletes = |dice: &mut Dice, n: u64| {
        let lives = if (n / 1000) % 4 == 3 { None } else { FOR_EVER };
        Put { key: dice.roll() % 3000, lives }
    };
    let expiring = |dice: &mut Dice, n: u64| match n % 4 {
        0 => Put { key: dice.roll() % 4000, lives: FOR_EVER },
        _ => Put { key: 10_000 + n, lives: Some(20) },
    };
    let shipped = Workload {
        name: "uniform, as shipped",
        config: as_shipped(),
        flushes: 240,
        slots: 1,
        pace: u64::MAX,
        holds: 0,
        put: uniform,
    };
    vec![
        Workload { name: "skewed, as shipped", put: skewed, config: as_shipped(), ..shipped },
        Workload { name: "uniform, deep", config: deep(), ..shipped },
        // A ninth of the level that is pushed down most is looked at each time: what a
        // window costs in a level of some thousand tables.
        Workload {
            name: "uniform, deep, a window of eight tables",
            config: Config { window: 8, ..deep() },
            ..shipped
        },
        Workload {
            name: "uniform, deep, four slow jobs",
            config: deep(),
            slots: 4,
            pace: MEMTABLE_BYTES,
            ..shipped
        },
        Workload {
            name: "skewed, two slow jobs",
            put: skewed,
            config: as_shipped(),
            slots: 2,
            pace: MEMTABLE_BYTES,
            ..shipped
        },
        Workload { name: "ascending, deep", put: ascending, config: deep(), ..shipped },
        Workload { name: "queue, deep", put: queue, config: deep(), ..shipped },
        Workload {
            name: "deletes under snapshots, two jobs",
            put: deletes,
            config: deep(),
            slots: 2,
            pace: 2 * MEMTABLE_BYTES,
            holds: 12,
            ..shipped
        },
        Workload { name: "expiring, deep", put: expiring, config: deep(), ..shipped },
        Workload {
            name: "uniform, lazy-leveled",
            config: Config { inner_runs: 3, ..deep() },
            slots: 2,
            pace: 4 * MEMTABLE_BYTES,
            ..shipped
        },
        Workload {
            name: "deletes, tiered",
            put: deletes,
            config: Config { inner_runs: 3, last_runs: 2, ..deep() },
            ..shipped
        },
        shipped,
    ]
}

/// Jobs of one kind.
#[derive(Default)]
struct Tally {
    jobs: u64,
    tables: usize,
    bytes: u64,
    largest: u64,
}

/// A tree, the jobs in it, and what they have come to.
struct Bench {
    model: Model,
    now: u64,
    /// With the flush that each ends at.
    jobs: Vec<(u64, RunningJob)>,
    tallies: BTreeMap<String, Tally>,
    /// Of every plan, in order: what, of what, to where, over and above what.
    plans: u64,
}

impl Bench {
    fn start(&mut self, plan: Plan, pace: u64) {
        let kind = format!("{:?} {:?}", plan.reason, plan.method);
        let tally = self.tallies.entry(kind).or_default();
        tally.jobs += 1;
        tally.tables += plan.tables().count();
        tally.bytes += plan.input_bytes();
        tally.largest = tally.largest.max(plan.input_bytes());
        let ids = |tables: &[std::sync::Arc<crate::tree::version::TableHandle>]| -> Vec<u64> {
            tables.iter().map(|table| table.id().0).collect()
        };
        let inputs: Vec<_> = plan.inputs.iter().map(|run| ids(&run.tables)).collect();
        let older: Vec<_> = plan.older.iter().map(|run| ids(run)).collect();
        let text = format!(
            "{} {} {:?} {:?} {inputs:?} {} {:?} {older:?} {:?}",
            self.plans,
            self.now,
            plan.reason,
            plan.method,
            plan.target,
            plan.output_run,
            ids(&plan.grandparents),
        );
        self.plans = hash_key(text.as_bytes());
        let end = match plan.method {
            Method::Merge => self.now + plan.input_bytes() / pace,
            Method::Move | Method::Drop => self.now,
        };
        let job = self.model.start(plan);
        self.jobs.push((end, job));
        self.finish_due();
    }

    fn finish_due(&mut self) {
        let (due, under_way) =
            std::mem::take(&mut self.jobs).into_iter().partition(|&(end, _)| end <= self.now);
        self.jobs = under_way;
        let due: Vec<(u64, RunningJob)> = due;
        for (_, job) in due {
            self.model.finish(job);
        }
    }

    fn finish_all(&mut self) {
        self.now = u64::MAX;
        self.finish_due();
    }

    /// A line for each kind of job since the last time.
    fn tell_jobs(&mut self, text: &mut String) {
        for (kind, t) in std::mem::take(&mut self.tallies) {
            let Tally { jobs, tables, bytes, largest } = t;
            writeln!(text, "    {kind}: {jobs} of {tables} tables, {bytes} B, largest {largest} B")
                .unwrap();
        }
    }
}

fn percent(part: u64, whole: u64) -> u64 {
    part * 100 / whole.max(1)
}

/// Runs a workload, and tells what it came to.
fn tell(workload: &Workload, text: &mut String) {
    let mut dice = Dice(42);
    let mut bench = Bench {
        model: Model::new(workload.config.clone()),
        now: 0,
        jobs: Vec::new(),
        tallies: BTreeMap::new(),
        plans: 0,
    };
    let (mut runs, mut depth, mut space, mut tables) = (0, 0, 0, 0);
    let (mut debt_sum, mut debt_most, mut flushed_tables) = (0, 0, 0);
    for flush in 0..workload.flushes {
        bench.now = flush;
        bench.model.now_ms = 1 + flush;
        let newest = flush * MEMTABLE;
        if workload.holds > 0 && flush % workload.holds == 0 {
            bench.model.snapshots = vec![SeqNo(newest)];
        }
        let entries = (newest..newest + MEMTABLE).map(|n| {
            let put = (workload.put)(&mut dice, n);
            let key = put.key.to_be_bytes();
            match put.lives {
                None => OwnedEntry::delete(key, n + 1),
                Some(0) => OwnedEntry::put(key, n + 1, ""),
                Some(ms) => OwnedEntry {
                    expires_at_ms: bench.model.now_ms + ms,
                    ..OwnedEntry::put(key, n + 1, "")
                },
            }
        });
        let before = bench.model.version.table_count();
        let entries = entries.collect();
        bench.model.flush(entries);
        flushed_tables += bench.model.version.table_count() - before;
        bench.finish_due();
        for jobs in 0.. {
            assert!(jobs < 1000, "it does not come to rest");
            if bench.jobs.len() == workload.slots {
                break;
            }
            let Some(plan) = bench.model.pick() else { break };
            bench.start(plan, workload.pace);
        }
        let version = &bench.model.version;
        let (wide, deep) = level_0_width(version);
        (runs, depth) = (runs.max(wide), depth.max(deep));
        tables = tables.max(version.table_count());
        let last = version.levels()[shape::LAST].size_bytes();
        if flush > workload.flushes / 2 {
            space = space.max(percent(version.size_bytes(), last));
        }
        let debt = debt(version, &workload.config);
        (debt_sum, debt_most) = (debt_sum + debt, debt_most.max(debt));
    }
    let (flushed, merged) = (bench.model.flushed_bytes, bench.model.merged_bytes);
    let write = percent(flushed + merged, flushed);
    writeln!(text, "{}", workload.name).unwrap();
    writeln!(text, "  flushed {flushed} B in {flushed_tables} tables, merged {merged} B").unwrap();
    writeln!(text, "  written {write} % of what was flushed, space {space} % of the last level")
        .unwrap();
    writeln!(text, "  level 0: at most {runs} runs, {depth} over a key; tables: {tables}").unwrap();
    writeln!(text, "  debt: at most {debt_most} B, in sum {debt_sum} B").unwrap();
    bench.tell_jobs(text);

    bench.finish_all();
    writeln!(text, "  left alone").unwrap();
    bench.model.snapshots.clear();
    let idle = |m: &Model| pick_idle(&m.version, &m.config, &m.in_flight, m.moment());
    for jobs in 0.. {
        let Some(plan) = idle(&bench.model) else { break };
        assert!(jobs < 1000, "it does not come to rest");
        bench.start(plan, u64::MAX);
    }
    bench.tell_jobs(text);
    for (number, level) in bench.model.version.levels().iter().enumerate() {
        if !level.is_empty() {
            let (runs, tables) = (level.runs().len(), level.table_count());
            let (bytes, target) = (level.size_bytes(), bench.target(number));
            writeln!(text, "    L{number}: {runs} runs, {tables} tables, {bytes} B of {target} B")
                .unwrap();
        }
    }

    writeln!(text, "  by hand").unwrap();
    for jobs in 0.. {
        let m = &bench.model;
        let all = (Bound::Unbounded, Bound::Unbounded);
        let begun = Begun::LAST;
        match plan_range(&m.version, &m.config, &m.in_flight, m.moment(), all, begun) {
            ManualStep::Run(plan) => bench.start(*plan, u64::MAX),
            ManualStep::Wait => panic!("nothing is in flight"),
            ManualStep::Done => break,
        }
        assert!(jobs < 1000, "it does not end");
    }
    bench.tell_jobs(text);
    let (tables, bytes) = (bench.model.version.table_count(), bench.model.version.size_bytes());
    writeln!(text, "  left: {tables} tables, {bytes} B; plans {:016x}", bench.plans).unwrap();
}

impl Bench {
    fn target(&self, level: usize) -> u64 {
        level_targets(&self.model.version, &self.model.config)[level]
    }
}

#[test]
fn the_policy_does_what_is_recorded() {
    let mut text = String::new();
    for workload in workloads() {
        tell(&workload, &mut text);
    }
    if std::env::var_os("TANADA_WRITE_GOLDEN").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tree/compaction/record.txt");
        let fs = tanada_vfs::Env::real().fs;
        if fs.exists(&path).unwrap() {
            fs.remove(&path).unwrap();
        }
        fs.create(&path).unwrap().append(text.as_bytes()).unwrap();
        return;
    }
    let recorded = include_str!("record.txt");
    for (found, recorded) in text.lines().zip(recorded.lines()) {
        assert_eq!(
            found, recorded,
            "the policy has changed: the head of this file says what to do"
        );
    }
    assert_eq!(text, recorded);
}
