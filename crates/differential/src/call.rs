//! One call of a life, as data, and how calls are drawn from a seed.
//!
//! Most are those of the simulation, by its generator: so that whoever gives that a new
//! operation is made by the compiler to say what it means here. The others are the rest of
//! the public API.

use tanada::Durability;
use tanada_sim::generator::{Generator, Profile};
use tanada_sim::operation::{Cover, Direction, Key, Move, Operation, Question, Write};
use tanada_vfs::memory::Dice;

/// One call, or a few that belong together.
#[derive(Clone, Debug)]
pub enum Call {
    /// One of the simulation's.
    Operation(Operation),
    /// `write_each`: batches with the conditions that each has.
    Each(Vec<(Vec<Question>, Vec<Write>, Durability)>),
    /// `put_if_version`, `check_version` and `check_absent`: whether it asks for what is
    /// there, and a write to the default keyspace.
    CompareAndSet(bool, Write),
    /// A put that expires at a time, this far from now: before it, too.
    PutUntil(Write, i64),
    /// `multi_get_in` of a snapshot.
    MultiGetAt(usize, usize, Vec<Key>),
    /// A scan of a snapshot by the methods that name a keyspace.
    ScanAt(usize, usize, Cover, Direction),
    /// A cursor over a keyspace of a snapshot, moved and dropped.
    CursorAt(usize, usize, Vec<Move>),
    /// `records` of a scan.
    Records(usize, Cover, Direction),
    /// `keys` of a scan.
    Keys(usize, Cover, Direction),
    /// What a database and its snapshots say of themselves.
    Names(usize),
    /// `claim_memory` of so many bytes, as many more, and half of it back.
    Claim(u64),
    /// `trust_clock`.
    TrustClock,
    /// A piece of the background's work.
    Step,
    /// `repair` of the closed database into a new one.
    Repair,
}

/// Draws calls.
pub struct Calls {
    generator: Generator,
    left: u64,
    until_leaning: u64,
}

impl Calls {
    /// `count` calls of `seed`.
    pub fn of_seed(seed: u64, profile: Profile, count: u64) -> Calls {
        Calls { generator: Generator::new(seed, profile), left: count, until_leaning: 0 }
    }

    /// What draws them, for choices that belong to the same life.
    pub fn generator(&mut self) -> &mut Generator {
        &mut self.generator
    }

    /// A write, as the generator makes them.
    fn write(&mut self) -> Write {
        self.find(|operation| match operation {
            Operation::WriteOne(write) => Some(write),
            _ => None,
        })
    }

    fn scan(&mut self) -> (usize, Cover, Direction) {
        self.find(|operation| match operation {
            Operation::Scan { space, cover, direction, .. } => Some((space, cover, direction)),
            _ => None,
        })
    }

    /// The first operation of a kind: what it is made of belongs to a call of another.
    fn find<T>(&mut self, part: impl Fn(Operation) -> Option<T>) -> T {
        loop {
            if let Some(part) = part(self.generator.operation()) {
                return part;
            }
            // Some stretches have none.
            self.generator.lean();
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.generator.dice().below(bound)
    }

    fn slot(&mut self) -> usize {
        self.below(4) as usize
    }

    fn other(&mut self) -> Call {
        match self.below(100) {
            0..=19 => {
                let batches = self.below(5);
                let mut each = Vec::new();
                for _ in 0..batches {
                    each.push(self.find(|operation| match operation {
                        Operation::WriteBatch(writes, durability) => {
                            Some((Vec::new(), writes, durability))
                        }
                        Operation::WriteIf(questions, writes, durability) => {
                            Some((questions, writes, durability))
                        }
                        _ => None,
                    }));
                }
                Call::Each(each)
            }
            20..=31 => Call::CompareAndSet(self.below(4) > 0, Write { space: 0, ..self.write() }),
            32..=39 => {
                let at = self.below(9_000) as i64 - 3_000;
                Call::PutUntil(self.write(), at)
            }
            40..=49 => {
                let (space, keys) = self.find(|operation| match operation {
                    Operation::MultiGet(space, keys) => Some((space, keys)),
                    _ => None,
                });
                Call::MultiGetAt(self.slot(), space, keys)
            }
            50..=59 => {
                let (space, cover, direction) = self.scan();
                Call::ScanAt(self.slot(), space, cover, direction)
            }
            60..=66 => {
                let moves = self.find(|operation| match operation {
                    Operation::MoveCursor(_, moves) => Some(moves),
                    _ => None,
                });
                Call::CursorAt(self.slot(), self.below(5) as usize, moves)
            }
            67..=76 => {
                let (space, cover, direction) = self.scan();
                Call::Records(space, cover, direction)
            }
            77..=86 => {
                let (space, cover, direction) = self.scan();
                Call::Keys(space, cover, direction)
            }
            87..=89 => Call::Names(self.slot()),
            90..=93 => Call::Claim(1 + self.below(100_000)),
            94 => Call::TrustClock,
            95 if self.below(4) == 0 => Call::Repair,
            _ => Call::Step,
        }
    }
}

impl Iterator for Calls {
    type Item = Call;

    fn next(&mut self) -> Option<Call> {
        self.left = self.left.checked_sub(1)?;
        if self.until_leaning == 0 {
            self.generator.lean();
            self.until_leaning = 20 + self.below(400);
        }
        self.until_leaning -= 1;
        Some(match self.generator.dice().chance(150) {
            true => self.other(),
            false => Call::Operation(self.generator.operation()),
        })
    }
}

/// A source of choices of one seed, for what is drawn beside the calls.
pub(crate) fn dice(seed: u64) -> Dice {
    Dice::new(seed ^ 0xd1ff)
}
