//! A life: a list of calls of a seed, run; made short when it fails.

use crate::call::{self, Call, Calls};
use crate::driver::{Driver, Settings};
use crate::machine::Background;
use std::fmt;
use std::path::Path;
use tanada::{Compression, Durability, Tuning};
use tanada_sim::choices::Choices;
use tanada_sim::generator::Profile;
use tanada_sim::shrink::{attempt, shorten};
use tanada_sim::tuning::random_tuning;
use tanada_vfs::Env;

/// Least budget that the engine takes.
const LEAST_MEMORY: u64 = 16 << 20;
/// Everything is read at the end, and after so many calls.
const LOOK_EVERY: usize = 500;

/// Longer than this nobody waits for a shorter list.
const MOST_SHORTENING_NS: u64 = 20_000_000_000;

/// All that happens in a life.
#[derive(Clone, Debug)]
pub struct Life {
    /// Where it comes from.
    pub seed: u64,
    /// How the database is opened.
    pub settings: Settings,
    /// What is called.
    pub calls: Vec<Call>,
}

impl Life {
    /// That of `seed`.
    pub fn of_seed(seed: u64) -> Life {
        let mut dice = call::dice(seed);
        let small = dice.chance(600);
        let (tuning, mut profile) = match small {
            true => (random_tuning(&mut dice), Profile::small()),
            false => (Tuning::default(), Profile::everything()),
        };
        profile.dies = false;
        profile.keys = *pick(&mut dice, &[3, 24, 60, 400]);
        profile.mostly_writes = dice.chance(200);
        profile.upkeep_permille = *pick(&mut dice, &[10, 30, 60]);
        let count = *pick(&mut dice, &[300, 1_500, 1_500, 4_000]);
        let background = match dice.chance(500) {
            true => Background::Threads,
            false => Background::Steps,
        };
        let settings = Settings {
            background,
            memory_bytes: *pick(&mut dice, &[LEAST_MEMORY, LEAST_MEMORY, 64 << 20]),
            tuning,
            compression: *pick(
                &mut dice,
                &[Compression::None, Compression::Lz4, Compression::Zstd],
            ),
            durability: *pick(
                &mut dice,
                &[Durability::Memory, Durability::Buffered, Durability::Synced],
            ),
            threads: 1 + dice.below(3) as usize,
            elsewhere: !seed.is_multiple_of(4),
        };
        let calls = Calls::of_seed(seed, profile, count).collect();
        Life { seed, settings, calls }
    }

    /// Lives it, on files below `place` when that is said.
    ///
    /// # Panics
    /// When Tanada answers otherwise than redb.
    pub fn run(&self, place: Option<&Path>) {
        let mut driver = Driver::new(self.seed, self.settings, place);
        for (n, call) in self.calls.iter().enumerate() {
            driver.apply(call);
            if n % LOOK_EVERY == LOOK_EVERY - 1 {
                driver.check_everything();
            }
        }
        driver.check_everything();
    }

    /// Lives it; when that fails, makes it short.
    ///
    /// # Errors
    /// What failed, and the shortest list of calls that still does.
    pub fn check(self, place: Option<&Path>) -> Result<u64, Box<Difference>> {
        let Err(caught) = attempt(|| self.run(place)) else {
            return Ok(self.calls.len() as u64);
        };
        let before = self.calls.len();
        let clock = Env::real().clock;
        let until_ns = clock.monotonic_ns() + MOST_SHORTENING_NS;
        let fails = |calls: &[Call]| {
            if clock.monotonic_ns() > until_ns {
                return false;
            }
            let shorter = Life { calls: calls.to_vec(), ..self.clone() };
            attempt(|| shorter.run(place)).is_err_and(|other| other.place == caught.place)
        };
        let calls = shorten(self.calls.clone(), fails);
        let life = Life { calls, ..self };
        Err(Box::new(Difference { message: caught.message, place: caught.place, life, before }))
    }
}

/// A life in which the two sides differ.
#[derive(Clone, Debug)]
pub struct Difference {
    /// What was said.
    pub message: String,
    /// Where: file and line.
    pub place: String,
    /// What is left of it.
    pub life: Life,
    /// How many calls there were.
    pub before: usize,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { message, place, life, before } = self;
        let Life { seed, settings, calls } = life;
        writeln!(f, "seed {seed} differs at {place}: {message}")?;
        writeln!(f, "replay it with:\n    cargo xtask differential --seed {seed}")?;
        writeln!(f, "of {before} calls these suffice, with {settings:?}:")?;
        for (n, call) in calls.iter().enumerate() {
            writeln!(f, "  {n:3}. {call:?}")?;
        }
        if settings.background == Background::Threads {
            writeln!(f, "its background has threads: it may take some runs to come back")?;
        }
        Ok(())
    }
}

fn pick<'t, T>(dice: &mut impl Choices, of: &'t [T]) -> &'t T {
    &of[dice.below(of.len() as u64) as usize]
}
