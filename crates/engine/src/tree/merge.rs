//! Several sorted sources walked as one.
//!
//! [`MergeCursor`] is a loser tree over cursors it owns (Knuth, *The Art of
//! Computer Programming* 3, §5.4.1): after one source has moved, only the
//! matches on its path to the root are played again, one comparison a level,
//! half of what a binary heap needs. Each match compares the first
//! [`HEAD_BYTES`] bytes of the keys as one integer each, without a branch that
//! could be guessed wrongly, and touches the sources only when those are equal.
//! While one source stays ahead, its heads are compared with the runner-up's
//! alone.
//!
//! Scans and compaction both walk through it. It knows nothing of versions,
//! tombstones or snapshots: every entry of every source comes out, in order.

use std::cmp::Ordering;
use std::hint::select_unpredictable;
use tanada_format::EntryRef;
use tanada_format::{SeqNo, compare_internal, planted};
use tanada_table::{Cursor, Error};

/// Bytes of a key that are compared as a number. Sixteen rather than eight: keys that
/// begin with a name or with zeros (`user:0000…`) differ late, and comparing
/// two words costs one instruction more than comparing one.
const HEAD_BYTES: usize = 16;

/// A merge of sorted cursors.
///
/// Invariants, while it stands on an entry:
/// 1. `tree[0]` names the source whose entry comes out;
/// 2. walking forward, every other source stands on its first entry behind
///    that one, or behind its end; walking backward, on its last entry before
///    it, or before its start;
/// 3. `tree[1..]` holds the loser of each match, the source `i` entering at
///    place `(i + sources) / 2` and climbing by halves;
/// 4. no two sources hold the same key with the same seqno;
/// 5. `heads[i]` is the head of the key that source `i` stands on, inverted
///    when walking backward, so that smaller heads win; all ones where it
///    stands on none. Of a single source no head is kept.
///
/// It is turned by a seek alone: [`MergeCursor::prev`] behind a seek that walks
/// forward, or [`MergeCursor::next`] behind one that walks backward, would leave the
/// other sources on the wrong side, and panics. Whoever turns round knows the key that
/// it stands on, and passes over its other versions anyhow.
///
/// An error of any source ends the walk: the cursor is invalid, and every step
/// answers the same error until the next seek. An end that comes without an
/// error is therefore the end.
#[derive(Debug)]
pub(crate) struct MergeCursor<C> {
    sources: Vec<C>,
    heads: Vec<u128>,
    tree: Vec<u32>,
    /// Whether the source named first stands on an entry.
    live: bool,
    /// The least head of the other sources: what the winner's must stay below
    /// to win again.
    runner_up: u128,
    direction: Direction,
    failed: Option<Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

/// A place where no match has been played yet.
const NOBODY: u32 = u32::MAX;

/// The first bytes of `key` as an integer that sorts like them.
#[inline]
fn head_of(key: &[u8]) -> u128 {
    if let Some(head) = key.first_chunk::<HEAD_BYTES>() {
        return u128::from_be_bytes(*head);
    }
    short_head_of(key)
}

/// The same for a short key. Byte by byte: a copy of unknown length is a call,
/// and its result is read before it has left the store buffer.
#[inline(never)]
fn short_head_of(key: &[u8]) -> u128 {
    key.iter().enumerate().fold(0, |head, (i, &b)| head | u128::from(b) << (120 - 8 * i))
}

impl<C: Cursor> MergeCursor<C> {
    /// A merge of `sources`, which stands nowhere until the first seek.
    ///
    /// When an invariant is broken elsewhere and two sources hold the same
    /// version of a key, the one named first comes out first.
    pub(crate) fn new(sources: Vec<C>) -> MergeCursor<C> {
        let tree = vec![NOBODY; sources.len().max(1)];
        MergeCursor {
            heads: vec![u128::MAX; sources.len()],
            sources,
            tree,
            live: false,
            runner_up: 0,
            direction: Direction::Forward,
            failed: None,
        }
    }

    /// How many sources it merges.
    pub(crate) fn sources(&self) -> usize {
        self.sources.len()
    }

