//! Joining small neighbours of a level into tables of a size worth a file.
//!
//! A move takes a table down as it is, and of ascending keys, or of one key a keyspace,
//! no table ever lies over another: what a short life has flushed would stay a table of
//! its own for ever. So where a level has many more tables than its bytes ask for, some
//! that lie side by side are merged into one.
//!
//! # What it costs and what it leaves
//!
//! 1. The tables that are joined are together at least [`GROWTH`] times as large as the
//!    largest of them, and no larger than one table may be. So each time that a byte is
//!    rewritten for this reason its table has at least doubled: that happens at most
//!    `log2(table_bytes / s)` times to a byte that came in a table of `s` bytes.
//! 2. Nothing is done while a level has at most `SPARE_TABLES + SMALL_SHARE * bytes /
//!    table_bytes` tables: a level that merges fill is never touched, whatever the
//!    remainders that they leave.
//! 3. What rule 1 forbids stays: a sequence in which each table is larger than all behind
//!    it together, which is no longer than a table has doublings, and small tables that
//!    lie singly between large ones, for to join one would rewrite much for little. In
//!    the tests, with tables of one entry in five orders, a level never has more than 2
//!    says.
//! 4. A table all of whose values expire goes for free once they have, unread. It is
//!    joined with its like alone.

use super::config::Config;
use super::plan::{Plan, Reason};
use super::shape::LAST;
use super::tree::{Keys, Tree};
use crate::tree::version::{Run, TableHandle, Version};
use std::sync::Arc;

/// Tables that a level may have whatever their size.
const SPARE_TABLES: u64 = 8;

/// Tables of a level are many when they are, on average, smaller than this share of what
/// an output is cut at.
const SMALL_SHARE: u64 = 4;

/// How many times as large as the largest of them the joined tables are at least.
const GROWTH: u64 = 2;

/// Segments of a run that one decision looks at, with as many tables behind each as may
/// be joined with its last ones.
const SEGMENTS: usize = 4;

/// Neighbours that are joined at most.
const MOST_JOINED: usize = 64;

/// Candidates for which a decision asks whether they may be joined now.
const TRIED: usize = 16;

/// Whether any level has more tables than its bytes ask for. Cost: one step a level.
pub(crate) fn has_many_small_tables(version: &Version, config: &Config) -> bool {
    levels_with_many_small(version, config).next().is_some()
}

fn levels_with_many_small(version: &Version, config: &Config) -> impl Iterator<Item = usize> {
    (1..=LAST).filter(|&level| {
        let state = &version.levels()[level];
        are_many(config, state.table_count(), state.size_bytes(), SPARE_TABLES)
    })
}

fn are_many(config: &Config, tables: usize, bytes: u64, spare: u64) -> bool {
    let enough = bytes.saturating_mul(SMALL_SHARE) / config.table_bytes;
    tables as u64 > spare.saturating_add(enough)
}

/// Tables of a run that lie side by side.
struct Window<'v> {
    keys: Keys<'v>,
    /// How many times as large as its largest table it is.
    growth: f64,
}

impl<'v> Tree<'v> {
    /// Joins small neighbours of the first level that has too many tables for its bytes.
    /// Cost: one step a level where none has; else a step for each segment, and for up to
    /// [`SEGMENTS`] of them one for each two tables that may go into one.
    pub(super) fn join_small_tables(&self) -> Option<Plan> {
        levels_with_many_small(self.version, self.config).find_map(|level| {
            // Several runs become one for other reasons, and their tables with them.
            let [run] = self.runs(level) else { return None };
            self.join_in(level, run)
        })
    }

    fn join_in(&self, level: usize, run: &'v Run) -> Option<Plan> {
        let tables = run.tables();
        let mut starts = Vec::new();
        let mut start = 0;
        for (sums, part) in run.segments() {
            if are_many(self.config, part.len(), sums.size_bytes, 0) {
                starts.push((start, part.len()));
            }
            start += part.len();
        }
        let turn = (self.in_flight.turn() % starts.len().max(1) as u64) as usize;
        let turned = starts[turn..].iter().chain(&starts[..turn]).take(SEGMENTS);
        turned.into_iter().find_map(|&(start, length)| {
            let first = start.saturating_sub(MOST_JOINED);
            let around = tables.window(first, start + length + MOST_JOINED - first);
            self.join_among(level, &around.iter().collect::<Vec<_>>())
        })
    }

    /// Joins those of these neighbours whose table grows most by it.
    fn join_among(&self, level: usize, tables: &[&'v Arc<TableHandle>]) -> Option<Plan> {
        let mut windows: Vec<_> =
            (0..tables.len()).filter_map(|first| self.best_from(&tables[first..])).collect();
        windows.sort_by(|a, b| b.growth.total_cmp(&a.growth));
        let mut windows = windows.into_iter().take(TRIED).filter(|w| !self.is_cut_again(level, w));
        windows.find_map(|window| self.plan(Reason::SmallTables, level, level, window.keys))
    }

    /// Of the windows that begin with the first of `tables` the one that grows most; of
    /// several the longest.
    fn best_from(&self, tables: &[&'v Arc<TableHandle>]) -> Option<Window<'v>> {
        let first = *tables.first()?;
        let mut keys = Keys::of(first);
        let (mut bytes, mut largest) = (0, 0);
        let mut best: Option<Window<'v>> = None;
        for (at, &table) in tables.iter().take(MOST_JOINED).enumerate() {
            let size = table.meta().size_bytes;
            bytes += size;
            largest = largest.max(size);
            let fits = bytes <= self.config.table_bytes
                && !self.is_taken(table.id())
                && expires_whole(table) == expires_whole(first);
            if !fits {
                break;
            }
            keys = keys.join(Keys::of(table));
            let growth = bytes as f64 / largest as f64;
            let grows = at > 0 && bytes >= GROWTH * largest;
            if grows && best.as_ref().is_none_or(|best| growth >= best.growth) {
                best = Some(Window { keys, growth });
            }
        }
        best
    }

    /// Whether one table of these would overlap so much of the next level that the
    /// output is cut there: it would be small again, and joined again, for ever.
    fn is_cut_again(&self, level: usize, window: &Window<'v>) -> bool {
        let next = self.shape.next(self.version, level);
        let most = self.config.grandparent_bytes(self.config.table_bytes);
        next > level && self.bytes_over(next, window.keys) > most
    }
}

/// Whether nothing of a table is left once its values have expired.
fn expires_whole(table: &TableHandle) -> bool {
    table.meta().expiring == table.meta().entries
}
