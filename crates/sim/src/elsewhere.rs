//! Compactions carried out by their bytes, as another process over the same files would:
//! what a job does not say of itself is not known there.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tanada::{Compactor, Result, run_compaction};
use tanada_vfs::Env;

/// Memory of each job, in bytes.
const MEMORY_BYTES: u64 = 4 << 20;

/// Carries out every compaction that it is asked for, over the files of a directory.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    env: Env,
    dir: PathBuf,
    /// Clones count together. Relaxed: a number read by itself.
    jobs: Arc<AtomicU64>,
}

impl Elsewhere {
    /// For the database in `dir` of this machine; it counts its jobs there.
    pub fn new(env: Env, dir: impl Into<PathBuf>, jobs: Arc<AtomicU64>) -> Elsewhere {
        Elsewhere { env, dir: dir.into(), jobs }
    }
}

impl Compactor for Elsewhere {
    fn compact(&self, job: &[u8]) -> Result<Option<Vec<u8>>> {
        let outputs = run_compaction(&self.env, &self.dir, job, MEMORY_BYTES)?;
        self.jobs.fetch_add(1, Ordering::Relaxed);
        Ok(Some(outputs))
    }
}
