//! From sorted entries to tables on disk.

use super::cut::Cutter;
use super::job::{EntryCounts, KeySpan};
use super::job_io::{Buffers, JobIo};
use super::visible::{Dropped, Retention, UnsupportedKind};
use crate::tree::version::{TableMeta, TableStore};
use crate::types::error::{Error, Result};
use std::sync::Arc;
use tanada_format::{EntryRef, Origin, TableId, ValueKind, WriterEpoch, planted};
use tanada_table::{Cursor, TableBuilder, TableOptions, TableSummary};
use tanada_vfs::WriteFile;

/// A table is cut where its index and filters take this much memory until it ends: only
/// those of large tables with very small entries do.
const HELD_BYTES: u64 = 4 << 20;

/// A file from this size on is synced at its end: its bytes would only pile up.
const SYNCED_AT_ONCE_BYTES: u64 = 1 << 20;

/// Bytes of entries between two looks at whether the job should stop or give way.
const YIELD_BYTES: u64 = 1 << 20;

/// Where the ids of new tables come from.
pub(super) enum OutputIds<'a> {
    /// From the database's counter, one at a time. It may have to reserve more in the
    /// manifest.
    Counter(&'a (dyn Fn() -> Result<TableId> + Sync)),
    /// From those that a job names: from the first up to the second.
    Named(TableId, TableId),
}

impl OutputIds<'_> {
    fn take(&mut self) -> Result<TableId> {
        match self {
            OutputIds::Counter(next_id) => next_id(),
            OutputIds::Named(next, end) => {
                assert!(*next < *end, "a part of a job has ids for its tables");
                let id = *next;
                next.0 += 1;
                Ok(id)
            }
        }
    }

    /// Whether there is none for another table: then the present one takes all the rest.
    fn are_used_up(&self) -> bool {
        matches!(self, OutputIds::Named(next, end) if next >= end)
    }
}

/// Tables being written. Those that were not taken by [`Output::finish`] are
/// removed on drop: a job that fails leaves no file behind.
pub(super) struct Output<'a> {
    io: &'a JobIo<'a>,
    /// How each table is built, but for its id.
    options: TableOptions,
    ids: OutputIds<'a>,
    now_ms: u64,
    // Closed before the files are removed.
    builder: Option<TableBuilder>,
    /// The table that `builder` writes.
    id: TableId,
    tables: Vec<TableMeta>,
    /// A small file that is complete and not synced; `None` where each is synced at its
    /// end.
    unsynced: Option<Vec<Box<dyn WriteFile>>>,
    new: NewTables,
    read: u64,
    written: u64,
    /// What the job reads its inputs with.
    input_bytes: u64,
    buffers: Buffers<'a>,
}

