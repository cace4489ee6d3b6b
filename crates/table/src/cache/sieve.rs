//! The order in which things are given up: SIEVE.
//!
//! New things enter at the head of a list. A hand walks from the tail towards
//! the head: a thing that was used since the hand last came by loses its mark
//! and stays where it is, the first one without a mark goes. What is used once,
//! as by a scan, goes early; a use moves nothing. Zhang et al., "SIEVE is Simpler
//! than LRU", NSDI'24.

use tanada_format::planted;

const NONE: u32 = u32::MAX;

/// So many that were used are passed over for one that goes, under the lock of whoever has
/// the list; then one goes that was used. Where nearly all were, it hardly matters which.
const MOST_PASSED: usize = 256;

/// One thing listed, and what it takes.
#[derive(Debug)]
pub struct Node<T> {
    /// The thing.
    pub item: T,
    /// As it was given to [`Sieve::push`].
    pub cost_bytes: u64,
    /// Towards the head (newer).
    newer: u32,
    /// Towards the tail (older).
    older: u32,
}

/// The list, in a slab.
///
/// 1. `nodes[i]` is `Some` exactly when `i` is on the list and not in `free`.
/// 2. `hand` is `NONE` (start at the tail) or on the list.
#[derive(Debug)]
pub struct Sieve<T> {
    nodes: Vec<Option<Node<T>>>,
    free: Vec<u32>,
    head: u32,
    tail: u32,
    hand: u32,
}

impl<T> Default for Sieve<T> {
    fn default() -> Sieve<T> {
        Sieve::new()
    }
}

impl<T> Sieve<T> {
    /// Bytes of memory for each thing listed.
    pub const NODE_BYTES: u64 = size_of::<Option<Node<T>>>() as u64;

    /// An empty one.
    pub fn new() -> Sieve<T> {
        Sieve { nodes: Vec::new(), free: Vec::new(), head: NONE, tail: NONE, hand: NONE }
    }

    /// Things on the list.
    pub fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// Whether nothing is on the list.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a thing at the head; answers its place.
    pub fn push(&mut self, item: T, cost_bytes: u64) -> u32 {
        let node = Some(Node { item, cost_bytes, newer: NONE, older: self.head });
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

    /// Takes the thing at a place off the list.
    ///
    /// # Panics
    /// When there is none.
    pub fn remove(&mut self, place: u32) -> Node<T> {
        let node = self.nodes[place as usize].take().expect("a thing's place is on the list");
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

    /// Takes the thing that goes first off the list, if there is one. `visited`
    /// says whether a thing was used since it was last asked. Each is asked at
    /// most twice, and no more than 256 in all.
    pub fn evict(&mut self, mut visited: impl FnMut(&Node<T>) -> bool) -> Option<Node<T>> {
        let most = if planted!(eviction_walks_all) { usize::MAX } else { MOST_PASSED };
        for _ in 0..most.min(2 * self.len()) {
            let place = if self.hand == NONE { self.tail } else { self.hand };
            if !visited(self.at(place)) {
                return Some(self.remove(place));
            }
            self.hand = self.at(place).newer;
        }
        // All that were asked have been used: the one that would be asked next.
        let place = if self.hand == NONE { self.tail } else { self.hand };
        (place != NONE).then(|| self.remove(place))
    }

    /// The listed things with their places, oldest first. Checks the links on the way.
    #[cfg(test)]
    pub(crate) fn walk(&self) -> Vec<(u32, &Node<T>)> {
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

    fn at(&self, place: u32) -> &Node<T> {
        self.nodes[place as usize].as_ref().expect("links lead to listed things")
    }

    fn at_mut(&mut self, place: u32) -> &mut Node<T> {
        self.nodes[place as usize].as_mut().expect("links lead to listed things")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn numbers(sieve: &mut Sieve<u32>, visited: &mut HashSet<u32>, count: usize) -> Vec<u32> {
        (0..count).map(|_| sieve.evict(|n| visited.remove(&n.item)).unwrap().item).collect()
    }

    #[test]
    fn unread_blocks_go_oldest_first_and_read_ones_stay_for_a_round() {
        let mut sieve = Sieve::new();
        for number in 0..6 {
            sieve.push(number, 1);
        }
        let mut visited = HashSet::from([0, 3]);
        assert_eq!(numbers(&mut sieve, &mut visited, 2), [1, 2]);
        // The hand goes on from where it stopped; 0 has lost its mark behind it.
        sieve.push(6, 1);
        assert_eq!(sieve.walk().iter().map(|(_, n)| n.item).collect::<Vec<_>>(), [0, 3, 4, 5, 6]);
        assert_eq!(numbers(&mut sieve, &mut visited, 3), [4, 5, 6]);
        assert_eq!(numbers(&mut sieve, &mut visited, 2), [0, 3]);
        assert!(sieve.evict(|_| false).is_none());
        assert_eq!(sieve.len(), 0);
    }

    /// The hand went over a whole list of marked blocks, hundreds of thousands, while all who
    /// missed waited for the lock.
    #[test]
    fn a_thing_goes_after_a_few_hundred_looks_however_many_were_used() {
        let mut sieve = Sieve::new();
        for n in 0..100_000 {
            sieve.push(n, 1);
        }
        let mut looks = 0;
        for _ in 0..10 {
            let before = looks;
            let gone = sieve.evict(|_| {
                looks += 1;
                true
            });
            assert!(gone.is_some() && looks - before <= 256, "{} looks", looks - before);
        }
        // It goes on from there: what was passed over has lost its mark, and stays.
        assert_eq!(sieve.walk().first().map(|(_, node)| node.item), Some(0));
    }

    #[test]
    fn blocks_that_are_always_marked_go_all_the_same() {
        let mut sieve = Sieve::new();
        let places: Vec<u32> = (0..4).map(|n| sieve.push(n, 1)).collect();
        assert!(sieve.evict(|_| true).is_some());
        sieve.remove(places[2]);
        assert_eq!(sieve.walk().len(), 2);
        assert!(sieve.evict(|_| true).is_some() && sieve.evict(|_| true).is_some());
        assert!(sieve.evict(|_| true).is_none());
    }
}
