//! Is a history of concurrent reads and writes of one register possible?
//!
//! A history is linearizable when each operation can be given one moment
//! between its call and its return so that every read answers the newest write
//! before it (Herlihy, Wing: "Linearizability", TOPLAS 1990). The search is
//! that of Wing and Gong ("Testing and Verifying Concurrent Objects", JPDC
//! 1993): take any operation that no other one precedes, and go on with the
//! rest; with Lowe's memory of what was tried ("Testing for Linearizability",
//! CCPE 2017): the same operations done and the same state reached need no
//! second look. Keys are checked one by one, since a history is linearizable
//! when its part for each key is: the idea of Porcupine
//! (github.com/anishathalye/porcupine) that makes long histories possible.
//!
//! An operation whose answer was lost may have happened at any moment from its
//! call on, or never. Where it cannot have happened after some moment (the
//! server was killed), that moment is given as its return.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// The return of an operation that may still happen at any time.
pub(crate) const NEVER: u64 = u64::MAX;

/// What an operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What<S> {
    /// Answered this.
    Read(S),
    /// Set this.
    Write(S),
}

/// Whether it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its answer said so.
    Happened,
    /// Its answer was lost.
    Unknown,
}

/// One operation of a history. Times are ticks of one clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation<S> {
    pub(crate) call: u64,
    /// After the call; [`NEVER`] for no bound.
    pub(crate) back: u64,
    pub(crate) what: What<S>,
    pub(crate) fate: Fate,
}

/// Why no order was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stuck {
    /// There is none: with the best one this operation, by its index, had to
    /// have happened and could not have.
    Impossible { operation: usize },
    /// The search was given up after so many steps. Says nothing.
    TooLong { steps: u64 },
}

/// Steps after which a search is given up. Histories of one key between two
/// kills need a few thousand.
const MAX_STEPS: u64 = 20_000_000;

/// Whether `history` is possible for a register that held `initial`.
///
/// Takes time in the number of operations times those at once, as a rule;
/// exponential in those at once in the worst case.
///
/// # Errors
/// [`Stuck`]
pub(crate) fn check<S: Copy + Eq + Hash + Debug>(
    initial: S,
    history: &[Operation<S>],
) -> Result<(), Stuck> {
    Search::new(initial, history).run()
}

/// A call or a return.
#[derive(Clone, Copy)]
struct Event {
    operation: usize,
    is_call: bool,
}

/// How an operation is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It happens here.
    Happens,
    /// It never happens.
    Not,
}

/// An operation that was taken, and what was before.
struct Taken<S> {
    operation: usize,
    way: Way,
    state: S,
}

/// The events that are left, as a list through an array: index 0 is its head,
/// event i of the sorted events stands at i + 1, and the last index is the end.
struct Search<'h, S> {
    history: &'h [Operation<S>],
    events: Vec<Event>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Place of each operation's call and return; 0: it has none.
    calls: Vec<usize>,
    returns: Vec<usize>,
    state: S,
    done: Vec<u64>,
    /// Operations not taken yet that must happen.
    certain_left: usize,
}

