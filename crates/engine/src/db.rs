//! The public handles: `Builder`, `Db`, `Keyspace`, `Snapshot`, `Iter`. SKELETON: bodies follow.
#![allow(missing_docs)]

use crate::batch::Batch;
use crate::error::Result;
use crate::explain::Explain;
use crate::options::*;
use crate::stats::Stats;
use std::path::Path;
use tanada_format::SeqNo;
use tanada_table::Value;
use tanada_vfs::Env;

pub struct Builder {}
impl Builder {
    /// Hard budget in bytes for MemTables, caches, indexes, filters, buffers. Default 256 MiB; least 16 MiB.
    pub fn memory(self, _bytes: u64) -> Builder {
        todo!()
    }
    pub fn durability(self, _d: Durability) -> Builder {
        todo!()
    }
    /// Compression of the default keyspace's new tables.
    pub fn compression(self, _c: Compression) -> Builder {
        todo!()
    }
    /// Background threads for flush and compaction. Default: the machine's cores, 2 to 8.
    pub fn threads(self, _n: usize) -> Builder {
        todo!()
    }
    /// Whether a missing database is created (default) or refused.
    pub fn create_if_missing(self, _yes: bool) -> Builder {
        todo!()
    }
    /// The machine to run on; for tests and simulations.
    pub fn env(self, _env: Env) -> Builder {
        todo!()
    }
    pub fn open(self) -> Result<Db> {
        todo!()
    }
}

/// What is seen of one key beside its value.
#[derive(Clone, Debug)]
pub struct Record {
    pub value: Value,
    /// Sequence number of the write: the key's version.
    pub seqno: SeqNo,
    /// Wall-clock milliseconds since 1970, when the key expires.
    pub expires_at_ms: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Db {}
impl Db {
    pub fn open(_path: impl AsRef<Path>) -> Result<Db> {
        todo!()
    }
    pub fn builder(_path: impl AsRef<Path>) -> Builder {
        todo!()
    }
    /// The default keyspace; `Db` derefs to it in spirit: the verbs below are its verbs.
    pub fn default_keyspace(&self) -> &Keyspace {
        todo!()
    }
    pub fn put(&self, _k: impl AsRef<[u8]>, _v: impl AsRef<[u8]>) -> Result<SeqNo> {
        todo!()
    }
    pub fn put_with(
        &self,
        _k: impl AsRef<[u8]>,
        _v: impl AsRef<[u8]>,
        _o: PutOptions,
    ) -> Result<SeqNo> {
        todo!()
    }
    pub fn get(&self, _k: impl AsRef<[u8]>) -> Result<Option<Value>> {
        todo!()
    }
    pub fn delete(&self, _k: impl AsRef<[u8]>) -> Result<SeqNo> {
        todo!()
    }
    pub fn contains(&self, _k: impl AsRef<[u8]>) -> Result<bool> {
        todo!()
    }
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        _keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Value>>> {
        todo!()
    }
    pub fn write(&self, _b: Batch) -> Result<SeqNo> {
        todo!()
    }
    /// Returns the seqno of the batch's LAST write; write i of n has `last - (n-1-i)`.
    pub fn write_with(&self, _b: Batch, _o: WriteOptions) -> Result<SeqNo> {
        todo!()
    }
    pub fn range(&self, _range: impl KeyRange) -> Iter {
        todo!()
    }
    pub fn iter(&self) -> Iter {
        todo!()
    }
    pub fn prefix(&self, _p: impl AsRef<[u8]>) -> Iter {
        todo!()
    }
    pub fn snapshot(&self) -> Snapshot {
        todo!()
    }
    /// Opens or creates a keyspace. Names: 1 to 255 bytes of UTF-8.
    pub fn keyspace(&self, _name: &str, _o: KeyspaceOptions) -> Result<Keyspace> {
        todo!()
    }
    pub fn keyspaces(&self) -> Vec<String> {
        todo!()
    }
    /// Writes all MemTables of all keyspaces to tables; returns when they are durable.
    pub fn flush(&self) -> Result<()> {
        todo!()
    }
    /// Merges the tables that hold keys of the range down to the last level, MemTables first.
    pub fn compact(&self, _range: impl KeyRange) -> Result<CompactSummary> {
        todo!()
    }
    /// Reads and checks every byte of every file.
    pub fn verify(&self) -> Result<VerifyReport> {
        todo!()
    }
    pub fn stats(&self) -> Stats {
        todo!()
    }
    /// Syncs the log (and ends the threads when this is the last handle). Later calls answer `Closed`.
    pub fn close(&self) -> Result<()> {
        todo!()
    }
}

/// What `compact` did.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct CompactSummary {
    pub jobs: u64,
    pub tables_before: u64,
    pub tables_after: u64,
    pub bytes_before: u64,
    pub bytes_after: u64,
    pub entries_dropped: u64,
}

