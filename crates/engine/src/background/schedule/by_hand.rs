//! Compactions that somebody asked for: the same plans as those of the background, run in
//! the thread of the caller.

use crate::background::compact::Haste;
use crate::core::Core;
use crate::read::scan::Bounds;
use crate::read::view::KeyspaceState;
use crate::tree::compaction::{self, Begun, JobOutput, ManualStep, Plan};
use crate::types::error::{Error, Result};
use std::sync::Arc;

/// A compaction that its caller runs. However it ends, by a panic even, it is no longer
/// in flight then: closing waits for that.
struct ByHand<'c> {
    core: &'c Core,
    keyspace: &'c Arc<KeyspaceState>,
    /// Until the job has ended.
    plan: Option<Plan>,
}

impl Drop for ByHand<'_> {
    fn drop(&mut self) {
        let plan = self.plan.take().expect("a job ends once");
        let job = plan.job();
        // It may hold the last of the tables that were replaced.
        drop(plan);
        let mut state = self.core.background.state.lock();
        if let Some(in_flight) = state.compacting.get_mut(&self.keyspace.id) {
            in_flight.end(&job);
        }
        state.by_hand -= 1;
        self.core.job_ended(&mut state, std::slice::from_ref(self.keyspace));
    }
}

/// A caller reads or removes files in a thread of its own: closing waits for that.
pub(crate) struct InCaller<'c>(&'c Core);

impl Drop for InCaller<'_> {
    fn drop(&mut self) {
        self.0.background.state.lock().by_hand -= 1;
        self.0.background.progress.notify_all();
    }
}

impl Core {
    /// Removes all files that nobody needs now. Those that a thread is removing have gone
    /// too when this returns.
    ///
    /// # Errors
    /// Why one could not be removed: the background tries again.
    pub(crate) fn remove_files_by_hand(&self) -> Result<()> {
        let _removing = self.begin_in_caller()?;
        Ok(self.reading.tables.deletions.run_all(&*self.reading.env.fs)?)
    }

    /// Keeps the files of the database where they are until the answer is dropped: closing
    /// waits for that. Whoever has it gives up soon once [`Core::stopping`].
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub(crate) fn begin_in_caller(&self) -> Result<InCaller<'_>> {
        let mut state = self.background.state.lock();
        if state.stop {
            return Err(Error::Closed);
        }
        state.by_hand += 1;
        Ok(InCaller(self))
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
        begun: Begun,
    ) -> Result<Option<JobOutput>> {
        loop {
            let mut state = self.background.state.lock();
            if state.stop {
                return Err(Error::Closed);
            }
            let ended = self.background.ended();
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
            drop(version);
            let job = ByHand { core: self, keyspace, plan: Some(*plan) };
            let plan = job.plan.as_ref().expect("it has not ended");
            return self.run_plan(job.keyspace, plan, Haste::Awaited).map(Some);
        }
    }
}
