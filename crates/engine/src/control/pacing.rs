//! Pacing instead of stalls.
//!
//! When flushes or compaction fall behind, writers are admitted at the rate at
//! which MemTables are being drained, or at which the tree takes in what they become,
//! more slowly the further behind it is, so that it settles instead of growing until
//! everything must stop. The delay is spread evenly over bytes: a write waits for what
//! its own bytes cost, and for [`MAX_SLEEP_NS`] at most besides. (SILK, ATC'19, argues
//! for the same: smooth beats bursts.)
//!
//! How far behind is a *pressure*: 1 where pacing begins, 1.5 where writers are
//! admitted exactly at the drain's rate. Of MemTables it is 2 where they are full, and
//! writers get the less of the rate the nearer they come: a flush that waits for the disk
//! for a second slows them down, and stops nobody. Of a tree that is behind it has no end,
//! and at 2 writers get half of the rate.

use crate::control::counters::{Count, Counters};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tanada_format::planted;
use tanada_vfs::Clock;
use tanada_vfs::sync::Mutex;
use tanada_vfs::sync::atomic::AtomicU64;

/// Delays are collected until they are worth a sleep.
const MIN_SLEEP_NS: u64 = 500_000;
/// No write sleeps longer than this at once, and none longer in all unless what it brings,
/// or those that wait behind it, costs more.
const MAX_SLEEP_NS: u64 = 5_000_000;
/// No more than this is owed: a huge batch must not hold up those behind it for ever.
const MAX_OWED_NS: u64 = 1_000_000_000;
/// However full MemTables are, a 64th of the drain's rate is left: what a flush that hangs
/// for long leaves room for.
const SLOWEST: u64 = 64;
/// A group waits for its own bytes at most so many times as long as the drain needs for them:
/// all others wait with it. The rest is owed by those behind it.
const DEAREST_OWN: u64 = 4;
/// Pressures are kept in thousandths.
const ONE: u64 = 1000;
/// A drain slower than 1 MB/s or faster than 1 GB/s is taken for one of these.
const DRAIN_PS_PER_BYTE: (u64, u64) = (1_000, 1_000_000);
/// A running mean forgets half each time that it has seen so many bytes.
const REMEMBERED: u64 = 256 << 20;

/// A running mean of something per byte. Whoever adds to it holds a lock.
#[derive(Debug, Default)]
struct Mean {
    bytes: AtomicU64,
    sum: AtomicU64,
}

impl Mean {
    fn add(&self, bytes: u64, amount: u64) {
        let mut all = self.bytes.load(Ordering::Relaxed) + bytes;
        let mut sum = self.sum.load(Ordering::Relaxed).saturating_add(amount);
        if all > REMEMBERED {
            (all, sum) = (all / 2, sum / 2);
        }
        self.bytes.store(all, Ordering::Relaxed);
        self.sum.store(sum, Ordering::Relaxed);
    }

    /// How much of it `bytes` are; `None` before there were any.
    fn of(&self, bytes: u64) -> Option<u64> {
        let all = u128::from(self.bytes.load(Ordering::Relaxed));
        let sum = u128::from(self.sum.load(Ordering::Relaxed));
        let of = (u128::from(bytes) * sum).checked_div(all)?;
        Some(u64::try_from(of).unwrap_or(u64::MAX))
    }
}

/// The present price of a byte, and what is owed. Bytes are those of MemTables, unless
/// something else is said.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Pacing {
    /// How far compaction is behind. Relaxed, as all of these: a stale price is
    /// as good.
    tree_pressure: AtomicU64,
    /// Picoseconds that flushes need for a byte.
    flush_ps_per_byte: AtomicU64,
    /// Picoseconds that the compactions of a byte take, in all levels.
    tree_ps_per_byte: AtomicU64,

    // Only the commit leader, under its lock, writes these.
    /// Picoseconds that each byte of the last group cost; 0 while there is no debt
    /// to speak of.
    ps_per_byte: AtomicU64,
    /// Nanoseconds owed and not yet slept.
    owed_ns: AtomicU64,
    /// When the last group was admitted, monotonic nanoseconds.
    last_ns: AtomicU64,

    /// Guards the means, which say what a byte takes.
    means: Mutex<Means>,
}

