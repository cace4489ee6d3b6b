//! Background threads: real ones, or none at all.

use crate::sync::thread;
use std::fmt::Debug;
use std::io;

/// How soon a background thread runs where there are more threads than cores.
/// Both come after the program's own threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Before other background threads: somebody will soon wait for it.
    Soon,
    /// On what the others leave.
    Later,
}

/// Starts threads.
pub trait Threads: Send + Sync + Debug + 'static {
    /// Starts a named thread for work in the background. `Ok(None)` means that this environment has no
    /// threads: the caller must do the work itself, step by step, where it
    /// would otherwise wait for it. Simulations do so to be deterministic.
    fn spawn(
        &self,
        name: &str,
        priority: Priority,
        body: Box<dyn FnOnce() + Send>,
    ) -> io::Result<Option<JoinHandle>>;

    /// Runs all tasks, at once where there are threads, and returns when all
    /// have ended. A task that panics lets this panic.
    fn run_all<'t>(&self, tasks: Vec<Box<dyn FnOnce() + Send + 't>>) {
        tasks.into_iter().for_each(|task| task());
    }

    /// How many threads can run at once.
    fn parallelism(&self) -> usize {
        1
    }

    /// Bytes of physical memory that the process of these threads has, where the
    /// system tells it.
    fn resident_bytes(&self) -> Option<u64> {
        None
    }
}

/// Waits for a thread.
#[derive(Debug)]
pub struct JoinHandle(pub(crate) thread::JoinHandle<()>);

impl JoinHandle {
    /// Waits until the thread has ended; an error when it panicked.
    pub fn join(self) -> std::thread::Result<()> {
        self.0.join()
    }
}
