//! Running compactions: one plan, or all that a range needs, by hand.

use crate::control::io_rate::{JobRate, Reads, Waits};
use crate::core::Core;
use crate::read::scan::Bounds;
use crate::read::view::{KeyspaceState, View};
use crate::tree::compaction::visible::JobTime;
use crate::tree::compaction::{
    self, Begun, JobHash, JobIo, JobOutput, JobSettings, Method, Outputs, OwnJob, Plan, TableFormat,
};
use crate::tree::manifest::{Edit, FileName};
use crate::types::compactor::Compactor;
use crate::types::error::Result;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tanada_format::{Corruption, TableId, planted};
use tanada_vfs::sync::atomic::AtomicU64;

/// What a compaction by hand did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct CompactSummary {
    /// Jobs that were run.
    pub jobs: u64,
    /// Tables of the keyspace before and after.
    pub tables_before: u64,
    /// Tables of the keyspace after.
    pub tables_after: u64,
    /// Bytes of these tables before.
    pub bytes_before: u64,
    /// Bytes of these tables after.
    pub bytes_after: u64,
    /// Entries that were overwritten, deleted or expired, and are gone.
    pub entries_dropped: u64,
}

/// Whether somebody waits for a compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haste {
    /// A caller does.
    Awaited,
    /// Nobody.
    None,
}

impl Core {
    /// Merges all tables of the range down to the last level, MemTables first; then removes
    /// the tables that this has replaced, and the logs that held what is in tables now. On
    /// return the directory holds nothing of a value that was overwritten or deleted
    /// before, unless somebody reads at an earlier moment.
    pub(crate) fn compact(
        &self,
        keyspace: &Arc<KeyspaceState>,
        bounds: &Bounds,
    ) -> Result<CompactSummary> {
        self.reading.health.check_readable()?;
        // Later writes are not its business: it must end though writers go on.
        let begun = Begun { seqno: self.reading.visible(), now_ms: self.reading.removable_ms() };
        let out_of_logs = self.flush_out_of_logs();
        if out_of_logs.is_err() {
            // The tables can be merged all the same; the logs are told of at the end.
            self.flush(Some(keyspace))?;
        }
        let count = |summary: &mut (u64, u64)| {
            let version = &keyspace.view.load().version;
            *summary = (version.table_count() as u64, version.size_bytes());
        };
        let (mut before, mut after) = ((0, 0), (0, 0));
        count(&mut before);
        let mut summary = CompactSummary::default();
        while let Some(output) = self.run_next_by_hand(keyspace, bounds, begun)? {
            summary.jobs += 1;
            summary.entries_dropped += output.entries_in - output.entries_out;
        }
        count(&mut after);
        self.remove_files_by_hand()?;
        out_of_logs?;
        (summary.tables_before, summary.bytes_before) = before;
        (summary.tables_after, summary.bytes_after) = after;
        Ok(summary)
    }

    /// Carries out a plan that is marked as in flight, and installs its edit. Where nobody
    /// waits for it, readers have the disk first.
    ///
    /// # Errors
    /// Those of the job or of the manifest. Inputs stay as they were, and outputs are
    /// removed, unless the database is poisoned by it.
    pub(crate) fn run_plan(
        &self,
        keyspace: &Arc<KeyspaceState>,
        plan: &Plan,
        haste: Haste,
    ) -> Result<JobOutput> {
        let started = self.reading.env.clock.monotonic_ns();
        let mut moment = self.job_moment();
        moment.seqnos.retain(|_| !planted!(snapshot_dirty_read_during_compaction));
        let reads = || {
            let (begun, in_flight) = self.reading.block_cache.reads();
            Reads { begun, in_flight }
        };
        let newest = AtomicU64::new(self.reading.visible().0);
        let is_over = || {
            let somebody_writes = self.reading.visible().0 != newest.load(Relaxed);
            let is_behind = self.pacing.is_behind(somebody_writes);
            (is_behind && !planted!(readers_hold_up_a_tree_that_is_behind))
                || self.stopping()
                || !self.reading.health.may_work()
        };
        let clock = &*self.reading.env.clock;
        let rate = JobRate::new(&self.io_rate, Waits { clock, reads: &reads, is_over: &is_over });
        let yield_point = |bytes| match haste {
            Haste::Awaited => {}
            Haste::None if planted!(compaction_takes_the_disk) => {}
            Haste::None => {
                rate.hold(bytes);
                newest.store(self.reading.visible().0, Relaxed);
            }
        };
        let settings = JobSettings {
            database: self.reading.database_id,
            epoch: self.reading.epoch,
            keyspace: keyspace.id,
            format: TableFormat::of(&self.table_options(keyspace)),
            snapshots: moment.seqnos,
            time: JobTime { held_ms: moment.now_ms, clock_ms: moment.clock_ms },
        };
        let output = match plan.method {
            Method::Merge => self.with_job_io(&yield_point, |io| self.merge(plan, settings, io))?,
            Method::Move | Method::Drop => {
                let id = self.next_table_id()?;
                let edit = plan.edit_without_merge(|| id).expect("only a merge needs merging");
                JobOutput { edit, ..JobOutput::default() }
            }
        };
        {
            let mut manifest = self.manifest.lock();
            let edit = Edit::of_tables(keyspace.id, output.edit.clone());
            let appended = manifest.append(&edit).map_err(|e| {
                self.give_up(&manifest, &output);
                self.edit_failed(&manifest, e)
            })?;
            // Under the manifest's lock, so that versions are installed in its order.
            for (_, version) in appended.versions {
                self.reading.change_view(keyspace, |view| View {
                    active: Arc::clone(&view.active),
                    sealed: view.sealed.clone(),
                    version,
                });
            }
        }
        // The old view would keep the files of the inputs.
        keyspace.view.settle();
        let ns = self.reading.env.clock.monotonic_ns() - started;
        let ns = ns.saturating_sub(rate.waited_ns());
        match plan.method {
            Method::Merge => self.jobs.compaction.add(&output, ns),
            Method::Move => self.jobs.compaction.add_move(),
            Method::Drop => {}
        }
        self.reading.rebalance();
        Ok(output)
    }

