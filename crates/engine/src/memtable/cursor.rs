//! Walking a MemTable in internal-key order, either way.
//!
//! A cursor copies the entry pointers of one leaf while nobody changes it, and then
//! walks the copy: entries never change. What is inserted behind its back shows from
//! the next leaf on; a reader that must not see it says so by its seqno.

#![allow(unsafe_code)]

use super::MemTable;
use super::entry::Stored;
use super::node::{LeafCopy, NodeRef, SLOTS};
use super::tree::Tree;
use std::sync::Arc;
use tanada_format::{EntryRef, SeqNo};
use tanada_table::{Cursor, Error};

/// How many entries ahead of the walk memory is asked for: about as many as a
/// core can wait for at once.
const PREFETCH_AHEAD: usize = 6;

/// Which versions a cursor shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    All,
    /// Of each key the newest version not newer than this.
    At(SeqNo),
}

/// A cursor over a MemTable, which it keeps alive.
///
/// Invariant: `current` is `slots[pos]` of `copy`, or an older version of it.
/// The `'static` below means "as long as `memtable`", and never leaves this file.
pub(crate) struct MemTableCursor {
    copy: LeafCopy<'static>,
    pos: usize,
    current: Option<Stored<'static>>,
    show: Show,
    /// As [`Cursor::take_newer`].
    newer: bool,
    // Last, so that it is dropped last.
    memtable: Arc<MemTable>,
}

impl MemTableCursor {
    pub(super) fn new(memtable: Arc<MemTable>) -> MemTableCursor {
        MemTableCursor {
            copy: LeafCopy { slots: [None; SLOTS], count: 0, next: None },
            pos: 0,
            current: None,
            show: Show::All,
            newer: false,
            memtable,
        }
    }

    /// Shows of each key only the newest version not newer than `seqno`: one step a
    /// key, however many versions it has. Valid again after the next seek.
    pub(crate) fn visible_at(mut self, seqno: SeqNo) -> MemTableCursor {
        self.show = Show::At(seqno);
        self.current = None;
        self
    }

    /// Of a key, whose newest version this is, what a reader at `seqno` sees.
    #[inline]
    fn seen(&mut self, newest: Stored<'static>, seqno: SeqNo) -> Option<Stored<'static>> {
        self.newer |= newest.seqno() > seqno;
        newest.newest_at(seqno)
    }

    fn tree(&self) -> &'static Tree {
        // SAFETY: the tree lies in the `Arc` that this cursor holds until it is
        // dropped, and nothing with this lifetime is handed out: `entry` shortens it.
        &unsafe { &*Arc::as_ptr(&self.memtable) }.tree
    }

    /// Copies the leaf that `find` finds, and takes the place in it that `place` says.
    fn load(
        &mut self,
        find: impl Fn(&'static Tree) -> (NodeRef<'static>, u32),
        place: impl Fn(NodeRef<'static>) -> usize,
    ) {
        loop {
            let (leaf, version) = find(self.tree());
            self.pos = place(leaf);
            leaf.copy_into(&mut self.copy);
            if leaf.still(version) {
                return;
            }
        }
    }

    /// From the place `pos` on, forward to the first version that shows.
    fn settle_forward(&mut self) {
        loop {
            while self.pos < self.copy.count {
                self.prefetch(self.pos + PREFETCH_AHEAD);
                let newest = self.copy.slots[self.pos].expect("copied below the count");
                self.current = match self.show {
                    Show::All => Some(newest),
                    Show::At(seqno) => self.seen(newest, seqno),
                };
                if self.current.is_some() {
                    return;
                }
                self.pos += 1;
            }
            // The neighbour as it was when this leaf was copied: what has been split
            // off since lies between the two and is newer than the copy.
            let Some(next) = self.copy.next else {
                self.current = None;
                return;
            };
            next.copy_leaf(&mut self.copy);
            self.pos = 0;
            (0..PREFETCH_AHEAD).for_each(|i| self.prefetch(i));
            if let Some(after) = self.copy.next {
                after.prefetch();
            }
        }
    }

    /// From before the place `pos`, back to the first version that shows.
    fn settle_backward(&mut self) {
        loop {
            while self.pos > 0 {
                self.pos -= 1;
                self.prefetch(self.pos.wrapping_sub(PREFETCH_AHEAD));
                let newest = self.copy.slots[self.pos].expect("copied below the count");
                self.current = match self.show {
                    Show::All => Some(newest.oldest()),
                    Show::At(seqno) => self.seen(newest, seqno),
                };
                if self.current.is_some() {
                    return;
                }
            }
            self.current = None;
            let Some(first) = self.copy.slots[0].filter(|_| self.copy.count > 0) else {
                return;
            };
            self.load(|tree| tree.leaf_before(first.key()), |leaf| leaf.search(first.key()).0);
            if self.pos == 0 {
                return;
            }
            (1..=PREFETCH_AHEAD).for_each(|i| self.prefetch(self.pos.wrapping_sub(i)));
        }
    }

    #[inline]
    fn prefetch(&self, i: usize) {
        if i < self.copy.count
            && let Some(stored) = self.copy.slots[i]
        {
            stored.prefetch();
        }
    }
}

impl Cursor for MemTableCursor {
    #[inline]
    fn valid(&self) -> bool {
        self.current.is_some()
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.current.expect("key() of a cursor that stands nowhere").key()
    }

