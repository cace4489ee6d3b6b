//! What all schedules of a test did, so that it can be seen that they meet what they are
//! there to meet.

use std::fmt;
use std::sync::Mutex;

/// Sums over schedules.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) schedules: u64,
    pub(super) writes: u64,
    pub(super) reads: u64,
    pub(super) flushes: u64,
    pub(super) compactions: u64,
    pub(super) logs: u64,
    pub(super) keyspaces: u64,
    pub(super) crashes: u64,
    pub(super) checkpoints: u64,
    /// Schedules that had a flush, a compaction and a new log.
    pub(super) all_three: u64,
}

/// The sums so far.
pub(super) struct Sums(Mutex<Tally>);

impl Sums {
    pub(super) const fn new() -> Sums {
        Sums(Mutex::new(Tally {
            schedules: 0,
            writes: 0,
            reads: 0,
            flushes: 0,
            compactions: 0,
            logs: 0,
            keyspaces: 0,
            crashes: 0,
            checkpoints: 0,
            all_three: 0,
        }))
    }

    pub(super) fn add(&self, one: Tally) {
        let mut sums = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sums.schedules += 1;
        sums.writes += one.writes;
        sums.reads += one.reads;
        sums.flushes += one.flushes;
        sums.compactions += one.compactions;
        sums.logs += one.logs;
        sums.keyspaces += one.keyspaces;
        sums.crashes += one.crashes;
        sums.checkpoints += one.checkpoints;
        sums.all_three += u64::from(one.flushes > 0 && one.compactions > 0 && one.logs > 0);
    }

    pub(super) fn get(&self) -> Tally {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} schedules: {} batches, {} reads, {} flushes, {} compactions, {} new logs, \
             {} keyspaces, {} crashes, {} checkpoints; {} had a flush, a compaction and a new log",
            self.schedules,
            self.writes,
            self.reads,
            self.flushes,
            self.compactions,
            self.logs,
            self.keyspaces,
            self.crashes,
            self.checkpoints,
            self.all_three
        )
    }
}
