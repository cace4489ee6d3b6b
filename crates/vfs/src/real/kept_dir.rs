//! A directory that is kept open, so that syncing it takes no file descriptor.

use crate::sync::Mutex;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The directory that was synced last.
///
/// A database syncs its directory when a log is full and when a flush ends. Were no
/// descriptor free at that moment, the sync could not even be tried, and what
/// cannot be made durable stops a database for good.
#[derive(Debug, Default)]
pub(super) struct KeptDir(Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    path: PathBuf,
    file: Arc<File>,
    /// Device and inode: the name may lead elsewhere by now.
    identity: (u64, u64),
}

impl KeptDir {
    /// The open directory that `dir` names now.
    ///
    /// # Errors
    /// When it cannot be opened, or is no directory.
    pub(super) fn open(&self, dir: &Path) -> io::Result<Arc<File>> {
        let named = fs::metadata(dir)?;
        if !named.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        let mut kept = self.0.lock();
        if let Some(kept) = &*kept
            && kept.path == dir
            && kept.identity == identity(&named)
        {
            return Ok(Arc::clone(&kept.file));
        }
        let file = Arc::new(File::open(dir)?);
        let identity = identity(&file.metadata()?);
        *kept = Some(Kept { path: dir.to_owned(), file: Arc::clone(&file), identity });
        Ok(file)
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_opened_once_and_again_when_its_name_leads_elsewhere() {
        let root = std::env::temp_dir().join(format!("tanada-kept-dir-{}", std::process::id()));
        let (dir, moved) = (root.join("db"), root.join("moved"));
        fs::create_dir_all(&dir).unwrap();
        let kept = KeptDir::default();
        let first = kept.open(&dir).unwrap();
        assert!(Arc::ptr_eq(&first, &kept.open(&dir).unwrap()));
        fs::rename(&dir, &moved).unwrap();
        assert_eq!(kept.open(&dir).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::create_dir(&dir).unwrap();
        let second = kept.open(&dir).unwrap();
        let inode = |file: &File| file.metadata().unwrap().ino();
        assert_eq!(inode(&second), fs::metadata(&dir).unwrap().ino());
        assert_ne!(inode(&second), inode(&first));
        fs::remove_dir(&dir).unwrap();
        fs::write(&dir, "a file").unwrap();
        assert_eq!(kept.open(&dir).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        fs::remove_dir_all(&root).unwrap();
    }
}
