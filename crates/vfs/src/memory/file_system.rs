//! [`MemoryFileSystem`]: the trait over a [`World`] of names and files.

use super::files::{Log, Open, Reader, Writer};
use super::node::Node;
use super::tree::{Entry, parts};
use super::world::{Descriptor, World};
use crate::error::Naming;
use crate::file_system::{DirEntry, DirLock, FileSystem, LogFile, ReadFile, WriteFile};
use crate::{LockHeld, Process};
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The files of a [`MemoryMachine`](super::MemoryMachine). Relative paths
/// start at the root.
#[derive(Clone, Debug)]
pub(super) struct MemoryFileSystem {
    world: Arc<World>,
}

impl MemoryFileSystem {
    pub(super) fn new(world: Arc<World>) -> MemoryFileSystem {
        MemoryFileSystem { world }
    }

    fn open_node(&self, path: &Path) -> io::Result<Open> {
        let descriptor = self.world.descriptor().naming("open", path)?;
        let node = self.world.gate.read().tree.file(path).cloned().naming("open", path)?;
        Ok(Open::new(self.world.clone(), node, descriptor, path))
    }

    /// Creates a file of `len` zeros.
    fn create_node(&self, path: &Path, len: u64) -> io::Result<Open> {
        let descriptor = self.world.descriptor().naming("create", path)?;
        let node = self.world.create(path, len).naming("create", path)?;
        Ok(Open::new(self.world.clone(), node, descriptor, path))
    }
}

impl FileSystem for MemoryFileSystem {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.world.gate.write().tree.create_dir_all(dir).naming("create directory", dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.world.gate.write().tree.create_dir(dir).naming("create directory", dir)
    }

    fn read_dir(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let _descriptor = self.world.descriptor().naming("list", dir)?;
        let state = self.world.gate.read();
        let id = state.tree.dir(dir).naming("list", dir)?;
        let entry = |(name, entry): (&String, &Entry)| match entry {
            Entry::File(node) => DirEntry { name: name.clone(), len: node.len(), is_dir: false },
            Entry::Dir(_) => DirEntry { name: name.clone(), len: 0, is_dir: true },
        };
        Ok(state.tree.list(id).map(entry).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(Box::new(Writer::new(self.create_node(path, 0)?)))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(Box::new(Writer::new(self.open_node(path)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        Ok(Arc::new(Reader::new(self.open_node(path)?)))
    }

    fn create_log(&self, path: &Path, capacity: u64) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(Log::new(self.create_node(path, capacity)?, capacity)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.world.gate.write().tree.rename(from, to).naming("rename", from)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.world.gate.write().tree.remove(path).naming("remove", path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.world.gate.write().tree.remove_dir(dir).naming("remove directory", dir)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.world.gate.write();
        let node = state.tree.file(from).cloned().naming("link", to)?;
        let place = state.tree.place(to).naming("link", to)?;
        state.tree.add(place, node).naming("link", to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.world.gate.write();
        let id = state.tree.dir(dir).naming("sync directory", dir)?;
        state.tree.sync(id);
        Ok(())
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        let state = self.world.gate.read();
        if state.tree.dir(path).is_err() {
            state.tree.file(path).naming("look at", path)?;
        }
        let names = parts(path).naming("look at", path)?;
        Ok(std::iter::once("/").chain(names).collect())
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let state = self.world.gate.read();
        if state.tree.dir(path).is_ok() {
            return Ok(0);
        }
        Ok(state.tree.file(path).naming("look at", path)?.len())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        let descriptor = self.world.descriptor().naming("open lock file", path)?;
        match self.world.create(path, 0) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).naming("open lock file", path),
        }
        let node = {
            let mut state = self.world.gate.write();
            let node = state.tree.file(path).cloned().naming("lock", path)?;
            if !state.locks.insert(address(&node)) {
                let held = LockHeld { path: path.to_path_buf(), pid: Some(std::process::id()) };
                return Err(held.into());
            }
            node
        };
        let (world, path) = (self.world.clone(), path.to_path_buf());
        Ok(Box::new(MemoryLock { world, node, path, _descriptor: descriptor }))
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        let state = self.world.gate.read();
        state.tree.dir(dir).naming("ask the free space of", dir)?;
        Ok(self.world.free_space(&state))
    }

    fn descriptor_limit(&self) -> Option<u64> {
        self.world.descriptor_limit()
    }
}

/// Names a file among those that are held.
fn address(node: &Arc<Node>) -> usize {
    Arc::as_ptr(node) as usize
}

#[derive(Debug)]
struct MemoryLock {
    world: Arc<World>,
    node: Arc<Node>,
    path: PathBuf,
    _descriptor: Arc<Descriptor>,
}

impl DirLock for MemoryLock {
    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    fn process(&self) -> Process {
        Process::unforked()
    }

    fn is_in_place(&self) -> io::Result<bool> {
        let state = self.world.gate.read();
        Ok(state.tree.file(&self.path).is_ok_and(|node| Arc::ptr_eq(node, &self.node)))
    }
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.world.gate.write().locks.remove(&address(&self.node));
    }
}