    /// The source that holds the current entry. Panics when not valid.
    #[inline]
    pub(crate) fn winner(&self) -> usize {
        debug_assert!(self.live);
        self.tree[0] as usize
    }

    /// Whether another source may stand on the current key: none does whose
    /// key begins otherwise. Walking forward only.
    #[inline]
    pub(crate) fn may_come_again(&self) -> bool {
        debug_assert!(self.direction == Direction::Forward);
        self.sources.len() > 1 && self.heads[self.winner()] == self.runner_up
    }

    /// The source that holds the current entry.
    pub(crate) fn source(&self) -> &C {
        &self.sources[self.winner()]
    }

    #[inline]
    fn head<const FORWARD: bool>(&self, source: usize) -> u128 {
        let cursor = &self.sources[source];
        match cursor.valid() {
            true if FORWARD => head_of(cursor.key()),
            true => !head_of(cursor.key()),
            false => u128::MAX,
        }
    }

    /// Whether source `a` comes out before `b`, when their heads are equal.
    #[cold]
    #[inline(never)]
    fn beats_with_equal_heads<const FORWARD: bool>(&self, a: u32, b: u32) -> bool {
        let (left, right) = (&self.sources[a as usize], &self.sources[b as usize]);
        if !(left.valid() && right.valid()) {
            return left.valid();
        }
        let (left, right) = (left.bare_entry(), right.bare_entry());
        let order = match planted!(merge_heads_taken_for_keys) {
            true => right.seqno.cmp(&left.seqno),
            false => compare_internal((left.key, left.seqno), (right.key, right.seqno)),
        };
        match order {
            Ordering::Less => FORWARD,
            Ordering::Greater => !FORWARD,
            Ordering::Equal => {
                debug_assert!(false, "two sources hold version {} of one key", left.seqno);
                a < b
            }
        }
    }

    /// Plays all matches, each source from wherever it stands.
    fn rebuild<const FORWARD: bool>(&mut self) {
        self.direction = if FORWARD { Direction::Forward } else { Direction::Backward };
        self.tree.fill(NOBODY);
        let sources = self.sources.len();
        for source in 0..sources {
            self.heads[source] = self.head::<FORWARD>(source);
        }
        'sources: for source in 0..sources {
            let mut climber = source as u32;
            let mut place = (source + sources) / 2;
            while place > 0 {
                let holder = self.tree[place];
                if holder == NOBODY {
                    // The other side's winner has yet to come here.
                    self.tree[place] = climber;
                    continue 'sources;
                }
                let (theirs, ours) = (self.heads[holder as usize], self.heads[climber as usize]);
                let beaten = match theirs == ours {
                    true => self.beats_with_equal_heads::<FORWARD>(holder, climber),
                    false => theirs < ours,
                };
                if beaten {
                    std::mem::swap(&mut self.tree[place], &mut climber);
                }
                place /= 2;
            }
            self.tree[0] = climber;
        }
        if self.sources.len() > 1 {
            self.runner_up = self.find_runner_up();
        }
        self.live = self.sources.get(self.tree[0] as usize).is_some_and(C::valid);
    }

    /// Plays again the matches of the source that won last and has moved since.
    #[inline]
    fn replay<const FORWARD: bool>(&mut self, source: usize) {
        let mut head = self.head::<FORWARD>(source);
        self.heads[source] = head;
        if head < self.runner_up {
            return; // nobody is between
        }
        let mut climber = source as u32;
        let mut place = (source + self.sources.len()) / 2;
        while place > 0 {
            let holder = self.tree[place];
            let theirs = self.heads[holder as usize];
            let beaten = match theirs == head {
                true => self.beats_with_equal_heads::<FORWARD>(holder, climber),
                false => theirs < head,
            };
            // Which source is next is a toss-up: a branch would be guessed
            // wrongly every other time.
            self.tree[place] = select_unpredictable(beaten, climber, holder);
            climber = select_unpredictable(beaten, holder, climber);
            head = select_unpredictable(beaten, theirs, head);
            place /= 2;
        }
        self.tree[0] = climber;
        self.runner_up = self.find_runner_up();
        // All ones is the head of those at their end, and of keys of ones.
        self.live = head != u128::MAX || self.sources[climber as usize].valid();
    }

