//! The clock: wall time for expiry, monotonic time for pacing and statistics.

use std::fmt::Debug;
use std::time::Duration;

/// A clock.
pub trait Clock: Send + Sync + Debug + 'static {
    /// Milliseconds since 1970, as the machine believes; may jump either way.
    fn wall_ms(&self) -> u64;
    /// Nanoseconds since some fixed moment; never goes back.
    fn monotonic_ns(&self) -> u64;
    /// As [`Clock::monotonic_ns`], some milliseconds behind it where that is cheaper.
    fn coarse_monotonic_ns(&self) -> u64 {
        self.monotonic_ns()
    }
    /// Nanoseconds since some fixed moment, those in which the machine was suspended
    /// included where the system counts them; never goes back.
    fn elapsed_ns(&self) -> u64 {
        self.monotonic_ns()
    }
    /// Waits. A virtual clock moves on by `duration` and returns at once.
    fn sleep(&self, duration: Duration);
}
