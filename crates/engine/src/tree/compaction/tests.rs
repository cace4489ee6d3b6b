//! The picker on trees of vectors: nothing visible changes, and it comes to rest.

use super::model::{ENTRY_BYTES, Model, RunningJob};
use super::plan::Reason;
use super::visible::is_expired;
use super::*;
use crate::tree::merge::vec_cursor::OwnedEntry;
use proptest::prelude::*;
use std::ops::Bound;
use tanada_format::{SeqNo, ValueKind};

/// A shape that a few hundred entries fill: tables of four entries.
fn small(l0_runs: usize, inner_runs: usize, last_runs: usize) -> Config {
    Config {
        l0_runs,
        inner_runs,
        last_runs,
        size_ratio: 3,
        base_bytes: 8 * ENTRY_BYTES,
        table_bytes: 4 * ENTRY_BYTES,
        job_bytes: 32 * ENTRY_BYTES,
        garbage_percent: 25,
        garbage_age_ms: 10,
        tables_a_level: 256,
        window: 256,
    }
}

fn key(n: u64) -> Vec<u8> {
    format!("k{n:02}").into_bytes()
}

/// Writes of one flush: (key, kind, milliseconds until it expires).
type Writes = Vec<(u64, u8, u64)>;

#[derive(Clone, Debug)]
enum Op {
    Flush(Writes),
    Start,
    Finish(usize),
    Hold,
    Release(usize),
    Wait(u64),
    Compact(u64, u64),
}

fn op() -> impl Strategy<Value = Op> {
    let writes = |keys: std::ops::Range<u64>| {
        let expiry = prop_oneof![3 => Just(0u64), 1 => 1u64..30];
        prop::collection::vec((keys, 0u8..4, expiry), 1..24)
    };
    let narrow = (0u64..35).prop_flat_map(move |from| writes(from..from + 5));
    prop_oneof![
        4 => writes(0..40).prop_map(Op::Flush),
        2 => narrow.prop_map(Op::Flush),
        6 => Just(Op::Start),
        5 => (0usize..4).prop_map(Op::Finish),
        1 => Just(Op::Hold),
        1 => (0usize..4).prop_map(Op::Release),
        1 => (1u64..40).prop_map(Op::Wait),
        1 => (0u64..40, 0u64..40).prop_map(|(a, b)| Op::Compact(a.min(b), a.max(b))),
    ]
}

/// A tree, the jobs under way in it, and every write there ever was.
struct World {
    model: Model,
    jobs: Vec<RunningJob>,
    history: Vec<OwnedEntry>,
}

impl World {
    fn new(config: Config) -> World {
        World { model: Model::new(config), jobs: Vec::new(), history: Vec::new() }
    }

    fn newest(&self) -> SeqNo {
        SeqNo(self.history.len() as u64)
    }

    fn flush(&mut self, writes: &Writes) {
        let from = self.history.len();
        for &(n, kind, ttl) in writes {
            let seqno = self.newest().0 + 1;
            let expires_at_ms = if ttl == 0 { 0 } else { self.model.now_ms + ttl };
            self.history.push(match kind {
                0 => OwnedEntry::delete(key(n), seqno),
                _ => OwnedEntry {
                    expires_at_ms,
                    ..OwnedEntry::put(key(n), seqno, seqno.to_string())
                },
            });
        }
        self.model.flush(self.history[from..].to_vec());
    }

    fn step(&mut self, op: &Op) {
        let model = &mut self.model;
        match op {
            Op::Flush(writes) => self.flush(writes),
            Op::Start if self.jobs.len() < 4 => {
                if let Some(plan) = model.pick() {
                    let job = model.start(plan);
                    self.jobs.push(job);
                }
            }
            Op::Start => {}
            Op::Finish(i) => {
                if !self.jobs.is_empty() {
                    let job = self.jobs.remove(i % self.jobs.len());
                    model.finish(job);
                }
            }
            Op::Hold => {
                let newest = self.newest();
                self.model.snapshots.push(newest);
            }
            Op::Release(i) => {
                if !model.snapshots.is_empty() {
                    let i = i % model.snapshots.len();
                    model.snapshots.remove(i);
                }
            }
            Op::Wait(ms) => model.now_ms += ms,
            Op::Compact(from, to) => {
                let (from, to) = (key(*from), key(*to));
                let begun = model.begun();
                let step = plan_range(
                    &model.version,
                    &model.config,
                    &model.in_flight,
                    model.moment(),
                    (Bound::Included(&from), Bound::Included(&to)),
                    begun,
                );
                if let ManualStep::Run(plan) = step {
                    let job = model.start(*plan);
                    self.jobs.push(job);
                }
            }
        }
    }

