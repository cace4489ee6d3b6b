//! The one read path of single keys.
//!
//! MemTables newest first, then the row cache, then tables newest first. The
//! row cache comes behind the MemTables because they hold the newest truth; it
//! holds the newest version *in tables*, and a flush removes from it what it
//! writes before the flushed MemTable leaves the view.

use crate::compaction::visible::is_expired;
use crate::core::{Core, KeyspaceState, View};
use crate::counters::Count;
use crate::error::{Error, Result};
use crate::explain::{Explain, Outcome, Step, Tier};
use crate::row_cache::Row;
use crate::scan::{VisibleCursor, unsupported};
use std::cell::Cell;
use std::sync::Arc;
use tanada_format::{EntryRef, SeqNo, ValueKind, hash_key};
use tanada_table::{GetContext, GetTrace, ReadMode, Value};

/// Where a read may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sources {
    /// Everywhere.
    All,
    /// Only in memory; [`Error::WouldBlock`] when that does not decide.
    Memory,
}

/// A pinned view and the newest write that a read of it sees.
pub(crate) struct Moment {
    view: arc_swap::Guard<Arc<View>>,
    seqno: SeqNo,
    /// The row cache's, from before the view was pinned; `None` for a reader
    /// whose finds are not for the row cache.
    generation: Option<u64>,
}

/// A live value.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) value: Value,
    pub(crate) seqno: SeqNo,
    /// 0 for never.
    pub(crate) expires_at_ms: u64,
}

impl Core {
    /// What a read of `keyspace` now stands on. Takes no lock, moves no counter.
    #[inline]
    pub(crate) fn moment(&self, keyspace: &KeyspaceState) -> Moment {
        // The order of these three matters: see `RowCache` and `Core::visible`.
        let generation = self.row_cache.generation();
        let view = keyspace.view.load();
        Moment { seqno: self.visible(), view, generation: Some(generation) }
    }

    /// As [`Core::moment`], for several reads that must agree: its view holds
    /// every write that its seqno sees. Otherwise one key could be answered by
    /// the row cache with a write that came after the view was pinned, and
    /// another of the same batch by the view's tables, without it.
    pub(crate) fn exact_moment(&self, keyspace: &KeyspaceState) -> Moment {
        loop {
            let moment = self.moment(keyspace);
            // Unchanged behind the seqno: it was the newest view when the seqno was read.
            if Arc::ptr_eq(&moment.view, &keyspace.view.load()) {
                return moment;
            }
        }
    }

    /// The newest live version of `key` that a reader `at` a snapshot (now, for
    /// `None`) sees. Takes no lock on MemTables or on blocks in memory.
    #[inline]
    pub(crate) fn get(
        &self,
        keyspace: &KeyspaceState,
        key: &[u8],
        at: Option<SeqNo>,
        sources: Sources,
    ) -> Result<Option<Found>> {
        let mut moment = self.moment(keyspace);
        if let Some(seqno) = at {
            // The row cache keeps newest versions only: a snapshot may use them
            // where it sees them, and has none to give.
            (moment.seqno, moment.generation) = (seqno, None);
        }
        self.get_at(keyspace, key, &moment, sources)
    }

    /// As [`Core::get`], at a moment that may serve several reads.
    #[inline]
    pub(crate) fn get_at(
        &self,
        keyspace: &KeyspaceState,
        key: &[u8],
        moment: &Moment,
        sources: Sources,
    ) -> Result<Option<Found>> {
        let Moment { view, seqno, generation } = moment;
        let found = match memtable_entry(view, key, *seqno) {
            Some(entry) => {
                self.counters.add(Count::MemTableHits, 1);
                self.judge_entry(&entry)?
            }
            None => {
                let hash = hash_key(key);
                match self.row_cache.get(keyspace.id, key, hash, *seqno) {
                    Some(row) => self.judge_row(row),
                    None => {
                        let row = self.get_from_tables(view, key, hash, *seqno, sources)?;
                        if let (Some(row), Some(generation)) = (&row, generation) {
                            self.row_cache.insert(keyspace.id, key, hash, row, *generation);
                        }
                        row.and_then(|row| self.judge_row(row))
                    }
                }
            }
        };
        self.counters.add(Count::Gets, 1);
        if found.is_some() {
            self.counters.add(Count::GetsFound, 1);
        }
        Ok(found)
    }

