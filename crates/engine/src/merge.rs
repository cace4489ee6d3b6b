//! Several sorted sources walked as one.
//!
//! [`MergeCursor`] is a loser tree over cursors it owns (Knuth, *The Art of
//! Computer Programming* 3, §5.4.1): after one source has moved, only the
//! matches on its path to the root are played again, one comparison a level,
//! half of what a binary heap needs. Each match compares the first
//! [`HEAD_BYTES`] bytes of the keys as one integer that lies in the tree
//! itself, and touches the sources only when those are equal.
//!
//! Scans and compaction both walk through it. It knows nothing of versions,
//! tombstones or snapshots: every entry of every source comes out, in order.

use std::cmp::Ordering;
use tanada_format::EntryRef;
use tanada_format::{SeqNo, compare_internal};
use tanada_table::{Cursor, Error};

/// Bytes of a key that lie in the tree. Sixteen rather than eight: keys that
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
/// 4. no two sources hold the same key with the same seqno.
///
/// An error of any source ends the walk: the cursor is invalid, and every step
/// answers the same error until the next seek. An end that comes without an
/// error is therefore the end.
#[derive(Debug)]
pub(crate) struct MergeCursor<C> {
    sources: Vec<C>,
    tree: Vec<Player>,
    direction: Direction,
    failed: Option<Error>,
    /// The current key while the direction is being turned.
    turning_key: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

/// One source's place in the tournament: smaller heads win.
#[derive(Clone, Copy, Debug)]
struct Player {
    /// The key's first bytes, big-endian, zero-padded; inverted when walking
    /// backward. All ones without an entry.
    head: u128,
    source: u32,
    /// Whether the source stands on an entry.
    live: bool,
}

impl Player {
    /// A place where no match has been played yet.
    const NOBODY: Player = Player { head: u128::MAX, source: u32::MAX, live: false };
}

/// The first bytes of `key` as an integer that sorts like them.
#[inline]
fn head_of(key: &[u8]) -> u128 {
    if let Some(head) = key.first_chunk::<HEAD_BYTES>() {
        return u128::from_be_bytes(*head);
    }
    let mut head = [0; HEAD_BYTES];
    head[..key.len()].copy_from_slice(key);
    u128::from_be_bytes(head)
}

impl<C: Cursor> MergeCursor<C> {
    /// A merge of `sources`, which stands nowhere until the first seek.
    ///
    /// When an invariant is broken elsewhere and two sources hold the same
    /// version of a key, the one named first comes out first.
    pub(crate) fn new(sources: Vec<C>) -> MergeCursor<C> {
        let tree = vec![Player::NOBODY; sources.len().max(1)];
        MergeCursor {
            sources,
            tree,
            direction: Direction::Forward,
            failed: None,
            turning_key: Vec::new(),
        }
    }

    /// The source that holds the current entry. Panics when not valid.
    fn winner(&self) -> usize {
        debug_assert!(self.tree[0].live);
        self.tree[0].source as usize
    }

    fn player<const FORWARD: bool>(&self, source: usize) -> Player {
        let cursor = &self.sources[source];
        let live = cursor.valid();
        let head = match live {
            true if FORWARD => head_of(cursor.entry().key),
            true => !head_of(cursor.entry().key),
            false => u128::MAX,
        };
        Player { head, source: source as u32, live }
    }

    /// Whether `a` comes out before `b`.
    #[inline]
    fn beats<const FORWARD: bool>(&self, a: &Player, b: &Player) -> bool {
        if a.head != b.head {
            return a.head < b.head;
        }
        self.beats_with_equal_heads::<FORWARD>(a, b)
    }

    #[inline(never)]
    fn beats_with_equal_heads<const FORWARD: bool>(&self, a: &Player, b: &Player) -> bool {
        if !(a.live && b.live) {
            return a.live;
        }
        let left = self.sources[a.source as usize].entry();
        let right = self.sources[b.source as usize].entry();
        match compare_internal((left.key, left.seqno), (right.key, right.seqno)) {
            Ordering::Less => FORWARD,
            Ordering::Greater => !FORWARD,
            Ordering::Equal => {
                debug_assert!(false, "two sources hold version {} of one key", left.seqno);
                a.source < b.source
            }
        }
    }

    /// Plays all matches, each source from wherever it stands.
    fn rebuild<const FORWARD: bool>(&mut self) {
        self.direction = if FORWARD { Direction::Forward } else { Direction::Backward };
        self.tree.fill(Player::NOBODY);
        let sources = self.sources.len();
        'sources: for source in 0..sources {
            let mut climber = self.player::<FORWARD>(source);
            let mut place = (source + sources) / 2;
            while place > 0 {
                if self.tree[place].source == Player::NOBODY.source {
                    // The other side's winner has yet to come here.
                    self.tree[place] = climber;
                    continue 'sources;
                }
                if self.beats::<FORWARD>(&self.tree[place], &climber) {
                    std::mem::swap(&mut self.tree[place], &mut climber);
                }
                place /= 2;
            }
            self.tree[0] = climber;
        }
    }

