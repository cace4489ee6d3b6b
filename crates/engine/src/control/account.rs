//! What is taken of the memory budget, by who takes it.
//!
//! Memory is counted where it is taken and where it is given back, not where somebody
//! means to take it: a MemTable by its arena's chunks, for as long as anybody holds it.
//! The caches count for themselves. Knows nothing of shares and limits
//! ([`super::budget`]).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tanada_vfs::sync::atomic::AtomicU64;
use tanada_vfs::sync::{Condvar, Mutex};

/// Who takes memory outside of the caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Arenas and filters of all MemTables that are alive: filled, sealed, or only
    /// held by a reader.
    MemTables,
    /// Chunks of MemTables that are gone, kept for the next ones.
    Pool,
    /// Cursors and iterators: their fixed part and the entries they copied.
    Readers,
    /// Batches that wait behind a commit group.
    Queue,
    /// What the program that embeds the database has claimed.
    Claims,
    /// What the trees of all keyspaces keep of each table, opened or not.
    Trees,
}

impl Part {
    const COUNT: usize = 6;
}

/// The account of one database. Relaxed throughout: sums that order nothing; who waits
/// for memory does so under `gate`.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Account {
    parts: [AtomicU64; Part::COUNT],
    /// The sum of all parts.
    taken: AtomicU64,
    /// Bumped at each return of a MemTable, a claim or the copy of a long value.
    returns: AtomicU64,
    /// Threads that wait for such a return.
    waiting: AtomicU64,
    /// Held to wait, and to wake who waits; nothing is locked under it.
    gate: Mutex<()>,
    returned: Condvar,
}

impl Account {
    pub(crate) fn new() -> Arc<Account> {
        Arc::new(Account {
            parts: Default::default(),
            taken: AtomicU64::new(0),
            returns: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            gate: Mutex::new(()),
            returned: Condvar::new(),
        })
    }

    /// Notes that `part` takes `bytes` more.
    #[inline]
    pub(crate) fn take(&self, part: Part, bytes: u64) {
        self.parts[part as usize].fetch_add(bytes, Ordering::Relaxed);
        self.taken.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that `part` has given `bytes` back.
    #[inline]
    pub(crate) fn give(&self, part: Part, bytes: u64) {
        self.take_back(part, bytes);
        if matches!(part, Part::MemTables | Part::Claims) {
            self.tell_of_return();
        }
    }

    /// Undoes a [`Account::take`] behind which there was no room: nobody waits for that.
    pub(crate) fn take_back(&self, part: Part, bytes: u64) {
        self.parts[part as usize].fetch_sub(bytes, Ordering::Relaxed);
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Notes that `bytes` belong to `to` from now on, no longer to `from`.
    pub(crate) fn pass_on(&self, from: Part, to: Part, bytes: u64) {
        self.parts[to as usize].fetch_add(bytes, Ordering::Relaxed);
        self.parts[from as usize].fetch_sub(bytes, Ordering::Relaxed);
        if from == Part::MemTables {
            self.tell_of_return();
        }
    }

    /// What `part` takes now.
    pub(crate) fn of(&self, part: Part) -> u64 {
        self.parts[part as usize].load(Ordering::Relaxed)
    }

    /// What all parts take.
    #[inline]
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// How often a MemTable, a claim or the copy of a long value has been given back.
    pub(crate) fn returns(&self) -> u64 {
        self.returns.load(Ordering::SeqCst)
    }

    /// Wakes those who wait for memory.
    /// SeqCst with [`Account::wait_past`]: either the one that waits sees the return,
    /// or this sees that somebody waits.
    #[cold]
    pub(crate) fn tell_of_return(&self) {
        self.returns.fetch_add(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) != 0 {
            drop(self.gate.lock());
            self.returned.notify_all();
        }
    }

    /// Waits until more has been given back than when `returns` was read, at most
    /// `longest`.
    pub(crate) fn wait_past(&self, returns: u64, longest: Duration) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut gate = self.gate.lock();
        if self.returns() == returns {
            self.returned.wait_for(&mut gate, longest);
        }
        drop(gate);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_follows_every_part_and_what_changes_hands_is_counted_once() {
        let account = Account::new();
        account.take(Part::MemTables, 100);
        account.take(Part::Claims, 30);
        account.pass_on(Part::MemTables, Part::Pool, 60);
        assert_eq!((account.of(Part::MemTables), account.of(Part::Pool)), (40, 60));
        assert_eq!(account.taken(), 130);
        account.give(Part::Pool, 60);
        account.give(Part::Claims, 30);
        assert_eq!(account.taken(), 40);
    }

    #[test]
    fn who_waits_for_memory_that_has_been_given_back_meanwhile_does_not_wait() {
        let account = Account::new();
        account.take(Part::Claims, 1);
        let returns = account.returns();
        account.give(Part::Claims, 1);
        let (clock, long) = (tanada_vfs::Env::real().clock, Duration::from_secs(20));
        let began_ns = clock.monotonic_ns();
        account.wait_past(returns, long);
        let waited = Duration::from_nanos(clock.monotonic_ns() - began_ns);
        assert!(waited < long, "it waited {waited:?} for what had come");
    }
}
