//! `MemoryClaim`: part of the memory budget, taken by the program around the database.

use crate::control::account::Part;
use crate::read::reading::Reading;
use crate::types::error::{Error, Result};
use std::sync::Arc;

/// Bytes of the database's memory budget that the program uses itself, for requests,
/// answers, buffers. Given back when dropped. Made by [`crate::Db::claim_memory`].
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = tanada::Db::open(dir.path().join("db"))?;
/// let mut claim = db.claim_memory(1 << 20)?;
/// let mut buffer = vec![0; 1 << 20];
/// claim.grow(1 << 20)?;
/// buffer.resize(2 << 20, 0);
/// assert_eq!(db.stats().memory.claimed_bytes, 2 << 20);
/// # Ok::<(), tanada::Error>(())
/// ```
#[must_use = "what is claimed is given back when this is dropped"]
pub struct MemoryClaim {
    reading: Arc<Reading>,
    bytes: u64,
}

impl MemoryClaim {
    pub(crate) fn new(reading: &Arc<Reading>, bytes: u64) -> Result<MemoryClaim> {
        let mut claim = MemoryClaim { reading: Arc::clone(reading), bytes: 0 };
        claim.grow(bytes)?;
        Ok(claim)
    }

    /// Bytes claimed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Claims `bytes` more. Cost: two atomic additions, while the caches have room to
    /// spare; else they give up blocks first.
    ///
    /// # Errors
    /// [`Error::MemoryFull`] when the caches cannot give so much. Nothing was done.
    pub fn grow(&mut self, bytes: u64) -> Result<()> {
        self.reading.health.owner.check()?;
        let budget = &self.reading.budget;
        // Taken first: of two that ask at once for the last bytes one is refused, or both.
        budget.account.take(Part::Claims, bytes);
        // Writing goes on beside the claims: it needs a chunk for its MemTable.
        if !self.reading.has_room(budget.growth(0)) {
            budget.account.take_back(Part::Claims, bytes);
            return Err(Error::MemoryFull { reason: self.reading.why_no_room(bytes) });
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Gives `bytes` back, or all that there are.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        if bytes > 0 && !self.reading.health.owner.is_forked() {
            self.bytes -= bytes;
            self.reading.budget.account.give(Part::Claims, bytes);
            self.reading.hand_on();
        }
    }
}

impl Drop for MemoryClaim {
    fn drop(&mut self) {
        self.shrink(self.bytes);
        if self.reading.health.owner.is_forked() {
            // The database is the parent's.
            std::mem::forget(Arc::clone(&self.reading));
        }
    }
}

impl std::fmt::Debug for MemoryClaim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryClaim").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
