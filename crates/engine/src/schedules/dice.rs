//! What one schedule does, drawn from its seed.

use super::history::{KEYS, SPACES};
use crate::{Compression, Tuning};
use tanada_vfs::sync::shuttle::rand::{RngCore, thread_rng};

/// Numbers that look random. Each thread has some of its own, so that what it does does
/// not depend on who runs when.
pub(super) struct Dice(u64);

impl Dice {
    /// From the schedule's seed.
    pub(super) fn of_this_schedule() -> Dice {
        Dice(thread_rng().next_u64())
    }

    /// Others, for another thread.
    pub(super) fn fork(&mut self) -> Dice {
        Dice(self.next())
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// One kind of what a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Put,
    Batch,
    /// Reads, and writes on the condition that what it read is still so.
    Swap,
    Delete,
    Get,
    MultiGet,
    Snapshot,
    ReadHeld,
    Iterate,
    Walk,
    Keyspace,
    Flush,
    FlushOne,
    Compact,
    Statistics,
    /// Only where it is asked for.
    Checkpoint,
}

const KINDS: [Kind; 15] = [
    Kind::Put,
    Kind::Batch,
    Kind::Swap,
    Kind::Delete,
    Kind::Get,
    Kind::MultiGet,
    Kind::Snapshot,
    Kind::ReadHeld,
    Kind::Iterate,
    Kind::Walk,
    Kind::Keyspace,
    Kind::Flush,
    Kind::FlushOne,
    Kind::Compact,
    Kind::Statistics,
];

/// How often each kind of work is done. Schedules differ in it: one that does few kinds
/// brings these close to each other.
#[derive(Clone, Debug)]
pub(super) struct Mix(Vec<Kind>);

impl Mix {
    /// Of the whole schedule: one kind each of writes, reads and jobs; or of all kinds
    /// each often, seldom or never, and always some that write.
    fn drawn(dice: &mut Dice) -> Mix {
        if dice.one_in(2) {
            let read = dice.pick(&[
                Kind::Get,
                Kind::MultiGet,
                Kind::Snapshot,
                Kind::ReadHeld,
                Kind::Iterate,
                Kind::Walk,
            ]);
            let job = dice.pick(&[Kind::Flush, Kind::FlushOne, Kind::Compact]);
            return Mix::of(dice.pick(&[Kind::Put, Kind::Batch, Kind::Swap]), read, job);
        }
        let mut mix = vec![Kind::Put, dice.pick(&[Kind::Put, Kind::Batch, Kind::Swap])];
        for kind in KINDS {
            let most = match kind {
                Kind::Statistics => 1,
                Kind::Flush | Kind::FlushOne | Kind::Compact | Kind::Keyspace => 2,
                _ => 4,
            };
            let times = dice.pick(&[0, 0, 1, most]);
            mix.extend(std::iter::repeat_n(kind, times));
        }
        Mix(mix)
    }

    fn of(write: Kind, read: Kind, job: Kind) -> Mix {
        Mix(vec![write, write, write, read, read, read, job])
    }

    pub(super) fn next(&self, dice: &mut Dice) -> Kind {
        dice.pick(&self.0)
    }
}

/// How a schedule ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Closed when all clients are done.
    Closed,
    /// Closed while they are at work.
    ClosedEarly,
    /// The process dies when they are done, or the power fails.
    Killed,
}

/// What is written and read: the less there is, the more often threads meet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data {
    /// Keyspaces.
    pub(super) spaces: usize,
    /// Keys of each.
    pub(super) keys: u8,
    /// Bytes of each value.
    pub(super) value_bytes: usize,
}

/// All that is drawn before a schedule begins.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) tuning: Tuning,
    pub(super) compression: Compression,
    /// Background threads beside those that flush and prepare logs.
    pub(super) threads: usize,
    pub(super) mix: Mix,
    pub(super) clients: usize,
    /// What each of them does.
    pub(super) steps: usize,
    pub(super) data: Data,
    /// Batches written before the clients begin.
    pub(super) before: usize,
    /// Of so many changes to the disk, one meets a crash.
    pub(super) crash_one_in: u64,
    pub(super) end: End,
}

