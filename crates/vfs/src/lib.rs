//! The only door to the operating system: files, directories, the clock,
//! randomness and threads.
//!
//! Everything above takes an [`Env`] and asks it. [`Env::real`] is the machine;
//! [`Env::memory`] is a machine in memory whose power can be cut; [`fault`]
//! makes chosen calls of either fail. [`sync`] has the locks and atomics that the
//! checkers of concurrency can take the places of.

mod error;
mod process;
pub mod sync;
mod file_system;
mod time;
mod random;
mod threads;
mod env;
mod dir_syncs;
mod open_files;
mod read_only;
pub mod real;
pub mod memory;
pub mod fault;

pub use env::Env;
pub use error::{
    LockHeld, NoDescriptor, PathError, cannot_link, is_disk_full, is_out_of_descriptors,
    is_unsupported, raw_os_error,
};
pub use file_system::{DirEntry, DirLock, FileSystem, LogFile, LogSyncer, ReadFile, WriteFile};
pub use memory::MemoryMachine;
pub use open_files::{DescriptorBound, DescriptorStats, OpenFiles};
pub use process::Process;
pub use random::Random;
pub use read_only::ReadOnly;
pub use real::{
    HugePages, Reserved, input_size, open_input, raise_descriptor_limit, run_in_children,
};
pub use threads::{JoinHandle, Priority, Threads};
pub use time::Clock;
