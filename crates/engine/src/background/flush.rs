//! From sealed MemTables to tables of level 0.
//!
//! A flush takes all sealed MemTables of a keyspace at once and merges them; of many
//! small keyspaces one job takes many, for what it costs beside the bytes (syncs, an
//! edit) then comes once. It syncs the log up to where they end before its manifest edit: else a
//! power cut could keep these writes, in their table, and lose earlier ones of
//! other keyspaces, and what survives would be no prefix of the commit order.

use crate::core::Core;
use crate::core::unflushed::Start;
use crate::read::holders::JobMoment;
use crate::read::mem::Mem;
use crate::read::view::{KeyspaceState, View};
use crate::tree::compaction::visible::JobTime;
use crate::tree::compaction::{self, JobIo, JobOutput, OutputOptions, Written};
use crate::tree::manifest::{ChangedKeyspace, Edit};
use crate::tree::merge::MergeCursor;
use crate::types::error::Result;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tanada_format::{LogPosition, SeqNo, TableId, hash_key, planted};
use tanada_table::{Cursor, TableOptions};

/// Most keyspaces of one flush.
pub(crate) const FLUSHED_AT_ONCE: usize = 64;

/// Most bytes of MemTables that one flush takes of several keyspaces.
const FLUSHED_AT_ONCE_BYTES: u64 = 4 << 20;

/// The part of one keyspace in a flush.
struct Flush<'k> {
    keyspace: &'k Arc<KeyspaceState>,
    /// What it writes, newest first.
    sealed: Vec<Arc<Mem>>,
    /// Every write of the keyspace before this is in its tables afterwards.
    flushed_to: LogPosition,
}

impl Flush<'_> {
    fn starts(&self) -> impl Iterator<Item = Start> {
        let id = self.keyspace.id;
        self.sealed.iter().filter_map(move |mem| Some((mem.first_position()?, id)))
    }
}

/// When a flush goes on in another log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NewLog {
    /// When the present one is large: what is reserved for it goes with what is in it.
    IfLarge,
    /// When the present one holds anything.
    Always,
}

impl Core {
    /// Seals the MemTables (of one keyspace, or of all) and waits until they
    /// are in tables.
    pub(crate) fn flush(&self, only: Option<&Arc<KeyspaceState>>) -> Result<()> {
        self.flush_and_begin(only, NewLog::IfLarge).map(drop)
    }

    /// Flushes all, and lets go of every log that was written until now.
    ///
    /// # Errors
    /// As [`Core::flush`]; or why no other log could be begun, after the flush.
    pub(crate) fn flush_out_of_logs(&self) -> Result<()> {
        let (sealed_at, new_log) = self.flush_and_begin(None, NewLog::Always)?;
        new_log?;
        self.wal.sync_up_to(sealed_at).map_err(|e| self.reading.health.poison(&e))?;
        self.wal.tell_of_sync();
        {
            let mut manifest = self.manifest.lock();
            // It may have been closed meanwhile, and be another process's by now.
            self.reading.health.check_readable()?;
            // A MemTable that this misses, for it receives its first write, begins behind
            // the seal.
            let needed = self.unflushed.oldest().unwrap_or(sealed_at).min(sealed_at);
            let oldest_log = self.wal.oldest_needed_for(needed);
            if oldest_log > self.background.oldest_log() {
                let edit = Edit { oldest_log: Some(oldest_log), ..Edit::default() };
                manifest.append(&edit).map_err(|e| self.edit_failed(&manifest, e))?;
                self.background.set_oldest_log(oldest_log);
            }
        }
        self.drop_old_logs();
        Ok(())
    }

