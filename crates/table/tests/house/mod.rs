//! What the tests of this crate share: owned entries, and tables in a machine
//! in memory.
#![allow(dead_code, clippy::unwrap_used)] // each test file uses its own part of it

use std::path::Path;
use std::sync::Arc;
use tanada_format::{DatabaseId, EntryRef, SeqNo, TableId, ValueKind, compare_internal};
use tanada_table::{BlockCache, Error, Table, TableBuilder, TableOptions, TableSummary};
use tanada_vfs::{Env, ReadFile};

pub const ID: TableId = TableId(7);
pub const DATABASE: DatabaseId = DatabaseId([0xda; 16]);

/// An owned entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Vec<u8>,
    pub seqno: SeqNo,
    pub kind: ValueKind,
    pub expires_at_ms: u64,
    pub value: Vec<u8>,
}

impl Entry {
    pub fn put(key: impl AsRef<[u8]>, seqno: u64, value: impl AsRef<[u8]>) -> Entry {
        Entry {
            key: key.as_ref().to_vec(),
            seqno: SeqNo(seqno),
            kind: ValueKind::Put,
            expires_at_ms: 0,
            value: value.as_ref().to_vec(),
        }
    }

    pub fn borrow(&self) -> EntryRef<'_> {
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
pub fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|a, b| compare_internal((&a.key, a.seqno), (&b.key, b.seqno)));
    entries.dedup_by(|a, b| (&a.key, a.seqno) == (&b.key, b.seqno));
    entries
}

pub fn options() -> TableOptions {
    TableOptions::new(ID, DATABASE)
}

/// Writes a table at `/t`.
pub fn write(env: &Env, options: TableOptions, entries: &[Entry]) -> TableSummary {
    let path = Path::new("/t");
    let file = env.fs.create(path).unwrap();
    let mut builder = TableBuilder::new(file, path, options);
    for e in entries {
        builder.add(e.borrow()).unwrap();
    }
    builder.finish().unwrap()
}

pub fn read(env: &Env, cache: &Arc<BlockCache>) -> Arc<Table> {
    let file = env.fs.open(Path::new("/t")).unwrap();
    Arc::new(Table::open(file, ID, DATABASE, cache).unwrap())
}

/// A table of these entries, in a cache of 1 MiB.
pub fn table(options: TableOptions, entries: &[Entry]) -> Arc<Table> {
    let env = Env::memory(1);
    write(&env, options, entries);
    read(&env, &BlockCache::new(1 << 20))
}

/// The whole file at `/t`.
pub fn bytes(env: &Env) -> Vec<u8> {
    let file = env.fs.open(Path::new("/t")).unwrap();
    let mut bytes = vec![0; file.len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// A file that is only bytes.
#[derive(Debug)]
pub struct Bytes(pub Vec<u8>);

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
pub fn open_bytes(bytes: Vec<u8>, cache: &Arc<BlockCache>) -> Result<Arc<Table>, Error> {
    Table::open(Arc::new(Bytes(bytes)), ID, DATABASE, cache).map(Arc::new)
}
