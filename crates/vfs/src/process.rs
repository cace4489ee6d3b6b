//! [`Process`]: who opened something, told from the children forked from it.

use std::sync::atomic::{AtomicU64, Ordering};

/// The process that opened something.
///
/// A child forked from it has a copy of its memory, this value among it, but none of
/// its other threads: a lock that one of them held is held in the child for ever, and
/// what they were to do is never done. So whatever belongs to a process asks
/// [`Process::is_this`] before it takes a lock or touches a file.
///
/// A process that shares the memory of the one that opened (`vfork`, and `posix_spawn`
/// until it executes its program) counts as that one: it sees what that one does.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    id: u32,
    /// A number, and memory that holds it in this process and in none forked from it.
    /// `None` where the system has no such memory: then it is asked for the id.
    mark: Option<(&'static AtomicU64, u64)>,
}

/// Holds the same number in every process.
static UNFORKED: AtomicU64 = AtomicU64::new(0);

impl Process {
    /// This process, for what no fork can harm, such as a machine in memory: a child has
    /// a copy of all of it.
    pub fn unforked() -> Process {
        Process { id: std::process::id(), mark: Some((&UNFORKED, 0)) }
    }

    /// This process, in which `cell` holds `number` until it ends. In a process forked
    /// from it `cell` never holds it.
    pub(crate) fn marked(cell: &'static AtomicU64, number: u64) -> Process {
        Process { id: std::process::id(), mark: Some((cell, number)) }
    }

    /// This process, known by its id alone.
    #[cfg_attr(target_os = "linux", allow(dead_code))] // but for old kernels
    pub(crate) fn by_id() -> Process {
        Process { id: std::process::id(), mark: None }
    }

    /// Whether it is the process that runs this. Cost: one load of memory that nobody
    /// writes; a system call on Linux before 4.14 and on other systems.
    #[inline]
    pub fn is_this(&self) -> bool {
        match self.mark {
            // Relaxed: in the process that was marked the number stands before the mark
            // is handed out; in a child the cell was wiped before the child ran.
            Some((cell, number)) => cell.load(Ordering::Relaxed) == number,
            None => std::process::id() == self.id,
        }
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.id
    }
}