    /// Seals and waits. Answers where the log stood then, and whether another could be
    /// begun there, if that was wanted.
    fn flush_and_begin(
        &self,
        only: Option<&Arc<KeyspaceState>>,
        when: NewLog,
    ) -> Result<(LogPosition, Result<()>)> {
        self.reading.health.check_readable()?;
        let mut new_log = Ok(());
        let (keyspaces, sealed_at) = {
            let mut writer = self.commit.writer();
            // It may have been closed meanwhile, and be another process's by now.
            self.reading.health.check_readable()?;
            let keyspaces = match only {
                Some(keyspace) => vec![Arc::clone(keyspace)],
                None => {
                    let mut filled = self.unflushed.sealed(usize::MAX, |_| true);
                    filled.extend(self.unflushed.active());
                    self.reading.keyspaces.load().all_of(filled)
                }
            };
            if when == NewLog::Always {
                new_log = writer.wal.leave_log();
            } else if keyspaces.iter().any(|k| k.view.load().active.size_bytes() > 0) {
                // Or the whole of a large log would stay for the sake of its last
                // record. That the new one cannot be made harms nothing.
                let _ = writer.wal.begin_anew();
            }
            self.seal(&mut writer, &keyspaces);
            (keyspaces, writer.wal.position())
        };
        let waits = |k: &Arc<KeyspaceState>| {
            k.view.load().sealed.iter().any(|mem| mem.end_position() <= sealed_at)
        };
        // Those that are done stay so: none of them is asked again.
        let mut waiting = keyspaces.iter().peekable();
        loop {
            let ended = self.background.ended();
            while waiting.next_if(|&k| !waits(k)).is_some() {}
            if waiting.peek().is_none() {
                break;
            }
            if !self.wait_past(ended) {
                return Err(self.reading.health.why_nothing_changes());
            }
            if waiting.peek().is_some_and(|&k| waits(k)) && self.background.has_just_failed() {
                self.reading.health.check_writable()?;
            }
        }
        Ok((sealed_at, new_log))
    }

    /// Writes all sealed MemTables of these keyspaces to level 0, all of them with one
    /// sync of the log, one of the directory and one edit of the manifest. One such job a
    /// keyspace at a time.
    pub(crate) fn flush_sealed(&self, keyspaces: &[Arc<KeyspaceState>]) -> Result<()> {
        let started = self.reading.env.clock.monotonic_ns();
        let mut flushes = Vec::with_capacity(keyspaces.len());
        let mut written = Vec::with_capacity(keyspaces.len());
        for keyspace in keyspaces {
            let sealed = keyspace.view.load().sealed.clone();
            let Some(newest) = sealed.first() else { continue };
            let flushed_to = match planted!(replay_boundary_too_high) {
                true => self.wal.position(),
                false => newest.end_position(),
            };
            written.push(self.write_memtables(keyspace, &sealed)?);
            flushes.push(Flush { keyspace, sealed, flushed_to });
        }
        let Some(flushed_to) = flushes.iter().map(|flush| flush.flushed_to).max() else {
            return Ok(());
        };
        let threads = &*self.reading.env.threads;
        let outputs = compaction::sync_written(written, &self.reading.tables, threads)
            .map_err(|e| self.poison_if_unknown(e))?;
        self.wal.sync_up_to(flushed_to).map_err(|e| self.reading.health.poison(&e))?;
        self.wal.tell_of_sync();
        self.install_flush(&flushes, flushed_to, &outputs)?;
        // The old views' MemTables shall not outlive their place in the budget.
        for flush in &flushes {
            flush.keyspace.view.settle();
        }

        let ns = self.reading.env.clock.monotonic_ns() - started;
        let mems = || flushes.iter().flat_map(|flush| &flush.sealed);
        let bytes: u64 = mems().map(|m| m.table.size_bytes() as u64).sum();
        self.reading.budget.memtable_bytes.fetch_sub(bytes, Ordering::Relaxed);
        // What these had is divided now: there may be no other division while nobody writes.
        if planted!(flush_divides_what_it_holds) {
            self.reading.rebalance();
            drop(flushes);
        } else {
            drop(flushes);
            self.reading.rebalance();
        }
        let output = JobOutput::sum_of(&outputs);
        self.pacing.flushed(bytes, output.bytes_written, ns);
        self.jobs.flush.add(&output, ns);
        Ok(())
    }

