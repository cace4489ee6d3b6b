//! The B+tree over the nodes: the way down, and growing.
//!
//! Nodes are split, never merged, and never freed before the tree: what a leaf
//! held it holds or has handed to neighbours on its right. A reader that goes down
//! checks a node's version after it has taken the child's, so that it never
//! lands beside the leaf it looks for: the writer locks every node it will change
//! before it changes one, and unlocks them from the leaf up when all is done.

#![allow(unsafe_code)]

use super::arena::Arena;
use super::chunk_pool::ChunkPool;
use super::entry::Stored;
use super::node::{NodeCell, NodeRef, SLOTS};
use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tanada_format::EntryRef;
use tanada_vfs::sync::atomic::AtomicUsize;

/// More levels than any tree has: each one below the root is at least half full.
const MAX_HEIGHT: usize = 16;

/// A B+tree of entries, one writer, any number of readers.
///
/// Invariants: 1. every node and entry reachable from `root` lies in the writer's
/// arena, which frees nothing before the tree is dropped; 2. `writer` is touched by
/// [`Tree::insert`] only.
pub(super) struct Tree {
    root: NodeCell,
    allocated: AtomicUsize,
    writer: UnsafeCell<Writer>,
}

/// What only the writer touches: on lines of its own, for every get reads the root.
#[repr(align(128))]
struct Writer {
    arena: Arena,
    /// The rightmost leaf, if the last insert went to its end: then the next one is
    /// likely to as well, and needs no search.
    append_to: Option<NodeRef<'static>>,
}

// SAFETY: `writer` is reached through `insert` alone, whose callers promise to be
// one at a time; all else is atomics and immutable entries.
unsafe impl Sync for Tree {}

impl Tree {
    pub(super) fn new(pool: Arc<ChunkPool>) -> Tree {
        let mut arena = Arena::new(pool);
        let root = NodeCell::new(NodeRef::new(&mut arena, 0));
        let allocated = AtomicUsize::new(arena.allocated_bytes());
        Tree { root, allocated, writer: UnsafeCell::new(Writer { arena, append_to: None }) }
    }

    /// Bytes taken from the system for nodes and entries.
    pub(super) fn allocated_bytes(&self) -> usize {
        self.allocated.load(Relaxed)
    }

