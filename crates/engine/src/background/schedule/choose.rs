//! Which piece of work is done next, and by which thread.
//!
//! The order is that of urgency: flushes, for which writers soon wait, then files to be
//! deleted, then compactions. A simulation draws another order of the same work.

use super::{Job, Worker};
use crate::background::flush::FLUSHED_AT_ONCE;
use crate::core::Core;
use crate::core::lineup::FEW;
use crate::core::work::State;
use crate::read::mem::Mem;
use std::sync::Arc;
use tanada_format::planted;

/// A tree that nobody has written to for this long is tidied.
const IDLE_NS: u64 = 3_000_000_000;

impl Core {
    /// What a thread that waits for the background does itself.
    pub(super) fn callers_job(&self, state: &mut State) -> Option<Job> {
        match self.config.simulation.order() {
            Some(order) => self.scheduled_job(state, order),
            None => self.next_job(state, Worker::Caller),
        }
    }

    /// The most urgent work that conflicts with nothing in flight.
    pub(super) fn next_job(&self, state: &mut State, worker: Worker) -> Option<Job> {
        if worker == Worker::LogKeeper && self.reading.freed_heap.take() {
            return Some(Job::GiveBackHeap);
        }
        if !self.may_start(state) {
            return None;
        }
        let flushes = match worker {
            Worker::Caller | Worker::Flusher => true,
            // The flusher is faster, unless it is busy.
            Worker::Compactor => !state.flushing.is_empty(),
            Worker::LogKeeper | Worker::Remover => false,
        };
        if flushes && let Some(job) = self.next_flush(state, 0) {
            return Some(job);
        }
        if worker == Worker::LogKeeper {
            // Not a thread of low priority: all that the process maps waits for the copy.
            return self.next_log(state).or_else(|| self.next_collapse(state));
        }
        if matches!(worker, Worker::Caller | Worker::Remover)
            && let Some(job) = self.next_deletion(state)
        {
            return Some(job);
        }
        if matches!(worker, Worker::Flusher | Worker::Remover) {
            return None;
        }
        let idle = self.is_idle(state);
        let mut job = self.next_compaction(state, 0, idle);
        if job.is_none() && worker == Worker::Compactor {
            job = self.next_seal(state);
        }
        if job.is_none() {
            self.heal_where_nothing_is_due(state);
        }
        job
    }

    /// Any work that conflicts with nothing in flight, looked for in the order that
    /// a simulation has drawn. Each order finds work whenever there is any.
    fn scheduled_job(&self, state: &mut State, order: u64) -> Option<Job> {
        if !self.may_start(state) {
            return None;
        }
        // The number's digits, each to a base of its own.
        let mut rest = order;
        let mut digit = |base: usize| {
            let digit = rest % base as u64;
            rest /= base as u64;
            digit as usize
        };
        let mut kinds = [0, 1, 2, 3];
        for last in (1..kinds.len()).rev() {
            kinds.swap(last, digit(last + 1));
        }
        let first = digit(self.reading.keyspaces.load().len());
        let idle = digit(8) == 0;
        let job = kinds.into_iter().find_map(|kind| match kind {
            0 => self.next_flush(state, first),
            1 => self.next_log(state),
            2 => self.next_deletion(state),
            _ => self.next_compaction(state, first, idle),
        });
        let job = match idle {
            true => job.or_else(|| {
                self.note_writes(state);
                self.next_seal(state)
            }),
            false => job,
        };
        if job.is_none() {
            self.heal_where_nothing_is_due(state);
        }
        job
    }

    /// Whether any job may start: a while after one has failed.
    fn may_start(&self, state: &mut State) -> bool {
        if !self.reading.health.may_work() {
            return false;
        }
        if state.retry_at_ns != 0 {
            if self.reading.env.clock.monotonic_ns() < state.retry_at_ns {
                return false;
            }
            state.retry_at_ns = 0;
        }
        true
    }

    /// A flush, marked as in flight: of the keyspace that keeps the oldest log, and of
    /// more of them while all are small. `turned` of them come last, for a simulation.
    fn next_flush(&self, state: &mut State, turned: usize) -> Option<Job> {
        let is_free = |id| !state.flushing.contains(&id);
        let mut ids = self.unflushed.sealed(4 * FLUSHED_AT_ONCE, is_free);
        if ids.is_empty() {
            return None;
        }
        let turned = turned % ids.len();
        ids.rotate_left(turned);
        let mut waiting = self.reading.keyspaces.load().all_of(ids);
        waiting.retain(|keyspace| {
            let view = keyspace.view.load();
            let of_the_last_life = |m: &Arc<Mem>| m.end_position() <= self.opened_position;
            let forgotten =
                planted!(stall_forever_after_kill) && view.sealed.iter().any(of_the_last_life);
            !view.sealed.is_empty() && !forgotten
        });
        waiting.truncate(self.fit_one_flush(&waiting));
        state.flushing.extend(waiting.iter().map(|keyspace| keyspace.id));
        (!waiting.is_empty()).then_some(Job::Flush(waiting))
    }

    fn next_log(&self, state: &mut State) -> Option<Job> {
        let wanted = !state.preparing && self.wal.wants_next();
        state.preparing |= wanted;
        wanted.then_some(Job::PrepareLog)
    }

    fn next_deletion(&self, state: &mut State) -> Option<Job> {
        if self.reading.tables.deletions.is_empty() || state.deleting {
            return None;
        }
        state.deleting = true;
        Some(Job::Delete)
    }

    /// Whether there will be something to look for though no work arrives: the next
    /// sweep, or what is done when nobody writes.
    pub(super) fn looks_again(&self, state: &State) -> bool {
        let may_idle = state.compactions == 0
            && state.idle_done != self.reading.visible()
            && state.lineup.any_level_0();
        may_idle
            || (self.reading.keyspaces.load().len() > FEW
                && state.lineup.awaits_sweep(self.background.ended()))
    }

    /// Whether nobody has written for a while. Then level 0 is emptied too, so
    /// that reads ask fewer runs; once, until somebody writes again.
    fn is_idle(&self, state: &mut State) -> bool {
        if self.background.is_inline() || state.compactions > 0 {
            return false;
        }
        let idle = self.note_writes(state) >= IDLE_NS;
        if idle {
            state.idle_done = state.idle_since.1;
        }
        idle
    }

    /// Notes whether somebody has written since the last look; answers for how long
    /// nobody has.
    fn note_writes(&self, state: &mut State) -> u64 {
        let (now, newest) = (self.reading.env.clock.monotonic_ns(), self.reading.visible());
        if state.idle_since.1 != newest {
            state.idle_since = (now, newest);
        }
        now.saturating_sub(state.idle_since.0)
    }
}
