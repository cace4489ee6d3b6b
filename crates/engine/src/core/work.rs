//! What is to be done in the background, what is being done, and how to wait for it.
//!
//! Only data and waiting; the jobs themselves are in `background`.

use super::lineup::Lineup;
use crate::control::bell::Bell;
use crate::read::holders::LooksBack;
use crate::tree::compaction::{Due, InFlight};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use tanada_format::{KeyspaceId, LogId, LogPosition, SeqNo, planted};
use tanada_vfs::JoinHandle;
use tanada_vfs::sync::atomic::{AtomicBool, AtomicU64};
use tanada_vfs::sync::{Condvar, Mutex};

/// State of the background, and how to wait for it.
pub(crate) struct Background {
    /// Whether jobs are done by their callers, for want of threads.
    pub(crate) inline: AtomicBool,
    pub(crate) state: Mutex<State>,
    /// Rung when there may be work.
    pub(crate) work: Bell,
    /// Signalled when a job has ended.
    pub(crate) progress: Condvar,
    /// Ends of jobs so far. Bumped under the state's lock, so that who waits under it misses
    /// none; writers read it without, and need no lock of a thread of low priority.
    ended: AtomicU64,
    /// Logs before this one are needed by no MemTable, durably so. Release
    /// when a flush's edit is synced, Acquire by the commit leader.
    pub(crate) oldest_log: AtomicU64,
    /// Where the log stood when a MemTable was last sealed, or at the opening: all
    /// writes before are in MemTables or tables. Release when the seal can be seen
    /// in its keyspace's view, Acquire by a flush before it looks at the views.
    sealed_to: AtomicU64,
    pub(crate) threads: Mutex<Vec<JoinHandle>>,
    /// Whether writes are refused for want of disk space. Relaxed: the health
    /// of the database is what decides, this only says what may heal it.
    no_space: AtomicBool,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) stop: bool,
    /// Keyspaces being flushed: one flush each at a time, so that tables enter
    /// level 0 in the order of writes.
    pub(crate) flushing: BTreeSet<KeyspaceId>,
    pub(crate) compacting: BTreeMap<KeyspaceId, InFlight>,
    pub(crate) compactions: usize,
    /// Since when there have been some, but for the time that the pacing knows of.
    pub(crate) compacting_since_ns: u64,
    /// Compactions that callers run in threads of their own.
    pub(crate) by_hand: usize,
    /// Who is asked for a compaction next.
    pub(crate) lineup: Lineup,
    /// Whether the last look for a compaction found none in a part of the keyspaces, and
    /// the rest is still to be asked.
    pub(crate) swept_a_part: bool,
    /// The newest write when all trees with tables in level 0 were last lined up for
    /// want of writers.
    pub(crate) idle_lined_up: SeqNo,
    pub(crate) deleting: bool,
    /// Whether a thread is creating the next log.
    pub(crate) preparing: bool,
    /// No job starts before this moment, after a failure.
    pub(crate) retry_at_ns: u64,
    /// Whether it failed because the disk was full.
    pub(crate) failed_for_space: bool,
    /// No write lets jobs begin before that moment another time.
    pub(crate) early_retry_at_ns: u64,
    /// The newest write when somebody last wrote, and when that was seen first.
    pub(crate) idle_since: (u64, SeqNo),
    /// The newest write when trees were last tidied for want of writers.
    pub(crate) idle_done: SeqNo,
    /// Keyspaces with tables that jobs could not read ([`InFlight::set_aside`]).
    pub(crate) set_aside: BTreeSet<KeyspaceId>,
    /// What waits in the trees that were asked in vain since all were last asked.
    pub(crate) due: Due,
    /// How far back readers looked before the first of these trees was asked that keeps
    /// garbage for them.
    pub(crate) kept_for: Option<LooksBack>,
    /// How many runs of blocks the cache had given back at the last look, and when it was
    /// seen first that it had; `None` before it gave back any.
    pub(crate) blocks_went: Option<(u64, u64)>,
    /// When MemTables were last sealed for want of writers.
    pub(crate) quiet_sealed_ns: Option<u64>,
}

impl Background {
    pub(crate) fn new(oldest_log: LogId) -> Background {
        Background {
            inline: AtomicBool::new(true),
            state: Mutex::default(),
            work: Bell::default(),
            progress: Condvar::new(),
            ended: AtomicU64::new(0),
            oldest_log: AtomicU64::new(oldest_log.0),
            sealed_to: AtomicU64::new(0),
            threads: Mutex::default(),
            no_space: AtomicBool::new(false),
        }
    }

    /// Whether jobs are done by their callers, for want of threads.
    #[inline]
    pub(crate) fn is_inline(&self) -> bool {
        self.inline.load(Ordering::Relaxed)
    }

    pub(crate) fn space_ran_out(&self) {
        self.no_space.store(true, Ordering::Relaxed);
    }

    pub(crate) fn space_came_back(&self) {
        self.no_space.store(false, Ordering::Relaxed);
    }

    /// Whether a full disk is why writes are refused.
    pub(crate) fn waits_for_space(&self) -> bool {
        self.no_space.load(Ordering::Relaxed)
    }

    /// Says that there may be something to do.
    pub(crate) fn work_arrived(&self) {
        if planted!(low_priority_holds_up_writers) {
            drop(self.state.lock());
        }
        self.work.ring();
    }

    /// Wakes those who wait for the end of a job, to hear that there will be none. To be
    /// called once the health of the database says so.
    pub(crate) fn nothing_ends_any_more(&self) {
        drop(self.state.lock());
        self.progress.notify_all();
    }

    /// Logs before this one may go.
    pub(crate) fn oldest_log(&self) -> LogId {
        LogId(self.oldest_log.load(Ordering::Acquire))
    }

    /// Notes that the manifest durably needs no log before `log`.
    pub(crate) fn set_oldest_log(&self, log: LogId) {
        self.oldest_log.fetch_max(log.0, Ordering::Release);
    }

    /// Where the log stood when a MemTable was last sealed.
    pub(crate) fn sealed_to(&self) -> LogPosition {
        LogPosition(self.sealed_to.load(Ordering::Acquire))
    }

    /// Notes a seal, once it can be seen. Under the writer lock, so it never goes back;
    /// or at the opening, once all that was replayed can be seen.
    pub(crate) fn set_sealed_to(&self, position: LogPosition) {
        self.sealed_to.store(position.0, Ordering::Release);
    }

    /// Whether a job has failed and nothing has been tried since.
    pub(crate) fn has_just_failed(&self) -> bool {
        self.state.lock().retry_at_ns != 0
    }

    /// Number of ends of jobs so far; pass it to [`Background::wait_past`].
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// Notes the end of a job.
    pub(crate) fn note_end(&self, _under: &mut State) {
        self.ended.fetch_add(1, Ordering::Release);
    }

    /// How many tables are set aside since no job could read them, and why the first is.
    pub(crate) fn set_aside(&self) -> (u64, Option<String>) {
        let state = self.state.lock();
        let of = |id| state.compacting.get(id).map(|in_flight| &in_flight.set_aside);
        let all = || state.set_aside.iter().filter_map(of);
        let count = all().map(|tables| tables.len() as u64).sum();
        (count, all().find_map(|tables| tables.why().map(str::to_owned)))
    }

    /// Flushes and compactions running now.
    pub(crate) fn running(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.flushing.len(), state.compactions)
    }
}
