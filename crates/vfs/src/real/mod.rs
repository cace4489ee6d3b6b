//! The machine itself: std and rustix behind the traits.
//!
//! The only place in the workspace that may touch `std::fs`, the system's
//! clock and random bits, and that may start threads.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod huge_pages;
mod reserved;
mod heap;
mod descriptors;
mod files;
#[cfg(target_os = "linux")]
mod mapped;
mod journal;
mod log;
mod fork;
mod lock;
mod kept_dir;
mod file_system;
mod machine;
#[cfg(target_os = "linux")]
mod coarse;

use crate::Env;
use crate::error::Naming;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

pub use descriptors::raise_descriptor_limit;
pub use file_system::RealFileSystem;
pub use fork::run_in_children;
pub use heap::give_back_free_heap;
pub use huge_pages::HugePages;
pub use machine::{RealClock, RealRandom, RealThreads};
pub use reserved::Reserved;

impl Env {
    /// The machine this process runs on.
    pub fn real() -> Env {
        Env {
            fs: Arc::new(RealFileSystem::default()),
            clock: Arc::new(RealClock::new()),
            random: Arc::new(RealRandom),
            threads: Arc::new(RealThreads),
        }
    }
}

/// Opens what a command line named as its input: a file, or standard input
/// for `-`. Wrap it in a `BufReader` to read lines.
///
/// # Errors
/// What opening gives, naming the path.
pub fn open_input(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdin()));
    }
    let file = std::fs::File::open(path).naming("open", path)?;
    if file.metadata().naming("open", path)?.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory)).naming("read", path);
    }
    Ok(Box::new(file))
}

/// Size in bytes of an input file, for a progress bar; `None` for standard
/// input and whatever else has no size known in advance.
pub fn input_size(path: &Path) -> Option<u64> {
    let metadata = std::fs::metadata(path).ok()?;
    metadata.is_file().then_some(metadata.len())
}
