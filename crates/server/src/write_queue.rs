//! Writes that wait for the committer: a bounded queue between the reactor and one thread.

use crate::memory::Share;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use tanada::{Condition, Durability, Keyspace, PutOptions};
use tokio::sync::oneshot;

/// Bytes that an operation costs beside its key and value.
const OP_OVERHEAD_BYTES: usize = 64;

/// One step of a request, all its bounds checked.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    /// `None`: the default one.
    pub(crate) keyspace: Option<Keyspace>,
    pub(crate) key: Bytes,
    pub(crate) action: Action,
    /// Must hold before any step of the request is done.
    pub(crate) conditions: Vec<Condition>,
}

/// What to do with the key.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Put {
        value: Bytes,
        options: PutOptions,
    },
    Delete,
    /// Only the conditions are asked.
    Check,
}

impl Op {
    fn size_bytes(&self) -> usize {
        let value_bytes = match &self.action {
            Action::Put { value, .. } => value.len(),
            Action::Delete | Action::Check => 0,
        };
        self.key.len() + value_bytes + OP_OVERHEAD_BYTES
    }
}

/// The steps of one request: all or none. One is so common that it gets no vector.
#[derive(Debug)]
pub(crate) enum Ops {
    One(Op),
    Many(Vec<Op>),
}

impl Default for Ops {
    fn default() -> Ops {
        Ops::Many(Vec::new())
    }
}

impl Ops {
    pub(crate) fn as_slice(&self) -> &[Op] {
        match self {
            Ops::One(op) => std::slice::from_ref(op),
            Ops::Many(ops) => ops,
        }
    }

    /// About what they take in memory.
    pub(crate) fn size_bytes(&self) -> usize {
        self.as_slice().iter().map(Op::size_bytes).sum()
    }
}

/// What became of a request.
pub(crate) type Outcome = Result<Committed, WriteError>;

/// It was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// Sequence number of its first write; its writes follow one another.
    pub(crate) first: u64,
    /// How many writes it was.
    pub(crate) count: u64,
}

impl Committed {
    /// Sequence number of its last write, when there was any.
    pub(crate) fn last(&self) -> Option<u64> {
        (self.count > 0).then(|| self.first + self.count - 1)
    }
}

/// It was not done, or no one knows.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// These conditions did not hold; nothing was done.
    Conditions(Vec<Failed>),
    /// The write failed; where the error does not say otherwise, its outcome is unknown.
    Engine(tanada::Error),
}

/// A condition that did not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// Which step of the request.
    pub(crate) index: usize,
    /// The version that the key had instead; `None` when it was absent.
    pub(crate) version: Option<u64>,
}

/// One request on its way to the committer.
#[derive(Debug)]
pub(crate) struct WriteRequest {
    pub(crate) ops: Ops,
    pub(crate) durability: Durability,
    /// What its operations have of the memory, until it is answered.
    pub(crate) share: Option<Share>,
    /// Gets the outcome; no one may be listening any more.
    pub(crate) answer: oneshot::Sender<Outcome>,
}

impl WriteRequest {
    fn size_bytes(&self) -> usize {
        self.ops.size_bytes()
    }
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Closed,
}

/// Bounds of a queue, or of one group taken from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) requests: usize,
    pub(crate) bytes: usize,
}

/// The queue.
///
/// 1. `bytes` is the sum of the sizes of `waiting`.
/// 2. It holds at most `bounds`, but always takes one request when empty.
/// 3. Once closed it takes nothing, and empties.
pub(crate) struct WriteQueue {
    bounds: Bounds,
    /// Guards the queue. Held for moves only, so that the reactor may lock it.
    state: Mutex<State>,
    /// Signalled when the committer waits and there is something, or the end.
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<WriteRequest>,
    bytes: usize,
    closed: bool,
    /// The committer sleeps: only then is a wake-up worth its system call.
    committer_sleeps: bool,
}

impl WriteQueue {
    pub(crate) fn new(bounds: Bounds) -> WriteQueue {
        WriteQueue { bounds, state: Mutex::default(), arrived: Condvar::new() }
    }

