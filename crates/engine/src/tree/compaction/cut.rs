//! Where one output table ends and the next begins.

use super::job::KeySpan;
use crate::tree::version::TableHandle;
use std::sync::Arc;

/// Decides at each new user key whether it starts a new table.
///
/// It is never asked between two versions of a key: a run in which one key's
/// versions lay in two tables would answer with the older (leveldb #184, #320).
#[derive(Debug)]
pub(crate) struct Cutter<'p, N = Arc<TableHandle>> {
    table_bytes: u64,
    guards: &'p [Box<[u8]>],
    grandparents: &'p [N],
    grandparent_bytes: u64,
    /// First grandparent that the keys have not passed.
    at: usize,
    /// Bytes of the grandparents that the present table has passed.
    overlap_bytes: u64,
}

impl<'p, N: KeySpan> Cutter<'p, N> {
    /// Cuts at `table_bytes`, or earlier where a table would overlap more than
    /// `grandparent_bytes` of `grandparents`, which are in key order.
    pub(crate) fn new(
        table_bytes: u64,
        grandparents: &'p [N],
        grandparent_bytes: u64,
    ) -> Cutter<'p, N> {
        let guards = &[];
        Cutter { table_bytes, guards, grandparents, grandparent_bytes, at: 0, overlap_bytes: 0 }
    }

    /// Whether `key`, larger than all before it, starts a new table, when the
    /// present one has `written_bytes` (0: it is empty).
    #[inline]
    pub(crate) fn starts_table(&mut self, key: &[u8], written_bytes: u64) -> bool {
        while let Some(table) = self.grandparents.get(self.at)
            && table.max_key() < key
        {
            self.overlap_bytes += table.size_bytes();
            self.at += 1;
        }
        let mut at_guard = false;
        while let Some((guard, rest)) = self.guards.split_first()
            && **guard <= *key
        {
            at_guard = true;
            self.guards = rest;
        }
        if written_bytes == 0 {
            self.overlap_bytes = 0;
            return false;
        }
        // What is the least worth a file: less at guards, which lose their use
        // where one run passes over them.
        let cut = written_bytes >= self.table_bytes
            || (at_guard && written_bytes >= self.table_bytes / 32)
            || (self.overlap_bytes > self.grandparent_bytes
                && written_bytes >= self.table_bytes / 8);
        if cut {
            self.overlap_bytes = 0;
        }
        cut
    }
}

impl<'p> Cutter<'p> {
    /// Cuts at `table_bytes`, and at the first key from each of `guards` on,
    /// which are ascending.
    pub(crate) fn with_guards(table_bytes: u64, guards: &'p [Box<[u8]>]) -> Cutter<'p> {
        Cutter { guards, ..Cutter::new(table_bytes, &[], 0) }
    }
}
