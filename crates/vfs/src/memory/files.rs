//! A file in memory, and the handles to it.

use super::bytes::Bytes;
use super::dice::Dice;
use super::file_system::World;
use crate::error::Naming;
use crate::file_system::{LogFile, LogSyncer, ReadFile, WriteFile};
use parking_lot::Mutex;
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes in use on one disk. A sum and nothing more: `Relaxed` suffices,
/// since no other memory is published through it.
pub(super) type Usage = Arc<AtomicU64>;

/// A file. It lives while it has a name, may get one back, or is open.
#[derive(Debug)]
pub(super) struct Node {
    /// Locked after the world's gate, never two at a time.
    state: Mutex<State>,
    usage: Usage,
}

#[derive(Debug)]
struct State {
    bytes: Bytes,
    /// The next sync fails.
    sync_fails: bool,
}

impl Node {
    pub(super) fn new(bytes: Bytes, usage: Usage) -> Node {
        usage.fetch_add(bytes.len(), Ordering::Relaxed);
        Node { state: Mutex::new(State { bytes, sync_fails: false }), usage }
    }

    /// The same file on another machine.
    pub(super) fn copied(&self, usage: Usage) -> Node {
        Node::new(self.state.lock().bytes.clone(), usage)
    }

    pub(super) fn after_power_cut(&self, dice: &mut Dice, usage: Usage) -> Node {
        Node::new(self.state.lock().bytes.after_power_cut(dice), usage)
    }

    pub(super) fn len(&self) -> u64 {
        self.state.lock().bytes.len()
    }

    pub(super) fn fail_next_sync(&self) {
        self.state.lock().sync_fails = true;
    }

    fn sync(&self) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if std::mem::take(&mut state.sync_fails) {
            state.bytes.fail_sync();
            return Err(Errno::IO);
        }
        state.bytes.sync();
        Ok(())
    }

    /// Writes all, or what the disk has room for.
    fn write(&self, offset: u64, bytes: &[u8], free: u64) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let old_len = state.bytes.len();
        let room = (old_len - offset).saturating_add(free);
        let n = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        state.bytes.write(offset, &bytes[..n]);
        self.usage.fetch_add(state.bytes.len() - old_len, Ordering::Relaxed);
        if n < bytes.len() { Err(Errno::NOSPC) } else { Ok(()) }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.usage.fetch_sub(self.state.get_mut().bytes.len(), Ordering::Relaxed);
    }
}

/// An open file: what every handle holds.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) world: Arc<World>,
    pub(super) node: Arc<Node>,
    pub(super) path: PathBuf,
}

impl Open {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let gate = self.world.gate.read();
        let free = gate.disk_size.saturating_sub(self.world.used_space());
        self.node.write(offset, bytes, free).naming("write to", &self.path)
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
        match self.open.node.state.lock().bytes.read(offset, buf) {
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
