//! Tanada: a persistent key-value store on a log-structured merge tree.

mod error;
mod options;
mod stats;
mod memtable;
mod row_cache;
#[allow(dead_code, unused_imports)] // until the core uses it
mod version;
#[allow(dead_code, unused_imports)] // until the core uses it
mod manifest;
#[allow(dead_code)] // until scans and compaction use it
mod merge;
#[allow(dead_code, unused_imports)] // until the core uses it
mod compaction;
mod wal;
mod explain;
mod batch;
mod db;

pub use batch::Batch;
pub use db::{
    Builder, CompactSummary, Db, Iter, KeyRange, Keyspace, Record, Snapshot, VerifyReport,
};
pub use error::{Error, Result};
pub use explain::{Explain, Outcome, Step, Tier};
pub use options::{Compression, Durability, KeyspaceOptions, PutOptions, WriteOptions};
pub use stats::*;
pub use tanada_format::{Corruption, MAX_BATCH_BYTES, MAX_KEY_LEN, MAX_VALUE_LEN, SeqNo};
pub use tanada_table::Value;
pub use tanada_vfs as vfs;
