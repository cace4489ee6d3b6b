//! Where the tables of one database live: the one thing between the tree and files.
//!
//! Above it a table is an id. It is created, published, opened, forgotten; which file
//! that is, in which directory, and whether the file has a descriptor at the moment or
//! its index is in memory, is known here alone. Errors and reports name paths, which
//! it formats.

mod deletion;
mod table_meta;
mod descriptors;
mod open_tables;
mod handle;
#[cfg(test)]
mod tests;

pub(crate) use deletion::{Deletion, DeletionQueue};
pub(crate) use descriptors::{DescriptorNeeds, Descriptors};
pub(crate) use handle::TableHandle;
pub(crate) use open_tables::{OpenTables, OpenTablesStats};
pub(crate) use table_meta::{GARBAGE_PERCENT, TableMeta};

use crate::types::error::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;
use tanada_format::{DatabaseId, Origin, TableId, planted};
use tanada_table::{BlockCache, Table, TableBuilder, TableOptions};
use tanada_vfs::{DescriptorStats, FileSystem, OpenFiles};

/// The tables of one database.
#[derive(Debug)]
pub(crate) struct TableStore {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) dir: PathBuf,
    pub(crate) database: DatabaseId,
    pub(crate) deletions: DeletionQueue,
    /// The cache that blocks of all tables share.
    cache: Arc<BlockCache>,
    /// `fs`, as far as it opens tables: their descriptors can be closed.
    table_files: OpenFiles,
    /// Which tables are open.
    open_tables: OpenTables,
}

impl TableStore {
    /// The tables of the database `database` in `dir`, each with as many descriptors
    /// and open tables as the process and the cache allow.
    pub(crate) fn new(
        fs: Arc<dyn FileSystem>,
        dir: impl Into<PathBuf>,
        database: DatabaseId,
        cache: Arc<BlockCache>,
    ) -> Arc<TableStore> {
        let files = Descriptors::of(&*fs, DescriptorNeeds::of_jobs(1)).over(fs);
        let open_tables = OpenTables::new(Arc::clone(&cache), usize::MAX);
        TableStore::within(files, dir, database, cache, open_tables)
    }

    /// As [`TableStore::new`], within these bounds.
    pub(crate) fn within(
        files: OpenFiles,
        dir: impl Into<PathBuf>,
        database: DatabaseId,
        cache: Arc<BlockCache>,
        open_tables: OpenTables,
    ) -> Arc<TableStore> {
        Arc::new(TableStore {
            fs: Arc::new(files.clone()),
            dir: dir.into(),
            database,
            deletions: DeletionQueue::default(),
            cache,
            table_files: files,
            open_tables,
        })
    }

    /// The path of a table's file, for those who tell of it.
    pub(crate) fn path(&self, id: TableId) -> PathBuf {
        self.dir.join(format!("{id}.sst"))
    }

    /// Begins a new table. It is no part of anything until it was built to its end,
    /// which syncs it, [published](TableStore::publish), and named by the manifest.
    ///
    /// # Errors
    /// Those of creating the file.
    pub(crate) fn create(&self, options: TableOptions) -> Result<TableBuilder> {
        let path = self.path(options.id);
        let file = self.fs.create(&path)?;
        Ok(TableBuilder::new(file, path, options))
    }

    /// Makes the names of all tables durable that were built until now, and all other names
    /// in the directory. One sync.
    ///
    /// # Errors
    /// None of them may be named by the manifest. [`Error::Poisoned`] when the sync has
    /// failed: names of logs were among those that it gave up, and a second sync would say
    /// that all is well. `Io` when it could not be tried, for want of a descriptor.
    pub(crate) fn publish(&self) -> Result<()> {
        self.fs.sync_dir(&self.dir).map_err(|e| {
            match tanada_vfs::is_out_of_descriptors(&e) || planted!(failed_publish_is_tried_again) {
                true => e.into(),
                false => Error::Poisoned { reason: e.to_string() },
            }
        })
    }

    /// Removes a table that was never published, or whose job has failed: nobody has
    /// it open. What cannot be removed is an orphan, and found by the next opening.
    pub(crate) fn discard(&self, id: TableId) {
        let _ = self.fs.remove(&self.path(id));
    }

    /// Queues the file of an obsolete table for removal: its last reader has gone. No I/O.
    fn forget_held(&self, id: TableId, size_bytes: u64) {
        self.deletions.push_held(Deletion { path: self.path(id), size_bytes });
    }

    /// Queues the file of a table for removal that nobody will read again. No I/O.
    pub(crate) fn forget(&self, id: TableId, size_bytes: u64) {
        self.deletions.push(Deletion { path: self.path(id), size_bytes });
    }

    /// Opens a table, for the caller alone: one or two small reads.
    ///
    /// # Errors
    /// Those of [`Table::open`]; `Unsupported` when it holds an entry of a kind that is
    /// reserved.
    pub(crate) fn open(&self, meta: &TableMeta) -> Result<Table, tanada_table::Error> {
        let (fs, path) = (&self.table_files, self.path(meta.id));
        let file = fs.open_closable(&path)?;
        let table = Table::open(file, self.origin(meta), &self.cache)?;
        match table.properties().reserved_entries() {
            0 => Ok(table),
            // Reads of other keys, too, would be answered wrongly.
            n => {
                let what = format!("it holds {n} entries of kinds that only a later version reads");
                Err(tanada_table::Error::Unsupported { file: path, what })
            }
        }
    }

    /// Where a table comes from.
    pub(crate) fn origin(&self, meta: &TableMeta) -> Origin {
        let own = || Origin::local(self.database, meta.id);
        meta.origin.as_deref().copied().unwrap_or_else(own)
    }

    /// Closes tables until they fit into their share of the cache as it is now.
    pub(crate) fn fit(&self) {
        self.open_tables.shrink();
    }

    /// Tables that are open, and how often that changed.
    pub(crate) fn open_tables(&self) -> OpenTablesStats {
        self.open_tables.stats()
    }

    /// Descriptors of table files.
    pub(crate) fn descriptors(&self) -> DescriptorStats {
        self.table_files.stats()
    }
}
