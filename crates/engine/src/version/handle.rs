//! A table as the tree holds it: shared, opened on first use, removed when the
//! last holder lets go of an obsolete one.

use super::deletion::{Deletion, DeletionQueue};
use super::table_meta::TableMeta;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tanada_format::{DatabaseId, TableId};
use tanada_vfs::FileSystem;

/// Where the tables of one database live, and what it takes to open and remove them.
#[derive(Debug)]
pub(crate) struct TableFiles {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) dir: PathBuf,
    pub(crate) database: DatabaseId,
    pub(crate) deletions: DeletionQueue,
}

impl TableFiles {
    /// The tables of the database `database` in `dir`.
    pub(crate) fn new(
        fs: Arc<dyn FileSystem>,
        dir: impl Into<PathBuf>,
        database: DatabaseId,
    ) -> Arc<TableFiles> {
        let deletions = DeletionQueue::default();
        Arc::new(TableFiles { fs, dir: dir.into(), database, deletions })
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
    /// Set once, after the edit that removes the table is durable. Relaxed
    /// suffices: the one reader is `drop`, which `Arc` orders behind every
    /// use through another handle.
    obsolete: AtomicBool,
}

impl TableHandle {
    /// A handle for the table that `meta` describes. No I/O.
    pub(crate) fn new(meta: TableMeta, files: Arc<TableFiles>) -> Arc<TableHandle> {
        Arc::new(TableHandle { meta, files, obsolete: AtomicBool::new(false) })
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

    /// Lets the file be removed once the last holder has gone.
    ///
    /// Call it only when the manifest edit that removes the table has been
    /// synced. After a failed append nothing may be marked: the edit may or may
    /// not be on disk, and with it what the next open needs.
    pub(crate) fn mark_obsolete(&self) {
        self.obsolete.store(true, Ordering::Relaxed);
    }
}

impl Drop for TableHandle {
    fn drop(&mut self) {
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
