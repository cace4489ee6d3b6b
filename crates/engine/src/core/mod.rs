//! What all parts of an open database share, and who may touch it when.
//!
//! Lock order, outermost first: `commit` (queue, then writer) → `manifest` →
//! `views` → the background's state; its bell is rung under any of them. The shards of the dead spans are locked under the
//! writer, and nothing under them. No lock is held over I/O but two: the
//! commit leader's writer (it writes and syncs the log) and `manifest` (it
//! appends and syncs edits; background jobs and keyspace creation take it, and the commit
//! leader once in some million writes).

pub(crate) mod simulation;
pub(crate) mod config;
pub(crate) mod checks;
pub(crate) mod returning;
pub(crate) mod queue;
pub(crate) mod unflushed;
pub(crate) mod lineup;
pub(crate) mod work;
pub(crate) mod jobs;
pub(crate) mod seqnos;

use crate::control::io_rate::IoRate;
use crate::control::pacing::Pacing;
use crate::memtable::Fixed;
use crate::read::reading::Reading;
use crate::tree::manifest::{Manifest, TableIds};
use crate::wal::WalHandle;
use config::Config;
use jobs::Jobs;
use queue::Commit;
use seqnos::Seqnos;
use std::sync::Arc;
use tanada_format::LogPosition;
use tanada_vfs::DirLock;
use tanada_vfs::sync::Mutex;
use unflushed::Unflushed;
use work::Background;

/// An open database: the writing side, over the reading side.
pub(crate) struct Core {
    /// What reads look at.
    pub(crate) reading: Arc<Reading>,

    // Constants.
    pub(crate) config: Config,
    pub(crate) opened_ns: u64,
    /// Where the log stood when it was opened.
    pub(crate) opened_position: LogPosition,

    // Each with locks of its own inside.
    pub(crate) table_ids: Arc<TableIds>,
    pub(crate) wal: WalHandle,
    /// What each MemTable costs beside its entries. Constant.
    pub(crate) memtable_fixed: Fixed,
    pub(crate) jobs: Jobs,
    pub(crate) pacing: Pacing,
    /// How compactions give way to readers.
    pub(crate) io_rate: IoRate,
    /// The MemTables that hold something.
    pub(crate) unflushed: Unflushed,

    /// How far sequence numbers may be handed out.
    pub(crate) seqnos: Seqnos,
    /// Everything that writing needs.
    pub(crate) commit: Commit,
    /// The manifest and what only its writers may change.
    pub(crate) manifest: Mutex<Manifest>,
    pub(crate) background: Arc<Background>,

    /// Keeps other processes out until closed.
    pub(crate) lock: Mutex<Option<Box<dyn DirLock>>>,
}

impl Core {
    /// Start of the oldest record that some MemTable still needs; `None` when
    /// all MemTables are empty. Call it under the writer lock, or count on it
    /// only as a bound that may be too old.
    pub(crate) fn oldest_needed(&self) -> Option<LogPosition> {
        self.unflushed.oldest()
    }
}