#[derive(Debug, Default)]
struct Means {
    /// Nanoseconds of flushes.
    flush_ns: Mean,
    /// Bytes of tables.
    table_bytes: Mean,
    /// Nanoseconds in which some compaction ran, per byte of a table that left level 0.
    tree_ns: Mean,
}

impl Default for Pacing {
    fn default() -> Pacing {
        Pacing {
            tree_pressure: AtomicU64::new(0),
            flush_ps_per_byte: AtomicU64::new(DRAIN_PS_PER_BYTE.0),
            tree_ps_per_byte: AtomicU64::new(DRAIN_PS_PER_BYTE.0),
            ps_per_byte: AtomicU64::new(0),
            owed_ns: AtomicU64::new(0),
            last_ns: AtomicU64::new(0),
            means: Mutex::default(),
        }
    }
}

/// What the commit leader waits with.
pub(crate) struct Waits<'c> {
    pub(crate) clock: &'c dyn Clock,
    pub(crate) counters: &'c Counters,
    /// Bytes that this group brings, about.
    pub(crate) group_bytes: &'c dyn Fn() -> u64,
    /// What the MemTables hold now, with what this group brings.
    pub(crate) used: &'c dyn Fn() -> u64,
    /// Whether to wait no longer.
    pub(crate) is_over: &'c dyn Fn() -> bool,
}

impl Pacing {
    /// Called by the commit leader before it writes, with what the MemTables hold
    /// and what they may hold at most: waits for what earlier groups owe.
    #[inline]
    pub(crate) fn pace(&self, used: u64, max: u64, waits: &Waits<'_>) {
        let tree = self.tree_pressure.load(Ordering::Relaxed);
        // Half full is how MemTables are while flushes keep up.
        if used <= max / 2 && tree <= ONE {
            self.ps_per_byte.store(0, Ordering::Relaxed);
            return;
        }
        self.ps_per_byte.store(self.price_at(used, max), Ordering::Relaxed);
        self.pay(max, waits);
    }

    /// What a byte costs while the MemTables hold `used` of `max` bytes, in picoseconds.
    fn price_at(&self, used: u64, max: u64) -> u64 {
        let tree = self.tree_pressure.load(Ordering::Relaxed);
        self.price(used.saturating_mul(2 * ONE) / max.max(1), tree)
    }

    /// Called by the commit leader when MemTables have taken `bytes` more.
    #[inline]
    pub(crate) fn charge(&self, bytes: u64) {
        let price = self.ps_per_byte.load(Ordering::Relaxed);
        if price != 0 {
            let owed = self.owed_ns.load(Ordering::Relaxed) + bytes.saturating_mul(price) / 1000;
            self.owed_ns.store(owed, Ordering::Relaxed);
        }
    }

    /// Sleeps for what is owed, but no longer than this group's bytes cost, and a little
    /// more: so large groups are held to the rate as small ones are, and small ones do not
    /// wait long behind a large one. All writers wait with it, so what is left costs less as
    /// soon as a flush has ended, and the highest prices are for the bytes of small groups.
    fn pay(&self, max: u64, waits: &Waits<'_>) {
        let owed = self.owed_ns.load(Ordering::Relaxed);
        if owed < MIN_SLEEP_NS {
            return;
        }
        // Time that passed anyway counts as paid.
        let began = waits.clock.monotonic_ns();
        let passed = began.saturating_sub(self.last_ns.swap(began, Ordering::Relaxed));
        let mut price = self.ps_per_byte.load(Ordering::Relaxed);
        let of = |drain: &AtomicU64| drain.load(Ordering::Relaxed);
        let drain = of(&self.flush_ps_per_byte).max(of(&self.tree_ps_per_byte));
        let own_price = price.min(drain.saturating_mul(DEAREST_OWN));
        let own_ns = (waits.group_bytes)().saturating_mul(own_price) / 1000;
        let mut left = owed.saturating_sub(passed).min(MAX_OWED_NS.saturating_add(own_ns));
        let mut may_sleep = own_ns.saturating_add(MAX_SLEEP_NS);
        let mut now = began;
        while left.min(may_sleep) >= MIN_SLEEP_NS {
            waits.clock.sleep(Duration::from_nanos(left.min(may_sleep).min(MAX_SLEEP_NS)));
            let slept = waits.clock.monotonic_ns().saturating_sub(now).max(1);
            now += slept;
            left = left.saturating_sub(slept);
            may_sleep = may_sleep.saturating_sub(slept);
            if (waits.is_over)() {
                break;
            }
            let now_price = self.price_at((waits.used)(), max);
            if now_price < price && !planted!(price_of_before_the_sleep) {
                let part = |ns: u64| u128::from(ns) * u128::from(now_price) / u128::from(price);
                let cheaper = |ns| u64::try_from(part(ns)).unwrap_or(u64::MAX);
                (left, may_sleep) = (cheaper(left), cheaper(may_sleep));
                price = now_price;
                self.ps_per_byte.store(price, Ordering::Relaxed);
            }
        }
        self.owed_ns.store(left, Ordering::Relaxed);
        if now != began {
            self.last_ns.store(now, Ordering::Relaxed);
            waits.counters.add(Count::PacedWrites, 1);
            waits.counters.add(Count::PacedNs, now - began);
            waits.counters.waited(now - began);
        }
    }

