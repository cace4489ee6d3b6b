//! The power cut: a file system is told to stop where it stands.
//!
//! `FS_IOC_SHUTDOWN` (ext4 and XFS have it for their own crash tests) makes
//! every later call to the file system fail, and what its journal and its page
//! cache held is not written any more. Unmounted and mounted again it is as
//! after a power cut: what was not synced is gone. Needs root.
//!
//! No safe call of a library does this: each leaves it to the caller to say
//! what the kernel makes of the pointer. The one unsafe block below does.
#![allow(unsafe_code)]

use crate::failure::{Failure, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, fstat, open, statat};
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
use std::path::Path;

/// `_IOR('X', 125, __u32)`, in `linux/fs.h` since 6.10 and in `ext4.h` before.
/// The kernel reads the number, though the letter says otherwise.
const FS_IOC_SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);

/// `EXT4_GOING_FLAGS_NOLOGFLUSH`: not even the journal is written.
const WITHOUT_FLUSHING: u32 = 2;

/// Cuts the power of the file system mounted at `mount`. Nothing that is
/// synced before this is called is lost, nothing is synced after it returned. A
/// sync that is under way meanwhile may say that it succeeded, and be wrong: see
/// [`crate::history::Cut`].
///
/// # Errors
/// Lacking where the file system or the rights do not allow it; trouble when
/// nothing is mounted there: the power of the machine's own disk stays on.
pub(crate) fn cut(mount: &Path) -> Result<()> {
    let lacking = |e: rustix::io::Errno| {
        Failure::lacking(format!("{} cannot be shut down: {e}", mount.display()))
    };
    let root = directory(mount).map_err(lacking)?;
    if !is_mounted(&root).map_err(lacking)? {
        return Err(Failure::trouble(format!("nothing is mounted at {}", mount.display())));
    }
    // SAFETY: `FS_IOC_SHUTDOWN` is the kernel's number for this request, and
    // what it takes is a pointer to a `__u32`, from which it reads 4 bytes and
    // to which it writes nothing. `Setter` passes the address of the `u32` that
    // it owns, which lives until the call returns. Where the number is not
    // known, or the rights are missing, it fails and reads nothing.
    unsafe {
        let request = Setter::<FS_IOC_SHUTDOWN, u32>::new(WITHOUT_FLUSHING);
        ioctl(&root, request).map_err(lacking)
    }
}

fn directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Whether a directory is the root of a mounted file system: that above it lies
/// on another device.
fn is_mounted(directory: impl AsFd) -> rustix::io::Result<bool> {
    let above = statat(&directory, "..", AtFlags::empty())?;
    Ok(fstat(&directory)?.st_dev != above.st_dev)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only the guard is tried here: the cut itself is what `power` does.
    #[test]
    fn a_directory_is_told_from_a_mounted_file_system() {
        let plain = tempfile::tempdir().unwrap();
        assert!(!is_mounted(directory(plain.path()).unwrap()).unwrap());
        assert!(is_mounted(directory(Path::new("/proc")).unwrap()).unwrap());
        assert_eq!(FS_IOC_SHUTDOWN & 0xFFFF, 0x587D);
    }
}
