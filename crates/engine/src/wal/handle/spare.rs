//! The log file prepared ahead of its use, so that the writer need not wait for one.
//!
//! A background thread creates it once the present file begins to fill; the writer takes it
//! when that is full. Ids grow along the stream, so a spare that comes too late is removed.

use super::WalHandle;
use crate::types::error::{Error, Result};
use crate::wal::segment::log_path;
use std::sync::atomic::Ordering;
use tanada_format::{LogId, planted};
use tanada_vfs::LogFile;

/// A log file created ahead of its use.
#[derive(Debug)]
pub(in crate::wal) struct Spare {
    pub(in crate::wal) id: LogId,
    pub(in crate::wal) file: Box<dyn LogFile>,
    /// Whether its name and length are durable.
    pub(in crate::wal) durable: bool,
}

impl WalHandle {
    /// Whether [`prepare_next`](Self::prepare_next) would spare the writer a wait.
    pub(crate) fn wants_next(&self) -> bool {
        self.0.wants_next.load(Ordering::Relaxed)
    }

    /// Bytes of the file that is ready.
    pub(crate) fn spare_bytes(&self) -> u64 {
        self.0.spare.lock().as_ref().map_or(0, |spare| spare.file.capacity())
    }

    /// The writer's file begins to fill.
    pub(in crate::wal) fn want_next(&self) {
        // Under the lock: one that is offered meanwhile would be wanted though it is there,
        // and the thread that prepares logs would look for it again and again.
        let spare = self.0.spare.lock();
        if spare.is_none() {
            self.0.wants_next.store(true, Ordering::Relaxed);
        }
    }

    /// Creates the next log file, so that the writer need not. For a background
    /// thread: costs a file of up to [`SegmentSizes::max_bytes`]. Where commits
    /// are synced, its name and length are made durable: a sync of the file and
    /// one of the directory, which the first commit in it is spared. Where they
    /// are not, its pages are brought into memory; doing both would write zeros to
    /// disk. Does nothing when a file is ready.
    ///
    /// # Errors
    /// A file that cannot be created or synced harms nothing: the writer will try
    /// itself when it comes to that, and until then it asks for none. A failed sync
    /// of the directory poisons the log.
    pub(crate) fn prepare_next(&self) -> Result<()> {
        let prepared = self.try_prepare();
        if prepared.is_err() {
            // Or a background thread would try again at once, and for ever.
            self.0.wants_next.store(false, Ordering::Relaxed);
        }
        prepared
    }

    fn try_prepare(&self) -> Result<()> {
        self.check()?;
        let _one_at_a_time = self.0.preparing.lock();
        if self.0.spare.lock().is_some() {
            return Ok(());
        }
        let mut wanted = self.0.next_capacity.load(Ordering::Relaxed);
        let mut spare = loop {
            match self.create(self.new_id(), wanted) {
                Ok(spare) => break spare,
                Err(e) => wanted = self.smaller(&e, wanted, self.0.sizes.min_bytes).ok_or(e)?,
            }
        };
        spare.durable = self.0.commits_sync.swap(false, Ordering::Relaxed);
        let prepared = if spare.durable { spare.file.sync() } else { spare.file.warm() };
        if let Err(e) = prepared {
            self.discard(&spare);
            return Err(e.into());
        }
        if spare.durable {
            self.0.env.fs.sync_dir(&self.0.dir).map_err(|e| self.poison(e))?;
        }
        if let Some(late) = self.offer(spare) {
            self.discard(&late);
        }
        Ok(())
    }

    /// Lets the writer have `spare`, or gives it back: ids grow along the stream,
    /// so once the writer has begun a later file, it can never be used.
    fn offer(&self, spare: Spare) -> Option<Spare> {
        let mut place = self.0.spare.lock();
        // The writer takes an id of its own under this lock, and only then.
        if self.0.next_log.load(Ordering::Relaxed) != spare.id.0 + 1 {
            return Some(spare);
        }
        *place = Some(spare);
        self.0.wants_next.store(false, Ordering::Relaxed);
        None
    }

    /// What to try behind a file of `wanted` bytes for which the disk has no room: the half,
    /// `least` bytes at least. `None` when it failed for something else, or is as small as
    /// it may be. Files grow anew behind a smaller one.
    fn smaller(&self, failure: &Error, wanted: u64, least: u64) -> Option<u64> {
        let is_full = matches!(failure, Error::Io(e) if tanada_vfs::is_disk_full(e));
        if !is_full || wanted <= least || planted!(no_smaller_log_is_tried) {
            return None;
        }
        self.0.next_capacity.store(self.0.sizes.min_bytes, Ordering::Relaxed);
        Some((wanted / 2).max(least))
    }

    fn create(&self, id: LogId, capacity: u64) -> Result<Spare> {
        let file = self.0.env.fs.create_log(&log_path(&self.0.dir, id), capacity)?;
        Ok(Spare { id, file, durable: false })
    }

    /// Ids are never used twice, not even that of a file that could not be created.
    pub(in crate::wal) fn new_id(&self) -> LogId {
        // Relaxed: the number alone matters.
        LogId(self.0.next_log.fetch_add(1, Ordering::Relaxed))
    }

    /// A file for the writer to go on in: the spare when it is large enough, a
    /// new one otherwise, smaller than it would be where the disk has no room for more.
    pub(in crate::wal) fn next_file(&self, needed: u64) -> Result<Spare> {
        let mut wanted = self.0.next_capacity.load(Ordering::Relaxed).max(needed);
        loop {
            let (id, small) = {
                let mut spare = self.0.spare.lock();
                if let Some(spare) = spare.take_if(|spare| spare.file.capacity() >= needed) {
                    return Ok(spare);
                }
                // Under the lock, at each try: a spare that is not offered yet is too late
                // now, and one that is must not come behind a file with a higher id.
                (self.new_id(), spare.take())
            };
            if let Some(small) = small {
                self.discard(&small);
            }
            let least = needed.max(self.0.sizes.min_bytes);
            match self.create(id, wanted) {
                Ok(file) => return Ok(file),
                Err(e) => wanted = self.smaller(&e, wanted, least).ok_or(e)?,
            }
        }
    }

    pub(in crate::wal) fn smallest_capacity(&self) -> u64 {
        self.0.sizes.min_bytes
    }

    /// A file as small as the first, after which they grow anew. The spare goes.
    pub(in crate::wal) fn smallest_file(&self) -> Result<Spare> {
        let (id, spare) = {
            let mut spare = self.0.spare.lock();
            (self.new_id(), spare.take())
        };
        if let Some(spare) = spare {
            self.discard(&spare);
        }
        let small = self.create(id, self.0.sizes.min_bytes)?;
        self.0.next_capacity.store(self.0.sizes.min_bytes, Ordering::Relaxed);
        Ok(small)
    }

    /// Gives up the prepared file, if there is one: for the end of a database's life.
    pub(crate) fn discard_spare(&self) {
        let spare = self.0.spare.lock().take();
        if let Some(spare) = spare {
            self.discard(&spare);
        }
    }

    /// The largest file, unless one record needs more.
    pub(crate) fn largest_capacity(&self) -> u64 {
        self.0.sizes.max_bytes
    }

    /// Removes a file that holds nothing. Should that fail, the next opening
    /// finds a blank log and hands it out for removal.
    fn discard(&self, spare: &Spare) {
        let _ = self.0.env.fs.remove(&log_path(&self.0.dir, spare.id));
    }
}
