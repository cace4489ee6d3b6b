//! Ways of sharing syncs among writers, measured: docs/decisions/0016-one-sync.md.
//!
//! `cargo run --release -p tanada-vfs --example sync_groups [DIR] [MICROSECONDS]`
//!
//! Writers append a record each and wait until it is durable, again and again. Those that
//! come while a sync is under way are the next group. With `MICROSECONDS` a sync is a sleep
//! of that time, on a device that takes any number of them at once.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

const RECORD_BYTES: usize = 160;
const FILE_BYTES: u64 = 32 << 20;
const ROUND: Duration = Duration::from_millis(500);
const ROUNDS: usize = 5;

/// How groups are made.
#[derive(Clone, Copy)]
struct Way {
    /// Syncs under way at once, each through an open file of its own: the kernel tells of a
    /// failed write once an open file.
    in_flight: usize,
    /// Whether a leader waits for those whom the last sync has answered.
    waits: bool,
}

const WAYS: [Way; 4] = [
    Way { in_flight: 1, waits: false },
    Way { in_flight: 1, waits: true },
    Way { in_flight: 2, waits: false },
    Way { in_flight: 4, waits: false },
];

/// Where writers wait.
#[derive(Default)]
struct Line {
    /// Tickets drawn, and how many of them are durable or about to be.
    drawn: u64,
    taken: u64,
    /// Tickets that are durable, in order.
    durable: u64,
    has_leader: bool,
    returning: u64,
    sync_ns: u64,
    syncs: u64,
    /// Bytes appended.
    end: u64,
    free_files: Vec<File>,
}

struct Log {
    way: Way,
    sleep: Option<Duration>,
    line: Mutex<Line>,
    /// Something has become durable, or a leader is wanted.
    changed: Condvar,
    all_back: Condvar,
}

impl Log {
    fn open(path: &Path, way: Way, sleep: Option<Duration>) -> Log {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path);
        let file = file.expect("a file can be made");
        let zeros = vec![0; 1 << 20];
        for at in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at).expect("there is room");
        }
        file.sync_all().expect("it can be synced");
        let again = || OpenOptions::new().write(true).open(path).expect("it is there");
        let free_files = (0..way.in_flight).map(|_| again()).collect();
        let line = Line { free_files, ..Line::default() };
        Log {
            way,
            sleep,
            line: Mutex::new(line),
            changed: Condvar::new(),
            all_back: Condvar::new(),
        }
    }

    /// Appends a record and returns when it is durable.
    fn write(&self) {
        let mut line = self.line.lock().expect("nobody panics");
        line.drawn += 1;
        let mine = line.drawn;
        line.returning = line.returning.saturating_sub(1);
        if line.returning == 0 {
            self.all_back.notify_one();
        }
        while line.durable < mine {
            let leads = line.taken < mine && !line.has_leader && !line.free_files.is_empty();
            if !leads {
                line = self.changed.wait(line).expect("nobody panics");
                continue;
            }
            line.has_leader = true;
            if self.way.waits && line.returning > 0 {
                let longest = Duration::from_nanos(line.sync_ns / 4);
                line = self.all_back.wait_timeout(line, longest).expect("nobody panics").0;
                line.returning = 0;
            }
            let file = line.free_files.pop().expect("looked at above");
            let (first, last) = (line.taken + 1, line.drawn);
            line.taken = last;
            let bytes = (last + 1 - first) as usize * RECORD_BYTES;
            let at = line.end % (FILE_BYTES - (1 << 20));
            line.end += bytes as u64;
            file.write_all_at(&vec![1; bytes], at).expect("it is written");
            line.has_leader = false;
            if !line.free_files.is_empty() {
                self.changed.notify_all();
            }
            drop(line);
            let started = Instant::now();
            match self.sleep {
                Some(time) => std::thread::sleep(time),
                None => file.sync_data().expect("it is synced"),
            }
            let ns = started.elapsed().as_nanos() as u64;
            line = self.line.lock().expect("nobody panics");
            line.free_files.push(file);
            line.syncs += 1;
            line.sync_ns = line.sync_ns - line.sync_ns / 8 + ns / 8;
            // Acknowledged in order.
            while line.durable + 1 != first {
                line = self.changed.wait(line).expect("nobody panics");
            }
            line.durable = last;
            line.returning = last + 1 - first;
            self.changed.notify_all();
        }
    }
}

/// Writes a second, syncs a second, and the 50th and 99th percentile in µs.
fn round(path: &Path, writers: usize, way: Way, sleep: Option<Duration>) -> [f64; 4] {
    let log = Log::open(path, way, sleep);
    let started = Instant::now();
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let write = || {
            let mut times = Vec::new();
            while started.elapsed() < ROUND {
                let begun = Instant::now();
                log.write();
                times.push(begun.elapsed());
            }
            times
        };
        let writers: Vec<_> = (0..writers).map(|_| scope.spawn(write)).collect();
        writers.into_iter().flat_map(|writer| writer.join().expect("it ends")).collect()
    });
    let seconds = started.elapsed().as_secs_f64();
    times.sort_unstable();
    let micros = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e6;
    let syncs = log.line.lock().expect("nobody panics").syncs;
    [times.len() as f64 / seconds, syncs as f64 / seconds, micros(50), micros(99)]
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let sleep = arguments.next().map(|n| Duration::from_micros(n.parse().expect("microseconds")));
    let path = dir.join("sync_groups.tmp");
    println!("writers  in flight  waits   writes/s   syncs/s    p50 us    p99 us");
    for writers in [1, 2, 4, 8, 32] {
        let mut rounds = [const { Vec::new() }; WAYS.len()];
        for _ in 0..ROUNDS {
            for (way, rounds) in WAYS.iter().zip(&mut rounds) {
                rounds.push(round(&path, writers, *way, sleep));
            }
        }
        for (way, rounds) in WAYS.iter().zip(rounds) {
            let median = |which: usize| {
                let mut figures: Vec<f64> = rounds.iter().map(|figures| figures[which]).collect();
                figures.sort_unstable_by(f64::total_cmp);
                figures[ROUNDS / 2]
            };
            let waits = if way.waits { "yes" } else { "no" };
            println!(
                "{writers:7}  {:9}  {waits:>5}  {:9.0} {:9.0} {:9.0} {:9.0}",
                way.in_flight,
                median(0),
                median(1),
                median(2),
                median(3)
            );
        }
    }
    std::fs::remove_file(&path).expect("it was there");
}
