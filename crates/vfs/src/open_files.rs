//! Files that stay open to be read while their descriptors come and go.
//!
//! A process may have some hundred to some thousand descriptors; a database has a
//! file for each of its tables. [`OpenFiles`] keeps the descriptors of those that
//! are read, at most so many, and opens a file again by its path when it is read
//! after its descriptor was closed. And where any call is refused for want of a
//! descriptor, it closes some and calls again: they serve speed, what asks for one
//! may not be able to go on without.
//!
//! Once a sync of a directory has failed, every later sync of it fails too.
//!
//! It is for files that are not replaced, renamed or removed while somebody may
//! read them: the path must lead to the same file each time.

use crate::dir_syncs::DirSyncs;
use crate::error::{Naming, NoDescriptor, is_out_of_descriptors};
use crate::file_system::{DirEntry, DirLock, FileSystem, LogFile, ReadFile, WriteFile};
use crate::sync::Mutex;
use crate::sync::atomic::AtomicU64;
use crate::sync::unchecked::AtomicBool;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// After so many openings that had to close another file without the system refusing
/// any, one descriptor more is kept, until the bound is reached again.
const PATIENCE: u64 = 16;

/// A file system whose files share a bounded number of descriptors when they are
/// opened by [`OpenFiles::open_closable`]. All other calls go through, but for syncs of a
/// directory of which one has failed; those that need a descriptor and find none close some
/// of these first. Clones are the same one.
///
/// Which descriptors go is decided by second chance: the oldest, but one that was
/// read since it was last looked at goes to the end of the line instead.
#[derive(Clone)]
pub struct OpenFiles {
    shared: Arc<Shared>,
}

struct Shared {
    fs: Arc<dyn FileSystem>,
    bound: DescriptorBound,
    dir_syncs: DirSyncs,
    /// How many may be kept now: the bound, less where the system refused.
    most: AtomicU64,
    /// Files with a descriptor, and some whose descriptor has gone since. Guards the
    /// line alone; a file's own lock may be taken under it, and nothing else.
    line: Mutex<VecDeque<Arc<File>>>,
    // Relaxed: each is a number of its own that orders nothing.
    open: AtomicU64,
    opened: AtomicU64,
    closed: AtomicU64,
    /// Openings that had to close another file since the system refused one.
    patient: AtomicU64,
}

/// How many descriptors may be kept, and what to say when there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorBound {
    /// Most descriptors that closable files keep between two reads; `u64::MAX` for
    /// one a file, for ever.
    pub most: u64,
    /// How many descriptors whoever uses the files needs in all, for the error.
    pub needed: u64,
}

/// A moment of [`OpenFiles`]. Counters run from its creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DescriptorStats {
    /// Descriptors that closable files have now.
    pub open: u64,
    /// Most that they may keep now.
    pub limit: u64,
    /// Descriptors opened.
    pub opened: u64,
    /// Descriptors closed to make room, while their files stayed open.
    pub closed: u64,
}

/// A file that may be without a descriptor.
struct File {
    path: PathBuf,
    len: u64,
    /// Taken for the copy of an `Arc`, never over I/O.
    descriptor: Mutex<Option<Arc<Descriptor>>>,
    /// Read since the line last came by. Relaxed: a lost or late mark costs an opening.
    visited: AtomicBool,
}

/// An open file of the system's; a read in flight keeps its own count of it.
struct Descriptor {
    file: Arc<dyn ReadFile>,
    shared: Arc<Shared>,
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Relaxed);
    }
}

impl OpenFiles {
    /// Over any file system.
    pub fn over(fs: Arc<dyn FileSystem>, bound: DescriptorBound) -> OpenFiles {
        OpenFiles {
            shared: Arc::new(Shared {
                fs,
                most: AtomicU64::new(bound.most),
                bound,
                dir_syncs: DirSyncs::default(),
                line: Mutex::new(VecDeque::new()),
                open: AtomicU64::new(0),
                opened: AtomicU64::new(0),
                closed: AtomicU64::new(0),
                patient: AtomicU64::new(0),
            }),
        }
    }

