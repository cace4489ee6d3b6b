//! Which keyspaces the background asks for a compaction, and how far behind each is.
//!
//! Few keyspaces are asked all, each time. Of many only those are asked whose tree has
//! changed or that have just had a job; and once in a while all, a few at a time, for
//! what the passing of time or the end of a snapshot makes due.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tanada_format::KeyspaceId;

/// So many keyspaces are asked each time. A simulation has few: it asks all of up to
/// three, so that both ways are gone.
pub(crate) const FEW: usize = if cfg!(feature = "simulation") { 3 } else { 64 };

/// So many of a sweep are asked at once: the state's lock is held meanwhile.
pub(crate) const SWEPT_AT_ONCE: usize = 256;

/// Each so many decisions the keyspaces are asked in turn, whoever is behind.
const IN_TURN: usize = 4;

/// All are asked no more often than this.
const SWEEP_NS: u64 = 1_000_000_000;

/// Keyspaces in line to be asked, each once.
#[derive(Debug, Default)]
pub(crate) struct Lineup {
    queue: VecDeque<KeyspaceId>,
    queued: BTreeSet<KeyspaceId>,
    /// The next keyspace of the sweep, and how many are left of it.
    next: u32,
    left: usize,
    /// When the last sweep began, and how many jobs had ended by then.
    began_ns: u64,
    began_ended: u64,
    /// Whether another is to begin though no job has ended.
    wanted: bool,
    /// Keyspaces with tables in level 0.
    level_0: BTreeSet<KeyspaceId>,
    pressures: BTreeMap<KeyspaceId, u64>,
    ordered: BTreeSet<(u64, KeyspaceId)>,
    /// Orders given so far.
    orders: usize,
}

impl Lineup {
    /// Lets a keyspace be asked, behind those that wait.
    pub(crate) fn push(&mut self, id: KeyspaceId) {
        if self.queued.insert(id) {
            self.queue.push_back(id);
        }
    }

