//! What a read asks, step by step, for people.

use crate::control::counters::Count;
use crate::read::get::{Found, row_of};
use crate::read::reading::Reading;
use crate::read::view::KeyspaceState;
use crate::types::error::Result;
use crate::types::explain::{Explain, Outcome, Step, Tier};
use std::cell::Cell;
use tanada_format::{SeqNo, hash_key};
use tanada_table::{GetContext, GetTrace};

impl Reading {
    /// As [`Reading::get`] now, noting every tier that is asked. Slower: it reads
    /// the clock at each step.
    pub(crate) fn explain(&self, keyspace: &KeyspaceState, key: &[u8]) -> Result<Explain> {
        let mut path = Path { reading: self, steps: Vec::new(), started_ns: 0, step_ns: 0 };
        path.started_ns = self.env.clock.monotonic_ns();
        path.step_ns = path.started_ns;
        let generation = self.row_cache.generation();
        let view = keyspace.view.load();
        let seqno = self.visible();
        self.counters.add(Count::Gets, 1);
        let hash = hash_key(key);
        for (age, mem) in view.mems().enumerate() {
            let entry = mem.table.get(key, hash, seqno);
            let (tier, name) = match age {
                0 => (Tier::MemTable, "active".to_owned()),
                n => (Tier::SealedMemTable, format!("sealed {n}")),
            };
            let Some(entry) = entry else {
                path.step(tier, name, Outcome::Miss);
                continue;
            };
            self.counters.add(Count::MemTableHits, 1);
            let found = self.judge_entry(&entry, None)?;
            path.step(tier, name, Outcome::of(&found));
            return Ok(path.end(found, Some(entry.seqno)));
        }
        if let Some(row) = self.row_cache.get(keyspace.id, key, hash, seqno) {
            let version = row.seqno;
            let found = self.judge_row(row, None);
            path.step(Tier::RowCache, "L1".to_owned(), Outcome::of(&found));
            return Ok(path.end(found, Some(version)));
        }
        path.step(Tier::RowCache, "L1".to_owned(), Outcome::Miss);
        for (level, handle) in view.version.tables_for_key(key) {
            let name = format!("{level} {}.sst", handle.id());
            self.counters.add(Count::TableProbes, 1);
            let trace = Cell::new(GetTrace::default());
            let context = GetContext { trace: Some(&trace), ..GetContext::default() };
            let found = handle.table()?.get(key, hash, seqno, &context)?;
            path.table(&name, &trace.get(), found.is_some());
            let Some(found) = found else { continue };
            let version = found.seqno;
            let row = row_of(found)?;
            if let Some(row) = &row {
                self.row_cache.insert(keyspace.id, key, hash, row, generation);
            }
            let live = row.and_then(|row| self.judge_row(row, None));
            path.step(Tier::Table, name, Outcome::of(&live));
            return Ok(path.end(live, Some(version)));
        }
        Ok(path.end(None, None))
    }
}

impl Outcome {
    fn of(found: &Option<Found>) -> Outcome {
        if found.is_some() { Outcome::Hit } else { Outcome::Deleted }
    }
}

/// The steps of one explained read.
struct Path<'c> {
    reading: &'c Reading,
    steps: Vec<Step>,
    started_ns: u64,
    /// When the last step ended.
    step_ns: u64,
}

impl Path<'_> {
    fn step(&mut self, tier: Tier, name: String, outcome: Outcome) {
        let now = self.reading.env.clock.monotonic_ns();
        let time_ns = now.saturating_sub(self.step_ns);
        self.step_ns = now;
        self.steps.push(Step { tier, name, outcome, time_ns });
    }

    /// What one table's filter and blocks answered. One clock reading for all:
    /// they are asked in one call.
    fn table(&mut self, name: &str, trace: &GetTrace, found: bool) {
        match trace.filter_maybe {
            Some(false) => return self.step(Tier::Filter, name.to_owned(), Outcome::Never),
            Some(true) => self.step(Tier::Filter, name.to_owned(), Outcome::Maybe),
            None => {}
        }
        if let Some(cached) = trace.data_cached {
            let outcome = if cached { Outcome::Hit } else { Outcome::Miss };
            self.step(Tier::BlockCache, "L2".to_owned(), outcome);
        }
        if !found {
            self.step(Tier::Table, name.to_owned(), Outcome::Miss);
        }
    }

    fn end(self, found: Option<Found>, seqno: Option<SeqNo>) -> Explain {
        if found.is_some() {
            self.reading.counters.add(Count::GetsFound, 1);
        }
        Explain {
            value: found.map(|f| f.value),
            seqno: seqno.map(|s| s.0),
            steps: self.steps,
            total_ns: self.reading.env.clock.monotonic_ns().saturating_sub(self.started_ns),
        }
    }
}
