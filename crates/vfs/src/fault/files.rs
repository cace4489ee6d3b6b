//! Handles to another file system's files, each call met first.

use super::{EIO, Fate, Op, Shared, injected};
use crate::file_system::{LogFile, LogSyncer, ReadFile, WriteFile};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the two kinds of appending handles have in common.
#[derive(Debug)]
struct Appender {
    shared: Arc<Shared>,
    path: PathBuf,
    /// A failed append left bytes behind the length that the caller knows of;
    /// the inner handle cannot go back, so it takes nothing more.
    is_stuck: bool,
    len: u64,
}

impl Appender {
    fn append(
        &mut self,
        op: Op,
        bytes: &[u8],
        mut inner: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let fate = match self.shared.meet(op, &self.path) {
            Fate::Pass if self.is_stuck => Fate::Fail(EIO),
            fate => fate,
        };
        match fate {
            Fate::Pass => inner(bytes)?,
            Fate::Fail(errno) => return Err(injected(op, &self.path, errno)),
            Fate::Short { bytes: n, errno } => {
                self.is_stuck = true;
                inner(&bytes[..n.min(bytes.len())])?;
                return Err(injected(op, &self.path, errno));
            }
            Fate::ApplyAndFail(errno) => {
                self.is_stuck = true;
                inner(bytes)?;
                return Err(injected(op, &self.path, errno));
            }
        }
        self.len += bytes.len() as u64;
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct FaultWriter {
    appender: Appender,
    inner: Box<dyn WriteFile>,
}

impl FaultWriter {
    pub(super) fn new(shared: Arc<Shared>, path: &Path, inner: Box<dyn WriteFile>) -> FaultWriter {
        let (path, len) = (path.to_path_buf(), inner.len());
        FaultWriter { appender: Appender { shared, path, is_stuck: false, len }, inner }
    }
}

impl WriteFile for FaultWriter {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.appender.append(Op::Append, bytes, |bytes| self.inner.append(bytes))
    }

    fn reserve(&mut self, len: u64) -> io::Result<()> {
        let Appender { shared, path, .. } = &self.appender;
        shared.run(Op::Reserve, path, |_| self.inner.reserve(len))
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let Appender { shared, path, .. } = &self.appender;
        shared.run(Op::Truncate, path, |_| self.inner.truncate(len))?;
        (self.appender.len, self.appender.is_stuck) = (len, false);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let Appender { shared, path, .. } = &self.appender;
        shared.run_sync(Op::Sync, path, || self.inner.sync())
    }

    fn len(&self) -> u64 {
        self.appender.len
    }
}

#[derive(Debug)]
pub(super) struct FaultReader {
    shared: Arc<Shared>,
    inner: Arc<dyn ReadFile>,
}

impl FaultReader {
    pub(super) fn new(shared: Arc<Shared>, inner: Arc<dyn ReadFile>) -> FaultReader {
        FaultReader { shared, inner }
    }
}

impl ReadFile for FaultReader {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = offset..offset.saturating_add(buf.len() as u64);
        self.shared.run_read(self.inner.path(), bytes, || self.inner.read_exact_at(buf, offset))
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
        self.inner.path()
    }
}

#[derive(Debug)]
pub(super) struct FaultLog {
    appender: Appender,
    inner: Box<dyn LogFile>,
}

impl FaultLog {
    pub(super) fn new(shared: Arc<Shared>, path: &Path, inner: Box<dyn LogFile>) -> FaultLog {
        let (path, len) = (path.to_path_buf(), inner.len());
        FaultLog { appender: Appender { shared, path, is_stuck: false, len }, inner }
    }
}

impl LogFile for FaultLog {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.appender.append(Op::LogAppend, bytes, |bytes| self.inner.append(bytes))
    }

    fn sync(&mut self) -> io::Result<()> {
        let Appender { shared, path, .. } = &self.appender;
        shared.run_sync(Op::LogSync, path, || self.inner.sync())
    }

    fn warm(&mut self) -> io::Result<()> {
        let Appender { shared, path, .. } = &self.appender;
        shared.run(Op::LogWarm, path, |_| self.inner.warm())
    }

    fn syncer(&self) -> Arc<dyn LogSyncer> {
        Arc::new(FaultSyncer {
            shared: self.appender.shared.clone(),
            path: self.appender.path.clone(),
            inner: self.inner.syncer(),
        })
    }

    fn len(&self) -> u64 {
        self.appender.len
    }

    fn capacity(&self) -> u64 {
        self.inner.capacity()
    }
}

#[derive(Debug)]
struct FaultSyncer {
    shared: Arc<Shared>,
    path: PathBuf,
    inner: Arc<dyn LogSyncer>,
}

impl LogSyncer for FaultSyncer {
    fn sync(&self) -> io::Result<()> {
        self.shared.run_sync(Op::LogSync, &self.path, || self.inner.sync())
    }
}
