//! What jobs may touch: who carries one out has this of its own, and nothing of it shows in
//! what the job writes.

use crate::tree::version::TableStore;
use std::sync::Arc;
use tanada_vfs::Threads;

/// What a job needs of the world.
#[derive(Clone, Copy)]
pub(crate) struct JobIo<'a> {
    /// Where tables live.
    pub(crate) files: &'a Arc<TableStore>,
    /// Whether the job should give up, with [`crate::Error::Closed`].
    pub(crate) should_stop: &'a (dyn Fn() -> bool + Sync),
    /// Called after each MiB or so of entries, so that more urgent work, or a
    /// limit of the rate, can hold the job up.
    pub(crate) yield_point: &'a (dyn Fn(u64) + Sync),
    /// What the job's buffers may take together: its part of the memory budget, which
    /// all of its inputs share.
    pub(crate) share_bytes: u64,
    /// Told what the buffers of one part of the job take, as the difference to what it
    /// was told last.
    pub(crate) buffers: &'a (dyn Fn(i64) + Sync),
    /// Where parts of a job that someone waits for run at once.
    pub(crate) threads: &'a dyn Threads,
}

/// The buffers of one part of a job, told to [`JobIo::buffers`] until dropped.
pub(super) struct Buffers<'a> {
    io: &'a JobIo<'a>,
    told: u64,
}

impl<'a> Buffers<'a> {
    pub(super) fn none(io: &'a JobIo<'a>) -> Buffers<'a> {
        Buffers { io, told: 0 }
    }

    /// They take so much now.
    pub(super) fn are(&mut self, bytes: u64) {
        if bytes != self.told {
            (self.io.buffers)(bytes as i64 - self.told as i64);
            self.told = bytes;
        }
    }
}

impl Drop for Buffers<'_> {
    fn drop(&mut self) {
        self.are(0);
    }
}