impl<'a> Output<'a> {
    /// Nothing yet. Tables are built by `options`, which say when that is too, with these
    /// ids; the inputs have `input_bytes` of buffers.
    pub(super) fn new(
        io: &'a JobIo<'a>,
        options: TableOptions,
        ids: OutputIds<'a>,
        input_bytes: u64,
    ) -> Output<'a> {
        let mut buffers = Buffers::none(io);
        buffers.are(input_bytes);
        Output {
            input_bytes,
            buffers,
            io,
            now_ms: options.written_ms.unwrap_or(0),
            options,
            ids,
            builder: None,
            id: TableId(0),
            tables: Vec::new(),
            unsynced: None,
            new: NewTables { store: Arc::clone(io.files), begun: Vec::new() },
            read: 0,
            written: 0,
        }
    }

    /// Leaves the first file, if it is small, to whoever takes the tables to sync: many
    /// of them, of many keyspaces, are synced together in the time of one.
    pub(super) fn synced_later(mut self) -> Output<'a> {
        self.unsynced = Some(Vec::new());
        self
    }

    /// Writes what `retention` keeps of the entries from where `cursor` stands
    /// up to `end` (exclusive).
    ///
    /// # Errors
    /// Of the cursor, of writing; [`Error::Closed`] when the job is to stop.
    pub(super) fn write(
        &mut self,
        cursor: &mut impl Cursor,
        end: Option<&[u8]>,
        retention: &mut Retention<'_>,
        cutter: &mut Cutter<'_, impl KeySpan>,
        mut may_be_below: impl FnMut(&[u8]) -> bool,
    ) -> Result<()> {
        let mut since_yield = 0;
        while cursor.valid() {
            let entry = cursor.bare_entry();
            if end.is_some_and(|end| entry.key >= end) {
                break;
            }
            self.read += 1;
            let kept = retention.keep(entry, &mut may_be_below);
            let kept = kept.map_err(|kind| self.unsupported(kind))?;
            let mut bytes = entry.key.len() + entry.value.len();
            if let Some(EntryRef { key, seqno, kind, expires_at_ms, .. }) = kept {
                if retention.began_key() || planted!(same_user_key_across_files) {
                    let written = self.builder.as_ref().map_or(0, TableBuilder::estimated_size);
                    let held = self.builder.as_ref().map_or(0, TableBuilder::held_bytes);
                    let cut = cutter.starts_table(key, written) || held >= HELD_BYTES;
                    if cut && !self.ids.are_used_up() {
                        self.finish_table()?;
                    }
                }
                // What is not kept is not read.
                let deletes = kind == ValueKind::Delete;
                if !deletes {
                    cursor.load()?;
                }
                let EntryRef { key, value, .. } = match deletes {
                    true => EntryRef { value: &[], ..cursor.bare_entry() },
                    false => cursor.entry(),
                };
                self.written += 1;
                bytes = key.len() + value.len();
                let is_lost = planted!(merge_loses_an_entry)
                    && self.written == 7
                    && matches!(self.ids, OutputIds::Named(..));
                if !is_lost {
                    self.builder()?.add(EntryRef { key, seqno, kind, expires_at_ms, value })?;
                }
            }
            since_yield += (bytes + 16) as u64;
            if since_yield >= YIELD_BYTES {
                if (self.io.should_stop)() {
                    return Err(Error::Closed);
                }
                (self.io.yield_point)(since_yield);
                self.count_buffers();
                since_yield = 0;
            }
            cursor.next()?;
        }
        Ok(())
    }

    /// Ends the last table and hands all of them over, their names not yet durable, nor
    /// the small files that are [synced later](Output::synced_later). `dropped` is what was
    /// not kept.
    pub(super) fn finish(mut self, dropped: Dropped) -> Result<Written> {
        self.finish_table()?;
        let Dropped { superseded, deletes, expired } = dropped;
        let counts =
            EntryCounts { read: self.read, written: self.written, superseded, deletes, expired };
        Ok(Written {
            new: self.new,
            unsynced: self.unsynced.unwrap_or_default(),
            tables: self.tables,
            counts,
        })
    }

    #[inline]
    fn builder(&mut self) -> Result<&mut TableBuilder> {
        if self.builder.is_none() {
            self.start_table()?;
        }
        Ok(self.builder.as_mut().expect("it has just been made"))
    }

    fn start_table(&mut self) -> Result<()> {
        self.id = self.ids.take()?;
        let options = TableOptions { id: self.id, ..self.options.clone() };
        self.builder = Some(self.io.files.create(options)?);
        self.new.begun.push(self.id);
        self.count_buffers();
        Ok(())
    }

    /// Tells what all buffers take now. They grow by little between two looks.
    fn count_buffers(&mut self) {
        let building = self.builder.as_ref().map_or(0, TableBuilder::memory_bytes);
        self.buffers.are(self.input_bytes + building);
    }

    fn finish_table(&mut self) -> Result<()> {
        if let Some(builder) = self.builder.take() {
            let summary = match &mut self.unsynced {
                // One: each is a descriptor until it is synced.
                Some(unsynced)
                    if unsynced.is_empty() && builder.estimated_size() < SYNCED_AT_ONCE_BYTES =>
                {
                    let (summary, file) = builder.finish_unsynced()?;
                    unsynced.push(file);
                    summary
                }
                _ => builder.finish()?,
            };
            self.tables.push(describe(summary, self.now_ms));
        }
        Ok(())
    }

    fn unsupported(&self, kind: UnsupportedKind) -> Error {
        Error::Unsupported {
            file: self.io.files.dir.clone(),
            what: format!("an entry of kind {:?}, which may not be merged here", kind.0),
        }
    }
}

/// Tables that a job has begun. Those that are not kept are removed on drop.
struct NewTables {
    store: Arc<TableStore>,
    begun: Vec<TableId>,
}

impl Drop for NewTables {
    fn drop(&mut self) {
        for id in &self.begun {
            self.store.discard(*id);
        }
    }
}

/// Tables whose bytes are written. Those that are not taken are removed on drop, as
/// those of an [`Output`].
pub(crate) struct Written {
    // Closed before they are removed.
    /// Files that are still to be synced.
    unsynced: Vec<Box<dyn WriteFile>>,
    new: NewTables,
    tables: Vec<TableMeta>,
    pub(super) counts: EntryCounts,
}

impl Written {
    /// The files that are still to be synced, for who syncs them.
    pub(super) fn take_unsynced(&mut self) -> Vec<Box<dyn WriteFile>> {
        std::mem::take(&mut self.unsynced)
    }

    /// The tables. They are synced, and stay.
    pub(super) fn take_tables(&mut self) -> Vec<TableMeta> {
        self.new.begun.clear();
        std::mem::take(&mut self.tables)
    }

    /// Whether nothing was left to write.
    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }
}

/// What the manifest says of a table that was written at `created_ms`.
pub(crate) fn describe(summary: TableSummary, created_ms: u64) -> TableMeta {
    let properties = summary.properties;
    let Origin { epoch, table, .. } = summary.origin;
    TableMeta {
        id: table,
        origin: (epoch != WriterEpoch(0)).then(|| Box::new(summary.origin)),
        size_bytes: summary.size_bytes,
        tail_bytes: summary.size_bytes - properties.data_bytes,
        raw_bytes: properties.raw_key_bytes + properties.raw_value_bytes,
        entries: properties.entries,
        tombstones: properties.tombstones,
        min_key: properties.min_key.into(),
        max_key: properties.max_key.into(),
        min_seqno: properties.min_seqno,
        max_seqno: properties.max_seqno,
        created_ms,
        min_expires_at_ms: properties.min_expires_at_ms,
        max_expires_at_ms: properties.max_expires_at_ms,
        expiring: properties.expiring,
        expiry_quantiles: properties.expiry_quantiles.clone(),
        superseded: properties.entries.saturating_sub(properties.keys),
    }
}
