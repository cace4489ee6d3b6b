//! Whether each part of the engine does anything at all, by the engine's own statistics.
//!
//! A part that does nothing gives no wrong answer. Where caches are small the row cache held
//! no row, because its share was smaller than one, and every promise was kept. So each run
//! notes which parts were at work in it, and a batch of runs in which one of them was at work
//! in too few has failed.

use std::fmt;
use tanada::Stats;

/// By what a part shows that it is at work.
pub(super) struct Signs<'s> {
    /// Of a life, up to now.
    pub(super) stats: &'s Stats,
    /// Refusals of writes that have ended without an opening.
    pub(super) healings: u64,
    /// Compactions carried out elsewhere.
    pub(super) elsewhere: u64,
}

/// A part of the engine.
struct Part {
    /// What it does.
    does: &'static str,
    /// How much of that it has done, or does at this moment.
    count: fn(&Signs<'_>) -> u64,
    /// Of a thousand runs it is at work in so many at least: about half of what was measured in
    /// short lives, more where only some sizes would have it idle; 0 where these hardly reach it.
    least_permille: u64,
}

const fn part(does: &'static str, least_permille: u64, count: fn(&Signs<'_>) -> u64) -> Part {
    Part { does, count, least_permille }
}

static PARTS: [Part; 28] = [
    part("the row cache holds rows", 300, |s| s.stats.row_cache.entries),
    part("the row cache answers", 300, |s| s.stats.row_cache.hits),
    part("the block cache answers", 240, |s| s.stats.block_cache.hits),
    part("the block cache evicts", 50, |s| s.stats.block_cache.evictions),
    part("filters say that a key is not there", 370, |s| s.stats.filter.negatives),
    part("MemTables answer", 490, |s| s.stats.operations.memtable_hits),
    part("scans step over dead keys", 490, |s| s.stats.dead_keys.entries_stepped_over),
    part("scans step over spans of them", 290, |s| s.stats.dead_keys.spans_stepped_over),
    part("scans pay for flushes", 0, |s| s.stats.dead_keys.flushes_paid),
    part("scans pay for rewriting", 0, |s| s.stats.dead_keys.tables_paid),
    part("flushes write tables", 500, |s| s.stats.flush.jobs),
    part("compactions merge tables", 470, |s| s.stats.compaction.jobs),
    part("compactions are carried out elsewhere", 200, |s| s.elsewhere),
    part("compactions drop entries", 460, |s| {
        let merged = &s.stats.compaction;
        merged.entries_in.saturating_sub(merged.entries_out)
    }),
    part("tables move to the next level as they are", 470, |s| s.stats.compaction.trivial_moves),
    part("tables are closed for others", 230, |s| s.stats.tables.closings),
    part("descriptors are closed for others", 200, |s| s.stats.tables.descriptor_closings),
    part("unreadable tables are set aside", 15, |s| s.stats.tables.set_aside),
    part("replaced tables stay for readers", 240, |s| s.stats.obsolete.held_tables),
    part("flushed MemTables stay for readers", 350, |s| s.stats.memory.memtable_held_bytes),
    part("chunks of MemTables are used again", 0, |s| s.stats.memory.pooled_bytes),
    part("the log is synced", 490, |s| s.stats.wal.syncs),
    part("writers are slowed down", 0, |s| s.stats.stalls.paced_writes),
    part("writers wait for room", 0, |s| s.stats.stalls.stopped_writes),
    part("a wrong clock is not believed", 40, |s| s.stats.clock.holds),
    part("checkpoints are made", 150, |s| s.stats.checkpoints.made),
    part("checkpoints share tables", 110, |s| s.stats.checkpoints.linked_bytes),
    part("refused writes are taken again", 80, |s| s.healings),
];

/// The parts that have been at work in one run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen([bool; PARTS.len()]);

impl Seen {
    /// Notes those that are.
    pub(super) fn note(&mut self, signs: &Signs<'_>) {
        for (seen, part) in self.0.iter_mut().zip(&PARTS) {
            *seen |= (part.count)(signs) > 0;
        }
    }

    /// The work of this run.
    pub(super) fn of_a_run(&self) -> Work {
        Work { runs: 1, at_work: self.0.map(u64::from) }
    }
}

/// In how many runs each part was at work. Displayed, a line each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    runs: u64,
    /// In the order of the parts.
    at_work: [u64; PARTS.len()],
}

impl Work {
    /// The sums of both.
    pub fn and(&self, other: &Work) -> Work {
        let (ours, theirs) = (&self.at_work, &other.at_work);
        let at_work = std::array::from_fn(|n| ours[n] + theirs[n]);
        Work { runs: self.runs + other.runs, at_work }
    }

    /// What hardly any run did: a line for each part that was at work in fewer of these runs
    /// than it must be. Of a few dozen runs it says nothing that can be relied on.
    pub fn idle(&self) -> Vec<String> {
        let parts = PARTS.iter().zip(self.at_work);
        let is_idle = |(part, runs): &(&Part, u64)| {
            runs.saturating_mul(1000) < self.runs.saturating_mul(part.least_permille)
        };
        let line = |(part, runs): (&Part, u64)| {
            let Part { does, least_permille, .. } = part;
            format!("{does}: in {runs} of {} runs, not {least_permille} of a thousand", self.runs)
        };
        parts.filter(is_idle).map(line).collect()
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (part, runs) in PARTS.iter().zip(self.at_work) {
            writeln!(f, "{:<44} {runs:>8} of {} runs", part.does, self.runs)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_was_at_work_in_no_run_is_named() {
        let stats = Stats::default();
        let mut seen = Seen::default();
        seen.note(&Signs { stats: &stats, healings: 3, elsewhere: 0 });
        let mut work = Work::default();
        for _ in 0..1_000 {
            work = work.and(&seen.of_a_run());
        }
        let idle = work.idle();
        let needed = PARTS.iter().filter(|part| part.least_permille > 0).count();
        assert_eq!(idle.len(), needed - 1, "{idle:?}");
        assert!(idle[0].starts_with("the row cache holds rows: in 0 of 1000 runs"), "{idle:?}");
        assert!(!idle.iter().any(|line| line.contains("taken again")), "{idle:?}");
    }
}
