//! Ways of appending to a log, measured: docs/decisions/0002-log-append.md.
//!
//! `cargo run --release -p tanada-vfs --example log_append [DIR]`
//!
//! First the rate of records that must survive a kill, into segments of
//! 16 MiB made as needed; then the rate of records that must survive a power
//! cut, one sync each.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use rustix::fs::{FallocateFlags, fallocate};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tanada_vfs::{Env, LogFile};

const RECORD: [u8; 132] = [0xA7; 132];
const GROUP: usize = 8;
const SEGMENT_BYTES: u64 = 16 << 20;
const APPENDS: u64 = 250_000;
const SYNCS: u64 = 100;
const ROUNDS: usize = 9;

/// How a file comes by its space.
#[derive(Clone, Copy)]
enum Space {
    Growing,
    Reserved,
    Zeroed,
}

/// A file written by `pwrite`, in pieces of `group` records.
struct Written {
    file: File,
    len: u64,
    pending: Vec<u8>,
    group: usize,
}

impl Written {
    fn create(path: &Path, space: Space, group: usize) -> io::Result<Written> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        match space {
            Space::Growing => {}
            Space::Reserved => fallocate(&file, FallocateFlags::empty(), 0, SEGMENT_BYTES)?,
            Space::Zeroed => {
                file.write_all_at(&vec![0; SEGMENT_BYTES as usize], 0)?;
                file.sync_data()?;
            }
        }
        Ok(Written { file, len: 0, pending: Vec::new(), group: group * RECORD.len() })
    }
}

/// The two verbs that are measured.
trait Log {
    fn append(&mut self, record: &[u8]) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
}

impl Log for Written {
    fn append(&mut self, record: &[u8]) -> io::Result<()> {
        self.pending.extend_from_slice(record);
        if self.pending.len() >= self.group {
            self.file.write_all_at(&self.pending, self.len)?;
            self.len += self.pending.len() as u64;
            self.pending.clear();
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl Log for Box<dyn LogFile> {
    fn append(&mut self, record: &[u8]) -> io::Result<()> {
        (**self).append(record)
    }

    fn sync(&mut self) -> io::Result<()> {
        (**self).sync()
    }
}

type Make = Box<dyn Fn(&Path) -> io::Result<Box<dyn Log>>>;

fn written(space: Space, group: usize) -> Make {
    Box::new(move |path| Ok(Box::new(Written::create(path, space, group)?)))
}

fn mapped() -> Make {
    let env = Env::real();
    Box::new(move |path| Ok(Box::new(env.fs.create_log(path, SEGMENT_BYTES)?)))
}

/// Records a second over several segments, the making of them included.
fn append_rate(dir: &Path, make: &Make) -> io::Result<f64> {
    let per_segment = SEGMENT_BYTES / RECORD.len() as u64;
    let mut segments: Vec<PathBuf> = Vec::new();
    let start = Instant::now();
    let mut log = None;
    for n in 0..APPENDS {
        if n % per_segment == 0 {
            segments.push(dir.join(format!("{}.log", segments.len())));
            log = Some(make(&segments[segments.len() - 1])?);
        }
        log.as_mut().expect("the first record made it").append(&RECORD)?;
    }
    let rate = APPENDS as f64 / start.elapsed().as_secs_f64();
    segments.iter().try_for_each(std::fs::remove_file)?;
    Ok(rate)
}

/// Synced appends a second into one segment, the making of it not included.
fn sync_rate(dir: &Path, make: &Make, records: usize) -> io::Result<f64> {
    let path = dir.join("synced.log");
    let mut log = make(&path)?;
    let bytes = RECORD.repeat(records);
    log.append(&bytes)?;
    log.sync()?;
    let start = Instant::now();
    for _ in 0..SYNCS {
        log.append(&bytes)?;
        log.sync()?;
    }
    let rate = SYNCS as f64 / start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn report(
    title: &str,
    ways: &[(&str, Make)],
    measure: impl Fn(&Make) -> io::Result<f64>,
) -> io::Result<()> {
    println!("\n{title}");
    let mut rates = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for ((_, make), rates) in ways.iter().zip(&mut rates) {
            rates.push(measure(make)?);
        }
    }
    for ((name, _), rates) in ways.iter().zip(rates) {
        let best = rates.iter().copied().fold(0.0, f64::max);
        println!("{name:44} median {:>10.0}  best {best:>10.0}", median(rates));
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let above = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = above.join(format!("tanada-log-append-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    println!("in {}; {ROUNDS} interleaved rounds", dir.display());
    let ways = [
        ("mapped, reserved (create_log)", mapped()),
        ("pwrite a record, reserved", written(Space::Reserved, 1)),
        ("pwrite a record, growing", written(Space::Growing, 1)),
        ("pwrite a group of 8, reserved", written(Space::Reserved, GROUP)),
        ("buffered 64 KiB (lost by a kill), reserved", written(Space::Reserved, 496)),
    ];
    report("records of 132 bytes a second", &ways, |make| append_rate(&dir, make))?;
    let ways = [
        ("mapped, reserved (create_log)", mapped()),
        ("pwrite, reserved", written(Space::Reserved, 1)),
        ("pwrite, growing", written(Space::Growing, 1)),
        ("pwrite, zeros written before", written(Space::Zeroed, 1)),
    ];
    for records in [1, GROUP, 64] {
        let title = format!("groups of {records} records a second, one fdatasync each");
        report(&title, &ways, |make| sync_rate(&dir, make, records))?;
    }
    std::fs::remove_dir_all(dir)
}