impl Plan {
    /// Gets beside flushes, of few keys that the row cache has room for.
    pub(super) fn of_readers_beside_flushes(dice: &mut Dice) -> Plan {
        let mut plan = Plan::drawn(dice);
        plan.tuning.cache_bytes = Some(64 << 10);
        plan.data = Data { spaces: 1, keys: dice.pick(&[1, 2]), value_bytes: 8 };
        plan.mix = Mix::of(Kind::Put, Kind::Get, Kind::FlushOne);
        plan.before = 2;
        plan.crash_one_in = u64::MAX;
        plan
    }

    /// Checkpoints beside writers and the jobs that replace what they link and copy.
    pub(super) fn of_checkpoints(dice: &mut Dice) -> Plan {
        let mut plan = Plan::drawn(dice);
        let job = dice.pick(&[Kind::Flush, Kind::FlushOne, Kind::Compact]);
        let write = dice.pick(&[Kind::Put, Kind::Batch, Kind::Batch]);
        plan.mix = Mix(vec![write, write, write, write, Kind::Checkpoint, job]);
        plan.data.spaces = dice.pick(&[1, SPACES, SPACES]);
        plan.before = 1 + dice.below(3) as usize;
        plan.crash_one_in = u64::MAX;
        plan
    }

    /// Writers that all read and swap the same few keys, beside plain ones.
    pub(super) fn of_swaps(dice: &mut Dice) -> Plan {
        let mut plan = Plan::drawn(dice);
        plan.data = Data { keys: dice.pick(&[1, 2]), ..plan.data };
        plan.mix =
            Mix(vec![Kind::Swap, Kind::Swap, Kind::Swap, Kind::Put, Kind::Batch, Kind::FlushOne]);
        plan
    }

    pub(super) fn drawn(dice: &mut Dice) -> Plan {
        let tuning = Tuning {
            held_log_bytes: None,
            // A MemTable that is not empty takes some 5 KB.
            memtable_bytes: Some(dice.pick(&[6 << 10, 8 << 10, 12 << 10])),
            memtables_max_bytes: Some(dice.pick(&[64 << 10, 512 << 10])),
            cache_bytes: dice.pick(&[Some(0), Some(64 << 10), Some(64 << 10)]),
            log_bytes: Some(dice.pick(&[2 << 10, 4 << 10])),
            dead_entries: Some(1),
            block_bytes: Some(dice.pick(&[64, 4032])),
            bits_per_key: Some(dice.pick(&[0.0, 10.0])),
            table_bytes: Some(4 << 10),
            tables_a_level: Some(16),
            base_bytes: Some(16 << 10),
            size_ratio: Some(2),
            l0_runs: Some(dice.pick(&[2, 2, 4])),
            inner_runs: Some(1),
            garbage_age_ms: Some(0),
            window: Some(3),
            snapshot_part_bytes: Some(1 << 10),
            table_descriptors: dice.pick(&[None, Some(1)]),
            seqno_block: Some(dice.pick(&[4, 64])),
            open_tables: dice.pick(&[None, None, Some(1)]),
        };
        let clients = dice.pick(&[2, 2, 3, 3, 4]);
        Plan {
            tuning,
            compression: dice.pick(&[Compression::None, Compression::None, Compression::Lz4]),
            threads: dice.pick(&[1, 2, 3]),
            mix: Mix::drawn(dice),
            clients,
            steps: 3 + dice.below(20 / clients as u64) as usize,
            data: Data {
                spaces: dice.pick(&[1, 2, SPACES]),
                keys: dice.pick(&[1, 2, 2, KEYS]),
                value_bytes: dice.pick(&[8, 300, 1200]),
            },
            before: dice.below(3) as usize,
            crash_one_in: dice.pick(&[u64::MAX, 100, 20]),
            end: dice.pick(&[End::Closed, End::ClosedEarly, End::Killed]),
        }
    }
}
