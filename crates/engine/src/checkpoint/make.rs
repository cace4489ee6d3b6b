//! Making a checkpoint.

use super::moment::Moment;
use super::staging::Staging;
use super::tables::{COPY_BYTES, Putter, Tables};
use crate::core::Core;
use crate::core::jobs::MadeCheckpoint;
use crate::tree::manifest::Manifest;
use crate::types::error::{Error, Result};
use crate::wal::{self, LogOwner, RecoverFrom};
use std::path::{Path, PathBuf};
use tanada_format::{SeqNo, planted};

/// What a checkpoint holds, and how it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct CheckpointSummary {
    /// Its directory, as it was asked for.
    pub path: PathBuf,
    /// Sequence number of the newest write in it.
    pub seqno: u64,
    /// Keyspaces, the default one among them.
    pub keyspaces: u64,
    /// Tables.
    pub tables: u64,
    /// Of these, copied, because they could not be linked.
    pub copied_tables: u64,
    /// Bytes of the tables that are linked: they take no room until the database replaces
    /// its own.
    pub linked_bytes: u64,
    /// Bytes that were written: copied tables, the log's part, the manifest.
    pub written_bytes: u64,
    /// Of these, of the log: writes that were in no table yet.
    pub log_bytes: u64,
    /// How long it took.
    pub duration_ms: u64,
}

impl Core {
    /// Makes a checkpoint in `target`.
    ///
    /// # Errors
    /// As [`crate::Db::checkpoint`].
    pub(crate) fn checkpoint(&self, target: &Path) -> Result<CheckpointSummary> {
        self.reading.health.check_readable()?;
        let clock = &self.reading.env.clock;
        let began_ns = clock.monotonic_ns();
        self.jobs.checkpoints.begin();
        let made = self.make_checkpoint(target);
        let ns = clock.monotonic_ns().saturating_sub(began_ns);
        let noted = made.as_ref().ok().map(|made| MadeCheckpoint {
            seqno: SeqNo(made.seqno),
            linked_bytes: made.linked_bytes,
            written_bytes: made.written_bytes,
        });
        self.jobs.checkpoints.end(noted, ns);
        let mut summary = made?;
        summary.duration_ms = ns / 1_000_000;
        Ok(summary)
    }

    fn make_checkpoint(&self, target: &Path) -> Result<CheckpointSummary> {
        let in_caller = self.begin_in_caller()?;
        let staging = Staging::begin(&self.reading.env.fs, &self.reading.path, target)?;
        let made = self.fill_checkpoint(&staging);
        // What was let go of meanwhile, and was kept for the checkpoint.
        self.drop_old_logs();
        let mut summary = made?;
        staging.finish()?;
        drop(in_caller);
        summary.path = target.to_owned();
        Ok(summary)
    }

    /// Writes all files, and makes their bytes durable.
    fn fill_checkpoint(&self, staging: &Staging) -> Result<CheckpointSummary> {
        let (env, dir) = (&self.reading.env, staging.dir());
        let database = self.reading.database_id;
        let should_stop = || if self.stopping() { Err(Error::Closed) } else { Ok(()) };
        let mut moment = self.checkpoint_moment()?;
        let owner = LogOwner { database, epoch: moment.state.epoch };
        let buffers = JobBuffers::take(self, COPY_BYTES as i64);

        let copy_log = |moment: &Moment| {
            let source = (&*self.reading.path, &*moment.segments);
            let target = (dir, moment.log_id());
            wal::copy(env, source, owner, &moment.log, target, &should_stop)
        };
        let mut log = None;
        if planted!(checkpoint_log_before_tables) {
            log = Some(copy_log(&moment)?);
            let (range, id) = (moment.log.clone(), moment.log_id());
            moment = self.checkpoint_moment()?;
            (moment.state.log_synced, moment.state.oldest_log) = (range.end, id);
        }
        let mut putter = Putter {
            fs: &*env.fs,
            dir,
            cache: &self.reading.block_cache,
            should_stop: &should_stop,
            only_copies: false,
            done: Tables::default(),
        };
        for keyspace in moment.state.keyspaces.values() {
            for table in keyspace.tables.tables() {
                putter.put(table)?;
            }
        }
        let tables = putter.done;
        let log = log.map_or_else(|| copy_log(&moment), Ok)?;
        let part_bytes = self.manifest.lock().snapshot_part_bytes;
        Manifest::write_copy(&*env.fs, dir, database, &moment.state, part_bytes)?;

        // Read back, as an opening would.
        let manifest_bytes = Manifest::check_copy(&*env.fs, dir, database, &moment.state)?;
        let from = RecoverFrom { log: log.id, synced: moment.state.log_synced() };
        wal::recover(env, dir, owner, from, |_, _| should_stop())?;
        drop(buffers);
        Ok(CheckpointSummary {
            path: PathBuf::new(),
            seqno: moment.seqno.0,
            keyspaces: moment.state.keyspaces.len() as u64,
            tables: tables.linked + tables.copied,
            copied_tables: tables.copied,
            linked_bytes: tables.linked_bytes,
            written_bytes: tables.copied_bytes + log.bytes + manifest_bytes,
            log_bytes: log.bytes,
            duration_ms: 0,
        })
    }
}

/// What the buffers of a checkpoint take of the memory budget.
struct JobBuffers<'c> {
    core: &'c Core,
    bytes: i64,
}

impl<'c> JobBuffers<'c> {
    fn take(core: &'c Core, bytes: i64) -> JobBuffers<'c> {
        core.reading.job_buffers(bytes);
        JobBuffers { core, bytes }
    }
}

impl Drop for JobBuffers<'_> {
    fn drop(&mut self) {
        self.core.reading.job_buffers(-self.bytes);
    }
}
