//! The real log file: reserved in full, then filled through a mapping where
//! the file system is known to do that well, by `pwrite` elsewhere.
//!
//! Measured in docs/decisions/0002-log-append.md, and why a sync asks the journal in
//! docs/decisions/0018-journal-asked.md.

use super::journal::Journal;
#[cfg(target_os = "linux")]
use super::journal::{EXT4, kind_of};
#[cfg(target_os = "linux")]
use super::mapped::Window;
use crate::error::Naming;
use crate::file_system::{LogFile, LogSyncer};
use crate::sync::atomic::AtomicBool;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

#[derive(Debug)]
pub(super) struct RealLog {
    inner: Arc<SyncTarget>,
    len: u64,
    capacity: u64,
    #[cfg(target_os = "linux")]
    mapped: Option<MappedTail>,
}

/// What a syncer shares with its log.
#[derive(Debug)]
struct SyncTarget {
    file: File,
    path: PathBuf,
    journal: Journal,
    /// Whether blocks that were only reserved have been filled since the last sync.
    fresh: AtomicBool,
}

impl LogSyncer for SyncTarget {
    fn sync(&self) -> io::Result<()> {
        // Before the sync: what is filled from here on is for the next one to ask about.
        let fresh = self.fresh.swap(false, SeqCst);
        let synced = self.file.sync_data().and_then(|()| match fresh {
            true => self.journal.ask(&self.file),
            false => Ok(()),
        });
        if synced.is_err() {
            self.fresh.store(true, SeqCst);
        }
        synced.naming("sync", &self.path)
    }
}

impl SyncTarget {
    /// Notes that blocks have been filled. Behind that, so that no sync which began before
    /// takes the note for its own.
    fn note_fresh(&self) {
        self.fresh.store(true, SeqCst);
    }
}

impl RealLog {
    pub(super) fn create(path: &Path, capacity: u64) -> io::Result<RealLog> {
        let file = OpenOptions::new()
            .read(true) // a shared mapping wants it
            .write(true)
            .create_new(true)
            .open(path)
            .naming("create", path)?;
        if let Err(error) = reserve(&file, capacity) {
            // The name would block the next try. Failing to remove it is no
            // worse than what is reported already.
            let _ = fs::remove_file(path);
            return Err(error).naming("reserve space for", path);
        }
        #[cfg(target_os = "linux")]
        let mapped = maps_well(&file).then(MappedTail::default);
        let (journal, fresh) = (Journal::of(&file), AtomicBool::new(capacity > 0));
        let inner = Arc::new(SyncTarget { file, path: path.to_path_buf(), journal, fresh });
        Ok(RealLog {
            inner,
            len: 0,
            capacity,
            #[cfg(target_os = "linux")]
            mapped,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if let Some(tail) = &mut self.mapped {
            return tail.write(&self.inner, self.capacity, self.len, bytes);
        }
        self.inner.file.write_all_at(bytes, self.len)?;
        self.inner.note_fresh();
        Ok(())
    }
}

impl LogFile for RealLog {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() as u64 > self.capacity - self.len {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} bytes do not fit behind {}", bytes.len(), self.len),
            ))
            .naming("append to", &self.inner.path);
        }
        self.write(bytes).naming("append to", &self.inner.path)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        LogSyncer::sync(&*self.inner)
    }

    fn warm(&mut self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if self.mapped.is_some() {
            write_zeros(&self.inner.file, self.len..self.capacity, WARM_STEP)
                .naming("warm", &self.inner.path)?;
            self.inner.note_fresh();
        }
        Ok(())
    }

    fn syncer(&self) -> Arc<dyn LogSyncer> {
        self.inner.clone()
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn capacity(&self) -> u64 {
        self.capacity
    }
}

/// Allocates `capacity` bytes that read as zero.
fn reserve(file: &File, capacity: u64) -> io::Result<()> {
    if capacity == 0 {
        return Ok(());
    }
    #[cfg(target_os = "linux")]
    match rustix::io::retry_on_intr(|| {
        rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, capacity)
    }) {
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    // Zeros in place of a reservation.
    write_zeros(file, 0..capacity, 1 << 20)
}

/// Pages are warmed in writes of this size, bytes: the page cache then holds
/// folios of it. Measured on ext4 with 16 MiB, writing and then mapping all of
/// it: 5 ms in steps of 64 KiB, 22 ms in steps of 1 MiB (a mapped page of a
/// large folio costs as much as the folio), 10 ms without warming.
#[cfg(target_os = "linux")]
const WARM_STEP: usize = 64 << 10;

fn write_zeros(file: &File, range: Range<u64>, step: usize) -> io::Result<()> {
    let zeros = vec![0; step];
    let mut at = range.start;
    while at < range.end {
        let n = (range.end - at).min(step as u64) as usize;
        file.write_all_at(&zeros[..n], at)?;
        at += n as u64;
    }
    Ok(())
}

