//! The one thread that writes: it merges what waits into one batch, and answers each.
//!
//! While a group is being synced the next one gathers, so that one sync serves
//! every connection (as group commit does inside the engine, but with one
//! thread instead of one for each client). Conditions are asked here, because
//! between asking and writing nothing else may write: a compare-and-set is
//! exact as long as all writes come through this queue.

use crate::etag::Current;
use crate::memory::Share;
use crate::write_queue::{
    Action, Bounds, Committed, Failed, Op, Ops, Outcome, WriteError, WriteQueue, WriteRequest,
};
use bytes::Bytes;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use tanada::{Batch, Db, Durability, Keyspace, WriteOptions};

/// A group is large enough to share a sync widely, small enough to answer soon.
const GROUP: Bounds = Bounds { requests: 1024, bytes: 8 << 20 };

/// A request takes about so much of MemTables beside its key and value.
const REQUEST_BYTES: u64 = 256;

/// A group for a database whose longest batch is `largest_batch_bytes`: it is written as
/// one batch, so it must not be longer, and it is a second copy while it is written.
pub(crate) fn group_within(largest_batch_bytes: u64) -> Bounds {
    let quarter = largest_batch_bytes / 4;
    let at_most = |most: usize, bytes: u64| usize::try_from(bytes).map_or(most, |b| b.min(most));
    Bounds {
        requests: at_most(GROUP.requests, (quarter / REQUEST_BYTES).max(1)),
        bytes: at_most(GROUP.bytes, quarter),
    }
}

/// What the committer asks of the database; tests have another one.
pub(crate) trait Store {
    /// The key of this operation.
    fn current(&self, op: &Op) -> tanada::Result<Current>;
    /// Writes all steps at once; the sequence number of the last one. Of steps that it
    /// owns it lets go as soon as they are copied.
    fn write<O: Borrow<Op>>(
        &self,
        ops: impl Iterator<Item = O>,
        durability: Durability,
    ) -> tanada::Result<u64>;
}

/// A database.
pub(crate) struct DbStore {
    pub(crate) db: Db,
    /// The default one.
    pub(crate) keyspace: Keyspace,
}

impl DbStore {
    fn keyspace<'a>(&'a self, op: &'a Op) -> &'a Keyspace {
        op.keyspace.as_ref().unwrap_or(&self.keyspace)
    }
}

impl Store for DbStore {
    fn current(&self, op: &Op) -> tanada::Result<Current> {
        let record = self.keyspace(op).get_record(&op.key)?;
        Ok(record.map_or(Current::Absent, |r| Current::Version(r.version.0)))
    }

    fn write<O: Borrow<Op>>(
        &self,
        ops: impl Iterator<Item = O>,
        durability: Durability,
    ) -> tanada::Result<u64> {
        let mut batch = Batch::new();
        for op in ops {
            let op = op.borrow();
            match &op.action {
                Action::Put { value, options } => {
                    batch.put_in_with(self.keyspace(op), &op.key, value, *options);
                }
                Action::Delete => batch.delete_in(self.keyspace(op), &op.key),
                Action::Check => {}
            }
        }
        let seqno = self.db.write_with(batch, WriteOptions::new().durability(durability))?;
        Ok(seqno.0)
    }
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
    store: &impl Store,
    counters: &CommitCounters,
) {
    let mut group = Vec::new();
    while queue.take(&mut group, bounds) {
        counters.groups.fetch_add(1, Ordering::Relaxed);
        counters.requests.fetch_add(group.len() as u64, Ordering::Relaxed);
        commit(&mut group, store);
    }
}

/// Commits one group and empties it.
///
/// Every answer waits for the write, refusals too: they may rest on earlier
/// requests of the same group, which are not certain before.
fn commit(group: &mut Vec<WriteRequest>, store: &impl Store) {
    let verdicts = judge(group, store);
    let writes: u64 = verdicts.iter().flatten().sum();
    let written = if writes == 0 { Ok(0) } else { write(group, &verdicts, store) };
    if group.len() > 1 && written.as_ref().is_err_and(is_of_the_group) {
        let mut second = group.split_off(group.len() / 2);
        commit(group, store);
        // Judged anew: what the first half did is certain now.
        commit(&mut second, store);
        return;
    }
    // Write i of n has the number last - (n - 1 - i).
    let mut next = written.as_ref().map_or(0, |last| (last + 1).saturating_sub(writes));
    for (request, verdict) in group.drain(..).zip(verdicts) {
        let outcome: Outcome = match (verdict, &written) {
            (Ok(count), Ok(_)) => {
                let first = next;
                next += count;
                Ok(Committed { first, count })
            }
            (Ok(_), Err(e)) => Err(WriteError::Engine(e.clone())),
            (Err(e), _) => Err(e),
        };
        // Given back before the client hears: its next request may want the memory.
        drop((request.ops, request.share));
        // The client may have gone; the write stands all the same.
        let _ = request.answer.send(outcome);
    }
}

