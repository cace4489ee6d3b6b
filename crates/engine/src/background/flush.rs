//! From sealed MemTables to tables of level 0.
//!
//! A flush takes all sealed MemTables of a keyspace at once and merges them.
//! It syncs the log up to where they end before its manifest edit: else a
//! power cut could keep these writes, in their table, and lose earlier ones of
//! other keyspaces, and what survives would be no prefix of the commit order.

use crate::core::Core;
use crate::read::holders::JobMoment;
use crate::read::mem::Mem;
use crate::read::view::{KeyspaceState, View};
use crate::tree::compaction::{self, JobIo, JobOutput, OutputOptions};
use crate::tree::manifest::Edit;
use crate::tree::merge::MergeCursor;
use crate::types::error::Result;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tanada_format::{Level, LogPosition, SeqNo, hash_key, planted};
use tanada_table::{Cursor, TableOptions};

impl Core {
    /// Seals the MemTables (of one keyspace, or of all) and waits until they
    /// are in tables.
    pub(crate) fn flush(&self, only: Option<&Arc<KeyspaceState>>) -> Result<()> {
        self.reading.health.check_readable()?;
        let keyspaces = match only {
            Some(keyspace) => vec![Arc::clone(keyspace)],
            None => self.reading.keyspaces.load().to_vec(),
        };
        let sealed_at = {
            let mut writer = self.commit.writer();
            // It may have been closed meanwhile, and be another process's by now.
            self.reading.health.check_readable()?;
            if keyspaces.iter().any(|k| k.view.load().active.size_bytes() > 0) {
                // Or the whole of a large log would stay for the sake of its last
                // record. That the new one cannot be made harms nothing.
                let _ = writer.wal.begin_anew();
            }
            for keyspace in &keyspaces {
                self.seal(&mut writer, keyspace);
            }
            writer.wal.position()
        };
        let waiting = |k: &Arc<KeyspaceState>| {
            k.view.load().sealed.iter().any(|mem| mem.end_position() <= sealed_at)
        };
        loop {
            let ended = self.background.ended();
            if !keyspaces.iter().any(waiting) {
                break;
            }
            if !self.wait_past(ended) {
                return Err(self.reading.health.why_nothing_changes());
            }
            if keyspaces.iter().any(waiting) && self.background.has_just_failed() {
                self.reading.health.check_writable()?;
            }
        }
        self.drop_old_logs_now();
        Ok(())
    }

    /// Writes all sealed MemTables of a keyspace to level 0. One such job a
    /// keyspace at a time.
    pub(crate) fn flush_sealed(&self, keyspace: &Arc<KeyspaceState>) -> Result<()> {
        let sealed = keyspace.view.load().sealed.clone();
        let Some(newest) = sealed.first() else { return Ok(()) };
        let flushed_to = match planted!(replay_boundary_too_high) {
            true => self.wal.position(),
            false => newest.end_position(),
        };
        let started = self.reading.env.clock.monotonic_ns();

        let output = self.write_memtables(keyspace, &sealed)?;
        self.wal.sync_up_to(flushed_to).map_err(|e| self.reading.health.poison(&e))?;
        self.install_flush(keyspace, &sealed, flushed_to, &output)?;
        // The old view's MemTables shall not outlive their place in the budget.
        keyspace.view.settle();

        let ns = self.reading.env.clock.monotonic_ns() - started;
        let bytes: u64 = sealed.iter().map(|m| m.table.size_bytes() as u64).sum();
        self.reading.budget.memtable_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.reading.rebalance();
        let from = sealed.iter().filter_map(|m| m.first_position()).min().unwrap_or(flushed_to);
        self.pacing.drained(flushed_to.0 - from.0, ns);
        self.jobs.flush.add(&output, ns);
        Ok(())
    }

    /// Merges MemTables into tables of one run, durable.
    fn write_memtables(&self, keyspace: &KeyspaceState, sealed: &[Arc<Mem>]) -> Result<JobOutput> {
        let mut moment = self.job_moment();
        moment.seqnos.retain(|_| !planted!(snapshot_missed_by_flush));
        let mut merged = MergeCursor::new(sealed.iter().map(|m| m.table.cursor()).collect());
        merged.seek_first()?;
        let config = &self.config.compaction;
        let guards = compaction::flush_guards(&keyspace.view.load().version, config);
        let options = OutputOptions {
            level: Level(0),
            snapshots: &moment.seqnos,
            now_ms: moment.now_ms,
            table_bytes: config.table_bytes,
            guards: &guards,
        };
        self.with_job_io(keyspace, |io| compaction::write_tables(merged, &options, io))
    }

