//! A table as the tree holds it: shared, opened when it is asked, closed when others
//! need the room, removed when the last holder lets go of an obsolete one.

use super::TableStore;
use super::table_meta::TableMeta;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use tanada_format::{Origin, TableId, planted};
use tanada_table::{Error, Link, Pin, Pinned, Table};
use tanada_vfs::sync::{Mutex, atomic, unchecked};

/// One live table.
///
/// Versions, cursors and jobs share it by `Arc`. Invariant: the file is queued
/// for deletion only by the drop of the last `Arc`, and only after
/// [`TableHandle::mark_obsolete`]; so no file goes while a reader can reach it.
/// Who reads an open [`Table`] holds its handle, or a version that does: the table's
/// descriptor may have to be opened again by its path.
pub(crate) struct TableHandle {
    meta: TableMeta,
    store: Arc<TableStore>,
    /// Itself, for the list of open tables.
    me: Weak<TableHandle>,
    /// The open table. Written under the lock of the open tables.
    link: Link<Table>,
    /// Asked since the open tables last looked. Relaxed: a lost or late mark costs an
    /// opening. Written only when it is not set, so that readers share its line.
    visited: unchecked::AtomicBool,
    /// Entries of dead keys that scans have stepped over in it, about. A hint: relaxed.
    walked: unchecked::AtomicU64,
    /// Held while opening, so that it happens once. The table of the last opening: it
    /// lives on while cursors hold it, and is found again.
    opening: Mutex<Weak<Table>>,
    /// Set once, after the edit that removes the table is durable. Relaxed
    /// suffices: the one reader is `drop`, which `Arc` orders behind every
    /// use through another handle.
    obsolete: atomic::AtomicBool,
}

impl TableHandle {
    /// A handle for the table that `meta` describes. No I/O.
    pub(crate) fn new(meta: TableMeta, store: Arc<TableStore>) -> Arc<TableHandle> {
        Arc::new_cyclic(|me| TableHandle {
            meta,
            store,
            me: Weak::clone(me),
            link: Link::empty(),
            visited: unchecked::AtomicBool::new(false),
            walked: unchecked::AtomicU64::new(0),
            opening: Mutex::new(Weak::new()),
            obsolete: atomic::AtomicBool::new(false),
        })
    }

    /// What is known without opening it.
    pub(crate) fn meta(&self) -> &TableMeta {
        &self.meta
    }

    /// Names the file.
    pub(crate) fn id(&self) -> TableId {
        self.meta.id
    }

    /// Where the table comes from.
    pub(crate) fn origin(&self) -> Origin {
        self.store.origin(&self.meta)
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> PathBuf {
        self.store.path(self.meta.id)
    }

    /// The open table; opens it where it is not: one or two small reads. Not for a
    /// thread that is pinned: it may wait for the disk.
    ///
    /// # Errors
    /// Those of [`Table::open`]. The next call tries again.
    pub(crate) fn table(&self) -> Result<Arc<Table>, Error> {
        let open = self.opened_table(&tanada_table::pin()).map(|table| table.keep());
        open.map_or_else(|| self.open(), Ok)
    }

    /// The table, if it is open, for as long as the pin lives. One load; no lock, no
    /// counter.
    #[inline]
    pub(crate) fn opened_table<'p>(&'p self, pin: &'p Pin) -> Option<Pinned<'p, Table>> {
        let table = self.link.read(pin)?;
        if !self.visited.load(Ordering::Relaxed) {
            self.visited.store(true, Ordering::Relaxed);
        }
        Some(table)
    }

    /// As [`TableHandle::opened_table`], without noting that somebody asked.
    pub(crate) fn peek<'p>(&'p self, pin: &'p Pin) -> Option<Pinned<'p, Table>> {
        self.link.read(pin)
    }

    #[cold]
    fn open(&self) -> Result<Arc<Table>, Error> {
        let table = {
            let mut last = self.opening.lock();
            if let Some(table) = self.link.read(&tanada_table::pin()).map(|table| table.keep()) {
                return Ok(table);
            }
            let table = match last.upgrade() {
                Some(table) => table,
                None => Arc::new(self.store.open(&self.meta)?),
            };
            *last = Arc::downgrade(&table);
            self.store.open_tables.add(&self.me, &table);
            table
        };
        self.store.open_tables.shrink();
        Ok(table)
    }

    /// Notes that a scan has stepped over so many entries of dead keys in it. Whether that
    /// has paid for rewriting it, just now.
    pub(crate) fn pay(&self, entries: u64) -> bool {
        let before = self.walked.fetch_add(entries.min(self.meta.entries), Ordering::Relaxed);
        before < self.meta.entries && before + entries >= self.meta.entries
    }

    /// Whether scans have stepped over as many entries as a rewrite would read.
    pub(crate) fn is_paid_for(&self) -> bool {
        self.walked.load(Ordering::Relaxed) >= self.meta.entries
    }

    pub(super) fn link(&self) -> &Link<Table> {
        &self.link
    }

    /// Whether it was asked since this was last asked.
    pub(super) fn take_visited(&self) -> bool {
        self.visited.swap(false, Ordering::Relaxed)
    }

    /// Gives back the memory of a table that is closed and that nobody holds.
    pub(super) fn forget_if_dead(&self) {
        // Whoever has the lock is opening it, and replaces what is there.
        if let Some(mut last) = self.opening.try_lock()
            && last.strong_count() == 0
        {
            *last = Weak::new();
        }
    }

    /// Lets the file be removed once the last holder has gone.
    ///
    /// Call it only when the manifest edit that removes the table has been
    /// synced. After a failed append nothing may be marked: the edit may or may
    /// not be on disk, and with it what the next open needs.
    pub(crate) fn mark_obsolete(&self) {
        if planted!(backup_vs_deletion) {
            self.store.forget(self.meta.id, 0);
        }
        if !self.obsolete.swap(true, Ordering::Relaxed) {
            self.store.deletions.hold(self.meta.size_bytes);
        }
    }
}

impl Drop for TableHandle {
    fn drop(&mut self) {
        if self.link.read(&tanada_table::pin()).is_some() {
            self.store.open_tables.remove(self);
        }
        if *self.obsolete.get_mut() {
            self.store.forget_held(self.meta.id, self.meta.size_bytes);
        }
    }
}

impl fmt::Debug for TableHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.sst[{}..={}]",
            self.meta.id,
            self.meta.min_key.escape_ascii(),
            self.meta.max_key.escape_ascii()
        )
    }
}
