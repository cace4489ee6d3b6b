//! When the passing of time alone makes something due in a tree: values that expire,
//! tables of deletes that get old.
//!
//! Nobody writes on a quiet database, and no job ends: whoever found nothing to do sleeps
//! until the moment that is told here. Knows nothing of threads.

use super::Config;
use super::tree::Moment;
use crate::tree::version::{Sums, TableMeta, Version};

/// What is due, but has not been picked, is looked for again after this long. No rule of
/// the picker leaves any such thing behind: this is for what nobody has thought of.
const OVERDUE_MS: u64 = 600_000;

/// What waits in a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// The next moment, in wall-clock milliseconds, at which there may be work.
    pub(crate) at_ms: Option<u64>,
    /// Whether there would be work now if no reader looked back.
    pub(crate) waits_for_readers: bool,
}

impl Due {
    /// That of both.
    pub(crate) fn and(self, other: Due) -> Due {
        Due {
            at_ms: [self.at_ms, other.at_ms].into_iter().flatten().min(),
            waits_for_readers: self.waits_for_readers || other.waits_for_readers,
        }
    }

    fn at(&mut self, at_ms: u64) {
        self.at_ms = Some(self.at_ms.map_or(at_ms, |own| own.min(at_ms)));
    }
}

/// What waits in the tree of which [`super::pick`] has found nothing to do at `moment`, which
/// readers may hold back behind `clock_ms`. Cost: a step for each run, and one for each
/// table of the segments that hold expiring values or many deletes.
pub(crate) fn due(version: &Version, config: &Config, moment: Moment, clock_ms: u64) -> Due {
    let mut due = Due::default();
    let runs = version.levels().iter().flat_map(|level| level.runs());
    for run in runs.filter(|run| may_wait(&run.sums(), config)) {
        for (sums, tables) in run.segments() {
            if !may_wait(&sums, config) {
                continue;
            }
            for meta in tables.iter().map(|table| table.meta()) {
                for at_ms in moments(meta, config).into_iter().flatten() {
                    if at_ms > clock_ms {
                        due.at(at_ms);
                    } else if meta.max_seqno > moment.oldest_snapshot || at_ms > moment.now_ms {
                        due.waits_for_readers = true;
                    } else {
                        due.at(clock_ms + OVERDUE_MS);
                    }
                }
            }
        }
    }
    due
}

fn may_wait(sums: &Sums, config: &Config) -> bool {
    sums.first_garbage_ms != u64::MAX
        || sums.first_dead_ms != u64::MAX
        || sums.most_useless >= 10 * config.garbage_percent
}

/// When all of a table has expired, and when it is old and so much of it is garbage that it
/// is rewritten.
fn moments(meta: &TableMeta, config: &Config) -> [Option<u64>; 2] {
    let all_dead = (meta.expiring == meta.entries).then_some(meta.max_expires_at_ms);
    let old_ms = meta.created_ms.saturating_add(config.garbage_age_ms);
    let garbage = meta.is_garbage_from(config.garbage_percent).map(|at_ms| at_ms.max(old_ms));
    [all_dead, garbage]
}
