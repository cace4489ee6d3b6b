//! Step 6 of a commit: every writer of a group is answered, and the lead passed on.

use super::decide::Refusals;
use crate::control::account::Part;
use crate::core::Core;
use crate::core::queue::{Turn, Waiter};
use crate::types::error::{Error, Result};
use std::sync::Arc;
use tanada_format::{SeqNo, planted};

/// What a group did.
#[derive(Clone)]
pub(super) struct Written {
    /// The newest write before it: not always the number before its first, for an opening
    /// leaves numbers out.
    pub(super) before: SeqNo,
    /// The number of its first write.
    pub(super) first: SeqNo,
    pub(super) refusals: Refusals,
    /// What its sync took, if it was synced.
    pub(super) sync_ns: Option<u64>,
}

impl Written {
    /// What a batch is told behind which the group goes on with `next`: its last write, or
    /// of one without writes, the newest before it.
    pub(super) fn newest(&self, next: SeqNo) -> SeqNo {
        if next == self.first { self.before } else { SeqNo(next.0 - 1) }
    }
}

/// A group on its way. However the leader leaves, by a panic even, dropping it
/// answers the followers and passes the lead on.
pub(super) struct Group<'c> {
    pub(super) core: &'c Core,
    pub(super) own_count: u32,
    pub(super) followers: Vec<Arc<Waiter>>,
    /// What it did, once it has ended.
    pub(super) written: Option<Result<Written>>,
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        let written = self.written.take().unwrap_or_else(|| {
            let e = Error::Poisoned { reason: "a writer panicked".to_owned() };
            Err(self.core.reading.health.poison(&e))
        });
        // Each batch that was written ends where its count says, in queue order.
        let mut next = match &written {
            Ok(Written { first, refusals, .. }) if refusals.of(0).is_none() => {
                first.plus(self.own_count.into())
            }
            Ok(Written { first, .. }) => *first,
            Err(_) => SeqNo(0),
        };
        if let Ok(Written { sync_ns: Some(sync_ns), .. }) = written {
            // Batches that were handed in together are one writer's. Before the first is
            // answered, for it may be back at once.
            let apart = |follower: &&Arc<Waiter>| !follower.request.belongs_to_last;
            let writers = 1 + self.followers.iter().filter(apart).count() as u32;
            self.core.commit.queue.lock().returning.answered(writers, sync_ns);
        }
        let mut bytes = 0;
        for (nth, follower) in self.followers.drain(..).enumerate() {
            bytes += follower.request.bytes();
            let answer = match &written {
                Ok(written) => match written.refusals.of_member(1 + nth) {
                    None => {
                        next = next.plus(follower.request.count.into());
                        match planted!(group_answered_alike) {
                            true => Ok(self.core.reading.visible()),
                            false => Ok(written.newest(next)),
                        }
                    }
                    Some(refusal) => Err(refusal.clone()),
                },
                Err(_) if planted!(group_commit_one_waiter_sees_error) => {
                    Ok(self.core.reading.visible())
                }
                Err(e) => Err(e.clone()),
            };
            follower.set(Turn::Done(answer));
        }
        let mut queue = self.core.commit.queue.lock();
        let next = queue.pending.pop_front();
        // The next leader's bytes are its own again, as if it had never waited.
        if let Some(next) = &next {
            bytes += next.request.bytes();
        }
        queue.bytes -= bytes;
        self.core.reading.budget.account.give(Part::Queue, bytes);
        match next {
            Some(next) => next.set(Turn::Lead),
            None => queue.led = false,
        }
        if queue.outside > 0 {
            self.core.commit.room.notify_all();
        }
    }
}