    /// The newest version in tables; `None` also for a tombstone.
    fn get_from_tables(
        &self,
        view: &View,
        key: &[u8],
        hash: u64,
        seqno: SeqNo,
        sources: Sources,
    ) -> Result<Option<Row>> {
        let mode = match sources {
            Sources::All => ReadMode::MayRead,
            Sources::Memory => ReadMode::MemoryOnly,
        };
        let context = GetContext { mode, ..GetContext::default() };
        for level in view.version.levels() {
            for run in level.runs() {
                let Some(handle) = run.find(key) else { continue };
                self.counters.add(Count::TableProbes, 1);
                // Opening reads the footer: a memory-only read must not.
                let table = match sources {
                    Sources::All => handle.table()?,
                    Sources::Memory => handle.opened_table().ok_or(Error::WouldBlock)?,
                };
                if let Some(found) = table.get(key, hash, seqno, &context)? {
                    return Ok(row_of(found)?);
                }
            }
        }
        Ok(None)
    }

    fn judge_entry(&self, entry: &EntryRef<'_>) -> Result<Option<Found>> {
        match entry.kind {
            ValueKind::Delete => Ok(None),
            ValueKind::Put if self.has_expired(entry.expires_at_ms) => Ok(None),
            ValueKind::Put => Ok(Some(Found {
                value: Value::from(entry.value),
                seqno: entry.seqno,
                expires_at_ms: entry.expires_at_ms,
            })),
            kind => Err(unsupported(kind).into()),
        }
    }

    fn judge_row(&self, row: Row) -> Option<Found> {
        if self.has_expired(row.expires_at_ms) {
            return None;
        }
        Some(Found { value: row.value, seqno: row.seqno, expires_at_ms: row.expires_at_ms })
    }

    /// Asks the clock only for what can expire.
    #[inline]
    fn has_expired(&self, expires_at_ms: u64) -> bool {
        expires_at_ms != 0 && is_expired(expires_at_ms, self.now_ms())
    }

    /// A cursor over a keyspace `at` a moment.
    pub(crate) fn visible_cursor(
        &self,
        keyspace: &KeyspaceState,
        at: Option<SeqNo>,
    ) -> VisibleCursor {
        let view = keyspace.view.load_full();
        let seqno = at.unwrap_or_else(|| self.visible());
        VisibleCursor::new(view, seqno, self.now_ms())
    }