/// Writes what was accepted, as one batch.
fn write(
    group: &mut [WriteRequest],
    verdicts: &[Result<u64, WriteError>],
    store: &impl Store,
) -> tanada::Result<u64> {
    if let [request] = group {
        // It is not needed again, and it may be large: copied and let go. Then its share
        // is that of the copy.
        let mut copy = request.share.as_ref().map(Share::copy).transpose()?;
        let end = std::iter::from_fn(move || {
            drop(copy.take());
            None
        });
        let durability = request.durability;
        return match std::mem::take(&mut request.ops) {
            Ops::One(op) => store.write(std::iter::once(op).chain(end), durability),
            Ops::Many(ops) => store.write(ops.into_iter().filter(is_write).chain(end), durability),
        };
    }
    let accepted = || group.iter().zip(verdicts).filter(|(_, verdict)| verdict.is_ok());
    let durability = accepted().map(|(request, _)| request.durability).max().unwrap_or_default();
    let ops = accepted().flat_map(|(request, _)| request.ops.as_slice());
    store.write(ops.filter(|op| is_write(op)), durability)
}

/// Whether the write was refused before anything was done, and a smaller one may pass:
/// then requests are tried by halves, so that none is refused for its neighbours.
fn is_of_the_group(e: &tanada::Error) -> bool {
    matches!(e, tanada::Error::InvalidArgument(_) | tanada::Error::MemoryFull { .. })
}

fn is_write(op: &Op) -> bool {
    !matches!(op.action, Action::Check)
}

/// For each request in turn, whether its conditions hold after those before it:
/// how many writes it is, or why it is not done.
fn judge(group: &[WriteRequest], store: &impl Store) -> Vec<Result<u64, WriteError>> {
    let conditional =
        group.iter().any(|r| r.ops.as_slice().iter().any(|op| !op.conditions.is_empty()));
    let mut overlay = Overlay { store, written: HashMap::new() };
    group
        .iter()
        .map(|request| {
            let ops = request.ops.as_slice();
            let writes = ops.iter().filter(|op| is_write(op)).count() as u64;
            if conditional {
                overlay.ask(ops)?;
                overlay.note(ops);
            }
            Ok(writes)
        })
        .collect()
}

/// The database as it will be after the requests judged so far.
///
/// Versions of this group's own writes are not known yet, but no client can
/// have seen them, so that no condition can name them.
struct Overlay<'s, S> {
    store: &'s S,
    /// By the names of their keyspaces, and keys.
    written: HashMap<(Option<String>, Bytes), Current>,
}

/// What `op` is about.
fn place(op: &Op) -> (Option<String>, Bytes) {
    (op.keyspace.as_ref().map(|keyspace| keyspace.name().to_owned()), op.key.clone())
}

impl<S: Store> Overlay<'_, S> {
    fn current(&self, op: &Op) -> tanada::Result<Current> {
        match self.written.get(&place(op)) {
            Some(current) => Ok(*current),
            None => self.store.current(op),
        }
    }

    /// Asks all conditions before any step: a request sees nothing of itself.
    fn ask(&self, ops: &[Op]) -> Result<(), WriteError> {
        let mut failed = Vec::new();
        for (index, op) in ops.iter().enumerate().filter(|(_, op)| !op.conditions.is_empty()) {
            let current = self.current(op).map_err(WriteError::Unasked)?;
            if !op.conditions.iter().all(|condition| condition.holds(current)) {
                failed.push(Failed { index, current });
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(WriteError::Conditions(failed)) }
    }

    fn note(&mut self, ops: &[Op]) {
        for op in ops {
            let current = match op.action {
                Action::Put { .. } => Current::Fresh,
                Action::Delete => Current::Absent,
                Action::Check => continue,
            };
            self.written.insert(place(op), current);
        }
    }
}