    #[inline]
    fn root(&self) -> NodeRef<'_> {
        // SAFETY: nodes live as long as the tree (invariant 1).
        unsafe { self.root.load() }
    }

    // ---- Reading.

    /// The newest version of `key`.
    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> Option<Stored<'_>> {
        loop {
            let (leaf, version) = self.leaf_for(key);
            let (pos, exact) = leaf.search(key);
            let found = if exact { leaf.slot(pos) } else { None };
            if leaf.still(version) {
                return found;
            }
        }
    }

    /// The leaf that holds `key` or would, and its version.
    #[inline]
    pub(super) fn leaf_for(&self, key: &[u8]) -> (NodeRef<'_>, u32) {
        self.descend(|node| {
            let (pos, exact) = node.search(key);
            pos + exact as usize
        })
    }

    /// The leaf with the last key below `key`, if there is one, and its version.
    pub(super) fn leaf_before(&self, key: &[u8]) -> (NodeRef<'_>, u32) {
        // A separator is the first key of the child behind it, and stays there: so
        // the child in front of the first separator `>= key` begins below `key`.
        self.descend(|node| node.search(key).0)
    }

    /// The first leaf and its version.
    pub(super) fn first_leaf(&self) -> (NodeRef<'_>, u32) {
        self.descend(|_| 0)
    }

    /// The last leaf and its version.
    pub(super) fn last_leaf(&self) -> (NodeRef<'_>, u32) {
        self.descend(|node| node.count())
    }

    #[inline]
    fn descend<'a>(&'a self, choose: impl Fn(NodeRef<'a>) -> usize) -> (NodeRef<'a>, u32) {
        'restart: loop {
            let mut node = self.root();
            let mut version = node.begin_read();
            if self.root() != node {
                continue;
            }
            while node.level() > 0 {
                // Torn reads can choose an empty place; the version would tell.
                let Some(child) = node.child(choose(node)) else { continue 'restart };
                child.prefetch();
                let child_version = child.begin_read();
                if !node.still(version) {
                    continue 'restart;
                }
                (node, version) = (child, child_version);
            }
            return (node, version);
        }
    }

    // ---- Writing.

    /// Adds `entry`, in front of the older versions of its key.
    ///
    /// # Safety
    /// No other call of `insert` on this tree is under way, and the one before
    /// happened before this one.
    pub(super) unsafe fn insert(&self, entry: EntryRef<'_>) {
        // SAFETY: the caller promises to be alone, and nothing else touches it
        // (invariant 2).
        let writer = unsafe { &mut *self.writer.get() };
        if let Some(leaf) = writer.append_to.filter(|leaf| goes_behind(*leaf, entry.key)) {
            let stored = Stored::write(&mut writer.arena, entry, None);
            leaf.lock();
            leaf.insert_at(leaf.count(), stored, None);
            leaf.unlock();
        } else {
            self.insert_by_search(writer, entry);
        }
        let allocated = writer.arena.allocated_bytes();
        // Beside the root: written when it changes, and not at every insert.
        if self.allocated.load(Relaxed) != allocated {
            self.allocated.store(allocated, Relaxed);
        }
    }

    fn insert_by_search(&self, writer: &mut Writer, entry: EntryRef<'_>) {
        // SAFETY: the writer's references do not outlive the arena beside them.
        let mut node: NodeRef<'static> = unsafe { self.root.load() };
        let mut path = Path::new(node);
        let mut is_last = true;
        while node.level() > 0 {
            let (pos, exact) = node.search(entry.key);
            let child = pos + exact as usize;
            is_last &= child == node.count();
            path.push(node, child);
            node = node.child(child).expect("an inner node has a child beside every entry");
            node.prefetch();
        }
        let (pos, exact) = node.search(entry.key);
        if exact {
            let newer = Stored::write(&mut writer.arena, entry, node.slot(pos));
            node.replace(pos, newer);
            return;
        }
        let stored = Stored::write(&mut writer.arena, entry, None);
        let at_the_end = is_last && pos == node.count();
        let mut leaf = node;
        if node.count() < SLOTS {
            node.lock();
            node.insert_at(pos, stored, None);
            node.unlock();
        } else {
            leaf = self.split(&mut writer.arena, node, pos, stored, path, at_the_end);
        }
        writer.append_to = at_the_end.then_some(leaf);
    }

    /// Splits `leaf`, and full nodes above it, to put `stored` in at `pos`; returns
    /// the new right neighbour. At the end of the tree everything stays in the left
    /// one: a sequence that only grows leaves full nodes behind.
    fn split(
        &self,
        arena: &mut Arena,
        leaf: NodeRef<'static>,
        pos: usize,
        stored: Stored<'static>,
        mut path: Path,
        at_the_end: bool,
    ) -> NodeRef<'static> {
        let locked = path.lock_what_changes(leaf);
        let new_leaf = NodeRef::new(arena, 0);
        let middle = if at_the_end { SLOTS } else { SLOTS / 2 };
        leaf.split_leaf(middle, new_leaf);
        if pos > middle || at_the_end {
            new_leaf.insert_at(pos - middle, stored, None);
        } else {
            leaf.insert_at(pos, stored, None);
        }
        let mut separator = new_leaf.slot(0).expect("both halves have entries");
        let (mut left, mut right) = (leaf, new_leaf);
        loop {
            let Some((parent, child)) = path.pop() else {
                self.grow(arena, left, separator, right);
                break;
            };
            if parent.count() < SLOTS {
                parent.insert_at(child, separator, Some(right));
                break;
            }
            let new_parent = NodeRef::new(arena, parent.level());
            let middle = if at_the_end { SLOTS - 1 } else { SLOTS / 2 };
            let up = parent.split_inner(middle, new_parent);
            if child > middle {
                new_parent.insert_at(child - middle - 1, separator, Some(right));
            } else {
                parent.insert_at(child, separator, Some(right));
            }
            (left, separator, right) = (parent, up, new_parent);
        }
        locked.unlock();
        new_leaf
    }

    /// Puts a new root over the two halves of the old one.
    fn grow(
        &self,
        arena: &mut Arena,
        left: NodeRef<'static>,
        separator: Stored<'static>,
        right: NodeRef<'static>,
    ) {
        let root = NodeRef::new(arena, left.level() + 1);
        root.copy_prefix(right);
        root.set_first_child(left);
        root.insert_at(0, separator, Some(right));
        self.root.store(root);
    }

    /// Asserts the invariants of every node; returns the number of keys. For tests,
    /// with no writer about.
    #[cfg(test)]
    pub(super) fn check(&self) -> usize {
        fn walk<'a>(node: NodeRef<'a>, low: &[u8], high: Option<&[u8]>) -> usize {
            node.check();
            let key = |i: usize| node.slot(i).map(Stored::key).unwrap();
            for i in 0..node.count() {
                assert!(low <= key(i) && high.is_none_or(|high| key(i) < high));
            }
            if node.level() == 0 {
                return node.count();
            }
            let mut keys = 0;
            for i in 0..=node.count() {
                let low = if i == 0 { low } else { key(i - 1) };
                let high = if i == node.count() { high } else { Some(key(i)) };
                keys += walk(node.child(i).unwrap(), low, high);
            }
            keys
        }
        walk(self.root(), b"", None)
    }
}

/// Whether `key` is above all keys of `leaf`, and `leaf` has room.
fn goes_behind(leaf: NodeRef<'_>, key: &[u8]) -> bool {
    let count = leaf.count();
    count < SLOTS
        && count.checked_sub(1).and_then(|last| leaf.slot(last)).is_some_and(|s| s.key() < key)
}

/// The inner nodes from the root down to a leaf, and the child taken in each.
struct Path {
    steps: [(NodeRef<'static>, usize); MAX_HEIGHT],
    len: usize,
}

/// The nodes that a split changes, leaf first.
struct Locked {
    nodes: [NodeRef<'static>; MAX_HEIGHT],
    len: usize,
}

impl Path {
    fn new(root: NodeRef<'static>) -> Path {
        Path { steps: [(root, 0); MAX_HEIGHT], len: 0 }
    }

    fn push(&mut self, node: NodeRef<'static>, child: usize) {
        self.steps[self.len] = (node, child);
        self.len += 1;
    }

    fn pop(&mut self) -> Option<(NodeRef<'static>, usize)> {
        self.len = self.len.checked_sub(1)?;
        Some(self.steps[self.len])
    }

    /// Locks `leaf`, the full nodes above it and the first one that is not full.
    fn lock_what_changes(&self, leaf: NodeRef<'static>) -> Locked {
        let mut locked = Locked { nodes: [leaf; MAX_HEIGHT], len: 1 };
        leaf.lock();
        for &(node, _) in self.steps[..self.len].iter().rev() {
            node.lock();
            locked.nodes[locked.len] = node;
            locked.len += 1;
            if node.count() < SLOTS {
                break;
            }
        }
        locked
    }
}

impl Locked {
    fn unlock(self) {
        self.nodes[..self.len].iter().for_each(|node| node.unlock());
    }
}
