//! Replay: from the log to MemTables, and to tables where MemTables have no room.
//!
//! The log is read to its end before anything on disk is changed, and a log may be
//! longer than what MemTables may hold: another process with more memory has left it, or
//! one that died when its flushes were far behind. So the first reading inserts records
//! as long as there is room, and only checks those behind. Then, with the end of the log
//! known and all of it durable, a second reading flushes and inserts by turns. Each flush
//! is durable for itself: an opening that dies is gone on with by the next, behind the
//! last flush.

use crate::control::budget::Budget;
use crate::core::Core;
use crate::memtable::{ChunkPool, Fixed, WriterToken, splits_bytes};
use crate::read::mem::Mem;
use crate::read::view::{KeyspaceState, Paid, View};
use crate::tree::manifest::Manifest;
use crate::types::error::{Error, Result};
use crate::types::keyspace_options;
use crate::types::options::Compression;
use crate::wal::group::Group;
use crate::wal::{self, RecordPlace, RecoverFrom};
use crate::write::cost::Cost;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tanada_format::{Corruption, KeyspaceId, LogPosition, SeqNo, planted};
use tanada_table::Published;
use tanada_vfs::sync::Mutex;

#[cfg(test)]
thread_local! {
    /// The most bytes that MemTables have held while this thread replayed.
    pub(super) static MOST_HELD: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Keyspaces being filled from the log.
pub(super) struct Replay {
    keyspaces: Vec<Arc<KeyspaceState>>,
    /// Of each keyspace.
    marks: Vec<Marks>,
    /// Keyspaces with something in their MemTables.
    filled: BTreeSet<KeyspaceId>,
    last_seqno: SeqNo,
    seal_bytes: u64,
    chunks: Arc<ChunkPool>,
    fixed: Fixed,
    /// Bytes of all MemTables.
    held: u64,
    /// They never hold more, unless a single record takes more.
    max: u64,
    /// Where the first record lies that found no room.
    stopped_at: Option<LogPosition>,
    /// The writes of the record that is looked at.
    cost: Cost,
}

/// Positions in the log that matter to a keyspace.
struct Marks {
    /// Where its tables end.
    from: LogPosition,
    /// Where the last record begins that has a write to it.
    touched: Option<LogPosition>,
}

impl Replay {
    /// `asked`: the compression that was given for the default keyspace.
    pub(super) fn new(
        manifest: &Manifest,
        dir: &Path,
        budget: &Budget,
        asked: Option<Compression>,
    ) -> Result<Replay> {
        let state = manifest.state();
        let mut keyspaces = Vec::with_capacity(state.keyspaces.len());
        let mut marks = Vec::with_capacity(state.keyspaces.len());
        let chunks = ChunkPool::new(budget.memtable_seal, Arc::clone(&budget.account));
        for (&id, keyspace) in &state.keyspaces {
            if id.0 as usize != keyspaces.len() {
                let what = "a keyspace was dropped".to_owned();
                return Err(Error::Unsupported { file: dir.to_owned(), what });
            }
            let created_with = keyspace_options::decode(&keyspace.options, dir)?;
            let asked = asked.filter(|_| id == KeyspaceId::DEFAULT);
            let view = View {
                active: Mem::new(&chunks),
                sealed: Vec::new(),
                version: Arc::clone(&keyspace.tables),
            };
            keyspaces.push(Arc::new(KeyspaceState {
                id,
                name: keyspace.name.clone(),
                compression: Mutex::new(asked.unwrap_or(created_with)),
                view: Published::new(Arc::new(view)),
                paid: Paid::nothing(),
            }));
            marks.push(Marks { from: keyspace.flushed_to, touched: None });
        }
        if keyspaces.is_empty() {
            let what = "the manifest knows no keyspace";
            return Err(Corruption::new(dir.join("CURRENT"), 0, what).into());
        }
        Ok(Replay {
            keyspaces,
            marks,
            filled: BTreeSet::new(),
            last_seqno: SeqNo::ZERO,
            seal_bytes: budget.memtable_seal,
            fixed: Fixed::of(&chunks),
            chunks,
            held: 0,
            max: budget.memtables_max,
            stopped_at: None,
            cost: Cost::default(),
        })
    }

    pub(super) fn keyspaces(&self) -> &[Arc<KeyspaceState>] {
        &self.keyspaces
    }

    pub(super) fn chunks(&self) -> &Arc<ChunkPool> {
        &self.chunks
    }

    /// The newest write in the log.
    pub(super) fn last_seqno(&self) -> SeqNo {
        self.last_seqno
    }

    /// Bytes of all MemTables.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// Bytes of those that are not sealed.
    pub(super) fn active_bytes(&self) -> u64 {
        self.filled().map(|k| k.view.load().active.size_bytes()).sum()
    }

    /// Whether MemTables had no room for all of the log.
    pub(super) fn is_cut_short(&self) -> bool {
        self.stopped_at.is_some()
    }

    /// Start of the oldest record that some MemTable needs, or that is in none yet.
    pub(super) fn oldest_needed(&self) -> Option<LogPosition> {
        let oldest = self.filled().filter_map(|k| k.view.load().oldest_position()).min();
        oldest.into_iter().chain(self.stopped_at).min()
    }

    fn filled(&self) -> impl Iterator<Item = &Arc<KeyspaceState>> {
        self.filled.iter().map(|id| &self.keyspaces[id.0 as usize])
    }

    /// Takes a record of the first reading: checks it, and inserts it if there is room
    /// for it and there was for all before it.
    pub(super) fn group(
        &mut self,
        place: &RecordPlace<'_>,
        payload: &[u8],
        token: &mut WriterToken,
    ) -> Result<()> {
        let group = Group::parse(payload).map_err(|e| place.corruption(e.offset, e.what))?;
        if group.first_seqno <= self.last_seqno {
            return Err(place.corruption(0, "its sequence numbers have been used before"));
        }
        let has_room = self.measure(place, &group)?;
        self.last_seqno = group.last_seqno();
        if self.stopped_at.is_none() && has_room {
            return self.insert(place, &group, token);
        }
        self.stopped_at.get_or_insert(place.start);
        Ok(())
    }

    /// Replays what found no room, if anything: the second reading. All of the log is
    /// durable, and `core` has the MemTables and writes where it ends.
    ///
    /// # Errors
    /// Those of a flush: a full disk, say. What was flushed before stays so.
    pub(super) fn replay_rest(&mut self, core: &Core) -> Result<()> {
        let Some(from) = self.stopped_at.take() else { return Ok(()) };
        self.flush(core, from)?;
        let oldest = core.manifest.lock().state().oldest_log;
        let reading = &core.reading;
        let recover_from = RecoverFrom { log: oldest, synced: core.wal.synced_position() };
        let visit = |place: RecordPlace<'_>, payload: &[u8]| {
            if place.start < from {
                return Ok(());
            }
            let group = Group::parse(payload).map_err(|e| place.corruption(e.offset, e.what))?;
            if !self.measure(&place, &group)? {
                self.flush(core, place.start)?;
            }
            self.insert(&place, &group, &mut core.commit.writer().token)
        };
        let (env, path) = (&reading.env, &reading.path);
        wal::recover(env, path, reading.database_id, recover_from, visit)?;
        reading.budget.memtable_bytes.store(self.held, Ordering::Relaxed);
        core.unflushed.look_at(&self.keyspaces);
        Ok(())
    }

    /// Brings all that is in MemTables into tables: all writes before `at`, and no others.
    fn flush(&mut self, core: &Core, at: LogPosition) -> Result<()> {
        core.reading.budget.memtable_bytes.store(self.held, Ordering::Relaxed);
        let filled: Vec<_> = self.filled().cloned().collect();
        for keyspace in &filled {
            self.seal(keyspace, at);
        }
        // Records from here on are in no MemTable, and needed.
        core.background.set_sealed_to(at);
        core.unflushed.look_at(&filled);
        core.flush_in_groups(&filled)?;
        self.filled.clear();
        self.held = 0;
        Ok(())
    }

    /// Checks the writes of a record; answers whether MemTables have room for them.
    fn measure(&mut self, place: &RecordPlace<'_>, group: &Group<'_>) -> Result<bool> {
        self.cost.clear();
        for entry in group.entries() {
            let (id, entry) = entry.map_err(|e| place.corruption(e.offset, e.what))?;
            let Some(marks) = self.marks.get(id.0 as usize) else {
                return Err(place.corruption(0, "it writes to a keyspace that does not exist"));
            };
            if entry.kind.is_reserved() {
                // Reads of other keys, too, would be answered wrongly.
                return Err(place.unsupported(format!("it holds a write of kind {:?}", entry.kind)));
            }
            if place.start >= marks.from {
                self.cost.add(id, entry.key.len(), entry.value.len());
            }
        }
        let entries_in =
            |id: KeyspaceId| self.keyspaces[id.0 as usize].view.load().active.table.entries();
        let splits = splits_bytes(self.cost.entries(), self.held);
        let cost = self.cost.growth(self.fixed, entries_in).most_bytes() + splits;
        let unbounded = planted!(restore_needs_a_larger_budget);
        Ok(unbounded || self.held == 0 || self.held + cost <= self.max)
    }

    fn insert(
        &mut self,
        place: &RecordPlace<'_>,
        group: &Group<'_>,
        token: &mut WriterToken,
    ) -> Result<()> {
        for entry in group.entries() {
            let (id, entry) = entry.map_err(|e| place.corruption(e.offset, e.what))?;
            let marks = &mut self.marks[id.0 as usize];
            if place.start < marks.from {
                continue;
            }
            if marks.touched != Some(place.start) {
                marks.touched = Some(place.start);
                self.touch(id, place.start);
            }
            let mem = &self.keyspaces[id.0 as usize].view.load().active;
            let before = mem.size_bytes();
            mem.table.insert(token, entry);
            self.held += mem.size_bytes() - before;
        }
        #[cfg(test)]
        MOST_HELD.set(MOST_HELD.get().max(self.held));
        Ok(())
    }

    /// The record at `start` is the next that writes to this keyspace.
    fn touch(&mut self, id: KeyspaceId, start: LogPosition) {
        let keyspace = Arc::clone(&self.keyspaces[id.0 as usize]);
        if keyspace.view.load().active.table.size_bytes() as u64 >= self.seal_bytes {
            self.seal(&keyspace, start);
        }
        keyspace.view.load().active.touch(start);
        self.filled.insert(id);
    }

    /// Seals what a keyspace's MemTable holds, between two records: `end` is where the
    /// next begins. Nobody else knows of the keyspace yet, so nobody has to be kept out.
    fn seal(&self, keyspace: &KeyspaceState, end: LogPosition) {
        let view = keyspace.view.load();
        if view.active.size_bytes() == 0 {
            return;
        }
        view.active.set_end(end);
        keyspace.view.store(Arc::new(view.with_new_active(&self.chunks)));
    }
}
