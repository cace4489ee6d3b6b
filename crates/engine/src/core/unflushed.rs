//! Which MemTables hold something, ordered by where in the log they begin.
//!
//! The oldest of them says which logs are still needed, and those that are sealed are
//! what flushes have to do. Kept up to date at the first write into a MemTable, at its
//! seal and at the end of its flush, so that nobody asks every keyspace for it.

use crate::read::mem::Mem;
use crate::read::view::KeyspaceState;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use tanada_format::{KeyspaceId, LogPosition, planted};
use tanada_vfs::sync::Mutex;

/// A MemTable's name here: where its first record starts, and whose it is. Two
/// MemTables of a keyspace never begin with the same record.
pub(crate) type Start = (LogPosition, KeyspaceId);

/// The MemTables that are not empty.
///
/// A log must not go while a MemTable needs it, so an entry comes before the MemTable
/// can be sealed and goes after the manifest has its tables. Who looks without the
/// writer's lock may miss a MemTable that is receiving its first write: it begins
/// behind every seal noted so far ([`super::work::Background::sealed_to`], read first).
#[derive(Debug, Default)]
pub(crate) struct Unflushed {
    /// Guards both sets; held for a search or a change, and nothing is locked under it.
    sets: Mutex<Sets>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Sets {
    /// They receive writes.
    active: BTreeSet<Start>,
    /// They wait for their flush, or are in one.
    sealed: BTreeSet<Start>,
}

impl Sets {
    fn of<'k>(keyspaces: impl IntoIterator<Item = &'k Arc<KeyspaceState>>) -> Sets {
        let mut sets = Sets::default();
        for keyspace in keyspaces {
            let view = keyspace.view.load();
            let start = |mem: &Arc<Mem>| mem.first_position().map(|first| (first, keyspace.id));
            sets.active.extend(start(&view.active));
            sets.sealed.extend(view.sealed.iter().filter_map(start));
        }
        sets
    }
}

impl Unflushed {
    /// Notes the MemTables of these keyspaces as they are, and no others: for an
    /// opening, while nobody writes or flushes.
    pub(crate) fn look_at<'k>(&self, keyspaces: impl IntoIterator<Item = &'k Arc<KeyspaceState>>) {
        *self.sets.lock() = Sets::of(keyspaces);
    }

    /// Whether this is what the views of all keyspaces say, while nobody changes them.
    pub(crate) fn agrees_with<'k>(
        &self,
        keyspaces: impl IntoIterator<Item = &'k Arc<KeyspaceState>>,
    ) -> bool {
        *self.sets.lock() == Sets::of(keyspaces)
    }

    /// Notes the first write into an active MemTable. Under the writer lock. Answers
    /// whether all of them were empty.
    pub(crate) fn touched(&self, start: Start) -> bool {
        let active = &mut self.sets.lock().active;
        let first = active.is_empty();
        active.insert(start);
        first
    }

    /// Notes that an active MemTable is about to be sealed: before its flush could end,
    /// or that would find nothing to forget. Under the writer lock.
    pub(crate) fn sealing(&self, start: Start) {
        let mut sets = self.sets.lock();
        sets.active.remove(&start);
        if planted!(unflushed_is_forgotten_at_a_seal) {
            drop(sets);
            sets = self.sets.lock();
        }
        sets.sealed.insert(start);
    }

    /// Notes that the manifest has what sealed MemTables held.
    pub(crate) fn flushed(&self, starts: impl IntoIterator<Item = Start>) {
        let mut sets = self.sets.lock();
        for start in starts {
            sets.sealed.remove(&start);
        }
    }

    /// Start of the oldest record that some MemTable needs.
    pub(crate) fn oldest(&self) -> Option<LogPosition> {
        self.oldest_beside(&HashSet::new())
    }

    /// As [`Unflushed::oldest`], once these MemTables are flushed.
    pub(crate) fn oldest_beside(&self, flushed: &HashSet<Start>) -> Option<LogPosition> {
        let sets = self.sets.lock();
        let oldest = |set: &BTreeSet<Start>| {
            set.iter().find(|start| !flushed.contains(start)).map(|start| start.0)
        };
        oldest(&sets.active).into_iter().chain(oldest(&sets.sealed)).min()
    }

    /// Keyspaces whose active MemTable holds something, the oldest first.
    pub(crate) fn active(&self) -> Vec<KeyspaceId> {
        self.sets.lock().active.iter().map(|start| start.1).collect()
    }

    /// Keyspaces whose active MemTable begins before `position`, the oldest first.
    pub(crate) fn active_before(&self, position: LogPosition) -> Vec<KeyspaceId> {
        let sets = self.sets.lock();
        sets.active.iter().take_while(|start| start.0 < position).map(|start| start.1).collect()
    }

    /// Whether any active MemTable holds something.
    pub(crate) fn any_active(&self) -> bool {
        !self.sets.lock().active.is_empty()
    }

    /// Whether any keyspace waits for a flush, or is in one.
    pub(crate) fn any_sealed(&self) -> bool {
        !self.sets.lock().sealed.is_empty()
    }

    /// Keyspaces that wait for a flush and that `is_free` admits, each once, those that
    /// keep the oldest logs first; at most `most`.
    pub(crate) fn sealed(
        &self,
        most: usize,
        is_free: impl Fn(KeyspaceId) -> bool,
    ) -> Vec<KeyspaceId> {
        let sets = self.sets.lock();
        let mut seen = HashSet::new();
        let free = sets.sealed.iter().map(|start| start.1).filter(|&id| is_free(id));
        free.filter(|&id| seen.insert(id)).take(most).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(position: u64, keyspace: u32) -> Start {
        (LogPosition(position), KeyspaceId(keyspace))
    }

    #[test]
    fn the_oldest_record_needed_is_that_of_the_oldest_memtable_that_is_left() {
        let unflushed = Unflushed::default();
        assert_eq!(unflushed.oldest(), None);
        unflushed.touched(start(10, 1));
        unflushed.touched(start(10, 2));
        unflushed.touched(start(30, 0));
        assert_eq!(unflushed.active_before(LogPosition(30)), [KeyspaceId(1), KeyspaceId(2)]);
        unflushed.sealing(start(10, 1));
        unflushed.touched(start(40, 1));
        assert_eq!(unflushed.oldest(), Some(LogPosition(10)));
        assert_eq!(unflushed.oldest_beside(&[start(10, 1)].into()), Some(LogPosition(10)));
        unflushed.sealing(start(10, 2));
        let both = HashSet::from([start(10, 1), start(10, 2)]);
        assert_eq!(unflushed.oldest_beside(&both), Some(LogPosition(30)));
        unflushed.sealing(start(40, 1));
        // The keyspace 1 has two sealed MemTables, and waits once.
        assert_eq!(unflushed.sealed(9, |_| true), [KeyspaceId(1), KeyspaceId(2)]);
        assert_eq!(unflushed.sealed(9, |id| id.0 != 1), [KeyspaceId(2)]);
        assert_eq!(unflushed.sealed(1, |_| true), [KeyspaceId(1)]);
        unflushed.flushed(both);
        assert!(unflushed.any_sealed());
        assert_eq!(unflushed.oldest(), Some(LogPosition(30)));
        unflushed.flushed([start(40, 1)]);
        assert!(!unflushed.any_sealed());
    }
}
