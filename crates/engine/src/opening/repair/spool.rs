//! Sorted entries on their way to the new database: tables of the source that
//! are whole, and tables in the target that hold what was saved of the others.

use crate::tree::compaction;
use crate::tree::version::TableMeta;
use crate::types::error::Result;
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tanada_format::{DatabaseId, EntryRef, KeyspaceId, Origin, SeqNo, TableId};
use tanada_table::{
    BlockCache, Compression, Cursor, CursorOptions, Table, TableBuilder, TableCursor, TableOptions,
};
use tanada_vfs::Env;

/// A table of the new database is cut at about this size.
const TABLE_BYTES: u64 = 64 << 20;
/// Blocks that all open tables together keep.
const CACHE_BYTES: u64 = 8 << 20;

/// How new the entries of a source are beside those of other sources: for one
/// key, a lower rank holds the newer versions. `None`: nobody knows.
pub(super) type Rank = Option<(i16, std::cmp::Reverse<u64>)>;

/// The rank of logs: what is in them and not in tables is newest.
pub(super) const LOG_RANK: Rank = Some((-1, std::cmp::Reverse(0)));

/// A table to read from.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) origin: Origin,
    pub(super) min_key: Vec<u8>,
    pub(super) max_key: Vec<u8>,
    pub(super) rank: Rank,
}

/// The directory being written.
pub(super) struct Target<'a> {
    pub(super) env: &'a Env,
    pub(super) dir: &'a Path,
    pub(super) database: DatabaseId,
    pub(super) cache: Arc<BlockCache>,
    next: Cell<u64>,
    /// Tables that are not part of the database to be.
    spools: RefCell<Vec<PathBuf>>,
}

/// A table being written.
pub(super) struct Writing {
    builder: TableBuilder,
    id: TableId,
}

impl<'a> Target<'a> {
    pub(super) fn new(env: &'a Env, dir: &'a Path) -> Target<'a> {
        let mut id = [0; 16];
        env.random.fill(&mut id);
        let (next, spools) = (Cell::new(1), RefCell::default());
        let cache = BlockCache::new(CACHE_BYTES);
        Target { env, dir, database: DatabaseId(id), cache, next, spools }
    }

    /// Table ids from here on are unused.
    pub(super) fn next_table_id(&self) -> TableId {
        TableId(self.next.get())
    }

    /// Begins a table of this keyspace, or a spool.
    pub(super) fn begin(
        &self,
        compression: Compression,
        keyspace: Option<KeyspaceId>,
    ) -> Result<Writing> {
        let id = self.next_table_id();
        self.next.set(id.0 + 1);
        let path = self.path(id);
        let file = self.env.fs.create(&path)?;
        let mut options = TableOptions::new(id, self.database);
        options.compression = compression;
        options.keyspace = keyspace;
        Ok(Writing { builder: TableBuilder::new(file, path, options), id })
    }

    /// Ends a table that is read back later; `None` when it has no entry.
    pub(super) fn end_spool(&self, writing: Writing, rank: Rank) -> Result<Option<Source>> {
        let (id, path) = (writing.id, self.path(writing.id));
        self.spools.borrow_mut().push(path.clone());
        if writing.builder.entries() == 0 {
            return Ok(None);
        }
        let properties = writing.builder.finish()?.properties;
        let (min_key, max_key) = (properties.min_key, properties.max_key);
        let origin = Origin::local(self.database, id);
        Ok(Some(Source { path, origin, min_key, max_key, rank }))
    }

    /// Opens a source.
    pub(super) fn open(&self, source: &Source) -> Result<Arc<Table>> {
        let file = self.env.fs.open(&source.path)?;
        Ok(Arc::new(Table::open(file, source.origin, &self.cache)?))
    }

    /// Removes the tables that were only on the way.
    pub(super) fn remove_spools(&self) -> Result<()> {
        for path in self.spools.take() {
            self.env.fs.remove(&path)?;
        }
        Ok(())
    }

    fn path(&self, id: TableId) -> PathBuf {
        self.dir.join(format!("{id}.sst"))
    }
}

impl Writing {
    pub(super) fn add(&mut self, entry: EntryRef<'_>) -> Result<()> {
        Ok(self.builder.add(entry)?)
    }

    pub(super) fn is_full(&self) -> bool {
        self.builder.estimated_size() >= TABLE_BYTES
    }

