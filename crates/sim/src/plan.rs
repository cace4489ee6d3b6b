//! What will happen in a simulated run, as a list: operations, work in the
//! background, power cuts and deaths in the middle of calls, failing calls.
//!
//! Each turn has a seed of its own for all that is drawn while it lasts (what the
//! background does next, what others do meanwhile). So a turn taken out of the list
//! leaves the rest as it was, and a failing list can be shortened.

mod fault;

use crate::choices::{Choices, Recorder};
use crate::generator::{Generator, Profile};
use crate::operation::{Exit, Operation};
use crate::runner::Settings;
use crate::tuning::{long_tuning, random_tuning};
use std::fmt;
use tanada::Tuning;

pub use fault::{Fault, Target, Way};

/// A whole run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where it comes from; 0 for a fuzzer's bytes.
    pub seed: u64,
    /// Whether it is one of the long ones.
    pub is_long: bool,
    /// How the database is opened.
    pub settings: Settings,
    /// Sizes of its parts.
    pub tuning: Tuning,
    /// Whether compactions are carried out elsewhere.
    pub elsewhere: bool,
    /// What happens.
    pub turns: Vec<Turn>,
}

/// One thing that happens.
#[derive(Clone)]
pub struct Turn {
    /// What.
    pub event: Event,
    /// Decides all that is drawn meanwhile.
    pub seed: u64,
}

/// What may happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// A call of the public API.
    Do(Operation),
    /// So many jobs of the background, if so many are due.
    Work(u64),
    /// At the so-manieth changing call to the file system from here, counted from
    /// 0, the process dies or the power fails; the next life begins after the
    /// operation in which that happens.
    CutAt(u64, Exit),
    /// Calls fail.
    Fault(Fault),
    /// So many bytes of the disk are free from now on, in later lives too, for whatever
    /// others have written to it; `None`: as many as anybody wants.
    Room(Option<u64>),
    /// Nothing fails any more, the disk has room, and time passes.
    Mend,
    /// For so many hours nobody does anything; what has been opened stays open, or not.
    Night(u64, Kept),
}

/// What is held through a night.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Snapshots, iterators and cursors.
    Everything,
    /// Nothing: so all garbage goes.
    Nothing,
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key of 64 KiB helps nobody.
        let mut event = format!("{:?}", self.event);
        if event.len() > 400 {
            let end = (0..=400).rev().find(|&end| event.is_char_boundary(end)).unwrap_or(0);
            event.truncate(end);
            event.push('…');
        }
        write!(f, "{event} (seed {:#x})", self.seed)
    }
}

/// Turns of a long plan besides its load.
const LONG_TURNS: u64 = 3_000;

/// Turns of a plan that bytes describe, at most.
const MOST_TURNS: u64 = 400;

impl Plan {
    /// The run of `seed`. Seeds begin at 1.
    pub fn of_seed(seed: u64) -> Plan {
        let mut generator = Generator::new(seed, Profile::small());
        let count = 40 + generator.dice().below(120);
        Plan::draw(&mut generator, seed, count)
    }

    /// The run that a fuzzer's bytes describe. Any bytes describe one.
    pub fn from_bytes(bytes: &[u8]) -> Plan {
        Plan::draw(&mut Generator::from_bytes(bytes, Profile::small()), 0, MOST_TURNS)
    }

    /// Bytes that describe a life of `turns` turns, at most 400, drawn from `seed`: a
    /// fuzzer that begins with them need not find out how a life is spelled.
    pub fn bytes_of_seed(seed: u64, turns: u64) -> Vec<u8> {
        let mut generator = Generator::drawing_from(Recorder::new(seed), Profile::small());
        Plan::draw(&mut generator, 0, turns.min(MOST_TURNS));
        generator.dice().bytes().to_vec()
    }

