//! The whole state of a disk, and its copying at one moment.

use super::bytes::Bytes;
use super::dice::Dice;
use super::node::{Node, Usage};
use super::tree::Tree;
use crate::sync::RwLock;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The disk of one machine, and the locks its process holds.
#[derive(Debug)]
pub(super) struct World {
    /// Taken for writing to change names or to copy the world, for reading to
    /// change the bytes of a file: so a copy is of one moment.
    pub(super) gate: RwLock<State>,
    usage: Usage,
    /// Handles of its process that are open. Relaxed: a number that orders nothing.
    open: AtomicU64,
    /// Most of them; `u64::MAX` for no limit.
    descriptor_limit: AtomicU64,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) tree: Tree,
    /// The files that are locked, by address: whoever holds one holds the file.
    pub(super) locks: BTreeSet<usize>,
    pub(super) disk_size: u64,
}

impl World {
    pub(super) fn new() -> World {
        World::of(Tree::new(), Usage::default(), u64::MAX)
    }

    fn of(tree: Tree, usage: Usage, disk_size: u64) -> World {
        World {
            gate: RwLock::new(State { tree, locks: BTreeSet::new(), disk_size }),
            usage,
            open: AtomicU64::new(0),
            descriptor_limit: AtomicU64::new(u64::MAX),
        }
    }

    /// The same process's limits for the next one.
    fn limited_as(self, other: &World) -> World {
        self.set_descriptor_limit(other.descriptor_limit().unwrap_or(u64::MAX));
        self
    }

    pub(super) fn after_power_cut(&self, dice: &mut Dice) -> World {
        let state = self.gate.write();
        let usage = Usage::default();
        let tree = state
            .tree
            .after_power_cut(dice, |node, dice| node.after_power_cut(dice, usage.clone()));
        World::of(tree, usage, state.disk_size).limited_as(self)
    }

    pub(super) fn after_process_death(&self) -> World {
        let state = self.gate.write();
        let usage = Usage::default();
        let tree = state.tree.copied(|node| node.copied(usage.clone()));
        World::of(tree, usage, state.disk_size).limited_as(self)
    }

    pub(super) fn set_disk_size(&self, bytes: u64) {
        self.gate.write().disk_size = bytes;
    }

    pub(super) fn set_descriptor_limit(&self, most: u64) {
        self.descriptor_limit.store(most, Ordering::Relaxed);
    }

    pub(super) fn descriptor_limit(&self) -> Option<u64> {
        Some(self.descriptor_limit.load(Ordering::Relaxed)).filter(|most| *most != u64::MAX)
    }

    pub(super) fn open_descriptors(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// A descriptor for one handle.
    pub(super) fn descriptor(self: &Arc<World>) -> Result<Arc<Descriptor>, Errno> {
        let most = self.descriptor_limit.load(Ordering::Relaxed);
        let one_more = |open| (open < most).then_some(open + 1);
        match self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Arc::new(Descriptor(Arc::clone(self)))),
            Err(_) => Err(Errno::MFILE),
        }
    }

    pub(super) fn used_space(&self) -> u64 {
        self.usage.load(Ordering::Relaxed)
    }

    /// Bytes that can be written at once.
    fn unused(&self, state: &State) -> u64 {
        state.disk_size.saturating_sub(self.used_space())
    }

    /// Bytes that can be written, those of removed files included: a file system that
    /// is short of space makes removals durable, and has it.
    pub(super) fn free_space(&self, state: &State) -> u64 {
        match state.disk_size {
            u64::MAX => self.unused(state),
            size => (size + state.tree.removed_bytes()).saturating_sub(self.used_space()),
        }
    }

    /// Writes to a file, all or what the disk has room for.
    pub(super) fn write(&self, node: &Node, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.make_room(node, offset + bytes.len() as u64);
        let gate = self.gate.read();
        node.write(offset, bytes, self.unused(&gate))
    }

    /// Keeps the bytes of a file up to `len` for it.
    pub(super) fn reserve(&self, node: &Node, len: u64) -> Result<(), Errno> {
        self.make_room(node, len);
        let gate = self.gate.read();
        node.reserve(len, self.unused(&gate))
    }

    /// Makes removals durable where a file that takes `len` bytes needs their room.
    fn make_room(&self, node: &Node, len: u64) {
        if len.saturating_sub(node.taken()) > self.unused(&self.gate.read()) {
            self.gate.write().tree.sync_all();
        }
    }

    pub(super) fn fail_next_sync(&self, path: &Path) -> Result<(), Errno> {
        self.gate.read().tree.file(path)?.fail_next_sync();
        Ok(())
    }

    pub(super) fn fail_dir_sync(&self, dir: &Path) -> Result<(), Errno> {
        let mut state = self.gate.write();
        let id = state.tree.dir(dir)?;
        state.tree.fail_sync(id);
        Ok(())
    }

    /// Creates a file of `len` zeros.
    pub(super) fn create(&self, path: &Path, len: u64) -> Result<Arc<Node>, Errno> {
        let mut state = self.gate.write();
        let place = state.tree.place(path)?;
        if state.tree.entry(&place).is_some() {
            return Err(Errno::EXIST);
        }
        if len > self.unused(&state) {
            state.tree.sync_all();
        }
        if len > self.unused(&state) {
            return Err(Errno::NOSPC);
        }
        let node = Arc::new(Node::new(Bytes::zeros(len), self.usage.clone()));
        state.tree.add(place, node.clone())?;
        Ok(node)
    }
}

/// What an open file takes of the process's limit. Its clones are one.
#[derive(Debug)]
pub(super) struct Descriptor(Arc<World>);

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
