//! Draws operations from a seed, or from the bytes of a fuzzer.
//!
//! Keys come from a small pool, so that versions pile up, with a few very hot
//! ones; the pool is adversarial ([`tanada_format::awkward_keys`]). A share of
//! reads asks for keys beside the pool, and bounds and seeks for the empty key.

use crate::choices::{Bytes, Choices};
use crate::operation::{
    Asks, Begin, Cover, Direction, End, Exit, Key, Move, Operation, Question, Range, Refusal,
    ValueSpec, Write,
};
use std::ops::Bound;
use tanada::{Compression, Durability};
use tanada_format::awkward_keys;
use tanada_vfs::memory::Dice;

/// What one write takes at most: the longest key, and a value of 100 KiB and some.
pub(crate) const LONGEST_WRITE_BYTES: usize = 192 << 10;

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Keys in the pool besides the fixed awkward ones.
    pub keys: usize,
    /// Values of 100 KiB, in a thousand.
    pub huge_permille: u64,
    /// Values of a few KiB, more than a block, in a thousand.
    pub large_permille: u64,
    /// Whether it reopens by dying, and sets the clock back.
    pub dies: bool,
    /// Flushes, compactions and reopenings, in a thousand operations.
    pub upkeep_permille: u64,
    /// Whether writes are most of the rest, and scans rare.
    pub mostly_writes: bool,
    /// A batch takes no further write once it holds so many bytes.
    pub batch_bytes: usize,
    /// Whether lives, snapshots, iterators and cursors last: thousands of operations
    /// instead of dozens.
    pub lasts: bool,
}

impl Profile {
    /// Everything there is.
    pub fn everything() -> Profile {
        Profile {
            keys: 60,
            huge_permille: 20,
            large_permille: 150,
            dies: true,
            upkeep_permille: 60,
            mostly_writes: false,
            batch_bytes: 2 << 20,
            lasts: false,
        }
    }

    /// What fits into the small MemTables of a simulation.
    pub fn small() -> Profile {
        Profile {
            keys: 24,
            huge_permille: 4,
            large_permille: 60,
            dies: true,
            upkeep_permille: 110,
            mostly_writes: false,
            batch_bytes: 64 << 10,
            lasts: false,
        }
    }

    /// Thousands of keys, most values of some KiB, and whatever is opened stays open for long.
    pub fn long() -> Profile {
        Profile {
            keys: 3_000,
            huge_permille: 1,
            large_permille: 400,
            upkeep_permille: 40,
            lasts: true,
            ..Profile::small()
        }
    }

    /// Small values and few reads: a run whose every call will be cut.
    pub fn short() -> Profile {
        Profile {
            keys: 12,
            huge_permille: 10,
            large_permille: 60,
            dies: false,
            upkeep_permille: 200,
            mostly_writes: true,
            batch_bytes: 64 << 10,
            lasts: false,
        }
    }
}

/// A sequence of operations, as long as its source of choices: endless when that
/// is a seed.
#[derive(Clone, Debug)]
pub struct Generator<C = Dice> {
    dice: C,
    profile: Profile,
    pool: Vec<Key>,
    hot: Vec<Key>,
    stamp: u64,
    leaning: Leaning,
}

/// What a stretch of operations has more of than others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaning {
    Nothing,
    /// Nobody writes.
    Reads,
    Deletes,
    /// Ranges of keys are deleted in order, and what is left is asked for from either end.
    Queues,
    /// Values that expire, and a clock that is set back and forward.
    Expiry,
    /// Values of many blocks beside those of no or few bytes.
    Sizes,
}

impl Generator {
    /// The sequence of `seed`.
    pub fn new(seed: u64, profile: Profile) -> Generator {
        Generator { stamp: seed << 32, ..Generator::drawing_from(Dice::new(seed), profile) }
    }
}

impl Generator<Bytes> {
    /// The sequence that a fuzzer's bytes describe. Any bytes describe one.
    pub fn from_bytes(bytes: &[u8], profile: Profile) -> Generator<Bytes> {
        Generator::drawing_from(Bytes::new(bytes), profile)
    }
}

/// Ends with its source of choices.
impl<C: Choices> Iterator for Generator<C> {
    type Item = Operation;

    fn next(&mut self) -> Option<Operation> {
        (!self.dice.is_over()).then(|| self.operation())
    }
}

impl<C: Choices> Generator<C> {
    /// The sequence that `choices` make.
    pub fn drawing_from(mut choices: C, profile: Profile) -> Generator<C> {
        let pool = awkward_keys::pool(&mut |bound| choices.below(bound), profile.keys);
        let hot = (0..3).map(|_| pick(&mut choices, &pool).clone()).collect();
        Generator { dice: choices, profile, pool, hot, stamp: 0, leaning: Leaning::Nothing }
    }

