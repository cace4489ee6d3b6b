//! Which of its readings the wall clock is believed: decided purely, from the reading and
//! from the time that has passed.
//!
//! A wall clock may say anything: a battery was empty, a time server was wrong, a virtual
//! machine was restored. What expires by it is lost, so no single reading decides. Two
//! lines that move on with elapsed time judge each reading:
//!
//! - `expected`: where the clock should be, had it only gone on since it was believed last.
//!   A reading up to [`SLACK_MS`] ahead of it is believed as it is, and no more: one further
//!   ahead is not. What is behind it is not either, so that nothing that has expired comes back.
//! - `floor`: the latest time for which there is evidence. An opening believes what the
//!   clock says, however long nobody had the database open: only a reading before `floor`
//!   is refused. Should the clock fall back to `floor` later, it was wrong at the opening,
//!   and is believed again.
//!
//! `removable` follows: what has expired by then may be removed from the disk. It moves by
//! elapsed time, so that what a jump lets expire is there when it is taken back. From an hour
//! behind an opening it catches up with `expected`, so many times as fast as the clock, and
//! then `floor` does too. docs/decisions/0013-clocks.md weighs the cases.

use crate::types::stats::ClockState;
use tanada_format::planted;

/// A clock may be set forward by so much at once and be believed.
pub(crate) const SLACK_MS: u64 = 5 * 60_000;

/// How much faster than the clock evidence catches up, once an opening is so long ago: with
/// a night of twelve hours in 45 minutes, with thirty years in two.
const CATCH_UP: u64 = 16;
const BEFORE_CATCH_UP_MS: u64 = 3_600_000;

/// Time that passes between two lives of a database is evidence when it is no more.
const PLAUSIBLE_GAP_MS: u64 = 32 * 24 * 3_600_000;

/// A database is young until it has seen its clock go on for so long: whether the clock was
/// right when it was created, nothing says yet.
const YOUNG_MS: u64 = 3_600_000;

/// 2024-01-01: no clock is right that says less, for this program is younger.
const FIRST_MS: u64 = 1_704_067_200_000;

/// A clock that runs a little faster or slower than elapsed time is followed: by 8 and by 1
/// in so many milliseconds. The slower one only behind [`YOUNG_MS`] in which it was behind.
const DRIFT_MS: u64 = 1024;

/// Threads that read a clock pass each other, a leap second is told twice: time stands
/// still for so long, and nothing is thought of it.
pub(crate) const JITTER_MS: u64 = 1000;

/// What the manifest keeps of it; all zero for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DurableTime {
    /// The latest time for which there was evidence, milliseconds since 1970.
    pub(crate) floor_ms: u64,
    /// The time that was believed last, milliseconds since 1970.
    pub(crate) seen_ms: u64,
    /// For how long the clock has been seen to go on; no more than an hour is told apart.
    pub(crate) evidence_ms: u64,
}

/// Two clocks, read at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readings {
    /// Elapsed since some fixed moment of this process.
    pub(crate) elapsed_ms: u64,
    /// What the wall clock says, since 1970.
    pub(crate) wall_ms: u64,
}

/// What is believed at the moment it was last asked.
///
/// Invariants: 1. `floor_ms <= removable_ms <= expected_ms`. 2. `ahead_ms <= SLACK_MS`.
#[derive(Clone, Debug)]
pub(crate) struct Belief {
    /// When that was.
    elapsed_ms: u64,
    expected_ms: u64,
    /// How far what is believed lies ahead of `expected_ms`.
    ahead_ms: u64,
    floor_ms: u64,
    removable_ms: u64,
    evidence_ms: u64,
    /// Time that has passed since the opening, or since the clock was set right behind it.
    open_for_ms: u64,
    /// Whether any reading has been believed since the opening.
    agreed: bool,
    pub(crate) state: ClockState,
    /// How often the clock was not believed from some reading on.
    pub(crate) holds: u64,
    /// Elapsed time when that last began.
    pub(crate) held_since_ms: u64,
    /// How far the clock was behind `expected_ms`.
    behind_ms: u64,
    /// How long it has been so, at a stretch, since that was more than jitter.
    behind_for_ms: u64,
    /// Elapsed time that has not made the lines drift yet.
    undrifted_ms: u64,
}

impl Belief {
    /// At the opening: a reading is believed unless there is evidence against it.
    pub(crate) fn open(durable: DurableTime, now: Readings) -> Belief {
        let DurableTime { floor_ms: floor, seen_ms: seen, evidence_ms: mut evidence } = durable;
        let wall = now.wall_ms;
        let is_new = floor == 0;
        let believed = is_new
            || wall >= floor
            || planted!(clock_believed_whole)
            || (evidence < YOUNG_MS && is_far_back(wall, floor));
        let expected = if believed { wall } else { floor };
        let gap = wall.saturating_sub(seen);
        let is_evidence = wall >= seen && gap <= PLAUSIBLE_GAP_MS;
        let removable = match is_evidence {
            _ if is_new => expected,
            true => seen.min(floor.saturating_add(gap.saturating_mul(CATCH_UP))).max(floor),
            false => floor,
        };
        if is_evidence && !is_new {
            evidence = evidence.saturating_add(gap).min(YOUNG_MS);
        }
        let floor = if is_new { expected } else { floor };
        // All that was believed before has been confirmed.
        let floor = if is_evidence && removable >= seen { removable } else { floor };
        let mut belief = Belief {
            elapsed_ms: now.elapsed_ms,
            expected_ms: expected,
            ahead_ms: 0,
            floor_ms: floor.min(expected),
            removable_ms: removable.min(expected),
            evidence_ms: evidence,
            open_for_ms: 0,
            agreed: believed,
            state: ClockState::Believed,
            holds: 0,
            held_since_ms: 0,
            behind_ms: 0,
            behind_for_ms: 0,
            undrifted_ms: 0,
        };
        belief.read(now);
        belief
    }

