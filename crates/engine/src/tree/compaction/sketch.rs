//! Trees written down as text, and plans read as text: for tests of decisions, which
//! need no entry of any table.

use super::plan::OutputRun;
use super::*;
use crate::tree::version::{
    AddedTable, RunId, TableHandle, TableMeta, TableStore, Version, VersionEdit,
};
use std::ops::Bound;
use std::sync::Arc;
use tanada_format::{DatabaseId, Level, SeqNo, TableId};
use tanada_table::ExpiryQuantiles;

/// What is to be decided about.
pub(super) struct Sketch {
    pub(super) version: Arc<Version>,
    pub(super) config: Config,
    pub(super) in_flight: InFlight,
    pub(super) moment: Moment,
}

impl Sketch {
    /// A tree, a run a line: `L5: 3 a-f, 4 g-k` are the tables 3 and 4 in a run of
    /// level 5 that has the number of its first table. Behind its keys a table may
    /// have a size in bytes (else 400), entries `n8` (else 4), deletes `t2`, values
    /// that expire `x4@90` and when each eighth of them but the last has
    /// `q60/60/70/70/80/80/90`, the time when it was written `c5` (else 0). Its only
    /// seqno is its number.
    pub(super) fn new(config: Config, text: &str) -> Sketch {
        let mut edit = VersionEdit::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (level, tables) = line.split_once(": ").unwrap();
            let level = Level(level.strip_prefix('L').unwrap().parse().unwrap());
            let metas: Vec<TableMeta> = tables.split(", ").map(table).collect();
            let run = RunId(metas[0].id.0);
            edit.added.extend(metas.into_iter().map(|meta| AddedTable { level, run, meta }));
        }
        let fs = tanada_vfs::Env::memory(0).fs;
        let cache = tanada_table::BlockCache::new(0);
        let files = TableStore::new(fs, "db", DatabaseId::default(), cache);
        let version = Version::empty().edited(&edit, &files).unwrap().version;
        let moment = Moment { now_ms: 100, oldest_snapshot: SeqNo::MAX };
        Sketch { version, config, in_flight: InFlight::default(), moment }
    }

    pub(super) fn pick(&self) -> Option<Plan> {
        pick(&self.version, &self.config, &self.in_flight, self.moment)
    }

    /// What [`pick`] decides; "nothing" when that is nothing.
    pub(super) fn picked(&self) -> String {
        self.pick().as_ref().map_or("nothing".into(), told)
    }

    pub(super) fn picked_when_idle(&self) -> String {
        let plan = pick_idle(&self.version, &self.config, &self.in_flight, self.moment);
        plan.as_ref().map_or("nothing".into(), told)
    }

    /// What a compaction of everything by hand does next.
    pub(super) fn by_hand(&self) -> String {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let (version, config, begun) = (&self.version, &self.config, Begun::LAST);
        match plan_range(version, config, &self.in_flight, self.moment, all, begun) {
            ManualStep::Run(plan) => told(&plan),
            ManualStep::Wait => "wait".into(),
            ManualStep::Done => "done".into(),
        }
    }

    /// Lets what [`pick`] decides be under way.
    pub(super) fn start_picked(&mut self) -> Plan {
        let plan = self.pick().unwrap();
        self.in_flight.start(&plan);
        plan
    }
}

fn table(text: &str) -> TableMeta {
    let mut words = text.split_whitespace();
    let id: u64 = words.next().unwrap().parse().unwrap();
    let (min, max) = words.next().unwrap().split_once('-').unwrap();
    let mut meta = TableMeta {
        id: TableId(id),
        origin: None,
        tail_bytes: 0,
        size_bytes: 400,
        raw_bytes: 400,
        entries: 4,
        tombstones: 0,
        min_key: min.as_bytes().into(),
        max_key: max.as_bytes().into(),
        min_seqno: SeqNo(id),
        max_seqno: SeqNo(id),
        created_ms: 0,
        min_expires_at_ms: 0,
        max_expires_at_ms: 0,
        expiring: 0,
        expiry_quantiles: None,
        superseded: 0,
    };
    for word in words {
        let number = |text: &str| -> u64 { text.parse().unwrap() };
        match word.split_at(1) {
            ("n", entries) => meta.entries = number(entries),
            ("t", tombstones) => meta.tombstones = number(tombstones),
            ("q", eighths) => {
                let eighths: Vec<u64> = eighths.split('/').map(number).collect();
                let quantiles = ExpiryQuantiles(eighths.try_into().unwrap());
                meta.min_expires_at_ms = quantiles.0[0];
                meta.expiry_quantiles = Some(Box::new(quantiles));
            }
            ("c", created_ms) => meta.created_ms = number(created_ms),
            ("x", expiry) => {
                let (count, at) = expiry.split_once('@').unwrap();
                meta.expiring = number(count);
                (meta.min_expires_at_ms, meta.max_expires_at_ms) = (number(at), number(at));
            }
            _ => meta.size_bytes = number(word),
        }
    }
    meta
}

/// A plan as text: why and how, the tables of each level that go in, newest run
/// first, and where they go.
pub(super) fn told(plan: &Plan) -> String {
    let inputs = plan.inputs.iter().map(|run| format!("L{} {}", run.level.0, ids(&run.tables)));
    let inputs: Vec<String> = inputs.collect();
    let run = match plan.output_run {
        OutputRun::Existing(run) => format!("run {}", run.0),
        OutputRun::New => "a new run".into(),
    };
    let (reason, method, target) = (plan.reason, plan.method, plan.target.0);
    format!("{reason:?} {method:?}: {} to L{target}, {run}", inputs.join(" + "))
}

pub(super) fn ids(tables: &[Arc<TableHandle>]) -> String {
    let ids: Vec<String> = tables.iter().map(|table| table.id().0.to_string()).collect();
    ids.join(" ")
}
