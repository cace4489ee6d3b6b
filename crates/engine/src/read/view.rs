//! Where reads of a keyspace start: its MemTables and its tree at one moment.

use crate::control::account::Account;
use crate::memtable::ChunkPool;
use crate::read::mem::Mem;
use crate::tree::version::Version;
use crate::types::options::Compression;
use std::sync::Arc;
use tanada_format::{KeyspaceId, LogPosition};
use tanada_table::Published;
use tanada_vfs::sync::Mutex;
use tanada_vfs::sync::atomic::AtomicBool;

/// One keyspace.
pub(crate) struct KeyspaceState {
    pub(crate) id: KeyspaceId,
    pub(crate) name: String,
    /// Of new tables: whoever opens the keyspace may change it. Held for a copy,
    /// and nothing is locked under it.
    pub(crate) compression: Mutex<Compression>,
    /// Where reads start. Replaced under [`Reading::views`](super::reading::Reading::views).
    pub(crate) view: Published<View>,
    pub(crate) paid: Paid,
}

/// What scans have paid for by stepping over dead keys, and nobody has done yet. Hints that
/// may be lost: relaxed.
pub(crate) struct Paid {
    /// A flush of the MemTable.
    pub(crate) seal: AtomicBool,
    /// Rewriting tables.
    pub(crate) tables: AtomicBool,
}

impl Paid {
    /// Nothing yet.
    pub(crate) fn nothing() -> Paid {
        Paid { seal: AtomicBool::new(false), tables: AtomicBool::new(false) }
    }
}

/// Everything a read of one keyspace looks at, frozen but for the active MemTable.
pub(crate) struct View {
    /// Receives writes.
    pub(crate) active: Arc<Mem>,
    /// Full, waiting for their flush; newest first.
    pub(crate) sealed: Vec<Arc<Mem>>,
    pub(crate) version: Arc<Version>,
}

impl View {
    /// Of nothing.
    pub(crate) fn empty() -> View {
        let active = Mem::new(&ChunkPool::new(0, Account::new()));
        View { active, sealed: Vec::new(), version: Version::empty() }
    }

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

    /// Whether `mem` is one of these MemTables.
    pub(crate) fn holds(&self, mem: &Arc<Mem>) -> bool {
        self.mems().any(|own| Arc::ptr_eq(own, mem))
    }

    /// All MemTables, newest first.
    pub(crate) fn mems(&self) -> impl Iterator<Item = &Arc<Mem>> {
        std::iter::once(&self.active).chain(&self.sealed)
    }
}
