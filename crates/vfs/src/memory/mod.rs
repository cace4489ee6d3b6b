//! A machine in memory whose power can be cut.
//!
//! Files, a clock that moves only when told to, seeded random bits, no
//! threads: the same seed and the same calls give the same machine.
//!
//! What a power cut leaves is as bad as a disk may be, and worse than most:
//! each 512-byte sector not synced is kept, dropped or torn on its own, so is
//! each file's length, and so is each name created, renamed, linked or removed
//! since its directory was synced. Syncing a file does not sync its name.

mod dice;
mod clock;
mod bytes;
mod node;
mod tree;
mod world;
mod files;
mod file_system;
#[cfg(shuttle)]
mod scheduled;

use crate::threads::{JoinHandle, Priority, Threads};
use crate::{Env, PathError};
use file_system::MemoryFileSystem;
use std::io;
use std::path::Path;
use std::sync::Arc;
use world::World;

pub use bytes::SECTOR_BYTES;
pub use clock::MemoryClock;
pub use dice::{Dice, SeededRandom};

/// A machine in memory. Clones are the same machine.
///
/// [`crash`](MemoryMachine::crash) and [`kill`](MemoryMachine::kill) give a
/// second machine, as the first one's successor would find it. The first goes
/// on in a world of its own: handles to it still work, and nothing done
/// through them reaches the second. So one moment can be cut many times, with
/// many seeds, without running again what led there. Both cost a pointer for
/// each 4 KiB of files; contents are shared until written to.
#[derive(Clone, Debug)]
pub struct MemoryMachine {
    world: Arc<World>,
    clock: Arc<MemoryClock>,
    random: Arc<SeededRandom>,
}

impl MemoryMachine {
    /// An empty machine: a root directory, and a clock at the start of 2024.
    pub fn new(seed: u64) -> MemoryMachine {
        MemoryMachine {
            world: Arc::new(World::new()),
            clock: Arc::new(MemoryClock::new()),
            random: Arc::new(SeededRandom::new(seed)),
        }
    }

    /// This machine as the engine sees it.
    pub fn env(&self) -> Env {
        Env {
            fs: Arc::new(MemoryFileSystem::new(self.world.clone())),
            clock: self.clock.clone(),
            random: self.random.clone(),
            threads: Arc::new(NoThreads),
        }
    }

    /// As [`MemoryMachine::env`], with threads that shuttle schedules.
    #[cfg(shuttle)]
    pub fn threaded_env(&self) -> Env {
        Env { threads: Arc::new(scheduled::ScheduledThreads), ..self.env() }
    }

    /// The clock, to be moved by hand.
    pub fn clock(&self) -> &MemoryClock {
        &self.clock
    }

    /// What a power cut at this moment leaves. `seed` decides what becomes of
    /// all that was not synced.
    #[must_use = "the machine itself goes on unharmed"]
    pub fn crash(&self, seed: u64) -> MemoryMachine {
        self.successor(self.world.after_power_cut(&mut Dice::new(seed)), seed)
    }

    /// What the death of the process at this moment leaves: all that the
    /// kernel was given, synced or not, and no lock. A power cut afterwards
    /// can still take what was not synced.
    #[must_use = "the machine itself goes on unharmed"]
    pub fn kill(&self) -> MemoryMachine {
        self.successor(self.world.after_process_death(), 0)
    }

    fn successor(&self, world: World, seed: u64) -> MemoryMachine {
        MemoryMachine {
            world: Arc::new(world),
            clock: Arc::new(self.clock.restarted()),
            random: Arc::new(self.random.fork(seed)),
        }
    }

    /// Sets the size of the disk; what is there stays. No limit at first. When it is
    /// full, changes of names are made durable, as journals do, for the space of files
    /// that have been removed.
    pub fn set_disk_size(&self, bytes: u64) {
        self.world.set_disk_size(bytes);
    }

    /// Lets the process have so many files open at once: opening more fails with
    /// `EMFILE`. No limit at first. What is open already stays; successors have the same.
    pub fn set_descriptor_limit(&self, most: u64) {
        self.world.set_descriptor_limit(most);
    }

    /// How many files the process has open.
    pub fn open_descriptors(&self) -> u64 {
        self.world.open_descriptors()
    }

    /// Bytes of files on the disk, removed files that are still open included.
    pub fn used_space(&self) -> u64 {
        self.world.used_space()
    }

    /// Lets the next sync of the file at `path` fail with `EIO`, the way Linux
    /// does it: the unsynced bytes are taken for written from then on, so that
    /// a second sync succeeds without writing them, while reads still see
    /// them. A power cut can take them at any time after.
    ///
    /// # Errors
    /// `NotFound` when there is no such file.
    pub fn fail_next_sync(&self, path: &Path) -> io::Result<()> {
        self.world
            .fail_next_sync(path)
            .map_err(|error| PathError::wrap("let the sync fail of", path, error.into()))
    }

    /// Lets a sync of `dir` fail now: no name in it becomes durable by it, nor by a later
    /// one, but for those that are set anew.
    ///
    /// # Errors
    /// `NotFound` when there is no such directory.
    pub fn fail_dir_sync(&self, dir: &Path) -> io::Result<()> {
        let failed = self.world.fail_dir_sync(dir);
        failed.map_err(|error| PathError::wrap("let the sync fail of", dir, error.into()))
    }
}

impl Env {
    /// A new machine in memory, see [`MemoryMachine`] for what can be done to it.
    pub fn memory(seed: u64) -> Env {
        MemoryMachine::new(seed).env()
    }
}

/// No threads at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoThreads;

impl Threads for NoThreads {
    fn spawn(
        &self,
        _: &str,
        _: Priority,
        _: Box<dyn FnOnce() + Send>,
    ) -> io::Result<Option<JoinHandle>> {
        Ok(None)
    }
}
