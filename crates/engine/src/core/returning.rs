//! Writers that were answered a moment ago, and are about to write again.
//!
//! A group that is synced as soon as its leader is there leaves out all who were answered
//! by the sync before: they are still waking up, and then wait for a whole sync more. So the
//! leader waits for them, a part of what a sync takes at most, and not where such waits have
//! been in vain. One sync for all of them is as fast as several at once, takes fewer of the
//! operations that a volume is paid for, and keeps the tail short
//! (docs/decisions/0016-one-sync.md has the figures; the idea is that of `commit_delay` in
//! PostgreSQL, where the user has to guess the time).

use std::time::Duration;

/// What part of a sync's time a leader waits at most: one of so many.
const PART_OF_A_SYNC: u64 = 4;
/// A shorter wait cannot be kept: the kernel's timers are that late. So a device that syncs
/// in a fifth of a millisecond is never waited for; there waking up takes as long as a sync.
const SHORTEST_WAIT: Duration = Duration::from_micros(50);
/// And no longer than this, however slow the disk is.
const LONGEST_WAIT: Duration = Duration::from_millis(2);
/// Behind so many waits in vain, one in 2^n is tried.
const MOST_MISSES: u32 = 8;

/// Kept under the lock of the queue.
pub(crate) struct Returning {
    /// Writers of the last synced group that have not come back.
    expected: u32,
    /// Whether a leader waits for them.
    pub(crate) awaited: bool,
    /// What a sync takes, a running mean.
    sync_ns: u64,
    longest: Duration,
    /// Waits in vain since one that paid.
    misses: u32,
    /// Groups to go without a wait.
    skips: u32,
}

impl Default for Returning {
    fn default() -> Returning {
        Returning {
            expected: 0,
            awaited: false,
            sync_ns: 0,
            longest: LONGEST_WAIT,
            misses: 0,
            skips: 0,
        }
    }
}

impl Returning {
    /// A writer has come, whoever it is. Answers whether the leader has nobody else to wait
    /// for.
    #[inline]
    pub(crate) fn came(&mut self) -> bool {
        self.expected = self.expected.saturating_sub(1);
        self.awaited && self.expected == 0
    }

    /// A group of so many writers is about to be answered, behind a sync that took `sync_ns`.
    pub(crate) fn answered(&mut self, writers: u32, sync_ns: u64) {
        self.expected = writers;
        self.sync_ns = match self.sync_ns {
            0 => sync_ns,
            mean => mean - mean / 8 + sync_ns / 8,
        };
    }

    /// How long a leader that will sync may wait, and for how many; `None`: not at all.
    pub(crate) fn may_wait(&mut self) -> Option<(Duration, u32)> {
        let longest = Duration::from_nanos(self.sync_ns / PART_OF_A_SYNC).min(self.longest);
        if self.expected == 0 || longest < SHORTEST_WAIT {
            return None;
        }
        if self.skips > 0 {
            self.skips -= 1;
            return None;
        }
        self.awaited = true;
        Some((longest, self.expected))
    }

    /// The leader has waited for `expected` writers, and waits no longer. Those who have not
    /// come are given up.
    pub(crate) fn has_waited(&mut self, expected: u32) {
        let came = expected - self.expected;
        self.misses = match 2 * came >= expected {
            true => 0,
            false => (self.misses + 1).min(MOST_MISSES),
        };
        self.skips = (1 << self.misses) - 1;
        (self.expected, self.awaited) = (0, false);
    }

    /// For tests: as if each sync took hours, so that nothing but a writer ends a wait.
    #[cfg(test)]
    pub(crate) fn wait_for_hours(&mut self) {
        self.longest = Duration::from_secs(24 * 3600);
        self.sync_ns = u64::MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC_NS: u64 = 400_000;

    fn after_a_group_of(writers: u32) -> Returning {
        let mut returning = Returning::default();
        returning.answered(writers, SYNC_NS);
        returning
    }

    #[test]
    fn a_leader_waits_until_all_are_back_a_quarter_of_a_sync_at_most() {
        let mut returning = after_a_group_of(3);
        assert!(!returning.came(), "it leads, and nobody waits yet");
        assert_eq!(returning.may_wait(), Some((Duration::from_micros(100), 2)));
        assert!(!returning.came());
        assert!(returning.came(), "the last one");
        returning.has_waited(2);
        assert_eq!(returning.may_wait(), None, "nobody is out");
        // A disk that hangs for a second holds nobody up for a quarter of it.
        returning.answered(2, 1 << 40);
        assert_eq!(returning.may_wait(), Some((LONGEST_WAIT, 2)));
    }

    #[test]
    fn one_writer_never_waits_for_itself() {
        let mut returning = after_a_group_of(1);
        returning.came();
        assert_eq!(returning.may_wait(), None);
    }

    /// Writers with something else to do between two writes: nearly all of their groups go
    /// at once, and when they come back after all, soon no wait is left out.
    #[test]
    fn waits_in_vain_get_rare_and_one_that_pays_brings_them_back() {
        let mut returning = Returning::default();
        let mut waits = 0;
        for _ in 0..10_000 {
            returning.answered(2, SYNC_NS);
            returning.came();
            if let Some((_, expected)) = returning.may_wait() {
                returning.has_waited(expected);
                waits += 1;
            }
        }
        assert!((30..60).contains(&waits), "{waits} of 10,000");
        waits = 0;
        for _ in 0..1_000 {
            returning.answered(2, SYNC_NS);
            returning.came();
            if let Some((_, expected)) = returning.may_wait() {
                assert!(returning.came());
                returning.has_waited(expected);
                waits += 1;
            }
        }
        assert!(waits > 700, "{waits} of 1,000");
    }

    #[test]
    fn behind_a_fast_sync_or_without_a_clock_that_moves_nobody_waits() {
        for sync_ns in [0, 90_000, 199_999] {
            let mut returning = Returning::default();
            returning.answered(8, sync_ns);
            assert_eq!(returning.may_wait(), None, "{sync_ns}");
        }
    }
}
