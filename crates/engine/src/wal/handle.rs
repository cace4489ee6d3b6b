//! What the writer of the log shares with other threads: how far the log is
//! durable, which files it consists of, and the file prepared for its future.
//!
//! Durable means: the bytes of every log up to a position are synced, and so
//! are the names of these logs. A position is announced as synced only when all
//! of that has happened, so it may be written into later records as a fact.

mod hold;
mod pin;
mod spare;
mod watch;

use hold::Retained;
pub(crate) use hold::{DEFAULT_NAME, Holder, LogHold};
pub(crate) use pin::LogPin;
pub(super) use spare::Spare;
pub(crate) use watch::NextSync;
use watch::Watch;

use super::segment::{Segment, Tail, log_path};
use crate::types::error::{Error, Result};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tanada_format::{LogId, LogPosition, planted};
use tanada_vfs::sync::atomic::{AtomicBool, AtomicU64};
use tanada_vfs::sync::{Mutex, OnceLock};
use tanada_vfs::{Env, LogFile, LogSyncer};

/// Capacities of log files, unless one record needs more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentSizes {
    /// Of the first file; each later one is twice as large.
    pub(crate) min_bytes: u64,
    /// Of those after it has been reached.
    pub(crate) max_bytes: u64,
    /// Most that all files together take that are kept for consumers alone.
    pub(crate) held_bytes: u64,
}

impl SegmentSizes {
    /// Small databases stay small; busy ones pay for a new file some times a
    /// MemTable, which is `memtable_bytes`.
    /// `memory` is the memory budget: consumers may hold as much log, 64 MiB at least.
    pub(crate) fn new(memtable_bytes: u64, memory: u64) -> SegmentSizes {
        let max_bytes = (memtable_bytes / 2).next_multiple_of(1 << 20).clamp(1 << 20, 32 << 20);
        SegmentSizes { min_bytes: 1 << 20, max_bytes, held_bytes: memory.max(64 << 20) }
    }
}

/// The log as threads other than its writer see it. Clones are the same log.
///
/// Locks, in the order in which they are taken: `syncing`, `preparing`; `spare`;
/// `retained`; `files`. The first two are held during I/O, the others for a few instructions.
#[derive(Clone, Debug)]
pub(crate) struct WalHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    env: Env,
    dir: PathBuf,
    /// The end of the stream. Stored (Release) by the writer after the bytes
    /// before it have been appended, so that who loads it (Acquire) and then
    /// syncs, syncs these bytes.
    appended: AtomicU64,
    /// All before it is durable. Stored (Release) under `syncing` after the
    /// syncs; never goes back.
    synced: AtomicU64,
    next_log: AtomicU64,
    next_capacity: AtomicU64,
    sizes: SegmentSizes,
    /// Whether the writer would be glad of a spare. A hint, so Relaxed.
    wants_next: AtomicBool,
    /// Whether commits have been synced since the last spare was prepared. A hint.
    commits_sync: AtomicBool,
    /// The first failure of the log: nothing works after it.
    failure: OnceLock<Error>,
    /// What keeps logs that no MemTable needs.
    retained: Mutex<Retained>,
    watch: Watch,
    files: Mutex<Vec<File>>,
    /// One sync at a time: who waited mostly finds that its bytes were synced meanwhile.
    syncing: Mutex<()>,
    preparing: Mutex<()>,
    spare: Mutex<Option<Spare>>,
}

/// A log file of the stream, in order of ids. The last one is being written.
#[derive(Debug)]
struct File {
    id: LogId,
    start: LogPosition,
    /// `None` while it is being written.
    end: Option<LogPosition>,
    bytes: u64,
    /// Whether header and name are durable.
    durable: bool,
    name_durable: bool,
    /// There while some of its bytes may be unsynced.
    syncer: Option<Arc<dyn LogSyncer>>,
}

impl File {
    /// As others see it. `end` is that of the stream.
    fn segment(&self, end: LogPosition) -> Segment {
        let end = self.end.unwrap_or(end);
        Segment { id: self.id, start: self.start, end, bytes: self.bytes }
    }
}

