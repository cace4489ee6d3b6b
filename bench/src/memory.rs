//! `memory`: mixed work in one process and one life of the database, judged by
//! the memory that it takes.
//!
//! A workload alone begins with an allocator that nothing has cut into pieces.
//! Work that follows other work does not: what fills pass on to reads, reads to
//! writes beside them and all of them to the next round is what this shows.

use crate::arguments::Arguments;
use crate::engine::{Accountant, Accounted, Durability, Outcome};
use crate::process::{self, Mappings};
use crate::resident::{self, MARGIN_BYTES};
use crate::row::{Row, figure};
use crate::store::{Data, Start, Store, Terms};
use crate::workloads;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// One round, in the order of the workloads' names. The first begins with a
/// fill besides.
const ROUND: &[&str] = &[
    "readrandom",
    "readzipf",
    "readmissing",
    "scan",
    "seek10",
    "seek100",
    "readwhilewriting",
    "ycsba",
    "ycsbb",
    "ycsbc",
    "ycsbf",
    "ycsbd",
    "ycsbe",
    "largevalues",
    "overwrite",
];

/// Rounds until the time is up.
///
/// # Errors
/// Names every workload whose peak was above the bar.
pub fn run(arguments: &Arguments, say: &mut dyn FnMut(Row)) -> Outcome<()> {
    let name = arguments.engine.as_deref().unwrap_or("tanada");
    let scale = &arguments.scale;
    let data = Data { pairs: scale.pairs, value_bytes: arguments.value_bytes };
    let mut store = Store::new(name, arguments.dir.join(name), arguments.quiet);
    let terms = Terms {
        memory: scale.memory,
        durability: Durability::Kernel,
        load_limit: scale.limit,
        warm_up: scale.time,
    };
    store.prepare(data, Start::Empty, terms)?;
    store.continued(true);
    eprintln!(
        "{} pairs of 16 + {} B, a budget of {} MiB and {} MiB beside it",
        data.pairs,
        data.value_bytes,
        scale.memory >> 20,
        MARGIN_BYTES >> 20
    );
    let account = store.engine().accountant();
    let (mut rows, started) = (Vec::new(), Instant::now());
    let round_of =
        |first: bool| first.then_some("fillrandom").into_iter().chain(ROUND.iter().copied());
    for round in 0.. {
        for workload in round_of(round == 0) {
            if arguments.skips(workload) {
                continue;
            }
            let workload = workloads::find(workload)?;
            let (row, at_peak) = watched(account.as_ref(), || {
                workload.run_on(&mut store, scale, data, Start::Continued, scale.memory)
            })?;
            let mut row = Row { engine: name.into(), round, ..row };
            if let Some(Sample { accounted, .. }) = &at_peak {
                row.set(figure::ACCOUNTED, accounted.bytes as f64);
            }
            if arguments.verbose {
                row.notes.push(process::mappings()?.to_string());
                row.notes.extend(at_peak.map(|sample| sample.describe()));
            }
            rows.push(row.clone());
            say(row);
        }
        if started.elapsed() >= arguments.mixed {
            break;
        }
    }
    drop(account);
    store.remove()?;
    Ok(resident::judge(&rows)?)
}

/// What was resident at one moment, and what of it the engine knew.
struct Sample {
    resident_bytes: u64,
    accounted: Accounted,
    /// How it is mapped, looked at a moment later.
    mappings: Mappings,
}

impl Sample {
    fn describe(&self) -> String {
        let parts = self.accounted.parts.iter();
        let parts: Vec<_> = parts.map(|(name, b)| format!("{name} {}", b >> 20)).collect();
        format!(
            "largest sample: {} MiB resident, {} MiB accounted: {}; heap {} MiB, anonymous {} MiB",
            self.resident_bytes >> 20,
            self.accounted.bytes >> 20,
            parts.join(", "),
            self.mappings.heap_bytes >> 20,
            self.mappings.anonymous_bytes >> 20
        )
    }
}

/// Runs `work`; answers the sample, of ten a second, at which most was resident.
fn watched<T>(
    account: Option<&Accountant>,
    work: impl FnOnce() -> Outcome<T>,
) -> Outcome<(T, Option<Sample>)> {
    let (largest, done) = (Mutex::new(None::<Sample>), AtomicBool::new(false));
    let look = || {
        if let (Some(account), Ok(resident_bytes)) = (account, process::resident_bytes()) {
            let mut largest = largest.lock().expect("samplers do not panic");
            if largest.as_ref().is_none_or(|before| before.resident_bytes < resident_bytes) {
                let accounted = account();
                let mappings = process::mappings().unwrap_or_default();
                *largest = Some(Sample { resident_bytes, accounted, mappings });
            }
        }
    };
    let outcome = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            // Relaxed: a flag on its own; the join orders the rest.
            while !done.load(Relaxed) {
                look();
                std::thread::park_timeout(Duration::from_millis(100));
            }
        });
        let outcome = work();
        done.store(true, Relaxed);
        sampler.thread().unpark();
        outcome
    });
    Ok((outcome?, largest.into_inner().expect("samplers do not panic")))
}
