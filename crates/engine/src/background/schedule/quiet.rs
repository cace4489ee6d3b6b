//! What is done while nobody writes and no job ends, and how long a thread sleeps that has
//! found nothing.
//!
//! Nobody would wake it: values expire, tables of deletes get old, the last reader of a
//! deleted value goes, and deletes lie in a MemTable that never gets full. So each look for
//! work that finds none notes when there will be some ([`compaction::due`]), readers that
//! keep garbage tell when they go, and MemTables are sealed after a while.

use super::{Job, TICK, Worker};
use crate::core::Core;
use crate::core::work::State;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tanada_format::planted;

/// MemTables are sealed when nobody has written for this long: what they hold expires, and
/// may delete much.
const QUIET_NS: u64 = 10_000_000_000;

/// While MemTables hold less than this, they are sealed only after [`BETWEEN_SEALS_NS`]:
/// each time costs a flush, and makes a small table.
const WORTH_A_TABLE: u64 = 1 << 20;
const BETWEEN_SEALS_NS: u64 = 600_000_000_000;

/// Blocks are put on huge pages when the cache has given nothing back for this long.
pub(super) const BLOCKS_STAY: Duration = Duration::from_secs(10);

/// The clock may be set while a thread sleeps.
const LONGEST_MS: u64 = 900_000;

/// How long a thread sleeps, unless it is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Not at all: what it has looked at has changed meanwhile.
    None,
    Until(Duration),
    Endless,
}

impl Patience {
    /// The longest sleep; `None` for any.
    pub(super) fn at_most(self) -> Option<Duration> {
        match self {
            Patience::None => Some(Duration::ZERO),
            Patience::Until(wait) => Some(wait),
            Patience::Endless => None,
        }
    }
}

impl Core {
    /// How long a thread waits that has just found nothing to do.
    pub(super) fn patience(&self, state: &mut State, worker: Worker) -> Patience {
        if state.retry_at_ns != 0 {
            return Patience::Until(TICK);
        }
        if worker == Worker::LogKeeper && self.reading.block_cache.may_collapse_pages() {
            return Patience::Until(BLOCKS_STAY);
        }
        if worker != Worker::Compactor || !self.reading.health.may_work() {
            return Patience::Endless;
        }
        if self.background.waits_for_space() && !planted!(room_noticed_by_writes_alone) {
            return Patience::Until(TICK);
        }
        if planted!(quiet_database_keeps_garbage) {
            return match self.looks_again(state) {
                true => Patience::Until(TICK),
                false => Patience::Endless,
            };
        }
        if let Some(seen) = state.kept_for.take()
            && !self.reading.holders.await_release(seen)
        {
            state.lineup.want_sweep();
            return Patience::None;
        }
        if self.looks_again(state) {
            return Patience::Until(TICK);
        }
        let clock = &self.reading.env.clock;
        let until_due = state.due.at_ms.map(|at_ms| {
            Duration::from_millis(at_ms.saturating_sub(self.reading.removable_ms()).min(LONGEST_MS))
        });
        let until_seal = self
            .quiet_at(state)
            .map(|at_ns| Duration::from_nanos(at_ns.saturating_sub(clock.monotonic_ns())));
        let until_try = self
            .next_try_ns(state)
            .map(|at_ns| Duration::from_nanos(at_ns.saturating_sub(clock.monotonic_ns())));
        match until_due.into_iter().chain(until_seal).chain(until_try).min() {
            Some(wait) => Patience::Until(wait.max(TICK)),
            None => Patience::Endless,
        }
    }

    /// Puts blocks on huge pages, once the cache has given nothing back for a while: what is
    /// copied while tables come and go is small again soon, and readers of it waited for the
    /// copy.
    pub(super) fn next_collapse(&self, state: &mut State) -> Option<Job> {
        let cache = &self.reading.block_cache;
        if !cache.may_collapse_pages() {
            return None;
        }
        let (released, now_ns) = (cache.released_runs(), self.reading.env.clock.monotonic_ns());
        if released != state.blocks_went.map_or(0, |(runs, _)| runs) {
            state.blocks_went = Some((released, now_ns));
        }
        let stay_ns = BLOCKS_STAY.as_nanos() as u64;
        let stay = state.blocks_went.is_none_or(|(_, since_ns)| now_ns >= since_ns + stay_ns);
        (stay || planted!(blocks_collapsed_while_they_go)).then_some(Job::CollapsePages)
    }

    /// When MemTables are sealed if nobody writes until then.
    fn quiet_at(&self, state: &State) -> Option<u64> {
        let held = self.reading.budget.memtable_bytes.load(Ordering::Relaxed);
        let after_the_last = match state.quiet_sealed_ns {
            Some(at_ns) if held < WORTH_A_TABLE => at_ns + BETWEEN_SEALS_NS,
            _ => 0,
        };
        let quiet_ns = state.idle_since.0 + QUIET_NS;
        self.unflushed.any_active().then(|| quiet_ns.max(after_the_last))
    }

    /// Seals MemTables when nobody has written for a while, and those for whose flush scans
    /// have paid.
    pub(super) fn next_seal(&self, state: &mut State) -> Option<Job> {
        if self.reading.seals_paid.load(Ordering::Relaxed) {
            return Some(Job::Seal);
        }
        let now_ns = self.reading.env.clock.monotonic_ns();
        let is_quiet = state.idle_since.1 == self.reading.visible()
            && self.quiet_at(state).is_some_and(|at_ns| at_ns <= now_ns);
        if !is_quiet || planted!(quiet_database_keeps_garbage) {
            return None;
        }
        state.quiet_sealed_ns = Some(now_ns);
        Some(Job::Seal)
    }

    /// Seals all MemTables, or those for whose flush scans have paid, unless somebody writes
    /// just now.
    pub(super) fn seal_quiet(&self) {
        if self.reading.seals_paid.swap(false, Ordering::Relaxed) {
            self.seal_paid();
            return;
        }
        if let Some(mut writer) = self.commit.writer.try_lock() {
            // That another cannot be begun harms nothing.
            let _ = writer.wal.begin_anew();
            let keyspaces = self.reading.keyspaces.load();
            self.seal(&mut writer, &keyspaces.all_of(self.unflushed.active()));
        }
    }

    fn seal_paid(&self) {
        let Some(mut writer) = self.commit.writer.try_lock() else { return };
        let keyspaces = self.reading.keyspaces.load().all_of(self.unflushed.active());
        let paid: Vec<_> =
            keyspaces.into_iter().filter(|k| k.paid.seal.swap(false, Ordering::Relaxed)).collect();
        self.seal(&mut writer, &paid);
    }

    /// Lets readers wake the threads when they let go of garbage.
    pub(super) fn listen_to_readers(self: &Arc<Core>) {
        let core = Arc::downgrade(self);
        // Set at the first thread.
        let _ = self.reading.on_release.set(Box::new(move || {
            if let Some(core) = core.upgrade() {
                core.background.state.lock().lineup.want_sweep();
                core.background.work.ring();
            }
        }));
    }
}

#[cfg(test)]
mod tests;
