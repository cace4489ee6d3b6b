//! Trees whose tables are vectors: the picker and the rules of merging without
//! a single byte of I/O, for tests and for measuring write amplification.

use super::cut::Cutter;
use super::older::Older;
use super::visible::{Retention, is_expired};
use super::*;
use crate::tree::merge::vec_cursor::{OwnedEntry, sort};
use crate::tree::version::{AddedTable, RunId, TableMeta, TableStore, Version, VersionEdit};
use std::collections::HashMap;
use std::sync::Arc;
use tanada_format::{DatabaseId, Level, SeqNo, TableId, ValueKind};
use tanada_table::ExpiryQuantiles;

/// What one entry weighs.
pub(super) const ENTRY_BYTES: u64 = 100;

/// A tree of vectors.
pub(super) struct Model {
    pub(super) config: Config,
    pub(super) version: Arc<Version>,
    pub(super) in_flight: InFlight,
    pub(super) now_ms: u64,
    /// Ascending.
    pub(super) snapshots: Vec<SeqNo>,
    pub(super) flushed_bytes: u64,
    pub(super) merged_bytes: u64,
    tables: HashMap<TableId, Arc<Vec<OwnedEntry>>>,
    files: Arc<TableStore>,
    last_id: u64,
}

/// A job between its start and its end.
pub(super) struct RunningJob {
    pub(super) plan: Plan,
    edit: VersionEdit,
}

impl Model {
    pub(super) fn new(config: Config) -> Model {
        let fs = tanada_vfs::Env::memory(0).fs;
        Model {
            config,
            version: Version::empty(),
            in_flight: InFlight::default(),
            now_ms: 1,
            snapshots: Vec::new(),
            flushed_bytes: 0,
            merged_bytes: 0,
            tables: HashMap::new(),
            files: TableStore::new(
                fs,
                "db",
                DatabaseId::default(),
                tanada_table::BlockCache::new(0),
            ),
            last_id: 0,
        }
    }

    pub(super) fn next_id(&mut self) -> TableId {
        self.last_id += 1;
        TableId(self.last_id)
    }

    /// A compaction by hand begins now.
    pub(super) fn begun(&self) -> Begun {
        let newest = self.version.tables().map(|table| table.meta().max_seqno).max();
        Begun { seqno: newest.unwrap_or(SeqNo::ZERO), now_ms: self.now_ms }
    }

    pub(super) fn moment(&self) -> Moment {
        let oldest_snapshot = self.snapshots.first().copied().unwrap_or(SeqNo::MAX);
        Moment { now_ms: self.now_ms, oldest_snapshot }
    }

    /// Puts entries, newer than all there are, into level 0, as one run.
    pub(super) fn flush(&mut self, mut entries: Vec<OwnedEntry>) {
        sort(&mut entries);
        let snapshots = self.snapshots.clone();
        let mut retention = Retention::new(&snapshots, self.now_ms);
        let keep =
            |e: &OwnedEntry| retention.keep(e.as_ref(), |_| true).unwrap().map(OwnedEntry::of);
        let kept: Vec<_> = entries.iter().filter_map(keep).collect();
        let guards = flush_guards(&self.version, &self.config);
        let table_bytes = self.config.table_bytes;
        let tables = self.write(&kept, Cutter::with_guards(table_bytes, &guards));
        let Some(run) = tables.first().map(|meta| RunId(meta.id.0)) else { return };
        self.flushed_bytes += tables.iter().map(|meta| meta.size_bytes).sum::<u64>();
        let added = |meta| AddedTable { level: Level(0), run, meta };
        let added = tables.into_iter().map(added).collect();
        self.apply(&VersionEdit { added, removed: Vec::new() });
    }

    pub(super) fn pick(&self) -> Option<Plan> {
        pick(&self.version, &self.config, &self.in_flight, self.moment())
    }

    /// Does all of a job's work but the last step.
    pub(super) fn start(&mut self, plan: Plan) -> RunningJob {
        self.in_flight.start(&plan);
        let id = self.next_id();
        let edit = plan.edit_without_merge(|| id).unwrap_or_else(|| {
            let mut entries: Vec<OwnedEntry> =
                plan.tables().flat_map(|t| self.tables[&t.id()].iter().cloned()).collect();
            sort(&mut entries);
            let snapshots = self.snapshots.clone();
            let mut retention = Retention::new(&snapshots, self.now_ms);
            let mut older = Older::new(&plan.older);
            let keep = |e: &OwnedEntry| {
                let kept = retention.keep(e.as_ref(), |key| older.may_hold(key)).unwrap();
                kept.map(OwnedEntry::of)
            };
            let kept: Vec<_> = entries.iter().filter_map(keep).collect();
            let cutter = Cutter::new(plan.table_bytes, &plan.grandparents, plan.grandparent_bytes);
            let outputs = self.write(&kept, cutter);
            self.merged_bytes += outputs.iter().map(|meta| meta.size_bytes).sum::<u64>();
            plan.edit(plan.run(|| id), outputs)
        });
        RunningJob { plan, edit }
    }

