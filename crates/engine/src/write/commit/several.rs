//! Several batches from one thread: each is written or refused for itself, and as many as
//! fit share one record and one sync. For programs that answer many clients from one thread.
//!
//! They stand in the queue behind each other, as if each had come from a thread of its own
//! in this order; so there is no other write path.

use super::Prepared;
use crate::core::Core;
use crate::core::queue::Waiter;
use crate::types::error::Result;
use crate::types::options::Durability;
use crate::write::batch::Batch;
use std::collections::VecDeque;
use std::sync::Arc;
use tanada_format::SeqNo;

/// A batch that still has to be put into the queue.
struct Next {
    nth: usize,
    batch: Batch,
    cost: u64,
    durability: Durability,
}

impl Next {
    fn prepared(&mut self) -> Prepared<'_> {
        Prepared { batch: &mut self.batch, cost: self.cost, durability: self.durability }
    }
}

impl Core {
    /// Commits batches in this order. Answers each, in the same order.
    pub(crate) fn commit_each(
        &self,
        batches: impl IntoIterator<Item = (Batch, Option<Durability>)>,
    ) -> Vec<Result<SeqNo>> {
        let mut answers: Vec<Option<Result<SeqNo>>> = Vec::new();
        let mut line = VecDeque::new();
        for (nth, (mut batch, durability)) in batches.into_iter().enumerate() {
            let answer = match self.prepare(&mut batch, durability) {
                Ok(Some(Prepared { cost, durability, .. })) => {
                    if let Some(checks) = &batch.checks {
                        // What it says may change by what stands before it in the line.
                        let _ = self.ask_ahead(checks);
                    }
                    line.push_back(Next { nth, batch, cost, durability });
                    None
                }
                Ok(None) => None,
                Err(e) => Some(Err(e)),
            };
            answers.push(answer);
        }
        while !line.is_empty() {
            self.submit_some(&mut line, &mut answers);
        }
        self.run_inline();
        // Those that were empty.
        answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(|| Ok(self.reading.visible())))
            .collect()
    }

    /// Puts as many into the queue as it has room for, at least one, and waits for their
    /// answers.
    fn submit_some(&self, line: &mut VecDeque<Next>, answers: &mut [Option<Result<SeqNo>>]) {
        let Some(first) = line.front_mut() else { return };
        let mut queue = self.enter_queue(first.prepared().bytes());
        let own = if queue.led { None } else { line.pop_front() };
        queue.led = true;
        let mut waiting = Waiting { core: self, waiters: VecDeque::new() };
        while let Some(next) = line.front_mut() {
            if !self.may_queue(&queue, next.prepared().bytes()) {
                break;
            }
            let mut request = next.prepared().own();
            request.belongs_to_last = own.is_some() || !waiting.waiters.is_empty();
            waiting.waiters.push_back((next.nth, self.wait_in_line(&mut queue, request)));
            line.pop_front();
        }
        drop(queue);
        if let Some(mut own) = own {
            answers[own.nth] = Some(self.lead(own.prepared().borrow()));
        }
        while let Some((nth, waiter)) = waiting.waiters.pop_front() {
            answers[nth] = Some(self.answer_of(&waiter));
        }
    }
}

/// Batches of this thread that stand in the queue. Should the thread panic, they are
/// waited for all the same: one of them may have to lead.
struct Waiting<'c> {
    core: &'c Core,
    waiters: VecDeque<(usize, Arc<Waiter>)>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        for (_, waiter) in self.waiters.drain(..) {
            let _ = self.core.answer_of(&waiter);
        }
    }
}
