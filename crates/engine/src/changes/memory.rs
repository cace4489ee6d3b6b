//! What the buffer of a stream takes of the one budget.

use crate::control::account::Part;
use crate::read::reading::Reading;
use crate::types::error::{Error, Result};
use std::sync::Arc;

/// Bytes taken for a buffer, given back when it is dropped.
pub(super) struct BufferMemory {
    reading: Arc<Reading>,
    bytes: u64,
}

impl BufferMemory {
    pub(super) fn new(reading: &Arc<Reading>) -> BufferMemory {
        BufferMemory { reading: Arc::clone(reading), bytes: 0 }
    }

    /// Takes as much as makes `bytes` in all.
    ///
    /// # Errors
    /// [`Error::MemoryFull`] when the caches cannot give so much.
    pub(super) fn grow_to(&mut self, bytes: u64) -> Result<()> {
        let more = bytes.saturating_sub(self.bytes);
        let budget = &self.reading.budget;
        budget.account.take(Part::Readers, more);
        // Writing goes on beside it: it needs a chunk for its MemTable.
        if !self.reading.has_room(budget.growth(0)) {
            budget.account.take_back(Part::Readers, more);
            return Err(Error::MemoryFull { reason: self.reading.why_no_room(more) });
        }
        self.bytes += more;
        Ok(())
    }

    /// Gives all back.
    pub(super) fn give_back(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.reading.budget.account.give(Part::Readers, bytes);
    }
}

impl Drop for BufferMemory {
    fn drop(&mut self) {
        if self.reading.health.owner.is_forked() {
            // The database is the parent's.
            std::mem::forget(Arc::clone(&self.reading));
        } else {
            self.give_back();
        }
    }
}
