//! Files that nothing needs any more, waiting for the background to remove them.
//!
//! The last reader of an obsolete table only puts a path here; the removal
//! itself, which can take milliseconds for a large file, is done by
//! [`DeletionQueue::run`] on a background thread. A file left over by a crash
//! before that is an orphan, found and removed at the next open.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use tanada_vfs::FileSystem;
use tanada_vfs::sync::Mutex;

/// A file to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deletion {
    /// Which file.
    pub(crate) path: PathBuf,
    /// Its length, for statistics and pacing.
    pub(crate) size_bytes: u64,
}

/// A queue of files to remove. Its length is bounded by the number of tables
/// that were live at once since the last [`DeletionQueue::run`].
#[derive(Debug, Default)]
pub(crate) struct DeletionQueue {
    /// Guards the list alone; held for a push or a pop, never over I/O.
    waiting: Mutex<VecDeque<Deletion>>,
}

impl DeletionQueue {
    /// Adds a file. No I/O.
    pub(crate) fn push(&self, deletion: Deletion) {
        self.waiting.lock().push_back(deletion);
    }

    /// Files that wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Whether no file waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes at most `limit` files and returns how many went. A file that is
    /// already gone counts as removed; one that cannot be removed goes to the
    /// back of the queue.
    ///
    /// # Errors
    /// The first failure to remove; the files after it wait for the next call.
    pub(crate) fn run(&self, fs: &dyn FileSystem, limit: usize) -> io::Result<usize> {
        for removed in 0..limit {
            let Some(next) = self.waiting.lock().pop_front() else { return Ok(removed) };
            match fs.remove(&next.path) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => {
                    self.push(next);
                    return Err(e);
                }
            }
        }
        Ok(limit)
    }
}
