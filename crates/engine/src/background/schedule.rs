//! Who does flushes, compactions and deletions, and when.
//!
//! Each thread asks [`Core::next_job`] for the most urgent piece of work that is
//! its own. One thread flushes: writers soon wait for it, so it runs before those
//! those that compact. The compacting ones take what it leaves, and lend a hand when a
//! second keyspace wants its flush. One more only prepares logs, and gives the system
//! free memory back: the next log must be ready before the writer needs it, however long
//! a flush takes. And one only removes files, as soon as nobody needs them: who lets go
//! of one may be a reader, on a database where nothing else happens. Without threads the
//! same jobs are done by whoever would
//! otherwise wait, in the same order, or in one that a simulation draws, so that a
//! run depends on its seed alone.

mod by_hand;
mod choose;
mod compactions;
mod failure;
mod quiet;

use crate::background::compact::Haste;
use crate::core::Core;
use crate::core::work::State;
use crate::read::view::KeyspaceState;
use crate::tree::compaction::Plan;
use crate::types::error::{Error, Result};
use quiet::Patience;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tanada_format::planted;
use tanada_vfs::Priority;
use tanada_vfs::real::give_back_free_heap;

/// How soon a thread looks again that has found nothing, where there will be something.
const TICK: Duration = Duration::from_secs(1);

/// Which jobs a thread takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Worker {
    /// All of them: there are no threads.
    Caller,
    Flusher,
    Compactor,
    LogKeeper,
    Remover,
}

/// A piece of work, marked as in flight.
enum Job {
    /// Of these keyspaces.
    Flush(Vec<Arc<KeyspaceState>>),
    /// Seals what nobody has written to for a while.
    Seal,
    /// Creates the next log ahead of its use.
    PrepareLog,
    Delete,
    Compact(Arc<KeyspaceState>, Box<Plan>),
    /// Free pages of the heap, to the system.
    GiveBackHeap,
    /// A part of the block cache, to huge pages.
    CollapsePages,
}

impl Core {
    /// Waits until a job ends that had not ended when `ended` was read. Without
    /// threads, does a job. Answers whether anything can still change.
    pub(crate) fn wait_past(&self, ended: u64) -> bool {
        if self.background.is_inline() {
            return self.step();
        }
        let mut state = self.background.state.lock();
        // A failed commit poisons too, and no job ends by it: so this looks now and
        // then by itself.
        while self.background.ended() == ended && !state.stop && self.reading.health.may_work() {
            self.background.progress.wait_for(&mut state, TICK);
        }
        !state.stop && self.reading.health.may_work()
    }

    /// Without threads, does all work that is due, unless a simulation says when.
    /// With threads, nothing.
    #[inline]
    pub(crate) fn run_inline(&self) {
        if self.background.is_inline() && !self.config.simulation.is_scheduled() {
            while self.step() {}
        }
    }

    /// Starts the threads; without any the work is done inline.
    pub(crate) fn start_background(self: &Arc<Core>) -> Result<()> {
        let background = Arc::clone(&self.background);
        self.reading.freed_heap.served_by(move || background.work_arrived());
        let background = Arc::clone(&self.background);
        self.reading.block_cache.pages_collapsed_by(move || background.work_arrived());
        let fixed = [
            ("tanada-flush".to_owned(), Worker::Flusher, Priority::Soon),
            ("tanada-log".to_owned(), Worker::LogKeeper, Priority::Soon),
            ("tanada-files".to_owned(), Worker::Remover, Priority::Later),
        ];
        let compactors = (0..self.compactors())
            .map(|i| (format!("tanada-{i}"), Worker::Compactor, Priority::Later));
        for (name, worker, priority) in fixed.into_iter().chain(compactors) {
            let core = Arc::clone(self);
            let body = Box::new(move || core.work(worker));
            match self.reading.env.threads.spawn(&name, priority, body)? {
                Some(handle) => {
                    self.background.inline.store(false, Ordering::Relaxed);
                    self.background.threads.lock().push(handle);
                    self.listen_to_readers();
                }
                None => break,
            }
        }
        Ok(())
    }

    /// Ends the threads; a running job is aborted or finishes first, those that callers
    /// run in threads of their own among them.
    pub(crate) fn stop_background(&self) {
        self.background.state.lock().stop = true;
        self.background.work.ring();
        self.background.progress.notify_all();
        self.reading.tables.deletions.stop();
        let threads = std::mem::take(&mut *self.background.threads.lock());
        for thread in threads {
            if planted!(close_leaves_jobs_behind) {
                continue;
            }
            // A thread that panicked has poisoned the database already.
            let _ = thread.join();
        }
        let mut state = self.background.state.lock();
        while state.by_hand > 0 && !planted!(close_leaves_compactions_by_hand_behind) {
            self.background.progress.wait(&mut state);
        }
    }

    /// Whether jobs should give up: the database is being closed.
    pub(crate) fn stopping(&self) -> bool {
        self.background.state.lock().stop
    }

    /// A thread's life.
    fn work(&self, worker: Worker) {
        loop {
            let next = || self.await_job(worker);
            let picked = match planted!(panic_while_picking_not_caught) {
                true => Ok(next()),
                false => catch_unwind(AssertUnwindSafe(next)),
            };
            let done = match picked {
                Ok(None) => return,
                Ok(Some(job)) => catch_unwind(AssertUnwindSafe(|| self.run(job))),
                Err(panic) => Err(panic),
            };
            if done.is_err() {
                self.panicked();
            }
        }
    }

