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
//! Start at [`Db`]. The modules below stand in the order in which they build
//! on each other; none looks at one that comes later.

mod error;
mod options;
mod stats;
mod explain;
mod range;
mod counters;
mod budget;
mod health;
mod snapshots;
mod pacing;
mod salvage;
mod wal;
mod batch;
mod memtable;
mod row_cache;
mod version;
mod manifest;
mod run_cursor;
mod merge;
mod compaction;
mod jobs;
mod keyspace_options;
mod simulation;
mod mem;
mod commit_queue;
mod work;
mod core;
mod commit;
mod scan;
mod read;
mod flush;
mod compact;
mod background;
mod close;
mod verify;
mod open_keyspace;
mod report;
mod recovery;
mod handle;
mod keyspace;
mod snapshot;
mod db;
mod repair;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;

pub use batch::Batch;
pub use compact::CompactSummary;
pub use db::{Builder, Db};
pub use error::{Error, Result};
pub use explain::{Explain, Outcome, Step, Tier};
pub use keyspace::{Keyspace, Record};
pub use options::{Compression, Durability, KeyspaceOptions, PutOptions, WriteOptions};
pub use range::KeyRange;
pub use repair::{LostPart, RepairReport, RepairedFile, repair};
pub use scan::{Cursor, Iter};
#[cfg(feature = "simulation")]
pub use simulation::{Scheduler, Tuning};
pub use snapshot::Snapshot;
pub use stats::*;
pub use tanada_format::{Corruption, MAX_BATCH_BYTES, MAX_KEY_LEN, MAX_VALUE_LEN, SeqNo};
pub use tanada_table::Value;
pub use tanada_vfs as vfs;
pub use verify::VerifyReport;
