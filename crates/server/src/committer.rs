//! The one thread that writes: it merges what waits into one batch, and answers each.
//!
//! While a group is being synced the next one gathers, so that one sync serves
//! every connection (as group commit does inside the engine, but with one
//! thread instead of one for each client). Conditions are asked here, because
//! between asking and writing nothing else may write: a compare-and-set is
//! exact as long as all writes come through this queue.

use crate::etag::Current;
use crate::write_queue::{
    Action, Bounds, Committed, Failed, Op, Outcome, WriteError, WriteQueue, WriteRequest,
};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use tanada::{Batch, Db, Durability, Keyspace, PutOptions, WriteOptions};

/// A group is large enough to share a sync widely, small enough to answer soon.
const GROUP: Bounds = Bounds { requests: 1024, bytes: 8 << 20 };

/// What the committer asks of the database; tests have another one.
pub(crate) trait Store {
    fn current(&self, key: &[u8]) -> tanada::Result<Current>;
    /// Writes all steps at once; the sequence number of the last one.
    fn write(
        &self,
        ops: &mut dyn Iterator<Item = &Op>,
        durability: Durability,
    ) -> tanada::Result<u64>;
}

/// The default keyspace of a database.
pub(crate) struct DbStore {
    pub(crate) db: Db,
    pub(crate) keyspace: Keyspace,
}

impl Store for DbStore {
    fn current(&self, key: &[u8]) -> tanada::Result<Current> {
        let record = self.keyspace.get_record(key)?;
        Ok(record.map_or(Current::Absent, |r| Current::Version(r.seqno.0)))
    }

    fn write(
        &self,
        ops: &mut dyn Iterator<Item = &Op>,
        durability: Durability,
    ) -> tanada::Result<u64> {
        let mut batch = Batch::new();
        for op in ops {
            match &op.action {
                Action::Put { value, ttl: None } => batch.put(&op.key, value),
                Action::Put { value, ttl: Some(ttl) } => {
                    batch.put_with(&op.key, value, PutOptions::new().ttl(*ttl));
                }
                Action::Delete => batch.delete(&op.key),
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
pub(crate) fn run(queue: &WriteQueue, store: &impl Store, counters: &CommitCounters) {
    let mut group = Vec::new();
    while queue.take(&mut group, GROUP) {
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
    let accepted = || group.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_ok());
    let writes: u64 = verdicts.iter().flatten().sum();
    let written = if writes == 0 {
        Ok(0)
    } else {
        let durability =
            accepted().map(|(request, _)| request.durability).max().unwrap_or_default();
        let mut ops =
            accepted().flat_map(|(request, _)| request.ops.as_slice()).filter(|op| is_write(op));
        store.write(&mut ops, durability)
    };
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
        // The client may have gone; the write stands all the same.
        let _ = request.answer.send(outcome);
    }
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
    written: HashMap<Bytes, Current>,
}

impl<S: Store> Overlay<'_, S> {
    fn current(&self, key: &Bytes) -> tanada::Result<Current> {
        match self.written.get(key) {
            Some(current) => Ok(*current),
            None => self.store.current(key),
        }
    }

    /// Asks all conditions before any step: a request sees nothing of itself.
    fn ask(&self, ops: &[Op]) -> Result<(), WriteError> {
        let mut failed = Vec::new();
        for (index, op) in ops.iter().enumerate().filter(|(_, op)| !op.conditions.is_empty()) {
            let current = self.current(&op.key).map_err(WriteError::Unasked)?;
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
            self.written.insert(op.key.clone(), current);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etag::Condition;
    use crate::write_queue::Ops;
    use parking_lot::Mutex;
    use std::collections::BTreeMap;
    use tokio::sync::oneshot;

    /// Keys with their versions, the writes it got, and whether it fails.
    #[derive(Default)]
    struct Fake {
        versions: Mutex<BTreeMap<Vec<u8>, u64>>,
        seqno: Mutex<u64>,
        groups: Mutex<Vec<(usize, Durability)>>,
        broken: bool,
    }

    impl Store for Fake {
        fn current(&self, key: &[u8]) -> tanada::Result<Current> {
            Ok(self.versions.lock().get(key).map_or(Current::Absent, |v| Current::Version(*v)))
        }

        fn write(
            &self,
            ops: &mut dyn Iterator<Item = &Op>,
            durability: Durability,
        ) -> tanada::Result<u64> {
            if self.broken {
                return Err(tanada::Error::Poisoned { reason: "fsync failed".into() });
            }
            let mut seqno = self.seqno.lock();
            let mut count = 0;
            for op in ops {
                *seqno += 1;
                count += 1;
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
        Op { key, action, conditions: condition.into_iter().collect() }
    }

    fn put(key: &'static str, condition: Option<Condition>) -> Op {
        op(key, Action::Put { value: Bytes::new(), ttl: None }, condition)
    }

    fn commit_all(store: &Fake, requests: Vec<(Vec<Op>, Durability)>) -> Vec<Outcome> {
        let mut receivers = Vec::new();
        let mut group = Vec::new();
        for (ops, durability) in requests {
            let (answer, receiver) = oneshot::channel();
            group.push(WriteRequest { ops: Ops::Many(ops), durability, answer });
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
