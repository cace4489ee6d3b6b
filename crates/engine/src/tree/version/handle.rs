//! A table as the tree holds it: shared, opened on first use, removed when the
//! last holder lets go of an obsolete one.

use super::deletion::{Deletion, DeletionQueue};
use super::table_meta::TableMeta;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use tanada_format::{DatabaseId, TableId, planted};
use tanada_table::{BlockCache, Error, FilterStats, Table};
use tanada_vfs::FileSystem;
use tanada_vfs::sync::Mutex;

/// Where the tables of one database live, and what it takes to open and remove them.
#[derive(Debug)]
pub(crate) struct TableFiles {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) dir: PathBuf,
    pub(crate) database: DatabaseId,
    pub(crate) deletions: DeletionQueue,
    /// The cache that blocks of all tables share.
    cache: Arc<BlockCache>,
    /// What the filters of tables that have gone had answered.
    retired_filters: Mutex<FilterStats>,
}

impl TableFiles {
    /// The tables of the database `database` in `dir`.
    pub(crate) fn new(
        fs: Arc<dyn FileSystem>,
        dir: impl Into<PathBuf>,
        database: DatabaseId,
        cache: Arc<BlockCache>,
    ) -> Arc<TableFiles> {
        Arc::new(TableFiles {
            fs,
            dir: dir.into(),
            database,
            deletions: DeletionQueue::default(),
            cache,
            retired_filters: Mutex::default(),
        })
    }

    /// What the filters of tables that have gone had answered.
    pub(crate) fn retired_filters(&self) -> FilterStats {
        *self.retired_filters.lock()
    }

    /// The path of a table's file.
    pub(crate) fn path(&self, id: TableId) -> PathBuf {
        self.dir.join(format!("{id}.sst"))
    }
}

/// One live table.
///
/// Versions, cursors and jobs share it by `Arc`. Invariant: the file is queued
/// for deletion only by the drop of the last `Arc`, and only after
/// [`TableHandle::mark_obsolete`]; so no file goes while a reader can reach it.
pub(crate) struct TableHandle {
    meta: TableMeta,
    files: Arc<TableFiles>,
    /// The open table, from its first use on.
    table: OnceLock<Arc<Table>>,
    /// Held while opening, so that it happens once.
    opening: Mutex<()>,
    /// Set once, after the edit that removes the table is durable. Relaxed
    /// suffices: the one reader is `drop`, which `Arc` orders behind every
    /// use through another handle.
    obsolete: AtomicBool,
}

impl TableHandle {
    /// A handle for the table that `meta` describes. No I/O.
    pub(crate) fn new(meta: TableMeta, files: Arc<TableFiles>) -> Arc<TableHandle> {
        Arc::new(TableHandle {
            meta,
            files,
            table: OnceLock::new(),
            opening: Mutex::new(()),
            obsolete: AtomicBool::new(false),
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

    /// The path of the file.
    pub(crate) fn path(&self) -> PathBuf {
        self.files.path(self.meta.id)
    }

    /// The open table; opens it the first time: one or two small reads.
    ///
    /// # Errors
    /// Those of [`Table::open`]. The next call tries again.
    #[inline]
    pub(crate) fn table(&self) -> Result<&Arc<Table>, Error> {
        match self.table.get() {
            Some(table) => Ok(table),
            None => self.open(),
        }
    }

    /// The table, if it has been opened.
    #[inline]
    pub(crate) fn opened_table(&self) -> Option<&Arc<Table>> {
        self.table.get()
    }

    #[cold]
    fn open(&self) -> Result<&Arc<Table>, Error> {
        let _once = self.opening.lock();
        if let Some(table) = self.table.get() {
            return Ok(table);
        }
        let file = self.files.fs.open(&self.path())?;
        let table = Table::open(file, self.meta.id, self.files.database, &self.files.cache)?;
        Ok(self.table.get_or_init(|| Arc::new(table)))
    }

    /// Lets the file be removed once the last holder has gone.
    ///
    /// Call it only when the manifest edit that removes the table has been
    /// synced. After a failed append nothing may be marked: the edit may or may
    /// not be on disk, and with it what the next open needs.
    pub(crate) fn mark_obsolete(&self) {
        if planted!(backup_vs_deletion) {
            self.files.deletions.push(Deletion { path: self.path(), size_bytes: 0 });
        }
        self.obsolete.store(true, Ordering::Relaxed);
    }
}

impl Drop for TableHandle {
    fn drop(&mut self) {
        if let Some(table) = self.table.get() {
            *self.files.retired_filters.lock() += table.filter_stats();
        }
        if *self.obsolete.get_mut() {
            let deletion = Deletion { path: self.path(), size_bytes: self.meta.size_bytes };
            self.files.deletions.push(deletion);
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
