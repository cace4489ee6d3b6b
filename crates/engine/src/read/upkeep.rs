//! Whether the row cache pays is found out by those who read, once in so many gets.

use crate::control::counters::Count;
use crate::read::reading::Reading;
use crate::read::row_cache::{Tally, Verdict};

/// After so many gets of a thread, or of several that count together, it is found out whether
/// the row cache pays …
const GETS_A_LOOK: u64 = 1 << 13;
/// … and after so many some of its rows go, where it does not.
const GETS_A_STEP: u64 = 1 << 10;

impl Reading {
    /// Maintains the row cache once in so many gets: behind the pin, for a division may wait
    /// for others' pins.
    #[inline]
    pub(crate) fn note_gets(&self, gets: u64) {
        if gets.is_multiple_of(GETS_A_STEP) {
            self.maintain_row_cache(gets);
        }
    }

    /// Takes rows out if the row cache has stepped aside, and finds out at times whether it
    /// pays. Divides the memory accordingly.
    #[cold]
    fn maintain_row_cache(&self, gets: u64) {
        let judged = gets.is_multiple_of(GETS_A_LOOK) && self.judge_row_cache();
        let emptied = !self.row_cache_worth.pays() && self.row_cache.empty_a_step();
        // Before the last row goes hardly a page becomes free.
        if judged || (emptied && self.row_cache.is_empty()) {
            self.rebalance();
        }
    }

    /// Finds out whether the row cache pays. Answers whether the memory is to be divided.
    fn judge_row_cache(&self) -> bool {
        let count = |count| self.counters.get(count);
        let tally = Tally {
            gets: count(Count::Gets),
            memtable_hits: count(Count::MemTableHits),
            disk_reads: count(Count::DiskGets),
            row_hits: self.row_cache.hits(),
        };
        let (used, capacity) = (self.block_cache.used_bytes(), self.block_cache.capacity_bytes());
        let blocks_fit = used < capacity - capacity / 16;
        let verdict = self.row_cache_worth.look(tally, blocks_fit);
        // Readers give back MemTables, and there may be nobody who writes.
        verdict != Verdict::Same || self.has_much_to_hand_on()
    }
}
