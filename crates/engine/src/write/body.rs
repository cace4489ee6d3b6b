//! Room for the bytes in which a put of a long value goes to the log: a copy that the
//! engine makes, so it is in the account before it is made.
//!
//! Whoever has made one goes on to what it takes in a MemTable: beside the first, others
//! leave room for that. Else none of them could go on, and they would be refused.
//!
//! A batch that a program fills is the program's own until it is taken over.

use crate::control::account::{Account, Part};
use crate::core::Core;
use crate::core::queue::Bodies;
use crate::types::error::{Error, Result};
use std::time::Duration;
use tanada_vfs::sync::Mutex;

/// Copies up to here are not counted: each thread makes one at a time.
const COUNTED_BYTES: usize = 1 << 20;

/// How often and how long a put waits for readers to let go of what they hold.
const WAITS: u32 = 10;
const A_WAIT: Duration = Duration::from_millis(100);

/// Bytes in the account until dropped.
pub(crate) struct BodyRoom<'a> {
    account: &'a Account,
    bodies: &'a Mutex<Bodies>,
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
            let beside_others = match self.try_room_for_body(bytes) {
                Ok(room) => return Ok(room),
                Err(beside_others) => beside_others,
            };
            if !beside_others && !self.unflushed.any_sealed() {
                self.seal_largest(&mut self.commit.writer(), bytes);
            }
            if self.unflushed.any_sealed() {
                if !self.wait_past(ended) {
                    return Err(self.reading.health.why_nothing_changes());
                }
                continue;
            }
            // The others end, one way or the other, and give theirs back.
            if !beside_others {
                if waits == WAITS {
                    return Err(Error::MemoryFull { reason: self.reading.why_no_room(bytes) });
                }
                waits += 1;
            }
            account.wait_past(returns, A_WAIT);
        }
    }

    /// Takes room for a copy, if there is any; else whether there are others that may give
    /// theirs back.
    fn try_room_for_body(&self, bytes: u64) -> std::result::Result<BodyRoom<'_>, bool> {
        let (budget, bodies) = (&self.reading.budget, &self.commit.bodies);
        let mut present = bodies.lock();
        let beside_others = present.count > 0;
        let largest_bytes = present.largest_bytes.max(bytes);
        // What one of them takes in a MemTable, and in the queue before.
        let for_others = match beside_others {
            true => budget.growth(largest_bytes) + largest_bytes.max(budget.queue_max()),
            false => 0,
        };
        budget.account.take(Part::Queue, bytes);
        // Without threads what can be flushed is flushed by the write itself.
        if !self.background.is_inline() && !self.reading.has_room(for_others) {
            budget.account.take_back(Part::Queue, bytes);
            return Err(beside_others);
        }
        *present = Bodies { count: present.count + 1, largest_bytes };
        Ok(BodyRoom { account: &budget.account, bodies, bytes })
    }
}

impl Drop for BodyRoom<'_> {
    fn drop(&mut self) {
        let mut present = self.bodies.lock();
        present.count -= 1;
        if present.count == 0 {
            present.largest_bytes = 0;
        }
        drop(present);
        self.account.give(Part::Queue, self.bytes);
        self.account.tell_of_return();
    }
}