    /// The long run of `seed`: about a thousand tables, thousands of turns in few lives,
    /// and quiet nights. Seeds begin at 1.
    pub fn long_of_seed(seed: u64) -> Plan {
        let mut generator = Generator::new(seed, Profile::long());
        let load = generator.load().into_iter().map(Event::Do);
        let load: Vec<_> = load.map(|event| Turn { event, seed }).collect();
        let tuning = long_tuning(generator.dice());
        let mut plan = Plan::draw_with(&mut generator, seed, LONG_TURNS, tuning);
        plan.turns.splice(..0, load);
        Plan { is_long: true, ..plan }
    }

    fn draw<C: Choices>(generator: &mut Generator<C>, seed: u64, most: u64) -> Plan {
        let tuning = random_tuning(generator.dice());
        Plan::draw_with(generator, seed, most, tuning)
    }

    fn draw_with<C: Choices>(
        generator: &mut Generator<C>,
        seed: u64,
        most: u64,
        tuning: Tuning,
    ) -> Plan {
        let settings =
            Settings { compression: generator.compression(), durability: generator.durability() };
        let calls_fail = generator.dice().chance(400);
        let of_the_disk = generator.dice().below(1000);
        let trouble = Trouble {
            calls_fail,
            disk_fills: of_the_disk < 250,
            sectors_go_bad: (250..400).contains(&of_the_disk),
        };
        let mut turns = Vec::new();
        while (turns.len() as u64) < most && !generator.dice().is_over() {
            if generator.dice().chance(40) {
                generator.lean();
            }
            let event = event(generator, trouble);
            turns.push(Turn { event, seed: generator.dice().below(1 << 16) });
        }
        // Nothing is drawn for it, so that seeds still describe what they did; and not every
        // second seed, which is what one of two processes lives.
        let elsewhere = seed.count_ones().is_multiple_of(2);
        Plan { seed, is_long: false, settings, tuning, elsewhere, turns }
    }
}

/// What a run has besides its operations.
#[derive(Clone, Copy)]
struct Trouble {
    calls_fail: bool,
    disk_fills: bool,
    sectors_go_bad: bool,
}

impl Trouble {
    fn is_any(self) -> bool {
        self.calls_fail || self.disk_fills || self.sectors_go_bad
    }
}

fn event<C: Choices>(generator: &mut Generator<C>, trouble: Trouble) -> Event {
    let lasts = generator.lasts();
    let dice = generator.dice();
    if lasts && dice.chance(4) {
        let kept = if dice.chance(500) { Kept::Nothing } else { Kept::Everything };
        return Event::Night(1 + dice.below(72), kept);
    }
    match dice.below(1000) {
        150..=174 if lasts && !dice.chance(30) => Event::Work(1),
        175..=194 if lasts && !dice.chance(100) => Event::Work(1),
        0..=149 => Event::Work(1 + dice.below(4)),
        150..=174 => {
            let exit = match dice.below(3) {
                0 => Exit::Kill,
                _ => Exit::PowerCut(dice.next_u64()),
            };
            Event::CutAt(dice.below(60), exit)
        }
        175..=194 if trouble.calls_fail => Event::Fault(Fault::draw(dice)),
        195..=219 if trouble.is_any() => Event::Mend,
        220..=264 if trouble.disk_fills => Event::Room(room(dice)),
        220..=239 if trouble.sectors_go_bad => Event::Fault(Fault::sector(dice)),
        _ => Event::Do(generator.operation()),
    }
}

/// From a disk with no byte left to one with somewhat more than the engine keeps free.
fn room(dice: &mut impl Choices) -> Option<u64> {
    match dice.below(8) {
        0 => Some(0),
        1 | 2 => Some(dice.below(64 << 10)),
        3 | 4 => Some(dice.below(2 << 20)),
        5 | 6 => Some((2 << 20) + dice.below(4 << 20)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noted_bytes_describe_the_plan_that_was_drawn() {
        for seed in 1..=50 {
            let mut generator = Generator::drawing_from(Recorder::new(seed), Profile::small());
            let drawn = Plan::draw(&mut generator, 0, 60);
            assert_eq!(drawn.turns.len(), 60);
            let again = Plan::from_bytes(generator.dice().bytes());
            assert_eq!(format!("{again:?}"), format!("{drawn:?}"), "seed {seed}");
        }
    }
}
