//! What pacing costs writers, in groups of any size, on a clock that moves only when they wait.

use super::*;
use tanada_vfs::{Env, MemoryMachine};

struct Writer {
    env: Env,
    counters: Counters,
    pacing: Pacing,
    longest: u64,
}

impl Writer {
    fn new() -> Writer {
        let env = MemoryMachine::new(1).env();
        Writer { env, counters: Counters::new(), pacing: Pacing::default(), longest: 0 }
    }

    /// Writes a group while MemTables hold `used` hundredths; answers how long it waited.
    fn writes(&mut self, used: u64, bytes: u64) -> u64 {
        let waits = Waits {
            clock: &*self.env.clock,
            counters: &self.counters,
            group_bytes: &|| bytes,
            is_over: &|| false,
        };
        let before = self.env.clock.monotonic_ns();
        self.pacing.pace(used, 100, &waits);
        self.pacing.charge(bytes);
        let waited = self.env.clock.monotonic_ns() - before;
        self.longest = self.longest.max(waited);
        waited
    }

    /// Bytes a second of groups of `bytes` each.
    fn rate(&mut self, used: u64, bytes: u64) -> u64 {
        let started = self.env.clock.monotonic_ns();
        let groups = (1 << 30) / bytes;
        for _ in 0..groups {
            self.writes(used, bytes);
        }
        let ns = self.env.clock.monotonic_ns() - started;
        (u128::from(groups * bytes) * 1_000_000_000 / u128::from(ns.max(1))) as u64
    }
}

const DRAIN: u64 = 100 << 20;

fn about(expected: u64) -> std::ops::Range<u64> {
    expected * 9 / 10..expected * 11 / 10
}

#[test]
fn the_price_rises_smoothly_and_is_the_drains_time_at_one_and_a_half() {
    let pacing = Pacing::default();
    pacing.flushed(DRAIN, DRAIN, 1_000_000_000); // about 9.5 ns a byte
    assert_eq!(pacing.price(1000, 0), 0);
    let at_drain = pacing.price(1500, 0);
    assert!((9_000..10_000).contains(&at_drain), "{at_drain}");
    for prices in [
        (10..90).map(|p| pacing.price(p * 100, 0)).collect::<Vec<_>>(),
        (10..90).map(|p| pacing.price(0, p * 100)).collect(),
    ] {
        assert!(prices.is_sorted() && prices[79] > 0);
    }
}

/// Writers that meet MemTables three quarters full get through at the rate of the drain,
/// and no wait is long.
#[test]
fn writers_are_admitted_at_the_drains_rate_and_none_waits_long() {
    let mut writer = Writer::new();
    writer.pacing.flushed(DRAIN, DRAIN, 1_000_000_000);
    let rate = writer.rate(75, 10_000);
    assert!(about(DRAIN).contains(&rate), "{rate} bytes a second");
    assert!(writer.longest <= MAX_SLEEP_NS, "{}", writer.longest);
    writer.writes(40, 0);
    assert_eq!(writer.writes(40, 1 << 30), 0, "there is room again");
    assert_eq!(writer.writes(40, 10), 0);
}

/// What was owed above five milliseconds was forgotten: groups of a megabyte got through
/// at twenty times the rate.
#[test]
fn groups_of_any_size_are_held_to_the_same_rate() {
    for bytes in [100, 10_000, 600_000, 1 << 20, 20 << 20, 200 << 20] {
        let mut writer = Writer::new();
        writer.pacing.flushed(DRAIN, DRAIN, 1_000_000_000);
        let rate = writer.rate(75, bytes);
        assert!(rate < DRAIN * 13 / 10, "{rate} bytes a second in groups of {bytes}");
    }
}

#[test]
fn a_small_write_behind_a_huge_one_waits_a_moment() {
    let mut writer = Writer::new();
    writer.pacing.flushed(DRAIN, DRAIN, 1_000_000_000);
    writer.writes(75, 1 << 30);
    for _ in 0..1000 {
        assert!(writer.writes(75, 100) <= MAX_SLEEP_NS);
    }
    assert_eq!(writer.writes(75, 100), 0, "a second is owed at most");
}

/// A tree that is behind held writers to the rate of flushes, ten times its own.
#[test]
fn a_tree_that_is_behind_holds_writers_to_its_own_rate() {
    let mut writer = Writer::new();
    // Ten bytes of MemTables make eight of tables.
    writer.pacing.flushed(10 * DRAIN, 8 * DRAIN, 1_000_000_000);
    writer.pacing.set_tree_pressure(1.5);
    writer.pacing.compacted(0, 1_000_000_000); // a deep level
    writer.pacing.compacted(8 * DRAIN, 9_000_000_000);
    for bytes in [1000, 1 << 20] {
        let rate = writer.rate(0, bytes);
        assert!(about(DRAIN).contains(&rate), "{rate} bytes a second in groups of {bytes}");
    }
}

#[test]
fn whoever_closes_does_not_wait_for_a_huge_groups_turn() {
    let mut writer = Writer::new();
    writer.pacing.flushed(DRAIN, DRAIN, 1_000_000_000);
    writer.writes(75, 1 << 30);
    let waits = Waits {
        clock: &*writer.env.clock,
        counters: &writer.counters,
        group_bytes: &|| 1 << 30,
        is_over: &|| true,
    };
    let before = writer.env.clock.monotonic_ns();
    writer.pacing.pace(75, 100, &waits);
    assert!(writer.env.clock.monotonic_ns() - before <= MAX_SLEEP_NS);
}

#[test]
fn a_tree_is_behind_where_writers_would_wait_and_earlier_where_some_write() {
    let pacing = Pacing::default();
    for (pressure, while_writing, else_wise) in
        [(0.0, false, false), (0.4, false, false), (0.6, true, false), (1.1, true, true)]
    {
        pacing.set_tree_pressure(pressure);
        assert_eq!(pacing.is_behind(true), while_writing, "{pressure}");
        assert_eq!(pacing.is_behind(false), else_wise, "{pressure}");
    }
}
