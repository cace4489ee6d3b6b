//! The one memory budget and how it is divided.
//!
//! MemTables take what writing needs, up to three eighths; jobs have a fixed share; the
//! caches (the block cache counts what open tables keep resident) get the rest and give it back at once when
//! another grows. So a database that is only read gives nearly the whole
//! budget to its caches, and one that is only written three eighths to MemTables.
//!
//! What is taken is on the [`Account`], MemTables that only readers still hold
//! included. The caches have been *granted* a part, and whoever needs more than what
//! is neither taken nor granted asks for a new division first. Below their floor the
//! caches give nothing: then the asker waits, or is refused (docs/decisions/0012-one-account.md).

use super::account::{Account, Part};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tanada_format::planted;
use tanada_vfs::sync::atomic::AtomicU64;
use tanada_vfs::sync::lock_free::fence;

/// Least budget that works, in bytes.
pub(crate) const MIN_MEMORY: u64 = 16 << 20;

/// A MemTable grows by whole chunks.
pub(crate) const CHUNK_BYTES: u64 = 2 << 20;

/// A row cache that nobody has looked at yet has no less than this, and no more than its whole
/// share: where caches are as small as in simulations it would hold no row else.
const LEAST_UNTRIED: u64 = 256 << 10;

/// Shares of the budget, in bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    /// The whole.
    pub(crate) total: u64,
    /// A MemTable this large is sealed.
    pub(crate) memtable_seal: u64,
    /// MemTables that are filled or wait for their flush never hold more together:
    /// writers wait for a flush.
    pub(crate) memtables_max: u64,
    /// The caches together never take more, whatever is left for them.
    pub(crate) caches_max: u64,
    /// Kept for the jobs of the background threads and the mapped log.
    pub(crate) jobs: u64,
    /// MemTables of all keyspaces that are filled or wait for their flush. Relaxed: a
    /// sum that orders nothing; writers wait under the background's lock.
    pub(crate) memtable_bytes: AtomicU64,
    /// Buffers that jobs have now: beyond their share they are taken from the caches.
    pub(crate) job_bytes: AtomicU64,
    /// What all others than caches and jobs have taken.
    pub(crate) account: Arc<Account>,
    /// What the group that is being committed may take in MemTables, where that is more than
    /// what is always left free: others may divide before it has taken it. Relaxed, with a
    /// fence behind it, and one in a division.
    promised: AtomicU64,
    /// What the caches may take by the last division. Written by who divides, under
    /// the lock that is held for it; relaxed: who reads an old grant divides anew.
    granted: AtomicU64,
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
            job_bytes: AtomicU64::new(0),
            account: Account::new(),
            promised: AtomicU64::new(0),
            granted: AtomicU64::new(0),
        }
    }

    /// What a batch may take in MemTables at most, and so about the longest value.
    pub(crate) fn largest_batch(&self) -> u64 {
        self.memtables_max / 2
    }

    /// Batches that wait behind a commit group take no more together, unless one alone
    /// does.
    pub(crate) fn queue_max(&self) -> u64 {
        self.total / 32
    }

    /// What the caches keep however short memory is.
    pub(crate) fn caches_floor(&self) -> u64 {
        (self.total / 16).min(self.caches_max)
    }

    /// What one job may take for its buffers.
    pub(crate) fn a_job(&self, threads: u64) -> u64 {
        self.jobs / (threads + 1)
    }

    /// How much MemTables may grow by writes that take `bytes` in them.
    pub(crate) fn growth(&self, bytes: u64) -> u64 {
        bytes + CHUNK_BYTES.min(self.memtable_seal)
    }

    /// What is left free however many chunks the pool has: a write asks for it before it
    /// knows whether its MemTable takes a chunk. Were it less, each write would take from
    /// the caches what the next division gives back.
    fn next_growth(&self) -> u64 {
        self.growth(0) + CHUNK_BYTES.min(self.memtable_seal / 4)
    }

    /// Notes that the group which is being committed may take so much, before it looks whether
    /// there is room: it is granted to no cache then. The commit leader only.
    #[inline]
    pub(crate) fn promise(&self, bytes: u64) {
        let promised = if bytes > self.next_growth() { bytes } else { 0 };
        if self.promised.load(Ordering::Relaxed) != promised {
            self.promised.store(promised, Ordering::Relaxed);
            fence(Ordering::SeqCst);
        }
    }

    /// What all but the caches have.
    pub(crate) fn taken(&self) -> u64 {
        self.account.taken() + self.jobs.max(self.job_bytes.load(Ordering::Relaxed))
    }

    /// Whether `bytes` more fit beside all that is taken and granted.
    #[inline]
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.taken() + bytes + self.granted.load(Ordering::Relaxed) <= self.total
    }

    /// Divides anew, so that `needed` bytes fit beside the caches if their floor
    /// allows. MemTables count with at least the one that is being filled, so that
    /// the caches need not shrink at every write; it takes the pool's chunks first. The row
    /// cache keeps the capacity that it has, where that is about its share.
    pub(crate) fn divide(&self, row_cache: RowCacheUse, needed: u64) -> CacheShares {
        // A group that comes meanwhile may have seen the last grant, and room beside it: of
        // the two fences one comes first, so either it sees this grant or this its promise.
        let left = loop {
            let promised = self.promised.load(Ordering::Relaxed);
            let left = self.shared_out(needed);
            self.granted.store(left, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if self.promised.load(Ordering::Relaxed) <= promised {
                break left;
            }
        };
        let row_cache = match row_cache {
            RowCacheUse::Asked { capacity } if capacity.abs_diff(left / 8) <= left / 64 => capacity,
            RowCacheUse::Asked { .. } => left / 8,
            RowCacheUse::Untried if planted!(untried_row_cache_has_its_share) => left / 8,
            RowCacheUse::Untried if planted!(untried_row_cache_holds_no_row) => left / 64,
            RowCacheUse::Untried => (left / 64).max(LEAST_UNTRIED.min(left / 8)),
            RowCacheUse::Leaving { capacity } => capacity.min(left / 8),
            RowCacheUse::Aside => 0,
        };
        CacheShares { row_cache, block_cache: left - row_cache }
    }

    fn shared_out(&self, needed: u64) -> u64 {
        let pooled = self.account.of(Part::Pool);
        let chunks = self.memtable_seal.saturating_sub(pooled).max(self.next_growth());
        let headroom = chunks.max(needed).max(self.promised.load(Ordering::Relaxed));
        let left = self.total.saturating_sub(self.taken() + headroom);
        left.max(self.caches_floor()).min(self.caches_max)
    }

    /// Takes so much of what the caches were granted that `needed` bytes fit beside them, and
    /// answers how much; `None`, and nothing is taken, when that is more than `most` or leaves
    /// them less than their floor.
    pub(crate) fn take_back(&self, needed: u64, most: u64) -> Option<u64> {
        let left = self.total.checked_sub(self.taken() + needed)?;
        if left < self.caches_floor() {
            return None;
        }
        let granted = self.granted();
        let back = granted.saturating_sub(left);
        if back > most {
            return None;
        }
        self.granted.store(granted - back, Ordering::Relaxed);
        Some(back)
    }

    /// What the caches would have more, were it divided anew.
    pub(crate) fn ungranted(&self) -> u64 {
        self.shared_out(0).saturating_sub(self.granted())
    }

    /// What the caches may take, or could not give back.
    pub(crate) fn granted(&self) -> u64 {
        self.granted.load(Ordering::Relaxed)
    }

    /// Notes what the caches could not give back of what they hold beyond their shares.
    pub(crate) fn caches_hold(&self, bytes: u64) {
        self.granted.fetch_max(bytes, Ordering::Relaxed);
    }
}

