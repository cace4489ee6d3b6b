//! The only door to the operating system: files, directories, the clock,
//! randomness and threads.
//!
//! Everything above takes an [`Env`] and asks it. [`Env::real`] is the machine;
//! [`Env::memory`] is a machine in memory whose power can be cut; [`fault`]
//! makes chosen calls of either fail.

mod env;
mod file_system;
mod time;
mod random;
mod threads;

pub use env::Env;
pub use file_system::{DirEntry, DirLock, FileSystem, LogFile, LogSyncer, ReadFile, WriteFile};
pub use random::Random;
pub use threads::{JoinHandle, Threads};
pub use time::Clock;