    /// The keyspace that has waited longest.
    pub(crate) fn pop(&mut self) -> Option<KeyspaceId> {
        let id = self.queue.pop_front()?;
        self.queued.remove(&id);
        Some(id)
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Begins a sweep over all keyspaces when one is due: a job has ended since the last
    /// began or one is [wanted](Lineup::want_sweep), and that was a while ago. Answers
    /// whether it has begun.
    pub(crate) fn begin_sweep(&mut self, keyspaces: usize, ended: u64, now_ns: u64) -> bool {
        let is_due = self.began_ns == 0 || now_ns.saturating_sub(self.began_ns) >= SWEEP_NS;
        let begins = self.left == 0 && self.awaits_sweep(ended) && is_due;
        if begins {
            self.left = keyspaces;
            self.began_ns = now_ns.max(1);
            self.began_ended = ended;
            self.wanted = false;
        }
        begins
    }

    /// Lets all keyspaces be asked soon though no job ends: time has passed, or a reader has
    /// gone.
    pub(crate) fn want_sweep(&mut self) {
        self.wanted = true;
    }

    /// Begins a sweep over all keyspaces, unless one is under way.
    pub(crate) fn sweep_again(&mut self, keyspaces: usize) {
        if self.left == 0 {
            self.left = keyspaces;
        }
    }

    /// The next keyspace of the sweep.
    pub(crate) fn sweep(&mut self, keyspaces: usize) -> Option<KeyspaceId> {
        self.left = self.left.checked_sub(1)?;
        let id = self.next % keyspaces as u32;
        self.next = id + 1;
        Some(KeyspaceId(id))
    }

    /// Whether a job has ended since the last sweep began, or another one is wanted: it will
    /// be due.
    pub(crate) fn awaits_sweep(&self, ended: u64) -> bool {
        self.wanted || self.began_ended != ended
    }

    /// Whether a sweep is under way.
    pub(crate) fn is_sweeping(&self) -> bool {
        self.left > 0
    }

    /// Notes what has become of a keyspace's tree: how far it is behind (1 where pacing
    /// begins), and whether it has tables in level 0.
    pub(crate) fn note(&mut self, id: KeyspaceId, pressure: f64, has_level_0: bool) {
        // Of numbers that are not negative, the order is that of their bits.
        let bits = pressure.max(0.0).to_bits();
        if let Some(before) = self.pressures.remove(&id) {
            self.ordered.remove(&(before, id));
        }
        if bits != 0 {
            self.pressures.insert(id, bits);
            self.ordered.insert((bits, id));
        }
        match has_level_0 {
            true => drop(self.level_0.insert(id)),
            false => drop(self.level_0.remove(&id)),
        }
    }

    /// How far the keyspace is behind that is worst off.
    pub(crate) fn worst_pressure(&self) -> f64 {
        self.ordered.last().map_or(0.0, |&(bits, _)| f64::from_bits(bits))
    }

    /// The order in which few keyspaces, `count` of them, are asked, each once: who is furthest
    /// behind first, or low numbers would leave nothing to the others. Now and then they are
    /// asked in turn, for some work presses nobody: what is garbage, or old.
    pub(crate) fn order(&mut self, count: usize) -> Vec<KeyspaceId> {
        self.orders = self.orders.wrapping_add(1);
        let first = (self.orders / IN_TURN) % count.max(1);
        let mut order: Vec<KeyspaceId> = match self.orders % IN_TURN {
            0 => Vec::new(),
            _ => self.ordered.iter().rev().map(|&(_, id)| id).collect(),
        };
        let in_turn = (first..count).chain(0..first).map(|number| KeyspaceId(number as u32));
        let rest: Vec<KeyspaceId> = in_turn.filter(|id| !order.contains(id)).collect();
        order.extend(rest);
        order
    }

    /// Whether any keyspace has tables in level 0.
    pub(crate) fn any_level_0(&self) -> bool {
        !self.level_0.is_empty()
    }

    /// Lets all keyspaces be asked that have tables in level 0.
    pub(crate) fn push_level_0(&mut self) {
        for id in std::mem::take(&mut self.level_0) {
            self.push(id);
            self.level_0.insert(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyspace_waits_once_and_the_one_that_waited_longest_comes_first() {
        let mut lineup = Lineup::default();
        for id in [3, 1, 3, 2] {
            lineup.push(KeyspaceId(id));
        }
        let order: Vec<u32> = std::iter::from_fn(|| lineup.pop().map(|id| id.0)).collect();
        assert_eq!(order, [3, 1, 2]);
        lineup.push(KeyspaceId(3));
        assert_eq!(lineup.pop(), Some(KeyspaceId(3)));
    }

    #[test]
    fn a_sweep_asks_every_keyspace_and_begins_only_after_a_job_and_a_while() {
        let mut lineup = Lineup::default();
        let sweep = |lineup: &mut Lineup| {
            std::iter::from_fn(|| lineup.sweep(5).map(|id| id.0)).collect::<Vec<_>>()
        };
        assert!(!lineup.begin_sweep(5, 0, 10));
        assert_eq!(sweep(&mut lineup), [0; 0], "no job has ended");
        lineup.begin_sweep(5, 1, 10);
        assert_eq!(sweep(&mut lineup), [0, 1, 2, 3, 4]);
        lineup.begin_sweep(5, 2, SWEEP_NS);
        assert!(!lineup.is_sweeping(), "too early");
        lineup.begin_sweep(5, 2, SWEEP_NS + 10);
        assert_eq!(sweep(&mut lineup).len(), 5);
        assert!(!lineup.begin_sweep(5, 2, 9 * SWEEP_NS), "nothing is new");
        lineup.want_sweep();
        assert!(lineup.begin_sweep(5, 2, 9 * SWEEP_NS), "time has passed");
        assert_eq!(sweep(&mut lineup).len(), 5);
        assert!(!lineup.begin_sweep(5, 2, 19 * SWEEP_NS), "once");
    }

    #[test]
    fn who_is_furthest_behind_is_asked_first_and_nobody_is_left_out() {
        let mut lineup = Lineup::default();
        lineup.note(KeyspaceId(2), 0.5, true);
        lineup.note(KeyspaceId(4), 1.5, true);
        let mut firsts = BTreeMap::new();
        for _ in 0..100 {
            let order = lineup.order(5);
            assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 5, "{order:?}");
            *firsts.entry(order[0].0).or_insert(0) += 1;
        }
        assert_eq!(firsts.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert!(firsts[&4] >= 75, "{firsts:?}");
    }

    #[test]
    fn the_worst_pressure_is_that_of_a_keyspace_as_it_is_now() {
        let mut lineup = Lineup::default();
        lineup.note(KeyspaceId(1), 0.5, true);
        lineup.note(KeyspaceId(2), 2.5, false);
        assert_eq!(lineup.worst_pressure(), 2.5);
        lineup.note(KeyspaceId(2), 0.25, false);
        assert_eq!(lineup.worst_pressure(), 0.5);
        lineup.note(KeyspaceId(1), 0.0, false);
        lineup.note(KeyspaceId(2), 0.0, false);
        assert_eq!(lineup.worst_pressure(), 0.0);
        assert!(!lineup.any_level_0());
    }
}