impl WalHandle {
    pub(super) fn new(env: &Env, dir: &Path, tail: &Tail, sizes: SegmentSizes) -> WalHandle {
        // Records behind `tail.synced` are carried over into the first new log, and files
        // behind its predecessor are no part of the stream any more.
        let older = tail.segments.iter().filter(|segment| Some(segment.id) <= tail.predecessor);
        let older = older.map(|segment| File {
            id: segment.id,
            start: segment.start.min(tail.synced),
            end: Some(segment.end.min(tail.synced)),
            bytes: segment.bytes,
            durable: true,
            name_durable: true,
            syncer: None,
        });
        WalHandle(Arc::new(Shared {
            env: env.clone(),
            dir: dir.to_path_buf(),
            appended: AtomicU64::new(tail.synced.0),
            synced: AtomicU64::new(tail.synced.0),
            next_log: AtomicU64::new(tail.next_log.0),
            next_capacity: AtomicU64::new(sizes.min_bytes),
            sizes,
            wants_next: AtomicBool::new(false),
            commits_sync: AtomicBool::new(false),
            failure: OnceLock::new(),
            retained: Mutex::default(),
            watch: Watch::default(),
            files: Mutex::new(older.collect()),
            syncing: Mutex::new(()),
            preparing: Mutex::new(()),
            spare: Mutex::new(None),
        }))
    }

    /// The end of the stream.
    pub(crate) fn position(&self) -> LogPosition {
        LogPosition(self.0.appended.load(Ordering::Acquire))
    }

    /// All before this position survives a power cut.
    pub(crate) fn synced_position(&self) -> LogPosition {
        LogPosition(self.0.synced.load(Ordering::Acquire))
    }

    /// Makes all before `position` durable, and the log that begins there, if one
    /// does. Costs nothing when it is already; otherwise a sync of each log with
    /// unsynced bytes, oldest first, and one of the directory when a log is new. The
    /// writer may append meanwhile. Later logs are left alone: that being written may
    /// have been warmed, and its zeros would go to the disk too, at each sync again.
    ///
    /// # Errors
    /// The first failure poisons the log: the kernel may have dropped what it
    /// could not write, and would call a second sync a success.
    pub(crate) fn sync_up_to(&self, position: LogPosition) -> Result<()> {
        self.check()?;
        if self.is_durable_up_to(position) {
            return Ok(());
        }
        let _one_at_a_time = self.0.syncing.lock();
        self.check()?;
        if self.is_durable_up_to(position) {
            return Ok(());
        }
        let (goal, syncers, new_names) = {
            let files = self.0.files.lock();
            // Read under the lock: every log that holds bytes before it is in the list.
            let end = self.position();
            let needed = || files.iter().filter(|file| file.start <= position);
            let goal = needed().next_back().and_then(|last| last.end).unwrap_or(end);
            let unsynced = needed().filter_map(|file| Some((file.id, file.syncer.clone()?)));
            (goal, unsynced.collect::<Vec<_>>(), needed().any(|file| !file.name_durable))
        };
        assert!(position <= goal, "nobody knows a position that has not been appended");
        for (_, syncer) in &syncers {
            let again = |e| if planted!(fsync_retry_lies) { syncer.sync() } else { Err(e) };
            syncer.sync().or_else(again).map_err(|e| self.poison(e))?;
        }
        if new_names {
            self.0.env.fs.sync_dir(&self.0.dir).map_err(|e| self.poison(e))?;
        }
        let newest = syncers.last().map(|(id, _)| *id);
        for file in self.0.files.lock().iter_mut().filter(|file| Some(file.id) <= newest) {
            (file.durable, file.name_durable) = (true, true);
            if file.end.is_some_and(|end| end <= goal) {
                file.syncer = None;
            }
        }
        self.0.synced.store(goal.0, Ordering::Release);
        Ok(())
    }

    fn is_durable_up_to(&self, position: LogPosition) -> bool {
        let begun = |file: &File| file.start > position || file.durable;
        self.synced_position() >= position && self.0.files.lock().iter().all(begun)
    }

