//! One node of the tree, read without locks while the one writer changes it.
//!
//! A node holds up to [`SLOTS`] entries in key order. The bytes that all its keys
//! begin with are kept once (the prefix); of each key the 8 bytes behind the
//! prefix lie side by side as big-endian numbers (the heads), so that a search
//! compares numbers in a few cache lines and follows a pointer only for the entry
//! it looks for. Where heads are equal, whole keys decide.
//!
//! Inner nodes are the same with children beside the entries: the entry in slot
//! `i` is the first of child `i + 1` as it was when that child was split off, and
//! the prefix is that of the separators only: a key that does not have it belongs
//! before or behind all of them.
//!
//! Reading is by sequence lock, one for each node: take the version (even: no
//! writer), read, and believe what was read only if the version is the same
//! afterwards. Every field that changes is an atomic. Between the two looks at the
//! version all loads are `Relaxed`, apart from those of pointers, which are
//! `Acquire` and pair with the writer's `Release` stores: thus a pointer may be
//! followed before the version is checked, and leads to a written entry or node
//! even when it is no longer, or not yet, the right one.
//! (Boehm, "Can seqlocks get along with programming language memory models?", MSPC
//! 2012; Leis et al., "The ART of practical synchronization", DaMoN 2016.)

#![allow(unsafe_code)]

use super::arena::Arena;
use super::entry::Stored;
use super::prefetch::prefetch_lines;
use std::cmp::Ordering;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use tanada_format::planted;
use tanada_vfs::atomics;
use tanada_vfs::sync::lock_free::{self, AtomicPtr, AtomicU32, AtomicU64, fence};

/// Entries in a node: a power of two, because [`NodeRef::heads_below`] halves.
/// docs/decisions/0001-memtable.md has the figures for 16, 32 and 64. Two for loom,
/// which tries every order of the loads and stores.
pub(super) const SLOTS: usize = if cfg!(loom) { 2 } else { 64 };
/// Prefix bytes kept in the node itself; more are read from an entry.
const INLINE_PREFIX: usize = 32;
/// The prefix is lengthened once so many bytes of the heads say nothing …
const PREFIX_GAIN: usize = 4;
/// … but so many bytes less than it could be, so that a key which differs from its
/// neighbours a little earlier does not force all heads to be made anew.
const PREFIX_RESERVE: usize = 2;

/// Invariants, whenever `version` is even:
/// 1. `slots[..count]` are entries in ascending order of distinct keys;
/// 2. all of these keys begin with the same `skip` bytes: those of the key of
///    `prefix_of`, and, as far as they fit, of `prefix`;
/// 3. `heads[i]` is the head behind `skip` bytes of slot `i`'s key, and `u64::MAX`
///    for `i >= count`;
/// 4. with `level > 0` the node is an [`Inner`] with children in `0..=count`.
#[repr(C, align(64))]
struct Node {
    version: AtomicU32,
    count: AtomicU32,
    skip: AtomicU32,
    level: u32,
    next: AtomicPtr<Node>,
    prefix_of: AtomicPtr<u8>,
    prefix: [AtomicU64; INLINE_PREFIX / 8],
    heads: [AtomicU64; SLOTS],
    slots: [AtomicPtr<u8>; SLOTS],
}

#[repr(C)]
struct Inner {
    node: Node,
    children: [AtomicPtr<Node>; SLOTS + 1],
}

/// Bytes of a leaf, and of any other node.
pub(super) const LEAF_BYTES: usize = size_of::<Node>();
pub(super) const INNER_BYTES: usize = size_of::<Inner>();

/// A node in an arena that lives for `'a`.
///
/// Invariant: points to a node made by [`NodeRef::new`] in such an arena, and an
/// `Inner` if its level is not 0.
#[derive(Clone, Copy)]
pub(super) struct NodeRef<'a> {
    at: NonNull<Node>,
    arena: PhantomData<&'a Arena>,
}

// SAFETY: all that changes behind the pointer are atomics.
unsafe impl Send for NodeRef<'_> {}
// SAFETY: as above.
unsafe impl Sync for NodeRef<'_> {}

impl PartialEq for NodeRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

