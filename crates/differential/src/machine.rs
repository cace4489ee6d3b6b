//! A machine of real files whose wall time is held.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tanada_vfs::memory::{NoThreads, SeededRandom};
use tanada_vfs::{Clock, Env, FileSystem, MemoryMachine};
use tempfile::TempDir;

/// A file system in memory, where there is one: nothing here depends on what a sync costs.
const IN_MEMORY: &str = "/dev/shm";
/// Every so many lives take the disk none the less.
const ON_DISK_EVERY: u64 = 16;

/// Below which directory the life of `seed` has its files, when nobody says; the system's
/// own for such things without one.
fn usual_place(fs: &dyn FileSystem, seed: u64) -> Option<&'static Path> {
    let in_memory = Path::new(IN_MEMORY);
    let is_there = fs.exists(in_memory).unwrap_or(false);
    (is_there && !seed.is_multiple_of(ON_DISK_EVERY)).then_some(in_memory)
}

/// Who does the work of the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// Threads of its own: no two runs are alike.
    Threads,
    /// The caller, step by step: every run is alike.
    Steps,
}

/// Real files in a directory that goes with it, held time, and random bits of a seed.
#[derive(Debug)]
pub struct Machine {
    dir: TempDir,
    clock: Arc<HeldClock>,
    env: Env,
}

impl Machine {
    /// In a new directory below `place`.
    ///
    /// # Panics
    /// When there can be no directory.
    pub fn new(seed: u64, background: Background, place: Option<&Path>) -> Machine {
        let real = Env::real();
        let memory = MemoryMachine::new(seed);
        let wall_ms = AtomicU64::new(memory.clock().wall_ms());
        let passing: Arc<dyn Clock> = match background {
            Background::Threads => Arc::clone(&real.clock),
            Background::Steps => memory.env().clock,
        };
        let clock = Arc::new(HeldClock { wall_ms, passing });
        let env = Env {
            fs: real.fs,
            clock: Arc::<HeldClock>::clone(&clock),
            random: Arc::new(SeededRandom::new(seed)),
            threads: match background {
                Background::Threads => real.threads,
                Background::Steps => Arc::new(NoThreads),
            },
        };
        let dir = match place.or_else(|| usual_place(&*env.fs, seed)) {
            Some(place) => tempfile::tempdir_in(place),
            None => tempfile::tempdir(),
        };
        Machine { dir: dir.expect("there is room for a directory"), clock, env }
    }

    /// What the engine sees of it.
    pub fn env(&self) -> Env {
        self.env.clone()
    }

    /// A path in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    /// Moves wall time on. Nothing else does.
    pub fn advance(&self, ms: u64) {
        self.clock.wall_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

/// Wall time and the time that has elapsed, which move by hand and together: so every reading
/// is believed. What paces threads passes as it does.
#[derive(Debug)]
struct HeldClock {
    /// Relaxed: a number read by itself.
    wall_ms: AtomicU64,
    passing: Arc<dyn Clock>,
}

impl Clock for HeldClock {
    fn wall_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::Relaxed)
    }

    fn elapsed_ns(&self) -> u64 {
        self.wall_ms() * 1_000_000
    }

    fn monotonic_ns(&self) -> u64 {
        self.passing.monotonic_ns()
    }

    fn coarse_monotonic_ns(&self) -> u64 {
        self.passing.coarse_monotonic_ns()
    }

    fn sleep(&self, duration: Duration) {
        self.passing.sleep(duration);
    }
}
