//! Sealing active MemTables: those that are full, and those that keep old logs alive.
//!
//! A sealed MemTable takes no more writes and is flushed in the background; the logs that
//! only it needs go after that.

use crate::core::Core;
use crate::core::queue::Writer;
use crate::read::view::KeyspaceState;
use crate::tree::version::Deletion;
use std::sync::Arc;
use tanada_format::{LogPosition, planted};

impl Core {
    /// Seals the active MemTables of these keyspaces, those that are not empty.
    pub(crate) fn seal(&self, writer: &mut Writer, keyspaces: &[Arc<KeyspaceState>]) {
        let position = writer.wal.position();
        let mut sealed_any = false;
        for keyspace in keyspaces {
            let active = Arc::clone(&keyspace.view.load().active);
            let sealed_bytes = active.size_bytes();
            let (1.., Some(first)) = (sealed_bytes, active.first_position()) else { continue };
            self.unflushed.sealing((first, keyspace.id));
            self.reading.change_view(keyspace, |view| {
                view.active.set_end(position);
                view.with_new_active(&self.reading.chunks)
            });
            writer.active_bytes -= (writer.active_bytes).min(sealed_bytes);
            sealed_any = true;
        }
        if !sealed_any {
            return;
        }
        self.background.set_sealed_to(position);
        if !planted!(lost_inserts_bulk) {
            writer.active = None;
        }
        if planted!(seal_divides_the_memory) {
            self.reading.rebalance();
        }
        // The memory is divided anew when the flush has ended: others wait for this lock.
        self.background.work_arrived();
    }

    /// Seals active MemTables, the largest first, until those that are left hold half
    /// of what they may: of many small ones as many as make a flush worth its syncs.
    pub(crate) fn seal_largest(&self, writer: &mut Writer, cost: u64) {
        let keyspaces = self.reading.keyspaces.load().all_of(self.unflushed.active());
        let size = |keyspace: &Arc<KeyspaceState>| keyspace.view.load().active.size_bytes();
        let mut by_size: Vec<_> = keyspaces.iter().map(|k| (size(k), k)).collect();
        by_size.sort_by_key(|&(size, _)| std::cmp::Reverse(size));
        let mut left = writer.active_bytes + cost;
        let goes = by_size.into_iter().enumerate().take_while(|&(i, (size, _))| {
            let goes = i == 0 || left > self.reading.budget.memtable_seal / 2;
            left = left.saturating_sub(size);
            goes
        });
        let goes: Vec<_> = goes.map(|(_, (_, keyspace))| Arc::clone(keyspace)).collect();
        self.seal(writer, &goes);
    }

    /// The keyspaces whose MemTables keep old logs, when the logs have grown much longer
    /// than what MemTables may hold: all of those in the older half of them, so that one
    /// edit of the manifest does for many quiet keyspaces.
    pub(super) fn pinning_keyspaces(&self, writer: &Writer) -> Vec<Arc<KeyspaceState>> {
        let position = writer.wal.position();
        let needed = self.oldest_needed().unwrap_or(position);
        let most = self.reading.budget.memtables_max;
        if position.0 - needed.0 <= 2 * most || planted!(idle_keyspaces_pin_logs) {
            return Vec::new();
        }
        let pinning = self.unflushed.active_before(LogPosition(position.0 - most));
        self.reading.keyspaces.load().all_of(pinning)
    }

    /// Hands logs that no MemTable needs to the background for deletion: at once when the
    /// manifest durably needs none of them, for nobody may write for a long time.
    pub(crate) fn drop_old_logs(&self) {
        let deletions = &self.reading.tables.deletions;
        for (path, size_bytes) in self.wal.take_before(self.background.oldest_log()) {
            deletions.push(Deletion { path, size_bytes });
        }
    }
}