    /// The source, for choices that belong to the same sequence.
    pub fn dice(&mut self) -> &mut C {
        &mut self.dice
    }

    /// Whether what is opened stays open for long.
    pub fn lasts(&self) -> bool {
        self.profile.lasts
    }

    /// From here on there is more of something, or of nothing. Where nobody asks for it,
    /// all is mixed evenly.
    pub fn lean(&mut self) {
        use Leaning::*;
        self.leaning = *pick(&mut self.dice, &[Nothing, Reads, Deletes, Queues, Expiry, Sizes]);
    }

    /// Writes every key of the pool, in batches, in an order of its own.
    pub fn load(&mut self) -> Vec<Operation> {
        let mut keys = self.pool.clone();
        for n in (1..keys.len()).rev() {
            keys.swap(n, self.dice.below(n as u64 + 1) as usize);
        }
        let (mut batches, mut writes, mut bytes) = (Vec::new(), Vec::new(), 0);
        for key in keys {
            let value = self.value();
            bytes += key.len() + value.len;
            writes.push(Write { space: 0, key, value: Some(value), ttl_ms: None });
            if bytes > self.profile.batch_bytes / 2 {
                let batch = std::mem::take(&mut writes);
                batches.push(Operation::WriteBatch(batch, self.durability()));
                bytes = 0;
            }
        }
        batches.push(Operation::WriteBatch(writes, self.durability()));
        batches
    }

    /// The next operation.
    pub fn operation(&mut self) -> Operation {
        const RESTS: u64 = 970;
        loop {
            let operation = self.any_operation();
            let ends_something = matches!(
                operation,
                Operation::TakeSnapshot
                    | Operation::DropSnapshot(_)
                    | Operation::OpenIter(..)
                    | Operation::OpenCursor(..)
                    | Operation::Checkpoint
                    | Operation::Reopen(..)
            );
            if !(self.profile.lasts && ends_something && self.dice.chance(RESTS)) {
                return operation;
            }
        }
    }

    fn any_operation(&mut self) -> Operation {
        if self.dice.chance(self.profile.upkeep_permille) {
            return self.upkeep();
        }
        let reads = match self.leaning {
            Leaning::Reads => 100,
            _ if self.profile.mostly_writes => 8,
            _ => 55,
        };
        if self.leaning == Leaning::Queues && self.dice.chance(500) {
            return self.queue();
        }
        if self.dice.below(100) >= reads {
            return match self.dice.below(10) {
                0..=5 => Operation::WriteOne(self.write()),
                6 => self.write_if(),
                _ => self.batch(),
            };
        }
        let space = self.space();
        match self.dice.below(100) {
            0..=19 => Operation::Get(space, self.key()),
            20..=21 => Operation::Explain(space, self.key()),
            22..=23 => Operation::Refused(space, self.refusal()),
            24 => Operation::Stats,
            30..=33 | 53..=56 => self.follow(),
            25..=29 => {
                let n = self.dice.below(6);
                Operation::MultiGet(space, (0..n).map(|_| self.key()).collect())
            }
            34..=41 => Operation::GetAt(self.slot(), space, self.key()),
            42..=52 => {
                let snapshot = self.dice.chance(400).then(|| self.slot());
                let (cover, direction) = (self.cover(), self.direction());
                Operation::Scan { space, snapshot, cover, direction }
            }
            57..=59 => Operation::OpenIter(space, self.cover()),
            60..=67 => {
                let n = self.dice.below(12);
                let bits = self.dice.next_u64();
                Operation::StepIter(self.slot(), (0..n).map(|i| end(bits >> i)).collect())
            }
            68..=71 => {
                let snapshot = self.dice.chance(400).then(|| self.slot());
                Operation::OpenCursor(space, snapshot)
            }
            72..=89 => {
                let n = 1 + self.dice.below(8);
                Operation::MoveCursor(self.slot(), (0..n).map(|_| self.cursor_move()).collect())
            }
            90..=94 => Operation::TakeSnapshot,
            _ => Operation::DropSnapshot(self.slot()),
        }
    }

    fn upkeep(&mut self) -> Operation {
        if self.leaning == Leaning::Expiry && self.dice.chance(600) {
            return match self.dice.below(3) {
                0 if self.profile.dies => self.clock_fault(60_000),
                _ => Operation::Advance(self.span_ms(20_000)),
            };
        }
        match self.dice.below(100) {
            0..=34 => Operation::Flush(self.dice.chance(600).then(|| self.space())),
            35..=54 => Operation::Compact(self.space(), self.range()),
            55..=59 => Operation::Checkpoint,
            60..=67 => Operation::CreateKeyspace(self.slot(), self.compression()),
            68..=77 => Operation::Advance(self.span_ms(5_000)),
            78..=82 if self.profile.dies => self.clock_fault(10_000),
            78..=84 => Operation::Verify,
            _ => Operation::Reopen(self.exit(), self.durability()),
        }
    }

