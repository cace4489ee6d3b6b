//! File systems of our own, to be cut off, starved, filled and turned
//! read-only. All need root; what is mounted goes when it is dropped, and with
//! the run's own mount namespace (see `main`) whatever else happens.

use crate::failure::{Failure, Result};
use crate::power_cut;
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, open};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tanada_vfs::Env;

/// Runs a program of the system; what it said.
///
/// # Errors
/// Lacking when it is not there, trouble when it fails.
pub(crate) fn tool(program: &str, arguments: &[&str]) -> Result<String> {
    let said = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|e| Failure::lacking(format!("{program} cannot be run ({e}); install it")))?;
    if said.status.success() {
        return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
    }
    Err(Failure::trouble(format!(
        "{program} {}: {}: {}",
        arguments.join(" "),
        said.status,
        String::from_utf8_lossy(&said.stderr).trim()
    )))
}

/// Whether file systems can be mounted here.
///
/// # Errors
/// Lacking.
pub(crate) fn need_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::lacking("root's rights, to mount file systems; run this as root"))
}

/// The first mount of a kind: where it fails, the machine does not allow it.
fn as_lacking(failure: Failure) -> Failure {
    match failure {
        Failure::Trouble(why) => Failure::lacking(format!("mounting is not possible: {why}")),
        other => other,
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Something mounted.
#[derive(Debug)]
struct Mounted(PathBuf);

impl Mounted {
    fn unmount(self) -> Result<()> {
        let done = tool("umount", &[&text(&self.0)]).map(drop);
        if done.is_ok() {
            std::mem::forget(self);
        }
        done
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: whoever still uses it is about to end as well.
        let _ = tool("umount", &["--lazy", &text(&self.0)]);
    }
}

/// A disk in memory of a fixed size.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    mounted: Mounted,
}

impl SmallDisk {
    /// Mounts one at `at`, which is created.
    ///
    /// # Errors
    /// Lacking where that is not allowed.
    pub(crate) fn mount(env: &Env, at: &Path, size_mib: u64) -> Result<SmallDisk> {
        need_root()?;
        env.fs.create_dir_all(at)?;
        let size = format!("size={size_mib}m");
        tool("mount", &["-t", "tmpfs", "-o", &size, "tanada-stress", &text(at)])
            .map_err(as_lacking)?;
        Ok(SmallDisk { mounted: Mounted(at.to_owned()) })
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.mounted.0
    }

    /// Gives it another size.
    ///
    /// # Errors
    /// Those of `mount`.
    pub(crate) fn resize(&self, size_mib: u64) -> Result<()> {
        let options = format!("remount,size={size_mib}m");
        tool("mount", &["-o", &options, &text(self.path())]).map(drop)
    }
}

/// A file that takes what is free on a disk.
#[derive(Debug)]
pub(crate) struct Filler {
    dir: PathBuf,
}

impl Filler {
    /// For the disk that is mounted at `dir`.
    pub(crate) fn on(dir: &Path) -> Filler {
        Filler { dir: dir.to_owned() }
    }

    /// Takes all of its free space but so much.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn take_space(&self, env: &Env, leave_bytes: u64) -> Result<()> {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        let no_space = |e: rustix::io::Errno| Failure::trouble(format!("taking space: {e}"));
        let file = open(self.file(), flags, Mode::RUSR | Mode::WUSR).map_err(no_space)?;
        let mut taken = 0;
        // Others write at the same time, and may be faster.
        for _ in 0..1000 {
            let free = env.fs.free_space(&self.dir)?.saturating_sub(leave_bytes);
            if free == 0 {
                return Ok(());
            }
            match fallocate(&file, FallocateFlags::empty(), taken, free) {
                Ok(()) => taken += free,
                Err(rustix::io::Errno::NOSPC) => {}
                Err(e) => return Err(no_space(e)),
            }
        }
        Err(Failure::trouble("the disk's space changes faster than it can be taken"))
    }

    /// Gives back what was taken.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn give_space(&self, env: &Env) -> Result<()> {
        Ok(env.fs.remove(&self.file())?)
    }

    fn file(&self) -> PathBuf {
        self.dir.join("filler")
    }
}

/// An ext4 file system in a file, through a loop device.
#[derive(Debug)]
pub(crate) struct Image {
    file: PathBuf,
    at: PathBuf,
    mounted: Option<Mounted>,
}

