//! Finds out whether the file system's journal has ended: docs/decisions/0018-journal-asked.md.

use std::fs::File;
use std::io;

/// The number of ext4, as `statfs` gives it.
#[cfg(target_os = "linux")]
pub(super) const EXT4: u64 = 0xEF53;

/// What file system the file lies on, by its number.
#[cfg(target_os = "linux")]
pub(super) fn kind_of(file: &File) -> Option<u64> {
    rustix::fs::fstatfs(file).ok().map(|stat| stat.f_type as u64 & 0xFFFF_FFFF)
}

/// The journal that new blocks of a file hang on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Journal {
    /// On ext4. Others either have none, or fail each sync once it has ended.
    must_be_asked: bool,
}

impl Journal {
    /// Of the file system on which the file lies.
    pub(super) fn of(file: &File) -> Journal {
        #[cfg(target_os = "linux")]
        let must_be_asked = kind_of(file) == Some(EXT4);
        #[cfg(not(target_os = "linux"))]
        let must_be_asked = {
            let _ = file;
            false
        };
        Journal { must_be_asked }
    }

    /// An error once the journal has ended. For behind a sync of a file with bytes in it,
    /// which may have filled blocks for the first time.
    ///
    /// A block that is filled for the first time is marked as written by the journal, when
    /// its bytes are on the device. Where ext4 gives its journal up just then, for an error
    /// somewhere, that mark is lost, the block reads as zeros from then on, and the sync
    /// answers that all is well. Reserving what is reserved changes nothing, and asks the
    /// journal.
    pub(super) fn ask(self, file: &File) -> io::Result<()> {
        if !self.must_be_asked {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        match rustix::io::retry_on_intr(|| {
            rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, 1)
        }) {
            // ext2 and ext3, which have ext4's number: they mark no block as written.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
