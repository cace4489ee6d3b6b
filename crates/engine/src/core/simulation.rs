//! What a simulation sets and no user can: sizes so small that a few writes meet
//! every border, and the order in which the background works.
//!
//! Only builds with the feature `simulation` have any of it, and no program that is
//! shipped is built so. It leaves the answers as they are: it changes when and in
//! what pieces the same work is done.

use crate::control::budget::Budget;
use crate::tree::compaction;
use crate::wal::SegmentSizes;
#[cfg(feature = "simulation")]
use std::{fmt::Debug, sync::Arc};
use tanada_table::TableOptions;

/// What a simulation has set; nothing at all without the feature.
#[derive(Clone, Debug, Default)]
pub(crate) struct Simulation {
    #[cfg(feature = "simulation")]
    pub(crate) tuning: Tuning,
    #[cfg(feature = "simulation")]
    pub(crate) scheduler: Option<Arc<dyn Scheduler>>,
}

#[cfg(not(feature = "simulation"))]
impl Simulation {
    pub(crate) fn budget(&self, budget: Budget) -> Budget {
        budget
    }

    pub(crate) fn compaction(&self, config: compaction::Config) -> compaction::Config {
        config
    }

    pub(crate) fn log(&self, sizes: SegmentSizes) -> SegmentSizes {
        sizes
    }

    pub(crate) fn snapshot_part(&self, bytes: usize) -> usize {
        bytes
    }

    pub(crate) fn table(&self, options: TableOptions) -> TableOptions {
        options
    }

    pub(crate) fn table_descriptors(&self) -> Option<u64> {
        None
    }

    pub(crate) fn open_tables(&self) -> usize {
        usize::MAX
    }

    pub(crate) fn seqno_block(&self, numbers: u64) -> u64 {
        numbers
    }

    pub(crate) fn dead_entries(&self, entries: u32) -> u32 {
        entries
    }

    pub(crate) fn is_scheduled(&self) -> bool {
        false
    }

    pub(crate) fn order(&self) -> Option<u64> {
        None
    }
}

#[cfg(feature = "simulation")]
impl Simulation {
    pub(crate) fn budget(&self, mut budget: Budget) -> Budget {
        set(&mut budget.memtable_seal, self.tuning.memtable_bytes);
        set(&mut budget.memtables_max, self.tuning.memtables_max_bytes);
        set(&mut budget.caches_max, self.tuning.cache_bytes);
        budget
    }

    pub(crate) fn compaction(&self, mut config: compaction::Config) -> compaction::Config {
        let tuning = &self.tuning;
        set(&mut config.table_bytes, tuning.table_bytes);
        set(&mut config.tables_a_level, tuning.tables_a_level);
        set(&mut config.job_bytes, tuning.table_bytes.map(|bytes| 16 * bytes));
        set(&mut config.base_bytes, tuning.base_bytes);
        set(&mut config.size_ratio, tuning.size_ratio);
        set(&mut config.l0_runs, tuning.l0_runs);
        set(&mut config.inner_runs, tuning.inner_runs);
        set(&mut config.garbage_age_ms, tuning.garbage_age_ms);
        set(&mut config.window, tuning.window);
        config
    }

    pub(crate) fn log(&self, mut sizes: SegmentSizes) -> SegmentSizes {
        if let Some(min_bytes) = self.tuning.log_bytes {
            (sizes.min_bytes, sizes.max_bytes) = (min_bytes, 4 * min_bytes);
        }
        set(&mut sizes.held_bytes, self.tuning.held_log_bytes);
        sizes
    }

    pub(crate) fn snapshot_part(&self, bytes: usize) -> usize {
        self.tuning.snapshot_part_bytes.unwrap_or(bytes)
    }

    pub(crate) fn table(&self, mut options: TableOptions) -> TableOptions {
        set(&mut options.block_size, self.tuning.block_bytes);
        set(&mut options.bits_per_key, self.tuning.bits_per_key);
        options
    }

    pub(crate) fn table_descriptors(&self) -> Option<u64> {
        self.tuning.table_descriptors
    }

    pub(crate) fn open_tables(&self) -> usize {
        self.tuning.open_tables.unwrap_or(usize::MAX)
    }

    pub(crate) fn seqno_block(&self, numbers: u64) -> u64 {
        self.tuning.seqno_block.unwrap_or(numbers)
    }

    pub(crate) fn dead_entries(&self, entries: u32) -> u32 {
        self.tuning.dead_entries.unwrap_or(entries)
    }

    /// Whether it says when the background works.
    pub(crate) fn is_scheduled(&self) -> bool {
        self.scheduler.is_some()
    }

    /// The order of the next piece of work.
    pub(crate) fn order(&self) -> Option<u64> {
        self.scheduler.as_ref().map(|scheduler| scheduler.order())
    }
}

#[cfg(feature = "simulation")]
fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// Sizes and shapes that otherwise follow from the memory budget. `None`: as it
/// is without a simulation.
#[cfg(feature = "simulation")]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tuning {
    /// A MemTable this large is sealed.
    pub memtable_bytes: Option<u64>,
    /// All MemTables together hold no more, writers wait. No batch may be larger
    /// than half of it.
    pub memtables_max_bytes: Option<u64>,
    /// Both caches together take no more; 0 keeps nothing.
    pub cache_bytes: Option<u64>,
    /// The first log file; later ones grow to four times that.
    pub log_bytes: Option<u64>,
    /// Consumers of changes may hold so much log that nobody else needs.
    pub held_log_bytes: Option<u64>,
    /// Scans look for a span of dead keys behind so many dead entries in a row.
    pub dead_entries: Option<u32>,
    /// Data blocks are cut at this size.
    pub block_bytes: Option<u32>,
    /// Filter bits a key; 0 for no filter.
    pub bits_per_key: Option<f64>,
    /// Tables are cut at this size.
    pub table_bytes: Option<u64>,
    /// A level is cut into about this many tables, once that makes them larger.
    pub tables_a_level: Option<u64>,
    /// Least size of a level between level 0 and the last.
    pub base_bytes: Option<u64>,
    /// How many times larger each level is than the one above it.
    pub size_ratio: Option<u64>,
    /// Runs in level 0 at which they are merged down.
    pub l0_runs: Option<usize>,
    /// Runs in a level between level 0 and the last.
    pub inner_runs: Option<usize>,
    /// Age at which a table of deletes is rewritten.
    pub garbage_age_ms: Option<u64>,
    /// Tables of a level that one decision looks at.
    pub window: Option<usize>,
    /// A snapshot in the manifest is cut into parts of about this size.
    pub snapshot_part_bytes: Option<usize>,
    /// At most so many tables have a file descriptor at once.
    pub table_descriptors: Option<u64>,
    /// At most so many tables are open at once, beside those that somebody reads.
    pub open_tables: Option<usize>,
    /// Sequence numbers that are reserved at once.
    pub seqno_block: Option<u64>,
}

/// Says what the background does next, where there are no threads: a simulation
/// draws it from its seed. With one, callers do work only where they wait for it;
/// all else is done by [`crate::Db::step`].
#[cfg(feature = "simulation")]
pub trait Scheduler: Debug + Send + Sync {
    /// Any number: it is taken for the order in which kinds of work and keyspaces
    /// are looked at.
    fn order(&self) -> u64;
}
