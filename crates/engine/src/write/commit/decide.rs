//! Which batches of a group are written: those whose conditions hold when their turn
//! comes, behind the members of the group before them.
//!
//! The leader decides, under the writer's lock: all earlier groups are visible by then, and
//! nobody else writes. What an earlier member of the same group writes is in no MemTable
//! yet, so it is noted on the way, of those keys that a condition of the group is about.
//! Each batch is judged for itself: one that is refused writes nothing, takes no sequence
//! number and harms no other.

use crate::core::Core;
use crate::core::checks::{Check, Checks};
use crate::core::queue::Request;
use crate::read::get::Newest;
use crate::tree::compaction::visible::is_expired;
use crate::types::condition::{Conflict, FailedCondition};
use crate::types::error::{Error, Result};
use crate::wal::group;
use std::collections::BTreeMap;
use std::sync::Arc;
use tanada_format::{KeyspaceId, SeqNo, ValueKind, planted};

/// By member: why it is not written. Empty when all of them are.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(Vec<Option<Error>>);

impl Refusals {
    /// Why member `nth` is not written.
    #[inline]
    pub(super) fn of(&self, nth: usize) -> Option<&Error> {
        self.0.get(nth).and_then(Option::as_ref)
    }

    /// What member `nth` is told instead of its number.
    #[inline]
    pub(super) fn of_member(&self, nth: usize) -> Option<&Error> {
        match planted!(group_refused_as_its_leader) {
            true => self.of(0),
            false => self.of(nth),
        }
    }

    /// How many members are not.
    pub(super) fn count(&self) -> usize {
        self.0.iter().flatten().count()
    }
}

/// Keys that conditions are about, with their newest write once it has been looked up.
/// At most one for each condition.
type Known<'g> = BTreeMap<(KeyspaceId, &'g [u8]), Option<Newest>>;

impl Core {
    /// Asks conditions before the batch queues, without a lock: what must be read from disk
    /// for them is read before others wait for it, and a batch that must be refused now is.
    ///
    /// # Errors
    /// [`Error::Conflict`] and [`Error::Undecided`].
    #[cold]
    pub(super) fn ask_ahead(&self, checks: &Checks) -> Result<()> {
        self.judge(checks, &mut known_of([checks]))
    }

    /// Decides all members of a group, of which some have conditions, in their order. The
    /// first write of the group gets `first`.
    #[cold]
    pub(super) fn decide<'g>(
        &self,
        first: SeqNo,
        requests: impl Iterator<Item = Request<'g>> + Clone,
    ) -> Refusals {
        let mut known = known_of(requests.clone().filter_map(|request| request.checks));
        let mut left = requests.clone().filter(|request| request.checks.is_some()).count();
        let mut next = first;
        let mut refusals = Vec::new();
        for request in requests {
            let verdict = request.checks.map_or(Ok(()), |checks| {
                left -= 1;
                self.judge(checks, &mut known)
            });
            if verdict.is_ok() && left > 0 && !planted!(conditions_ignore_earlier_members) {
                note(&mut known, request.body, next);
            }
            if verdict.is_ok() {
                next = next.plus(request.count.into());
                request.checks.into_iter().for_each(|checks| self.count(checks.tally));
            }
            refusals.push(verdict.err());
        }
        Refusals(refusals)
    }

    /// Whether all conditions of a batch hold, at one moment.
    fn judge<'g>(&self, checks: &'g Checks, known: &mut Known<'g>) -> Result<()> {
        for check in &checks.list {
            let newest = known.get_mut(&place(check)).expect("every key of a condition is in it");
            if newest.is_none() {
                let found = self.newest(check).map_err(|e| Error::Undecided(Arc::new(e)))?;
                *newest = Some(found);
            }
        }
        // Behind all that was looked up: what a job has dropped as expired has expired by now.
        let now_ms = self.reading.now_ms();
        let mut failed = Vec::new();
        for (index, check) in checks.list.iter().enumerate() {
            let version = match known[&place(check)] {
                Some(Newest::Put { seqno, expires_at_ms }) => {
                    let expired = expires_at_ms != 0 && is_expired(expires_at_ms, now_ms);
                    (!expired || planted!(conditions_see_what_expired)).then_some(seqno)
                }
                Some(Newest::Nothing) | None => None,
            };
            if !check.condition.holds(version) {
                failed.push(FailedCondition { index, key: Arc::clone(&check.key), version });
            }
        }
        match failed.is_empty() {
            true => Ok(()),
            false => Err(Error::Conflict(Arc::new(Conflict { failed }))),
        }
    }

    fn newest(&self, check: &Check) -> Result<Newest> {
        // A handle names a keyspace that exists: they are never removed.
        let keyspace = Arc::clone(&self.reading.keyspaces.load()[check.keyspace]);
        self.reading.newest(&keyspace, &check.key)
    }
}

fn place(check: &Check) -> (KeyspaceId, &[u8]) {
    (check.keyspace, &check.key)
}

fn known_of<'g>(all: impl IntoIterator<Item = &'g Checks>) -> Known<'g> {
    all.into_iter().flat_map(|checks| &checks.list).map(|check| (place(check), None)).collect()
}

/// Notes what a member writes that is not in the MemTables yet.
fn note<'g>(known: &mut Known<'g>, body: &'g [u8], first: SeqNo) {
    let (mut rest, mut seqno) = (body, first);
    while !rest.is_empty() {
        let (entry, len) =
            group::decode_entry(rest).expect("the batch encoded these bytes a moment ago");
        rest = &rest[len..];
        if let Some(newest) = known.get_mut(&(entry.keyspace, entry.key)) {
            *newest = Some(match entry.kind {
                ValueKind::Put => Newest::Put { seqno, expires_at_ms: entry.expires_at_ms },
                _ => Newest::Nothing,
            });
        }
        seqno = seqno.plus(1);
    }
}
