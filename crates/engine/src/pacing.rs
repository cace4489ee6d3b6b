//! Pacing instead of stalls.
//!
//! When compaction falls behind, writers are admitted at the rate at which
//! debt is being drained, a little less the deeper the debt, so that it settles
//! instead of growing until everything must stop. The delay is spread evenly
//! over bytes and is at most [`MAX_SLEEP_NS`] at once: no single write waits
//! long. (SILK, ATC'19, argues for the same: smooth beats bursts.)

use crate::counters::{Count, Counters};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tanada_vfs::Clock;

/// Delays are collected until they are worth a sleep.
const MIN_SLEEP_NS: u64 = 500_000;
/// No write sleeps longer than this at once.
const MAX_SLEEP_NS: u64 = 5_000_000;

/// The present price of a byte, and what is owed.
#[derive(Debug, Default)]
pub(crate) struct Pacing {
    /// Picoseconds that each byte written must take; 0 while there is no debt
    /// to speak of. Relaxed: a stale price is as good.
    ps_per_byte: AtomicU64,
    /// Nanoseconds owed and not yet slept. Only the commit leader writes it.
    owed_ns: AtomicU64,
    /// When the last group was admitted, monotonic nanoseconds.
    last_ns: AtomicU64,
    /// Bytes that flushes have taken from writers and when the first did, for
    /// the rate at which the tree takes data in.
    drained: AtomicU64,
    drained_ns: AtomicU64,
}

impl Pacing {
    /// Called by the commit leader before it writes `bytes`.
    #[inline]
    pub(crate) fn pace(&self, bytes: u64, clock: &dyn Clock, counters: &Counters) {
        let price = self.ps_per_byte.load(Ordering::Relaxed);
        if price != 0 {
            self.pay(bytes, price, clock, counters);
        }
    }

    #[cold]
    fn pay(&self, bytes: u64, price: u64, clock: &dyn Clock, counters: &Counters) {
        let now = clock.monotonic_ns();
        let last = self.last_ns.swap(now, Ordering::Relaxed);
        // Time that passed anyway counts as paid.
        let passed = now.saturating_sub(last).min(MAX_SLEEP_NS);
        let owed = self.owed_ns.load(Ordering::Relaxed).saturating_sub(passed)
            + (bytes.saturating_mul(price) / 1000);
        if owed < MIN_SLEEP_NS {
            self.owed_ns.store(owed, Ordering::Relaxed);
            return;
        }
        let sleep = owed.min(MAX_SLEEP_NS);
        clock.sleep(Duration::from_nanos(sleep));
        let slept = clock.monotonic_ns().saturating_sub(now);
        self.last_ns.store(now + slept, Ordering::Relaxed);
        // What one sleep cannot pay is forgiven: the price rises if debt does.
        self.owed_ns
            .store(owed.saturating_sub(slept.max(sleep)).min(MAX_SLEEP_NS), Ordering::Relaxed);
        counters.add(Count::PacedWrites, 1);
        counters.add(Count::PacedNs, slept);
        counters.waited(slept);
    }

    /// Notes that `bytes` of writers' data have been taken into the tree in `ns`.
    pub(crate) fn drained(&self, bytes: u64, ns: u64) {
        // A running mean that forgets half at each doubling of 256 MiB.
        if self.drained.load(Ordering::Relaxed) > 256 << 20 {
            self.drained.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n / 2)).ok();
            self.drained_ns
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n / 2))
                .ok();
        }
        self.drained.fetch_add(bytes, Ordering::Relaxed);
        self.drained_ns.fetch_add(ns.max(1), Ordering::Relaxed);
    }

    /// Sets the price. `pressure` is how far the tree is behind: 1 where pacing begins.
    pub(crate) fn set_pressure(&self, pressure: f64) {
        self.ps_per_byte.store(self.price(pressure), Ordering::Relaxed);
    }

    /// Picoseconds a byte at `pressure`: 0 below 1, the drain rate at 1.5, and
    /// ever slower beyond.
    fn price(&self, pressure: f64) -> u64 {
        if pressure <= 1.0 {
            return 0;
        }
        let bytes = self.drained.load(Ordering::Relaxed).max(1) as f64;
        let ns = self.drained_ns.load(Ordering::Relaxed) as f64;
        let drain_ps_per_byte = (ns * 1000.0 / bytes).clamp(1_000.0, 1_000_000.0);
        (drain_ps_per_byte * (pressure - 1.0) * 2.0).min(10_000_000.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_price_rises_smoothly_and_passes_the_drain_rate_at_one_and_a_half() {
        let pacing = Pacing::default();
        pacing.drained(100 << 20, 1_000_000_000); // about 9.5 ns a byte
        assert_eq!(pacing.price(1.0), 0);
        let at_drain = pacing.price(1.5);
        assert!((9_000..10_000).contains(&at_drain), "{at_drain}");
        let prices: Vec<_> = (10..40).map(|p| pacing.price(f64::from(p) / 10.0)).collect();
        assert!(prices.is_sorted());
    }
}
