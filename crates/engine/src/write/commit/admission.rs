//! What is refused before it queues: a batch that would not fit into the memory
//! budget, and writes for which the disk has no room.

use crate::core::Core;
use crate::types::error::{Error, Result};
use crate::write::batch::Batch;
use std::sync::atomic::Ordering;
use tanada_format::{KeyspaceId, planted};

/// Bytes of disk kept free beside what the MemTables will take.
const RESERVE_BYTES: u64 = 2 << 20;

impl Core {
    /// Most bytes that a batch takes in MemTables.
    ///
    /// # Errors
    /// `InvalidArgument` when it would take more than half of what all of them may.
    #[inline]
    pub(super) fn cost_of(&self, batch: &Batch) -> Result<u64> {
        let budget = &self.reading.budget;
        if planted!(batch_measured_in_log_bytes) {
            return Ok(batch.body.len() as u64);
        }
        let entries_in = |id: KeyspaceId| {
            let keyspaces = self.reading.keyspaces.load();
            keyspaces[id].view.load().active.table.entries()
        };
        let growth = batch.cost.growth(self.memtable_fixed, entries_in);
        let checks = batch.checks.as_ref().map_or(0, |checks| checks.bytes);
        // Twice that fits, and no rounding makes more of it.
        if growth.bytes + checks > budget.largest_batch() {
            return Err(self.too_large(batch));
        }
        Ok(growth.most_bytes())
    }

    #[cold]
    fn too_large(&self, batch: &Batch) -> Error {
        let (total, most) = (self.reading.budget.total, self.reading.budget.largest_batch());
        let checks = batch.checks.as_ref().map_or(0, |checks| checks.bytes);
        let cost = batch.cost.growth(self.memtable_fixed, |_| 0).bytes + checks;
        let cost = cost.max(most + 1);
        let conditions = match batch.checks.as_ref().map_or(0, |checks| checks.list.len()) {
            0 => String::new(),
            n => format!(" and {n} conditions"),
        };
        Error::InvalidArgument(format!(
            "a batch of {} writes{conditions} with {} bytes of keys and values takes up to {cost} bytes of memory, and a batch may take 3/16 of the memory budget of {total} bytes, which is {most}: split it, or give the database at least {} bytes of memory",
            batch.count,
            batch.user_bytes,
            cost.div_ceil(3) * 16,
        ))
    }

    /// Refuses what cannot be written now. A full disk refuses what needs more
    /// of it; deletes pass, for they are how room is made.
    #[inline]
    pub(super) fn admit(&self, batch: &Batch) -> Result<()> {
        match self.reading.health.check_writable() {
            Ok(()) => Ok(()),
            Err(Error::ReadOnly { reason }) => {
                let only_deletes = batch.deletes == batch.count;
                if self.background.waits_for_space() && (only_deletes || self.has_space()?) {
                    return Ok(());
                }
                Err(Error::ReadOnly { reason })
            }
            Err(e) => Err(e),
        }
    }

    /// Whether the disk has room for all that the MemTables hold and more;
    /// ends a read-only state that a full disk began.
    pub(crate) fn has_space(&self) -> Result<bool> {
        let room = self.reading.env.fs.free_space(&self.reading.path)? >= self.reserve_bytes();
        if room {
            self.background.space_came_back();
            self.reading.health.heal();
        }
        Ok(room)
    }

    /// Bytes kept free, so that MemTables can be flushed, deletes logged and
    /// tables compacted on a disk that is full for everybody else.
    pub(super) fn reserve_bytes(&self) -> u64 {
        self.reading.budget.memtable_bytes.load(Ordering::Relaxed) + RESERVE_BYTES
    }

    /// Stops taking writes while the disk is too full. Looked at once a log.
    pub(super) fn watch_space(&self) -> Result<()> {
        let free = self.reading.env.fs.free_space(&self.reading.path)?;
        if free < self.reserve_bytes() && !self.reading.health.is_read_only() {
            self.out_of_space(&format!("only {free} bytes are free"));
        }
        Ok(())
    }
}
