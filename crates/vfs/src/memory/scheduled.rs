//! Background threads of a machine in memory, of which shuttle says which one runs.

use crate::sync::thread;
use crate::threads::{JoinHandle, Priority, Threads};
use std::io;

/// Threads of shuttle.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ScheduledThreads;

impl Threads for ScheduledThreads {
    fn spawn(
        &self,
        name: &str,
        _: Priority,
        body: Box<dyn FnOnce() + Send>,
    ) -> io::Result<Option<JoinHandle>> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(body)?;
        Ok(Some(JoinHandle(thread)))
    }

    fn run_all<'t>(&self, mut tasks: Vec<Box<dyn FnOnce() + Send + 't>>) {
        let own = tasks.pop();
        thread::scope(|scope| {
            for task in tasks {
                scope.spawn(task);
            }
            if let Some(task) = own {
                task();
            }
        });
    }

    fn parallelism(&self) -> usize {
        2
    }
}
