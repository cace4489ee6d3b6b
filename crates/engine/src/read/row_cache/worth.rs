//! Whether the row cache pays for itself, by measurement.
//!
//! A row that is found here saves the walk over the tables. When their blocks are in
//! memory, that walk costs about as much as the question here, and the memory is worth
//! more as blocks. It pays when tables have to be read from disk and rows are asked for
//! again: a row takes the place of a whole block. So every so many reads it is looked
//! at what the last ones met, and the cache steps aside or is tried again.

use std::sync::atomic::Ordering::Relaxed;
use tanada_vfs::sync::Mutex;
use tanada_vfs::sync::atomic::AtomicBool;

/// It pays while at least this part of the reads that it did not answer went to disk …
const LEAST_READ_PART: u64 = 16;
/// … and it answered at least this part of those that came to it.
const LEAST_HIT_PART: u64 = 8;
/// Looks before it is judged by its hits: it must have had time to fill.
const TRIAL_LOOKS: u32 = 16;
/// Looks until it is tried again, the first time; twice as many each time it fails.
const FIRST_REST: u32 = 32;
const LONGEST_REST: u32 = 1 << 14;

/// Sums since the database was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Reads of keys.
    pub(crate) gets: u64,
    /// Of these, answered by MemTables.
    pub(crate) memtable_hits: u64,
    /// Of these, such as had to read from disk.
    pub(crate) disk_reads: u64,
    /// Rows found here.
    pub(crate) row_hits: u64,
}

/// The judge.
#[derive(Debug)]
pub(crate) struct Worth {
    /// Whether gets ask the row cache and bring it rows. Relaxed: either way of
    /// reading gives the same answers.
    pays: AtomicBool,
    /// Whether anybody has looked. Before, it takes little room: blocks may all fit. Relaxed,
    /// as `pays`.
    tried: AtomicBool,
    /// Taken alone, by one of the readers every so many reads.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: Tally,
    /// Looks since it began to be asked, or ceased to.
    looks: u32,
    /// How long it rests next time.
    rest: u32,
}

/// What follows from a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Everything stays as it is.
    Same,
    /// It is asked from now on, with its whole share: again, or since the first look.
    Returned,
    /// It is not asked any more; its rows may go.
    SteppedAside,
}

impl Worth {
    /// One that is asked, until it is measured.
    pub(crate) fn new() -> Worth {
        let state = State { last: Tally::default(), looks: 0, rest: FIRST_REST };
        Worth {
            pays: AtomicBool::new(true),
            tried: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    /// Whether gets ask the row cache.
    #[inline]
    pub(crate) fn pays(&self) -> bool {
        self.pays.load(Relaxed)
    }

    /// Whether it has been looked at what reads meet.
    pub(crate) fn is_tried(&self) -> bool {
        self.tried.load(Relaxed)
    }

    /// Looks at what reads have met since the last look. `blocks_fit` says that the
    /// block cache has room for more. Nothing when another thread is looking.
    pub(crate) fn look(&self, now: Tally, blocks_fit: bool) -> Verdict {
        let Some(mut state) = self.state.try_lock() else { return Verdict::Same };
        if now.gets <= state.last.gets {
            // It was summed before another thread's that has been looked at since.
            return Verdict::Same;
        }
        let last = std::mem::replace(&mut state.last, now);
        // Sums of threads that count meanwhile, none of the same moment as another.
        let memtable_hits = now.memtable_hits.saturating_sub(last.memtable_hits);
        let in_tables = (now.gets - last.gets).saturating_sub(memtable_hits);
        let disk_reads = now.disk_reads.saturating_sub(last.disk_reads);
        let row_hits = now.row_hits.saturating_sub(last.row_hits);
        let asked_tables = in_tables.saturating_sub(row_hits);
        let reads = !blocks_fit && disk_reads * LEAST_READ_PART >= asked_tables && disk_reads > 0;
        state.looks = state.looks.saturating_add(1);
        let first = !self.tried.swap(true, Relaxed);
        if self.pays() {
            let hits = state.looks <= TRIAL_LOOKS || row_hits * LEAST_HIT_PART >= in_tables;
            if reads && hits {
                if state.looks > TRIAL_LOOKS {
                    state.rest = FIRST_REST;
                }
                return if first { Verdict::Returned } else { Verdict::Same };
            }
            self.pays.store(false, Relaxed);
            state.looks = 0;
            return Verdict::SteppedAside;
        }
        if !reads || state.looks < state.rest {
            return Verdict::Same;
        }
        state.rest = (state.rest * 2).min(LONGEST_REST);
        state.looks = 0;
        self.pays.store(true, Relaxed);
        Verdict::Returned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(last: &mut Tally, gets: u64, disk_reads: u64, row_hits: u64) -> Tally {
        last.gets += gets;
        last.disk_reads += disk_reads;
        last.row_hits += row_hits;
        *last
    }

    #[test]
    fn it_steps_aside_when_blocks_are_in_memory_and_returns_when_they_are_not() {
        let (worth, mut sums) = (Worth::new(), Tally::default());
        assert!(worth.pays());
        let warm = after(&mut sums, 1000, 30, 0);
        assert_eq!(worth.look(warm, false), Verdict::SteppedAside);
        for _ in 0..100 {
            assert_eq!(worth.look(after(&mut sums, 1000, 10, 0), false), Verdict::Same);
        }
        assert_eq!(worth.look(after(&mut sums, 1000, 900, 0), true), Verdict::Same, "warming up");
        assert_eq!(worth.look(after(&mut sums, 1000, 900, 0), false), Verdict::Returned);
        for _ in 0..100 {
            assert_eq!(worth.look(after(&mut sums, 1000, 400, 500), false), Verdict::Same);
        }
        assert!(worth.pays());
    }

    /// Threads sum up before they take their turn to look, and may be overtaken.
    #[test]
    fn a_tally_that_was_overtaken_changes_nothing() {
        let (worth, mut sums) = (Worth::new(), Tally::default());
        let early = after(&mut sums, 1000, 900, 500);
        let late = after(&mut sums, 1000, 900, 500);
        assert_eq!(worth.look(late, false), Verdict::Returned, "the first that shows it");
        assert_eq!(worth.look(early, false), Verdict::Same);
        let part = Tally { gets: late.gets + 1000, ..early };
        worth.look(part, true); // newer in one sum, older in others
    }

    #[test]
    fn it_is_tried_ever_more_rarely_where_rows_are_not_asked_for_again() {
        let (worth, mut sums) = (Worth::new(), Tally::default());
        let mut paid = 0;
        for _ in 0..5000 {
            worth.look(after(&mut sums, 1000, 900, 50), false);
            paid += u32::from(worth.pays());
        }
        assert!((10..200).contains(&paid), "{paid} of 5000");
    }
}