    /// The clock is set: back, forward by what may be right or cannot be, or right again.
    fn clock_fault(&mut self, most_ms: u64) -> Operation {
        const MINUTE_MS: u64 = 60_000;
        const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
        match self.dice.below(8) {
            0..=3 => Operation::SetBack(1 + self.dice.below(most_ms)),
            4 => Operation::SetForward(self.span_ms(4 * MINUTE_MS)),
            5 => Operation::SetForward(*pick(
                &mut self.dice,
                &[DAY_MS, 60 * DAY_MS, 10_950 * DAY_MS],
            )),
            _ => Operation::SetRight,
        }
    }

    fn follow(&mut self) -> Operation {
        let begin = match self.dice.below(12) {
            0 => Some(Begin::Oldest),
            1 => Some(Begin::Now),
            2 => Some(Begin::Write(self.dice.below(1 << 12))),
            _ => None,
        };
        Operation::Follow(begin, self.dice.below(40) as usize)
    }

    fn refusal(&mut self) -> Refusal {
        *pick(&mut self.dice, &Refusal::ALL)
    }

    fn exit(&mut self) -> Exit {
        match self.dice.below(if self.profile.dies { 6 } else { 2 }) {
            0 => Exit::Close,
            1 => Exit::Drop,
            2 | 3 => Exit::Kill,
            _ => Exit::PowerCut(self.dice.next_u64()),
        }
    }

    /// One of the three.
    pub fn durability(&mut self) -> Durability {
        *pick(&mut self.dice, &[Durability::Memory, Durability::Buffered, Durability::Synced])
    }

    /// One of the three.
    pub fn compression(&mut self) -> Compression {
        *pick(&mut self.dice, &[Compression::None, Compression::Lz4, Compression::Zstd])
    }

    fn space(&mut self) -> usize {
        // The default keyspace as often as all others together.
        if self.dice.chance(500) { 0 } else { self.dice.below(5) as usize }
    }

    fn slot(&mut self) -> usize {
        self.dice.below(4) as usize
    }

    fn key(&mut self) -> Key {
        let set = if self.dice.chance(300) { &self.hot } else { &self.pool };
        let mut key = pick(&mut self.dice, set).clone();
        if self.dice.chance(100) {
            awkward_keys::beside(&mut |bound| self.dice.below(bound), &mut key);
        }
        key
    }

    /// A key to be looked for: the empty one too, which nobody can write.
    fn target(&mut self) -> Key {
        if self.dice.chance(30) { Key::new() } else { self.key() }
    }

    fn write(&mut self) -> Write {
        let (space, key) = (self.space(), self.key());
        let deletes = if self.leaning == Leaning::Deletes { 850 } else { 200 };
        if self.dice.chance(deletes) {
            return Write { space, key, value: None, ttl_ms: None };
        }
        let expires = if self.leaning == Leaning::Expiry { 700 } else { 120 };
        let ttl_ms = self.dice.chance(expires).then(|| self.span_ms(8_000));
        Write { space, key, value: Some(self.value()), ttl_ms }
    }

    /// Mostly whole seconds, so that the clock meets the very moment of an expiry.
    fn span_ms(&mut self, most: u64) -> u64 {
        let ms = 1 + self.dice.below(most);
        if self.dice.chance(800) { ms.next_multiple_of(1_000) } else { ms }
    }

    fn value(&mut self) -> ValueSpec {
        self.stamp += 1;
        if self.leaning == Leaning::Sizes {
            let len = match self.dice.below(10) {
                0 => 20_000 + self.dice.below(80_000),
                1..=3 => 3_000 + self.dice.below(9_000),
                _ => self.dice.below(4),
            };
            let plain = self.dice.chance(600);
            return ValueSpec { len: len as usize, stamp: self.stamp, plain };
        }
        let len = if self.dice.chance(self.profile.huge_permille) {
            100 << 10
        } else if self.dice.chance(self.profile.large_permille) {
            3_000 + self.dice.below(9_000)
        } else if self.dice.chance(150) {
            0
        } else {
            self.dice.below(120)
        };
        ValueSpec { len: len as usize, stamp: self.stamp, plain: self.dice.chance(600) }
    }

    fn batch(&mut self) -> Operation {
        let n = match self.dice.below(10) {
            0 => 0,
            1..=7 => 1 + self.dice.below(8) as usize,
            _ => 20 + self.dice.below(60) as usize,
        };
        let (mut writes, mut bytes) = (Vec::new(), 0);
        while writes.len() < n && bytes < self.profile.batch_bytes {
            let write = self.write();
            bytes += write.key.len() + write.value.map_or(0, |value| value.len);
            writes.push(write);
        }
        Operation::WriteBatch(writes, self.durability())
    }

