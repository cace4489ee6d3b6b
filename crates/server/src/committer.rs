//! The one thread that writes: it hands what waits to the engine, and answers each.
//!
//! While a group is being synced the next one gathers, so that one sync serves
//! every connection (as group commit does inside the engine, but with one
//! thread instead of one for each client). Each request is a batch of its own, with its
//! conditions, which the engine's commit leader decides: they are exact whoever else writes
//! to the database, and no request is refused for another.

use crate::memory::Share;
use crate::write_queue::{
    Action, Bounds, Committed, Failed, Op, Ops, Outcome, WriteError, WriteQueue, WriteRequest,
};
use std::sync::atomic::{AtomicU64, Ordering};
use tanada::{Batch, Conflict, Db, Durability, Keyspace, WriteOptions};
use tokio::sync::oneshot;

/// A group is large enough to share a sync widely, small enough to answer soon.
const GROUP: Bounds = Bounds { requests: 1024, bytes: 8 << 20 };

/// A request takes about so much of MemTables beside its key and value.
const REQUEST_BYTES: u64 = 256;

/// A group for a database whose longest batch is `largest_batch_bytes`: it shares a record,
/// so it must not be longer, and it is a second copy while it is written.
pub(crate) fn group_within(largest_batch_bytes: u64) -> Bounds {
    let quarter = largest_batch_bytes / 4;
    let at_most = |most: usize, bytes: u64| usize::try_from(bytes).map_or(most, |b| b.min(most));
    Bounds {
        requests: at_most(GROUP.requests, (quarter / REQUEST_BYTES).max(1)),
        bytes: at_most(GROUP.bytes, quarter),
    }
}

/// What is written to.
pub(crate) struct Database {
    pub(crate) db: Db,
    /// The default one.
    pub(crate) keyspace: Keyspace,
}

/// What the committer did so far.
///
/// Written by the committer alone and read by statistics, which need no order
/// between the two: relaxed.
#[derive(Debug, Default)]
pub(crate) struct CommitCounters {
    pub(crate) groups: AtomicU64,
    pub(crate) requests: AtomicU64,
}

/// Commits groups until the queue is closed and empty.
pub(crate) fn run(
    queue: &WriteQueue,
    bounds: Bounds,
    database: &Database,
    counters: &CommitCounters,
) {
    let mut group = Vec::new();
    while queue.take(&mut group, bounds) {
        counters.groups.fetch_add(1, Ordering::Relaxed);
        counters.requests.fetch_add(group.len() as u64, Ordering::Relaxed);
        commit(&mut group, database);
    }
}

/// What is left of a request while its batch is written.
struct Asked {
    /// How many writes it is.
    count: u64,
    /// By condition of its batch: the step that it belongs to.
    steps: Vec<usize>,
    share: Option<Share>,
    answer: oneshot::Sender<Outcome>,
}

/// Commits one group and empties it.
fn commit(group: &mut Vec<WriteRequest>, database: &Database) {
    // A large one comes alone. Until it is copied it takes twice its memory.
    let copy = match &group[..] {
        [WriteRequest { share: Some(share), .. }] => share.copy(),
        _ => Ok(None),
    };
    let copy = match copy {
        Ok(copy) => copy,
        Err(e) => {
            for request in group.drain(..) {
                let _ = request.answer.send(Err(WriteError::Engine(e.clone())));
            }
            return;
        }
    };
    let mut asked = Vec::with_capacity(group.len());
    let mut batches = Vec::with_capacity(group.len());
    for WriteRequest { ops, durability, share, answer } in group.drain(..) {
        let (batch, steps) = database.batch(ops);
        asked.push(Asked { count: batch.len() as u64, steps, share, answer });
        batches.push((batch, durability));
    }
    drop(copy);
    let answers = database.write(batches);
    for (Asked { count, steps, share, answer }, written) in asked.into_iter().zip(answers) {
        let outcome = match written {
            Ok(last) => Ok(Committed { first: (last.0 + 1).saturating_sub(count), count }),
            Err(tanada::Error::Conflict(conflict)) => {
                Err(WriteError::Conditions(failed(&conflict, &steps)))
            }
            Err(e) => Err(WriteError::Engine(e)),
        };
        // Given back before the client hears: its next request may want the memory.
        drop(share);
        // The client may have gone; the write stands all the same.
        let _ = answer.send(outcome);
    }
}

impl Database {
    fn keyspace<'a>(&'a self, op: &'a Op) -> &'a Keyspace {
        op.keyspace.as_ref().unwrap_or(&self.keyspace)
    }

    /// The batch of a request, and the step that each of its conditions belongs to. Lets go
    /// of each step as soon as it is copied.
    fn batch(&self, ops: Ops) -> (Batch, Vec<usize>) {
        let (mut batch, mut steps) = (Batch::new(), Vec::new());
        match ops {
            Ops::One(op) => self.add(op, 0, &mut batch, &mut steps),
            Ops::Many(ops) => ops
                .into_iter()
                .enumerate()
                .for_each(|(index, op)| self.add(op, index, &mut batch, &mut steps)),
        }
        (batch, steps)
    }

    fn add(&self, mut op: Op, index: usize, batch: &mut Batch, steps: &mut Vec<usize>) {
        for condition in std::mem::take(&mut op.conditions) {
            batch.check_in(self.keyspace(&op), &op.key, condition);
            steps.push(index);
        }
        match &op.action {
            Action::Put { value, options } => {
                batch.put_in_with(self.keyspace(&op), &op.key, value, *options);
            }
            Action::Delete => batch.delete_in(self.keyspace(&op), &op.key),
            Action::Check => {}
        }
    }

    fn write(&self, batches: Vec<(Batch, Durability)>) -> Vec<tanada::Result<tanada::SeqNo>> {
        let options = |durability| WriteOptions::new().durability(durability);
        self.db.write_each(batches.into_iter().map(|(batch, d)| (batch, options(d))))
    }
}

/// The steps whose conditions failed, each once.
fn failed(conflict: &Conflict, steps: &[usize]) -> Vec<Failed> {
    let step = |f: &tanada::FailedCondition| Failed {
        index: steps[f.index],
        version: f.version.map(|version| version.0),
    };
    let mut failed: Vec<Failed> = conflict.failed.iter().map(step).collect();
    failed.dedup();
    failed
}

#[cfg(test)]
mod drawn;
#[cfg(test)]
mod tests;
