//! One machine: its files, clock, randomness and threads in one handle.

use crate::{Clock, FileSystem, Random, Threads};
use std::sync::Arc;

/// Everything the engine may ask of the machine.
#[derive(Clone, Debug)]
pub struct Env {
    /// Files and directories.
    pub fs: Arc<dyn FileSystem>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Random bits.
    pub random: Arc<dyn Random>,
    /// Background threads.
    pub threads: Arc<dyn Threads>,
}

impl Env {
    /// Eight random bytes.
    pub fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}
