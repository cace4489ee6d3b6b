//! What all parts of an open database share, and who may touch it when.
//!
//! Lock order, outermost first: `commit` (queue, then writer) → `manifest` →
//! `views` → the background's state. No lock is held over I/O but two: the
//! commit leader's writer (it writes and syncs the log) and `manifest` (it
//! appends and syncs edits; only background jobs and keyspace creation take it).

use crate::budget::{Budget, RowCacheUse};
use crate::commit_queue::Commit;
use crate::compaction;
use crate::counters::Counters;
use crate::health::Health;
use crate::jobs::Jobs;
use crate::manifest::{Manifest, TableIds};
use crate::mem::Mem;
use crate::memtable::ChunkPool;
use crate::options::{Compression, Durability};
use crate::pacing::Pacing;
use crate::row_cache::{RowCache, Worth};
use crate::simulation::Simulation;
use crate::snapshots::Snapshots;
use crate::version::{TableFiles, Version};
use crate::wal::{SegmentSizes, WalHandle};
use crate::work::Background;
use arc_swap::ArcSwap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tanada_format::{DatabaseId, KeyspaceId, LogPosition, SeqNo, planted};
use tanada_table::{BlockCache, Published};
use tanada_vfs::sync::{self, Mutex};
use tanada_vfs::{DirLock, Env};

/// An open database.
pub(crate) struct Core {
    // Constants.
    pub(crate) env: Env,
    pub(crate) path: PathBuf,
    pub(crate) database_id: DatabaseId,
    pub(crate) config: Config,
    pub(crate) opened_ns: u64,
    /// Where the log stood when it was opened.
    pub(crate) opened_position: LogPosition,

    // Tiers and accounts, each with locks of its own inside.
    pub(crate) block_cache: Arc<BlockCache>,
    pub(crate) row_cache: RowCache,
    pub(crate) row_cache_worth: Worth,
    pub(crate) tables: Arc<TableFiles>,
    pub(crate) table_ids: Arc<TableIds>,
    pub(crate) wal: WalHandle,
    pub(crate) budget: Budget,
    /// Held to divide the memory anew; only the caches' own locks are taken under it.
    pub(crate) balancing: Mutex<()>,
    /// Of all MemTables.
    pub(crate) chunks: Arc<ChunkPool>,
    pub(crate) counters: Counters,
    pub(crate) jobs: Jobs,
    pub(crate) health: Health,
    pub(crate) snapshots: Snapshots,
    pub(crate) pacing: Pacing,

    /// The newest write that readers see. Stored with Release by the commit
    /// leader after the MemTables hold the write; loaded with Acquire by
    /// readers after they have pinned a view.
    pub(crate) visible: Visible,
    /// The latest wall time acted upon, in milliseconds: a clock set back must
    /// not revive what has expired.
    pub(crate) clock_high_ms: AtomicU64,

    /// Everything that writing needs.
    pub(crate) commit: Commit,
    /// The manifest and what only its writers may change.
    pub(crate) manifest: Mutex<Manifest>,
    /// Held to replace any keyspace's view: each replacement builds on the last.
    pub(crate) views: Mutex<()>,
    /// Keyspaces by id. Replaced under `manifest`.
    pub(crate) keyspaces: ArcSwap<Vec<Arc<KeyspaceState>>>,
    pub(crate) background: Background,

    /// Keeps other processes out until closed.
    pub(crate) lock: Mutex<Option<Box<dyn DirLock>>>,
}

/// A seqno that changes with every write: on lines of its own, for what lies beside
/// changes rarely and is read as often.
#[repr(align(128))]
pub(crate) struct Visible(pub(crate) sync::atomic::AtomicU64);

/// Settings of an open database.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) durability: Durability,
    /// Of the default keyspace's new tables, when the caller chose.
    pub(crate) compression: Option<Compression>,
    pub(crate) memory: u64,
    pub(crate) threads: usize,
    pub(crate) compaction: compaction::Config,
    pub(crate) simulation: Simulation,
}

impl Config {
    pub(crate) fn new(
        memory: u64,
        durability: Durability,
        compression: Option<Compression>,
        threads: usize,
    ) -> Config {
        let memtable = Budget::new(memory, threads as u64).memtable_seal;
        let compaction = compaction::Config::for_memtable(memtable);
        let simulation = Simulation::default();
        Config { durability, compression, memory, threads, compaction, simulation }
    }

