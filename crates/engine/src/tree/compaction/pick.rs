//! What to do next, if anything.

use super::config::Config;
use super::plan::{InFlight, Plan, Reason};
use super::shape::LAST;
use super::tree::{Keys, Moment, Tree};
use crate::tree::version::{TableHandle, Version};
use std::ops::Bound;
use std::sync::Arc;
use tanada_format::SeqNo;

/// Seeds tried in a level before another level gets its turn.
const SEEDS: usize = 16;

/// The most useful job that conflicts with none in flight; `None` when the tree
/// has its shape or every useful job would conflict.
///
/// Pure: no I/O, no clock, no randomness. Cost: some key comparisons for each table
/// that it looks at, of which there are a [`Config::window`] in a level and four where
/// runs overlap; one step for each segment of a run in which something may have died.
pub(crate) fn pick(
    version: &Version,
    config: &Config,
    in_flight: &InFlight,
    moment: Moment,
) -> Option<Plan> {
    let tree = Tree::new(version, config, in_flight, moment);
    (0..=LAST)
        .find_map(|level| tree.plan_drop(level))
        .or_else(|| tree.move_out_of_level_0())
        .or_else(|| tree.restore_shape())
        .or_else(|| tree.collect_garbage())
        .or_else(|| tree.merge_old_level_0())
        .or_else(|| tree.join_small_tables())
}

/// Of the jobs that [`pick`] decides on the one that joins small tables, whatever else
/// may be due. Cost: as there.
pub(crate) fn pick_small_tables(
    version: &Version,
    config: &Config,
    in_flight: &InFlight,
    moment: Moment,
) -> Option<Plan> {
    Tree::new(version, config, in_flight, moment).join_small_tables()
}

/// As [`pick`], for a tree that nobody has written to for a while: empties level
/// 0 too, so that reads ask fewer runs, where that does not rewrite more than
/// [`Config::size_ratio`] times what lies there.
pub(crate) fn pick_idle(
    version: &Version,
    config: &Config,
    in_flight: &InFlight,
    moment: Moment,
) -> Option<Plan> {
    pick(version, config, in_flight, moment).or_else(|| {
        let tree = Tree::new(version, config, in_flight, moment);
        let plan = tree.merge_level_0()?;
        let above = plan.inputs.iter().filter(|run| run.level.index() == 0);
        let above = above.flat_map(|run| &run.tables).map(|t| t.meta().size_bytes).sum::<u64>();
        (plan.input_bytes() <= above * (1 + config.size_ratio)).then_some(plan)
    })
}

/// When a compaction by hand began: what came later is not its business, so that it ends
/// while writers go on.
///
/// A table is told by what is in it, not by its id: the outputs of jobs that were in flight
/// have later ids and old contents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    /// The newest write of then.
    pub(crate) seqno: SeqNo,
    /// Wall-clock milliseconds.
    pub(crate) now_ms: u64,
}

impl Begun {
    /// So late that everything is its business.
    #[cfg(test)]
    pub(crate) const LAST: Begun = Begun { seqno: SeqNo::MAX, now_ms: u64::MAX };
}

/// What a compaction by hand has to do next.
#[derive(Debug)]
pub(crate) enum ManualStep {
    /// This.
    Run(Box<Plan>),
    /// Nothing before a job in flight has ended.
    Wait,
    /// Nothing more.
    Done,
}

/// Brings all data of a key range into one run of the last level, and rewrites
/// what lies there with deletes or expired values in it. To be asked again,
/// with the version of then, after each job.
pub(crate) fn plan_range(
    version: &Version,
    config: &Config,
    in_flight: &InFlight,
    moment: Moment,
    range: (Bound<&[u8]>, Bound<&[u8]>),
    begun: Begun,
) -> ManualStep {
    let mut tree = Tree::new(version, config, in_flight, moment);
    // Whoever asks for them is told why a table cannot be read.
    tree.tries_all = true;
    let mut waiting = false;
    for level in 0..=LAST {
        for run in tree.runs(level) {
            for table in run.overlapping(range.0, range.1).iter() {
                if !tree.is_unfinished(level, table, begun) {
                    continue;
                }
                let source = if level == LAST { LAST } else { 0 };
                match tree.plan(Reason::Manual, source, LAST, Keys::of(table)) {
                    Some(plan) => return ManualStep::Run(Box::new(plan)),
                    None => waiting = true,
                }
            }
        }
    }
    if waiting { ManualStep::Wait } else { ManualStep::Done }
}