impl Image {
    /// Makes one in `file`, sparse, and mounts it at `at`, which is created.
    ///
    /// # Errors
    /// Lacking where there is no loop device, or no right to it.
    pub(crate) fn create(env: &Env, file: &Path, at: &Path, size_mib: u64) -> Result<Image> {
        need_root()?;
        env.fs.create_dir_all(at)?;
        tool("truncate", &["--size", &format!("{size_mib}M"), &text(file)])?;
        // Without blocks that are kept for root: full is full for everybody.
        tool("mkfs.ext4", &["-q", "-m", "0", "-F", &text(file)])?;
        let mut image = Image { file: file.to_owned(), at: at.to_owned(), mounted: None };
        image.mount().map_err(as_lacking)?;
        Ok(image)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    /// Mounts it; its journal is replayed.
    ///
    /// # Errors
    /// Those of `mount`.
    pub(crate) fn mount(&mut self) -> Result<()> {
        let options = "loop,errors=remount-ro";
        tool("mount", &["-o", options, &text(&self.file), &text(&self.at)])?;
        self.mounted = Some(Mounted(self.at.clone()));
        Ok(())
    }

    /// Mounts it read-only, or no longer so.
    ///
    /// # Errors
    /// Those of `mount`.
    pub(crate) fn remount(&self, options: &str) -> Result<()> {
        tool("mount", &["-o", &format!("remount,{options}"), &text(&self.at)]).map(drop)
    }

    /// Unmounts it. Whoever used it must have ended.
    ///
    /// # Errors
    /// Those of `umount`.
    pub(crate) fn unmount(&mut self) -> Result<()> {
        self.mounted.take().map_or(Ok(()), Mounted::unmount)
    }

    /// Mends what an error that the file system noted leaves behind.
    ///
    /// # Errors
    /// When it cannot be mended.
    pub(crate) fn check(&self) -> Result<()> {
        let file = text(&self.file);
        let said = Command::new("e2fsck").args(["-f", "-y", &file]).output();
        let said = said.map_err(|e| Failure::lacking(format!("e2fsck cannot be run ({e})")))?;
        // 1: errors were mended.
        match said.status.code() {
            Some(0 | 1) => Ok(()),
            _ => Err(Failure::trouble(format!(
                "e2fsck {file}: {}: {}",
                said.status,
                String::from_utf8_lossy(&said.stdout)
            ))),
        }
    }

    /// Cuts its power.
    ///
    /// # Errors
    /// Lacking where that is not possible.
    pub(crate) fn cut_power(&self) -> Result<()> {
        power_cut::cut(&self.at)
    }

    /// Lets it find an error in itself, upon which it turns read-only under
    /// whoever uses it.
    ///
    /// # Errors
    /// Lacking where the kernel offers no such thing.
    pub(crate) fn turn_read_only(&self) -> Result<()> {
        let trigger = format!("/sys/fs/ext4/{}/trigger_fs_error", self.device()?);
        set(&trigger, b"1")
    }

    /// Lets what is under it take one page at a time, or refuse it. Of a longer write
    /// a full disk may take a part, and the loop device of Linux 6.18 calls that a
    /// success (`lo_complete_rq`): bytes would be lost behind a sync that did not fail.
    ///
    /// # Errors
    /// Lacking where the kernel offers no such thing.
    pub(crate) fn write_page_by_page(&self) -> Result<()> {
        let setting = format!("/sys/block/{}/queue/max_sectors_kb", self.device()?);
        set(&setting, b"4")
    }

    /// The name of the device that is mounted.
    fn device(&self) -> Result<String> {
        let mut mounts = String::new();
        tanada_vfs::open_input(Path::new("/proc/mounts"))?.read_to_string(&mut mounts)?;
        let at = text(&self.at);
        let device = mounts.lines().find_map(|line| {
            let mut words = line.split(' ');
            let (device, place) = (words.next()?, words.next()?);
            (place == at).then(|| device.trim_start_matches("/dev/").to_owned())
        });
        device.ok_or_else(|| Failure::trouble(format!("{at} is not among the mounts")))
    }
}

/// Writes to a setting of the kernel.
fn set(setting: &str, value: &[u8]) -> Result<()> {
    let lacking = |e: rustix::io::Errno| Failure::lacking(format!("{setting}: {e}"));
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = open(setting, flags, Mode::empty()).map_err(lacking)?;
    rustix::io::write(&file, value).map_err(lacking)?;
    Ok(())
}