    /// Opens a file whose descriptor may be closed, and opened again by the next read
    /// of it. The path must lead to this file as long as the answer lives.
    ///
    /// # Errors
    /// As [`FileSystem::open`]. A read that has to open the file again may fail with
    /// the same errors, and the next one tries again.
    pub fn open_closable(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        let descriptor = Shared::open(&self.shared, path)?;
        let file = Arc::new(File {
            path: path.to_path_buf(),
            len: descriptor.file.len(),
            descriptor: Mutex::new(Some(descriptor)),
            visited: AtomicBool::new(false),
        });
        self.shared.keep(&file);
        Ok(Arc::new(Closable { shared: Arc::clone(&self.shared), file }))
    }

    /// Statistics.
    pub fn stats(&self) -> DescriptorStats {
        let Shared { open, most, opened, closed, .. } = &*self.shared;
        DescriptorStats {
            open: open.load(Relaxed),
            limit: most.load(Relaxed),
            opened: opened.load(Relaxed),
            closed: closed.load(Relaxed),
        }
    }
}

impl Shared {
    fn open(shared: &Arc<Shared>, path: &Path) -> io::Result<Arc<Descriptor>> {
        // Room first, so that the bound holds after it too.
        shared.make_room();
        let file = shared.with_descriptor(|fs| fs.open(path))?;
        shared.open.fetch_add(1, Relaxed);
        shared.opened.fetch_add(1, Relaxed);
        Ok(Arc::new(Descriptor { file, shared: Arc::clone(shared) }))
    }

    /// Calls, and where no descriptor is free closes some and calls again.
    fn with_descriptor<T>(&self, call: impl Fn(&dyn FileSystem) -> io::Result<T>) -> io::Result<T> {
        loop {
            match call(&*self.fs) {
                Err(e) if is_out_of_descriptors(&e) => {
                    let half = self.open.load(Relaxed) / 2;
                    if self.close_down_to(half) == 0 {
                        let limit = self.fs.descriptor_limit();
                        return Err(NoDescriptor::wrap(limit, self.bound.needed, e));
                    }
                    self.most.fetch_min(half.max(1), Relaxed);
                    self.patient.store(0, Relaxed);
                }
                other => return other,
            }
        }
    }

    /// Puts a file that has just got a descriptor into the line.
    fn keep(&self, file: &Arc<File>) {
        let mut line = self.line.lock();
        line.push_back(Arc::clone(file));
        // Those whose files have been let go of meanwhile, when they are the most.
        if line.len() as u64 > 2 * self.open.load(Relaxed) + 16 {
            line.retain(|file| file.descriptor.lock().is_some());
        }
    }

    /// Closes what must go for one more.
    fn make_room(&self) {
        let most = self.most.load(Relaxed);
        if self.open.load(Relaxed) < most {
            return;
        }
        // What the system refused once, it may allow later.
        let patient = 1 + self.patient.fetch_add(1, Relaxed);
        if most < self.bound.most && patient.is_multiple_of(PATIENCE) {
            self.most.fetch_add(1, Relaxed);
        }
        self.close_down_to(most.saturating_sub(1));
    }

    /// Closes descriptors until at most `left` are open; answers how many went. Those
    /// in the middle of a read go when it ends.
    fn close_down_to(&self, left: u64) -> usize {
        if self.bound.most == u64::MAX {
            return 0;
        }
        let mut gone = Vec::new();
        let mut line = self.line.lock();
        let mut looks = 2 * line.len();
        while self.open.load(Relaxed).saturating_sub(gone.len() as u64) > left && looks > 0 {
            looks -= 1;
            let Some(file) = line.pop_front() else { break };
            // In the last round whatever is read all the time goes too.
            if file.visited.swap(false, Relaxed) && looks >= line.len() {
                line.push_back(file);
                continue;
            }
            gone.extend(file.descriptor.lock().take());
        }
        drop(line);
        self.closed.fetch_add(gone.len() as u64, Relaxed);
        gone.len()
    }
}

