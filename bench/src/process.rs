//! What this process has used, from the kernel: CPU, bytes to disk, memory,
//! space.

use crate::engine::Outcome;
use rustix::time::{ClockId, clock_gettime};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// CPU seconds of all threads, in user and kernel.
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Bytes that this process made the kernel write to disk: pages made dirty, by
/// `write` or through a mapping, each time they become dirty.
pub fn bytes_written() -> Outcome<u64> {
    figure("/proc/self/io", "write_bytes:")
}

/// The largest resident size since [`reset_peak`]. Counts mapped files too:
/// all of LMDB's cache, and mapped pages of logs and tables of any engine.
pub fn peak_bytes() -> Outcome<u64> {
    Ok(figure("/proc/self/status", "VmHWM:")? << 10)
}

/// Starts the peak anew. Without the right to, the peak is that of the process.
pub fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Resident now.
pub fn resident_bytes() -> Outcome<u64> {
    Ok(figure("/proc/self/status", "VmRSS:")? << 10)
}

/// Resident memory by what it is mapped from, as the kernel has it.
#[derive(Default)]
pub struct Mappings {
    /// The C library's main heap.
    pub heap_bytes: u64,
    /// Mapped without a file: further arenas, large allocations, stacks.
    pub anonymous_bytes: u64,
    /// Of these, on huge pages.
    pub huge_bytes: u64,
    pub file_bytes: u64,
    /// How many mappings there are without a file.
    pub anonymous: u64,
}

impl std::fmt::Display for Mappings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        write!(
            f,
            "resident at the end: heap {} MiB, anonymous {} MiB in {} mappings ({} MiB on huge \
             pages), files {} MiB",
            mib(self.heap_bytes),
            mib(self.anonymous_bytes),
            self.anonymous,
            mib(self.huge_bytes),
            mib(self.file_bytes)
        )
    }
}

/// Walks over all pages of the process: milliseconds.
pub fn mappings() -> Outcome<Mappings> {
    let (mut sum, mut name) = (Mappings::default(), String::new());
    for line in std::fs::read_to_string("/proc/self/smaps")?.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [range, _, _, _, inode, ref path @ ..] if range.contains('-') => {
                name = if inode == "0" { path.join(" ") } else { "file".into() };
                sum.anonymous += u64::from(name.is_empty());
            }
            ["Rss:", kib, _] => {
                let bytes = kib.parse::<u64>()? << 10;
                match name.as_str() {
                    "[heap]" => sum.heap_bytes += bytes,
                    "file" => sum.file_bytes += bytes,
                    _ => sum.anonymous_bytes += bytes,
                }
            }
            ["AnonHugePages:", kib, _] => sum.huge_bytes += kib.parse::<u64>()? << 10,
            _ => {}
        }
    }
    Ok(sum)
}

/// Resident memory that is no file's: heap and stacks.
fn anonymous_bytes() -> Outcome<u64> {
    Ok(figure("/proc/self/status", "RssAnon:")? << 10)
}

fn figure(file: &str, name: &str) -> Outcome<u64> {
    let text = std::fs::read_to_string(file)?;
    let line = text.lines().find(|line| line.starts_with(name));
    let word = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(word.ok_or_else(|| format!("no {name} in {file}"))?.parse()?)
}

/// Bytes that the files below `dir` hold on disk.
pub fn space_bytes(dir: &Path) -> Outcome<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // A file may go between listing and asking: background work goes on.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += match metadata.is_dir() {
            true => space_bytes(&entry.path()).unwrap_or(0),
            false => metadata.blocks() * 512,
        };
    }
    Ok(bytes)
}

/// Makes the files below `dir` durable and drops what the page cache holds of them.
pub fn drop_page_cache(dir: &Path) -> Outcome<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            drop_page_cache(&entry.path())?;
            continue;
        }
        let file = std::fs::File::open(entry.path())?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

/// Waits until this process has written as good as nothing for `quiet`, but no
/// longer than two minutes. The same pause for every engine's background work.
pub fn wait_until_quiet(quiet: Duration) -> Outcome<()> {
    // Some engines note the time or their state every second or so.
    const NOTHING: u64 = 64 << 10;
    let started = Instant::now();
    let (mut since, mut written) = (started, bytes_written()?);
    while since.elapsed() < quiet && started.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(50));
        let now = bytes_written()?;
        if now > written + NOTHING {
            (since, written) = (Instant::now(), now);
        }
    }
    Ok(())
}

/// Runs `work` and samples heap and stacks 20 times a second beside it.
/// Answers the largest sample as well.
pub fn with_anonymous_peak<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(T, u64)> {
    let (peak, done) = (AtomicU64::new(anonymous_bytes()?), AtomicBool::new(false));
    let outcome = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            // Relaxed: a flag and a figure on their own; the join orders the rest.
            while !done.load(Relaxed) {
                peak.fetch_max(anonymous_bytes().unwrap_or(0), Relaxed);
                std::thread::park_timeout(Duration::from_millis(50));
            }
        });
        let outcome = work();
        done.store(true, Relaxed);
        sampler.thread().unpark();
        outcome
    });
    Ok((outcome?, peak.load(Relaxed).max(anonymous_bytes()?)))
}
