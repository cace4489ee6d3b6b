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
            used: &|| used,
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

/// At the rate of half a drain what was left was full in a moment while a flush waited for
/// the disk, and writers stopped for as long as that took.
#[test]
fn the_fuller_memtables_are_the_less_of_the_rate_is_left_and_some_always_is() {
    for (used, part) in [(75, 1), (90, 4), (98, 24), (100, SLOWEST), (120, SLOWEST)] {
        let mut writer = Writer::new();
        writer.pacing.flushed(DRAIN, DRAIN, 1_000_000_000);
        let rate = writer.rate(used, 1000);
        assert!(about(DRAIN / part).contains(&rate), "{rate} bytes a second at {used} %");
        assert!(writer.longest <= MAX_SLEEP_NS, "{} at {used} %", writer.longest);
    }
}

/// A long group slept for what its bytes cost when it came, with all others behind it, though
/// a flush had ended meanwhile.
#[test]
fn a_long_group_pays_less_as_soon_as_a_flush_has_ended() {
    let wait = |used_later: u64| {
        let mut writer = Writer::new();
        writer.pacing.flushed(DRAIN, DRAIN, 1_000_000_000);
        writer.writes(98, 20 << 20);
        let looks = std::cell::Cell::new(0);
        let waits = Waits {
            clock: &*writer.env.clock,
            counters: &writer.counters,
            group_bytes: &|| 20 << 20,
            used: &|| {
                looks.set(looks.get() + 1);
                if looks.get() > 2 { used_later } else { 98 }
            },
            is_over: &|| false,
        };
        let before = writer.env.clock.monotonic_ns();
        writer.pacing.pace(98, 100, &waits);
        writer.env.clock.monotonic_ns() - before
    };
    // A fifth of a second of the drain's time.
    let (full, flushed, empty) = (wait(98), wait(60), wait(40));
    assert!((500_000_000..1_000_000_000).contains(&full), "{full}: {DEAREST_OWN} times at most");
    assert!(flushed < 60_000_000, "{flushed}");
    assert!(empty <= 3 * MAX_SLEEP_NS, "{empty}");
}

/// A flush that stands still for `hangs_ms` out of every three seconds, and writers that
/// take whatever they are given: for how long they are stopped in twenty seconds, and what
/// they write.
fn beside_a_flush_that_hangs(hangs_ms: u64) -> (u64, u64) {
    const MOST: u64 = 384 << 20;
    const SEAL: u64 = 64 << 20;
    const FLUSHED_A_MS: u64 = 260 << 10;
    let writer = Writer::new();
    let env = writer.env.clone();
    let now = || env.clock.monotonic_ns() / 1_000_000;
    let began = now();
    let (mut used, mut active, mut sealed, mut flushing) = (0u64, 0u64, 0u64, 0u64);
    let (mut done, mut flush_began) = (0, 0);
    let (mut stopped_ms, mut written) = (0, 0);
    let mut looked = now();
    while now() - began < 20_000 {
        // A group of 100 KB takes a quarter of a millisecond beside what it is made to wait.
        const GROUP: u64 = 100 << 10;
        if used + GROUP > MOST {
            env.clock.sleep(Duration::from_millis(1));
            stopped_ms += 1;
            (active, sealed) = if sealed + flushing == 0 { (0, active) } else { (active, sealed) };
        } else {
            let waits = Waits {
                clock: &*env.clock,
                counters: &writer.counters,
                group_bytes: &|| GROUP,
                used: &|| used,
                is_over: &|| false,
            };
            writer.pacing.pace(used, MOST, &waits);
            writer.pacing.charge(GROUP);
            env.clock.sleep(Duration::from_micros(250));
            (used, active, written) = (used + GROUP, active + GROUP, written + GROUP);
            if active >= SEAL {
                (sealed, active) = (sealed + active, 0);
            }
        }
        let ms = now() - looked;
        looked += ms;
        if flushing == 0 && sealed > 0 {
            (flushing, sealed, done, flush_began) = (sealed, 0, 0, looked);
        }
        if (looked - began) % 3_000 >= hangs_ms {
            done += ms * FLUSHED_A_MS;
        }
        if flushing > 0 && done >= flushing {
            writer.pacing.flushed(flushing, flushing, (looked - flush_began).max(1) * 1_000_000);
            used -= flushing;
            flushing = 0;
        }
    }
    (stopped_ms, written)
}

#[test]
fn a_flush_that_waits_for_the_disk_for_a_second_stops_no_writer_and_costs_no_throughput() {
    for hangs_ms in [0, 300, 600, 1_000] {
        let (stopped_ms, written) = beside_a_flush_that_hangs(hangs_ms);
        assert_eq!(stopped_ms, 0, "{hangs_ms} ms");
        let could = (3_000 - hangs_ms) * 20 / 3 * (260 << 10);
        assert!(written > could * 9 / 10, "{written} of {could} bytes at {hangs_ms} ms");
    }
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
        used: &|| 75,
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