    /// What is believed now.
    pub(crate) fn read(&mut self, now: Readings) -> u64 {
        self.pass(now.elapsed_ms.saturating_sub(self.elapsed_ms));
        self.elapsed_ms = self.elapsed_ms.max(now.elapsed_ms);
        let wall = now.wall_ms;
        let ahead = wall.saturating_sub(self.expected_ms);
        let behind = self.expected_ms.saturating_sub(wall);
        if planted!(clock_believed_whole) {
            // As it was: the latest that the clock has ever said.
            self.expected_ms = self.expected_ms.max(wall);
            (self.floor_ms, self.removable_ms) = (self.expected_ms, self.expected_ms);
        } else if ahead > SLACK_MS && !self.agreed && ahead <= PLAUSIBLE_GAP_MS {
            // It was wrong at the opening, and has been set: as if it were opened now.
            self.begin_at(wall);
        } else if ahead > SLACK_MS {
            self.hold(ClockState::Ahead);
        } else if behind > SLACK_MS && self.was_wrong_at_the_opening(wall) {
            self.begin_at(wall);
        } else if behind > SLACK_MS {
            self.ahead_ms = 0;
            self.hold(ClockState::Behind);
        } else {
            self.agreed = true;
            self.ahead_ms = ahead;
            self.state = ClockState::Believed;
        }
        self.behind_ms = self.expected_ms.saturating_sub(wall);
        if self.behind_ms == 0 {
            self.behind_for_ms = 0;
        } else if self.behind_ms > JITTER_MS {
            self.behind_for_ms = self.behind_for_ms.max(1);
        }
        debug_assert!(self.floor_ms <= self.removable_ms && self.removable_ms <= self.expected_ms);
        self.expected_ms + self.ahead_ms
    }

    /// The clock is right now, whoever says so: it is believed as at an opening, though there
    /// be evidence against it.
    pub(crate) fn trust(&mut self, now: Readings) {
        self.pass(now.elapsed_ms.saturating_sub(self.elapsed_ms));
        self.elapsed_ms = self.elapsed_ms.max(now.elapsed_ms);
        self.begin_at(now.wall_ms);
    }

    /// How much further the clock may go, from what was believed last, before this is to
    /// be asked again: 0 while it is not believed.
    pub(crate) fn leeway_ms(&self) -> u64 {
        match self.state {
            ClockState::Believed if self.behind_ms <= JITTER_MS => SLACK_MS - self.ahead_ms,
            _ => 0,
        }
    }

    /// What has expired by then may be removed from the disk. No lead of the clock is in it.
    pub(crate) fn removable_ms(&self) -> u64 {
        self.removable_ms
    }

    /// For how long the clock has not been believed.
    pub(crate) fn held_for_ms(&self) -> Option<u64> {
        let held = self.state != ClockState::Believed;
        held.then(|| self.elapsed_ms - self.held_since_ms)
    }

    /// What the next opening must know.
    pub(crate) fn durable(&self) -> DurableTime {
        DurableTime {
            floor_ms: self.floor_ms,
            seen_ms: self.expected_ms + self.ahead_ms,
            evidence_ms: self.evidence_ms,
        }
    }

    /// Moves all lines on.
    fn pass(&mut self, ms: u64) {
        self.expected_ms += ms;
        self.floor_ms += ms;
        self.open_for_ms += ms;
        let at_speed = ms.min(self.open_for_ms.saturating_sub(BEFORE_CATCH_UP_MS));
        self.removable_ms += ms + at_speed * (CATCH_UP - 1);
        if self.state == ClockState::Believed {
            self.evidence_ms = (self.evidence_ms + ms).min(YOUNG_MS);
        }
        if self.behind_for_ms > 0 {
            self.behind_for_ms += ms;
        }
        self.undrifted_ms += ms;
        let steps = self.undrifted_ms / DRIFT_MS;
        self.undrifted_ms %= DRIFT_MS;
        if self.state == ClockState::Believed && self.ahead_ms > 0 {
            let drift = (8 * steps).min(self.ahead_ms);
            self.expected_ms += drift;
            self.ahead_ms -= drift;
        } else if self.behind_for_ms > YOUNG_MS {
            self.expected_ms -= steps;
        }
        if self.removable_ms >= self.expected_ms {
            self.removable_ms = self.expected_ms;
            self.floor_ms = self.expected_ms;
        }
    }

    /// Whether the clock says something for which there was evidence before the opening.
    fn was_wrong_at_the_opening(&self, wall: u64) -> bool {
        let young = self.evidence_ms < YOUNG_MS && is_far_back(wall, self.expected_ms);
        young || wall + SLACK_MS >= self.floor_ms
    }

    fn begin_at(&mut self, wall: u64) {
        (self.expected_ms, self.ahead_ms) = (wall, 0);
        self.floor_ms = self.floor_ms.min(wall);
        self.removable_ms = self.removable_ms.min(wall);
        self.open_for_ms = 0;
        self.agreed = true;
        self.state = ClockState::Believed;
        self.behind_for_ms = 0;
    }

    fn hold(&mut self, state: ClockState) {
        if self.state == ClockState::Believed {
            self.holds += 1;
            self.held_since_ms = self.elapsed_ms;
        }
        self.state = state;
    }
}

/// Whether `wall` is so far behind that a database which nothing vouches for was rather
/// created by a wrong clock.
fn is_far_back(wall: u64, than: u64) -> bool {
    wall >= FIRST_MS && than - wall > PLAUSIBLE_GAP_MS
}

#[cfg(test)]
mod tests;