    /// Plays again the matches of the source that won last and has moved since.
    #[inline]
    fn replay<const FORWARD: bool>(&mut self, source: usize) {
        let mut climber = self.player::<FORWARD>(source);
        let mut place = (source + self.sources.len()) / 2;
        while place > 0 {
            let holder = self.tree[place];
            if self.beats::<FORWARD>(&holder, &climber) {
                self.tree[place] = climber;
                climber = holder;
            }
            place /= 2;
        }
        self.tree[0] = climber;
    }

    /// Moves every source by `place_source` and plays all matches.
    fn seek_all<const FORWARD: bool>(
        &mut self,
        mut place_source: impl FnMut(&mut C) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.failed = None;
        self.tree[0] = Player::NOBODY;
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
        self.tree[0] = Player::NOBODY;
        self.failed = Some(e.clone());
        Err(e)
    }

    /// What a step answers when there is no entry to step from.
    #[cold]
    fn step_from_nowhere(&self) -> Result<(), Error> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Brings all sources but the current one to the other side of the current entry.
    ///
    /// A MemTable may have grown since its cursor was placed, so a neighbour of
    /// where a source stands need not be on the right side yet: hence the loops.
    #[cold]
    fn turn(&mut self, to: Direction) -> Result<(), Error> {
        let current = self.winner();
        let mut key = std::mem::take(&mut self.turning_key);
        let entry = self.sources[current].entry();
        key.clear();
        key.extend_from_slice(entry.key);
        let seqno = entry.seqno;
        let outcome = self
            .sources
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| *i != current)
            .try_for_each(|(_, source)| cross(source, (&key, seqno), to));
        self.turning_key = key;
        self.direction = to;
        outcome.or_else(|e| self.fail(e))
    }
}

/// Moves `source` to its nearest entry on the far side of `from`.
fn cross<C: Cursor>(source: &mut C, from: (&[u8], SeqNo), to: Direction) -> Result<(), Error> {
    let on_far_side = |source: &C| {
        let entry = source.entry();
        let order = compare_internal((entry.key, entry.seqno), from);
        order == if to == Direction::Forward { Ordering::Greater } else { Ordering::Less }
    };
    if !source.valid() {
        source.seek(from.0, from.1)?;
        if to == Direction::Backward && !source.valid() {
            source.seek_last()?;
        }
    }
    while source.valid() && !on_far_side(source) {
        match to {
            Direction::Forward => source.next()?,
            Direction::Backward => source.prev()?,
        }
    }
    Ok(())
}

impl<C: Cursor> Cursor for MergeCursor<C> {
    #[inline]
    fn valid(&self) -> bool {
        self.tree[0].live
    }

    #[inline]
    fn entry(&self) -> EntryRef<'_> {
        self.sources[self.winner()].entry()
    }

    fn seek_first(&mut self) -> Result<(), Error> {
        self.seek_all::<true>(C::seek_first)
    }

    fn seek_last(&mut self) -> Result<(), Error> {
        self.seek_all::<false>(C::seek_last)
    }

    fn seek(&mut self, key: &[u8], seqno: SeqNo) -> Result<(), Error> {
        self.seek_all::<true>(|source| source.seek(key, seqno))
    }

    fn seek_before(&mut self, key: &[u8]) -> Result<(), Error> {
        self.seek_all::<false>(|source| source.seek_before(key))
    }

    #[inline]
    fn next(&mut self) -> Result<(), Error> {
        if !self.valid() {
            return self.step_from_nowhere();
        }
        let current = self.winner();
        let turned = self.direction != Direction::Forward;
        if turned {
            self.turn(Direction::Forward)?;
        }
        if let Err(e) = self.sources[current].next() {
            return self.fail(e);
        }
        if turned {
            self.rebuild::<true>();
        } else if self.sources.len() == 1 {
            // Nobody to play against: no head is needed.
            self.tree[0].live = self.sources[0].valid();
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
        let current = self.winner();
        let turned = self.direction != Direction::Backward;
        if turned {
            self.turn(Direction::Backward)?;
        }
        if let Err(e) = self.sources[current].prev() {
            return self.fail(e);
        }
        if turned {
            self.rebuild::<false>();
        } else if self.sources.len() == 1 {
            self.tree[0].live = self.sources[0].valid();
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
