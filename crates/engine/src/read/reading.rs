//! The reading side of an open database: all that gets and scans need, and nothing of
//! logs, commits and the background. A database that is only read, or that follows
//! another, has this side alone.

use crate::control::budget::{Budget, RowCacheUse};
use crate::control::counters::{Count, Counters};
use crate::control::health::Health;
use crate::read::row_cache::{RowCache, Worth};
use crate::read::snapshots::Snapshots;
use crate::read::view::{KeyspaceState, View};
use crate::tree::version::TableStore;
use arc_swap::ArcSwap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tanada_format::{DatabaseId, SeqNo, planted};
use tanada_table::BlockCache;
use tanada_vfs::Env;
use tanada_vfs::sync::{self, Mutex};

/// What reads look at.
pub(crate) struct Reading {
    // Constants.
    pub(crate) env: Env,
    pub(crate) path: PathBuf,
    pub(crate) database_id: DatabaseId,

    // Tiers and accounts, each with locks of its own inside.
    pub(crate) block_cache: Arc<BlockCache>,
    pub(crate) row_cache: RowCache,
    pub(crate) row_cache_worth: Worth,
    pub(crate) tables: Arc<TableStore>,
    pub(crate) budget: Budget,
    /// Held to divide the memory anew; only the locks of the caches and of the open
    /// tables are taken under it.
    pub(crate) balancing: Mutex<()>,
    pub(crate) counters: Counters,
    pub(crate) health: Health,
    pub(crate) snapshots: Snapshots,

    /// The newest write that readers see. Stored with Release by the commit
    /// leader after the MemTables hold the write; loaded with Acquire by
    /// readers after they have pinned a view.
    pub(crate) visible: Visible,
    /// The latest wall time acted upon, in milliseconds: a clock set back must
    /// not revive what has expired.
    pub(crate) clock_high_ms: AtomicU64,

    /// Held to replace any keyspace's view: each replacement builds on the last.
    pub(crate) views: Mutex<()>,
    /// Keyspaces by id. Replaced under the manifest's lock.
    pub(crate) keyspaces: ArcSwap<Vec<Arc<KeyspaceState>>>,
}

/// A seqno that changes with every write: on lines of its own, for what lies beside
/// changes rarely and is read as often.
#[repr(align(128))]
pub(crate) struct Visible(pub(crate) sync::atomic::AtomicU64);

impl Reading {
    /// The newest visible write. Load it after pinning the view it is used
    /// with: the other way round, a compaction between the two could drop the
    /// versions that this number needs.
    #[inline]
    pub(crate) fn visible(&self) -> SeqNo {
        SeqNo(self.visible.0.load(Ordering::Acquire))
    }

    /// What a scan of `keyspace` that begins now walks. In a forked child nothing: every
    /// step is refused there, and loading a view may take a lock.
    pub(crate) fn view_of(&self, keyspace: &KeyspaceState) -> Arc<View> {
        if self.health.owner.is_forked() { Arc::new(View::empty()) } else { keyspace.view.load() }
    }

    /// Counts a scan that begins.
    pub(crate) fn count_scan(&self) {
        if !self.health.owner.is_forked() {
            self.counters.add(Count::Scans, 1);
        }
    }

    /// Keeps the newest write readable until [`Reading::release_snapshot`], and answers
    /// its number. Nothing is kept in a forked child.
    pub(crate) fn hold_snapshot(&self) -> SeqNo {
        if self.health.owner.is_forked() {
            return self.visible();
        }
        self.snapshots.hold(|| self.visible())
    }

    /// Lets go of what [`Reading::hold_snapshot`] answered.
    pub(crate) fn release_snapshot(&self, seqno: SeqNo) {
        if !self.health.owner.is_forked() {
            self.snapshots.release(seqno);
        }
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
        self.tables.fit();
    }
}
