//! Pacing instead of stalls.
//!
//! When flushes or compaction fall behind, writers are admitted at the rate at
//! which MemTables are being drained, more slowly the further behind it is, so
//! that it settles instead of growing until everything must stop. The delay is
//! spread evenly over bytes and is at most [`MAX_SLEEP_NS`] at once: no single
//! write waits long. (SILK, ATC'19, argues for the same: smooth beats bursts.)
//!
//! How far behind is a *pressure*: 1 where pacing begins, 1.5 where writers are
//! admitted exactly at the drain's rate, 2 where they get half of it.

use crate::control::counters::{Count, Counters};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tanada_vfs::Clock;
use tanada_vfs::sync::atomic::AtomicU64;

/// Delays are collected until they are worth a sleep.
const MIN_SLEEP_NS: u64 = 500_000;
/// No write sleeps longer than this at once.
const MAX_SLEEP_NS: u64 = 5_000_000;
/// Pressures are kept in thousandths.
const ONE: u64 = 1000;
/// A drain slower than 1 MB/s or faster than 1 GB/s is taken for one of these.
const DRAIN_PS_PER_BYTE: (u64, u64) = (1_000, 1_000_000);

/// The present price of a byte, and what is owed.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Pacing {
    /// How far compaction is behind. Relaxed, as all of these: a stale price is
    /// as good.
    tree_pressure: AtomicU64,
    /// Picoseconds that flushes need for a byte of the log.
    drain_ps_per_byte: AtomicU64,

    // Only the commit leader, under its lock, writes these.
    /// Picoseconds that each byte of the last group cost; 0 while there is no debt
    /// to speak of.
    ps_per_byte: AtomicU64,
    /// Nanoseconds owed and not yet slept.
    owed_ns: AtomicU64,
    /// When the last group was admitted, monotonic nanoseconds.
    last_ns: AtomicU64,

    // Only who ends a flush writes these.
    /// Bytes of the log that flushes made unnecessary, and how long they took.
    drained: AtomicU64,
    drained_ns: AtomicU64,
}

impl Default for Pacing {
    fn default() -> Pacing {
        Pacing {
            tree_pressure: AtomicU64::new(0),
            drain_ps_per_byte: AtomicU64::new(DRAIN_PS_PER_BYTE.0),
            ps_per_byte: AtomicU64::new(0),
            owed_ns: AtomicU64::new(0),
            last_ns: AtomicU64::new(0),
            drained: AtomicU64::new(0),
            drained_ns: AtomicU64::new(0),
        }
    }
}

impl Pacing {
    /// Called by the commit leader before it writes, with what the MemTables hold
    /// and what they may hold at most: waits for what earlier groups owe.
    #[inline]
    pub(crate) fn pace(&self, used: u64, max: u64, clock: &dyn Clock, counters: &Counters) {
        let tree = self.tree_pressure.load(Ordering::Relaxed);
        // Half full is how MemTables are while flushes keep up.
        if used <= max / 2 && tree <= ONE {
            self.ps_per_byte.store(0, Ordering::Relaxed);
            return;
        }
        let memory = used.saturating_mul(2 * ONE) / max.max(1);
        self.ps_per_byte.store(self.price(memory.max(tree)), Ordering::Relaxed);
        self.pay(clock, counters);
    }

    /// Called by the commit leader when it has written `bytes` to the log.
    #[inline]
    pub(crate) fn charge(&self, bytes: u64) {
        let price = self.ps_per_byte.load(Ordering::Relaxed);
        if price != 0 {
            let owed = self.owed_ns.load(Ordering::Relaxed) + bytes.saturating_mul(price) / 1000;
            self.owed_ns.store(owed, Ordering::Relaxed);
        }
    }