    /// With what a simulation sets.
    pub(crate) fn simulated(mut self, simulation: Simulation) -> Config {
        self.compaction = simulation.compaction(self.compaction);
        self.simulation = simulation;
        self
    }

    /// The budget that the memory is divided by.
    pub(crate) fn budget(&self) -> Budget {
        self.simulation.budget(Budget::new(self.memory, self.threads as u64))
    }

    /// How large log files are.
    pub(crate) fn log_sizes(&self) -> SegmentSizes {
        self.simulation.log(SegmentSizes::for_memtable(self.budget().memtable_seal))
    }
}

/// One keyspace.
pub(crate) struct KeyspaceState {
    pub(crate) id: KeyspaceId,
    pub(crate) name: String,
    /// Of new tables: whoever opens the keyspace may change it. Held for a copy,
    /// and nothing is locked under it.
    pub(crate) compression: Mutex<Compression>,
    /// Where reads start. Replaced under [`Core::views`].
    pub(crate) view: Published<View>,
}

/// Everything a read of one keyspace looks at, frozen but for the active MemTable.
pub(crate) struct View {
    /// Receives writes.
    pub(crate) active: Arc<Mem>,
    /// Full, waiting for their flush; newest first.
    pub(crate) sealed: Vec<Arc<Mem>>,
    pub(crate) version: Arc<Version>,
}

impl Core {
    /// The newest visible write. Load it after pinning the view it is used
    /// with: the other way round, a compaction between the two could drop the
    /// versions that this number needs.
    #[inline]
    pub(crate) fn visible(&self) -> SeqNo {
        SeqNo(self.visible.0.load(Ordering::Acquire))
    }

    /// Wall time in milliseconds that never goes back while the database is
    /// open, nor behind what the manifest remembers.
    pub(crate) fn now_ms(&self) -> u64 {
        let now = self.env.clock.wall_ms();
        if planted!(ttl_revived_by_clock_set_back) {
            return now;
        }
        // Relaxed: a maximum is right in whatever order it is reached.
        now.max(self.clock_high_ms.fetch_max(now, Ordering::Relaxed))
    }

    /// Replaces a keyspace's view by what `change` makes of it.
    pub(crate) fn change_view(&self, keyspace: &KeyspaceState, change: impl FnOnce(&View) -> View) {
        let _turn = self.views.lock();
        let next = change(&keyspace.view.load());
        keyspace.view.store(Arc::new(next));
    }

    /// Gives the caches what the budget leaves them now.
    pub(crate) fn rebalance(&self) {
        // Two at once could leave the caches with parts of different divisions.
        let _turn = self.balancing.lock();
        let shares =
            self.budget.caches(match self.row_cache_worth.pays() || !self.row_cache.is_empty() {
                true => RowCacheUse::Asked,
                false => RowCacheUse::Aside,
            });
        self.row_cache.set_capacity(shares.row_cache);
        self.block_cache.set_capacity(shares.block_cache);
    }

    /// Start of the oldest record that some MemTable still needs; `None` when
    /// all MemTables are empty. Call it under the writer lock, or count on it
    /// only as a bound that may be too old.
    pub(crate) fn oldest_needed(&self) -> Option<LogPosition> {
        let keyspaces = self.keyspaces.load();
        keyspaces.iter().filter_map(|k| k.view.load().oldest_position()).min()
    }
}

impl View {
    /// This view with its active MemTable sealed and an empty one in its place.
    pub(crate) fn with_new_active(&self, chunks: &Arc<ChunkPool>) -> View {
        let mut sealed = Vec::with_capacity(self.sealed.len() + 1);
        sealed.push(Arc::clone(&self.active));
        sealed.extend(self.sealed.iter().cloned());
        View { active: Mem::new(chunks), sealed, version: Arc::clone(&self.version) }
    }

    /// Start of the oldest record with a write in these MemTables.
    pub(crate) fn oldest_position(&self) -> Option<LogPosition> {
        self.mems().filter_map(|m| m.first_position()).min()
    }

    /// All MemTables, newest first.
    pub(crate) fn mems(&self) -> impl Iterator<Item = &Arc<Mem>> {
        std::iter::once(&self.active).chain(&self.sealed)
    }
}
