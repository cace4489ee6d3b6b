//! Logs that consumers hold: who follows what is written keeps the logs that it has still to
//! read, within a bound.
//!
//! A hold names the log in which its holder reads; that one and all later ones stay. It
//! moves forward with the holder. What is kept for holders alone, for no MemTable needs it
//! any more, is at most [`SegmentSizes::held_bytes`]: where it would be more, the holder
//! that is furthest behind loses its hold and is told so, rather than that the disk fills.
//! A hold lives in memory: a process that ends holds nothing.
//!
//! [`SegmentSizes::held_bytes`]: super::SegmentSizes::held_bytes

use super::{File, WalHandle};
use crate::wal::segment::Segment;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tanada_format::{LogId, LogPosition, planted};
use tanada_vfs::sync::atomic::{AtomicBool, AtomicU64};

/// What a holder is called that was given no name.
pub(crate) const DEFAULT_NAME: &str = "changes";

/// What keeps logs that no MemTable needs.
///
/// Guarded by the lock [`super::Shared::retained`], which is taken before that of the files.
#[derive(Debug, Default)]
pub(super) struct Retained {
    /// Logs that somebody copies or checks, and how many do: these and later ones stay.
    pub(super) pins: BTreeMap<LogId, usize>,
    /// By the number of the hold: the older the smaller.
    holds: BTreeMap<u64, Held>,
    next_hold: u64,
    /// Holds that were lost.
    lost: u64,
}

#[derive(Debug)]
struct Held {
    log: LogId,
    name: String,
    since_ns: u64,
    progress: Arc<Progress>,
}

/// Where a holder is. Relaxed: for statistics, and `lost` is looked at again under the lock
/// by who has to be sure.
#[derive(Debug)]
struct Progress {
    position: AtomicU64,
    moved_ns: AtomicU64,
    lost: AtomicBool,
}

/// Keeps a log and all later ones until it is dropped. Whoever moves or drops it hands out
/// those that nobody needs any more: [`WalHandle::take_before`].
#[derive(Debug)]
pub(crate) struct LogHold {
    handle: WalHandle,
    number: u64,
    log: LogId,
    progress: Arc<Progress>,
    is_released: bool,
}

/// A hold, for statistics.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) name: String,
    /// How far its holder has come.
    pub(crate) position: LogPosition,
    pub(crate) since_ns: u64,
    /// When it has last moved.
    pub(crate) moved_ns: u64,
}

/// What is held.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeldLogs {
    /// Logs that no MemTable needs, kept for holders and for those who copy or check logs.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Most that they may be for holders.
    pub(crate) limit_bytes: u64,
    /// Holds that were lost since opening.
    pub(crate) lost: u64,
    /// The oldest first, so many of them.
    pub(crate) holders: Vec<Holder>,
    /// All of them.
    pub(crate) count: u64,
}

impl Retained {
    fn oldest_held(&self) -> Option<LogId> {
        self.holds.values().map(|held| held.log).min()
    }

    /// The oldest log that stays, of those that could go otherwise, which are `files`.
    /// Holds that keep too much are lost first. Answers whether any was.
    pub(super) fn oldest_kept(&mut self, files: &[File], held_bytes: u64) -> (LogId, bool) {
        let before = self.lost;
        while let Some(oldest) = self.oldest_held() {
            let kept: u64 = files.iter().filter(|f| f.id >= oldest).map(|f| f.bytes).sum();
            if kept <= held_bytes {
                break;
            }
            let is_lost = |held: &Held| held.log == oldest;
            for held in self.holds.values().filter(|held| is_lost(held)) {
                held.progress.lost.store(true, Ordering::Relaxed);
                self.lost += 1;
            }
            self.holds.retain(|_, held| !is_lost(held));
        }
        let any = LogId(u64::MAX);
        let pinned = match self.pins.first_key_value() {
            Some((&oldest, _)) if !planted!(checkpoint_log_not_pinned) => oldest,
            _ => any,
        };
        let held = match self.oldest_held() {
            Some(oldest) if !planted!(held_log_deleted) => oldest,
            _ => any,
        };
        (pinned.min(held), self.lost != before)
    }
}

