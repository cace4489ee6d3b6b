//! The time by which expiry is judged: the wall clock's, as far as it is believed.
//!
//! Every read of a key that expires asks for it, so a clock that only goes on costs one
//! reading of it and two loads. Now and then, and whenever the clock does anything else,
//! [`Belief`] is asked, behind a lock.

use crate::control::belief::{Belief, DurableTime, JITTER_MS, Readings};
use crate::types::stats::ClockStats;
use std::sync::atomic::Ordering;
use tanada_vfs::Clock;
use tanada_vfs::sync::Mutex;
use tanada_vfs::sync::atomic::AtomicU64;

/// A clock is compared with elapsed time when it has gone on by so much.
const COMPARED_EVERY_MS: u64 = 10_000;

/// Readings of the two clocks further apart than this are taken again: the process was
/// stopped between them.
const APART_NS: u64 = 100_000_000;
const TRIES: usize = 8;

/// On a line of its own: it is written once a millisecond at most.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct WallTime {
    // Relaxed, both: a late look costs no more than another behind the lock, and what is
    // believed is published with nothing else.
    /// The latest time that was answered, unless the clock was set right since.
    latest_ms: AtomicU64,
    /// The clock is believed up to here without asking again; 0 while it is not.
    until_ms: AtomicU64,
    /// Held for a few lines; no clock is read under it.
    belief: Mutex<Belief>,
}

/// What is believed, and whether that is less than was answered before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Believed {
    pub(crate) now_ms: u64,
    pub(crate) went_back: bool,
}

impl WallTime {
    /// At the opening.
    pub(crate) fn open(durable: DurableTime, clock: &dyn Clock) -> WallTime {
        let belief = Belief::open(durable, readings(clock));
        let time = WallTime {
            latest_ms: AtomicU64::new(0),
            until_ms: AtomicU64::new(0),
            belief: Mutex::new(belief),
        };
        time.look(clock);
        time
    }

    /// The time now, in milliseconds since 1970. Never goes back, but where the clock is
    /// set right that was wrong at the opening.
    #[inline]
    pub(crate) fn now(&self, clock: &dyn Clock) -> Believed {
        let wall = clock.wall_ms();
        let latest = self.latest_ms.load(Ordering::Relaxed);
        if wall > self.until_ms.load(Ordering::Relaxed) || wall + JITTER_MS < latest {
            return self.look(clock);
        }
        if wall > latest {
            self.latest_ms.fetch_max(wall, Ordering::Relaxed);
        }
        Believed { now_ms: wall.max(latest), went_back: false }
    }

    /// As [`WallTime::now`], with the clocks compared.
    #[cold]
    pub(crate) fn look(&self, clock: &dyn Clock) -> Believed {
        let now = readings(clock);
        let mut belief = self.belief.lock();
        let now_ms = belief.read(now);
        self.answer(&belief, now_ms)
    }

    fn answer(&self, belief: &Belief, believed_ms: u64) -> Believed {
        let latest = self.latest_ms.load(Ordering::Relaxed);
        let went_back = believed_ms + JITTER_MS < latest;
        let now_ms = if went_back { believed_ms } else { believed_ms.max(latest) };
        self.latest_ms.store(now_ms, Ordering::Relaxed);
        let until = match belief.leeway_ms() {
            0 => 0,
            leeway => believed_ms + leeway.min(COMPARED_EVERY_MS),
        };
        self.until_ms.store(until, Ordering::Relaxed);
        Believed { now_ms, went_back }
    }

    /// The clock is right now: it is believed, forward or back. Answers as [`WallTime::now`].
    pub(crate) fn trust(&self, clock: &dyn Clock) -> Believed {
        let now = readings(clock);
        let mut belief = self.belief.lock();
        belief.trust(now);
        self.answer(&belief, now.wall_ms)
    }

    /// What has expired by then may be removed from the disk: as of the last look.
    pub(crate) fn removable_ms(&self) -> u64 {
        self.belief.lock().removable_ms()
    }

    /// What the manifest is to keep: as of the last look.
    pub(crate) fn durable(&self) -> DurableTime {
        self.belief.lock().durable()
    }

    /// What is known of the clock, whose readings these are: as of the last look.
    pub(crate) fn stats(&self, clock: &dyn Clock) -> ClockStats {
        let wall_ms = clock.wall_ms();
        let believed_ms = self.latest_ms.load(Ordering::Relaxed);
        let belief = self.belief.lock();
        ClockStats {
            wall_ms,
            believed_ms,
            removable_ms: belief.removable_ms(),
            state: belief.state,
            holds: belief.holds,
            held_for_ms: belief.held_for_ms(),
        }
    }
}

/// Both clocks at one moment: read between two looks at the elapsed time, which must be
/// one as far as can be told.
fn readings(clock: &dyn Clock) -> Readings {
    let mut before = clock.elapsed_ns();
    let mut wall_ms = clock.wall_ms();
    for _ in 0..TRIES {
        let after = clock.elapsed_ns();
        if after - before <= APART_NS {
            break;
        }
        before = after;
        wall_ms = clock.wall_ms();
    }
    Readings { elapsed_ms: before / 1_000_000, wall_ms }
}
