//! Running an operation many times against the clock.
//!
//! Every write is timed, each from the end of the one before it, so that no
//! stall falls between two measurements. Reads and scans come so fast that the
//! clock would be a good part of the workload: one of eight is timed, for all
//! engines alike.

use crate::engine::Outcome;
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// Which operations are timed one by one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    Every,
    OneOfEight,
}

/// When a workload is over.
#[derive(Clone, Copy)]
pub enum Goal {
    /// After so many operations; cut when the time is up before.
    Operations(u64, Duration),
    /// After so long.
    Time(Duration),
}

/// What came of it.
pub struct Timed {
    pub operations: u64,
    pub seconds: f64,
    /// Nanoseconds an operation.
    pub latency: Histogram<u64>,
    /// Whether time was up before the operations were done.
    pub cut: bool,
    /// Operations that ended in each whole second; only with [`Timing::Every`].
    pub per_second: Vec<u64>,
}

impl Timed {
    /// Nothing yet.
    pub fn new() -> Timed {
        let latency = Histogram::new_with_bounds(1, 600_000_000_000, 3)
            .expect("bounds and digits are in range");
        Timed { operations: 0, seconds: 0.0, latency, cut: false, per_second: Vec::new() }
    }

    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.seconds.max(1e-9)
    }

    /// Joins what threads measured side by side.
    pub fn beside(mut self, other: Timed) -> Timed {
        self.operations += other.operations;
        self.seconds = self.seconds.max(other.seconds);
        self.latency.add(&other.latency).expect("same bounds");
        self.cut |= other.cut;
        self
    }
}

/// Runs `operation` with 0, 1, 2, … until `goal`.
pub fn run(
    goal: Goal,
    timing: Timing,
    operation: impl FnMut(u64) -> Outcome<()>,
) -> Outcome<Timed> {
    match timing {
        Timing::Every => every(goal, operation),
        Timing::OneOfEight => one_of_eight(goal, operation),
    }
}

fn limits(goal: Goal) -> (u64, Duration) {
    match goal {
        Goal::Operations(count, limit) => (count, limit),
        Goal::Time(limit) => (u64::MAX, limit),
    }
}

fn every(goal: Goal, mut operation: impl FnMut(u64) -> Outcome<()>) -> Outcome<Timed> {
    let (count, limit) = limits(goal);
    let mut timed = Timed::new();
    let started = Instant::now();
    let (mut last, mut second_ends, mut counted) = (started, started + SECOND, 0);
    let mut i = 0;
    while i < count {
        operation(i)?;
        i += 1;
        let now = Instant::now();
        timed.latency.saturating_record((now - last).as_nanos() as u64);
        last = now;
        while now >= second_ends {
            timed.per_second.push(i - counted);
            counted = i;
            second_ends += SECOND;
        }
        if now - started >= limit {
            break;
        }
    }
    timed.operations = i;
    timed.seconds = (last - started).as_secs_f64();
    timed.cut = i < count && count != u64::MAX;
    Ok(timed)
}

const SECOND: Duration = Duration::from_secs(1);

fn one_of_eight(goal: Goal, mut operation: impl FnMut(u64) -> Outcome<()>) -> Outcome<Timed> {
    let (count, limit) = limits(goal);
    let mut timed = Timed::new();
    let started = Instant::now();
    let mut i = 0;
    while i < count {
        let before = Instant::now();
        operation(i)?;
        let after = Instant::now();
        timed.latency.saturating_record((after - before).as_nanos() as u64);
        i += 1;
        if after - started >= limit {
            break;
        }
        let end = (i + 7).min(count);
        while i < end {
            operation(i)?;
            i += 1;
        }
    }
    timed.operations = i;
    timed.seconds = started.elapsed().as_secs_f64();
    timed.cut = i < count && count != u64::MAX;
    Ok(timed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn every_operation_runs_once_and_in_order_however_it_is_timed() {
        for timing in [Timing::Every, Timing::OneOfEight] {
            for count in [0, 1, 7, 8, 9, 100] {
                let mut seen = Vec::new();
                let timed = run(Goal::Operations(count, LONG), timing, |i| {
                    seen.push(i);
                    Ok(())
                })
                .expect("nothing fails");
                assert!(seen.iter().copied().eq(0..count));
                assert_eq!((timed.operations, timed.cut), (count, false));
                let want = if timing == Timing::Every { count } else { count.div_ceil(8) };
                assert_eq!(timed.latency.len(), want);
            }
        }
    }

    #[test]
    fn a_slow_workload_is_cut_and_says_so() {
        for timing in [Timing::Every, Timing::OneOfEight] {
            let goal = Goal::Operations(u64::MAX - 1, Duration::from_millis(2));
            let timed = run(goal, timing, |_| Ok(())).expect("nothing fails");
            assert!(timed.cut && timed.operations > 0);
        }
    }

    #[test]
    fn two_threads_percentiles_are_those_of_all_their_operations() {
        let (mut one, mut two) = (Timed::new(), Timed::new());
        (one.operations, one.seconds) = (900, 1.0);
        (two.operations, two.seconds) = (100, 1.0);
        one.latency.record_n(1_000, 900).expect("in bounds");
        two.latency.record_n(50_000, 100).expect("in bounds");
        let both = one.beside(two);
        assert_eq!(both.rate(), 1000.0);
        assert_eq!(both.latency.value_at_quantile(0.5), 1_000);
        assert!(both.latency.value_at_quantile(0.95) >= 50_000);
    }
}