#[cfg(test)]
mod drawn;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::etag::Condition;
    use parking_lot::Mutex;
    use std::collections::BTreeMap;
    use tanada::PutOptions;
    use tokio::sync::oneshot;

    /// Keys with their versions, the writes it got, and whether it fails.
    #[derive(Default)]
    struct Fake {
        versions: Mutex<BTreeMap<Vec<u8>, u64>>,
        seqno: Mutex<u64>,
        groups: Mutex<Vec<(usize, Durability)>>,
        broken: bool,
        /// Longest write, by the bytes of its keys.
        most_bytes: Option<usize>,
        refusals: AtomicU64,
    }

    impl Store for Fake {
        fn current(&self, op: &Op) -> tanada::Result<Current> {
            Ok(self
                .versions
                .lock()
                .get(&op.key[..])
                .map_or(Current::Absent, |v| Current::Version(*v)))
        }

        fn write<O: Borrow<Op>>(
            &self,
            ops: impl Iterator<Item = O>,
            durability: Durability,
        ) -> tanada::Result<u64> {
            if self.broken {
                return Err(tanada::Error::Poisoned { reason: "fsync failed".into() });
            }
            let ops: Vec<O> = ops.collect();
            let bytes: usize = ops.iter().map(|op| op.borrow().key.len()).sum();
            if self.most_bytes.is_some_and(|most| bytes > most) {
                self.refusals.fetch_add(1, Ordering::Relaxed);
                return Err(tanada::Error::InvalidArgument("too large".into()));
            }
            let mut seqno = self.seqno.lock();
            let mut count = 0;
            for op in ops {
                *seqno += 1;
                count += 1;
                let op = op.borrow();
                match op.action {
                    Action::Put { .. } => {
                        self.versions.lock().insert(op.key.to_vec(), *seqno);
                    }
                    Action::Delete => {
                        self.versions.lock().remove(&op.key[..]);
                    }
                    Action::Check => panic!("a check is no write"),
                }
            }
            self.groups.lock().push((count, durability));
            Ok(*seqno)
        }
    }

    fn op(key: &'static str, action: Action, condition: Option<Condition>) -> Op {
        let key = Bytes::from_static(key.as_bytes());
        Op { keyspace: None, key, action, conditions: condition.into_iter().collect() }
    }

    fn put(key: &'static str, condition: Option<Condition>) -> Op {
        op(key, Action::Put { value: Bytes::new(), options: PutOptions::new() }, condition)
    }

    fn commit_all(store: &Fake, requests: Vec<(Vec<Op>, Durability)>) -> Vec<Outcome> {
        let mut receivers = Vec::new();
        let mut group = Vec::new();
        for (ops, durability) in requests {
            let (answer, receiver) = oneshot::channel();
            group.push(WriteRequest { ops: Ops::Many(ops), durability, share: None, answer });
            receivers.push(receiver);
        }
        commit(&mut group, store);
        receivers.into_iter().map(|mut r| r.try_recv().expect("answered")).collect()
    }

    fn memory(requests: Vec<Vec<Op>>) -> Vec<(Vec<Op>, Durability)> {
        requests.into_iter().map(|ops| (ops, Durability::Memory)).collect()
    }

    fn failed(outcome: &Outcome) -> Vec<Failed> {
        match outcome {
            Err(WriteError::Conditions(failed)) => failed.clone(),
            other => panic!("conditions should have failed, but {other:?}"),
        }
    }

    #[test]
    fn a_group_is_one_write_and_each_request_learns_its_own_numbers() {
        let store = Fake::default();
        let outcomes = commit_all(
            &store,
            vec![
                (vec![put("a", None)], Durability::Memory),
                (vec![put("b", None), op("a", Action::Delete, None)], Durability::Synced),
                (vec![put("c", None)], Durability::Buffered),
            ],
        );
        let numbers: Vec<_> = outcomes.into_iter().map(|o| o.expect("done")).collect();
        assert_eq!(
            numbers,
            [(1, 1), (2, 2), (4, 1)].map(|(first, count)| Committed { first, count })
        );
        assert_eq!(numbers[1].last(), Some(3));
        assert_eq!(
            *store.groups.lock(),
            [(4, Durability::Synced)],
            "the strongest durability asked"
        );
    }

    #[test]
    fn of_many_that_want_the_key_absent_exactly_one_wins() {
        let store = Fake::default();
        let wants = || vec![put("lock", Some(Condition::Absent))];
        let outcomes = commit_all(&store, memory((0..64).map(|_| wants()).collect()));
        assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1);
        assert_eq!(failed(&outcomes[1]), [Failed { index: 0, current: Current::Fresh }]);
        assert_eq!(store.groups.lock()[0].0, 1);
    }

    #[test]
    fn conditions_see_earlier_requests_of_the_group_but_not_their_own_request() {
        let store = Fake::default();
        commit_all(&store, memory(vec![vec![put("a", None)]]));
        let outcomes = commit_all(
            &store,
            memory(vec![
                vec![op("a", Action::Delete, Some(Condition::VersionIn(vec![1])))],
                vec![put("a", Some(Condition::VersionIn(vec![1])))],
                vec![put("a", Some(Condition::Absent)), put("a", Some(Condition::Absent))],
                vec![op("a", Action::Check, Some(Condition::Present))],
            ]),
        );
        assert!(outcomes[0].is_ok());
        assert_eq!(failed(&outcomes[1]), [Failed { index: 0, current: Current::Absent }]);
        assert_eq!(outcomes[2].as_ref().ok().and_then(Committed::last), Some(4));
        assert_eq!(outcomes[3].as_ref().ok().and_then(Committed::last), None);
    }

    #[test]
    fn a_request_with_one_failed_condition_writes_nothing() {
        let store = Fake::default();
        let outcomes = commit_all(
            &store,
            memory(vec![vec![put("a", None), put("b", Some(Condition::Present)), put("c", None)]]),
        );
        assert_eq!(failed(&outcomes[0]), [Failed { index: 1, current: Current::Absent }]);
        assert!(store.versions.lock().is_empty());
        assert!(store.groups.lock().is_empty(), "no empty write");
    }

    /// What waited at the same time was written as one batch of up to 8 MiB: with a small
    /// budget that is more than a batch may have, and every request in it was refused.
    #[test]
    fn no_request_is_refused_for_its_neighbours() {
        let store = Fake { most_bytes: Some(3), ..Fake::default() };
        let large = || vec![put("more", None)];
        let requests = vec![
            vec![put("a", Some(Condition::Absent))],
            vec![put("b", None)],
            large(),
            vec![put("a", Some(Condition::Absent))],
            vec![put("c", None), put("d", None)],
            large(),
        ];
        let outcomes = commit_all(&store, memory(requests));
        let is_done: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
        assert_eq!(is_done, [true, true, false, false, true, false]);
        let too_large = |at: usize| matches!(outcomes[at], Err(WriteError::Engine(_)));
        assert!(too_large(2) && too_large(5));
        // Its condition was asked again when what came before was certain.
        assert_eq!(failed(&outcomes[3]).len(), 1);
        assert_eq!(store.versions.lock().len(), 4);
        assert_eq!(outcomes[4].as_ref().ok().and_then(Committed::last), Some(4));
    }

    #[test]
    fn a_refused_request_costs_its_group_few_more_writes() {
        const KEYS: [&str; 2] = ["k", "too long"];
        let store = Fake { most_bytes: Some(1024), ..Fake::default() };
        let requests = (0..256).map(|n| vec![put(KEYS[usize::from(n == 77)], None)]);
        let store = Fake { most_bytes: Some(7 + 128), ..store };
        let outcomes = commit_all(&store, memory(requests.collect()));
        assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 256);
        let largest = Fake { most_bytes: Some(7), ..Fake::default() };
        let requests = (0..8).map(|n| vec![put(KEYS[usize::from(n == 5)], None)]);
        let outcomes = commit_all(&largest, memory(requests.collect()));
        assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 7);
        assert_eq!(largest.refusals.into_inner(), 4, "halves, not one by one");
    }

    #[test]
    fn a_group_is_no_more_than_a_part_of_the_longest_batch() {
        let small = group_within(192 << 10);
        assert_eq!((small.requests, small.bytes), (192, 48 << 10));
        let large = group_within(1 << 40);
        assert_eq!((large.requests, large.bytes), (1024, 8 << 20));
    }

    /// scylladb #1490: of a group only one writer heard of the failure.
    #[test]
    fn every_request_of_a_failed_group_hears_of_it() {
        let store = Fake { broken: true, ..Fake::default() };
        let outcomes = commit_all(&store, memory((0..5).map(|_| vec![put("a", None)]).collect()));
        assert_eq!(outcomes.len(), 5);
        for outcome in outcomes {
            assert!(matches!(outcome, Err(WriteError::Engine(tanada::Error::Poisoned { .. }))));
        }
    }
}
