//! A file in memory: its bytes, and what they cost the disk.

use super::bytes::Bytes;
use super::dice::Dice;
use crate::sync::Mutex;
use rustix::io::Errno;
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
    /// Bytes that the disk keeps for the file from its beginning, or fewer than it has.
    reserved: u64,
    /// The next sync fails.
    sync_fails: bool,
}

impl State {
    /// What the file takes of the disk.
    fn taken(&self) -> u64 {
        self.bytes.len().max(self.reserved)
    }
}

impl Node {
    pub(super) fn new(bytes: Bytes, usage: Usage) -> Node {
        usage.fetch_add(bytes.len(), Ordering::Relaxed);
        Node { state: Mutex::new(State { bytes, reserved: 0, sync_fails: false }), usage }
    }

    /// The same file on another machine.
    pub(super) fn copied(&self, usage: Usage) -> Node {
        let state = self.state.lock();
        let copy = Node::new(state.bytes.clone(), usage);
        copy.change(|other| other.reserved = state.reserved);
        copy
    }

    pub(super) fn after_power_cut(&self, dice: &mut Dice, usage: Usage) -> Node {
        Node::new(self.state.lock().bytes.after_power_cut(dice), usage)
    }

    pub(super) fn len(&self) -> u64 {
        self.state.lock().bytes.len()
    }

    /// Fills `buf` from `offset`; false when the file ends first.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> bool {
        self.state.lock().bytes.read(offset, buf)
    }

    pub(super) fn fail_next_sync(&self) {
        self.state.lock().sync_fails = true;
    }

    pub(super) fn sync(&self) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if std::mem::take(&mut state.sync_fails) {
            state.bytes.fail_sync();
            return Err(Errno::IO);
        }
        state.bytes.sync();
        Ok(())
    }

    /// What the file takes of the disk.
    pub(super) fn taken(&self) -> u64 {
        self.state.lock().taken()
    }

    /// Writes all, or what the disk has room for.
    pub(super) fn write(&self, offset: u64, bytes: &[u8], free: u64) -> Result<(), Errno> {
        self.change(|state| {
            let room = (state.taken() - offset).saturating_add(free);
            let n = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            state.bytes.write(offset, &bytes[..n]);
            if n < bytes.len() { Err(Errno::NOSPC) } else { Ok(()) }
        })
    }

    /// Keeps the bytes up to `len` for the file, if the disk has room for them.
    pub(super) fn reserve(&self, len: u64, free: u64) -> Result<(), Errno> {
        self.change(|state| {
            if len.saturating_sub(state.taken()) > free {
                return Err(Errno::NOSPC);
            }
            state.reserved = state.reserved.max(len);
            Ok(())
        })
    }

    /// Cuts off what lies behind `len`, what is reserved there too.
    pub(super) fn truncate(&self, len: u64) {
        self.change(|state| {
            state.bytes.truncate(len);
            state.reserved = 0;
        });
    }

    /// Changes the state, and what the file takes of the disk with it.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let before = state.taken();
        let answer = change(&mut state);
        // Wraps where it becomes less, as it should.
        self.usage.fetch_add(state.taken().wrapping_sub(before), Ordering::Relaxed);
        answer
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.usage.fetch_sub(self.state.get_mut().taken(), Ordering::Relaxed);
    }
}