/// Whether the file lies where a reserved page cannot fail to be written to:
/// ext4, XFS and tmpfs. Copy-on-write and network file systems may want new
/// space for a page that was reserved long ago.
#[cfg(target_os = "linux")]
fn maps_well(file: &File) -> bool {
    const XFS: u64 = 0x5846_5342;
    const TMPFS: u64 = 0x0102_1994;
    kind_of(file).is_some_and(|kind| matches!(kind, EXT4 | XFS | TMPFS))
}

/// The mapped window in which a log is being written.
///
/// Invariant: the window, when there is one, starts at `start`, and its bytes
/// before `populated` (in the window) have been populated once.
#[cfg(target_os = "linux")]
#[derive(Debug, Default)]
struct MappedTail {
    window: Option<Window>,
    start: u64,
    populated: usize,
}

#[cfg(target_os = "linux")]
impl MappedTail {
    /// Windows behind the tail are unmapped, so this is what a log adds to
    /// the memory of the process. A multiple of every page size.
    const WINDOW: u64 = 1 << 20;

    /// Pages are prepared in steps of this size. Larger steps are faster, for
    /// syncs too (fewer of them have to record new extents), but stop the
    /// append that takes the step for longer: this one for about 0.2 ms.
    /// A divisor of `WINDOW`, a multiple of every page size.
    const STEP: usize = 256 << 10;

    fn write(
        &mut self,
        log: &SyncTarget,
        capacity: u64,
        mut at: u64,
        mut bytes: &[u8],
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            let window = self.window_at(&log.file, capacity, at)?;
            let from = (at % Self::WINDOW) as usize;
            let n = bytes.len().min(window.len() - from);
            let (now, later) = bytes.split_at(n);
            self.write_in_window(log, from, now)?;
            bytes = later;
            at += n as u64;
        }
        Ok(())
    }

    /// The window that holds `at`, mapped now unless it is already.
    fn window_at(&mut self, file: &File, capacity: u64, at: u64) -> io::Result<&mut Window> {
        let start = at - at % Self::WINDOW;
        if self.window.is_none() || self.start != start {
            self.window = None;
            let len = Self::WINDOW.min(capacity - start) as usize;
            self.window = Some(Window::map(file, start, len)?);
            self.start = start;
            self.populated = 0;
        }
        Ok(self.window.as_mut().expect("was just mapped"))
    }

    fn write_in_window(&mut self, log: &SyncTarget, from: usize, bytes: &[u8]) -> io::Result<()> {
        let window = self.window.as_mut().expect("the caller mapped it");
        let end = from + bytes.len();
        if end > self.populated {
            let until = end.next_multiple_of(Self::STEP).min(window.len());
            window.populate(self.populated..until)?;
            self.populated = until;
            log.note_fresh();
        }
        window.write(from, bytes);
        Ok(())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Both ways of appending, over several windows, read back in full.
    #[test]
    fn mapped_and_written_logs_hold_the_same_bytes() {
        let dir = std::env::temp_dir().join(format!("tanada-vfs-log-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let capacity = 2 * MappedTail::WINDOW + 100_000;
        for force_written in [false, true] {
            let path = dir.join(format!("written-{force_written}.log"));
            let mut log = RealLog::create(&path, capacity).unwrap();
            if force_written {
                log.mapped = None;
            }
            let mut expected = Vec::new();
            for size in (1..).map(|n: usize| n * 7919 % 70_000 + 1) {
                if expected.len() + size > capacity as usize {
                    break;
                }
                let record = vec![expected.len() as u8 | 1; size];
                log.append(&record).unwrap();
                expected.extend(record);
            }
            assert!(expected.len() as u64 > 2 * MappedTail::WINDOW, "not all windows were met");
            let rest = vec![3; capacity as usize - expected.len()];
            log.append(&rest).unwrap();
            expected.extend(rest);
            log.sync().unwrap();
            assert_eq!(log.append(b"x").unwrap_err().kind(), io::ErrorKind::InvalidInput);
            assert!(fs::read(&path).unwrap() == expected, "force_written {force_written}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    /// Warming is out of sight: neither what was appended before nor the zeros
    /// behind it change.
    #[test]
    fn a_warmed_log_reads_as_before_and_takes_what_follows() {
        let dir = std::env::temp_dir().join(format!("tanada-vfs-warm-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a.log");
        let capacity = MappedTail::WINDOW + 10_000;
        let mut log = RealLog::create(&path, capacity).unwrap();
        log.append(&[1; 777]).unwrap();
        log.warm().unwrap();
        log.append(&[2; 300_000]).unwrap();
        let mut expected = vec![1; 777];
        expected.extend([2; 300_000]);
        expected.resize(capacity as usize, 0);
        assert!(fs::read(&path).unwrap() == expected);
        fs::remove_dir_all(&dir).unwrap();
    }
}