    /// The least head of the others: the runner-up lost to the winner itself.
    #[inline]
    fn find_runner_up(&self) -> u128 {
        let mut least = u128::MAX;
        let mut place = (self.tree[0] as usize + self.sources.len()) / 2;
        while place > 0 {
            least = least.min(self.heads[self.tree[place] as usize]);
            place /= 2;
        }
        least
    }

    /// Moves every source by `place_source` and plays all matches.
    fn seek_all<const FORWARD: bool>(
        &mut self,
        mut place_source: impl FnMut(&mut C) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.failed = None;
        self.live = false;
        for source in &mut self.sources {
            if let Err(e) = place_source(source) {
                return self.fail(e);
            }
        }
        self.rebuild::<FORWARD>();
        Ok(())
    }

    /// Ends the walk: nothing more comes out before the next seek.
    #[cold]
    fn fail(&mut self, e: Error) -> Result<(), Error> {
        self.live = false;
        if planted!(iterator_swallows_error) {
            return Ok(());
        }
        self.failed = Some(e.clone());
        Err(e)
    }

    /// What a step answers when there is no entry to step from.
    #[cold]
    fn step_from_nowhere(&self) -> Result<(), Error> {
        self.failed.clone().map_or(Ok(()), Err)
    }
}

impl<C: Cursor> Cursor for MergeCursor<C> {
    #[inline]
    fn valid(&self) -> bool {
        self.live
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.sources[self.winner()].key()
    }

    #[inline]
    fn is_plain(&self) -> bool {
        self.sources[self.winner()].is_plain()
    }

    #[inline]
    fn entry(&self) -> EntryRef<'_> {
        self.sources[self.winner()].entry()
    }

    #[inline]
    fn bare_entry(&self) -> EntryRef<'_> {
        self.sources[self.winner()].bare_entry()
    }

    #[inline]
    fn load(&mut self) -> Result<(), Error> {
        let winner = self.winner();
        match self.sources[winner].load() {
            Ok(()) => Ok(()),
            Err(e) => self.fail(e),
        }
    }

    fn take_newer(&mut self) -> bool {
        // Each is asked: what it says is forgotten.
        self.sources.iter_mut().fold(false, |newer, source| newer | source.take_newer())
    }

    fn seek_first(&mut self) -> Result<(), Error> {
        self.seek_all::<true>(C::seek_first)
    }

    fn seek_last(&mut self) -> Result<(), Error> {
        self.seek_all::<false>(C::seek_last)
    }

    fn seek(&mut self, key: &[u8], seqno: SeqNo) -> Result<(), Error> {
        for source in &mut self.sources {
            if let Err(e) = source.aim(key, seqno) {
                return self.fail(e);
            }
        }
        self.seek_all::<true>(|source| source.seek_aimed(key, seqno))
    }

    fn seek_before(&mut self, key: &[u8]) -> Result<(), Error> {
        self.seek_all::<false>(|source| source.seek_before(key))
    }

    #[inline]
    fn next(&mut self) -> Result<(), Error> {
        if !self.valid() {
            return self.step_from_nowhere();
        }
        assert_eq!(self.direction, Direction::Forward, "a merge is turned by a seek");
        let current = self.winner();
        if let Err(e) = self.sources[current].next() {
            return self.fail(e);
        }
        if self.sources.len() == 1 {
            // Nobody to play against: no head is needed.
            self.live = self.sources[0].valid();
        } else {
            self.replay::<true>(current);
        }
        Ok(())
    }

    #[inline]
    fn prev(&mut self) -> Result<(), Error> {
        if !self.valid() {
            return self.step_from_nowhere();
        }
        assert_eq!(self.direction, Direction::Backward, "a merge is turned by a seek");
        let current = self.winner();
        if let Err(e) = self.sources[current].prev() {
            return self.fail(e);
        }
        if self.sources.len() == 1 {
            self.live = self.sources[0].valid();
        } else {
            self.replay::<false>(current);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod vec_cursor;
