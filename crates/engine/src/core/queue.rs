//! Writers in line, and what the one at the head works with.
//!
//! Only data and waiting; what the leader does is in `commit`.

use crate::core::checks::Checks;
use crate::core::returning::Returning;
use crate::memtable::WriterToken;
use crate::read::mem::Mem;
use crate::types::error::Result;
use crate::types::options::Durability;
use crate::wal::WalWriter;
use std::collections::VecDeque;
use std::sync::Arc;
use tanada_format::{KeyspaceId, LogId, SeqNo};
use tanada_vfs::sync::{Condvar, Mutex, MutexGuard};

/// The queue and what its leader works with. On lines of its own: reads look at what
/// lies beside it.
#[repr(align(128))]
pub(crate) struct Commit {
    pub(crate) queue: Mutex<Queue>,
    /// Signalled when a group has ended, and the queue has room for those who have not
    /// been let into it.
    pub(crate) room: Condvar,
    /// Signalled when all are back for whom a leader waits.
    pub(crate) all_back: Condvar,
    pub(crate) writer: Mutex<Writer>,
    /// Held to look for room, so that of two at once one is the first; outside of the
    /// other two, and of the lock of the budget's division.
    pub(crate) bodies: Mutex<Bodies>,
}

/// The copies of long values that puts have made for the log.
#[derive(Default)]
pub(crate) struct Bodies {
    pub(crate) count: usize,
    /// The longest since there was none, in bytes.
    pub(crate) largest_bytes: u64,
}

#[derive(Default)]
pub(crate) struct Queue {
    /// Whether some thread leads.
    pub(crate) led: bool,
    /// Writers in commit order, none of them leading.
    pub(crate) pending: VecDeque<Arc<Waiter>>,
    /// Bytes of all batches that wait, or are in the group that is being committed
    /// without leading it.
    pub(crate) bytes: u64,
    /// Writers that have not been let in: they wait for `Commit::room`.
    pub(crate) outside: usize,
    /// Who may be about to come.
    pub(crate) returning: Returning,
}

/// What only the leader touches, or who stands in for one with the lock held.
pub(crate) struct Writer {
    pub(crate) wal: WalWriter,
    pub(crate) token: WriterToken,
    pub(crate) next_seqno: SeqNo,
    /// The active MemTable that was written last, and whose it is: found again without
    /// a look at the view, whose count lies beside what every get reads. `None` once
    /// it is sealed.
    pub(crate) active: Option<(KeyspaceId, Arc<Mem>)>,
    /// Bytes of all active MemTables that hold something.
    pub(crate) active_bytes: u64,
    /// The log being written when its length was last looked at.
    pub(crate) checked_log: LogId,
    /// The log being written when a successor was last asked for.
    pub(crate) asked_behind: LogId,
    /// How often memory had been given back when a write was last refused for want of
    /// it. Until more is, writes are refused without a wait.
    pub(crate) refused_at: Option<u64>,
}

/// A writer that found another one leading. Owns its bytes, because another
/// thread will write them.
pub(crate) struct Waiter {
    pub(crate) request: OwnedRequest,
    pub(crate) turn: Mutex<Turn>,
    pub(crate) changed: Condvar,
}

pub(crate) struct OwnedRequest {
    pub(crate) body: Vec<u8>,
    pub(crate) cost: u64,
    pub(crate) count: u32,
    pub(crate) durability: Durability,
    pub(crate) checks: Option<Box<Checks>>,
    /// Whether it was handed in together with the one before it: then it goes into the
    /// same group, however many bytes that gets.
    pub(crate) belongs_to_last: bool,
}

/// One batch on its way.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) body: &'a [u8],
    /// Most bytes that it takes in MemTables.
    pub(crate) cost: u64,
    pub(crate) count: u32,
    pub(crate) durability: Durability,
    /// What must hold for it to be written.
    pub(crate) checks: Option<&'a Checks>,
}

pub(crate) enum Turn {
    Waiting,
    Lead,
    Done(Result<SeqNo>),
}

impl OwnedRequest {
    /// Takes over the bytes of a batch, and its conditions. Those of a small one are copied,
    /// so that its caller can fill the same memory again.
    pub(crate) fn of(
        body: &mut Vec<u8>,
        checks: &mut Option<Box<Checks>>,
        cost: u64,
        count: u32,
        durability: Durability,
    ) -> OwnedRequest {
        const COPIED: usize = 64 << 10;
        let body = if body.len() > COPIED { std::mem::take(body) } else { body.clone() };
        let checks = checks.take();
        OwnedRequest { body, cost, count, durability, checks, belongs_to_last: false }
    }

    /// Bytes that it takes while it waits.
    pub(crate) fn bytes(&self) -> u64 {
        self.body.len() as u64 + self.checks.as_ref().map_or(0, |checks| checks.bytes)
    }

    pub(crate) fn borrow(&self) -> Request<'_> {
        Request {
            body: &self.body,
            cost: self.cost,
            count: self.count,
            durability: self.durability,
            checks: self.checks.as_deref(),
        }
    }
}

impl Waiter {
    pub(crate) fn set(&self, turn: Turn) {
        *self.turn.lock() = turn;
        self.changed.notify_one();
    }

    /// Waits to be answered (`Some`) or to lead (`None`).
    pub(crate) fn wait(&self) -> Option<Result<SeqNo>> {
        let mut turn = self.turn.lock();
        loop {
            match std::mem::replace(&mut *turn, Turn::Waiting) {
                Turn::Waiting => self.changed.wait(&mut turn),
                Turn::Lead => return None,
                Turn::Done(result) => return Some(result),
            }
        }
    }
}

impl Commit {
    pub(crate) fn new(
        wal: WalWriter,
        token: WriterToken,
        next_seqno: SeqNo,
        active_bytes: u64,
    ) -> Commit {
        Commit {
            queue: Mutex::default(),
            room: Condvar::new(),
            all_back: Condvar::new(),
            bodies: Mutex::default(),
            writer: Mutex::new(Writer {
                wal,
                token,
                next_seqno,
                active: None,
                active_bytes,
                checked_log: LogId(0),
                asked_behind: LogId(0),
                refused_at: None,
            }),
        }
    }

    /// Stops all commits while held. For sealing and statistics.
    pub(crate) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock()
    }
}
