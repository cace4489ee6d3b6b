//! The one read path of single keys.
//!
//! MemTables newest first, then the row cache, then tables newest first. The
//! row cache comes behind the MemTables because they hold the newest truth; it
//! holds the newest version *in tables*, and a flush removes from it what it
//! writes before the flushed MemTable leaves the view.

use crate::control::counters::Count;
use crate::read::holders::ReadPoint;
use crate::read::reading::Reading;
use crate::read::row_cache::Row;
use crate::read::scan::unsupported;
use crate::read::view::{KeyspaceState, View};
use crate::tree::compaction::visible::is_expired;
use crate::types::error::{Error, Result};
use std::sync::Arc;
use tanada_format::{EntryRef, KeyspaceId, SeqNo, ValueKind, hash_key, planted};
use tanada_table::{GetContext, InMemory, Missing, Pin, Value};

/// A value above this length is in the account while it is held, and may have to wait for
/// room, in bytes.
const LONG_VALUE: usize = 1 << 20;

/// Where a read may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sources {
    /// Everywhere.
    All,
    /// Only in memory; [`Error::WouldBlock`] when that does not decide.
    Memory,
}

/// A view and what a read of it sees, for several reads.
pub(crate) struct Moment {
    view: Arc<View>,
    point: ReadPoint,
    /// The row cache's, from before the view was loaded.
    generation: u64,
}

/// A read, but for the key.
#[derive(Clone, Copy)]
struct Reader<'r> {
    keyspace: KeyspaceId,
    /// What it sees.
    seqno: SeqNo,
    /// What decides what has expired; `None` for the clock at the end of the read.
    now_ms: Option<u64>,
    /// The row cache's generation, from before the view was pinned; `None` for a
    /// reader whose finds are not for the row cache.
    generation: Option<u64>,
    view: &'r View,
}

/// What a read says without the disk.
enum Looked {
    /// Live, deleted or never there.
    Answer(Option<Found>),
    /// A MemTable has it, and it is long: to be copied once there is room for the copy.
    Long,
    /// The run of this number, and the ones behind it, are to be asked with reading.
    Unknown(Unknown),
}

/// Where a read goes on with the disk.
struct Unknown {
    /// The number of the run.
    run: usize,
    hash: u64,
    /// The block that its table lacks; `None` when the table is not open.
    missing: Option<Missing>,
}

/// A live value.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) value: Value,
    pub(crate) seqno: SeqNo,
    /// 0 for never.
    pub(crate) expires_at_ms: u64,
}

/// The newest write of a key, whether it has expired or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Newest {
    /// None, or a delete.
    Nothing,
    Put {
        seqno: SeqNo,
        /// 0 for never.
        expires_at_ms: u64,
    },
}

impl Reading {
    /// What several reads of `keyspace` that must agree stand on: its view holds
    /// every write that its seqno sees. Otherwise one key could be answered by
    /// the row cache with a write that came after the view was loaded, and
    /// another of the same batch by the view's tables, without it.
    pub(crate) fn exact_moment(&self, keyspace: &KeyspaceState) -> Moment {
        loop {
            // The order of these three matters: see `RowCache` and `Core::visible`.
            let generation = self.row_cache.generation();
            let view = keyspace.view.load();
            let seqno = self.visible();
            // Unchanged behind the seqno: it was the newest view when the seqno was read.
            if Arc::ptr_eq(&view, &keyspace.view.load()) {
                // Behind the view: no job that made it can have judged by a later time.
                let point = ReadPoint { seqno, now_ms: self.now_ms() };
                return Moment { view, point, generation };
            }
        }
    }

    /// The newest live version of `key` that a reader `at` a snapshot (now, for
    /// `None`) sees. Takes no lock on MemTables or on blocks in memory, and moves
    /// no counter that threads share but that of the block that the value lies in.
    #[inline]
    pub(crate) fn get(
        &self,
        keyspace: &KeyspaceState,
        key: &[u8],
        at: Option<ReadPoint>,
        sources: Sources,
    ) -> Result<Option<Found>> {
        // The order of these three matters: see `RowCache` and `Core::visible`.
        let generation = self.row_cache.generation();
        let pin = tanada_table::pin();
        let view = keyspace.view.read(&pin);
        let visible = self.visible();
        let generation = match planted!(row_cache_generation_behind_the_view) {
            true => self.row_cache.generation(),
            false => generation,
        };
        let reader = Reader {
            keyspace: keyspace.id,
            seqno: at.map_or(visible, |at| at.seqno),
            now_ms: at.map(|at| at.now_ms).filter(|_| !planted!(snapshot_get_judges_by_the_clock)),
            // The row cache keeps newest versions only: a snapshot may use them
            // where it sees them, and has none to give.
            generation: if at.is_none() { Some(generation) } else { None },
            view: &view,
        };
        let gets = self.counters.add_pinned(&pin, Count::Gets, 1);
        // One match of it all: with `?` before, the answer went through the stack in halves
        // and was read back whole, which the processor waits for (7 % of a miss).
        let found = match self.look(&reader, key, &pin) {
            Ok(Looked::Answer(found)) => {
                drop(pin);
                Ok(found)
            }
            Err(e) => return Err(e),
            Ok(Looked::Long) => {
                // Waiting for room, as reading, is not for who holds a pin.
                let view = view.keep();
                let reader = Reader { view: &view, ..reader };
                drop(pin);
                self.copy_long(&reader, key, sources)
            }
            Ok(Looked::Unknown(unknown)) => {
                // The pin ends before anything is read.
                let view = view.keep();
                let reader = Reader { view: &view, ..reader };
                drop(pin);
                self.read_on(&reader, key, unknown, sources)
            }
        };
        self.note_gets(gets);
        found
    }