    /// An invariant of ours is broken: nothing more is written, and whoever waits for the
    /// background hears of it.
    #[cold]
    fn panicked(&self) {
        let reason = "a background thread panicked; see the log".to_owned();
        self.reading.health.poison(&Error::Poisoned { reason });
        self.background.note_end(&mut self.background.state.lock());
        self.background.progress.notify_all();
    }

    /// The next job of a thread, waited for; `None` when there will be none any more.
    fn await_job(&self, worker: Worker) -> Option<Job> {
        let mut state = self.background.state.lock();
        loop {
            if state.stop {
                return None;
            }
            let heard = self.background.work.heard();
            match self.next_job(&mut state, worker) {
                Some(job) => return Some(job),
                // The rest of the sweep; others have the lock in between.
                None if std::mem::take(&mut state.swept_a_part) => {
                    drop(state);
                    state = self.background.state.lock();
                }
                // The queue itself wakes it. Not while files wait that it may not remove,
                // since others do or the database is poisoned: it would look again and
                // again.
                None if worker == Worker::Remover && self.reading.tables.deletions.is_empty() => {
                    drop(state);
                    self.reading.tables.deletions.wait();
                    state = self.background.state.lock();
                }
                None => match self.patience(&mut state, worker) {
                    Patience::None => {}
                    patience => {
                        drop(state);
                        self.background.work.wait(heard, patience.at_most());
                        state = self.background.state.lock();
                    }
                },
            }
        }
    }

    /// Does one job in this thread, if one is due. Answers whether it did.
    pub(crate) fn step(&self) -> bool {
        let job = {
            let mut state = self.background.state.lock();
            loop {
                if state.stop {
                    break None;
                }
                let job = self.callers_job(&mut state);
                if job.is_some() || !std::mem::take(&mut state.swept_a_part) {
                    break job;
                }
            }
        };
        job.map(|job| self.run(job)).is_some()
    }

    fn run(&self, job: Job) {
        let outcome = match &job {
            Job::Flush(keyspaces) => self.flush_sealed(keyspaces),
            Job::Seal => {
                self.seal_quiet();
                Ok(())
            }
            Job::PrepareLog => {
                // A failure harms nothing: the writer will try itself. But for a failed sync.
                if let Err(e) = self.wal.prepare_next()
                    && self.wal.is_poisoned()
                {
                    self.reading.health.poison(&e);
                }
                Ok(())
            }
            Job::Delete => self.delete_files(),
            Job::Compact(keyspace, plan) => self.run_plan(keyspace, plan, Haste::None).map(drop),
            Job::GiveBackHeap => {
                give_back_free_heap();
                Ok(())
            }
            Job::CollapsePages => {
                self.reading.block_cache.collapse_pages();
                return; // nothing has changed that anybody waits for
            }
        };
        let of_keyspaces = matches!(job, Job::Flush(_) | Job::Compact(..));
        match &outcome {
            Ok(()) if of_keyspaces => self.heal_if_there_is_room(),
            Ok(()) => {}
            Err(e) => self.job_failed(e, &job),
        }
        let mut touched = Vec::new();
        let mut state = match job {
            Job::Flush(keyspaces) => {
                let mut state = self.background.state.lock();
                for keyspace in &keyspaces {
                    state.flushing.remove(&keyspace.id);
                }
                touched = keyspaces;
                state
            }
            Job::Seal => self.background.state.lock(),
            Job::PrepareLog => {
                let mut state = self.background.state.lock();
                state.preparing = false;
                state
            }
            Job::Delete => {
                let mut state = self.background.state.lock();
                state.deleting = false;
                state
            }
            Job::Compact(keyspace, plan) => {
                let job = plan.job();
                let level_0_bytes = if outcome.is_ok() { plan.level_0_bytes() } else { 0 };
                // It may hold the last of the tables that were replaced: whoever hears of
                // the end of this job may rely on their being ready to be removed.
                drop(plan);
                let mut state = self.background.state.lock();
                // What they waited for readers is no time that a drain takes; of several at
                // once each has its part.
                let waited_ns = self.io_rate.take_waited_ns() / state.compactions as u64;
                state.compactions -= 1;
                let now_ns = self.reading.env.clock.monotonic_ns();
                let since_ns = std::mem::replace(&mut state.compacting_since_ns, now_ns);
                let ns = now_ns.saturating_sub(since_ns).saturating_sub(waited_ns);
                self.pacing.compacted(level_0_bytes, ns);
                if let Some(in_flight) = state.compacting.get_mut(&keyspace.id) {
                    in_flight.end(&job);
                }
                touched.push(keyspace);
                state
            }
            Job::GiveBackHeap | Job::CollapsePages => self.background.state.lock(),
        };
        self.job_ended(&mut state, &touched);
    }

    /// Notes the end of a job that may have changed the trees of these keyspaces.
    pub(super) fn job_ended(&self, state: &mut State, touched: &[Arc<KeyspaceState>]) {
        self.background.note_end(state);
        touched.iter().for_each(|keyspace| self.line_up(state, keyspace));
        self.pacing.set_tree_pressure(state.lineup.worst_pressure());
        self.background.progress.notify_all();
        self.background.work.ring();
    }

    /// Removes files that nothing needs any more.
    pub(crate) fn delete_files(&self) -> Result<()> {
        while self.reading.tables.deletions.run(&*self.reading.env.fs, 16)? > 0 {}
        Ok(())
    }
}

#[cfg(test)]
mod tests;
