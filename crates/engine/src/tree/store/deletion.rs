//! Files that nothing needs any more, waiting for the background to remove them.
//!
//! The last reader of an obsolete table only puts a path here; the removal itself, which
//! can take milliseconds for a large file, is done by [`DeletionQueue::run`] on a
//! background thread, which [waits](DeletionQueue::wait) for nothing else: on a database
//! where nothing happens the last reader is the only one who knows that a file may go. A
//! file left over by a crash before that is an orphan, found and removed at the next open.
//!
//! Every byte on disk that nobody needs is counted here from the moment on at which nobody
//! needs it: while a reader still holds its table, while it waits, while it is removed.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use tanada_vfs::FileSystem;
use tanada_vfs::sync::{Condvar, Mutex};

/// A file to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deletion {
    /// Which file.
    pub(crate) path: PathBuf,
    /// Its length, for statistics.
    pub(crate) size_bytes: u64,
}

/// Files on disk that nobody needs, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Obsolete {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

impl Obsolete {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, bytes: u64) {
        self.files -= 1;
        self.bytes -= bytes;
    }
}

/// A queue of files to remove. Its length is bounded by the number of tables and logs
/// that were live at once since the last [`DeletionQueue::run`].
#[derive(Debug, Default)]
pub(crate) struct DeletionQueue {
    /// Held for a push or a pop, never over I/O; no other lock is taken under it. Tables
    /// come here under whatever locks their last holder has.
    state: Mutex<Waiting>,
    /// Signalled when a file has come, and when one has gone.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    files: VecDeque<Deletion>,
    /// Files that somebody is removing.
    removing: usize,
    /// Waiting or being removed.
    queued: Obsolete,
    /// Tables that no version names, and that readers still hold.
    held: Obsolete,
    /// Nobody waits any more.
    stopped: bool,
}

impl DeletionQueue {
    /// Adds a file. No I/O.
    pub(crate) fn push(&self, deletion: Deletion) {
        let mut state = self.state.lock();
        state.queued.add(deletion.size_bytes);
        state.files.push_back(deletion);
        drop(state);
        self.changed.notify_all();
    }

    /// Counts a table that no version names any more; it comes by
    /// [`DeletionQueue::push_held`] once nobody holds it.
    pub(crate) fn hold(&self, size_bytes: u64) {
        self.state.lock().held.add(size_bytes);
    }

    /// Adds the file of a table that was counted as held.
    pub(crate) fn push_held(&self, deletion: Deletion) {
        self.state.lock().held.remove(deletion.size_bytes);
        self.push(deletion);
    }

    /// Files that wait.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().files.len()
    }

    /// Whether no file waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What waits or is being removed, and what readers keep from that.
    pub(crate) fn obsolete(&self) -> (Obsolete, Obsolete) {
        let state = self.state.lock();
        (state.queued, state.held)
    }

    /// Waits until a file waits, or until [`DeletionQueue::stop`].
    pub(crate) fn wait(&self) {
        let mut state = self.state.lock();
        while state.files.is_empty() && !state.stopped {
            self.changed.wait(&mut state);
        }
    }

    /// Ends all waiting for files, for good.
    pub(crate) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Removes at most `limit` files and returns how many went. A file that is
    /// already gone counts as removed; one that cannot be removed goes to the
    /// back of the queue.
    ///
    /// # Errors
    /// The first failure to remove; the files after it wait for the next call.
    pub(crate) fn run(&self, fs: &dyn FileSystem, limit: usize) -> io::Result<usize> {
        for removed in 0..limit {
            let next = {
                let mut state = self.state.lock();
                let Some(next) = state.files.pop_front() else { return Ok(removed) };
                state.removing += 1;
                next
            };
            let outcome = match fs.remove(&next.path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                outcome => outcome,
            };
            let mut state = self.state.lock();
            state.removing -= 1;
            match outcome {
                Ok(()) => state.queued.remove(next.size_bytes),
                Err(_) => state.files.push_back(next),
            }
            drop(state);
            self.changed.notify_all();
            outcome?;
        }
        Ok(limit)
    }

    /// Removes all files that wait now, and waits for those that others are removing.
    ///
    /// # Errors
    /// As [`DeletionQueue::run`].
    pub(crate) fn run_all(&self, fs: &dyn FileSystem) -> io::Result<()> {
        self.run(fs, self.len())?;
        let mut state = self.state.lock();
        while state.removing > 0 {
            self.changed.wait(&mut state);
        }
        Ok(())
    }
}