    /// As [`Core::get`] now, noting every tier that is asked. Slower: it reads
    /// the clock at each step.
    pub(crate) fn explain(&self, keyspace: &KeyspaceState, key: &[u8]) -> Result<Explain> {
        let mut path = Path { core: self, steps: Vec::new(), started_ns: 0, step_ns: 0 };
        path.started_ns = self.env.clock.monotonic_ns();
        path.step_ns = path.started_ns;
        let generation = self.row_cache.generation();
        let view = keyspace.view.load();
        let seqno = self.visible();
        self.counters.add(Count::Gets, 1);
        for (age, mem) in view.mems().enumerate() {
            let entry = mem.table.get(key, seqno);
            let (tier, name) = match age {
                0 => (Tier::MemTable, "active".to_owned()),
                n => (Tier::SealedMemTable, format!("sealed {n}")),
            };
            let Some(entry) = entry else {
                path.step(tier, name, Outcome::Miss);
                continue;
            };
            self.counters.add(Count::MemTableHits, 1);
            let found = self.judge_entry(&entry)?;
            path.step(tier, name, Outcome::of(&found));
            return Ok(path.end(found, Some(entry.seqno)));
        }
        let hash = hash_key(key);
        if let Some(row) = self.row_cache.get(keyspace.id, key, hash, seqno) {
            let version = row.seqno;
            let found = self.judge_row(row);
            path.step(Tier::RowCache, "L1".to_owned(), Outcome::of(&found));
            return Ok(path.end(found, Some(version)));
        }
        path.step(Tier::RowCache, "L1".to_owned(), Outcome::Miss);
        for (level, handle) in view.version.tables_for_key(key) {
            let name = format!("{level} {}.sst", handle.id());
            self.counters.add(Count::TableProbes, 1);
            let trace = Cell::new(GetTrace::default());
            let context = GetContext { trace: Some(&trace), ..GetContext::default() };
            let found = handle.table()?.get(key, hash, seqno, &context)?;
            path.table(&name, &trace.get(), found.is_some());
            let Some(found) = found else { continue };
            let version = found.seqno;
            let row = row_of(found)?;
            if let Some(row) = &row {
                self.row_cache.insert(keyspace.id, key, hash, row, generation);
            }
            let live = row.and_then(|row| self.judge_row(row));
            path.step(Tier::Table, name, Outcome::of(&live));
            return Ok(path.end(live, Some(version)));
        }
        Ok(path.end(None, None))
    }
}

/// The newest version in the MemTables that `seqno` sees.
#[inline]
fn memtable_entry<'v>(view: &'v View, key: &[u8], seqno: SeqNo) -> Option<EntryRef<'v>> {
    if let Some(entry) = view.active.table.get(key, seqno) {
        return Some(entry);
    }
    view.sealed.iter().find_map(|mem| mem.table.get(key, seqno))
}

/// A table's answer as the row cache holds it; `None` for a tombstone.
fn row_of(found: tanada_table::Found) -> Result<Option<Row>, tanada_table::Error> {
    match found.kind {
        ValueKind::Delete => Ok(None),
        ValueKind::Put => Ok(Some(Row {
            value: found.value,
            seqno: found.seqno,
            expires_at_ms: found.expires_at_ms,
        })),
        kind => Err(unsupported(kind)),
    }
}

impl Outcome {
    fn of(found: &Option<Found>) -> Outcome {
        if found.is_some() { Outcome::Hit } else { Outcome::Deleted }
    }
}

/// The steps of one explained read.
struct Path<'c> {
    core: &'c Core,
    steps: Vec<Step>,
    started_ns: u64,
    /// When the last step ended.
    step_ns: u64,
}

impl Path<'_> {
    fn step(&mut self, tier: Tier, name: String, outcome: Outcome) {
        let now = self.core.env.clock.monotonic_ns();
        let time_ns = now.saturating_sub(self.step_ns);
        self.step_ns = now;
        self.steps.push(Step { tier, name, outcome, time_ns });
    }

    /// What one table's filter and blocks answered. One clock reading for all:
    /// they are asked in one call.
    fn table(&mut self, name: &str, trace: &GetTrace, found: bool) {
        match trace.filter_maybe {
            Some(false) => return self.step(Tier::Filter, name.to_owned(), Outcome::Never),
            Some(true) => self.step(Tier::Filter, name.to_owned(), Outcome::Maybe),
            None => {}
        }
        if let Some(cached) = trace.data_cached {
            let outcome = if cached { Outcome::Hit } else { Outcome::Miss };
            self.step(Tier::BlockCache, "L2".to_owned(), outcome);
        }
        if !found {
            self.step(Tier::Table, name.to_owned(), Outcome::Miss);
        }
    }

    fn end(self, found: Option<Found>, seqno: Option<SeqNo>) -> Explain {
        if found.is_some() {
            self.core.counters.add(Count::GetsFound, 1);
        }
        Explain {
            value: found.map(|f| f.value),
            seqno: seqno.map(|s| s.0),
            steps: self.steps,
            total_ns: self.core.env.clock.monotonic_ns().saturating_sub(self.started_ns),
        }
    }
}
