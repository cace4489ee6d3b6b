//! Which of the cache's blocks lie in which run, so that a run can be emptied.
//!
//! A list a run, of places on the cache's own list: beside that list, which knows
//! nothing of memory. See [`crate::block_memory`].

use crate::memory::block_memory::RunId;

const NONE: u32 = u32::MAX;

/// A list of places for each run.
///
/// 1. `first[r]` is a listed place whose block lies in run `r`, or `NONE`; the others of
///    the run are linked behind it.
/// 2. A place is in one run's list at most.
#[derive(Debug, Default)]
pub(crate) struct RunLists {
    first: Vec<u32>,
    /// By place; that of a place in no list means nothing.
    links: Vec<Link>,
}

/// Bytes of memory for each block listed.
pub(crate) const LINK_BYTES: u64 = size_of::<Link>() as u64;

/// The neighbours of a place in its run's list.
#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    behind: u32,
}

impl RunLists {
    /// A place whose block lies in the run, if there is one.
    pub(crate) fn first(&self, RunId(run): RunId) -> Option<u32> {
        self.first.get(run as usize).copied().filter(|&first| first != NONE)
    }

    /// Puts a place into the list of its block's run.
    pub(crate) fn join(&mut self, RunId(run): RunId, place: u32) {
        let link = Link { before: NONE, behind: NONE };
        if self.first.len() <= run as usize {
            self.first.resize(run as usize + 1, NONE);
        }
        if self.links.len() <= place as usize {
            self.links.resize(place as usize + 1, link);
        }
        let behind = std::mem::replace(&mut self.first[run as usize], place);
        self.links[place as usize] = Link { behind, ..link };
        if behind != NONE {
            self.links[behind as usize].before = place;
        }
    }

    /// Takes a place out of the list of its block's run.
    pub(crate) fn leave(&mut self, RunId(run): RunId, place: u32) {
        let Link { before, behind } = self.links[place as usize];
        match before {
            NONE => self.first[run as usize] = behind,
            before => self.links[before as usize].behind = behind,
        }
        if behind != NONE {
            self.links[behind as usize].before = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_of_a_run_are_found_until_each_has_left() {
        let mut lists = RunLists::default();
        let run = |place: u32| RunId(place % 3);
        (0..90).for_each(|place| lists.join(run(place), place));
        // From the middle, the ends, and again.
        for place in [45, 87, 0, 42, 48, 3] {
            lists.leave(run(place), place);
        }
        lists.join(RunId(1), 45);
        let mut left = Vec::new();
        for number in 0..3 {
            while let Some(place) = lists.first(RunId(number)) {
                assert_eq!(number, if place == 45 { 1 } else { place % 3 });
                lists.leave(RunId(number), place);
                left.push(place);
            }
        }
        left.sort_unstable();
        let expected: Vec<_> = (0..90).filter(|p| ![87, 0, 42, 48, 3].contains(p)).collect();
        assert_eq!(left, expected);
        assert_eq!(lists.first(RunId(7)), None);
    }
}