    /// Ends a table of the new database.
    pub(super) fn end(self, created_ms: u64) -> Result<TableMeta> {
        Ok(compaction::describe(self.builder.finish()?, created_ms))
    }
}

/// Sources whose keys do not overlap, one behind the other. One is open at a time.
struct Chain {
    sources: Vec<Source>,
    at: usize,
    cursor: Option<TableCursor>,
}

impl Chain {
    /// Stands on the next entry, opening the next table where one has ended.
    fn settle(&mut self, target: &Target<'_>) -> Result<()> {
        loop {
            match &self.cursor {
                Some(cursor) if cursor.valid() => return Ok(()),
                Some(_) => {
                    self.cursor = None;
                    self.at += 1;
                }
                None => {
                    let Some(source) = self.sources.get(self.at) else { return Ok(()) };
                    let table = target.open(source)?;
                    let mut cursor = TableCursor::new(table, CursorOptions::compaction());
                    cursor.seek_first()?;
                    self.cursor = Some(cursor);
                }
            }
        }
    }

    fn entry(&self) -> Option<EntryRef<'_>> {
        self.cursor.as_ref().map(|cursor| cursor.entry())
    }
}

/// Visits the newest version of each key in `sources`, in the order of keys,
/// with the rank of where it was found. Holds one open table for each source
/// that overlaps others.
pub(super) fn newest(
    target: &Target<'_>,
    mut sources: Vec<Source>,
    mut visit: impl FnMut(EntryRef<'_>, Rank) -> Result<()>,
) -> Result<()> {
    sources.sort_unstable_by(|a, b| a.min_key.cmp(&b.min_key));
    let mut chains: Vec<Chain> = Vec::new();
    for source in sources {
        let ends_before =
            |c: &&mut Chain| c.sources.last().is_some_and(|last| last.max_key < source.min_key);
        match chains.iter_mut().find(ends_before) {
            Some(chain) => chain.sources.push(source),
            None => chains.push(Chain { sources: vec![source], at: 0, cursor: None }),
        }
    }
    for chain in &mut chains {
        chain.settle(target)?;
    }
    let mut last: Option<Vec<u8>> = None;
    loop {
        let mut first: Option<(usize, EntryRef<'_>)> = None;
        for (n, chain) in chains.iter().enumerate() {
            let Some(entry) = chain.entry() else { continue };
            let comes_first = first.as_ref().is_none_or(|(_, best)| {
                let order = tanada_format::compare_internal(
                    (entry.key, entry.seqno),
                    (best.key, best.seqno),
                );
                order.is_lt()
            });
            if comes_first {
                first = Some((n, entry));
            }
        }
        let Some((n, entry)) = first else { return Ok(()) };
        if last.as_deref() != Some(entry.key) {
            let chain = &chains[n];
            visit(entry, chain.sources[chain.at].rank)?;
            let key = last.get_or_insert_default();
            key.clear();
            key.extend_from_slice(entry.key);
        }
        let chain = &mut chains[n];
        if let Some(cursor) = &mut chain.cursor {
            cursor.next()?;
        }
        chain.settle(target)?;
    }
}

/// Whether a version in `lost` may be newer than one with this seqno and rank.
pub(super) fn may_be_newer(lost: (Rank, SeqNo), found: (Rank, SeqNo)) -> bool {
    let older_by_place = matches!((found.0, lost.0), (Some(found), Some(lost)) if found < lost);
    found.1 < lost.1 && !older_by_place
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Reverse;

    #[test]
    fn a_lost_version_is_newer_unless_its_number_or_its_place_says_otherwise() {
        let at = |level, run, seqno| (Some((level, Reverse(run))), SeqNo(seqno));
        assert!(may_be_newer(at(0, 9, 50), at(6, 1, 40)));
        assert!(!may_be_newer(at(0, 9, 50), at(6, 1, 50)), "numbers decide");
        assert!(!may_be_newer(at(6, 1, 50), at(0, 9, 40)), "the higher level is newer");
        assert!(!may_be_newer(at(0, 8, 50), at(0, 9, 40)), "so is the higher run");
        assert!(may_be_newer(at(0, 9, 50), at(0, 9, 40)), "the same table");
        assert!(may_be_newer((None, SeqNo(50)), at(0, 9, 40)), "nobody knows");
        assert!(!may_be_newer(at(0, 9, 50), (LOG_RANK, SeqNo(40))));
    }
}