    /// As [`Reading::get`], at a moment that serves several reads.
    pub(crate) fn get_at(
        &self,
        keyspace: &KeyspaceState,
        key: &[u8],
        moment: &Moment,
        sources: Sources,
    ) -> Result<Option<Found>> {
        let (gets, found) = self.get_unnoted(keyspace, key, moment, sources);
        self.note_gets(gets);
        found
    }

    /// The same for who holds locks that others wait for: it maintains nothing. Answers how
    /// many gets have been counted, too.
    fn get_unnoted(
        &self,
        keyspace: &KeyspaceState,
        key: &[u8],
        moment: &Moment,
        sources: Sources,
    ) -> (u64, Result<Option<Found>>) {
        let Moment { view, point: ReadPoint { seqno, now_ms }, generation } = moment;
        let (seqno, now_ms, generation) = (*seqno, Some(*now_ms), Some(*generation));
        let reader = Reader { keyspace: keyspace.id, seqno, now_ms, generation, view };
        let pin = tanada_table::pin();
        let gets = self.counters.add_pinned(&pin, Count::Gets, 1);
        let looked = self.look(&reader, key, &pin);
        drop(pin);
        let found = match looked {
            Ok(Looked::Answer(found)) => Ok(found),
            Ok(Looked::Long) => self.copy_long(&reader, key, sources),
            Ok(Looked::Unknown(unknown)) => self.read_on(&reader, key, unknown, sources),
            Err(e) => Err(e),
        };
        (gets, found)
    }

    /// The newest visible write of `key`, without its value where a MemTable has it; with a
    /// read of its block where tables have it. Nothing counts as expired: that is for the
    /// caller to judge, who looks at several keys.
    pub(crate) fn newest(&self, keyspace: &KeyspaceState, key: &[u8]) -> Result<Newest> {
        let mut moment = self.exact_moment(keyspace);
        moment.point.now_ms = 0;
        let entry = memtable_entry(&moment.view, key, hash_key(key), moment.point.seqno);
        if let Some(entry) = entry {
            return match entry.kind {
                ValueKind::Delete => Ok(Newest::Nothing),
                ValueKind::Put => {
                    Ok(Newest::Put { seqno: entry.seqno, expires_at_ms: entry.expires_at_ms })
                }
                kind => Err(unsupported(kind).into()),
            };
        }
        let (_, found) = self.get_unnoted(keyspace, key, &moment, Sources::All);
        let found = found?;
        Ok(found.map_or(Newest::Nothing, |found| Newest::Put {
            seqno: found.seqno,
            expires_at_ms: found.expires_at_ms,
        }))
    }

    /// What memory says.
    #[inline]
    fn look(&self, reader: &Reader<'_>, key: &[u8], pin: &Pin) -> Result<Looked> {
        let Reader { keyspace, seqno, now_ms, view, .. } = *reader;
        let hash = hash_key(key);
        if let Some(entry) = memtable_entry(view, key, hash, seqno) {
            self.counters.add_pinned(pin, Count::MemTableHits, 1);
            if entry.value.len() > LONG_VALUE {
                return Ok(Looked::Long);
            }
            return Ok(self.answer(self.judge_entry(&entry, now_ms)?, pin));
        }
        let row_cache_pays = self.row_cache_worth.pays();
        if row_cache_pays && let Some(row) = self.row_cache.get(keyspace, key, hash, seqno) {
            return Ok(self.answer(self.judge_row(row, now_ms), pin));
        }
        let mut probes = 0;
        for (number, run) in view.version.runs().iter().enumerate() {
            let Some(handle) = run.find(key) else { continue };
            // Opening reads the footer.
            let Some(table) = handle.opened_table(pin) else {
                return Ok(self.unknown((number, hash), None, probes, pin));
            };
            match table.get_in_memory(key, hash, seqno, pin)? {
                InMemory::Absent => probes += 1,
                InMemory::Found(found) => {
                    self.counters.add_pinned(pin, Count::TableProbes, probes + 1);
                    let Some(row) = row_of(found)? else { return Ok(self.answer(None, pin)) };
                    if row_cache_pays && let Some(generation) = reader.generation {
                        self.row_cache.insert(keyspace, key, hash, &row, generation);
                    }
                    return Ok(self.answer(self.judge_row(row, now_ms), pin));
                }
                InMemory::Unknown(missing) => {
                    return Ok(self.unknown((number, hash), Some(missing), probes, pin));
                }
            }
        }
        self.counters.add_pinned(pin, Count::TableProbes, probes);
        Ok(Looked::Answer(None))
    }

