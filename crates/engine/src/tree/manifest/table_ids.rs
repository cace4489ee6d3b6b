//! Hands out table ids that no file has ever had.
//!
//! Ids are taken from a block whose end is durable in the manifest before the
//! first of them is used. So after a crash, ids from the durable end on have
//! never been on disk, whatever of the files survived; the rest of the block is
//! given up. Runs are numbered from the same counter.

use crate::tree::version::RunId;
use std::sync::atomic::Ordering;
use tanada_format::TableId;
use tanada_vfs::sync::atomic::AtomicU64;

/// Ids reserved at once: enough that most edits carry the reservation along and
/// few syncs are spent on it alone.
pub(crate) const BLOCK: u64 = 256;

/// The counter, shared by all jobs.
#[derive(Debug)]
pub(crate) struct TableIds {
    /// The next id to hand out. Relaxed: only uniqueness matters.
    next: AtomicU64,
    /// The durable end. Stored with Release after the manifest was synced,
    /// loaded with Acquire before an id is handed out.
    end: AtomicU64,
}

impl TableIds {
    /// Nothing is reserved yet behind `end`.
    pub(crate) fn new(end: TableId) -> TableIds {
        TableIds { next: AtomicU64::new(end.0), end: AtomicU64::new(end.0) }
    }

    /// The first of `count` unused ids that follow each other; `None` when the block has
    /// fewer, and [`Manifest::table_ids`](super::Manifest::table_ids) must reserve more.
    pub(crate) fn take_many(&self, count: u64) -> Option<TableId> {
        let end = self.end.load(Ordering::Acquire);
        let behind = |n: u64| n.checked_add(count).filter(|&behind| behind <= end);
        self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, behind).ok().map(TableId)
    }

    /// Takes back the ids from `first` up to `end`, which were [taken](TableIds::take_many)
    /// and have named nothing, unless others have been taken since.
    pub(crate) fn give_back(&self, first: TableId, end: TableId) {
        let _ = self.next.compare_exchange(end.0, first.0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// An unused id, if the block has one.
    #[cfg(test)]
    pub(crate) fn take(&self) -> Option<TableId> {
        self.take_many(1)
    }

    /// The end of the block that an edit should reserve, when less than half of
    /// one is left.
    pub(crate) fn wanted_end(&self) -> Option<TableId> {
        let next = self.next.load(Ordering::Relaxed);
        let left = self.end.load(Ordering::Relaxed).saturating_sub(next);
        (left < BLOCK / 2).then_some(TableId(next + BLOCK))
    }

    /// The manifest durably has this end.
    pub(crate) fn reserved(&self, end: TableId) {
        self.end.fetch_max(end.0, Ordering::Release);
    }
}

impl From<TableId> for RunId {
    /// The run that begins with this table.
    fn from(id: TableId) -> RunId {
        RunId(id.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_reserves_a_block_when_less_than_half_of_one_is_left() {
        let ids = TableIds::new(TableId(1));
        assert_eq!(ids.take(), None);
        assert_eq!(ids.wanted_end(), Some(TableId(1 + BLOCK)));
        ids.reserved(TableId(1 + BLOCK));
        for id in 1..=BLOCK / 2 {
            assert_eq!(ids.take(), Some(TableId(id)));
        }
        assert_eq!(ids.wanted_end(), None, "half of it is left");
        let next = ids.take().unwrap();
        assert_eq!(ids.wanted_end(), Some(TableId(next.0 + 1 + BLOCK)));
    }

    #[test]
    fn ids_of_a_job_follow_each_other_and_what_it_has_not_used_is_taken_again() {
        let ids = TableIds::new(TableId(1));
        ids.reserved(TableId(11));
        assert_eq!(ids.take_many(11), None, "there are ten");
        assert_eq!(ids.take_many(u64::MAX), None);
        assert_eq!(ids.take_many(6), Some(TableId(1)));
        ids.give_back(TableId(3), TableId(7));
        assert_eq!(ids.take_many(2), Some(TableId(3)));
        assert_eq!(ids.take(), Some(TableId(5)));
        // Somebody has taken one behind them.
        ids.give_back(TableId(4), TableId(5));
        assert_eq!(ids.take(), Some(TableId(6)));
    }
}
