//! Tanada: a persistent key-value store on a log-structured merge tree.
//!
//! ```
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("data");
//! let db = tanada::Db::open(path)?;
//! db.put("city:kyoto", "京都")?;
//! db.put("city:nara", "奈良")?;
//! for entry in db.prefix("city:") {
//!     let (key, value) = entry?;
//!     println!("{key:?} = {value:?}");
//! }
//! # Ok::<(), tanada::Error>(())
//! ```
//!
//! A database belongs to the process that opened it: a forked child must open its own, see
//! [`Db`].
//!
//! Start at [`Db`]. The modules below stand in the order in which they build
//! on each other; none looks at one that comes later.

mod types;
mod control;
mod salvage;
mod wal;
mod memtable;
mod tree;
mod read;
mod core;
mod write;
mod background;
mod opening;
mod checkpoint;
mod changes;
mod api;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
#[cfg(all(test, shuttle, feature = "simulation"))]
mod schedules;
#[cfg(test)]
#[path = "../../vfs/tests/house/alone.rs"]
mod alone;
#[cfg(test)]
#[path = "../../vfs/tests/house/patience.rs"]
mod patience;

pub use api::claim::MemoryClaim;
pub use api::db::{Builder, Db};
pub use api::keyspace::Keyspace;
pub use api::snapshot::Snapshot;
pub use api::verify::VerifyReport;
pub use background::compact::CompactSummary;
pub use changes::{ChangeHold, Changes, CommitGroup};
pub use checkpoint::{CheckpointDir, CheckpointEntry, CheckpointSummary};
#[cfg(feature = "simulation")]
pub use core::simulation::{Scheduler, Tuning};
pub use opening::repair::{LostPart, RepairReport, RepairedFile, repair};
pub use read::scan::{Cursor, Iter, Keys, Records};
pub use tanada_format::{
    Corruption, Lineage, MAX_BATCH_BYTES, MAX_KEY_LEN, MAX_VALUE_LEN, SeqNo, WriterEpoch,
};
pub use tanada_table::Value;
pub use tanada_vfs as vfs;
pub use tree::compaction::run_compaction;
pub use types::change::{Change, Operation};
pub use types::compactor::Compactor;
pub use types::condition::{Condition, Conflict, FailedCondition};
pub use types::error::{Error, Result};
pub use types::explain::{Explain, Outcome, Step, Tier};
pub use types::options::{Compression, Durability, KeyspaceOptions, PutOptions, WriteOptions};
pub use types::position::{BadPosition, Position, Since};
pub use types::range::{KeyRange, prefix_end};
pub use types::record::{Record, RecordRef, UnixMillis};
pub use types::stats::*;
pub use write::batch::Batch;
pub use write::expiry::MAX_EXPIRES_AT_MS;