/// A pointer to a node that can change under readers: the root, or a neighbour.
pub(super) struct NodeCell(AtomicPtr<Node>);

impl NodeCell {
    pub(super) fn new(node: NodeRef<'_>) -> NodeCell {
        NodeCell(AtomicPtr::new(node.at.as_ptr()))
    }

    /// # Safety
    /// The arena of every node ever stored here outlives `'a`.
    #[inline]
    pub(super) unsafe fn load<'a>(&self) -> NodeRef<'a> {
        let at = NonNull::new(self.0.load(Acquire)).expect("made from a node");
        NodeRef { at, arena: PhantomData }
    }

    pub(super) fn store(&self, node: NodeRef<'_>) {
        self.0.store(node.at.as_ptr(), Release);
    }
}

/// What a reader saw of a leaf in one piece.
pub(super) struct LeafCopy<'a> {
    pub(super) slots: [Option<Stored<'a>>; SLOTS],
    pub(super) count: usize,
    pub(super) next: Option<NodeRef<'a>>,
}

impl<'a> NodeRef<'a> {
    /// An empty node at `level` (0: a leaf), known to no reader yet.
    pub(super) fn new(arena: &mut Arena, level: u32) -> NodeRef<'a> {
        let size = if level == 0 { size_of::<Node>() } else { size_of::<Inner>() };
        let at = arena.alloc(size, align_of::<Node>()).cast::<Node>();
        let node = Node {
            version: AtomicU32::new(0),
            count: AtomicU32::new(0),
            skip: AtomicU32::new(0),
            level,
            next: AtomicPtr::new(ptr::null_mut()),
            prefix_of: AtomicPtr::new(ptr::null_mut()),
            prefix: atomics![AtomicU64::new(0); INLINE_PREFIX / 8],
            heads: atomics![AtomicU64::new(u64::MAX); SLOTS],
            slots: atomics![AtomicPtr::new(ptr::null_mut()); SLOTS],
        };
        // SAFETY: `size` bytes, aligned as a node, are ours alone.
        unsafe {
            at.write(node);
            if level > 0 {
                let children = &raw mut (*at.cast::<Inner>().as_ptr()).children;
                children.write(atomics![AtomicPtr::new(ptr::null_mut()); SLOTS + 1]);
            }
        }
        NodeRef { at, arena: PhantomData }
    }

    #[inline]
    fn node(self) -> &'a Node {
        // SAFETY: a node lies there for `'a` (invariant), changed through atomics only.
        unsafe { self.at.as_ref() }
    }

    #[inline]
    fn children(self) -> &'a [AtomicPtr<Node>; SLOTS + 1] {
        assert!(self.level() > 0);
        // SAFETY: a node of this level is an `Inner`; the pointer was made for all of it.
        unsafe { &self.at.cast::<Inner>().as_ref().children }
    }

    /// 0 for a leaf.
    #[inline]
    pub(super) fn level(self) -> u32 {
        self.node().level
    }

    /// How many entries it holds; never more than [`SLOTS`], even when torn.
    #[inline]
    pub(super) fn count(self) -> usize {
        (self.node().count.load(Relaxed) as usize).min(SLOTS)
    }

    /// The entry in a slot; `None` if there never was one.
    #[inline]
    pub(super) fn slot(self, i: usize) -> Option<Stored<'a>> {
        // SAFETY: slots hold null or entries of the same arena, stored with Release
        // after they were written; loaded with Acquire.
        unsafe { Stored::from_ptr(self.node().slots[i].load(Acquire)) }
    }

    /// A child; `None` if there never was one in that place.
    #[inline]
    pub(super) fn child(self, i: usize) -> Option<NodeRef<'a>> {
        NonNull::new(self.children()[i].load(Acquire)).map(|at| NodeRef { at, arena: PhantomData })
    }

    fn next(self) -> Option<NodeRef<'a>> {
        NonNull::new(self.node().next.load(Acquire)).map(|at| NodeRef { at, arena: PhantomData })
    }

    // ---- The sequence lock.

    /// The version to check against later; waits while the writer is inside.
    #[inline]
    pub(super) fn begin_read(self) -> u32 {
        let mut turns = 0u32;
        loop {
            let version = self.node().version.load(Acquire);
            if version & 1 == 0 {
                return version;
            }
            turns += 1;
            if turns < 200 {
                lock_free::spin_loop();
            } else {
                // The writer was scheduled away in the middle of a few hundred
                // stores. Rare, but spinning could last a whole time slice.
                lock_free::yield_now();
            }
        }
    }

    /// Whether all that was read since `begin_read` belongs together.
    #[inline]
    pub(super) fn still(self, version: u32) -> bool {
        // Pairs with the fence of `lock`: who saw any of the writer's stores sees
        // its odd version, too.
        fence(Acquire);
        self.node().version.load(Relaxed) == version
    }

    /// Writer only: turns readers away until `unlock`.
    pub(super) fn lock(self) {
        let version = self.node().version.load(Relaxed);
        debug_assert!(version & 1 == 0);
        self.node().version.store(version.wrapping_add(1), Relaxed);
        fence(Release);
    }

    /// Writer only.
    pub(super) fn unlock(self) {
        let version = self.node().version.load(Relaxed);
        debug_assert!(version & 1 == 1);
        self.node().version.store(version.wrapping_add(1), Release);
    }

    // ---- Searching. What is found is true only if the version stands.

    /// How many entries have a key `< key`, and whether the next one has `key`.
    #[inline]
    pub(super) fn search(self, key: &[u8]) -> (usize, bool) {
        let skip = self.node().skip.load(Relaxed) as usize;
        if skip > 0 {
            match self.compare_prefix(key, skip) {
                Ordering::Less => return (0, false),
                Ordering::Equal => {}
                Ordering::Greater => return (self.count(), false),
            }
        }
        let head = head_behind(key, skip);
        let pos = self.heads_below(head);
        let count = self.count();
        if pos >= count {
            return (count, false);
        }
        if self.node().heads[pos].load(Relaxed) != head {
            return (pos, false);
        }
        if planted!(memtable_heads_taken_for_keys) && key.len() - skip <= 8 {
            return (pos, true);
        }
        self.search_equal_heads(key, skip, head, pos, count)
    }

    /// How many heads are `< head`. No branch depends on the heads, so none is
    /// mispredicted; the unused ones are never below anything.
    #[inline]
    fn heads_below(self, head: u64) -> usize {
        let heads = &self.node().heads;
        let mut pos = 0;
        let mut step = SLOTS / 2;
        while step > 0 {
            pos += (heads[pos + step - 1].load(Relaxed) < head) as usize * step;
            step /= 2;
        }
        pos + (heads[pos].load(Relaxed) < head) as usize
    }

    fn search_equal_heads(
        self,
        key: &[u8],
        skip: usize,
        head: u64,
        from: usize,
        count: usize,
    ) -> (usize, bool) {
        let heads = &self.node().heads;
        let mut low = from;
        let mut high = from + 1;
        while high < count && heads[high].load(Relaxed) == head {
            high += 1;
        }
        while low < high {
            let middle = (low + high) / 2;
            let Some(stored) = self.slot(middle) else { return (from, false) };
            match tail(stored.key(), skip).cmp(tail(key, skip)) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return (middle, true),
                Ordering::Greater => high = middle,
            }
        }
        (low, false)
    }

    /// Whether `key` comes before, among or behind all keys with the node's prefix.
    #[inline]
    fn compare_prefix(self, key: &[u8], skip: usize) -> Ordering {
        if skip <= INLINE_PREFIX && key.len() >= skip {
            let node = self.node();
            let mut different = 0;
            let mut at = 0;
            while at < skip {
                let mask = u64::MAX >> (64 - 8 * (skip - at).min(8));
                different |= (word_at(key, at) ^ node.prefix[at / 8].load(Relaxed)) & mask;
                at += 8;
            }
            if different == 0 {
                return Ordering::Equal;
            }
        }
        self.compare_whole_prefix(key, skip)
    }

    #[cold]
    fn compare_whole_prefix(self, key: &[u8], skip: usize) -> Ordering {
        let Some(prefix) = self.prefix_source() else { return Ordering::Equal };
        // Torn reads may pair an entry with another's length: hence the `min`.
        let prefix = &prefix.key()[..skip.min(prefix.key().len())];
        key[..skip.min(key.len())].cmp(prefix)
    }

    fn prefix_source(self) -> Option<Stored<'a>> {
        // SAFETY: null or an entry of the same arena, stored with Release.
        unsafe { Stored::from_ptr(self.node().prefix_of.load(Acquire)) }
    }

    /// All entries of a leaf and its right neighbour; waits for the writer.
    pub(super) fn copy_leaf(self, copy: &mut LeafCopy<'a>) {
        loop {
            let version = self.begin_read();
            self.copy_into(copy);
            if self.still(version) {
                return;
            }
        }
    }

    /// As [`NodeRef::copy_leaf`], within a reading the caller has begun.
    pub(super) fn copy_into(self, copy: &mut LeafCopy<'a>) {
        copy.count = self.count();
        copy.next = self.next();
        for i in 0..copy.count {
            copy.slots[i] = self.slot(i);
        }
    }

    /// Asks the processor for the lines that a search will touch.
    #[inline]
    pub(super) fn prefetch(self) {
        prefetch_lines::<{ size_of::<Node>() / 64 }>(self.at.as_ptr().cast());
    }

    // ---- Changing. Writer only; the node is locked or known to no reader.

    /// Sets slot `i` to a newer version of the same key. Needs no lock: readers see
    /// the one or the other.
    pub(super) fn replace(self, i: usize, newer: Stored<'a>) {
        self.node().slots[i].store(newer.as_ptr(), Release);
    }

    /// Puts `entry` into slot `pos`, and `child`, in an inner node, behind it.
    pub(super) fn insert_at(self, pos: usize, entry: Stored<'a>, child: Option<NodeRef<'a>>) {
        let node = self.node();
        let count = self.count();
        assert!(pos <= count && count < SLOTS);
        self.shorten_prefix_for(entry.key());
        for i in (pos..count).rev() {
            node.heads[i + 1].store(node.heads[i].load(Relaxed), Relaxed);
            node.slots[i + 1].store(node.slots[i].load(Relaxed), Release);
        }
        let head = head_behind(entry.key(), node.skip.load(Relaxed) as usize);
        node.heads[pos].store(head, Relaxed);
        node.slots[pos].store(entry.as_ptr(), Release);
        if let Some(child) = child {
            let children = self.children();
            for i in (pos + 1..=count).rev() {
                children[i + 1].store(children[i].load(Relaxed), Release);
            }
            children[pos + 1].store(child.at.as_ptr(), Release);
        }
        node.count.store(count as u32 + 1, Relaxed);
        let equal = |i: usize| i <= count && node.heads[i].load(Relaxed) == head;
        if equal(pos.wrapping_sub(1)) || equal(pos + 1) {
            self.lengthen_prefix();
        }
    }

    /// Makes the leftmost child of an inner node.
    pub(super) fn set_first_child(self, child: NodeRef<'a>) {
        self.children()[0].store(child.at.as_ptr(), Release);
    }

    /// Moves slots `from..` to the empty node `right`, which becomes the neighbour.
    pub(super) fn split_leaf(self, from: usize, right: NodeRef<'a>) {
        self.move_slots(from, right);
        right.node().next.store(self.node().next.load(Relaxed), Release);
        self.node().next.store(right.at.as_ptr(), Release);
    }

    /// Moves the children behind slot `middle`, and the entries between them, to
    /// the empty node `right`; returns the entry of `middle`, which separates the two.
    pub(super) fn split_inner(self, middle: usize, right: NodeRef<'a>) -> Stored<'a> {
        let count = self.count();
        let separator = self.slot(middle).expect("a node that is split is full");
        self.move_slots(middle + 1, right);
        for i in middle + 1..=count {
            let child = self.children()[i].load(Relaxed);
            right.children()[i - middle - 1].store(child, Release);
        }
        self.node().heads[middle].store(u64::MAX, Relaxed);
        self.node().count.store(middle as u32, Relaxed);
        separator
    }

    fn move_slots(self, from: usize, right: NodeRef<'a>) {
        let (node, count) = (self.node(), self.count());
        for i in from..count {
            let (to, slot) = (right.node(), node.slots[i].load(Relaxed));
            to.heads[i - from].store(node.heads[i].load(Relaxed), Relaxed);
            to.slots[i - from].store(slot, Release);
            node.heads[i].store(u64::MAX, Relaxed);
        }
        node.count.store(from as u32, Relaxed);
        right.node().count.store((count - from) as u32, Relaxed);
        right.copy_prefix(self);
        self.lengthen_prefix();
        right.lengthen_prefix();
    }

    /// Takes over the prefix of `other`, whose keys this node's are, or will be, like.
    pub(super) fn copy_prefix(self, other: NodeRef<'a>) {
        let (node, other) = (self.node(), other.node());
        node.skip.store(other.skip.load(Relaxed), Relaxed);
        node.prefix_of.store(other.prefix_of.load(Relaxed), Release);
        for (to, from) in node.prefix.iter().zip(&other.prefix) {
            to.store(from.load(Relaxed), Relaxed);
        }
    }

    /// Makes the prefix one that `key` has, too.
    fn shorten_prefix_for(self, key: &[u8]) {
        let skip = self.node().skip.load(Relaxed) as usize;
        if skip == 0 || self.compare_prefix(key, skip) == Ordering::Equal {
            return;
        }
        let source = self.prefix_source().expect("a prefix has a source");
        let common = common_prefix_len(source.key(), key);
        debug_assert!(common < skip);
        self.set_prefix(common.saturating_sub(PREFIX_RESERVE), source);
    }

    /// Makes the prefix longer if the heads would gain enough.
    fn lengthen_prefix(self) {
        let skip = self.node().skip.load(Relaxed) as usize;
        let count = self.count();
        if count < 2 {
            return;
        }
        let (Some(first), Some(last)) = (self.slot(0), self.slot(count - 1)) else { return };
        let common = common_prefix_len(first.key(), last.key());
        if common >= skip + PREFIX_GAIN {
            self.set_prefix(common - PREFIX_RESERVE, first);
        }
    }

    fn set_prefix(self, skip: usize, source: Stored<'a>) {
        let node = self.node();
        node.skip.store(skip as u32, Relaxed);
        node.prefix_of.store(source.as_ptr(), Release);
        for (i, word) in node.prefix.iter().enumerate() {
            word.store(word_at(source.key(), i * 8), Relaxed);
        }
        for i in 0..self.count() {
            let stored = self.slot(i).expect("slots below the count are filled");
            node.heads[i].store(head_behind(stored.key(), skip), Relaxed);
        }
    }

    /// Asserts the node's invariants. For tests, with no writer about.
    #[cfg(test)]
    pub(super) fn check(self) {
        let (node, count) = (self.node(), self.count());
        let skip = node.skip.load(Relaxed) as usize;
        let keys: Vec<&[u8]> = (0..count).map(|i| self.slot(i).unwrap().key()).collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(self.compare_prefix(key, skip), Ordering::Equal);
            assert_eq!(self.compare_whole_prefix(key, skip), Ordering::Equal);
            assert_eq!(node.heads[i].load(Relaxed), head_behind(key, skip));
            assert_eq!(self.search(key), (i, true));
        }
        assert!(node.heads[count..].iter().all(|head| head.load(Relaxed) == u64::MAX));
        if self.level() > 0 {
            for i in 0..=count {
                assert_eq!(self.child(i).unwrap().level() + 1, self.level());
            }
        }
    }
}

fn common_prefix_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[inline]
fn tail(key: &[u8], skip: usize) -> &[u8] {
    key.get(skip..).unwrap_or_default()
}

/// The 8 bytes of `key` behind `skip`, zeros where it ends, as a number that orders
/// as the bytes do.
#[inline]
fn head_behind(key: &[u8], skip: usize) -> u64 {
    word_at(key, skip).swap_bytes()
}

/// The 8 bytes of `key` from `at` on, zeros where it ends, little-endian.
#[inline]
fn word_at(key: &[u8], at: usize) -> u64 {
    let rest = tail(key, at);
    if let Some(word) = rest.first_chunk::<8>() {
        return u64::from_le_bytes(*word);
    }
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(rest) {
        *to = *from;
    }
    u64::from_le_bytes(word)
}