impl<'h, S: Copy + Eq + Hash + Debug> Search<'h, S> {
    fn new(initial: S, history: &'h [Operation<S>]) -> Search<'h, S> {
        let mut timed = Vec::with_capacity(history.len() * 2);
        for (operation, o) in history.iter().enumerate() {
            assert!(o.call < o.back, "an operation returns after its call");
            timed.push((o.call, 0, Event { operation, is_call: true }));
            if o.back != NEVER {
                timed.push((o.back, 1, Event { operation, is_call: false }));
            }
        }
        // At one tick calls come first: then the two overlap, which forbids less.
        timed.sort_by_key(|(time, kind, event)| (*time, *kind, event.operation));
        let events: Vec<Event> = timed.into_iter().map(|(_, _, event)| event).collect();
        let end = events.len() + 1;
        let mut calls = vec![0; history.len()];
        let mut returns = vec![0; history.len()];
        for (i, event) in events.iter().enumerate() {
            let place = if event.is_call { &mut calls } else { &mut returns };
            place[event.operation] = i + 1;
        }
        Search {
            history,
            next: (1..=end + 1).collect(),
            previous: (0..=end).map(|i: usize| i.saturating_sub(1)).collect(),
            events,
            calls,
            returns,
            state: initial,
            done: vec![0; history.len().div_ceil(64)],
            certain_left: history.iter().filter(|o| o.fate == Fate::Happened).count(),
        }
    }

    fn run(mut self) -> Result<(), Stuck> {
        let end = self.events.len() + 1;
        let mut tried: HashSet<(Vec<u64>, S)> = HashSet::new();
        let mut taken: Vec<Taken<S>> = Vec::new();
        // The furthest return that could not be passed.
        let mut furthest = (0, 0);
        let mut at = self.next[0];
        let mut way = Way::Happens;
        for _ in 0..MAX_STEPS {
            if self.certain_left == 0 {
                return Ok(());
            }
            if at != end && self.events[at - 1].is_call {
                let operation = self.events[at - 1].operation;
                if let Some(state) = self.after(operation, way) {
                    self.mark(operation);
                    if tried.insert((self.done.clone(), state)) {
                        taken.push(Taken { operation, way, state: self.state });
                        self.state = state;
                        self.unlink(operation);
                        (at, way) = (self.next[0], Way::Happens);
                        continue;
                    }
                    self.unmark(operation);
                }
                (at, way) = self.another(operation, way);
                continue;
            }
            // Somebody returned, or all others were tried: one step back.
            if at != end {
                furthest = furthest.max((at, self.events[at - 1].operation));
            }
            let Some(last) = taken.pop() else {
                return Err(Stuck::Impossible { operation: furthest.1 });
            };
            self.unmark(last.operation);
            self.link(last.operation);
            self.state = last.state;
            (at, way) = self.another(last.operation, last.way);
        }
        Err(Stuck::TooLong { steps: MAX_STEPS })
    }

    /// The state after taking `operation` in this way, when that is possible.
    fn after(&self, operation: usize, way: Way) -> Option<S> {
        match (way, self.history[operation].what) {
            (Way::Not, _) => Some(self.state),
            (Way::Happens, What::Write(state)) => Some(state),
            (Way::Happens, What::Read(state)) => (state == self.state).then_some(state),
        }
    }

    /// What to try after `operation` was tried in this way.
    fn another(&self, operation: usize, way: Way) -> (usize, Way) {
        let place = self.calls[operation];
        match (way, self.history[operation].fate) {
            (Way::Happens, Fate::Unknown) => (place, Way::Not),
            _ => (self.next[place], Way::Happens),
        }
    }

    fn mark(&mut self, operation: usize) {
        self.done[operation / 64] |= 1 << (operation % 64);
        self.certain_left -= usize::from(self.history[operation].fate == Fate::Happened);
    }

    fn unmark(&mut self, operation: usize) {
        self.done[operation / 64] &= !(1 << (operation % 64));
        self.certain_left += usize::from(self.history[operation].fate == Fate::Happened);
    }

    /// Takes the operation's events from the list. They keep their own links,
    /// so that [`Search::link`] can put them back, last taken first.
    fn unlink(&mut self, operation: usize) {
        for place in [self.calls[operation], self.returns[operation]] {
            if place != 0 {
                self.next[self.previous[place]] = self.next[place];
                self.previous[self.next[place]] = self.previous[place];
            }
        }
    }

    fn link(&mut self, operation: usize) {
        for place in [self.returns[operation], self.calls[operation]] {
            if place != 0 {
                self.next[self.previous[place]] = place;
                self.previous[self.next[place]] = place;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tanada_vfs::memory::Dice;

    fn happened(call: u64, back: u64, what: What<u32>) -> Operation<u32> {
        Operation { call, back, what, fate: Fate::Happened }
    }

    fn read(call: u64, back: u64, value: u32) -> Operation<u32> {
        happened(call, back, What::Read(value))
    }

    fn write(call: u64, back: u64, value: u32) -> Operation<u32> {
        happened(call, back, What::Write(value))
    }

    fn lost(call: u64, back: u64, value: u32) -> Operation<u32> {
        Operation { call, back, what: What::Write(value), fate: Fate::Unknown }
    }

    fn possible(history: &[Operation<u32>]) -> bool {
        match check(0, history) {
            Ok(()) => true,
            Err(Stuck::Impossible { .. }) => false,
            Err(stuck) => panic!("{stuck:?}"),
        }
    }

    #[test]
    fn what_one_client_sees_of_itself_is_in_order() {
        assert!(possible(&[]));
        assert!(possible(&[write(1, 2, 7), read(3, 4, 7), write(5, 6, 8), read(7, 8, 8)]));
        assert!(possible(&[read(1, 2, 0)]));
    }

    #[test]
    fn a_read_of_what_nobody_wrote_is_rejected() {
        assert!(!possible(&[read(1, 2, 9)]));
        assert!(!possible(&[write(1, 2, 7), read(3, 4, 9)]));
    }

    #[test]
    fn a_stale_read_is_rejected() {
        assert!(!possible(&[write(1, 2, 7), write(3, 4, 8), read(5, 6, 7)]));
        assert!(!possible(&[write(1, 2, 7), read(3, 4, 0)]));
    }

    #[test]
    fn two_reads_may_not_see_two_writes_in_opposite_order() {
        // Either value may be the last of two writes at once, but not both in turn.
        let both = [write(1, 10, 7), write(2, 9, 8)];
        assert!(possible(&[both[0], both[1], read(11, 12, 7), read(13, 14, 7)]));
        assert!(possible(&[both[0], both[1], read(11, 12, 8), read(13, 14, 8)]));
        assert!(!possible(&[both[0], both[1], read(11, 12, 7), read(13, 14, 8)]));
    }

    #[test]
    fn a_value_that_was_seen_may_not_vanish_while_its_write_is_still_under_way() {
        // The write happened before the first read ended, so the second sees it.
        assert!(possible(&[write(1, 10, 7), read(2, 3, 0), read(4, 5, 7)]));
        assert!(!possible(&[write(1, 10, 7), read(2, 3, 7), read(4, 5, 0)]));
    }

    #[test]
    fn a_lost_write_may_have_happened_or_not() {
        assert!(possible(&[lost(1, NEVER, 7), read(2, 3, 0)]));
        assert!(possible(&[lost(1, NEVER, 7), read(2, 3, 7)]));
        // At any later point, even much later.
        assert!(possible(&[lost(1, NEVER, 7), write(2, 3, 8), read(4, 5, 8), read(6, 7, 7)]));
    }

    #[test]
    fn a_lost_write_happens_once_at_most() {
        let twice = [lost(1, NEVER, 7), read(2, 3, 7), write(4, 5, 8), read(6, 7, 7)];
        assert!(!possible(&twice));
        assert!(!possible(&[lost(1, NEVER, 7), read(2, 3, 7), read(4, 5, 0)]));
    }

    #[test]
    fn a_lost_write_cannot_happen_before_its_call_nor_after_its_server_was_killed() {
        assert!(!possible(&[read(1, 2, 7), lost(3, NEVER, 7)]));
        // Killed at 5: what a read at 6 does not see, none may see later.
        assert!(!possible(&[lost(1, 5, 7), read(6, 7, 0), read(8, 9, 7)]));
        assert!(possible(&[lost(1, 5, 7), read(6, 7, 7), read(8, 9, 7)]));
    }

    #[test]
    fn the_operation_that_could_not_be_is_named() {
        let history = [write(1, 2, 7), read(3, 4, 7), read(5, 6, 0)];
        assert_eq!(check(0, &history), Err(Stuck::Impossible { operation: 2 }));
    }

    /// Makes a history from a real register: each operation takes effect at a
    /// tick between its call and its return.
    fn real_history(seed: u64, length: usize) -> Vec<Operation<u32>> {
        let mut dice = Dice::new(seed);
        let mut moments: Vec<(u64, u64, u64, bool)> = (0..length)
            .map(|i| {
                let moment = 1000 + 10 * i as u64;
                let (before, after) = (1 + dice.below(60), 1 + dice.below(60));
                (moment, moment - before, moment + after, dice.chance(500))
            })
            .collect();
        moments.sort_unstable();
        let mut value = 0;
        let mut history = Vec::new();
        for (i, (_, call, back, writes)) in moments.into_iter().enumerate() {
            // The tick of an operation is its own: calls and returns are doubled.
            let (call, back) = (call * 2, back * 2 + 1);
            let number = i as u32 + 1;
            if !writes {
                history.push(read(call, back, value));
            } else if dice.chance(100) {
                let happens = dice.chance(500);
                value = if happens { number } else { value };
                history.push(lost(call, back, number));
            } else {
                value = number;
                history.push(write(call, back, number));
            }
        }
        history
    }

    #[test]
    fn whatever_a_real_register_does_is_possible_and_one_changed_read_is_not() {
        let mut rejected = 0;
        for seed in 0..200 {
            let mut history = real_history(seed, 120);
            assert!(possible(&history), "seed {seed}");
            let reads: Vec<usize> =
                (0..history.len()).filter(|&i| matches!(history[i].what, What::Read(_))).collect();
            let Some(&victim) = reads.last() else { continue };
            history[victim].what = What::Read(1_000_000);
            assert!(!possible(&history), "seed {seed}: nobody wrote that");
            // The value from before the first write, long after it.
            history[victim].what = What::Read(0);
            rejected += u32::from(!possible(&history));
        }
        assert!(rejected > 190, "only {rejected} of 200 stale reads were found");
    }
}