    /// Merges the tables of a plan, here or elsewhere, and answers what would put the
    /// outputs in their place.
    fn merge(&self, plan: &Plan, settings: JobSettings, io: &JobIo<'_>) -> Result<JobOutput> {
        let parts = compaction::parts_worth_it(plan, io.threads.parallelism());
        let mut job = OwnJob::new(plan, settings, parts);
        job.number_outputs(self.table_ids(job.ids_wanted())?);
        let mut elsewhere = None;
        if let Some(compactor) = &self.config.compactor {
            elsewhere = self.merge_elsewhere(&job, &**compactor);
            // Whatever else has an id of the job is nobody's.
            self.discard_ids(&job, elsewhere.as_ref());
            if elsewhere.is_none() {
                job.number_outputs(self.table_ids(job.ids_wanted())?);
            }
        }
        let is_own = elsewhere.is_none();
        let outputs = match elsewhere {
            Some(outputs) => outputs,
            None => {
                let outputs = compaction::run_job(&job, &job.held_inputs(), io)?;
                self.check(&job, &outputs)?;
                outputs
            }
        };
        if outputs.tables().next().is_some()
            && let Err(e) = self.reading.tables.publish()
        {
            self.discard(&job, &outputs);
            return Err(e);
        }
        // Ids that name nothing. Those of other parts are between ids that do. Of a job that
        // was done elsewhere none comes back: somebody may be late.
        if let Some(last) = job.parts.last().filter(|_| is_own) {
            let used = outputs.tables().map(|meta| meta.id.0 + 1).max().unwrap_or(0);
            self.table_ids.give_back(TableId(used.max(last.first_id.0)), last.end_id);
        }
        JobOutput::of_outputs(plan, outputs, || self.next_table_id())
    }

    /// Lets `compactor` carry out a job, and checks what it answers, file by file; `None`
    /// when it does not take it, or fails: that is counted, and no failure of the database.
    fn merge_elsewhere(&self, job: &OwnJob, compactor: &dyn Compactor) -> Option<Outputs> {
        // One that no bytes may hold is done here.
        let bytes = job.encode().ok()?;
        match self.outputs_of(job, &bytes, compactor.compact(&bytes)) {
            Ok(outputs) => {
                self.jobs.offloaded.note_answer(outputs.is_some());
                outputs
            }
            Err(e) => {
                self.jobs.offloaded.note_failure(&e);
                None
            }
        }
    }

    /// What an answer of a compactor tells of, once it and the files have been checked.
    fn outputs_of(
        &self,
        job: &OwnJob,
        bytes: &[u8],
        answer: Result<Option<Vec<u8>>>,
    ) -> Result<Option<Outputs>> {
        let Some(answer) = answer? else { return Ok(None) };
        let outputs = Outputs::decode(&answer, job.database, JobHash::of(bytes), job.target)?;
        self.check(job, &outputs)?;
        compaction::check_files(&outputs, &self.reading.tables)?;
        Ok(Some(outputs))
    }

    /// Removes each table of a job's ids that there is, but for those that it answered. Of
    /// a compactor that has failed nobody knows what it has written; nothing else has these
    /// ids. One look at the directory; what cannot be removed the next opening finds.
    fn discard_ids(&self, job: &OwnJob, kept: Option<&Outputs>) {
        if planted!(failed_compactor_leaves_files) {
            return;
        }
        let is_kept = |id| kept.is_some_and(|kept| kept.tables().any(|table| table.id == id));
        let tables = &self.reading.tables;
        for entry in tables.fs.read_dir(&tables.dir).unwrap_or_default() {
            if let Some(FileName::Table(id)) = FileName::parse(&entry.name)
                && job.parts.iter().any(|part| part.has_id(id))
                && !is_kept(id)
            {
                tables.discard(id);
            }
        }
    }

    /// Refuses outputs that are not what the job must have written, and removes them.
    fn check(&self, job: &OwnJob, outputs: &Outputs) -> Result<()> {
        compaction::check_outputs(job, outputs).map_err(|bad| {
            self.discard(job, outputs);
            Corruption::new(&self.reading.path, 0, bad.to_string()).into()
        })
    }

    /// Removes outputs that nobody will use: of those that are told of the ones that have
    /// ids of the job, and no other file.
    fn discard(&self, job: &OwnJob, outputs: &Outputs) {
        let is_ours = |id| job.parts.iter().any(|part| part.has_id(id));
        let ours = outputs.tables().map(|table| table.id).filter(|&id| is_ours(id));
        ours.for_each(|id| self.reading.tables.discard(id));
    }
}

#[cfg(test)]
mod elsewhere_tests;
#[cfg(test)]
mod tests;
