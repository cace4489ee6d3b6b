//! What an opening finishes, so that lives of any length and in any order keep the
//! database in shape.
//!
//! A life may be over before a background thread has done anything: the program reads one
//! key and ends, or is killed each time. So what such lives would leave for ever is bounded
//! here, before the opening returns:
//!
//! 1. Logs that nobody needs are removed, and so are the files that a job or a manifest of
//!    an earlier life has left.
//! 2. Where the logs are longer than the MemTables may get, or far more than their records
//!    need, for each life has begun one, all is flushed, and they go.
//! 3. Where these flushes have left many small runs in level 0, they are merged; what is
//!    larger only in proportion to what was flushed just now, for lives that are too short
//!    for a thread to do it. A life that wrote much itself has left more: its writers were
//!    held to the tree's rate, and the threads go on with it while the database is in use.
//! 4. Where many small tables lie side by side in a level, for each life has flushed its
//!    own, they are joined (see `tree::compaction::join`): so many in one opening.
//!
//! Each step is durable for itself, and the next opening goes on behind it. What fails
//! is left to the background, which tries again and tells of it.

use crate::background::compact::Haste;
use crate::core::Core;
use crate::read::view::KeyspaceState;
use crate::tree::compaction::{self, InFlight, Plan};
use crate::types::error::Result;
use std::sync::Arc;
use tanada_format::planted;

/// So many more logs than their records need are left alone.
const SPARE_LOGS: u64 = 8;

/// What an opening merges at least where much waits: a fraction of a second.
const SHORT_MERGE_BYTES: u64 = 32 << 20;

/// So much more than it has flushed an opening may merge of level 0: about what a byte costs
/// on its way to the last level.
const MERGED_PER_FLUSHED: u64 = 16;

/// Merges that an opening does at most: of level 0 of one keyspace, and of small tables of
/// all of them.
const MOST_MERGES: usize = 64;

/// What an opening may still merge, of whichever keyspaces.
struct Left {
    merges: usize,
    bytes: u64,
}

impl Left {
    /// Whether there is enough left for this one, which is taken then.
    fn take(&mut self, plan: &Plan) -> bool {
        let enough = self.merges > 0 && self.bytes >= plan.input_bytes();
        if enough {
            self.merges -= 1;
            self.bytes -= plan.input_bytes();
        }
        enough
    }
}

/// Whether a merge was done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ran {
    Yes,
    No,
}

impl Core {
    /// Does what must not wait. Costs nothing where nothing is due; else a removal for
    /// each file that nobody needs, a flush of what is in MemTables, and short merges.
    /// There are no threads yet, nor anybody who writes.
    ///
    /// # Errors
    /// Only what leaves unknown what is on disk.
    pub(crate) fn catch_up(&self) -> Result<()> {
        self.drop_old_logs();
        if planted!(logs_pile_up_with_openings) {
            return Ok(());
        }
        if self.has_too_much_log() {
            self.flush_before_anybody_writes()?;
        }
        // What the replay has flushed for want of room is in it.
        let flushed = self.jobs.flush.bytes_written();
        let bytes = SHORT_MERGE_BYTES.saturating_add(MERGED_PER_FLUSHED * flushed);
        let mut level_0 = Left { merges: usize::MAX, bytes };
        let mut left = Left { merges: MOST_MERGES, bytes: SHORT_MERGE_BYTES };
        for keyspace in self.reading.keyspaces.load().iter() {
            self.merge_what_flushes_left(keyspace, &mut level_0)?;
            self.join_small_tables(keyspace, &mut left)?;
        }
        // What cannot be removed stays in the queue, for the background.
        let _ = self.delete_files();
        Ok(())
    }

    fn flush_before_anybody_writes(&self) -> Result<()> {
        let keyspaces = self.reading.keyspaces.load();
        {
            let mut writer = self.commit.writer();
            self.seal(&mut writer, &keyspaces.all_of(self.unflushed.active()));
        }
        let sealed = keyspaces.all_of(self.unflushed.sealed(usize::MAX, |_| true));
        match self.flush_in_groups(&sealed) {
            Err(e) if self.reading.health.is_poisoned() => Err(e),
            _ => Ok(()),
        }
    }

    /// Whether the logs take more than twice what MemTables may, or are many more files
    /// than one life would have made of their records.
    fn has_too_much_log(&self) -> bool {
        let logs = self.wal.segments();
        let bytes: u64 = logs.iter().map(|log| log.bytes).sum();
        let records = logs.first().zip(logs.last()).map_or(0, |(a, b)| b.end.0 - a.start.0);
        let files = SPARE_LOGS + records / self.wal.largest_capacity();
        bytes > 2 * self.reading.budget.memtables_max || logs.len() as u64 > files
    }

    fn merge_what_flushes_left(
        &self,
        keyspace: &Arc<KeyspaceState>,
        left: &mut Left,
    ) -> Result<()> {
        let config = &self.config.compaction;
        for _ in 0..MOST_MERGES {
            let version = Arc::clone(&keyspace.view.load().version);
            if version.levels()[0].runs().len() as u64 <= config.calm_l0_runs() {
                return Ok(());
            }
            let nothing = InFlight::default();
            let picked = compaction::pick(&version, config, &nothing, self.picking_moment());
            let Some(plan) = picked.filter(|plan| left.take(plan)) else { return Ok(()) };
            if self.run_or_leave(keyspace, &plan)? == Ran::No {
                return Ok(());
            }
        }
        Ok(())
    }

    fn join_small_tables(&self, keyspace: &Arc<KeyspaceState>, left: &mut Left) -> Result<()> {
        let config = &self.config.compaction;
        loop {
            let version = Arc::clone(&keyspace.view.load().version);
            if !compaction::has_many_small_tables(&version, config) {
                return Ok(());
            }
            let (nothing, moment) = (InFlight::default(), self.picking_moment());
            let picked = compaction::pick_small_tables(&version, config, &nothing, moment);
            let Some(plan) = picked.filter(|plan| left.take(plan)) else { return Ok(()) };
            if self.run_or_leave(keyspace, &plan)? == Ran::No {
                return Ok(());
            }
        }
    }

    /// Runs a plan. One that fails is left to the background.
    fn run_or_leave(&self, keyspace: &Arc<KeyspaceState>, plan: &Plan) -> Result<Ran> {
        match self.run_plan(keyspace, plan, Haste::Awaited) {
            Ok(_) => Ok(Ran::Yes),
            Err(e) if self.reading.health.is_poisoned() => Err(e),
            Err(_) => Ok(Ran::No),
        }
    }
}

#[cfg(test)]
mod tests;