    /// The readers that a job which starts now must leave as they are.
    pub(crate) fn job_moment(&self) -> JobMoment {
        self.reading.holders.job_moment(self.reading.now_ms())
    }

    /// What a job of this keyspace needs of the world.
    pub(crate) fn with_job_io<T>(
        &self,
        keyspace: &KeyspaceState,
        job: impl FnOnce(&JobIo<'_>) -> Result<T>,
    ) -> Result<T> {
        let next_id = || match self.table_ids.take() {
            Some(id) => Ok(id),
            // The block is used up: one sync reserves the next.
            None => self.manifest.lock().table_id().map_err(|e| self.reading.health.poison(&e)),
        };
        let table_options = |id, _level| {
            let mut options = TableOptions::new(id, self.reading.database_id);
            options.compression = (*keyspace.compression.lock()).into();
            options.keyspace = Some(keyspace.id);
            self.config.simulation.table(options)
        };
        job(&JobIo {
            files: &self.reading.tables,
            table_options: &table_options,
            next_id: &next_id,
            should_stop: &|| self.stopping() || !self.reading.health.may_work(),
            yield_point: &|_bytes| {},
            share_bytes: self.reading.budget.a_job(self.config.threads as u64),
            buffers: &|change| self.reading.job_buffers(change),
            threads: &*self.reading.env.threads,
        })
    }

    /// Manifest first, then the row cache, then the view: a reader finds each
    /// write in the MemTable until it can find it in the tables, and the row
    /// cache is clean of it before the MemTable goes.
    fn install_flush(
        &self,
        keyspace: &Arc<KeyspaceState>,
        sealed: &[Arc<Mem>],
        flushed_to: LogPosition,
        output: &JobOutput,
    ) -> Result<()> {
        let max_seqno = sealed.iter().map(|m| m.table.max_seqno()).max();
        let is_flushed = |m: &Arc<Mem>| sealed.iter().any(|s| Arc::ptr_eq(s, m));
        let mut manifest = self.manifest.lock();
        // What else is still needed of the log. A write that is inserted while
        // this looks lies behind the newest seal, so missing it does no harm. That
        // may be another keyspace's, flushed before: then this one ends earlier, and
        // yet nothing up to there is needed any more.
        let sealed_to = self.background.sealed_to().max(flushed_to);
        let keyspaces = self.reading.keyspaces.load();
        let views = keyspaces.iter().map(|k| k.view.load());
        let others = views.filter_map(|view| {
            view.mems().filter(|m| !is_flushed(m)).filter_map(|m| m.first_position()).min()
        });
        let needed = others.min().unwrap_or(sealed_to).min(sealed_to);
        let oldest_log = self.wal.oldest_needed_for(needed);
        let mut edit = Edit::of_tables(keyspace.id, output.edit.clone());
        edit.changed[0].flushed_to = Some(flushed_to);
        edit.oldest_log = Some(oldest_log);
        edit.last_seqno = max_seqno;
        edit.clock_high_ms = Some(self.reading.clock_high_ms.load(Ordering::Relaxed));
        let appended = manifest.append(&edit).map_err(|e| self.reading.health.poison(&e))?;

        if self.reading.row_cache.begin_invalidation() {
            self.forget_rows(keyspace, sealed)?;
        }
        let next = appended.versions.into_iter().find(|(id, _)| *id == keyspace.id);
        self.reading.change_view(keyspace, |view| View {
            active: Arc::clone(&view.active),
            sealed: view.sealed.iter().filter(|m| !is_flushed(m)).cloned().collect(),
            // None when nothing was left of the MemTables.
            version: next.map_or_else(|| Arc::clone(&view.version), |(_, version)| version),
        });
        // Cursors that walk these MemTables let them go when they move.
        self.reading.retired.0.fetch_add(1, Ordering::Release);
        self.background.set_oldest_log(oldest_log);
        Ok(())
    }

    /// Removes every key of these MemTables from the row cache.
    fn forget_rows(&self, keyspace: &KeyspaceState, sealed: &[Arc<Mem>]) -> Result<()> {
        for mem in sealed {
            let mut cursor = mem.table.cursor().visible_at(SeqNo::MAX);
            cursor.seek_first()?;
            while cursor.valid() {
                let key = cursor.entry().key;
                self.reading.row_cache.remove(keyspace.id, key, hash_key(key));
                cursor.next()?;
            }
        }
        Ok(())
    }
}
