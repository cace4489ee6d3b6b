//! What flushes and compactions have done since opening.

use crate::tree::compaction::JobOutput;
use crate::types::error::Error;
use crate::types::stats::{CheckpointStats, JobStats, OffloadedStats};
use std::sync::atomic::Ordering;
use tanada_format::SeqNo;
use tanada_vfs::sync::Mutex;
use tanada_vfs::sync::unchecked::AtomicU64;

/// Totals of one kind of job. Relaxed throughout: they order nothing.
#[derive(Debug, Default)]
pub(crate) struct JobTotals {
    jobs: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    entries_in: AtomicU64,
    entries_out: AtomicU64,
    trivial_moves: AtomicU64,
    busy_ns: AtomicU64,
}

/// Totals of all kinds.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    pub(crate) flush: JobTotals,
    pub(crate) compaction: JobTotals,
    pub(crate) offloaded: OffloadedTotals,
    pub(crate) checkpoints: CheckpointTotals,
}

/// Totals of compactions that somebody else was asked for, once a job: under a lock.
#[derive(Debug, Default)]
pub(crate) struct OffloadedTotals(Mutex<OffloadedStats>);

/// Characters that are kept of what a failure was.
const FAILURE_CHARS: usize = 500;

impl OffloadedTotals {
    /// Adds one that was carried out, or was not taken.
    pub(crate) fn note_answer(&self, done: bool) {
        let mut totals = self.0.lock();
        match done {
            true => totals.done += 1,
            false => totals.declined += 1,
        }
    }

    /// Adds one that failed.
    pub(crate) fn note_failure(&self, e: &Error) {
        let what = e.to_string().chars().take(FAILURE_CHARS).collect();
        let mut totals = self.0.lock();
        totals.failed += 1;
        totals.last_failure = Some(what);
    }

    pub(crate) fn stats(&self) -> OffloadedStats {
        self.0.lock().clone()
    }
}

/// Totals of checkpoints. Relaxed throughout: they order nothing.
#[derive(Debug, Default)]
pub(crate) struct CheckpointTotals {
    began: AtomicU64,
    made: AtomicU64,
    failed: AtomicU64,
    last_ns: AtomicU64,
    last_seqno: AtomicU64,
    linked_bytes: AtomicU64,
    written_bytes: AtomicU64,
}

/// One that was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MadeCheckpoint {
    pub(crate) seqno: SeqNo,
    pub(crate) linked_bytes: u64,
    pub(crate) written_bytes: u64,
}

impl CheckpointTotals {
    pub(crate) fn begin(&self) {
        self.began.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds one that took `ns`; `None` when none was made.
    pub(crate) fn end(&self, made: Option<MadeCheckpoint>, ns: u64) {
        let Some(made) = made else {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.last_ns.store(ns, Ordering::Relaxed);
        self.last_seqno.store(made.seqno.0, Ordering::Relaxed);
        self.linked_bytes.fetch_add(made.linked_bytes, Ordering::Relaxed);
        self.written_bytes.fetch_add(made.written_bytes, Ordering::Relaxed);
        self.made.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> CheckpointStats {
        let get = |total: &AtomicU64| total.load(Ordering::Relaxed);
        // Of one that ends between the looks the begin is missed, never its end.
        let (made, failed) = (get(&self.made), get(&self.failed));
        CheckpointStats {
            made,
            failed,
            running: get(&self.began).saturating_sub(made).saturating_sub(failed),
            last_ns: get(&self.last_ns),
            last_seqno: get(&self.last_seqno),
            linked_bytes: get(&self.linked_bytes),
            written_bytes: get(&self.written_bytes),
        }
    }
}

#[cfg(all(test, shuttle))]
impl Jobs {
    /// Flushes and compactions that have been done.
    pub(crate) fn so_far(&self) -> (u64, u64) {
        let jobs = |of: &JobTotals| of.jobs.load(Ordering::Relaxed);
        (jobs(&self.flush), jobs(&self.compaction))
    }
}

impl JobTotals {
    /// Adds a job that took `ns`.
    pub(crate) fn add(&self, output: &JobOutput, ns: u64) {
        let add = |total: &AtomicU64, n| total.fetch_add(n, Ordering::Relaxed);
        add(&self.jobs, 1);
        add(&self.bytes_read, output.bytes_read);
        add(&self.bytes_written, output.bytes_written);
        add(&self.entries_in, output.entries_in);
        add(&self.entries_out, output.entries_out);
        add(&self.busy_ns, ns);
    }

    /// Bytes of tables written so far.
    pub(crate) fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Ordering::Relaxed)
    }

    /// Adds a table that changed its level and nothing else.
    pub(crate) fn add_move(&self) {
        self.trivial_moves.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self, running: u64, pending_bytes: u64) -> JobStats {
        let get = |total: &AtomicU64| total.load(Ordering::Relaxed);
        JobStats {
            jobs: get(&self.jobs),
            running,
            pending_bytes,
            bytes_read: get(&self.bytes_read),
            bytes_written: get(&self.bytes_written),
            entries_in: get(&self.entries_in),
            entries_out: get(&self.entries_out),
            trivial_moves: get(&self.trivial_moves),
            busy_ns: get(&self.busy_ns),
            ..JobStats::default()
        }
    }
}