    fn expected(&self, key: &[u8], at: SeqNo) -> Option<Vec<u8>> {
        let newest = self.history.iter().rfind(|e| e.key == key && e.seqno <= at)?;
        let dead =
            newest.kind == ValueKind::Delete || is_expired(newest.expires_at_ms, self.model.now_ms);
        (!dead).then(|| newest.value.clone())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for at in self.model.snapshots.iter().copied().chain([SeqNo::MAX]) {
            for n in 0..40 {
                let (found, expected) = (self.model.get(&key(n), at), self.expected(&key(n), at));
                prop_assert_eq!(found, expected, "key {} at {}: {:?}", n, at, self.model.version);
            }
        }
        Ok(())
    }

    fn finish_all(&mut self) {
        for job in std::mem::take(&mut self.jobs) {
            self.model.finish(job);
        }
    }
}

fn configs() -> impl Strategy<Value = Config> {
    prop_oneof![
        (1usize..5).prop_map(|l0| small(l0, 1, 1)),
        (1usize..5, 2usize..4).prop_map(|(l0, inner)| small(l0, inner, 1)),
        (1usize..5, 1usize..4).prop_map(|(l0, runs)| small(l0, runs, runs)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Stands for snapshot_dirty_read_during_compaction, lost_inserts_bulk,
    /// two_compactions_same_inputs, base_level_skips_nonempty and
    /// same_user_key_across_files together: whatever is picked, in whatever
    /// order jobs overlap and end, every reader sees what was written, and
    /// every version of the tree keeps its invariants.
    #[test]
    fn readers_never_notice_compactions(
        config in configs(),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut world = World::new(config);
        for op in &ops {
            world.step(op);
            world.check()?;
        }
        world.finish_all();
        world.check()?;
        world.model.settle();
        world.check()?;
        world.model.snapshots.clear();
        world.model.now_ms += 1000;
        world.model.settle();
        world.check()?;
    }

    #[test]
    fn a_settled_tree_has_its_shape(
        config in configs(),
        flushes in prop::collection::vec(
            prop::collection::vec((0u64..40, 0u8..8, Just(0)), 1..24),
            1..30,
        ),
    ) {
        let mut world = World::new(config.clone());
        for writes in &flushes {
            world.flush(writes);
            world.model.settle();
            let version = &world.model.version;
            for table in version.tables() {
                let meta = table.meta();
                prop_assert!(meta.size_bytes <= config.table_bytes + ENTRY_BYTES * 40);
                let over = version.tables_for_key(&meta.min_key);
                let l0 = over.filter(|(level, _)| level.0 == 0).count();
                prop_assert!(l0 < config.l0_runs.max(2), "{} runs in level 0", l0);
            }
            let targets = level_targets(version, &config);
            let inner = 1..super::shape::LAST;
            for (level, target) in version.levels()[inner.clone()].iter().zip(&targets[inner]) {
                prop_assert!(level.size_bytes() <= *target);
            }
        }
        prop_assert_eq!(debt(&world.model.version, &config), 0);
    }

    #[test]
    fn a_compaction_by_hand_leaves_one_run_without_garbage(
        config in configs(),
        flushes in prop::collection::vec(
            prop::collection::vec((0u64..40, 0u8..4, prop_oneof![Just(0u64), 1u64..9]), 1..24),
            1..12,
        ),
    ) {
        let mut world = World::new(config);
        for writes in &flushes {
            world.flush(writes);
        }
        world.model.now_ms += 10;
        let begun = world.model.begun();
        for jobs in 0.. {
            prop_assert!(jobs < 100, "it does not end");
            let model = &mut world.model;
            let all = (Bound::Unbounded, Bound::Unbounded);
            let (version, config, in_flight) = (&model.version, &model.config, &model.in_flight);
            match plan_range(version, config, in_flight, model.moment(), all, begun) {
                ManualStep::Run(plan) => {
                    let job = model.start(*plan);
                    model.finish(job);
                }
                ManualStep::Wait => prop_assert!(false, "nothing is in flight"),
                ManualStep::Done => break,
            }
        }
        world.check()?;
        let version = &world.model.version;
        let (upper, last) = version.levels().split_at(super::shape::LAST);
        prop_assert!(upper.iter().all(|level| level.is_empty()));
        prop_assert!(last[0].runs().len() <= 1);
        for table in version.tables() {
            prop_assert_eq!((table.meta().tombstones, table.meta().expiring), (0, 0));
        }
    }
}

fn world_of(config: Config, flushes: &[&[u64]]) -> World {
    let mut world = World::new(config);
    for keys in flushes {
        world.flush(&keys.iter().map(|&n| (n, 1, 0)).collect());
    }
    world
}

fn inputs(plan: &Plan) -> Vec<u64> {
    plan.tables().map(|table| table.id().0).collect()
}

/// rocksdb HISTORY 6.10: two compactions took the same table, and what one of
/// them had dropped came back with the other.
#[test]
fn two_compactions_same_inputs() {
    let mut world = world_of(small(2, 1, 1), &[&[1, 2], &[1, 2], &[8, 9], &[8, 9]]);
    let first = world.model.pick().unwrap();
    let first = world.model.start(first);
    let second = world.model.pick().unwrap();
    assert!(inputs(&first.plan).iter().all(|id| !inputs(&second).contains(id)));
    let second = world.model.start(second);
    assert!(world.model.pick().is_none(), "nothing is left that is not taken");
    world.model.finish(second);
    world.model.finish(first);
    world.check().unwrap();
}

/// badger #2143: level 0 was merged into a level below one that held data, and
/// the older data lay above the newer.
#[test]
fn base_level_skips_nonempty() {
    let mut config = small(2, 1, 1);
    let mut world = world_of(config.clone(), &[]);
    // A large tree with data in inner levels …
    config.base_bytes = ENTRY_BYTES;
    world.model.config = config.clone();
    for round in 0..12 {
        world.flush(&(0..20).map(|n| ((n * 2 + round) % 40, 1, 0)).collect());
        world.model.settle();
    }
    let first = (1..).find(|&l| !world.model.version.levels()[l].is_empty()).unwrap();
    assert!(first < super::shape::LAST, "the test wants data in an inner level");
    // … whose ideal base level lies deeper now.
    config.base_bytes = 1000 * ENTRY_BYTES;
    world.model.config = config.clone();
    world.flush(&(0..40).map(|n| (n, 1, 0)).collect());
    world.flush(&(0..40).map(|n| (n, 1, 0)).collect());
    let plan = world.model.pick().unwrap();
    assert_eq!(plan.inputs[0].level.index(), 0);
    assert!(plan.target.index() <= first, "{} skips L{first}", plan.target);
    world.model.settle();
    world.check().unwrap();
}

#[test]
fn tables_side_by_side_move_down_without_being_read() {
    let mut world = World::new(small(4, 1, 1));
    for from in 0..10 {
        world.flush(&(from * 4..from * 4 + 4).map(|n| (n, 1, 0)).collect());
        world.model.settle();
    }
    assert_eq!(world.model.merged_bytes, 0);
    assert!(world.model.version.levels()[0].is_empty());
    world.check().unwrap();
}

#[test]
fn level_0_that_cannot_go_down_becomes_narrower() {
    let config = Config { base_bytes: 100 * ENTRY_BYTES, ..small(4, 1, 1) };
    let mut world = world_of(config, &[&[1, 9], &[1, 9], &[1, 9], &[1, 9], &[1, 9]]);
    let down = world.model.pick().unwrap();
    let down = world.model.start(down);
    for _ in 0..6 {
        world.flush(&vec![(1, 1, 0), (9, 1, 0)]);
    }
    let width = world.model.pick().unwrap();
    assert_eq!((width.reason, width.target.0), (Reason::Level0Width, 0));
    let width = world.model.start(width);
    world.flush(&vec![(1, 1, 0)]);
    world.model.finish(width);
    world.check().unwrap();
    world.model.finish(down);
    world.check().unwrap();
    assert_eq!(world.model.version.levels()[0].runs().len(), 2);
}

#[test]
fn a_table_of_deletes_is_pushed_down_and_then_gone() {
    let config = Config { base_bytes: 100 * ENTRY_BYTES, ..small(4, 1, 1) };
    let mut world = world_of(config, &[&(0..40).collect::<Vec<_>>()]);
    world.model.settle();
    world.flush(&(0..20).map(|n| (n, 0, 0)).collect());
    assert_eq!(world.model.settle(), 0, "it is too young");
    world.model.now_ms += 10;
    world.model.snapshots.push(SeqNo(40));
    assert_eq!(world.model.settle(), 0, "a snapshot looks behind it");
    world.model.snapshots.clear();
    assert!(world.model.settle() > 0);
    let version = &world.model.version;
    assert_eq!(version.tables().map(|table| table.meta().tombstones).sum::<u64>(), 0);
    assert_eq!(version.tables().map(|table| table.meta().entries).sum::<u64>(), 20);
    world.check().unwrap();
}

#[test]
fn expired_tables_are_dropped_unread_unless_they_hide_something() {
    let mut world = World::new(small(4, 1, 1));
    world.flush(&(0..8).map(|n| (n, 1, 5)).collect());
    world.model.settle();
    world.model.now_ms += 5;
    let plan = world.model.pick().unwrap();
    assert_eq!((plan.method, plan.reason), (Method::Drop, Reason::Expired));
    world.model.settle();
    assert_eq!((world.model.version.table_count(), world.model.merged_bytes), (0, 0));

    world.flush(&(0..8).map(|n| (n, 1, 0)).collect());
    world.model.settle();
    world.flush(&(0..8).map(|n| (n, 1, 5)).collect());
    world.model.now_ms += 5;
    assert!(world.model.pick().is_none_or(|plan| plan.method != Method::Drop));
    world.check().unwrap();
}

#[test]
fn an_idle_tree_empties_level_0_unless_that_costs_too_much() {
    let config = Config { base_bytes: 1000 * ENTRY_BYTES, ..small(4, 1, 1) };
    let mut world = world_of(config, &[&(0..40).collect::<Vec<_>>()]);
    world.model.settle();
    let idle = |model: &super::model::Model| {
        pick_idle(&model.version, &model.config, &model.in_flight, model.moment())
    };
    world.flush(&(0..4).map(|n| (n * 10, 1, 0)).collect());
    assert!(idle(&world.model).is_none(), "4 entries are not worth rewriting 40");
    world.flush(&(0..20).map(|n| (n * 2, 1, 0)).collect());
    assert!(world.model.pick().is_none(), "nothing is due");
    while let Some(job) = idle(&world.model) {
        let job = world.model.start(job);
        world.model.finish(job);
    }
    assert!(world.model.version.levels()[0].is_empty());
    world.check().unwrap();
}

#[test]
fn a_compaction_by_hand_leaves_later_writes_alone() {
    let mut world = world_of(small(8, 1, 1), &[&[1, 2], &[1, 2]]);
    let begun = world.model.begun();
    world.flush(&vec![(5, 1, 0)]);
    let all = (Bound::Unbounded, Bound::Unbounded);
    let model = &world.model;
    let step = |begun| {
        plan_range(&model.version, &model.config, &model.in_flight, model.moment(), all, begun)
    };
    let ManualStep::Run(plan) = step(begun) else { panic!("there is work") };
    assert_eq!(inputs(&plan).len(), 2);
    let before_all = Begun { seqno: SeqNo(0), ..begun };
    assert!(matches!(step(before_all), ManualStep::Done));
}

/// Outputs of a job in flight have later ids and old contents: taken for later writes,
/// they were left where they were.
#[test]
fn a_compaction_by_hand_takes_what_a_job_in_flight_wrote_from_older_tables() {
    let mut world = world_of(small(8, 1, 1), &[&[1, 2], &[1, 2], &[1, 2]]);
    let version = std::sync::Arc::clone(&world.model.version);
    let (config, in_flight) = (world.model.config.clone(), InFlight::default());
    let tree = super::tree::Tree::new(&version, &config, &in_flight, world.model.moment());
    let plan = tree.plan_width(&version.levels()[0].runs()[..2]).unwrap();
    let job = world.model.start(plan);
    let begun = world.model.begun();
    world.model.finish(job);
    let all = (Bound::Unbounded, Bound::Unbounded);
    let model = &world.model;
    let step =
        plan_range(&model.version, &model.config, &model.in_flight, model.moment(), all, begun);
    let ManualStep::Run(plan) = step else { panic!("there is work") };
    assert_eq!(inputs(&plan).len(), 2, "what the job wrote, and what it left");
}