    fn write_if(&mut self) -> Operation {
        let questions = 1 + self.dice.below(3);
        let mut asked = Vec::new();
        for _ in 0..questions {
            let (space, key) = (self.space(), self.key());
            // Mostly what is there, so that mostly all of them hold.
            let asks = match self.dice.chance(700) {
                true => Asks::What,
                false => *pick(&mut self.dice, &Asks::ALL),
            };
            asked.push(Question { space, key, asks });
        }
        let mut writes: Vec<_> = (0..self.dice.below(3)).map(|_| self.write()).collect();
        if self.dice.chance(700) {
            // A compare-and-set.
            let Question { space, key, .. } = asked[0].clone();
            writes.push(Write { space, key, ..self.write() });
        }
        // Together no more than a batch without conditions.
        let mut room = self.profile.batch_bytes + LONGEST_WRITE_BYTES;
        room = asked.iter().fold(room, |room, question| room.saturating_sub(question.key.len()));
        writes.retain(|write| {
            let bytes = write.key.len() + write.value.map_or(0, |value| value.len);
            let fits = bytes <= room;
            room -= if fits { bytes } else { 0 };
            fits
        });
        Operation::WriteIf(asked, writes, self.durability())
    }

    /// Deletes the keys of a range, or some keys next to one another, or looks at an end.
    fn queue(&mut self) -> Operation {
        let space = self.space();
        match self.dice.below(8) {
            0 | 1 => {
                let mut keys = self.pool.clone();
                keys.sort_unstable();
                let first = self.dice.below(keys.len() as u64) as usize;
                let count = 1 + self.dice.below(keys.len() as u64) as usize;
                let deleted = keys.into_iter().skip(first).take(count);
                let write = |key| Write { space, key, value: None, ttl_ms: None };
                Operation::WriteBatch(deleted.map(write).collect(), self.durability())
            }
            2 => Operation::OpenCursor(space, self.dice.chance(300).then(|| self.slot())),
            3 | 4 => {
                let end = if self.dice.chance(500) { Move::First } else { Move::Last };
                Operation::MoveCursor(self.slot(), vec![end])
            }
            5 => Operation::TakeSnapshot,
            _ => {
                let snapshot = self.dice.chance(300).then(|| self.slot());
                let (cover, direction) = (self.cover(), self.direction());
                Operation::Scan { space, snapshot, cover, direction }
            }
        }
    }

    fn bound(&mut self) -> Bound<Key> {
        match self.dice.below(5) {
            0 => Bound::Unbounded,
            1 | 2 => Bound::Included(self.target()),
            _ => Bound::Excluded(self.target()),
        }
    }

    fn range(&mut self) -> Range {
        let (start, end) = (self.bound(), self.bound());
        // The wrong way round now and then; that covers nothing.
        match (&start, &end) {
            (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b))
                if a > b && self.dice.chance(900) =>
            {
                (end, start)
            }
            _ => (start, end),
        }
    }

    fn cover(&mut self) -> Cover {
        match self.dice.below(4) {
            0 => Cover::All,
            1 | 2 => Cover::Range(self.range()),
            _ => {
                let mut prefix = self.key();
                prefix.truncate(self.dice.below(prefix.len() as u64 + 1) as usize);
                Cover::Prefix(prefix)
            }
        }
    }

    fn direction(&mut self) -> Direction {
        match self.dice.below(3) {
            0 => Direction::Forward,
            1 => Direction::Backward,
            _ => Direction::Mixed(self.dice.next_u64()),
        }
    }

    fn cursor_move(&mut self) -> Move {
        match self.dice.below(12) {
            0 => Move::First,
            1 => Move::Last,
            2 | 3 => Move::Seek(self.target()),
            4 | 5 => Move::SeekForPrev(self.target()),
            6..=8 => Move::Next,
            _ => Move::Prev,
        }
    }
}

fn end(bit: u64) -> End {
    if bit & 1 == 0 { End::Front } else { End::Back }
}

fn pick<'t, T>(dice: &mut impl Choices, of: &'t [T]) -> &'t T {
    &of[dice.below(of.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_describe_operations_and_end() {
        let mut dice = Dice::new(1);
        for len in [0, 1, 7, 64, 2_000] {
            let bytes: Vec<u8> = (0..len).map(|_| dice.next_u64() as u8).collect();
            let profile = Profile { keys: 4, ..Profile::small() };
            let drawn = |bytes: &[u8]| {
                format!("{:?}", Vec::from_iter(Generator::from_bytes(bytes, profile)))
            };
            assert_eq!(drawn(&bytes), drawn(&bytes));
            let count = Generator::from_bytes(&bytes, profile).count();
            assert!(count <= bytes.len(), "every operation takes a choice");
            assert!(len < 2_000 || count > 10, "{count} operations of {len} bytes");
        }
    }
}