    /// Notes that a flush made `table_bytes` of `bytes` in `ns`.
    pub(crate) fn flushed(&self, bytes: u64, table_bytes: u64, ns: u64) {
        let means = self.means.lock();
        means.flush_ns.add(bytes, ns);
        means.table_bytes.add(bytes, table_bytes);
        self.settle(&means);
    }

    /// Notes that compactions ran for `ns`, and that so many bytes of tables have left
    /// level 0 meanwhile. What deeper levels take is in it, since each has its turn.
    pub(crate) fn compacted(&self, table_bytes: u64, ns: u64) {
        let means = self.means.lock();
        means.tree_ns.add(table_bytes, ns);
        self.settle(&means);
    }

    fn settle(&self, means: &Means) {
        let (fast, slow) = DRAIN_PS_PER_BYTE;
        // Of a mebibyte, so that little is lost to rounding.
        let per_byte = |ns: u64| (u128::from(ns) * 1000 / (1 << 20)) as u64;
        let flush = means.flush_ns.of(1 << 20).map_or(fast, per_byte).clamp(fast, slow);
        let tree_ns = means.table_bytes.of(1 << 20).and_then(|bytes| means.tree_ns.of(bytes));
        let tree = tree_ns.map_or(flush, per_byte).clamp(fast, slow);
        self.flush_ps_per_byte.store(flush, Ordering::Relaxed);
        self.tree_ps_per_byte.store(tree, Ordering::Relaxed);
    }

    /// Says how far compaction is behind: 1 where pacing begins.
    pub(crate) fn set_tree_pressure(&self, pressure: f64) {
        self.tree_pressure.store((pressure * ONE as f64) as u64, Ordering::Relaxed);
    }

    /// Whether compaction is so far behind that it should wait for nobody: where writers
    /// would be slowed down, or half as far where some are writing.
    pub(crate) fn is_behind(&self, somebody_writes: bool) -> bool {
        let most = if somebody_writes { ONE / 2 } else { ONE };
        self.tree_pressure.load(Ordering::Relaxed) > most
    }

    /// Picoseconds a byte at these pressures, in thousandths: 0 up to 1, the time of the
    /// drain that is behind at 1.5, and ever slower beyond.
    fn price(&self, memory: u64, tree: u64) -> u64 {
        let beyond = |pressure: u64| pressure.saturating_sub(ONE);
        // The time of the drain for what is used of the second half, by what is left of it.
        let filled = beyond(memory).min(ONE);
        let flush = (filled * ONE).checked_div(ONE - filled).unwrap_or(u64::MAX);
        // At most ten times the drain's time, however deep the debt is.
        let tree = (2 * beyond(tree)).min(10 * ONE);
        let of = |drain: &AtomicU64, share| drain.load(Ordering::Relaxed) * share / ONE;
        let flush = of(&self.flush_ps_per_byte, flush.min(SLOWEST * ONE));
        flush.max(of(&self.tree_ps_per_byte, tree))
    }
}

#[cfg(test)]
mod tests;