    /// Adds a request; never waits.
    pub(crate) fn push(&self, request: WriteRequest) -> Result<(), Refused> {
        let size_bytes = request.size_bytes();
        let mut state = self.state.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        let full = state.waiting.len() >= self.bounds.requests
            || state.bytes.saturating_add(size_bytes) > self.bounds.bytes;
        if full && !state.waiting.is_empty() {
            return Err(Refused::Full);
        }
        state.bytes += size_bytes;
        state.waiting.push_back(request);
        let wake = std::mem::take(&mut state.committer_sleeps);
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Moves the oldest requests into `group`, at least one and at most `bounds`;
    /// a request that is larger than these comes alone.
    /// Waits for the first. False when the queue is closed and empty.
    pub(crate) fn take(&self, group: &mut Vec<WriteRequest>, bounds: Bounds) -> bool {
        let mut state = self.state.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return false;
            }
            state.committer_sleeps = true;
            self.arrived.wait(&mut state);
        }
        let mut bytes = 0;
        while let Some(next) = state.waiting.front() {
            let size_bytes = next.size_bytes();
            if !group.is_empty()
                && (group.len() >= bounds.requests || bytes + size_bytes > bounds.bytes)
            {
                break;
            }
            bytes += size_bytes;
            state.bytes -= size_bytes;
            group.extend(state.waiting.pop_front());
        }
        true
    }

    /// Takes nothing more; what waits is still committed.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Requests waiting now.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(value_bytes: usize) -> (WriteRequest, oneshot::Receiver<Outcome>) {
        let (answer, outcome) = oneshot::channel();
        let action = Action::Put { value: vec![0; value_bytes].into(), options: PutOptions::new() };
        let key = Bytes::from_static(b"k");
        let op = Op { keyspace: None, key, action, conditions: Vec::new() };
        (
            WriteRequest { ops: Ops::One(op), durability: Durability::Memory, share: None, answer },
            outcome,
        )
    }

    fn push(queue: &WriteQueue, value_bytes: usize) -> Result<(), Refused> {
        queue.push(request(value_bytes).0)
    }

    const WIDE: Bounds = Bounds { requests: 100, bytes: 1 << 20 };

    #[test]
    fn a_full_queue_refuses_by_count_and_by_bytes_but_takes_one_of_any_size() {
        let queue = WriteQueue::new(Bounds { requests: 2, bytes: 1000 });
        assert_eq!(push(&queue, 5000), Ok(()), "an empty queue takes what is larger than itself");
        assert_eq!(push(&queue, 1), Err(Refused::Full));
        assert!(queue.take(&mut Vec::new(), WIDE));
        assert_eq!(
            [push(&queue, 1), push(&queue, 1), push(&queue, 1)],
            [Ok(()), Ok(()), Err(Refused::Full)]
        );
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn groups_are_bounded_and_keep_the_order() {
        let queue = WriteQueue::new(WIDE);
        for bytes in [1, 2, 3, 900_000, 5] {
            push(&queue, bytes).expect("room");
        }
        let mut sizes = Vec::new();
        for _ in 0..4 {
            let mut group = Vec::new();
            assert!(queue.take(&mut group, Bounds { requests: 2, bytes: 1000 }));
            sizes.push(
                group.iter().map(|r| r.size_bytes() - OP_OVERHEAD_BYTES - 1).collect::<Vec<_>>(),
            );
        }
        assert_eq!(sizes, [vec![1, 2], vec![3], vec![900_000], vec![5]]);
    }

    #[test]
    fn a_closed_queue_empties_and_then_ends() {
        let queue = WriteQueue::new(WIDE);
        push(&queue, 1).expect("open");
        queue.close();
        assert_eq!(push(&queue, 1), Err(Refused::Closed));
        let mut group = Vec::new();
        assert!(queue.take(&mut group, WIDE));
        assert_eq!(group.len(), 1);
        assert!(!queue.take(&mut Vec::new(), WIDE));
    }

    #[test]
    fn a_sleeping_committer_is_woken_by_a_push_and_by_the_end() {
        let queue = WriteQueue::new(WIDE);
        std::thread::scope(|scope| {
            let committer = scope.spawn(|| {
                let mut taken = 0;
                let mut group = Vec::new();
                while queue.take(&mut group, WIDE) {
                    taken += group.drain(..).count();
                }
                taken
            });
            for _ in 0..1000 {
                // The committer takes what is in its way, unless it has failed.
                let is_in = (0..100_000_000).any(|_| {
                    let is_full = push(&queue, 1) == Err(Refused::Full);
                    if is_full {
                        std::thread::yield_now();
                    }
                    !is_full
                });
                assert!(is_in, "nobody takes what waits");
            }
            queue.close();
            assert_eq!(committer.join().expect("no panic"), 1000);
        });
    }
}
