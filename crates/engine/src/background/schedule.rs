//! Who does flushes, compactions and deletions, and when.
//!
//! Each thread asks [`Core::next_job`] for the most urgent piece of work that is
//! its own. One thread flushes: writers soon wait for it, so it runs before those
//! that compact. The compacting ones take what it leaves, and lend a hand when a
//! second keyspace wants its flush, or while it deletes files. One more only
//! prepares logs: the next one must be ready before the writer needs it, however
//! long a flush takes. Without threads the same jobs are done by whoever would
//! otherwise wait, in the same order, or in one that a simulation draws, so that a
//! run depends on its seed alone.

use crate::background::flush::FLUSHED_AT_ONCE;
use crate::core::Core;
use crate::core::lineup::{FEW, SWEPT_AT_ONCE};
use crate::core::work::State;
use crate::read::mem::Mem;
use crate::read::scan::Bounds;
use crate::read::view::KeyspaceState;
use crate::tree::compaction::{self, JobOutput, ManualStep, Moment, Plan};
use crate::types::error::{Error, Result};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tanada_format::{KeyspaceId, SeqNo, TableId, planted};
use tanada_vfs::Priority;

/// After a failed job the background tries again this much later.
const RETRY_NS: u64 = 1_000_000_000;

/// How often a thread without work looks whether it is time for some.
const TICK: Duration = Duration::from_secs(1);

/// A tree that nobody has written to for this long is tidied.
const IDLE_NS: u64 = 3_000_000_000;

/// Which jobs a thread takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Worker {
    /// All of them: there are no threads.
    Caller,
    Flusher,
    Compactor,
    LogKeeper,
}

/// A piece of work, marked as in flight.
enum Job {
    /// Of these keyspaces.
    Flush(Vec<Arc<KeyspaceState>>),
    /// Creates the next log ahead of its use.
    PrepareLog,
    Delete(Vec<PathBuf>),
    Compact(Arc<KeyspaceState>, Box<Plan>),
}

/// A compaction that its caller runs. However it ends, by a panic even, it is no longer
/// in flight then: closing waits for that.
struct ByHand<'c> {
    core: &'c Core,
    keyspace: &'c Arc<KeyspaceState>,
    plan: &'c Plan,
}

