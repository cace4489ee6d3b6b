//! The system's clock, random bits and threads.

#[cfg(target_os = "linux")]
use super::coarse;
use crate::sync::thread;
use crate::{Clock, JoinHandle, Priority, Random, Threads};
use std::io;
use std::time::{Duration, Instant, SystemTime};

/// The system's clock.
#[derive(Clone, Copy, Debug)]
pub struct RealClock {
    /// Monotonic time counts from here.
    start: Instant,
    /// The same moment, as the system counts.
    #[cfg(target_os = "linux")]
    start_ns: u64,
}

impl RealClock {
    /// A clock whose monotonic time begins now.
    pub fn new() -> RealClock {
        RealClock {
            start: Instant::now(),
            #[cfg(target_os = "linux")]
            start_ns: coarse::monotonic_ns(libc::CLOCK_MONOTONIC),
        }
    }
}

impl Default for RealClock {
    fn default() -> RealClock {
        RealClock::new()
    }
}

impl Clock for RealClock {
    fn wall_ms(&self) -> u64 {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        // A clock set before 1970 reads as 1970.
        since_1970.unwrap_or_default().as_millis() as u64
    }

    fn monotonic_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Behind by one tick of the system, 1 to 10 ms; a quarter of the cost.
    #[cfg(target_os = "linux")]
    fn coarse_monotonic_ns(&self) -> u64 {
        coarse::monotonic_ns(libc::CLOCK_MONOTONIC_COARSE).saturating_sub(self.start_ns)
    }

    /// Of the time in which a machine was suspended, the monotonic clock knows nothing.
    #[cfg(target_os = "linux")]
    fn elapsed_ns(&self) -> u64 {
        coarse::monotonic_ns(libc::CLOCK_BOOTTIME)
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// The system's random bits. One system call a fill.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealRandom;

impl Random for RealRandom {
    fn fill(&self, buf: &mut [u8]) {
        // A machine without random bits would give two databases one id.
        fill(buf).expect("the system always has random bits");
    }
}

#[cfg(target_os = "linux")]
fn fill(buf: &mut [u8]) -> io::Result<()> {
    use rustix::rand::{GetRandomFlags, getrandom};
    let mut filled = 0;
    while filled < buf.len() {
        let rest = &mut buf[filled..];
        filled += rustix::io::retry_on_intr(|| getrandom(&mut *rest, GetRandomFlags::empty()))?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn fill(buf: &mut [u8]) -> io::Result<()> {
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, buf)
}

/// Lets this thread run after those of normal priority where there are more
/// threads than cores. It still gets its share (a quarter of what others get, or
/// a thirtieth), so that nothing it holds is held forever.
#[cfg(target_os = "linux")]
fn yield_to_others(priority: Priority) {
    let nice = match priority {
        Priority::Soon => 6,
        Priority::Later => 15,
    };
    // Linux takes the priority of a thread by its own id. A system that refuses
    // leaves the thread as urgent as any other: slower for those who wait for it,
    // and no less right.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), nice);
}

#[cfg(not(target_os = "linux"))]
fn yield_to_others(_: Priority) {}

/// The system's threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealThreads;

impl Threads for RealThreads {
    fn spawn(
        &self,
        name: &str,
        priority: Priority,
        body: Box<dyn FnOnce() + Send>,
    ) -> io::Result<Option<JoinHandle>> {
        let yielding = move || {
            yield_to_others(priority);
            body();
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(yielding)?;
        Ok(Some(JoinHandle(thread)))
    }

    fn run_all<'t>(&self, mut tasks: Vec<Box<dyn FnOnce() + Send + 't>>) {
        // The caller would only wait: it takes a task itself.
        let own = tasks.pop();
        thread::scope(|scope| {
            for task in tasks {
                scope.spawn(task);
            }
            if let Some(task) = own {
                task();
            }
        });
    }

    fn parallelism(&self) -> usize {
        std::thread::available_parallelism().map_or(1, |n| n.get())
    }

    fn resident_bytes(&self) -> Option<u64> {
        resident_bytes()
    }
}

/// Linux counts it in pages, in the second field of a line.
#[cfg(target_os = "linux")]
fn resident_bytes() -> Option<u64> {
    let line = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(not(target_os = "linux"))]
fn resident_bytes() -> Option<u64> {
    None
}
