//! Settings of an open database, and what follows from them.

use super::simulation::Simulation;
use crate::control::budget::Budget;
use crate::tree::compaction;
use crate::tree::store::{DescriptorNeeds, Descriptors, OpenTables};
use crate::types::compactor::Compactor;
use crate::types::options::{Compression, Durability};
use crate::wal::SegmentSizes;
use std::sync::Arc;
use tanada_format::WriterEpoch;
use tanada_table::BlockCache;
use tanada_vfs::FileSystem;

/// Settings of an open database.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) durability: Durability,
    /// Of the default keyspace's new tables, when the caller chose.
    pub(crate) compression: Option<Compression>,
    pub(crate) memory: u64,
    pub(crate) threads: usize,
    pub(crate) compaction: compaction::Config,
    /// In which epoch to open it; `None`: in the one it was opened in last.
    pub(crate) epoch: Option<WriterEpoch>,
    /// Who carries out compactions, if not this process.
    pub(crate) compactor: Option<Arc<dyn Compactor>>,
    pub(crate) simulation: Simulation,
}

impl Config {
    pub(crate) fn new(
        memory: u64,
        durability: Durability,
        compression: Option<Compression>,
        threads: usize,
    ) -> Config {
        let memtable = Budget::new(memory, threads as u64).memtable_seal;
        let compaction = compaction::Config::for_memtable(memtable);
        let simulation = Simulation::default();
        let (epoch, compactor) = (None, None);
        Config {
            durability,
            compression,
            memory,
            threads,
            compaction,
            epoch,
            compactor,
            simulation,
        }
    }

    /// With somebody who carries out compactions.
    pub(crate) fn compacted_by(mut self, compactor: Option<Arc<dyn Compactor>>) -> Config {
        self.compactor = compactor;
        self
    }

    /// Opened in this epoch.
    pub(crate) fn in_epoch(mut self, epoch: Option<WriterEpoch>) -> Config {
        self.epoch = epoch;
        self
    }

    /// With what a simulation sets.
    pub(crate) fn simulated(mut self, simulation: Simulation) -> Config {
        self.compaction = simulation.compaction(self.compaction);
        self.simulation = simulation;
        self
    }

    /// The budget that the memory is divided by.
    pub(crate) fn budget(&self) -> Budget {
        self.simulation.budget(Budget::new(self.memory, self.threads as u64))
    }

    /// How many descriptors there are, and what they are for.
    pub(crate) fn descriptors(&self, fs: &dyn FileSystem) -> Descriptors {
        let needs = DescriptorNeeds::of_jobs(self.threads);
        Descriptors::of(fs, needs).at_most(self.simulation.table_descriptors())
    }

    /// How many tables may be open.
    pub(crate) fn open_tables(&self, cache: &Arc<BlockCache>) -> OpenTables {
        OpenTables::new(Arc::clone(cache), self.simulation.open_tables())
    }

    /// How large log files are.
    pub(crate) fn log_sizes(&self) -> SegmentSizes {
        self.simulation.log(SegmentSizes::new(self.budget().memtable_seal, self.memory))
    }
}