impl Drop for ByHand<'_> {
    fn drop(&mut self) {
        let mut state = self.core.background.state.lock();
        if let Some(in_flight) = state.compacting.get_mut(&self.keyspace.id) {
            in_flight.finish(self.plan);
        }
        state.by_hand -= 1;
        self.core.job_ended(&mut state, std::slice::from_ref(self.keyspace));
    }
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
        while state.ended == ended && !state.stop && self.reading.health.may_work() {
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
        let fixed = [
            ("tanada-flush".to_owned(), Worker::Flusher, Priority::Soon),
            ("tanada-log".to_owned(), Worker::LogKeeper, Priority::Soon),
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
                }
                None => break,
            }
        }
        Ok(())
    }

    /// Compactions at once: a core is left for flushes, where there is more than one.
    fn compactors(&self) -> usize {
        self.config.threads.max(2) - 1
    }

    /// Ends the threads; a running job is aborted or finishes first, those that callers
    /// run in threads of their own among them.
    pub(crate) fn stop_background(&self) {
        self.background.state.lock().stop = true;
        self.background.work.notify_all();
        self.background.progress.notify_all();
        let threads = std::mem::take(&mut *self.background.threads.lock());
        for thread in threads {
            // A thread that panicked has poisoned the database already.
            let _ = thread.join();
        }
        let mut state = self.background.state.lock();
        while state.by_hand > 0 {
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
            let job = {
                let mut state = self.background.state.lock();
                loop {
                    if state.stop {
                        return;
                    }
                    match self.next_job(&mut state, worker) {
                        Some(job) => break job,
                        // The rest of the sweep; others have the lock in between.
                        None if std::mem::take(&mut state.swept_a_part) => {
                            drop(state);
                            state = self.background.state.lock();
                        }
                        None if state.retry_at_ns != 0
                            || (worker == Worker::Compactor && self.looks_again(&state)) =>
                        {
                            self.background.work.wait_for(&mut state, TICK);
                        }
                        None => self.background.work.wait(&mut state),
                    }
                }
            };
            let run = std::panic::AssertUnwindSafe(|| self.run(job));
            if std::panic::catch_unwind(run).is_err() {
                // An invariant of ours is broken: nothing more is written, and
                // whoever waits for this job hears of it.
                let reason = "a background job panicked; see the log".to_owned();
                self.reading.health.poison(&Error::Poisoned { reason });
                self.background.state.lock().ended += 1;
                self.background.progress.notify_all();
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

    /// What a thread that waits for the background does itself.
    fn callers_job(&self, state: &mut State) -> Option<Job> {
        match self.config.simulation.order() {
            Some(order) => self.scheduled_job(state, order),
            None => self.next_job(state, Worker::Caller),
        }
    }

    /// The most urgent work that conflicts with nothing in flight.
    fn next_job(&self, state: &mut State, worker: Worker) -> Option<Job> {
        if !self.may_start(state) {
            return None;
        }
        let flushes = match worker {
            Worker::Caller | Worker::Flusher => true,
            // The flusher is faster, unless it is busy; it may be who deletes.
            Worker::Compactor => !state.flushing.is_empty() || state.deleting,
            Worker::LogKeeper => false,
        };
        if flushes && let Some(job) = self.next_flush(state, 0) {
            return Some(job);
        }
        if worker == Worker::LogKeeper {
            return self.next_log(state);
        }
        if let Some(job) = self.next_deletion(state) {
            return Some(job);
        }
        if worker == Worker::Flusher {
            return None;
        }
        let idle = self.is_idle(state);
        let job = self.next_compaction(state, 0, idle);
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
        let garbage = !state.log_files.is_empty() || !self.reading.tables.deletions.is_empty();
        if !garbage || state.deleting {
            return None;
        }
        state.deleting = true;
        Some(Job::Delete(std::mem::take(&mut state.log_files)))
    }

    /// A compaction, marked as in flight. Few keyspaces are asked all, from number
    /// `first` on; of many those whose tree has changed, and then a part of a sweep.
    fn next_compaction(&self, state: &mut State, first: usize, idle: bool) -> Option<Job> {
        if state.compactions >= self.compactors() {
            return None;
        }
        let keyspaces = self.reading.keyspaces.load();
        let count = keyspaces.len();
        let now = (self.picking_moment(), idle);
        if count <= FEW {
            while state.lineup.pop().is_some() {}
            let turned = keyspaces.iter().skip(first).chain(keyspaces.iter().take(first));
            return turned.into_iter().find_map(|k| self.ask(state, k, now));
        }
        if idle && state.idle_lined_up != state.idle_done {
            state.idle_lined_up = state.idle_done;
            state.lineup.push_level_0();
        }
        for _ in 0..state.lineup.waiting() {
            let keyspace = keyspaces.get(state.lineup.pop()?)?;
            if let Some(job) = self.ask(state, keyspace, now) {
                // There may be more to do.
                state.lineup.push(keyspace.id);
                return Some(job);
            }
        }
        let (ended, now_ns) = (state.ended, self.reading.env.clock.monotonic_ns());
        match self.background.is_inline() {
            // Who does the work himself wants all that there is.
            true => state.lineup.sweep_again(count),
            false => state.lineup.begin_sweep(count, ended, now_ns),
        }
        for _ in 0..SWEPT_AT_ONCE {
            let keyspace = keyspaces.get(state.lineup.sweep(count)?)?;
            if let Some(job) = self.ask(state, keyspace, now) {
                state.lineup.push(keyspace.id);
                return Some(job);
            }
        }
        state.swept_a_part = state.lineup.is_sweeping();
        None
    }

    /// The next compaction of one keyspace, if any is due.
    fn ask(
        &self,
        state: &mut State,
        keyspace: &Arc<KeyspaceState>,
        (moment, idle): (Moment, bool),
    ) -> Option<Job> {
        if state.damaged.contains(&keyspace.id) {
            return None;
        }
        let version = Arc::clone(&keyspace.view.load().version);
        if version.table_count() == 0 {
            return None;
        }
        let in_flight = state.compacting.entry(keyspace.id).or_default();
        let config = &self.config.compaction;
        in_flight.next_turn();
        let plan = match idle {
            true => compaction::pick_idle(&version, config, in_flight, moment),
            false => compaction::pick(&version, config, in_flight, moment),
        }?;
        in_flight.start(&plan);
        state.compactions += 1;
        Some(Job::Compact(Arc::clone(keyspace), Box::new(plan)))
    }

    /// Whether there will be something to look for though no work arrives: the next
    /// sweep, or what is done when nobody writes.
    fn looks_again(&self, state: &State) -> bool {
        let may_idle = state.compactions == 0
            && state.idle_done != self.reading.visible()
            && state.lineup.any_level_0();
        may_idle
            || (self.reading.keyspaces.load().len() > FEW && state.lineup.awaits_sweep(state.ended))
    }

    /// Whether nobody has written for a while. Then level 0 is emptied too, so
    /// that reads ask fewer runs; once, until somebody writes again.
    fn is_idle(&self, state: &mut State) -> bool {
        if self.background.is_inline() || state.compactions > 0 {
            return false;
        }
        let (now, newest) = (self.reading.env.clock.monotonic_ns(), self.reading.visible());
        if state.idle_since.1 != newest {
            state.idle_since = (now, newest);
            return false;
        }
        let idle = now - state.idle_since.0 >= IDLE_NS;
        if idle {
            state.idle_done = newest;
        }
        idle
    }

    fn run(&self, job: Job) {
        let outcome = match &job {
            Job::Flush(keyspaces) => self.flush_sealed(keyspaces),
            Job::PrepareLog => {
                // A failure harms nothing: the writer will try itself.
                let _ = self.wal.prepare_next();
                Ok(())
            }
            Job::Delete(files) => self.delete_files(files),
            Job::Compact(keyspace, plan) => self.run_plan(keyspace, plan).map(drop),
        };
        let keyspace = match &job {
            Job::Flush(keyspaces) => keyspaces.first().map(|k| k.id),
            Job::Compact(k, _) => Some(k.id),
            Job::PrepareLog | Job::Delete(_) => None,
        };
        match &outcome {
            Ok(()) if keyspace.is_some() => self.heal_if_there_is_room(),
            Ok(()) => {}
            Err(e) => self.job_failed(e, keyspace, matches!(job, Job::Flush(_))),
        }
        let mut state = self.background.state.lock();
        let mut touched = Vec::new();
        match job {
            Job::Flush(keyspaces) => {
                for keyspace in &keyspaces {
                    state.flushing.remove(&keyspace.id);
                }
                touched = keyspaces;
            }
            Job::PrepareLog => state.preparing = false,
            Job::Delete(files) => {
                state.deleting = false;
                if outcome.is_err() {
                    state.log_files.extend(files);
                }
            }
            Job::Compact(keyspace, plan) => {
                state.compactions -= 1;
                if let Some(in_flight) = state.compacting.get_mut(&keyspace.id) {
                    in_flight.finish(&plan);
                }
                touched.push(keyspace);
            }
        }
        self.job_ended(&mut state, &touched);
    }

    /// Notes the end of a job that may have changed the trees of these keyspaces.
    fn job_ended(&self, state: &mut State, touched: &[Arc<KeyspaceState>]) {
        state.ended += 1;
        touched.iter().for_each(|keyspace| self.line_up(state, keyspace));
        self.pacing.set_tree_pressure(state.lineup.worst_pressure());
        self.background.progress.notify_all();
        self.background.work.notify_all();
    }

    /// Runs the next job that a compaction by hand needs, once nothing in flight
    /// is in its way. `None`: nothing more is needed.
    ///
    /// # Errors
    /// That of the job, or why none may run.
    pub(crate) fn run_next_by_hand(
        &self,
        keyspace: &Arc<KeyspaceState>,
        bounds: &Bounds,
        begun: TableId,
    ) -> Result<Option<JobOutput>> {
        loop {
            let mut state = self.background.state.lock();
            if state.stop {
                return Err(Error::Closed);
            }
            let ended = state.ended;
            let version = Arc::clone(&keyspace.view.load().version);
            let in_flight = state.compacting.entry(keyspace.id).or_default();
            let step = compaction::plan_range(
                &version,
                &self.config.compaction,
                in_flight,
                self.picking_moment(),
                bounds.borrow(),
                begun,
            );
            let plan = match step {
                ManualStep::Done => return Ok(None),
                ManualStep::Run(plan) => plan,
                ManualStep::Wait => {
                    drop(state);
                    if !self.wait_past(ended) {
                        return Err(self.reading.health.why_nothing_changes());
                    }
                    continue;
                }
            };
            in_flight.start(&plan);
            state.by_hand += 1;
            drop(state);
            let job = ByHand { core: self, keyspace, plan: &plan };
            return self.run_plan(job.keyspace, job.plan).map(Some);
        }
    }

    /// What is true now for who picks a job.
    pub(crate) fn picking_moment(&self) -> Moment {
        // A table all of whose values have expired is dropped by this moment: they must
        // have expired for every cursor.
        let moment = self.job_moment();
        let oldest_snapshot = moment.seqnos.first().copied().unwrap_or(SeqNo::MAX);
        Moment { now_ms: moment.now_ms, oldest_snapshot }
    }

    /// Refuses writes, deletes excepted, until the disk has room again.
    pub(crate) fn out_of_space(&self, what: &str) {
        self.background.space_ran_out();
        self.reading.health.make_read_only(format!(
            "the disk is full ({what}); free space below {}, then writes go on by themselves (deletes and compaction go on now)",
            self.reading.path.display()
        ));
    }

    /// Removes files that nothing needs any more.
    pub(crate) fn delete_files(&self, logs: &[PathBuf]) -> Result<()> {
        for path in logs {
            match self.reading.env.fs.remove(path) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e.into()),
            }
        }
        while self.reading.tables.deletions.run(&*self.reading.env.fs, 16)? > 0 {}
        Ok(())
    }

    /// Turns a job's failure into the database's state. Nothing is lost by it:
    /// what was to be flushed is in the log, what was to be merged in its inputs.
    fn job_failed(&self, e: &Error, keyspace: Option<KeyspaceId>, flush: bool) {
        if self.reading.health.is_poisoned() || matches!(e, Error::Closed) {
            return;
        }
        let mut state = self.background.state.lock();
        state.retry_at_ns = self.reading.env.clock.monotonic_ns().max(1) + RETRY_NS;
        match e {
            Error::Corruption(_) | Error::MissingFile { .. } if !flush => {
                // Merging on would bury the damage. Reads of other keys go on.
                state.damaged.extend(keyspace);
                self.reading.health.make_read_only(format!(
                    "{e}; compaction has stopped so that nothing is dropped"
                ));
            }
            Error::Io(io) if tanada_vfs::is_disk_full(io) => self.out_of_space(&e.to_string()),
            e => self.reading.health.make_read_only(format!(
                "background work failed ({e}); it is tried again every second, and writes go on once it succeeds"
            )),
        }
    }

    /// Lets every keyspace be asked for a compaction, and sets the writers' pace: once,
    /// at the opening.
    pub(crate) fn line_up_all(&self) {
        let mut state = self.background.state.lock();
        let keyspaces = self.reading.keyspaces.load();
        keyspaces.iter().for_each(|keyspace| self.line_up(&mut state, keyspace));
        self.pacing.set_tree_pressure(state.lineup.worst_pressure());
    }

    /// Lets a keyspace be asked for a compaction, and notes how far it is behind: the
    /// writers' pace follows from the one that is worst off.
    fn line_up(&self, state: &mut State, keyspace: &KeyspaceState) {
        let version = &keyspace.view.load().version;
        if version.table_count() == 0 {
            state.lineup.note(keyspace.id, 0.0, false);
            return;
        }
        let config = &self.config.compaction;
        let debt = compaction::debt(version, config) as f64 / config.calm_debt_bytes() as f64;
        let runs = version.levels()[0].runs().len();
        let pressure = debt.max(runs as f64 / config.calm_l0_runs() as f64);
        state.lineup.note(keyspace.id, pressure, runs > 0);
        state.lineup.push(keyspace.id);
    }

    fn heal_if_there_is_room(&self) {
        self.heal_unless_hopeless(&self.background.state.lock());
    }

    fn heal_unless_hopeless(&self, state: &State) {
        if state.damaged.is_empty() && !self.background.waits_for_space() {
            self.reading.health.heal();
        }
    }

    /// Takes writes again where a job has failed that nobody will try again: the files
    /// have been removed since, somebody has compacted by hand, or it was only to be
    /// done while nobody writes. Without this only a flush could end the refusal, and
    /// a database that refuses writes has none to do. No compaction is due.
    fn heal_where_nothing_is_due(&self, state: &State) {
        if !self.reading.health.is_read_only() {
            return;
        }
        let at_work = !state.flushing.is_empty() || state.compactions > 0 || state.deleting;
        let garbage = !state.log_files.is_empty() || !self.reading.tables.deletions.is_empty();
        if !at_work && !garbage && !state.lineup.is_sweeping() && !self.unflushed.any_sealed() {
            self.heal_unless_hopeless(state);
        }
    }
}
