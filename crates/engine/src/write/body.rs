//! Room for the bytes in which a put of a long value goes to the log: a copy that the
//! engine makes, so it is in the account before it is made.
//!
//! Whoever has made one goes on to what it takes in a MemTable: beside the first, others
//! leave room for that. Else none of them could go on, and they would be refused.
//!
//! The value that the caller holds until the put is done is the program's own, and so is a
//! batch that a program fills, until it is taken over. The caches make room for the former.

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
        let counted = self.count_the_callers(bytes, for_others);
        budget.account.take(Part::Queue, bytes);
        // Without threads what can be flushed is flushed by the write itself.
        if !self.background.is_inline() && !self.reading.has_room(for_others) {
            budget.account.take_back(Part::Queue, bytes + counted);
            return Err(beside_others);
        }
        *present = Bodies { count: present.count + 1, largest_bytes };
        Ok(BodyRoom { account: &budget.account, bodies, bytes: bytes + counted })
    }

    /// Counts the value that the caller holds meanwhile, where the caches can make room for
    /// that, for its copy and for what it takes in a MemTable: it is no memory of the
    /// engine's, so no put is refused for its sake. Answers what was counted.
    fn count_the_callers(&self, bytes: u64, for_others: u64) -> u64 {
        let budget = &self.reading.budget;
        let beside = bytes + for_others.max(budget.growth(bytes));
        budget.account.take(Part::Queue, bytes);
        if !self.background.is_inline() && self.reading.has_room(beside) {
            return bytes;
        }
        budget.account.take_back(Part::Queue, bytes);
        0
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    /// With six values of 50 MB and 384 MiB, 460 MiB were resident: the caches kept what the
    /// caller's value took.
    #[test]
    fn the_callers_value_is_counted_where_the_caches_can_make_room_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::builder(dir.path()).memory(64 << 20).open().unwrap();
        let core = db.default_keyspace().core();
        let queued = || core.reading.budget.account.of(Part::Queue);
        let value = 4 << 20;
        let room = core.room_for_body(value).unwrap();
        assert_eq!(queued(), 8 << 20);
        drop(room);
        assert_eq!(queued(), 0);
        // Where there is little room, nothing is refused for its sake.
        let budget = &core.reading.budget;
        let growth = budget.growth(value as u64);
        let free = budget.total - budget.taken() - budget.caches_floor();
        let rest = free - growth - 6 * (1 << 20);
        budget.account.take(Part::Claims, rest);
        let room = core.room_for_body(value).unwrap();
        assert_eq!(queued(), 4 << 20);
        drop(room);
        budget.account.give(Part::Claims, rest);
        assert_eq!(queued(), 0);
    }
}
