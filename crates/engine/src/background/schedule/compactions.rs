//! Which keyspace is compacted next, and how far behind its tree is.
//!
//! Few keyspaces are asked all, who is furthest behind first. Of many only those whose tree has changed are asked at
//! once; the others wait for a sweep, of which each search does a part.

use super::Job;
use crate::core::Core;
use crate::core::lineup::{FEW, SWEPT_AT_ONCE};
use crate::core::work::State;
use crate::read::holders::LooksBack;
use crate::read::view::KeyspaceState;
use crate::tree::compaction::{self, Due, Moment};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tanada_format::SeqNo;

impl Core {
    /// A compaction, marked as in flight. Few keyspaces are asked all, in a simulation from
    /// number `first` on; of many those whose tree has changed, and then a part of a sweep.
    pub(super) fn next_compaction(
        &self,
        state: &mut State,
        first: usize,
        idle: bool,
    ) -> Option<Job> {
        if state.compactions >= self.compactors() {
            return None;
        }
        let keyspaces = self.reading.keyspaces.load();
        let count = keyspaces.len();
        self.line_up_set_aside(state);
        // Before the moment: a reader that goes in between is waited for in vain, and that
        // is found out.
        let looks_back = self.reading.holders.looks_back();
        let now = (self.picking_moment(), idle, looks_back);
        if count <= FEW {
            while state.lineup.pop().is_some() {}
            (state.due, state.kept_for) = (Due::default(), None);
            if self.config.simulation.is_scheduled() {
                let turned = keyspaces.iter().skip(first).chain(keyspaces.iter().take(first));
                return turned.into_iter().find_map(|k| self.ask(state, k, now));
            }
            let order = state.lineup.order(count);
            let mut asked = order.into_iter().filter_map(|number| keyspaces.get(number));
            return asked.find_map(|k| self.ask(state, k, now));
        }
        if idle && state.idle_lined_up != state.idle_done {
            state.idle_lined_up = state.idle_done;
            state.lineup.push_level_0();
        }
        for _ in 0..state.lineup.waiting() {
            let keyspace = keyspaces.get(state.lineup.pop()?)?;
            if let Some(job) = self.ask(state, keyspace, now) {
                // There may be more to do.
                state.lineup.push(keyspace.id);
                return Some(job);
            }
        }
        let (ended, now_ns) = (self.background.ended(), self.reading.env.clock.monotonic_ns());
        match self.background.is_inline() {
            // Who does the work himself wants all that there is.
            true => state.lineup.sweep_again(count),
            false => {
                if state.due.at_ms.is_some_and(|at_ms| at_ms <= self.reading.removable_ms()) {
                    state.lineup.want_sweep();
                }
                if state.lineup.begin_sweep(count, ended, now_ns) {
                    (state.due, state.kept_for) = (Due::default(), None);
                }
            }
        }
        for _ in 0..SWEPT_AT_ONCE {
            let keyspace = keyspaces.get(state.lineup.sweep(count)?)?;
            if let Some(job) = self.ask(state, keyspace, now) {
                state.lineup.push(keyspace.id);
                return Some(job);
            }
        }
        state.swept_a_part = state.lineup.is_sweeping();
        None
    }

    /// The next compaction of one keyspace, if any is due.
    fn ask(
        &self,
        state: &mut State,
        keyspace: &Arc<KeyspaceState>,
        (moment, idle, looks_back): (Moment, bool, LooksBack),
    ) -> Option<Job> {
        let version = Arc::clone(&keyspace.view.load().version);
        if version.table_count() == 0 {
            return None;
        }
        let in_flight = state.compacting.entry(keyspace.id).or_default();
        let config = &self.config.compaction;
        if !in_flight.set_aside.is_empty() {
            in_flight.set_aside.forget_gone(&version);
            in_flight.set_aside.wake(self.reading.env.clock.monotonic_ns());
        }
        in_flight.next_turn();
        let paid = keyspace.paid.tables.swap(false, Relaxed);
        in_flight.note_paid(paid);
        let plan = match idle {
            true => compaction::pick_idle(&version, config, in_flight, moment),
            false => compaction::pick(&version, config, in_flight, moment),
        };
        let Some(plan) = plan else {
            if !self.background.is_inline() {
                let due = compaction::due(&version, config, moment, self.reading.removable_ms());
                state.due = state.due.and(due);
                if due.waits_for_readers {
                    state.kept_for.get_or_insert(looks_back);
                }
            }
            return None;
        };
        if paid {
            // There may be more to do.
            keyspace.paid.tables.store(true, Relaxed);
        }
        in_flight.start(&plan);
        if state.compactions == 0 {
            state.compacting_since_ns = self.reading.env.clock.monotonic_ns();
        }
        state.compactions += 1;
        Some(Job::Compact(Arc::clone(keyspace), Box::new(plan)))
    }

    /// When a table may be tried again that could not be read.
    pub(super) fn next_try_ns(&self, state: &State) -> Option<u64> {
        let of = |id| state.compacting.get(id).and_then(|in_flight| in_flight.set_aside.next_ns());
        state.set_aside.iter().filter_map(of).min()
    }

    /// Lets keyspaces be asked in which a table may be tried again that could not be read,
    /// and forgets those in which none is left.
    fn line_up_set_aside(&self, state: &mut State) {
        if state.set_aside.is_empty() {
            return;
        }
        let now_ns = self.reading.env.clock.monotonic_ns();
        let State { set_aside, compacting, lineup, .. } = state;
        set_aside.retain(|id| {
            let tables = compacting.get(id).map(|in_flight| &in_flight.set_aside);
            if tables.and_then(|t| t.next_ns()).is_some_and(|at_ns| at_ns <= now_ns) {
                lineup.push(*id);
            }
            tables.is_some_and(|t| !t.is_empty())
        });
    }

    /// Lets every keyspace be asked for a compaction, and sets the writers' pace: once,
    /// at the opening.
    pub(crate) fn line_up_all(&self) {
        let mut state = self.background.state.lock();
        let keyspaces = self.reading.keyspaces.load();
        keyspaces.iter().for_each(|keyspace| self.line_up(&mut state, keyspace));
        self.pacing.set_tree_pressure(state.lineup.worst_pressure());
    }

    /// Lets a keyspace be asked for a compaction, and notes how far it is behind: the
    /// writers' pace follows from the one that is worst off.
    pub(super) fn line_up(&self, state: &mut State, keyspace: &KeyspaceState) {
        let version = &keyspace.view.load().version;
        if version.table_count() == 0 {
            state.lineup.note(keyspace.id, 0.0, false);
            return;
        }
        let config = &self.config.compaction;
        let debt = compaction::debt(version, config) as f64 / config.calm_debt_bytes() as f64;
        let runs = version.levels()[0].runs().len();
        let pressure = debt.max(runs as f64 / config.calm_l0_runs() as f64);
        state.lineup.note(keyspace.id, pressure, runs > 0);
        state.lineup.push(keyspace.id);
    }

    /// What is true now for who picks a job.
    pub(crate) fn picking_moment(&self) -> Moment {
        // A table all of whose values have expired is dropped by this moment: they must
        // have expired for every cursor.
        let moment = self.job_moment();
        let oldest_snapshot = moment.seqnos.first().copied().unwrap_or(SeqNo::MAX);
        Moment { now_ms: moment.now_ms, oldest_snapshot }
    }

    /// Compactions at once: a core is left for flushes, where there is more than one.
    pub(super) fn compactors(&self) -> usize {
        self.config.threads.max(2) - 1
    }
}
