//! Which workloads stand together, and the bar of each: what Tanada set out to
//! reach, as a ratio to others in the same run.

use super::medians::Medians;
use crate::floor;
use crate::row::figure;
use crate::workloads::NO_CGROUP;

/// Name in tables, and whether its colour and column come first.
pub const ENGINES: &[(&str, &str)] = &[
    ("tanada", "Tanada"),
    ("rocksdb", "RocksDB"),
    ("fjall", "fjall"),
    ("lmdb", "LMDB"),
    ("redb", "redb"),
    ("sled", "sled"),
    ("surrealkv", "SurrealKV"),
    ("slatedb", "SlateDB"),
];

/// The other LSM trees that bars speak of.
const LSM: &[&str] = &["rocksdb", "fjall"];

/// What Tanada's rate is held against.
#[derive(Debug, Clone, Copy)]
pub enum Bar {
    /// So many times the better of RocksDB and fjall.
    Lsm(f64),
    /// So many times one engine.
    Engine(&'static str, f64),
    /// So many times what the device does: one of the floors.
    Device(&'static str, f64),
    /// So many times its own rate in another workload.
    Own(&'static str, f64),
}

impl Bar {
    /// The rate to reach, when those it speaks of were measured.
    pub fn rate(&self, workload: &str, medians: &Medians) -> Option<f64> {
        match *self {
            Bar::Lsm(times) => {
                let rates = LSM.iter().filter_map(|engine| medians.rate(workload, engine));
                Some(rates.reduce(f64::max)? * times)
            }
            Bar::Device(floor, times) => Some(medians.rate(floor, floor::NAME)? * times),
            Bar::Engine(engine, times) => Some(medians.rate(workload, engine)? * times),
            Bar::Own(other, times) => Some(medians.rate(other, "tanada")? * times),
        }
    }

    pub fn describe(&self) -> String {
        let times = |n: f64| if n == 1.0 { String::new() } else { format!("{n} x ") };
        match *self {
            Bar::Lsm(n) => format!("{}the better of RocksDB, fjall", times(n)),
            Bar::Device(_, n) => format!("{}the device", times(n)),
            Bar::Engine(engine, n) => format!("{}{}", times(n), title(engine)),
            Bar::Own(other, n) => format!("{}its own {other}", times(n)),
        }
    }
}

/// The name of an engine in a sentence.
pub fn title(engine: &str) -> &str {
    ENGINES.iter().find(|(name, _)| *name == engine).map_or(engine, |(_, title)| title)
}

/// Workloads that share a table and a plot.
pub struct Group {
    /// File name of its plot.
    pub name: &'static str,
    pub title: &'static str,
    pub text: &'static str,
    pub workloads: &'static [(&'static str, Bar)],
}

impl Group {
    /// Why Tanada has no figures in it, where the machine lacks what they need.
    pub fn not_measured(&self, medians: &Medians) -> Option<String> {
        let rows = self.workloads.iter().flat_map(|(name, _)| medians.rows(name, "tanada"));
        let mut notes = rows.flat_map(|row| &row.notes);
        notes.find(|note| note.starts_with(NO_CGROUP)).cloned()
    }
}

const LMDB: Bar = Bar::Engine("lmdb", 1.0);

pub const GROUPS: &[Group] = &[
    Group {
        name: "writes",
        title: "Writes",
        text: "One thread; the log is in the kernel when a write returns, not synced. `fillbatch`: 1,000 pairs a batch, in random order.",
        workloads: &[
            ("fillseq", Bar::Lsm(2.0)),
            ("fillbatch", Bar::Lsm(2.0)),
            ("fillrandom", Bar::Lsm(2.5)),
            ("overwrite", Bar::Lsm(2.0)),
            ("deleterandom", Bar::Lsm(2.0)),
        ],
    },
    Group {
        name: "synced",
        title: "Synced writes",
        text: "A write returns when the device has it; 1 and 8 threads. The device itself (`pwrite` and `fdatasync` of a preallocated file, in the same run) is under Floors.",
        workloads: &[
            ("fillsync1", Bar::Device(floor::DEVICE, 1.0)),
            ("fillsync8", Bar::Own("fillsync1", 5.0)),
        ],
    },
    Group {
        name: "reads",
        title: "Reads, data in the cache",
        text: "Uniform and zipfian (0.99, scrambled), 1 and 2 threads. `readmissing`: keys that were never written, between those that were.",
        workloads: &[
            ("readrandom", LMDB),
            ("readzipf", LMDB),
            ("readrandom2", LMDB),
            ("readzipf2", LMDB),
            ("readmissing", Bar::Engine("fjall", 2.0)),
        ],
    },
    Group {
        name: "scans",
        title: "Scans, data in the cache",
        text: "`readseq` counts entries; `seek10` and `seek100` count seeks, each followed by as many entries.",
        workloads: &[("readseq", LMDB), ("seek10", LMDB), ("seek100", LMDB)],
    },
    Group {
        name: "queues",
        title: "Queues: deleted keys in front of those that are alive",
        text: "`queue`: push at the tail, look at the head, delete it; 1,000 elements are alive. `window`: add a point, look at the oldest; each thousand the oldest thousand are deleted one by one, and a tenth of the pairs is alive. `deadprefix`: looks for the first pair behind all others, which were deleted in order.",
        workloads: &[
            ("queue", Bar::Lsm(10.0)),
            ("window", Bar::Lsm(10.0)),
            ("deadprefix", Bar::Lsm(10.0)),
        ],
    },
    Group {
        name: "tenth",
        title: "A cache for a tenth of the data",
        text: "The kernel's page cache still holds the files of all of them; LMDB knows no other cache.",
        workloads: &[("readtenth", Bar::Lsm(2.0)), ("seek10tenth", Bar::Lsm(2.0))],
    },
    Group {
        name: "mixed",
        title: "Reading while writing",
        text: "One thread reads at random while another overwrites at random, as fast as it can. The rate is the reader's.",
        workloads: &[("readwhilewriting", Bar::Lsm(3.0))],
    },
    Group {
        name: "ycsb",
        title: "YCSB",
        text: "The core workloads, one thread, one after the other on one database: A (half updates), B (5 % updates), C (reads), F (half read-modify-writes), D (reads of the latest), E (scans of 1 to 100).",
        workloads: &[
            ("ycsba", Bar::Lsm(2.5)),
            ("ycsbb", LMDB),
            ("ycsbc", LMDB),
            ("ycsbf", Bar::Lsm(2.5)),
            ("ycsbd", LMDB),
            ("ycsbe", LMDB),
        ],
    },
    Group {
        name: "values4k",
        title: "Values of 4 KiB",
        text: "A tenth of the pairs.",
        workloads: &[
            ("fill4k", Bar::Lsm(1.5)),
            ("overwrite4k", Bar::Lsm(1.5)),
            ("readrandom4k", Bar::Lsm(3.0)),
            ("readseq4k", Bar::Lsm(2.0)),
        ],
    },
    Group {
        name: "large",
        title: "Ten times the pairs, half the memory",
        text: "The LSM trees only.",
        workloads: &[
            ("fillrandom20m", Bar::Lsm(2.0)),
            ("readrandom20m", Bar::Lsm(2.0)),
            ("readmissing20m", Bar::Lsm(2.0)),
            ("seek10at20m", Bar::Lsm(2.0)),
        ],
    },
    Group {
        name: "tails",
        title: "Tails",
        text: "The same pairs, with caches that are full: one thread reads while another overwrites, and 32 threads read while 32 overwrite, all at random and as fast as they can. `tailread…`: rate and percentiles of the reads; `tailwrite…`: of the writes. Of 64 threads on a few processors most wait for a processor; what an engine adds shows beside its peers.",
        workloads: &[
            ("tailread2at20m", Bar::Lsm(1.0)),
            ("tailwrite2at20m", Bar::Lsm(1.0)),
            ("tailread64at20m", Bar::Lsm(1.0)),
            ("tailwrite64at20m", Bar::Lsm(1.0)),
        ],
    },
    Group {
        name: "confined",
        title: "Data larger than memory",
        text: "Three times the pairs, of 16 B + 200 B, in a memory cgroup of 300 MiB, page cache included, with a cache of 128 MiB: all of Tanada fits into that, peers have their memtables on top, each an eighth of it. `readloaded6m` reads as soon as the load is done, while the engine goes on with what that has left to do; the reads below it come at rest. The device itself (4 KiB at random with `O_DIRECT`, in the same run) is under Floors. An engine that is not done with the load in time (†) is loaded outside of the cgroup for the reads at rest; one that needs more memory than there is is killed for it, and has no figure (†).",
        workloads: &[
            ("fillrandom6m", Bar::Lsm(2.0)),
            ("readloaded6m", Bar::Device(floor::DEVICE_READ, 0.8)),
            ("readrandom6m", Bar::Device(floor::DEVICE_READ, 0.9)),
            ("readzipf6m", Bar::Lsm(1.25)),
            ("readrandom2at6m", Bar::Lsm(1.3)),
            ("seek10at6m", Bar::Lsm(2.0)),
            ("readmissing6m", Bar::Lsm(1.5)),
            ("overwrite6m", Bar::Lsm(2.0)),
        ],
    },
];

/// A bar on another figure than a rate: what it is, Tanada's figure, the
/// figure to reach, and whether it is reached.
pub struct Other {
    pub what: &'static str,
    pub ours: f64,
    pub bar: f64,
    pub ok: bool,
    pub unit: &'static str,
}

/// The bars that are not on rates, as far as there are figures for them.
pub fn others(medians: &Medians) -> Vec<Other> {
    let mut all = Vec::new();
    let mut add = |what, unit, ours: Option<f64>, bar: Option<f64>, at_least: bool| {
        if let (Some(ours), Some(bar)) = (ours, bar) {
            let ok = if at_least { ours >= bar } else { ours <= bar };
            all.push(Other { what, ours, bar, ok, unit });
        }
    };
    let rww = |engine: &str, name: &str| medians.median("readwhilewriting", engine, name);
    let theirs = LSM.iter().filter_map(|e| rww(e, figure::P999)).reduce(f64::min);
    add(
        "readwhilewriting, p99.9 of reads: half of the better of RocksDB, fjall",
        "µs",
        rww("tanada", figure::P999).map(|ns| ns / 1e3),
        theirs.map(|ns| ns / 2e3),
        false,
    );
    add(
        "readwhilewriting, writes a second: not below RocksDB's",
        "",
        rww("tanada", figure::WRITES),
        rww("rocksdb", figure::WRITES),
        true,
    );
    let large = |engine: &str, name: &str| medians.median("fillrandom20m", engine, name);
    add(
        "fillrandom20m, lowest second as a share of the average: at least half",
        "",
        large("tanada", figure::LOWEST_SECOND),
        Some(0.5),
        true,
    );
    add(
        "fillrandom20m, longest put: under 50 ms",
        "ms",
        large("tanada", figure::MAX).map(|ns| ns / 1e6),
        Some(50.0),
        false,
    );
    for (what, unit, read) in COSTS {
        let of = |engine| medians.spread_of("fillrandom20m", engine, read).map(|s| s.middle);
        add(what, unit, of("tanada"), of("rocksdb"), false);
    }
    all
}

type Cost = (&'static str, &'static str, fn(&crate::row::Row) -> Option<f64>);

const COSTS: &[Cost] = &[
    ("fillrandom20m, write amplification: not above RocksDB's", "x", |r| r.write_amplification()),
    ("fillrandom20m, space on disk: not above RocksDB's", "MiB", |r| {
        Some(r.get(figure::SETTLED_SPACE)? / 1_048_576.0)
    }),
    ("fillrandom20m, peak memory: not above RocksDB's", "MiB", |r| {
        Some(r.get(figure::PEAK)? / 1_048_576.0)
    }),
    ("fillrandom20m, CPU an operation until at rest: not above RocksDB's", "µs", |r| {
        Some(r.get(figure::SETTLED_CPU)? * 1e6 / r.get(figure::OPERATIONS)?)
    }),
];