impl<'v> Tree<'v> {
    /// Whether a compaction by hand has work with this table: it holds something from
    /// before and is not in its place, or still has what was garbage then. A job that has
    /// begun since has dropped that from what it wrote to the last level.
    fn is_unfinished(&self, level: usize, table: &TableHandle, begun: Begun) -> bool {
        let meta = table.meta();
        meta.min_seqno <= begun.seqno
            && (level != LAST
                || self.depth(level, Keys::of(table)) > 1
                || (meta.created_ms <= begun.now_ms && self.garbage(meta) > 0))
    }

    /// A table of level 0 that lies over nothing goes down for free.
    fn move_out_of_level_0(&self) -> Option<Plan> {
        let base = self.shape.base;
        let lonely = |table: &&Arc<TableHandle>| {
            let keys = Keys::of(table);
            self.depth(0, keys) == 1 && !self.any_over(1..=base, keys)
        };
        let mut seeds = self.free_tables(0).filter(lonely).take(SEEDS);
        seeds.find_map(|table| self.plan(Reason::Level0Runs, 0, base, Keys::of(table)))
    }

    /// Works on the level that is most out of shape.
    fn restore_shape(&self) -> Option<Plan> {
        let mut levels: Vec<(f64, usize)> = (0..=LAST)
            .filter(|&level| !self.runs(level).is_empty())
            .map(|level| (self.score(level), level))
            .filter(|&(score, _)| score >= 1.0)
            .collect();
        levels.sort_by(|a, b| b.0.total_cmp(&a.0));
        let plan = levels.iter().find_map(|&(_, level)| match level {
            0 => self.merge_level_0(),
            level => self.spill(level),
        });
        plan.or_else(|| self.narrow_level_0())
    }

    /// How far a level is out of shape: below 1 it is fine.
    fn score(&self, level: usize) -> f64 {
        let allowed = self.config.runs_in(level, LAST);
        let deepest = match self.runs(level).len() {
            1 => 1,
            _ => self.free_depths(level).map(|(depth, _)| depth).max().unwrap_or(0),
        };
        if level == 0 {
            // Runs side by side cost a lookup little, but not nothing.
            let wide = self.runs(0).len() as f64 / (4 * allowed) as f64;
            return (deepest as f64 / allowed as f64).max(wide);
        }
        // A level between is full when no further run fits; the last one, which
        // spills nowhere, when one does not.
        let full = match level {
            LAST => allowed + 1,
            _ => allowed.max(2),
        };
        let runs = deepest as f64 / full as f64;
        if level == LAST {
            return runs;
        }
        let bytes = self.free_bytes(level);
        let size = match self.shape.targets[level] {
            0 => 1.0,
            target if bytes > target => bytes as f64 / target as f64,
            _ => 0.0,
        };
        size.max(runs)
    }

    /// Free tables of a level with the number of runs over their keys.
    fn free_depths(&self, level: usize) -> impl Iterator<Item = (usize, &'v Arc<TableHandle>)> {
        self.free_tables(level).map(move |table| (self.depth(level, Keys::of(table)), table))
    }

    /// Merges level 0 into the base level, where it is deepest first.
    fn merge_level_0(&self) -> Option<Plan> {
        let mut seeds: Vec<_> = self.free_depths(0).collect();
        // Of equally deep ones the oldest, which stands last.
        seeds.reverse();
        seeds.sort_by_key(|&(depth, _)| std::cmp::Reverse(depth));
        let base = self.shape.base;
        let mut seeds = seeds.into_iter().take(SEEDS);
        seeds.find_map(|(_, table)| self.plan(Reason::Level0Runs, 0, base, Keys::of(table)))
    }