    /// The log that the manifest may name as the oldest one needed when all
    /// records before `position` are in tables: the newest that begins no later
    /// and whose header and name are durable. A manifest that named a log which
    /// a power cut can take would make the database unopenable.
    pub(crate) fn oldest_needed_for(&self, position: LogPosition) -> LogId {
        let files = self.0.files.lock();
        let fits = |file: &&File| file.durable && file.start <= position;
        let newest = files.iter().rev().find(fits).or(files.first());
        newest.expect("a writer never lets go of the log it writes").id
    }

    /// The files of the stream, oldest first, the one being written last. Those
    /// handed out by `take_before` are not among them, nor is a prepared one.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        let files = self.0.files.lock();
        let end = self.position();
        files.iter().map(|file| file.segment(end)).collect()
    }

    /// The writer goes on in the file `id`.
    pub(super) fn started(&self, id: LogId, file: &dyn LogFile, durable: bool) {
        let start = self.position();
        let capacity = file.capacity();
        let doubled = self.0.next_capacity.load(Ordering::Relaxed) * 2;
        self.0.next_capacity.store(doubled.min(self.0.sizes.max_bytes), Ordering::Relaxed);
        self.0.wants_next.store(false, Ordering::Relaxed);
        let mut files = self.0.files.lock();
        if let Some(last) = files.last_mut() {
            last.end = Some(last.end.unwrap_or(start));
        }
        files.push(File {
            id,
            start,
            end: None,
            bytes: capacity,
            durable: false,
            name_durable: durable,
            syncer: Some(file.syncer()),
        });
    }

    /// All up to `position` is durable, the header and name of every log too:
    /// so a writer begins.
    pub(super) fn began_durably(&self, position: LogPosition) {
        for file in self.0.files.lock().iter_mut() {
            (file.durable, file.name_durable) = (true, true);
        }
        self.appended(position);
        self.0.synced.store(position.0, Ordering::Release);
    }

    /// The writer has appended everything up to `position`.
    pub(super) fn appended(&self, position: LogPosition) {
        self.0.appended.store(position.0, Ordering::Release);
    }

    /// A commit is being synced.
    pub(super) fn commit_syncs(&self) {
        self.0.commits_sync.store(true, Ordering::Relaxed);
    }

    /// Forgets the logs before `id` (never the one being written, nor one that is
    /// [pinned](WalHandle::pin) or [held](WalHandle::hold), nor those behind it) and answers
    /// their paths and sizes, for removal. Holds that keep too much are lost here. The manifest must name `id` or a later log as
    /// the oldest needed, durably, before the first is removed.
    ///
    /// The directory need not be synced after the removals: a name that comes
    /// back after a power cut is that of a log before the oldest needed, which
    /// recovery does not read but hands out for removal again.
    pub(crate) fn take_before(&self, id: LogId) -> Vec<(PathBuf, u64)> {
        let mut retained = self.0.retained.lock();
        let mut files = self.0.files.lock();
        let current = files.last().expect("a writer never lets go of the log it writes").id;
        let unneeded = files.partition_point(|file| file.id < id.min(current));
        let (oldest_kept, has_lost_holds) =
            retained.oldest_kept(&files[..unneeded], self.0.sizes.held_bytes);
        let gone = files.partition_point(|file| file.id < id.min(current).min(oldest_kept));
        let gone =
            files.drain(..gone).map(|file| (log_path(&self.0.dir, file.id), file.bytes)).collect();
        drop((files, retained));
        if has_lost_holds {
            self.news().ring();
        }
        gone
    }

    /// Whether a failure has left unknown what is on disk.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.0.failure.get().is_some()
    }

    /// Refuses when the log is poisoned.
    #[inline]
    pub(super) fn check(&self) -> Result<()> {
        match self.0.failure.get() {
            None => Ok(()),
            Some(first) => Err(Error::Poisoned { reason: first.to_string() }),
        }
    }

    /// Notes the first failure, and answers this one.
    #[cold]
    pub(super) fn poison(&self, failure: io::Error) -> Error {
        let failure = Error::from(failure);
        if planted!(wal_error_swallowed) {
            return failure;
        }
        // A second failure is of no interest.
        let _ = self.0.failure.set(failure.clone());
        failure
    }
}