    /// Flushes these keyspaces by as few jobs as [`Core::fit_one_flush`] allows: for an
    /// opening, before there are threads.
    pub(crate) fn flush_in_groups(&self, keyspaces: &[Arc<KeyspaceState>]) -> Result<()> {
        let mut rest = keyspaces;
        while !rest.is_empty() {
            let (group, behind) = rest.split_at(self.fit_one_flush(rest));
            self.flush_sealed(group)?;
            rest = behind;
        }
        Ok(())
    }

    /// How many keyspaces, from the first of these on, one flush takes: one that is
    /// large, or many that are small.
    pub(crate) fn fit_one_flush(&self, keyspaces: &[Arc<KeyspaceState>]) -> usize {
        let size = |keyspace: &Arc<KeyspaceState>| {
            keyspace.view.load().sealed.iter().map(|mem| mem.size_bytes()).sum::<u64>()
        };
        // Each has a file open until all are synced; the first is always admitted.
        let spare = self.config.descriptors(&*self.reading.env.fs).spare_of_a_flush();
        let most = (FLUSHED_AT_ONCE as u64).min(1 + spare) as usize;
        let mut bytes = 0;
        let fit = keyspaces.iter().take(most).take_while(|keyspace| {
            bytes += size(keyspace);
            bytes <= FLUSHED_AT_ONCE_BYTES
        });
        fit.count().max(1).min(keyspaces.len())
    }

    /// Merges MemTables into tables of one run, not yet durable.
    fn write_memtables(&self, keyspace: &KeyspaceState, sealed: &[Arc<Mem>]) -> Result<Written> {
        let mut moment = self.job_moment();
        moment.seqnos.retain(|_| !planted!(snapshot_missed_by_flush));
        let mut merged = MergeCursor::new(sealed.iter().map(|m| m.table.cursor()).collect());
        merged.seek_first()?;
        let config = &self.config.compaction;
        // What older versions there are lies in these tables, wherever a compaction moves
        // it meanwhile: no other flush of this keyspace is under way.
        let version = Arc::clone(&keyspace.view.load().version);
        let below: Vec<_> = version.runs().iter().map(|run| run.tables().to_vec()).collect();
        let guards = compaction::flush_guards(&version, config);
        let options = OutputOptions {
            snapshots: &moment.seqnos,
            time: JobTime { held_ms: moment.now_ms, clock_ms: moment.clock_ms },
            table_bytes: config.table_bytes,
            guards: &guards,
            table: self.table_options(keyspace),
            next_id: &|| self.next_table_id(),
        };
        // Writers wait for it: it gives way to nobody.
        self.with_job_io(&|_bytes| {}, |io| {
            let mut older = compaction::Older::new(&below);
            compaction::write_unsynced(merged, |key| older.may_hold(key), &options, io)
        })
    }

    /// The readers that a job which starts now must leave as they are.
    pub(crate) fn job_moment(&self) -> JobMoment {
        self.reading.holders.job_moment(self.reading.removable_ms())
    }

    /// An unused number of the table counter.
    pub(crate) fn next_table_id(&self) -> Result<TableId> {
        self.table_ids(1)
    }

    /// The first of `count` unused numbers of the table counter that follow each other.
    pub(crate) fn table_ids(&self, count: u64) -> Result<TableId> {
        match self.table_ids.take_many(count) {
            Some(first) => Ok(first),
            // The block is used up: one sync reserves the next.
            None => {
                let mut manifest = self.manifest.lock();
                manifest.table_ids(count).map_err(|e| self.edit_failed(&manifest, e))
            }
        }
    }

    /// How new tables of this keyspace are built, but for their ids.
    pub(crate) fn table_options(&self, keyspace: &KeyspaceState) -> TableOptions {
        let mut options = TableOptions::new(TableId(0), self.reading.database_id);
        options.compression = (*keyspace.compression.lock()).into();
        options.keyspace = Some(keyspace.id);
        options.epoch = self.reading.epoch;
        self.config.simulation.table(options)
    }

