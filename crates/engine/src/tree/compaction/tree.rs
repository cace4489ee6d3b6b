//! From a seed to a whole job: what else must come along, and where it goes.
//!
//! Whatever is picked, by whichever rule, becomes a [`Plan`] here and nowhere
//! else, so that the one law of the tree is kept in one place: of two versions
//! of a key the newer always lies higher, or in a newer run of its level.

use super::config::Config;
use super::plan::{InFlight, InputRun, Method, OutputRun, Plan, Reason};
use super::shape::{LAST, Shape};
use crate::tree::version::{Run, RunId, Sums, TableHandle, TableMeta, Tables, Version};
use std::collections::HashSet;
use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;
use tanada_format::{Level, SeqNo, TableId, planted};

/// Most neighbours that move along with a table.
const MOVED: usize = 64;

/// What is true at the moment of a decision, beside the tree itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Wall-clock milliseconds, from the clock that never goes back.
    pub(crate) now_ms: u64,
    /// The oldest seqno that somebody reads at; [`SeqNo::MAX`] when nobody
    /// looks back.
    pub(crate) oldest_snapshot: SeqNo,
}

/// A closed range of user keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keys<'v> {
    pub(super) min: &'v [u8],
    pub(super) max: &'v [u8],
}

impl<'v> Keys<'v> {
    pub(super) fn of(table: &'v TableHandle) -> Keys<'v> {
        Keys { min: &table.meta().min_key, max: &table.meta().max_key }
    }

    pub(super) fn join(self, other: Keys<'v>) -> Keys<'v> {
        Keys { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    fn covers(self, other: Keys<'_>) -> bool {
        self.min <= other.min && other.max <= self.max
    }

    pub(super) fn tables_in(self, run: &Run) -> Tables<'_> {
        run.overlapping(Bound::Included(self.min), Bound::Included(self.max))
    }
}

/// Tables that must move together.
#[derive(Debug)]
struct Group<'v> {
    inputs: Vec<InputRun>,
    keys: Keys<'v>,
    bytes: u64,
}

/// A version and everything that decisions about it need.
#[derive(Debug)]
pub(super) struct Tree<'v> {
    pub(super) version: &'v Version,
    pub(super) config: &'v Config,
    pub(super) in_flight: &'v InFlight,
    pub(super) moment: Moment,
    pub(super) shape: Shape,
    /// Whether tables count as free that could not be read a while ago.
    pub(super) tries_all: bool,
}

impl<'v> Tree<'v> {
    pub(super) fn new(
        version: &'v Version,
        config: &'v Config,
        in_flight: &'v InFlight,
        moment: Moment,
    ) -> Tree<'v> {
        let shape = Shape::of(version, config);
        Tree { version, config, in_flight, moment, shape, tries_all: false }
    }

