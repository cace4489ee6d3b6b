//! Counters that cost a plain addition on the hot path.
//!
//! Each thread counts in a stripe of its own, a cache line that no other
//! thread writes. The stripe's number is that of the thread's place among the
//! readers ([`crate::epoch`]); the few threads with higher numbers share the last
//! stripe with atomic additions.

use crate::epoch::{Pin, thread_number};
use std::sync::atomic::Ordering;
use tanada_vfs::sync::lock_free::AtomicU64;

/// Stripes of each set of counters; the last one is shared.
/// Loom's models have few threads: they share all the same.
const STRIPES: usize = if cfg!(loom) { 2 } else { 16 };
const SHARED: usize = STRIPES - 1;

#[repr(align(64))]
#[derive(Debug)]
struct Stripe<const N: usize>([AtomicU64; N]);

/// `N` counters.
#[derive(Debug)]
pub struct Counters<const N: usize>(Box<[Stripe<N>; STRIPES]>);

impl<const N: usize> Counters<N> {
    /// All zero.
    pub fn new() -> Counters<N> {
        Counters(Box::new(std::array::from_fn(|_| {
            Stripe(std::array::from_fn(|_| AtomicU64::new(0)))
        })))
    }

    /// Adds one to counter `i`.
    #[inline]
    pub fn bump(&self, i: usize) {
        self.add(i, 1);
    }

    /// Adds `n` to counter `i`, and answers what this thread's stripe has then.
    #[inline]
    pub fn add(&self, i: usize, n: u64) -> u64 {
        self.add_in(thread_number(), i, n)
    }

    /// As [`Counters::add`] for a thread that is pinned: cheaper.
    #[inline]
    pub fn add_pinned(&self, pin: &Pin, i: usize, n: u64) -> u64 {
        self.add_in(Some(pin.thread_number()), i, n)
    }

    /// Relaxed: a counter orders nothing.
    #[inline]
    fn add_in(&self, stripe: Option<usize>, i: usize, n: u64) -> u64 {
        match stripe {
            // Only this thread writes there: who takes a number on sees what was written
            // under it before.
            Some(own) if own < SHARED => {
                let counter = &self.0[own].0[i];
                let sum = counter.load(Ordering::Relaxed).wrapping_add(n);
                counter.store(sum, Ordering::Relaxed);
                sum
            }
            _ => self.0[SHARED].0[i].fetch_add(n, Ordering::Relaxed).wrapping_add(n),
        }
    }

    /// The sum over all threads. Exact once they are quiet.
    pub fn sum(&self, i: usize) -> u64 {
        self.0.iter().map(|s| s.0[i].load(Ordering::Relaxed)).sum()
    }
}

impl<const N: usize> Default for Counters<N> {
    fn default() -> Counters<N> {
        Counters::new()
    }
}

#[cfg(test)]
#[cfg(loom)]
mod models;

#[cfg(test)]
#[cfg(not(loom))]
#[allow(clippy::disallowed_methods)] // real threads are what is tested
mod tests {
    use super::*;

    #[test]
    fn more_threads_than_stripes_lose_no_count_and_threads_hand_their_stripes_on() {
        let counters = Counters::<2>::new();
        for _ in 0..3 {
            std::thread::scope(|s| {
                for _ in 0..2 * STRIPES {
                    s.spawn(|| (0..1000).for_each(|_| counters.bump(1)));
                }
            });
        }
        assert_eq!(counters.sum(1), 3 * 2 * STRIPES as u64 * 1000);
        assert_eq!(counters.sum(0), 0);
    }
}
