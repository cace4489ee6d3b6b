//! A clock that stands still until it is moved.

use crate::Clock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The start of 2024: late enough that a clock can be set back.
const START_MS: u64 = 1_704_067_200_000;

/// A clock moved by [`sleep`](Clock::sleep) and by hand.
#[derive(Debug)]
pub struct MemoryClock {
    // All are plain numbers read by themselves; `Relaxed` suffices, since no
    // other memory is published through them.
    /// Nanoseconds since the machine started.
    monotonic_ns: AtomicU64,
    /// Nanoseconds that it has been suspended.
    suspended_ns: AtomicU64,
    /// Wall time at the machine's start; wraps when set to before 1970 + uptime.
    wall_at_start_ms: AtomicU64,
}

impl MemoryClock {
    pub(super) fn new() -> MemoryClock {
        MemoryClock {
            monotonic_ns: AtomicU64::new(0),
            suspended_ns: AtomicU64::new(0),
            wall_at_start_ms: AtomicU64::new(START_MS),
        }
    }

    /// The clock after a restart: wall time goes on, monotonic time begins anew.
    pub(super) fn restarted(&self) -> MemoryClock {
        MemoryClock {
            monotonic_ns: AtomicU64::new(0),
            suspended_ns: AtomicU64::new(0),
            wall_at_start_ms: AtomicU64::new(self.wall_ms()),
        }
    }

    /// Moves both times on.
    pub fn advance(&self, duration: Duration) {
        self.monotonic_ns.fetch_add(duration.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Suspends the machine and wakes it again: wall time has gone on, monotonic time has
    /// not.
    pub fn suspend(&self, duration: Duration) {
        self.suspended_ns.fetch_add(duration.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Milliseconds since the machine's start, suspended ones included.
    fn up_ms(&self) -> u64 {
        self.elapsed_ns() / 1_000_000
    }

    /// Sets wall time, forward or back; monotonic time stays.
    pub fn set_wall_ms(&self, wall_ms: u64) {
        self.wall_at_start_ms.store(wall_ms.wrapping_sub(self.up_ms()), Ordering::Relaxed);
    }
}

impl Clock for MemoryClock {
    fn wall_ms(&self) -> u64 {
        self.wall_at_start_ms.load(Ordering::Relaxed).wrapping_add(self.up_ms())
    }

    fn monotonic_ns(&self) -> u64 {
        self.monotonic_ns.load(Ordering::Relaxed)
    }

    fn elapsed_ns(&self) -> u64 {
        self.monotonic_ns() + self.suspended_ns.load(Ordering::Relaxed)
    }

    fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }
}
