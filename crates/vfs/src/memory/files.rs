//! The handles to a file in memory.

use super::node::Node;
use super::world::{Descriptor, World};
use crate::error::Naming;
use crate::file_system::{LogFile, LogSyncer, ReadFile, WriteFile};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open file: what every handle holds.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) world: Arc<World>,
    pub(super) node: Arc<Node>,
    pub(super) path: PathBuf,
    _descriptor: Arc<Descriptor>,
}

impl Open {
    pub(super) fn new(
        world: Arc<World>,
        node: Arc<Node>,
        descriptor: Arc<Descriptor>,
        path: &Path,
    ) -> Open {
        Open { world, node, path: path.to_path_buf(), _descriptor: descriptor }
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.world.write(&self.node, offset, bytes).naming("write to", &self.path)
    }

    fn sync(&self) -> io::Result<()> {
        let _gate = self.world.gate.read();
        self.node.sync().naming("sync", &self.path)
    }
}

/// Appends to a file.
#[derive(Debug)]
pub(super) struct Writer {
    open: Open,
    len: u64,
}

impl Writer {
    pub(super) fn new(open: Open) -> Writer {
        let len = open.node.len();
        Writer { open, len }
    }
}

impl WriteFile for Writer {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.open.write(self.len, bytes)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn reserve(&mut self, len: u64) -> io::Result<()> {
        let Open { world, node, path, .. } = &self.open;
        world.reserve(node, len).naming("reserve space for", path)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let _gate = self.open.world.gate.read();
        self.open.node.truncate(len);
        self.len = len;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.open.sync()
    }

    fn len(&self) -> u64 {
        self.len
    }
}

/// Reads a file.
#[derive(Debug)]
pub(super) struct Reader {
    open: Open,
    len: u64,
}

impl Reader {
    pub(super) fn new(open: Open) -> Reader {
        let len = open.node.len();
        Reader { open, len }
    }
}

impl ReadFile for Reader {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match self.open.node.read(offset, buf) {
            true => Ok(()),
            false => {
                Err(io::Error::from(io::ErrorKind::UnexpectedEof)).naming("read", &self.open.path)
            }
        }
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn path(&self) -> &Path {
        &self.open.path
    }
}

/// Fills a log.
#[derive(Debug)]
pub(super) struct Log {
    open: Open,
    len: u64,
    capacity: u64,
}

impl Log {
    pub(super) fn new(open: Open, capacity: u64) -> Log {
        Log { open, len: 0, capacity }
    }
}

impl LogFile for Log {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() as u64 > self.capacity - self.len {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} bytes do not fit behind {}", bytes.len(), self.len),
            ))
            .naming("append to", &self.open.path);
        }
        self.open.write(self.len, bytes)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.open.sync()
    }

    fn syncer(&self) -> Arc<dyn LogSyncer> {
        Arc::new(Syncer(self.open.clone()))
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn capacity(&self) -> u64 {
        self.capacity
    }
}

#[derive(Debug)]
struct Syncer(Open);

impl LogSyncer for Syncer {
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}
