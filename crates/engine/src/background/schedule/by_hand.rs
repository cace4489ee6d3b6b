//! Compactions that somebody asked for: the same plans as those of the background, run in
//! the thread of the caller.

use crate::core::Core;
use crate::read::scan::Bounds;
use crate::read::view::KeyspaceState;
use crate::tree::compaction::{self, JobOutput, ManualStep, Plan};
use crate::types::error::{Error, Result};
use std::sync::Arc;
use tanada_format::TableId;

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
}