    /// Installs what a job has done.
    pub(super) fn finish(&mut self, job: RunningJob) {
        self.apply(&job.edit);
        self.in_flight.finish(&job.plan);
    }

    /// Picks and runs until nothing is left to do; how many jobs that took.
    pub(super) fn settle(&mut self) -> usize {
        for jobs in 0.. {
            let Some(plan) = self.pick() else { return jobs };
            assert!(jobs < 1000, "the picker does not come to rest: {plan:?}");
            let job = self.start(plan);
            self.finish(job);
        }
        unreachable!("the loop above ends by returning")
    }

    /// What a reader at `at` finds, the way a reader looks for it.
    pub(super) fn get(&self, key: &[u8], at: SeqNo) -> Option<Vec<u8>> {
        let mut tables = self.version.tables_for_key(key);
        let newest = tables.find_map(|(_, table)| {
            let entries = &self.tables[&table.id()];
            entries.iter().find(|e| e.key == key && e.seqno <= at)
        })?;
        let dead =
            newest.kind == ValueKind::Delete || is_expired(newest.expires_at_ms, self.now_ms);
        (!dead).then(|| newest.value.clone())
    }

    fn apply(&mut self, edit: &VersionEdit) {
        let applied = self.version.edited(edit, &self.files).unwrap();
        applied.version.check_invariants().unwrap();
        for table in &applied.obsolete {
            self.tables.remove(&table.id());
        }
        self.version = applied.version;
    }

    fn write(&mut self, entries: &[OwnedEntry], mut cutter: Cutter<'_>) -> Vec<TableMeta> {
        let mut cuts = vec![0];
        let mut start = 0;
        for i in 0..entries.len() {
            let new_key = i == 0 || entries[i - 1].key != entries[i].key;
            let written = (i - start) as u64 * ENTRY_BYTES;
            if new_key && cutter.starts_table(&entries[i].key, written) {
                cuts.push(i);
                start = i;
            }
        }
        cuts.push(entries.len());
        let parts = cuts.windows(2).map(|cut| &entries[cut[0]..cut[1]]);
        parts.filter(|part| !part.is_empty()).map(|part| self.write_table(part)).collect()
    }

    fn write_table(&mut self, entries: &[OwnedEntry]) -> TableMeta {
        let id = self.next_id();
        self.tables.insert(id, Arc::new(entries.to_vec()));
        let expiring = || entries.iter().map(|e| e.expires_at_ms).filter(|&at| at != 0);
        let size_bytes = entries.len() as u64 * ENTRY_BYTES;
        TableMeta {
            id,
            origin: None,
            tail_bytes: 0,
            size_bytes,
            raw_bytes: size_bytes,
            entries: entries.len() as u64,
            tombstones: entries.iter().filter(|e| e.kind == ValueKind::Delete).count() as u64,
            min_key: entries[0].key.clone().into(),
            max_key: entries[entries.len() - 1].key.clone().into(),
            min_seqno: entries.iter().map(|e| e.seqno).min().unwrap(),
            max_seqno: entries.iter().map(|e| e.seqno).max().unwrap(),
            created_ms: self.now_ms,
            min_expires_at_ms: expiring().min().unwrap_or(0),
            max_expires_at_ms: expiring().max().unwrap_or(0),
            expiring: expiring().count() as u64,
            expiry_quantiles: quantiles(expiring().collect()),
            superseded: entries.windows(2).filter(|pair| pair[0].key == pair[1].key).count() as u64,
        }
    }
}

/// As a builder counts them, to the millisecond.
fn quantiles(mut expiries: Vec<u64>) -> Option<Box<ExpiryQuantiles>> {
    expiries.sort_unstable();
    let max_ms = *expiries.last()?;
    let eighth = |part: usize| expiries[(expiries.len() * part).div_ceil(8) - 1];
    let quantiles = ExpiryQuantiles(std::array::from_fn(|at| eighth(at + 1)));
    (quantiles.0[0] < max_ms).then(|| Box::new(quantiles))
}
