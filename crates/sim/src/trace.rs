//! Notes every call to the machine: what was asked, with all arguments, and what
//! was answered, in a [`Digest`].
//!
//! A run that depends on its seed alone has the same digest each time. Also lets
//! waiting take no wall time: how long writers are held up depends on sizes, and
//! what has expired must not.

use crate::digest::Digest;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tanada_vfs::{
    Clock, DirEntry, DirLock, Env, FileSystem, LogFile, LogSyncer, Random, ReadFile, WriteFile,
};

/// Puts the noting around a machine. Clones note into the same digest.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    digest: Digest,
}

impl Trace {
    /// The hash of all calls so far.
    pub fn value(&self) -> u64 {
        self.digest.value()
    }

    /// `env`, with all calls noted.
    pub fn env(&self, env: &Env) -> Env {
        let notes = Notes(self.digest.clone());
        Env {
            fs: Arc::new(Traced { notes: notes.clone(), inner: Arc::clone(&env.fs) }),
            clock: Arc::new(TracedClock {
                notes: notes.clone(),
                inner: Arc::clone(&env.clock),
                slept_ns: AtomicU64::new(0),
            }),
            random: Arc::new(Traced { notes, inner: Arc::clone(&env.random) }),
            threads: Arc::clone(&env.threads),
        }
    }
}

#[derive(Clone, Debug)]
struct Notes(Digest);

impl Notes {
    /// Notes a call, makes it, and notes its answer.
    fn call<T>(
        &self,
        name: &str,
        path: &Path,
        run: impl FnOnce() -> io::Result<T>,
        answer: impl FnOnce(&Digest, &T),
    ) -> io::Result<T> {
        self.0.bytes(name.as_bytes());
        self.0.bytes(path.as_os_str().as_encoded_bytes());
        let result = run();
        match &result {
            Ok(it) => answer(&self.0, it),
            // Not the text: it may name this process.
            Err(e) => self.0.bytes(format!("{:?}", e.kind()).as_bytes()),
        }
        result
    }

    /// As [`Notes::call`], of what answers with nothing or a handle.
    fn done<T>(
        &self,
        name: &str,
        path: &Path,
        run: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        self.call(name, path, run, |digest, _| digest.bytes(b"ok"))
    }
}

#[derive(Debug)]
struct Traced<T> {
    notes: Notes,
    inner: T,
}