/// What `verify` found.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct VerifyReport {
    pub tables: u64,
    pub blocks: u64,
    pub entries: u64,
    pub log_records: u64,
    pub bytes: u64,
    /// Every damage found, one sentence each with file and offset. Empty: all is well.
    pub damage: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Keyspace {}
impl Keyspace {
    pub fn name(&self) -> &str {
        todo!()
    }
    pub fn put(&self, _k: impl AsRef<[u8]>, _v: impl AsRef<[u8]>) -> Result<SeqNo> {
        todo!()
    }
    pub fn put_with(
        &self,
        _k: impl AsRef<[u8]>,
        _v: impl AsRef<[u8]>,
        _o: PutOptions,
    ) -> Result<SeqNo> {
        todo!()
    }
    pub fn get(&self, _k: impl AsRef<[u8]>) -> Result<Option<Value>> {
        todo!()
    }
    /// Value, version and expiry.
    pub fn get_record(&self, _k: impl AsRef<[u8]>) -> Result<Option<Record>> {
        todo!()
    }
    /// As `get_record`, but `Err(WouldBlock)` instead of reading from the disk. For reactors.
    pub fn try_get_record(&self, _k: impl AsRef<[u8]>) -> Result<Option<Record>> {
        todo!()
    }
    /// As `get`, with the path of the read.
    pub fn explain(&self, _k: impl AsRef<[u8]>) -> Result<Explain> {
        todo!()
    }
    pub fn delete(&self, _k: impl AsRef<[u8]>) -> Result<SeqNo> {
        todo!()
    }
    pub fn contains(&self, _k: impl AsRef<[u8]>) -> Result<bool> {
        todo!()
    }
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        _keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Value>>> {
        todo!()
    }
    pub fn range(&self, _range: impl KeyRange) -> Iter {
        todo!()
    }
    pub fn iter(&self) -> Iter {
        todo!()
    }
    pub fn prefix(&self, _p: impl AsRef<[u8]>) -> Iter {
        todo!()
    }
    pub fn flush(&self) -> Result<()> {
        todo!()
    }
    pub fn compact(&self, _range: impl KeyRange) -> Result<CompactSummary> {
        todo!()
    }
}

/// One moment of the whole database.
#[derive(Clone, Debug)]
pub struct Snapshot {}
impl Snapshot {
    pub fn seqno(&self) -> SeqNo {
        todo!()
    }
    pub fn get(&self, _k: impl AsRef<[u8]>) -> Result<Option<Value>> {
        todo!()
    }
    pub fn range(&self, _range: impl KeyRange) -> Iter {
        todo!()
    }
    pub fn iter(&self) -> Iter {
        todo!()
    }
    pub fn prefix(&self, _p: impl AsRef<[u8]>) -> Iter {
        todo!()
    }
    pub fn get_in(&self, _ks: &Keyspace, _k: impl AsRef<[u8]>) -> Result<Option<Value>> {
        todo!()
    }
    pub fn range_in(&self, _ks: &Keyspace, _range: impl KeyRange) -> Iter {
        todo!()
    }
}

/// Keys and values in order, from either end, of one moment.
pub struct Iter {}
impl Iterator for Iter {
    /// Key and value.
    type Item = Result<(Value, Value)>;
    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}
impl DoubleEndedIterator for Iter {
    fn next_back(&mut self) -> Option<Self::Item> {
        todo!()
    }
}

/// A range of keys: `..`, `"a".."m"`, `"a"..`, `..="m"`, pairs of `Bound`s.
pub trait KeyRange {
    fn bounds(&self) -> (std::ops::Bound<&[u8]>, std::ops::Bound<&[u8]>);
}
impl KeyRange for std::ops::RangeFull {
    fn bounds(&self) -> (std::ops::Bound<&[u8]>, std::ops::Bound<&[u8]>) {
        todo!()
    }
}
impl<K: AsRef<[u8]>> KeyRange for std::ops::Range<K> {
    fn bounds(&self) -> (std::ops::Bound<&[u8]>, std::ops::Bound<&[u8]>) {
        todo!()
    }
}
impl<K: AsRef<[u8]>> KeyRange for std::ops::RangeFrom<K> {
    fn bounds(&self) -> (std::ops::Bound<&[u8]>, std::ops::Bound<&[u8]>) {
        todo!()
    }
}
impl<K: AsRef<[u8]>> KeyRange for (std::ops::Bound<K>, std::ops::Bound<K>) {
    fn bounds(&self) -> (std::ops::Bound<&[u8]>, std::ops::Bound<&[u8]>) {
        todo!()
    }
}
