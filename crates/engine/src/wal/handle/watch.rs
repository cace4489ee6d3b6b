//! How those who follow the log hear that there is more of it.
//!
//! While nobody follows, a commit looks at one word that does not change, and that is all.
//! While somebody does, commits that were not synced are noted, and whoever follows syncs
//! them before long: what is not durable is never shown, and without this a consumer of a
//! database that syncs nothing would wait for ever.

use super::WalHandle;
use crate::control::bell::Bell;
use crate::types::error::Result;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;
use tanada_format::LogPosition;
use tanada_vfs::sync::atomic::{AtomicU64, AtomicUsize};

/// What was committed without a sync is synced for consumers after so long …
const SYNCED_AFTER: Duration = Duration::from_millis(250);

/// … or once there is so much of it, in bytes.
const SYNCED_BEHIND: u64 = 8 << 20;

/// Who follows, and what they wait for.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Consumers. Stored under the lock of what is retained. A consumer registers under the
    /// writer's lock too, so each commit has ended before or sees it: relaxed.
    consumers: AtomicUsize,
    /// Behind the last commit that is known not to have been synced when it ended. SeqCst, as
    /// the next: a commit stores this one and looks at that, who syncs does it the other way
    /// round, and one of them has to see the other.
    unsynced_to: AtomicU64,
    /// When that was noticed first, by the monotonic clock; 0: it has not been.
    noticed_ns: AtomicU64,
    /// Rung when there may be more to show, and when there will be none.
    bell: Bell,
}

impl Watch {
    pub(super) fn consumers_are(&self, consumers: usize) {
        self.consumers.store(consumers, Relaxed);
    }

    pub(super) fn is_watched(&self) -> bool {
        self.consumers.load(Relaxed) != 0
    }
}

/// When what is not synced yet will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextSync {
    /// All that was committed has been synced, or something was just now.
    Done,
    /// It is to be synced after so long.
    In(Duration),
}

impl WalHandle {
    /// The bell of those who follow the log.
    pub(crate) fn news(&self) -> &Bell {
        &self.0.watch.bell
    }

    /// A commit has ended and can be read; the last commit in the log ends at `written`.
    /// Under the writer's lock, or behind it.
    #[inline]
    pub(crate) fn tell_of_commit(&self, written: LogPosition) {
        if self.0.watch.is_watched() {
            self.tell(written);
        }
    }

    #[cold]
    fn tell(&self, written: LogPosition) {
        let watch = &self.0.watch;
        let synced = self.synced_position();
        if written <= synced {
            return watch.bell.ring();
        }
        let before = watch.unsynced_to.fetch_max(written.0, SeqCst).max(synced.0);
        // Once when there is something to be synced, and once when there is much: not for
        // each commit in between.
        let crosses = |at: u64| before - synced.0 < at && written.0 - synced.0 >= at;
        if self.notice_unsynced() || crosses(SYNCED_BEHIND) {
            watch.bell.ring();
        }
    }

    /// Notes that there is something to be synced; answers whether that is news.
    fn notice_unsynced(&self) -> bool {
        let now_ns = self.0.env.clock.monotonic_ns().max(1);
        let noticed_ns = &self.0.watch.noticed_ns;
        noticed_ns.compare_exchange(0, now_ns, SeqCst, SeqCst).is_ok()
    }

    /// What lies before `written` was committed before anybody followed.
    pub(crate) fn note_unsynced(&self, written: LogPosition) {
        if written > self.synced_position() {
            self.0.watch.unsynced_to.fetch_max(written.0, SeqCst);
            self.notice_unsynced();
        }
    }

    /// A job has synced a part of the log.
    pub(crate) fn tell_of_sync(&self) {
        // The lock: who has begun to follow before sees the sync, who comes later looks for
        // himself.
        let is_watched = {
            let _retained = self.0.retained.lock();
            self.0.watch.is_watched()
        };
        if is_watched {
            self.0.watch.bell.ring();
        }
    }

    /// Syncs what was committed and is not synced, once it is time for that, or at once.
    ///
    /// # Errors
    /// As [`WalHandle::sync_up_to`].
    pub(crate) fn sync_for_consumers(&self, at_once: bool) -> Result<NextSync> {
        let watch = &self.0.watch;
        let after_ns = SYNCED_AFTER.as_nanos() as u64;
        let now_ns = self.0.env.clock.monotonic_ns().max(1);
        let goal = || LogPosition(watch.unsynced_to.load(SeqCst));
        let behind = goal().0.saturating_sub(self.synced_position().0);
        let noticed_ns = watch.noticed_ns.load(SeqCst);
        let waited_ns = now_ns.saturating_sub(noticed_ns);
        let is_due =
            at_once || behind >= SYNCED_BEHIND || (noticed_ns != 0 && waited_ns >= after_ns);
        if behind > 0 && noticed_ns != 0 && !is_due {
            return Ok(NextSync::In(Duration::from_nanos(after_ns - waited_ns)));
        }
        // The goal is looked at behind this, and noted before it is noticed: a commit that
        // finds it noticed already is before the goal.
        watch.noticed_ns.store(0, SeqCst);
        let goal = goal();
        if goal <= self.synced_position() {
            return Ok(NextSync::Done);
        }
        if !is_due {
            self.notice_unsynced();
            return Ok(NextSync::In(SYNCED_AFTER));
        }
        self.sync_up_to(goal)?;
        self.tell_of_sync();
        Ok(NextSync::Done)
    }
}
