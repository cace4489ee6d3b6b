//! The rate of background I/O: low while readers wait for the disk.
//!
//! A compaction that nobody waits for reads and writes as fast as the device lets it, and
//! each read of a block that no cache holds stands in line behind its large ones. So it asks
//! after each MiB or so of entries whether readers are at the disk. While some are, it goes
//! on at [`RATE_BYTES`] a second; as soon as none is, or the tree falls behind, at full speed.
//! It always goes on: a tree that is never tidied costs every read more than the disk's time.
//!
//! RocksDB's rate limiter (its wiki, "Rate Limiter") and SILK (ATC'19) hold background I/O to
//! a rate as well; there it follows from the bandwidth or from the flushes that wait, here
//! from the readers that do. Flushes are never held up, for writers wait for them.

use std::sync::atomic::Ordering;
use std::time::Duration;
use tanada_vfs::Clock;
use tanada_vfs::sync::atomic::AtomicU64;

/// Bytes of entries that a compaction merges in a second while readers wait for the disk. It
/// reads and writes as many, about half of that where they compress. At half of this rate the
/// runs that are not merged yet cost readers more than the disk's time brings them.
pub(crate) const RATE_BYTES: u64 = 32 << 20;
/// It looks again this often whether they still do.
const LOOK_NS: u64 = 1_000_000;
/// So many looks in a row that find nobody end the wait: one reader is between two reads in
/// a quarter of them.
const LOOKS: u32 = 4;

/// What a wait depends on.
pub(crate) struct Waits<'w> {
    pub(crate) clock: &'w dyn Clock,
    /// Reads of the disk that readers have begun so far, and those of them that have not
    /// ended.
    pub(crate) reads: &'w (dyn Fn() -> Reads + Sync),
    /// Whether to wait no longer: the tree is behind, or the database is being closed.
    pub(crate) is_over: &'w (dyn Fn() -> bool + Sync),
}

/// Reads of tables' files by readers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    pub(crate) begun: u64,
    pub(crate) in_flight: u64,
}

/// What all jobs have waited. Relaxed: they order nothing.
#[derive(Debug, Default)]
pub(crate) struct IoRate {
    waited_ns: AtomicU64,
    held_bytes: AtomicU64,
    /// Of the nanoseconds, those since they were last taken.
    untaken_ns: AtomicU64,
}

impl IoRate {
    /// Nanoseconds that jobs have waited since this was last called.
    pub(crate) fn take_waited_ns(&self) -> u64 {
        self.untaken_ns.swap(0, Ordering::Relaxed)
    }

    /// Nanoseconds that jobs have waited for readers.
    pub(crate) fn waited_ns(&self) -> u64 {
        self.waited_ns.load(Ordering::Relaxed)
    }

    /// Bytes of entries that they merged at the low rate.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }
}

/// The rate of one job.
pub(crate) struct JobRate<'r> {
    all: &'r IoRate,
    waits: Waits<'r>,
    // One thread calls `hold`; atomic since jobs may be in several.
    /// When the last wait ended.
    since_ns: AtomicU64,
    /// Reads begun until then.
    begun: AtomicU64,
    waited_ns: AtomicU64,
}

impl<'r> JobRate<'r> {
    /// Of a job that starts now.
    pub(crate) fn new(all: &'r IoRate, waits: Waits<'r>) -> JobRate<'r> {
        let (now, reads) = (waits.clock.monotonic_ns(), (waits.reads)());
        JobRate {
            all,
            since_ns: AtomicU64::new(now),
            begun: AtomicU64::new(reads.begun.saturating_sub(reads.in_flight)),
            waited_ns: AtomicU64::new(0),
            waits,
        }
    }

    /// Called when so many bytes more have been merged: waits until they have taken as long
    /// as the rate says, as long as readers wait for the disk.
    pub(crate) fn hold(&self, bytes: u64) {
        let reads = (self.waits.reads)();
        if reads.begun != self.begun.load(Ordering::Relaxed) {
            self.wait(bytes);
        }
        // Those in flight are seen again.
        let reads = (self.waits.reads)();
        self.begun.store(reads.begun.saturating_sub(reads.in_flight), Ordering::Relaxed);
        self.since_ns.store(self.waits.clock.monotonic_ns(), Ordering::Relaxed);
    }

    fn wait(&self, bytes: u64) {
        let clock = self.waits.clock;
        let began = clock.monotonic_ns();
        // What the bytes took anyway counts.
        let cost_ns = (u128::from(bytes) * 1_000_000_000 / u128::from(RATE_BYTES)) as u64;
        let until = self.since_ns.load(Ordering::Relaxed).saturating_add(cost_ns);
        let (mut now, mut in_vain) = (began, 0);
        while now < until && in_vain < LOOKS && !(self.waits.is_over)() {
            in_vain = if (self.waits.reads)().in_flight == 0 { in_vain + 1 } else { 0 };
            let slice = (until - now).min(LOOK_NS);
            clock.sleep(Duration::from_nanos(slice));
            // A clock that stands still must not hold it for ever.
            now = clock.monotonic_ns().max(now + 1);
        }
        if now > began {
            self.waited_ns.fetch_add(now - began, Ordering::Relaxed);
            self.all.waited_ns.fetch_add(now - began, Ordering::Relaxed);
            self.all.untaken_ns.fetch_add(now - began, Ordering::Relaxed);
            self.all.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Nanoseconds that this job has waited.
    pub(crate) fn waited_ns(&self) -> u64 {
        self.waited_ns.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
