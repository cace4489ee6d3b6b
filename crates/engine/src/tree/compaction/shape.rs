//! How large each level should be, and how far the tree is from it.
//!
//! Sizes are dynamic: the last level is as large as it is, each level above it
//! a [`Config::size_ratio`]th of the one below, and a level that would be too
//! small to pay for itself is left out. So most of the data lies in the last
//! level whatever the size of the tree, and space amplification stays near
//! `1 + 1 / size_ratio` (RocksDB calls this dynamic level bytes).

use super::config::Config;
use crate::tree::version::Version;
use tanada_format::{MAX_LEVELS, planted};

/// Index of the last level.
pub(crate) const LAST: usize = MAX_LEVELS - 1;

/// The sizes to steer towards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes at which each level spills; 0 for level 0 and for levels that
    /// should be empty.
    pub(crate) targets: [u64; MAX_LEVELS],
    /// The highest level that should hold data.
    pub(crate) ideal_base: usize,
    /// Where merges of level 0 go: never below a level that holds data.
    pub(crate) base: usize,
}

impl Shape {
    /// Cost: one step a level.
    pub(crate) fn of(version: &Version, config: &Config) -> Shape {
        let levels = version.levels();
        let largest = levels[1..].iter().map(|level| level.size_bytes()).max().unwrap_or(0);
        let mut targets = [0; MAX_LEVELS];
        targets[LAST] = largest.max(config.base_bytes);
        let mut ideal_base = LAST;
        while ideal_base > 1 && targets[ideal_base] / config.size_ratio >= config.base_bytes {
            targets[ideal_base - 1] = targets[ideal_base] / config.size_ratio;
            ideal_base -= 1;
        }
        let first_with_data = (1..LAST).find(|&l| !levels[l].is_empty()).unwrap_or(LAST);
        if planted!(base_level_skips_nonempty) {
            return Shape { targets, ideal_base, base: ideal_base };
        }
        Shape { targets, ideal_base, base: ideal_base.min(first_with_data) }
    }

    /// Where data of `level` goes next: the nearest level below that holds data
    /// or should; the last level's stays there.
    pub(crate) fn next(&self, version: &Version, level: usize) -> usize {
        if level == 0 {
            return self.base;
        }
        let wanted = |&l: &usize| l >= self.ideal_base || !version.levels()[l].is_empty();
        (level + 1..LAST).find(wanted).unwrap_or(LAST)
    }
}

/// Bytes at which each level spills into the next; 0 for level 0.
pub(crate) fn level_targets(version: &Version, config: &Config) -> [u64; MAX_LEVELS] {
    Shape::of(version, config).targets
}

/// Runs of level 0, and how many of them lie over one key at most.
pub(crate) fn level_0_width(version: &Version) -> (usize, usize) {
    let runs = version.levels()[0].runs();
    let over = |key: &[u8]| runs.iter().filter(|run| run.find(key).is_some()).count();
    // Where tables overlap most, one of them begins.
    let depths = version.levels()[0].tables().map(|table| over(&table.meta().min_key));
    (runs.len(), depths.max().unwrap_or(0))
}

/// Bytes that must be rewritten until the tree has its shape, if nothing more
/// is written. An estimate: it takes keys for evenly spread and all of them for
/// different. Cost: one step a level.
pub(crate) fn debt(version: &Version, config: &Config) -> u64 {
    let shape = Shape::of(version, config);
    let levels = version.levels();
    let mut sizes = levels.each_ref().map(|level| level.size_bytes());
    let mut debt = 0;
    let (runs, depth) = level_0_width(version);
    if depth >= config.l0_runs || runs >= 4 * config.l0_runs {
        // A merge takes all of level 0 and, once for each time that it is full,
        // all of the base level.
        debt += sizes[0] + sizes[shape.base] * (depth / config.l0_runs).max(1) as u64;
        sizes[shape.base] += sizes[0];
        sizes[0] = 0;
    }
    for level in 1..LAST {
        let excess = sizes[level].saturating_sub(shape.targets[level]);
        if excess == 0 {
            continue;
        }
        let next = shape.next(version, level);
        // Each byte pushed down meets its share of the next level, where that
        // must be merged with.
        let meets = match config.runs_in(next, LAST) {
            1 => (u128::from(sizes[next]) * u128::from(excess) / u128::from(sizes[level])) as u64,
            _ => 0,
        };
        debt += excess + meets;
        sizes[next] += excess;
    }
    debt
}
