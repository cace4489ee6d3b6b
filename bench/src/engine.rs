//! What the workloads ask of an engine: one adapter each in [`crate::engines`].
//!
//! Values are shown to a callback instead of handed out, so that an engine
//! that can lend them need not copy.

use crate::data::Key;
use std::path::PathBuf;

/// Failure of an engine or of the machine ends the run.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How an engine is opened. All else is its adapter's, and printed.
#[derive(Debug, Clone)]
pub struct Opening {
    pub dir: PathBuf,
    /// Tanada: everything must fit. Peers: their cache; memtables on top.
    pub memory: u64,
    pub durability: Durability,
    /// Whether page cache and memtables have to fit into a cgroup beside the cache.
    pub confined: bool,
}

impl Opening {
    /// Size of a peer's memtable: an eighth of the budget, 64 MiB at least where there is
    /// room for several of them.
    #[cfg_attr(not(feature = "peers"), allow(dead_code))]
    pub fn memtable(&self) -> u64 {
        let eighth = self.memory / 8;
        if self.confined { eighth } else { eighth.max(64 << 20) }
    }
}

/// When a write returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The kernel has it: it survives a killed process.
    Kernel,
    /// The device has it: it survives a power cut.
    Device,
}

/// Memory by the engine's own account.
#[derive(Debug, Clone, Default)]
pub struct Accounted {
    pub bytes: u64,
    /// By name, for a person.
    pub parts: Vec<(&'static str, u64)>,
}

/// Asked while a workload runs.
pub type Accountant = Box<dyn Fn() -> Accounted + Send + Sync>;

/// An open engine.
pub trait Engine: Sync + Send {
    fn put(&self, key: &Key, value: &[u8]) -> Outcome<()>;
    fn delete(&self, key: &Key) -> Outcome<()>;
    /// All or nothing.
    fn put_batch(&self, pairs: &[(Key, Vec<u8>)]) -> Outcome<()>;
    /// A reader for one thread.
    fn reader(&self) -> Outcome<Box<dyn Reader + '_>>;
    /// Has what was written moved to where it stays, if the engine has such a
    /// verb; background work may go on after it.
    fn flush(&self) -> Outcome<()>;
    /// Settings, each with the advice that it follows.
    fn settings(&self) -> Vec<String>;
    /// Counters worth printing.
    fn counters(&self) -> String {
        String::new()
    }
    /// Says what memory the engine holds by its own account, from any thread.
    /// `None`: it does not say.
    fn accountant(&self) -> Option<Accountant> {
        None
    }
    /// Closes in an orderly way.
    fn close(self: Box<Self>) -> Outcome<()>;
}

/// Reads of one thread. May stay at the moment at which it was made, or last
/// refreshed, as engines with read transactions do.
pub trait Reader {
    /// Shows the value, if there is one, and says whether there was.
    fn get(&mut self, key: &Key, see: &mut dyn FnMut(&[u8])) -> Outcome<bool>;
    /// Shows up to `limit` entries from `from` on, in order; says how many.
    fn scan(&mut self, from: &Key, limit: u64, see: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<u64>;
    /// Lets go of its moment: the next read sees everything written before it.
    /// Called after each read where there are writes as well.
    fn refresh(&mut self) -> Outcome<()>;
}
