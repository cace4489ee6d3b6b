//! The shape of a tree as numbers.

use crate::tree::version::GARBAGE_PERCENT;

/// What the picker steers towards.
///
/// The classical designs are settings of it: leveled (one run everywhere),
/// lazy-leveled (several in the inner levels, one in the last; Dostoevsky,
/// SIGMOD'18), tiered (several everywhere).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Runs over one key in level 0 at which they are merged down.
    pub(crate) l0_runs: usize,
    /// Runs over one key in a level between level 0 and the last.
    pub(crate) inner_runs: usize,
    /// Runs over one key in the last level.
    pub(crate) last_runs: usize,
    /// How many times larger each level is than the one above it.
    pub(crate) size_ratio: u64,
    /// Least size at which a level between level 0 and the last pays for itself.
    pub(crate) base_bytes: u64,
    /// Size at which an output table is cut, in a level that is small: see
    /// [`Config::table_bytes_in`].
    pub(crate) table_bytes: u64,
    /// A level is cut into about this many tables, once that makes them larger than
    /// `table_bytes`.
    pub(crate) tables_a_level: u64,
    /// A job takes in more tables than it must only up to this size.
    pub(crate) job_bytes: u64,
    /// A table of which this share of entries is deletes or expired values is
    /// rewritten for their sake, in percent; [`GARBAGE_PERCENT`] at least.
    pub(crate) garbage_percent: u64,
    /// But not before it is this old.
    pub(crate) garbage_age_ms: u64,
    /// Tables of a level that one decision looks at. In a larger level each decision
    /// looks at the next ones, so that all have their turn.
    pub(crate) window: usize,
}

/// But no table grows larger than this: a job takes in about ten of them, and for so
/// long their space is taken twice.
const MOST_TABLE_BYTES: u64 = 128 << 20;

impl Config {
    /// The defaults for MemTables of this size; see
    /// `docs/decisions/0003-runs-per-level.md`.
    pub(crate) fn for_memtable(memtable_bytes: u64) -> Config {
        let l0_runs = 8;
        let base_bytes = (memtable_bytes * l0_runs as u64 / 2).max(8 << 20);
        let table_bytes = (memtable_bytes / 2).clamp(2 << 20, 16 << 20);
        Config {
            l0_runs,
            inner_runs: 1,
            last_runs: 1,
            size_ratio: 8,
            base_bytes,
            table_bytes,
            tables_a_level: 256,
            job_bytes: 16 * table_bytes,
            garbage_percent: GARBAGE_PERCENT,
            garbage_age_ms: 60_000,
            window: 256,
        }
    }

    /// Runs over one key that `level` may have when `last` is the last level.
    pub(crate) fn runs_in(&self, level: usize, last: usize) -> usize {
        match level {
            0 => self.l0_runs,
            l if l == last => self.last_runs,
            _ => self.inner_runs,
        }
    }

    /// Runs in level 0 at which writers begin to be slowed down.
    pub(crate) fn calm_l0_runs(&self) -> u64 {
        3 * self.l0_runs as u64
    }

    /// Bytes that level 0 may hold over `below` bytes in the other levels, of which an
    /// eighth may lie above the last: so a tree takes 1.5 times what it would at best, and
    /// about two MemTables, which matter where there is little below.
    pub(crate) fn calm_l0_bytes(&self, below: u64) -> u64 {
        below / 16 * 5 + self.base_bytes * 4 / self.l0_runs as u64
    }

    /// Debt at which writers begin to be slowed down.
    pub(crate) fn calm_debt_bytes(&self) -> u64 {
        (32 * self.base_bytes).max(1 << 30)
    }

    /// Size at which an output table is cut in a level that spills at `target_bytes`:
    /// tables grow with their level, so that their number, and with it what each costs
    /// in descriptors and memory, grows much more slowly than the data.
    pub(crate) fn table_bytes_in(&self, target_bytes: u64) -> u64 {
        let most = MOST_TABLE_BYTES.max(self.table_bytes);
        (target_bytes / self.tables_a_level).clamp(self.table_bytes, most)
    }

    /// Bytes of the next level that one output table of `table_bytes` may overlap before
    /// it is cut: pushing it down later must not become a huge job.
    pub(crate) fn grandparent_bytes(&self, table_bytes: u64) -> u64 {
        table_bytes * (self.size_ratio + 4)
    }
}
