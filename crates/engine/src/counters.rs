//! Counters that every thread may bump without disturbing the others.
//!
//! A counter is a handful of cache lines, and each thread adds to its own, so
//! that counting a read moves no shared line. Reading sums them.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Lines a counter is spread over; more threads than that share.
const STRIPES: usize = 16;

static NEXT_STRIPE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
}

#[inline]
fn stripe() -> usize {
    STRIPE.with(|s| {
        let mut i = s.get();
        if i == usize::MAX {
            // Relaxed: any distribution over the stripes is right.
            i = NEXT_STRIPE.fetch_add(1, Ordering::Relaxed) % STRIPES;
            s.set(i);
        }
        i
    })
}

#[derive(Debug)]
#[repr(align(128))]
struct Stripe {
    counts: [AtomicU64; Count::ALL],
}

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
    TableProbes,
    Scans,
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
    stripes: Box<[Stripe; STRIPES]>,
    longest_wait_ns: AtomicU64,
}

impl Counters {
    pub(crate) fn new() -> Counters {
        let stripe = || Stripe { counts: [const { AtomicU64::new(0) }; Count::ALL] };
        Counters {
            stripes: Box::new(std::array::from_fn(|_| stripe())),
            longest_wait_ns: AtomicU64::new(0),
        }
    }

    /// Adds `n`. Relaxed everywhere: counts order nothing.
    #[inline]
    pub(crate) fn add(&self, count: Count, n: u64) {
        self.stripes[stripe()].counts[count as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// The sum over all threads.
    pub(crate) fn get(&self, count: Count) -> u64 {
        self.stripes.iter().map(|s| s.counts[count as usize].load(Ordering::Relaxed)).sum()
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
