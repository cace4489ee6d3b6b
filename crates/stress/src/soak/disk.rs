//! The disk of a soak.

use crate::disks::{Image, SmallDisk, tool};
use crate::failure::{Failure, Result};
use std::path::Path;
use tanada_vfs::Env;

/// Size of the file system; the file it lies in is sparse.
const SIZE_MIB: u64 = 1024;

/// The disk in memory on which that file lies: it takes what is used of it.
const DISK_MIB: u64 = SIZE_MIB + 64;

/// A file system in a file on a disk in memory: so either of the two can be full.
pub(super) struct Disk {
    /// Unmounted before what is under it.
    pub(super) image: Image,
    pub(super) under: SmallDisk,
}

impl Disk {
    /// Mounts both, below `dir`.
    ///
    /// # Errors
    /// Lacking where that is not allowed.
    pub(super) fn create(env: &Env, dir: &Path) -> Result<Disk> {
        let under = SmallDisk::mount(env, &dir.join("under"), DISK_MIB)?;
        let file = under.path().join("image");
        let image = Image::create(env, &file, &dir.join("disk"), SIZE_MIB)?;
        Ok(Disk { image, under })
    }

    /// Gives back what no file of the image uses: else it grows until it needs nothing more
    /// of what is under it, and no sync fails.
    ///
    /// # Errors
    /// Those of `fstrim`.
    pub(super) fn give_back(&self) -> Result<()> {
        tool("fstrim", &[&self.image.path().display().to_string()]).map(drop)
    }

    /// Takes the space under the image that it does not use yet.
    ///
    /// # Errors
    /// When it goes on growing faster than that.
    pub(super) fn starve(&self, env: &Env) -> Result<()> {
        for _ in 0..100 {
            let free = env.fs.free_space(self.under.path())?;
            let used_mib = DISK_MIB - (free >> 20);
            if self.under.resize(used_mib).is_ok() {
                return Ok(());
            }
        }
        Err(Failure::trouble("the image grows faster than its disk can be made smaller"))
    }

    /// Gives it back.
    ///
    /// # Errors
    /// Those of `mount`.
    pub(super) fn feed(&self) -> Result<()> {
        self.under.resize(DISK_MIB)
    }

    /// Mends what an error that the file system noted leaves behind. Nobody uses it.
    ///
    /// # Errors
    /// When it cannot be mended.
    pub(super) fn mend(&mut self) -> Result<()> {
        self.image.unmount()?;
        self.image.check()?;
        self.image.mount()
    }
}