    #[inline]
    fn is_plain(&self) -> bool {
        self.current.expect("is_plain() of a cursor that stands nowhere").is_plain()
    }

    #[inline]
    fn entry(&self) -> EntryRef<'_> {
        self.current.expect("entry() of a cursor that stands nowhere").entry()
    }

    fn take_newer(&mut self) -> bool {
        std::mem::take(&mut self.newer)
    }

    fn seek_first(&mut self) -> Result<(), Error> {
        self.load(Tree::first_leaf, |_| 0);
        self.settle_forward();
        Ok(())
    }

    fn seek_last(&mut self) -> Result<(), Error> {
        self.load(Tree::last_leaf, NodeRef::count);
        self.settle_backward();
        Ok(())
    }

    fn seek(&mut self, key: &[u8], seqno: SeqNo) -> Result<(), Error> {
        self.aim(key, seqno)?;
        self.seek_aimed(key, seqno)
    }

    fn aim(&mut self, key: &[u8], _seqno: SeqNo) -> Result<(), Error> {
        self.current = None;
        self.load(|tree| tree.leaf_for(key), |leaf| leaf.search(key).0);
        (0..PREFETCH_AHEAD).for_each(|i| self.prefetch(self.pos + i));
        Ok(())
    }

    fn seek_aimed(&mut self, key: &[u8], seqno: SeqNo) -> Result<(), Error> {
        let there = self.copy.slots[self.pos.min(SLOTS - 1)];
        if self.pos < self.copy.count
            && let Some(newest) = there.filter(|newest| newest.key() == key)
        {
            self.current = match self.show {
                Show::All => newest.newest_at(seqno),
                Show::At(bound) => self.seen(newest, bound).filter(|v| v.seqno() <= seqno),
            };
            if self.current.is_some() {
                return Ok(());
            }
            self.pos += 1;
        }
        self.settle_forward();
        Ok(())
    }

    fn seek_before(&mut self, key: &[u8]) -> Result<(), Error> {
        self.load(|tree| tree.leaf_before(key), |leaf| leaf.search(key).0);
        self.settle_backward();
        Ok(())
    }

    #[inline]
    fn next(&mut self) -> Result<(), Error> {
        let Some(current) = self.current else { return Ok(()) };
        if self.show == Show::All
            && let Some(older) = current.older()
        {
            self.current = Some(older);
            return Ok(());
        }
        self.pos += 1;
        self.settle_forward();
        Ok(())
    }

    fn prev(&mut self) -> Result<(), Error> {
        let Some(current) = self.current else { return Ok(()) };
        if self.show == Show::All {
            let newest = self.copy.slots[self.pos].expect("the cursor stands there");
            if let Some(newer) = newest.oldest_above(current.seqno()) {
                self.current = Some(newer);
                return Ok(());
            }
        }
        self.settle_backward();
        Ok(())
    }
}
