//! What a batch, or a record of the log, takes in MemTables.
//!
//! Not its bytes in the log: a put of five bytes takes more than a hundred in memory,
//! and the first write to a keyspace takes its first chunk.

use crate::memtable::{Fixed, Footprint, Growth};
use std::collections::BTreeMap;
use tanada_format::KeyspaceId;

/// Writes by keyspace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cost {
    /// Of the writes since another keyspace was last named.
    keyspace: Option<KeyspaceId>,
    run: Footprint,
    /// Of those before; empty as long as there is one keyspace.
    others: BTreeMap<KeyspaceId, Footprint>,
}

impl Cost {
    /// Adds a write. Allocates only when keyspaces change.
    #[inline]
    pub(crate) fn add(&mut self, keyspace: KeyspaceId, key_len: usize, value_len: usize) {
        if self.keyspace != Some(keyspace) {
            self.switch(keyspace);
        }
        self.run.add(key_len, value_len);
    }

    #[cold]
    fn switch(&mut self, keyspace: KeyspaceId) {
        if let Some(before) = self.keyspace.replace(keyspace) {
            self.others.entry(before).or_default().join(&self.run);
            self.run = Footprint::default();
        }
    }

    /// Writes in it.
    pub(crate) fn entries(&self) -> u64 {
        self.run.entries() + self.others.values().map(Footprint::entries).sum::<u64>()
    }

    pub(crate) fn clear(&mut self) {
        (self.keyspace, self.run) = (None, Footprint::default());
        self.others.clear();
    }

    /// What MemTables grow by, beside [`splits_bytes`](crate::memtable::splits_bytes)
    /// of what they hold.
    /// `entries_in` answers how many a keyspace's MemTable has. Where there is one
    /// keyspace, it is not asked, and what its chunk is rounded up by is left out.
    #[inline]
    pub(crate) fn growth(&self, fixed: Fixed, entries_in: impl Fn(KeyspaceId) -> u64) -> Growth {
        match self.others.is_empty() {
            true => Growth { bytes: self.run.growth_bytes(), rounding_bytes: 0 },
            false => self.growth_of_several(fixed, entries_in),
        }
    }

    #[cold]
    fn growth_of_several(&self, fixed: Fixed, entries_in: impl Fn(KeyspaceId) -> u64) -> Growth {
        let last = self.keyspace.into_iter().filter(|last| !self.others.contains_key(last));
        let all = self.others.iter().map(|(&id, before)| (id, *before));
        let all = all.chain(last.map(|id| (id, Footprint::default())));
        let mut sum = Growth::default();
        for (id, mut footprint) in all {
            if Some(id) == self.keyspace {
                footprint.join(&self.run);
            }
            let growth = footprint.growth(entries_in(id), fixed);
            sum.bytes += growth.bytes;
            sum.rounding_bytes += growth.rounding_bytes;
        }
        sum
    }
}