    pub(super) fn runs(&self, level: usize) -> &'v [Arc<Run>] {
        self.version.levels()[level].runs()
    }

    /// Whether a table may not be an input now: a job has it, or could not read it.
    pub(super) fn is_taken(&self, table: TableId) -> bool {
        let is_aside = !self.tries_all && self.in_flight.set_aside.has(table);
        self.in_flight.has(table) || is_aside
    }

    /// Tables of a level that no job has, of those whose turn it is.
    pub(super) fn free_tables(&self, level: usize) -> impl Iterator<Item = &'v Arc<TableHandle>> {
        self.window(level).filter(|table| !self.is_taken(table.id()))
    }

    /// The tables of a level whose turn it is: all, where there are not too many. Else
    /// a decision would cost the more the larger the tree is. Each decision goes on
    /// where the last one has ended.
    fn window(&self, level: usize) -> impl Iterator<Item = &'v Arc<TableHandle>> {
        let state = &self.version.levels()[level];
        let (runs, count) = (state.runs(), state.table_count());
        // Runs that overlap are few and must soon become one: more of them is seen.
        let length = self.config.window * if runs.len() > 1 { 4 } else { 1 };
        let turned = self.in_flight.turn() % (count.max(1) as u64) * (length as u64);
        let start = match count > length {
            true => (turned % count as u64) as usize,
            false => 0,
        };
        let before_wrap = length.min(count - start);
        let rest = length.min(count) - before_wrap;
        part(runs, start, before_wrap).chain(part(runs, 0, rest))
    }

    /// Bytes of a level's tables that no job has.
    pub(super) fn free_bytes(&self, level: usize) -> u64 {
        let all = self.version.levels()[level].size_bytes();
        all.saturating_sub(self.in_flight.bytes_in(self.version, level))
    }

    /// Tables that `wanted` takes of the segments that `may_hold` does not rule out: at
    /// most about a window of them in a level, from another segment on each time.
    /// Answers the run of each too, and which of the level's runs that is.
    pub(super) fn search(
        &self,
        level: usize,
        may_hold: impl Fn(&Sums) -> bool,
        wanted: impl Fn(&TableHandle) -> bool,
    ) -> Vec<(usize, &'v Arc<TableHandle>)> {
        let mut found = Vec::new();
        let state = &self.version.levels()[level];
        if !may_hold(&state.sums()) {
            return found;
        }
        for (at, run) in state.runs().iter().enumerate() {
            if !may_hold(&run.sums()) {
                continue;
            }
            let segments = run.segments();
            let first = (self.in_flight.turn() % segments.len() as u64) as usize;
            let turned = run.segments().skip(first).chain(segments.take(first));
            for (_, tables) in turned.filter(|(sums, _)| may_hold(sums)) {
                if found.len() >= self.config.window {
                    return found;
                }
                let free = tables.iter().filter(|table| !self.is_taken(table.id()));
                found.extend(free.filter(|table| wanted(table)).map(|table| (at, table)));
            }
        }
        found
    }

    /// Runs of a level that have a table over these keys.
    pub(super) fn depth(&self, level: usize, keys: Keys<'_>) -> usize {
        self.runs(level).iter().filter(|run| !keys.tables_in(run).is_empty()).count()
    }

    /// Bytes of a level's tables over these keys.
    pub(super) fn bytes_over(&self, level: usize, keys: Keys<'_>) -> u64 {
        self.runs(level).iter().map(|run| keys.tables_in(run).size_bytes()).sum()
    }

    /// Whether any table of these levels lies over the keys.
    pub(super) fn any_over(&self, mut levels: RangeInclusive<usize>, keys: Keys<'_>) -> bool {
        levels.any(|level| self.depth(level, keys) > 0)
    }

    /// Entries of a table that a rewrite at the bottom would drop, as far as
    /// that is known without reading it; none while a snapshot may need them.
    pub(super) fn garbage(&self, meta: &TableMeta) -> u64 {
        if meta.max_seqno > self.moment.oldest_snapshot {
            return 0;
        }
        (meta.useless() + meta.expired_by(self.moment.now_ms)).min(meta.entries)
    }

    /// Whether some table of these may be mostly garbage, and old enough for a rewrite, or
    /// paid for.
    pub(super) fn may_hold_garbage(&self, sums: &Sums) -> bool {
        sums.first_max_seqno <= self.moment.oldest_snapshot
            && (self.in_flight.is_paid() || self.is_old(sums.first_created_ms))
            && (sums.most_useless >= 10 * self.config.garbage_percent
                || self.moment.now_ms >= sums.first_garbage_ms)
    }

    /// Whether a table written then is old enough to be rewritten for its garbage.
    pub(super) fn is_old(&self, created_ms: u64) -> bool {
        self.moment.now_ms.saturating_sub(created_ms) >= self.config.garbage_age_ms
    }

    /// Whether a rewrite for the garbage's sake is worth it.
    pub(super) fn is_mostly_garbage(&self, meta: &TableMeta) -> bool {
        self.garbage(meta) * 100 >= meta.entries * self.config.garbage_percent
    }

    /// The tables of `levels` over `keys`, over the keys of those, and so on:
    /// left alone, each would lie above or below what it must not. Of the first
    /// level only runs up to `newest` count.
    fn group(
        &self,
        levels: RangeInclusive<usize>,
        mut keys: Keys<'v>,
        newest: Option<RunId>,
    ) -> Group<'v> {
        loop {
            let mut inputs = Vec::new();
            let mut bytes = 0;
            let mut wider = keys;
            for level in levels.clone() {
                for run in self.runs(level) {
                    if level == *levels.start() && newest.is_some_and(|newest| run.id() > newest) {
                        continue;
                    }
                    let tables = keys.tables_in(run);
                    let (Some(first), Some(last)) = (tables.first(), tables.last()) else {
                        continue;
                    };
                    wider = wider.join(Keys::of(first)).join(Keys::of(last));
                    bytes += tables.size_bytes();
                    let (level, run) = (Level(level as u8), run.id());
                    inputs.push(InputRun { level, run, tables: tables.to_vec() });
                }
            }
            if wider == keys {
                return Group { inputs, keys, bytes };
            }
            keys = wider;
        }
    }

    fn is_free(&self, group: &Group<'_>) -> bool {
        let mut tables = group.inputs.iter().flat_map(|run| &run.tables);
        tables.all(|table| !self.is_taken(table.id()))
    }

    /// Brings the tables over `seed` from `source` (and from the levels
    /// between) into `target`; `source == target` rewrites them in place.
    /// `None` when a job in flight is in the way.
    pub(super) fn plan(
        &self,
        reason: Reason,
        source: usize,
        target: usize,
        seed: Keys<'v>,
    ) -> Option<Plan> {
        if source == target {
            let group = self.group(target..=target, seed, None);
            return self.finish(reason, Method::Merge, group.inputs, target, group.keys);
        }
        let bottom = if planted!(base_level_skips_nonempty) { source } else { target - 1 };
        let (above, newest) = self.free_group(source, bottom, seed)?;
        let allowed = match reason {
            Reason::Manual => 1,
            _ => self.config.runs_in(target, LAST),
        };
        let depth = self.depth(target, above.keys);
        if depth == 0 && above.inputs.len() == 1 && !self.should_rewrite(&above, target) {
            let moved = self.widen_move(above, source..=target);
            return self.finish(reason, Method::Move, moved.inputs, target, moved.keys);
        }
        if depth < allowed {
            return self.finish(reason, Method::Merge, above.inputs, target, above.keys);
        }
        let below = self.group(target..=target, above.keys, None);
        if !self.is_free(&below) {
            return None;
        }
        let keys = above.keys.join(below.keys);
        let above = self.widen_merge(above, &below, source..=target - 1, newest);
        let mut inputs = above.inputs;
        inputs.extend(below.inputs);
        self.finish(reason, Method::Merge, inputs, target, keys)
    }

    /// The group over `seed`. Where newer runs of the source are taken by a
    /// job, what is older than they may still go.
    fn free_group(
        &self,
        source: usize,
        bottom: usize,
        seed: Keys<'v>,
    ) -> Option<(Group<'v>, Option<RunId>)> {
        let mut newest = None;
        loop {
            let group = self.group(source..=bottom, seed, newest);
            if group.inputs.is_empty() {
                return None;
            }
            let taken = |run: &&InputRun| run.tables.iter().any(|t| self.is_taken(t.id()));
            let Some(oldest_taken) = group.inputs.iter().rfind(taken) else {
                return Some((group, newest));
            };
            if oldest_taken.level.index() != source {
                return None;
            }
            let older = self.runs(source).iter().map(|run| run.id());
            newest = Some(older.filter(|&id| id < oldest_taken.run).max()?);
        }
    }

    /// Whether a move would carry garbage to where nothing but a rewrite ever
    /// takes it away.
    fn should_rewrite(&self, group: &Group<'_>, target: usize) -> bool {
        let mut tables = group.inputs.iter().flat_map(|run| &run.tables);
        let garbage = tables.any(|table| self.is_mostly_garbage(table.meta()));
        garbage && !self.any_over(target..=LAST, group.keys)
    }

    /// Takes in the neighbours that can move along: one edit instead of many.
    fn widen_move(&self, group: Group<'v>, levels: RangeInclusive<usize>) -> Group<'v> {
        let source = *levels.start();
        let target = *levels.end();
        let level = &self.version.levels()[source];
        let run = level.runs().iter().find(|run| run.id() == group.inputs[0].run);
        let (Some(run), true) = (run, group.inputs[0].level.index() == source) else {
            return group;
        };
        let excess = level.size_bytes().saturating_sub(self.shape.targets[source]);
        let mut group = group;
        let behind = run.overlapping(Bound::Excluded(group.keys.max), Bound::Unbounded);
        for table in behind.iter().take(MOVED) {
            let keys = group.keys.join(Keys::of(table));
            let wider = self.group(levels.clone(), keys, None);
            let fits = group.bytes < excess
                && wider.inputs.len() == 1
                && self.is_free(&wider)
                && !self.should_rewrite(&wider, target);
            if !fits {
                break;
            }
            group = wider;
        }
        group
    }

    /// Takes in more from above where it costs no more from below.
    fn widen_merge(
        &self,
        above: Group<'v>,
        below: &Group<'v>,
        levels: RangeInclusive<usize>,
        newest: Option<RunId>,
    ) -> Group<'v> {
        let whole = above.keys.join(below.keys);
        let inside = levels.clone().flat_map(|level| self.runs(level)).flat_map(|run| {
            let tables = whole.tables_in(run).iter().map(|table| Keys::of(table));
            tables.filter(|&keys| whole.covers(keys))
        });
        let seed = inside.fold(above.keys, Keys::join);
        let wider = self.group(levels, seed, newest);
        let pays = whole.covers(wider.keys)
            && wider.bytes + below.bytes <= self.config.job_bytes
            && self.is_free(&wider);
        if pays { wider } else { above }
    }

    /// Completes a plan, unless a job in flight is in the way.
    fn finish(
        &self,
        reason: Reason,
        method: Method,
        inputs: Vec<InputRun>,
        target: usize,
        keys: Keys<'v>,
    ) -> Option<Plan> {
        let tables = || inputs.iter().flat_map(|run| &run.tables);
        if tables().any(|table| self.is_taken(table.id())) {
            return None;
        }
        let source = inputs.iter().map(|run| run.level.index()).min()?;
        if self.in_flight.blocks(source, target, keys.min, keys.max) {
            return None;
        }
        let ids: HashSet<TableId> = tables().map(|table| table.id()).collect();
        let is_input = |table: &Arc<TableHandle>| ids.contains(&table.id());
        // What stays in the target level over the same keys is older: the
        // outputs go to the oldest run that is free of it, as are all newer ones.
        let mut output_run = OutputRun::New;
        let mut older = Vec::new();
        for run in self.runs(target) {
            let rest: Vec<_> =
                keys.tables_in(run).iter().filter(|table| !is_input(table)).cloned().collect();
            if !rest.is_empty() {
                older.push(rest);
            } else if older.is_empty() {
                output_run = OutputRun::Existing(run.id());
            }
        }
        older.extend(self.older_below(target, keys));
        Some(self.assemble(reason, method, inputs, target, keys, (output_run, older)))
    }

    /// Tables below `level` over the keys, by run.
    fn older_below(&self, level: usize, keys: Keys<'_>) -> Vec<Vec<Arc<TableHandle>>> {
        let runs = (level + 1..=LAST).flat_map(|level| self.runs(level));
        runs.map(|run| keys.tables_in(run).to_vec()).filter(|run| !run.is_empty()).collect()
    }

    fn assemble(
        &self,
        reason: Reason,
        method: Method,
        inputs: Vec<InputRun>,
        target: usize,
        keys: Keys<'_>,
        (output_run, older): (OutputRun, Vec<Vec<Arc<TableHandle>>>),
    ) -> Plan {
        let next = self.shape.next(self.version, target);
        let grandparents = match self.runs(next).last() {
            Some(run) if next > target => keys.tables_in(run).to_vec(),
            _ => Vec::new(),
        };
        let table_bytes = self.config.table_bytes_in(self.shape.targets[target]);
        Plan {
            method,
            reason,
            inputs,
            target: Level(target as u8),
            output_run,
            min_key: keys.min.into(),
            max_key: keys.max.into(),
            older,
            grandparents,
            table_bytes,
            grandparent_bytes: self.config.grandparent_bytes(table_bytes),
        }
    }

    /// Makes one run of the level's runs `runs`, which stand next to each other
    /// and are whole.
    pub(super) fn plan_width(&self, runs: &'v [Arc<Run>]) -> Option<Plan> {
        let newest = runs.first()?;
        let keys = |run: &'v Run| Keys { min: run.min_key(), max: run.max_key() };
        let keys = runs.iter().map(|run| keys(run)).reduce(Keys::join)?;
        if self.in_flight.blocks(0, 0, keys.min, keys.max) {
            return None;
        }
        let older_runs =
            self.runs(0).iter().skip_while(|run| run.id() >= runs[runs.len() - 1].id());
        let mut older: Vec<_> = older_runs.map(|run| keys.tables_in(run).to_vec()).collect();
        older.retain(|run| !run.is_empty());
        older.extend(self.older_below(0, keys));
        let inputs = runs.iter().map(|run| InputRun {
            level: Level(0),
            run: run.id(),
            tables: run.tables().to_vec(),
        });
        let output_run = OutputRun::Existing(newest.id());
        let (reason, method) = (Reason::Level0Width, Method::Merge);
        Some(self.assemble(reason, method, inputs.collect(), 0, keys, (output_run, older)))
    }

    /// Drops tables of one level in which nothing is visible and which hide nothing.
    pub(super) fn plan_drop(&self, level: usize) -> Option<Plan> {
        let may_hold = |sums: &Sums| {
            self.moment.now_ms >= sums.first_dead_ms
                && sums.first_max_seqno <= self.moment.oldest_snapshot
        };
        let all_expired = |table: &TableHandle| {
            let meta = table.meta();
            self.moment.now_ms >= meta.dead_from_ms()
                && meta.max_seqno <= self.moment.oldest_snapshot
        };
        let hides_nothing = |at: usize, table: &TableHandle| {
            let keys = Keys::of(table);
            let older = &self.runs(level)[at + 1..];
            older.iter().all(|run| keys.tables_in(run).is_empty())
                && !self.any_over(level + 1..=LAST, keys)
        };
        let mut dead = self.search(level, may_hold, all_expired);
        dead.retain(|&(at, table)| hides_nothing(at, table));
        dead.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| Keys::of(a.1).min.cmp(Keys::of(b.1).min)));
        let mut inputs: Vec<InputRun> = Vec::new();
        for (at, table) in dead {
            let run = self.runs(level)[at].id();
            match inputs.last_mut() {
                Some(last) if last.run == run => last.tables.push(Arc::clone(table)),
                _ => {
                    let tables = vec![Arc::clone(table)];
                    inputs.push(InputRun { level: Level(level as u8), run, tables });
                }
            }
        }
        let all: Vec<_> = inputs.iter().flat_map(|run| run.tables.clone()).collect();
        let keys = all.iter().map(|table| Keys::of(table)).reduce(Keys::join)?;
        let nowhere = (OutputRun::New, Vec::new());
        Some(self.assemble(Reason::Expired, Method::Drop, inputs, level, keys, nowhere))
    }
}

/// Of the tables of all `runs`, one run behind the other, `count` from `start` on.
fn part(runs: &[Arc<Run>], start: usize, count: usize) -> impl Iterator<Item = &Arc<TableHandle>> {
    let mut first = 0;
    let end = start + count;
    runs.iter().flat_map(move |run| {
        let tables = run.tables();
        let begins = first;
        first += tables.len();
        let from = start.saturating_sub(begins);
        tables.window(from, end.saturating_sub(begins.max(start))).iter()
    })
}
