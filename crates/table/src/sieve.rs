//! The order in which the cache's blocks are given up: SIEVE.
//!
//! New blocks enter at the head of a list. A hand walks from the tail towards
//! the head: a block that was read since the hand last came by loses its mark
//! and stays where it is, the first one without a mark goes. Blocks read once,
//! as by a scan, go early; a hit moves nothing. Zhang et al., "SIEVE is Simpler
//! than LRU", NSDI'24.

use crate::slots::Slots;
use std::sync::Arc;

const NONE: u32 = u32::MAX;

/// One cached block: whose it is, and what it takes.
pub(crate) struct Node {
    pub(crate) slots: Arc<Slots>,
    pub(crate) number: u32,
    pub(crate) cost_bytes: u64,
    /// Towards the head (newer).
    newer: u32,
    /// Towards the tail (older).
    older: u32,
}

/// Bytes of memory for each block listed.
pub(crate) const NODE_BYTES: u64 = size_of::<Option<Node>>() as u64;

/// The list, in a slab.
///
/// 1. `nodes[i]` is `Some` exactly when `i` is on the list and not in `free`.
/// 2. `hand` is `NONE` (start at the tail) or on the list.
pub(crate) struct Sieve {
    nodes: Vec<Option<Node>>,
    free: Vec<u32>,
    head: u32,
    tail: u32,
    hand: u32,
}

impl Sieve {
    pub(crate) fn new() -> Sieve {
        Sieve { nodes: Vec::new(), free: Vec::new(), head: NONE, tail: NONE, hand: NONE }
    }

    /// Blocks on the list.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// Adds a block at the head; returns its place.
    pub(crate) fn push(&mut self, slots: Arc<Slots>, number: u32, cost_bytes: u64) -> u32 {
        let node = Some(Node { slots, number, cost_bytes, newer: NONE, older: self.head });
        let place = match self.free.pop() {
            Some(place) => {
                self.nodes[place as usize] = node;
                place
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        };
        match self.head {
            NONE => self.tail = place,
            head => self.at_mut(head).newer = place,
        }
        self.head = place;
        place
    }

    /// Takes a block off the list.
    pub(crate) fn remove(&mut self, place: u32) -> Node {
        let node = self.nodes[place as usize].take().expect("a block's place is on the list");
        match node.newer {
            NONE => self.head = node.older,
            newer => self.at_mut(newer).older = node.older,
        }
        match node.older {
            NONE => self.tail = node.newer,
            older => self.at_mut(older).newer = node.newer,
        }
        if self.hand == place {
            self.hand = node.newer;
        }
        self.free.push(place);
        node
    }

    /// Takes the block that goes first off the list, if there is one. `visited`
    /// says whether a block was read since it was last asked. Each block is
    /// asked at most twice.
    pub(crate) fn evict(&mut self, mut visited: impl FnMut(&Node) -> bool) -> Option<Node> {
        for _ in 0..2 * self.len() {
            let place = if self.hand == NONE { self.tail } else { self.hand };
            if !visited(self.at(place)) {
                return Some(self.remove(place));
            }
            self.hand = self.at(place).newer;
        }
        // Readers marked every block behind the hand's back: take any.
        (self.tail != NONE).then(|| self.remove(self.tail))
    }

    /// The listed blocks with their places, oldest first. Checks the links on the way.
    #[cfg(test)]
    pub(crate) fn walk(&self) -> Vec<(u32, &Node)> {
        let (mut listed, mut last, mut place) = (Vec::new(), NONE, self.tail);
        while place != NONE {
            let node = self.at(place);
            assert_eq!(node.older, last, "links agree in both directions");
            assert!(listed.len() < self.len(), "links lead to the head, and in no circle");
            listed.push((place, node));
            (last, place) = (place, node.newer);
        }
        assert_eq!((self.head, self.len()), (last, listed.len()));
        assert!(self.hand == NONE || listed.iter().any(|(place, _)| *place == self.hand));
        listed
    }

    fn at(&self, place: u32) -> &Node {
        self.nodes[place as usize].as_ref().expect("links lead to listed blocks")
    }

    fn at_mut(&mut self, place: u32) -> &mut Node {
        self.nodes[place as usize].as_mut().expect("links lead to listed blocks")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn numbers(sieve: &mut Sieve, visited: &mut HashSet<u32>, count: usize) -> Vec<u32> {
        (0..count).map(|_| sieve.evict(|n| visited.remove(&n.number)).unwrap().number).collect()
    }

    #[test]
    fn unread_blocks_go_oldest_first_and_read_ones_stay_for_a_round() {
        let slots = Slots::new(0);
        let mut sieve = Sieve::new();
        for number in 0..6 {
            sieve.push(slots.clone(), number, 1);
        }
        let mut visited = HashSet::from([0, 3]);
        assert_eq!(numbers(&mut sieve, &mut visited, 2), [1, 2]);
        // The hand goes on from where it stopped; 0 has lost its mark behind it.
        sieve.push(slots.clone(), 6, 1);
        assert_eq!(sieve.walk().iter().map(|(_, n)| n.number).collect::<Vec<_>>(), [0, 3, 4, 5, 6]);
        assert_eq!(numbers(&mut sieve, &mut visited, 3), [4, 5, 6]);
        assert_eq!(numbers(&mut sieve, &mut visited, 2), [0, 3]);
        assert!(sieve.evict(|_| false).is_none());
        assert_eq!(sieve.len(), 0);
    }

    #[test]
    fn blocks_that_are_always_marked_go_all_the_same() {
        let slots = Slots::new(0);
        let mut sieve = Sieve::new();
        let places: Vec<u32> = (0..4).map(|n| sieve.push(slots.clone(), n, 1)).collect();
        assert!(sieve.evict(|_| true).is_some());
        sieve.remove(places[2]);
        assert_eq!(sieve.walk().len(), 2);
        assert!(sieve.evict(|_| true).is_some() && sieve.evict(|_| true).is_some());
        assert!(sieve.evict(|_| true).is_none());
    }
}
