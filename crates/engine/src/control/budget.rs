//! The one memory budget and how it is divided.
//!
//! MemTables take what writing needs, up to three eighths; jobs have a fixed share; the
//! caches (the block cache counts what open tables keep resident) get the rest and give it back at once when
//! another grows. So a database that is only read gives nearly the whole
//! budget to its caches, and one that is only written three eighths to MemTables.

use std::sync::atomic::{AtomicU64, Ordering};

/// Least budget that works, in bytes.
pub(crate) const MIN_MEMORY: u64 = 16 << 20;

/// Shares of the budget, in bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    /// The whole.
    pub(crate) total: u64,
    /// A MemTable this large is sealed.
    pub(crate) memtable_seal: u64,
    /// All MemTables together never hold more: writers wait for a flush.
    pub(crate) memtables_max: u64,
    /// The caches together never take more, whatever is left for them.
    pub(crate) caches_max: u64,
    /// Kept for the jobs of the background threads and the mapped log.
    pub(crate) jobs: u64,
    /// MemTables of all keyspaces, sealed ones included. Relaxed: a sum that
    /// orders nothing; writers wait under the background's lock.
    pub(crate) memtable_bytes: AtomicU64,
}

impl Budget {
    pub(crate) fn new(total: u64, threads: u64) -> Budget {
        Budget {
            total,
            memtable_seal: (total / 8).min(64 << 20),
            memtables_max: total / 8 * 3,
            caches_max: total,
            jobs: (total / 16).min((threads + 1) * (4 << 20)),
            memtable_bytes: AtomicU64::new(0),
        }
    }

    /// What is left for the caches now. MemTables count with at least the one
    /// that is being filled, so that the caches need not shrink at every write.
    pub(crate) fn caches(&self, row_cache: RowCacheUse) -> CacheShares {
        let memtables = self.memtable_bytes.load(Ordering::Relaxed) + self.memtable_seal;
        let taken = memtables + self.jobs;
        let left = self.total.saturating_sub(taken).min(self.caches_max);
        let row_cache = match row_cache {
            RowCacheUse::Asked => left / 8,
            RowCacheUse::Aside => 0,
        };
        CacheShares { row_cache, block_cache: left - row_cache }
    }
}

/// Whether the row cache has a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowCacheUse {
    /// Gets ask it, or it still has rows.
    Asked,
    /// It has stepped aside: the block cache has its share.
    Aside,
}

/// Capacities of the caches, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheShares {
    pub(crate) row_cache: u64,
    pub(crate) block_cache: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_exceed_the_budget_however_full_the_memtables_are() {
        for total in [MIN_MEMORY, 256 << 20, 16 << 30] {
            let budget = Budget::new(total, 8);
            for memtables in [0, budget.memtable_seal, budget.memtables_max] {
                budget.memtable_bytes.store(memtables, Ordering::Relaxed);
                for row_cache in [RowCacheUse::Asked, RowCacheUse::Aside] {
                    let caches = budget.caches(row_cache);
                    let fixed = memtables + budget.jobs;
                    let sum = fixed + caches.row_cache + caches.block_cache;
                    assert!(sum <= total, "{sum} of {total}");
                }
            }
        }
    }
}
