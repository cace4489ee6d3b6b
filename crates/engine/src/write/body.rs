//! Room for the bytes in which a put of a long value goes to the log: a copy that the
//! engine makes, so it is in the account before it is made.
//!
//! A batch that a program fills is the program's own until it is taken over.

use crate::control::account::{Account, Part};
use crate::core::Core;
use crate::types::error::{Error, Result};
use std::time::Duration;

/// Copies up to here are not counted: each thread makes one at a time.
const COUNTED_BYTES: usize = 1 << 20;

/// How often and how long a put waits for readers to let go of what they hold.
const WAITS: u32 = 10;
const A_WAIT: Duration = Duration::from_millis(100);

/// Bytes in the account until dropped.
pub(crate) struct BodyRoom<'a> {
    account: &'a Account,
    bytes: u64,
}

impl Core {
    /// Takes room for a copy of `bytes`; `None` where it is not worth counting. Waits for
    /// flushes as long as there is something to flush, and a second for readers.
    ///
    /// # Errors
    /// [`Error::MemoryFull`], or why nothing is flushed. Nothing was done.
    #[inline]
    pub(crate) fn room_for_body(&self, bytes: usize) -> Result<Option<BodyRoom<'_>>> {
        if bytes <= COUNTED_BYTES {
            return Ok(None);
        }
        self.take_room_for_body(bytes as u64).map(Some)
    }

    #[cold]
    fn take_room_for_body(&self, bytes: u64) -> Result<BodyRoom<'_>> {
        let account = &*self.reading.budget.account;
        // What can never be written is refused by the write, which says why.
        let bytes = bytes.min(self.reading.budget.largest_batch());
        let mut waits = 0;
        loop {
            self.reading.health.check_committable()?;
            // Both read before looking, so that nothing that ends in between is missed.
            let (ended, returns) = (self.background.ended(), account.returns());
            account.take(Part::Queue, bytes);
            // Without threads what can be flushed is flushed by the write itself.
            if self.reading.has_room(0) || self.background.is_inline() {
                return Ok(BodyRoom { account, bytes });
            }
            account.take_back(Part::Queue, bytes);
            if self.unflushed.any_sealed() {
                if !self.wait_past(ended) {
                    return Err(self.reading.health.why_nothing_changes());
                }
                continue;
            }
            if waits == WAITS {
                return Err(Error::MemoryFull { reason: self.reading.why_no_room(bytes) });
            }
            waits += 1;
            account.wait_past(returns, A_WAIT);
        }
    }
}

impl Drop for BodyRoom<'_> {
    fn drop(&mut self) {
        self.account.give(Part::Queue, self.bytes);
    }
}