impl FileSystem for Traced<Arc<dyn FileSystem>> {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.notes.done("create_dir_all", dir, || self.inner.create_dir_all(dir))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.notes.done("create_dir", dir, || self.inner.create_dir(dir))
    }

    fn read_dir(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let list = || self.inner.read_dir(dir);
        self.notes.call("read_dir", dir, list, |digest, entries| {
            for entry in entries {
                digest.bytes(entry.name.as_bytes());
                digest.number(entry.len);
                digest.number(u64::from(entry.is_dir));
            }
        })
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let inner = self.notes.done("create", path, || self.inner.create(path))?;
        Ok(Box::new(Handle::new(&self.notes, path, inner)))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let inner = self.notes.done("open_append", path, || self.inner.open_append(path))?;
        Ok(Box::new(Handle::new(&self.notes, path, inner)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        let inner = self.notes.done("open", path, || self.inner.open(path))?;
        Ok(Arc::new(Handle::new(&self.notes, path, inner)))
    }

    fn create_log(&self, path: &Path, capacity: u64) -> io::Result<Box<dyn LogFile>> {
        self.notes.0.number(capacity);
        let create = || self.inner.create_log(path, capacity);
        let inner = self.notes.done("create_log", path, create)?;
        Ok(Box::new(Handle::new(&self.notes, path, inner)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.notes.0.bytes(from.as_os_str().as_encoded_bytes());
        self.notes.done("rename", to, || self.inner.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.notes.done("remove", path, || self.inner.remove(path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.notes.done("remove_dir", dir, || self.inner.remove_dir(dir))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.notes.0.bytes(from.as_os_str().as_encoded_bytes());
        self.notes.done("hard_link", to, || self.inner.hard_link(from, to))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.notes.done("sync_dir", dir, || self.inner.sync_dir(dir))
    }

    fn sync_dir_once(&self, dir: &Path) -> io::Result<()> {
        self.notes.done("sync_dir", dir, || self.inner.sync_dir_once(dir))
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.notes.done("canonical", path, || self.inner.canonical(path))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let len = || self.inner.len(path);
        self.notes.call("len", path, len, |digest, len| digest.number(*len))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.notes.done("lock", path, || self.inner.lock(path))
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        let free = || self.inner.free_space(dir);
        self.notes.call("free_space", dir, free, |digest, bytes| digest.number(*bytes))
    }

    fn descriptor_limit(&self) -> Option<u64> {
        self.inner.descriptor_limit()
    }
}

impl Random for Traced<Arc<dyn Random>> {
    fn fill(&self, buf: &mut [u8]) {
        self.inner.fill(buf);
        self.notes.0.bytes(buf);
    }
}

/// A clock that waiting does not move, as far as wall time goes.
#[derive(Debug)]
struct TracedClock {
    notes: Notes,
    inner: Arc<dyn Clock>,
    /// Relaxed: a sum that orders nothing.
    slept_ns: AtomicU64,
}

impl Clock for TracedClock {
    fn wall_ms(&self) -> u64 {
        let ms = self.inner.wall_ms();
        self.notes.0.number(ms);
        ms
    }

    fn monotonic_ns(&self) -> u64 {
        let ns = self.inner.monotonic_ns() + self.slept_ns.load(Ordering::Relaxed);
        self.notes.0.number(ns);
        ns
    }

    fn elapsed_ns(&self) -> u64 {
        // Waiting does not move wall time: no time has passed by this clock either.
        let ns = self.inner.elapsed_ns();
        self.notes.0.number(ns);
        ns
    }

    fn sleep(&self, duration: Duration) {
        self.slept_ns.fetch_add(duration.as_nanos() as u64, Ordering::Relaxed);
        self.notes.0.number(duration.as_nanos() as u64);
    }
}

/// An open file.
#[derive(Debug)]
struct Handle<T> {
    notes: Notes,
    path: PathBuf,
    inner: T,
}

impl<T> Handle<T> {
    fn new(notes: &Notes, path: &Path, inner: T) -> Handle<T> {
        Handle { notes: notes.clone(), path: path.to_owned(), inner }
    }
}

impl WriteFile for Handle<Box<dyn WriteFile>> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.notes.0.bytes(bytes);
        self.notes.done("append", &self.path, || self.inner.append(bytes))
    }

    fn reserve(&mut self, len: u64) -> io::Result<()> {
        self.notes.0.number(len);
        self.notes.done("reserve", &self.path, || self.inner.reserve(len))
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.notes.0.number(len);
        self.notes.done("truncate", &self.path, || self.inner.truncate(len))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.notes.done("sync", &self.path, || self.inner.sync())
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }
}

impl ReadFile for Handle<Arc<dyn ReadFile>> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.notes.0.number(offset);
        let read = || self.inner.read_exact_at(buf, offset);
        self.notes.done("read", &self.path, read)?;
        self.notes.0.bytes(buf);
        Ok(())
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_ahead(&self, offset: u64, len: u64) {
        self.inner.read_ahead(offset, len);
    }

    fn forget(&self, offset: u64, len: u64) {
        self.inner.forget(offset, len);
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl LogFile for Handle<Box<dyn LogFile>> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.notes.0.bytes(bytes);
        self.notes.done("log append", &self.path, || self.inner.append(bytes))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.notes.done("log sync", &self.path, || self.inner.sync())
    }

    fn warm(&mut self) -> io::Result<()> {
        self.notes.done("log warm", &self.path, || self.inner.warm())
    }

    fn syncer(&self) -> Arc<dyn LogSyncer> {
        Arc::new(Handle::new(&self.notes, &self.path, self.inner.syncer()))
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn capacity(&self) -> u64 {
        self.inner.capacity()
    }
}

impl LogSyncer for Handle<Arc<dyn LogSyncer>> {
    fn sync(&self) -> io::Result<()> {
        self.notes.done("log sync", &self.path, || self.inner.sync())
    }
}