/// A number of bytes, for people.
pub(crate) struct Bytes(pub(crate) u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            bytes @ 0..10_240 => write!(f, "{bytes} bytes"),
            bytes @ 10_240..10_485_760 => write!(f, "{} KiB", bytes >> 10),
            bytes => write!(f, "{} MiB", bytes >> 20),
        }
    }
}

/// Whether the row cache has a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowCacheUse {
    /// Gets ask it, and have been looked at.
    Asked { capacity: u64 },
    /// Gets ask it, and nobody has looked yet whether blocks all fit: it has enough to begin
    /// with.
    Untried,
    /// It has stepped aside and still has rows: it never gets more.
    Leaving { capacity: u64 },
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
                budget.account.take(Part::MemTables, memtables);
                let asked = RowCacheUse::Asked { capacity: total / 10 };
                let leaving = RowCacheUse::Leaving { capacity: total / 10 };
                for row_cache in [asked, RowCacheUse::Untried, leaving, RowCacheUse::Aside] {
                    let caches = budget.divide(row_cache, 0);
                    let sum = budget.taken() + caches.row_cache + caches.block_cache;
                    assert!(sum <= total, "{sum} of {total}");
                    assert!(budget.has_room(0));
                }
                budget.account.give(Part::MemTables, memtables);
            }
        }
    }

    #[test]
    fn a_row_cache_that_has_stepped_aside_never_gets_more() {
        let budget = Budget::new(256 << 20, 2);
        let few = budget.divide(RowCacheUse::Untried, 0).row_cache;
        let leaving = RowCacheUse::Leaving { capacity: few };
        assert_eq!(budget.divide(leaving, 0).row_cache, few);
        assert!(budget.divide(RowCacheUse::Asked { capacity: few }, 0).row_cache > few);
    }

    /// A reader that ended between a long write's look and its insertion gave the caches
    /// what the write then took all the same.
    #[test]
    fn what_a_group_may_still_take_is_granted_to_nobody() {
        let budget = Budget::new(MIN_MEMORY, 2);
        budget.divide(RowCacheUse::Untried, 0);
        let needed = budget.growth(3 << 20);
        budget.promise(needed);
        budget.divide(RowCacheUse::Untried, needed);
        assert!(budget.has_room(needed));
        assert_eq!(budget.ungranted(), 0);
        budget.divide(RowCacheUse::Untried, 0);
        assert!(budget.has_room(needed));
        budget.promise(0);
        assert!(budget.ungranted() > 1 << 20);
        budget.divide(RowCacheUse::Untried, 0);
        assert!(!budget.has_room(needed));
    }

    #[test]
    fn what_one_write_needs_is_taken_back_and_no_more() {
        let budget = Budget::new(256 << 20, 2);
        budget.divide(RowCacheUse::Aside, 0);
        let (granted, headroom) = (budget.granted(), budget.memtable_seal);
        assert_eq!(budget.take_back(headroom, 0), Some(0), "that much is free");
        assert_eq!(budget.take_back(headroom + 4096, 4095), None, "more than it may");
        assert_eq!(budget.granted(), granted);
        assert_eq!(budget.take_back(headroom + 4096, 4096), Some(4096));
        assert_eq!(budget.granted(), granted - 4096);
        assert!(budget.has_room(headroom + 4096));
        assert_eq!(budget.take_back(budget.total, u64::MAX), None, "the caches keep their floor");
        assert_eq!(budget.granted(), granted - 4096);
    }

    /// Readers held a gigabyte of MemTables that the budget knew nothing of.
    #[test]
    fn the_caches_give_way_to_whatever_is_taken_down_to_their_floor_and_then_there_is_no_room() {
        let budget = Budget::new(MIN_MEMORY, 2);
        let step = 64 << 10;
        let mut last = u64::MAX;
        loop {
            let caches = budget.divide(RowCacheUse::Asked { capacity: 0 }, step);
            let granted = caches.row_cache + caches.block_cache;
            assert!(granted <= last, "caches grew while others took more");
            last = granted;
            if !budget.has_room(step) {
                break;
            }
            budget.account.take(Part::Claims, step);
            assert!(budget.taken() + granted <= budget.total);
        }
        assert_eq!(last, budget.caches_floor());
        assert!(budget.taken() + last + step > budget.total, "nothing is left over");
    }
}
