//! What an open database counts, without contention: each thread in a cache line of
//! its own ([`tanada_table::Counters`]).

use std::sync::atomic::Ordering;
use tanada_table::Pin;
use tanada_vfs::sync::unchecked::AtomicU64;

/// What is counted. The order is of no meaning.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub(crate) enum Count {
    Puts,
    Deletes,
    Batches,
    Gets,
    GetsFound,
    MemTableHits,
    /// Gets that had to read from disk.
    DiskGets,
    TableProbes,
    Scans,
    /// Entries that scans have stepped over one by one.
    DeadEntries,
    /// Spans of dead keys that scans have stepped over at once.
    DeadSpanSteps,
    /// Flushes and rewrites that scans have paid for by such steps.
    PaidFlushes,
    PaidTables,
    UserBytesWritten,
    Groups,
    Syncs,
    SyncNs,
    PacedWrites,
    PacedNs,
    StoppedWrites,
    StoppedNs,
}

impl Count {
    const ALL: usize = Count::StoppedNs as usize + 1;
}

/// All counters of one database.
#[derive(Debug)]
pub(crate) struct Counters {
    counts: tanada_table::Counters<{ Count::ALL }>,
    longest_wait_ns: AtomicU64,
}

impl Counters {
    pub(crate) fn new() -> Counters {
        Counters { counts: tanada_table::Counters::new(), longest_wait_ns: AtomicU64::new(0) }
    }

    /// Adds `n`.
    #[inline]
    pub(crate) fn add(&self, count: Count, n: u64) {
        self.counts.add(count as usize, n);
    }

    /// As [`Counters::add`] for a thread that is pinned: cheaper. Answers the sum of
    /// this thread, or of several.
    #[inline]
    pub(crate) fn add_pinned(&self, pin: &Pin, count: Count, n: u64) -> u64 {
        self.counts.add_pinned(pin, count as usize, n)
    }

    /// The sum over all threads.
    pub(crate) fn get(&self, count: Count) -> u64 {
        self.counts.sum(count as usize)
    }

    /// Remembers a writer's wait if none was longer.
    pub(crate) fn waited(&self, ns: u64) {
        self.longest_wait_ns.fetch_max(ns, Ordering::Relaxed);
    }

    /// The longest wait of a writer, in nanoseconds.
    pub(crate) fn longest_wait_ns(&self) -> u64 {
        self.longest_wait_ns.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_threads_add_up() {
        let counters = Counters::new();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| (0..100).for_each(|_| counters.add(Count::Gets, 2)));
            }
        });
        assert_eq!(counters.get(Count::Gets), 20 * 100 * 2);
        assert_eq!(counters.get(Count::Puts), 0);
    }
}