/// A file, open as long as this lives.
struct Closable {
    shared: Arc<Shared>,
    file: Arc<File>,
}

impl Closable {
    /// Its descriptor, for one read.
    fn descriptor(&self) -> io::Result<Arc<Descriptor>> {
        let File { path, len, descriptor, visited } = &*self.file;
        if let Some(open) = &*descriptor.lock() {
            if !visited.load(Relaxed) {
                visited.store(true, Relaxed);
            }
            return Ok(Arc::clone(open));
        }
        let opened = Shared::open(&self.shared, path)?;
        if opened.file.len() != *len {
            let what = format!("it has {} bytes now, and had {len}", opened.file.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what)).naming("read", path);
        }
        let mut slot = descriptor.lock();
        if let Some(winner) = &*slot {
            // Another reader was faster. Not dropped under the lock.
            let winner = Arc::clone(winner);
            drop(slot);
            drop(opened);
            return Ok(winner);
        }
        *slot = Some(Arc::clone(&opened));
        drop(slot);
        self.shared.keep(&self.file);
        Ok(opened)
    }

    /// Its descriptor, if it has one: hints are not worth an opening.
    fn present(&self) -> Option<Arc<Descriptor>> {
        self.file.descriptor.lock().clone()
    }
}

impl ReadFile for Closable {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.descriptor()?.file.read_exact_at(buf, offset)
    }

    fn len(&self) -> u64 {
        self.file.len
    }

    fn read_ahead(&self, offset: u64, len: u64) {
        if let Some(open) = self.present() {
            open.file.read_ahead(offset, len);
        }
    }

    fn forget(&self, offset: u64, len: u64) {
        if let Some(open) = self.present() {
            open.file.forget(offset, len);
        }
    }

    fn path(&self) -> &Path {
        &self.file.path
    }
}

impl Drop for Closable {
    fn drop(&mut self) {
        // Its place in the line is left to the next that looks there.
        let open = self.file.descriptor.lock().take();
        drop(open);
    }
}

impl FileSystem for OpenFiles {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.shared.fs.create_dir_all(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.shared.fs.create_dir(dir)
    }

    fn read_dir(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.shared.with_descriptor(|fs| fs.read_dir(dir))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        self.shared.with_descriptor(|fs| fs.create(path))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        self.shared.with_descriptor(|fs| fs.open_append(path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        self.shared.with_descriptor(|fs| fs.open(path))
    }

    fn create_log(&self, path: &Path, capacity: u64) -> io::Result<Box<dyn LogFile>> {
        self.shared.with_descriptor(|fs| fs.create_log(path, capacity))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.shared.fs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.shared.fs.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.shared.fs.remove_dir(dir)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.shared.fs.hard_link(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let sync = || self.shared.with_descriptor(|fs| fs.sync_dir(dir));
        self.shared.dir_syncs.run(dir, sync)
    }

    fn sync_dir_once(&self, dir: &Path) -> io::Result<()> {
        self.shared.with_descriptor(|fs| fs.sync_dir_once(dir))
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.shared.fs.canonical(path)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.shared.fs.len(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.shared.with_descriptor(|fs| fs.lock(path))
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        self.shared.fs.free_space(dir)
    }

    fn descriptor_limit(&self) -> Option<u64> {
        self.shared.fs.descriptor_limit()
    }

    fn process(&self) -> crate::Process {
        self.shared.fs.process()
    }
}

impl fmt::Debug for OpenFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenFiles").field("over", &self.shared.fs).finish_non_exhaustive()
    }
}

impl fmt::Debug for Closable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closable").field("path", &self.file.path).finish_non_exhaustive()
    }
}