    /// What a job needs of the world. It calls `yield_point` with the bytes of entries that
    /// it has merged since the last call.
    pub(crate) fn with_job_io<T>(
        &self,
        yield_point: &(dyn Fn(u64) + Sync),
        job: impl FnOnce(&JobIo<'_>) -> Result<T>,
    ) -> Result<T> {
        job(&JobIo {
            files: &self.reading.tables,
            should_stop: &|| self.stopping() || !self.reading.health.may_work(),
            yield_point,
            share_bytes: self.reading.budget.a_job(self.config.threads as u64),
            buffers: &|change| self.reading.job_buffers(change),
            threads: &*self.reading.env.threads,
        })
        .map_err(|e| self.poison_if_unknown(e))
    }

    /// Manifest first, then the row cache, then the views: a reader finds each
    /// write in the MemTable until it can find it in the tables, and the row
    /// cache is clean of it before the MemTable goes.
    fn install_flush(
        &self,
        flushes: &[Flush<'_>],
        flushed_to: LogPosition,
        outputs: &[JobOutput],
    ) -> Result<()> {
        let starts: HashSet<Start> = flushes.iter().flat_map(Flush::starts).collect();
        let mut manifest = self.manifest.lock();
        // What else is still needed of the log. A write that is inserted while
        // this looks lies behind the newest seal, so missing it does no harm. That
        // may be another keyspace's, flushed before: then this one ends earlier, and
        // yet nothing up to there is needed any more.
        let mut sealed_to = self.background.sealed_to().max(flushed_to);
        let oldest = self.unflushed.oldest_beside(&starts);
        if planted!(log_let_go_under_a_seal) {
            sealed_to = self.background.sealed_to().max(flushed_to);
        }
        let needed = oldest.unwrap_or(sealed_to).min(sealed_to);
        let oldest_log = self.wal.oldest_needed_for(needed);
        let changed = flushes.iter().zip(outputs).map(|(flush, output)| ChangedKeyspace {
            id: flush.keyspace.id,
            flushed_to: Some(flush.flushed_to),
            options: None,
            tables: output.edit.clone(),
        });
        let mems = flushes.iter().flat_map(|flush| &flush.sealed);
        let edit = Edit {
            changed: changed.collect(),
            oldest_log: Some(oldest_log),
            last_seqno: mems.map(|m| m.table.max_seqno()).max(),
            time: Some(self.reading.durable_time()),
            ..Edit::default()
        };
        let appended = manifest.append(&edit).map_err(|e| {
            outputs.iter().for_each(|output| self.give_up(&manifest, output));
            self.edit_failed(&manifest, e)
        })?;

        let late = planted!(rows_forgotten_behind_the_view);
        if !late && self.reading.row_cache.begin_invalidation() {
            for flush in flushes {
                self.forget_rows(flush.keyspace, &flush.sealed)?;
            }
        }
        let mut versions: HashMap<_, _> = appended.versions.into_iter().collect();
        for flush in flushes {
            if planted!(memtable_gone_before_its_table_is_there) {
                self.reading.change_view(flush.keyspace, |view| View {
                    active: Arc::clone(&view.active),
                    sealed: Vec::new(),
                    version: Arc::clone(&view.version),
                });
            }
            // None when nothing was left of the MemTables.
            let next = versions.remove(&flush.keyspace.id);
            let is_flushed = |m: &Arc<Mem>| flush.sealed.iter().any(|s| Arc::ptr_eq(s, m));
            self.reading.change_view(flush.keyspace, |view| View {
                active: Arc::clone(&view.active),
                sealed: view.sealed.iter().filter(|m| !is_flushed(m)).cloned().collect(),
                version: next.unwrap_or_else(|| Arc::clone(&view.version)),
            });
        }
        if late && self.reading.row_cache.begin_invalidation() {
            for flush in flushes {
                self.forget_rows(flush.keyspace, &flush.sealed)?;
            }
        }
        // Cursors that walk these MemTables let them go when they move.
        self.reading.retired.0.fetch_add(1, Ordering::Release);
        self.unflushed.flushed(starts);
        self.background.set_oldest_log(oldest_log);
        self.drop_old_logs();
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