    /// Merges level 0 where it is large beside what lies below, and has been for a while: all
    /// of it may be versions of the same keys. Writers who fill it faster than that have it
    /// merged for its runs.
    fn merge_old_level_0(&self) -> Option<Plan> {
        let below = self.version.levels()[1..].iter().map(|level| level.size_bytes()).sum();
        // Side by side they hold no versions of each other's keys.
        let is_deep = self.free_depths(0).any(|(depth, _)| depth > 1);
        let is_large = is_deep && self.free_bytes(0) > self.config.calm_l0_bytes(below);
        let created_ms = self.runs(0).iter().map(|run| run.sums().first_created_ms).min();
        let is_due = is_large && created_ms.is_some_and(|created_ms| self.is_old(created_ms));
        if is_due { self.merge_level_0() } else { None }
    }

    /// While level 0 cannot go down, or lies side by side and need not yet, its
    /// newest runs become one, so that a read need not ask them all. Bounded, or level 0 would rewrite
    /// itself for ever (rocksdb #6889).
    fn narrow_level_0(&self) -> Option<Plan> {
        let runs = self.runs(0);
        if runs.len() < self.config.l0_runs + self.config.l0_runs / 2 {
            return None;
        }
        let mut bytes = 0;
        let fits = |run: &crate::tree::version::Run| {
            bytes += run.size_bytes();
            bytes <= 2 * self.config.base_bytes
                && run.tables().iter().all(|table| !self.is_taken(table.id()))
        };
        let mut fits = fits;
        let count = runs.iter().take_while(|run| fits(run)).count();
        (count >= (self.config.l0_runs / 2).max(4)).then(|| self.plan_width(&runs[..count]))?
    }

    /// Pushes a part of a level down: the part that meets the least below.
    fn spill(&self, level: usize) -> Option<Plan> {
        let target = self.shape.next(self.version, level);
        let several_runs = self.runs(level).len() > 1;
        let reason = if several_runs { Reason::LevelRuns } else { Reason::LevelSize };
        let mut seeds: Vec<_> = self
            .free_tables(level)
            .map(|table| {
                let meta = table.meta();
                let keys = Keys::of(table);
                let depth = if several_runs { self.depth(level, keys) } else { 1 };
                let met = if target == level { 0 } else { self.bytes_over(target, keys) };
                // Deletes free space below: they count for more than they weigh.
                let weight = 1.0 + 2.0 * meta.tombstones as f64 / meta.entries as f64;
                let cost = met as f64 / (meta.size_bytes.max(1) as f64 * weight);
                (std::cmp::Reverse(depth), cost, table)
            })
            .collect();
        seeds.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let mut seeds = seeds.into_iter().take(SEEDS);
        seeds.find_map(|(_, _, table)| self.plan(reason, level, target, Keys::of(table)))
    }

    /// Pushes a table that holds little but deletes towards what it deletes,
    /// or rewrites it where there is nothing left to delete: once it is old, or when scans
    /// have stepped over as much of it as that costs.
    fn collect_garbage(&self) -> Option<Plan> {
        let is_due = |table: &TableHandle| {
            let meta = table.meta();
            (self.is_old(meta.created_ms) || table.is_paid_for()) && self.is_mostly_garbage(meta)
        };
        let due = |level| {
            let tables = self.search(level, |sums| self.may_hold_garbage(sums), is_due);
            tables.into_iter().map(move |(_, table)| (level, table))
        };
        let mut seeds: Vec<_> = (0..=LAST).flat_map(due).collect();
        let share =
            |table: &TableHandle| self.garbage(table.meta()) as f64 / table.meta().entries as f64;
        seeds.sort_by(|a, b| share(b.1).total_cmp(&share(a.1)));
        seeds.into_iter().take(SEEDS).find_map(|(level, table)| {
            let keys = Keys::of(table);
            let hides_nothing =
                self.depth(level, keys) == 1 && !self.any_over(level + 1..=LAST, keys);
            let target = match level {
                1.. if hides_nothing => level,
                _ => self.shape.next(self.version, level),
            };
            self.plan(Reason::Garbage, level, target, keys)
        })
    }
}
