//! Counters that cost a plain addition on the hot path.
//!
//! Each thread counts in a stripe of its own, a cache line that no other
//! thread writes. A thread takes a stripe number when it first counts and
//! gives it back when it ends; the few threads that come when all are taken
//! share the last stripe with atomic additions.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Stripes of each set of counters; the last one is shared.
const STRIPES: usize = 16;
const SHARED: usize = STRIPES - 1;

/// Stripe numbers that no living thread holds. Guards nothing else. Taking a
/// number after its last holder gave it back synchronises the two threads,
/// which is what makes the holder's unlocked read-add-write below correct.
static FREE: Mutex<[bool; SHARED]> = Mutex::new([true; SHARED]);

struct Holder(usize);

impl Holder {
    fn take() -> Holder {
        let mut free = FREE.lock();
        let stripe = free.iter().position(|&f| f).unwrap_or(SHARED);
        if stripe != SHARED {
            free[stripe] = false;
        }
        Holder(stripe)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if self.0 != SHARED {
            FREE.lock()[self.0] = true;
        }
    }
}

thread_local! {
    static HOLDER: Holder = Holder::take();
}

#[repr(align(64))]
#[derive(Debug)]
struct Stripe<const N: usize>([AtomicU64; N]);

/// `N` counters.
#[derive(Debug)]
pub(crate) struct Counters<const N: usize>(Box<[Stripe<N>; STRIPES]>);

impl<const N: usize> Counters<N> {
    /// Bytes of memory of one set.
    pub(crate) const BYTES: usize = STRIPES * size_of::<Stripe<N>>();

    pub(crate) fn new() -> Counters<N> {
        Counters(Box::new(std::array::from_fn(|_| {
            Stripe(std::array::from_fn(|_| AtomicU64::new(0)))
        })))
    }

    /// Adds one to counter `i`.
    #[inline]
    pub(crate) fn bump(&self, i: usize) {
        self.add(i, 1);
    }

    /// Adds `n` to counter `i`. Relaxed: a counter orders nothing.
    #[inline]
    pub(crate) fn add(&self, i: usize, n: u64) {
        let stripe = HOLDER.try_with(|h| h.0).unwrap_or(SHARED);
        let counter = &self.0[stripe].0[i];
        if stripe == SHARED {
            counter.fetch_add(n, Ordering::Relaxed);
        } else {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        }
    }

    /// The sum over all threads. Exact once they are quiet.
    pub(crate) fn sum(&self, i: usize) -> u64 {
        self.0.iter().map(|s| s.0[i].load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
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