impl WalHandle {
    /// Keeps the log that has the records from `position` on, and all later ones. Answers
    /// the log; or, when it is gone, the oldest that is there.
    pub(crate) fn hold(&self, position: LogPosition) -> Result<(LogHold, Segment), Segment> {
        let now_ns = self.0.env.clock.monotonic_ns();
        let mut retained = self.0.retained.lock();
        let files = self.0.files.lock();
        let end = self.position();
        let Some(file) = files.iter().rfind(|file| file.start <= position) else {
            return Err(files.first().expect("a log is being written").segment(end));
        };
        let progress = Arc::new(Progress {
            position: AtomicU64::new(position.0),
            moved_ns: AtomicU64::new(now_ns),
            lost: AtomicBool::new(false),
        });
        let number = retained.next_hold;
        retained.next_hold += 1;
        let held = Held {
            log: file.id,
            name: DEFAULT_NAME.to_owned(),
            since_ns: now_ns,
            progress: Arc::clone(&progress),
        };
        retained.holds.insert(number, held);
        self.0.watch.consumers_are(retained.holds.len());
        let (handle, log) = (self.clone(), file.id);
        let hold = LogHold { handle, number, log, progress, is_released: false };
        Ok((hold, file.segment(end)))
    }

    /// Keeps all logs that are there.
    pub(crate) fn hold_all(&self) -> (LogHold, Segment) {
        loop {
            let oldest = self.segments().first().expect("a log is being written").start;
            if let Ok(held) = self.hold(oldest) {
                return held;
            }
        }
    }

    /// The log that has the records from `position` on, if it is there.
    pub(crate) fn segment_at(&self, position: LogPosition) -> Option<Segment> {
        let files = self.0.files.lock();
        let end = self.position();
        files.iter().rfind(|file| file.start <= position).map(|file| file.segment(end))
    }

    /// What is held, when MemTables need the log `needed` and later ones; `most` of who does.
    pub(crate) fn held_logs(&self, needed: LogId, most: usize) -> HeldLogs {
        let retained = self.0.retained.lock();
        let files = self.0.files.lock();
        let kept = files.iter().filter(|file| file.id < needed);
        let mut held = HeldLogs {
            limit_bytes: self.0.sizes.held_bytes,
            lost: retained.lost,
            count: retained.holds.len() as u64,
            ..HeldLogs::default()
        };
        for file in kept {
            held.files += 1;
            held.bytes += file.bytes;
        }
        drop(files);
        let holder = |held: &Held| Holder {
            name: held.name.clone(),
            position: LogPosition(held.progress.position.load(Ordering::Relaxed)),
            since_ns: held.since_ns,
            moved_ns: held.progress.moved_ns.load(Ordering::Relaxed),
        };
        held.holders = retained.holds.values().take(most).map(holder).collect();
        held
    }
}

impl LogHold {
    /// Whether the logs that it kept may be gone.
    pub(crate) fn is_lost(&self) -> bool {
        self.progress.lost.load(Ordering::Relaxed)
    }

    /// The log that it keeps, with all later ones.
    pub(crate) fn log(&self) -> LogId {
        self.log
    }

    /// The holder needs no log before `log` any more. Answers whether it had needed one.
    pub(crate) fn move_to(&mut self, log: LogId) -> bool {
        if log == self.log || self.is_lost() {
            return false;
        }
        debug_assert!(log > self.log, "a hold moves forward");
        self.log = log;
        if let Some(held) = self.handle.0.retained.lock().holds.get_mut(&self.number) {
            held.log = log;
        }
        true
    }

    /// The holder has come to `position`.
    pub(crate) fn come_to(&self, position: LogPosition, now_ns: u64) {
        self.progress.position.store(position.0, Ordering::Relaxed);
        self.progress.moved_ns.store(now_ns, Ordering::Relaxed);
    }

    /// What its holder is called.
    pub(crate) fn rename(&self, name: &str) {
        if let Some(held) = self.handle.0.retained.lock().holds.get_mut(&self.number) {
            name.clone_into(&mut held.name);
        }
    }
}

impl LogHold {
    /// Keeps nothing any more.
    pub(crate) fn release(&mut self) {
        if !std::mem::replace(&mut self.is_released, true) {
            let mut retained = self.handle.0.retained.lock();
            retained.holds.remove(&self.number);
            self.handle.0.watch.consumers_are(retained.holds.len());
        }
    }

    /// Is another process's now, and no longer to be released.
    pub(crate) fn abandon(&mut self) {
        self.is_released = true;
    }
}

impl Drop for LogHold {
    fn drop(&mut self) {
        self.release();
    }
}