    fn pay(&self, clock: &dyn Clock, counters: &Counters) {
        let owed = self.owed_ns.load(Ordering::Relaxed);
        if owed < MIN_SLEEP_NS {
            return;
        }
        // Time that passed anyway counts as paid.
        let now = clock.monotonic_ns();
        let passed = now.saturating_sub(self.last_ns.swap(now, Ordering::Relaxed));
        let left = owed.saturating_sub(passed);
        if left < MIN_SLEEP_NS {
            self.owed_ns.store(left, Ordering::Relaxed);
            return;
        }
        clock.sleep(Duration::from_nanos(left.min(MAX_SLEEP_NS)));
        let slept = clock.monotonic_ns().saturating_sub(now);
        self.last_ns.store(now + slept, Ordering::Relaxed);
        // What one sleep cannot pay waits for the next, up to a bound: a huge group
        // must not hold up those behind it for long, and the price rises if debt does.
        let left = left.saturating_sub(slept).min(MAX_SLEEP_NS);
        self.owed_ns.store(left, Ordering::Relaxed);
        counters.add(Count::PacedWrites, 1);
        counters.add(Count::PacedNs, slept);
        counters.waited(slept);
    }

    /// Notes that a flush made `bytes` of the log unnecessary in `ns`.
    pub(crate) fn drained(&self, bytes: u64, ns: u64) {
        let mut all = self.drained.load(Ordering::Relaxed) + bytes;
        let mut all_ns = self.drained_ns.load(Ordering::Relaxed) + ns.max(1);
        let ps_per_byte = u128::from(all_ns) * 1000 / u128::from(all.max(1));
        let (fast, slow) = DRAIN_PS_PER_BYTE;
        let ps_per_byte = (ps_per_byte as u64).clamp(fast, slow);
        // A running mean that forgets half at each 256 MiB.
        if all > 256 << 20 {
            (all, all_ns) = (all / 2, all_ns / 2);
        }
        self.drained.store(all, Ordering::Relaxed);
        self.drained_ns.store(all_ns, Ordering::Relaxed);
        self.drain_ps_per_byte.store(ps_per_byte, Ordering::Relaxed);
    }

    /// Says how far compaction is behind: 1 where pacing begins.
    pub(crate) fn set_tree_pressure(&self, pressure: f64) {
        self.tree_pressure.store((pressure * ONE as f64) as u64, Ordering::Relaxed);
    }

    /// Picoseconds a byte at a pressure in thousandths: 0 up to 1, the drain's rate
    /// at 1.5, and ever slower beyond.
    fn price(&self, pressure: u64) -> u64 {
        let drain = self.drain_ps_per_byte.load(Ordering::Relaxed);
        // At most ten times the drain's time, however deep the debt is.
        let share = (2 * pressure.saturating_sub(ONE)).min(10 * ONE);
        drain * share / ONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tanada_vfs::MemoryMachine;

    #[test]
    fn the_price_rises_smoothly_and_is_the_drains_time_at_one_and_a_half() {
        let pacing = Pacing::default();
        pacing.drained(100 << 20, 1_000_000_000); // about 9.5 ns a byte
        assert_eq!(pacing.price(1000), 0);
        let at_drain = pacing.price(1500);
        assert!((9_000..10_000).contains(&at_drain), "{at_drain}");
        let prices: Vec<_> = (10..90).map(|p| pacing.price(p * 100)).collect();
        assert!(prices.is_sorted());
    }

    /// Writers that meet MemTables three quarters full get through at the rate of
    /// the drain, and no wait is long.
    #[test]
    fn writers_are_admitted_at_the_drains_rate_and_none_waits_long() {
        let machine = MemoryMachine::new(1);
        let env = machine.env();
        let (clock, counters) = (&*env.clock, Counters::new());
        let pacing = Pacing::default();
        pacing.drained(100 << 20, 1_000_000_000);
        let started = clock.monotonic_ns();
        let mut longest = 0;
        for _ in 0..10_000 {
            let before = clock.monotonic_ns();
            pacing.pace(75, 100, clock, &counters);
            longest = longest.max(clock.monotonic_ns() - before);
            pacing.charge(10_000);
        }
        let rate = 1e8 / (clock.monotonic_ns() - started) as f64;
        assert!((0.08..0.12).contains(&rate), "{rate} bytes a nanosecond, 0.1 drained");
        assert!(longest <= MAX_SLEEP_NS, "{longest}");
        pacing.pace(40, 100, clock, &counters);
        let before = clock.monotonic_ns();
        pacing.charge(1 << 30);
        pacing.pace(40, 100, clock, &counters);
        assert_eq!(clock.monotonic_ns(), before, "there is room again");
    }
}