    #[inline]
    fn answer(&self, found: Option<Found>, pin: &Pin) -> Looked {
        if found.is_some() {
            self.counters.add_pinned(pin, Count::GetsFound, 1);
        }
        Looked::Answer(found)
    }

    #[cold]
    fn unknown(
        &self,
        (run, hash): (usize, u64),
        missing: Option<Missing>,
        probes: u64,
        pin: &Pin,
    ) -> Looked {
        self.counters.add_pinned(pin, Count::TableProbes, probes);
        Looked::Unknown(Unknown { run, hash, missing })
    }

    /// Goes on where memory did not know, with the disk if `sources` allow it.
    #[cold]
    #[inline(never)]
    fn read_on(
        &self,
        reader: &Reader<'_>,
        key: &[u8],
        Unknown { run: from, hash, mut missing }: Unknown,
        sources: Sources,
    ) -> Result<Option<Found>> {
        if sources == Sources::Memory {
            return Err(Error::WouldBlock);
        }
        let context = GetContext::default();
        self.counters.add(Count::DiskGets, 1);
        for run in &reader.view.version.runs()[from..] {
            let Some(handle) = run.find(key) else { continue };
            self.counters.add(Count::TableProbes, 1);
            let table = handle.table()?;
            // What is missing is missed by the first table.
            let found = match missing.take() {
                Some(block) => table.get_from(block, key, hash, reader.seqno, &context),
                None => table.get(key, hash, reader.seqno, &context),
            };
            if planted!(io_error_returns_older_value) && found.is_err() {
                continue;
            }
            let Some(found) = found? else { continue };
            let Some(row) = row_of(found)? else { return Ok(None) };
            if self.row_cache_worth.pays()
                && let Some(generation) = reader.generation
            {
                self.row_cache.insert(reader.keyspace, key, hash, &row, generation);
            }
            let found = self.judge_row(row, reader.now_ms);
            self.counters.add(Count::GetsFound, u64::from(found.is_some()));
            return Ok(found);
        }
        Ok(None)
    }

    /// The long value that a MemTable of the view has for `key`, copied to memory that is
    /// in the account.
    #[cold]
    #[inline(never)]
    fn copy_long(
        &self,
        reader: &Reader<'_>,
        key: &[u8],
        sources: Sources,
    ) -> Result<Option<Found>> {
        if sources == Sources::Memory {
            return Err(Error::WouldBlock);
        }
        let Reader { view, seqno, now_ms, .. } = *reader;
        let entry = memtable_entry(view, key, hash_key(key), seqno);
        let found = entry.map_or(Ok(None), |entry| self.judge_entry(&entry, now_ms))?;
        self.counters.add(Count::GetsFound, u64::from(found.is_some()));
        Ok(found)
    }

    pub(super) fn judge_entry(
        &self,
        entry: &EntryRef<'_>,
        now_ms: Option<u64>,
    ) -> Result<Option<Found>> {
        match entry.kind {
            ValueKind::Delete => Ok(None),
            ValueKind::Put if self.has_expired(entry.expires_at_ms, now_ms) => Ok(None),
            ValueKind::Put => Ok(Some(Found {
                value: match entry.value.len() > LONG_VALUE {
                    true => self.block_cache.copy_of(entry.value)?,
                    false => Value::from(entry.value),
                },
                seqno: entry.seqno,
                expires_at_ms: entry.expires_at_ms,
            })),
            kind => Err(unsupported(kind).into()),
        }
    }

    pub(super) fn judge_row(&self, row: Row, now_ms: Option<u64>) -> Option<Found> {
        if self.has_expired(row.expires_at_ms, now_ms) {
            return None;
        }
        Some(Found { value: row.value, seqno: row.seqno, expires_at_ms: row.expires_at_ms })
    }

    /// Asks the clock only for what can expire.
    #[inline]
    fn has_expired(&self, expires_at_ms: u64, now_ms: Option<u64>) -> bool {
        expires_at_ms != 0 && is_expired(expires_at_ms, now_ms.unwrap_or_else(|| self.now_ms()))
    }
}

/// The newest version in the MemTables that `seqno` sees.
#[inline]
fn memtable_entry<'v>(view: &'v View, key: &[u8], hash: u64, seqno: SeqNo) -> Option<EntryRef<'v>> {
    if let Some(entry) = view.active.table.get(key, hash, seqno) {
        return Some(entry);
    }
    view.sealed.iter().find_map(|mem| mem.table.get(key, hash, seqno))
}

/// A table's answer as the row cache holds it; `None` for a tombstone.
pub(super) fn row_of(found: tanada_table::Found) -> Result<Option<Row>, tanada_table::Error> {
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
