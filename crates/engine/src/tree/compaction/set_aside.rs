//! Tables that a job could not read, and for how long none will try again.
//!
//! A bad sector is met by every merge of its table, at the same byte, after all the work
//! before it. So the table is left alone for a while, longer after each failure, and the
//! rest of the tree goes on around it: to who picks a job it looks like a table that some
//! other job has. Nothing of it is dropped meanwhile, and reads of its other blocks go on.

use crate::tree::version::{TableHandle, Version};
use std::collections::BTreeMap;
use tanada_format::TableId;

/// After the first failure; twice as long after each further one.
const FIRST_WAIT_NS: u64 = 1_000_000_000;
/// At most.
const LONGEST_WAIT_NS: u64 = 3_600_000_000_000;

/// The tables of one tree that could not be read.
#[derive(Debug, Default)]
pub(crate) struct SetAside {
    tables: BTreeMap<TableId, Unreadable>,
}

#[derive(Debug)]
struct Unreadable {
    /// A key by which it is found in the tree.
    key: Box<[u8]>,
    size_bytes: u64,
    failures: u32,
    until_ns: u64,
    /// Whether it is not to be tried now.
    waits: bool,
    why: String,
}

impl SetAside {
    /// Notes that `table` could not be read, for this reason.
    pub(crate) fn add(&mut self, table: &TableHandle, why: String, now_ns: u64) {
        let meta = table.meta();
        let unreadable = self.tables.entry(table.id()).or_insert_with(|| Unreadable {
            key: meta.min_key.clone(),
            size_bytes: meta.size_bytes,
            failures: 0,
            until_ns: 0,
            waits: true,
            why: String::new(),
        });
        let wait_ns = FIRST_WAIT_NS << unreadable.failures.min(30);
        unreadable.failures += 1;
        unreadable.until_ns = now_ns.saturating_add(wait_ns.min(LONGEST_WAIT_NS));
        (unreadable.waits, unreadable.why) = (true, why);
    }

    /// Lets those be tried again that have waited long enough.
    pub(crate) fn wake(&mut self, now_ns: u64) {
        for unreadable in self.tables.values_mut() {
            unreadable.waits &= unreadable.until_ns > now_ns;
        }
    }

    /// When the next of them may be tried.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        let waiting = self.tables.values().filter(|unreadable| unreadable.waits);
        waiting.map(|unreadable| unreadable.until_ns).min()
    }

    /// Forgets those that are in the tree no more: a job has read them after all.
    pub(crate) fn forget_gone(&mut self, version: &Version) {
        self.tables.retain(|id, unreadable| {
            let found = version.runs().iter().filter_map(|run| run.find(&unreadable.key));
            found.into_iter().any(|table| table.id() == *id)
        });
    }

    /// Whether this table is not to be tried now.
    pub(super) fn has(&self, table: TableId) -> bool {
        self.tables.get(&table).is_some_and(|unreadable| unreadable.waits)
    }

    /// Bytes of those in `level` that are not to be tried now.
    pub(super) fn bytes_in(&self, version: &Version, level: usize) -> u64 {
        let runs = version.levels()[level].runs();
        let is_there = |(id, unreadable): &(&TableId, &Unreadable)| {
            let found = runs.iter().filter_map(|run| run.find(&unreadable.key));
            unreadable.waits && found.into_iter().any(|table| table.id() == **id)
        };
        self.tables.iter().filter(is_there).map(|(_, unreadable)| unreadable.size_bytes).sum()
    }

    /// How many there are, those that are tried again just now included.
    pub(crate) fn len(&self) -> usize {
        self.tables.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Why the first of them could not be read; it names the file.
    pub(crate) fn why(&self) -> Option<&str> {
        self.tables.values().next().map(|unreadable| &*unreadable.why)
    }
}
