//! The system's clock, random bits and threads.

use crate::{Clock, JoinHandle, Random, Threads};
use std::io;
use std::time::{Duration, Instant, SystemTime};

/// The system's clock.
#[derive(Clone, Copy, Debug)]
pub struct RealClock {
    /// Monotonic time counts from here.
    start: Instant,
}

impl RealClock {
    /// A clock whose monotonic time begins now.
    pub fn new() -> RealClock {
        RealClock { start: Instant::now() }
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

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// The system's random bits. One system call a fill.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealRandom;

impl Random for RealRandom {
    fn fill(&self, buf: &mut [u8]) {
        let mut filled = 0;
        while filled < buf.len() {
            match rustix::rand::getrandom(&mut buf[filled..], rustix::rand::GetRandomFlags::empty())
            {
                Ok(n) => filled += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("the system gives no random bits: {error}"),
            }
        }
    }
}

/// The system's threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealThreads;

impl Threads for RealThreads {
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<Option<JoinHandle>> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body)?;
        Ok(Some(JoinHandle(thread)))
    }

    fn parallelism(&self) -> usize {
        std::thread::available_parallelism().map_or(1, |n| n.get())
    }
}
