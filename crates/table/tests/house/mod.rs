//! What the tests of this crate share: owned entries, and tables in a machine
//! in memory.
#![allow(dead_code, clippy::unwrap_used)] // each test file uses its own part of it

use std::path::Path;
use std::sync::Arc;
use tanada_format::{DatabaseId, EntryRef, Origin, SeqNo, TableId, ValueKind, compare_internal};
use tanada_table::{BlockCache, Error, Table, TableBuilder, TableOptions, TableSummary};
use tanada_vfs::{Env, ReadFile};

pub(crate) const ID: TableId = TableId(7);
pub(crate) const DATABASE: DatabaseId = DatabaseId([0xda; 16]);

/// An owned entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) seqno: SeqNo,
    pub(crate) kind: ValueKind,
    pub(crate) expires_at_ms: u64,
    pub(crate) value: Vec<u8>,
}

impl Entry {
    pub(crate) fn put(key: impl AsRef<[u8]>, seqno: u64, value: impl AsRef<[u8]>) -> Entry {
        Entry {
            key: key.as_ref().to_vec(),
            seqno: SeqNo(seqno),
            kind: ValueKind::Put,
            expires_at_ms: 0,
            value: value.as_ref().to_vec(),
        }
    }

    pub(crate) fn borrow(&self) -> EntryRef<'_> {
        EntryRef {
            key: &self.key,
            seqno: self.seqno,
            kind: self.kind,
            expires_at_ms: self.expires_at_ms,
            value: &self.value,
        }
    }
}

impl From<EntryRef<'_>> for Entry {
    fn from(e: EntryRef<'_>) -> Entry {
        Entry {
            key: e.key.to_vec(),
            seqno: e.seqno,
            kind: e.kind,
            expires_at_ms: e.expires_at_ms,
            value: e.value.to_vec(),
        }
    }
}

/// Sorts into internal order and drops repeated positions.
pub(crate) fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|a, b| compare_internal((&a.key, a.seqno), (&b.key, b.seqno)));
    entries.dedup_by(|a, b| (&a.key, a.seqno) == (&b.key, b.seqno));
    entries
}

pub(crate) fn options() -> TableOptions {
    TableOptions::new(ID, DATABASE)
}

/// Writes a table at `/t`.
pub(crate) fn write(env: &Env, options: TableOptions, entries: &[Entry]) -> TableSummary {
    let path = Path::new("/t");
    let file = env.fs.create(path).unwrap();
    let mut builder = TableBuilder::new(file, path, options);
    for e in entries {
        builder.add(e.borrow()).unwrap();
    }
    builder.finish().unwrap()
}

pub(crate) fn read(env: &Env, cache: &Arc<BlockCache>) -> Arc<Table> {
    let file = env.fs.open(Path::new("/t")).unwrap();
    Arc::new(Table::open(file, Origin::local(DATABASE, ID), cache).unwrap())
}

/// A table of these entries, in a cache of 1 MiB.
pub(crate) fn table(options: TableOptions, entries: &[Entry]) -> Arc<Table> {
    let env = Env::memory(1);
    write(&env, options, entries);
    read(&env, &BlockCache::new(1 << 20))
}

/// The whole file at `/t`.
pub(crate) fn bytes(env: &Env) -> Vec<u8> {
    let file = env.fs.open(Path::new("/t")).unwrap();
    let mut bytes = vec![0; file.len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// A file that is only bytes.
#[derive(Debug)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl ReadFile for Bytes {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        match self.0.get(at..).and_then(|rest| rest.get(..buf.len())) {
            Some(bytes) => buf.copy_from_slice(bytes),
            None => return Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }

    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn path(&self) -> &Path {
        Path::new("/db/000007.sst")
    }
}

/// Opens bytes as table [`ID`].
pub(crate) fn open_bytes(bytes: Vec<u8>, cache: &Arc<BlockCache>) -> Result<Arc<Table>, Error> {
    Table::open(Arc::new(Bytes(bytes)), Origin::local(DATABASE, ID), cache).map(Arc::new)
}
