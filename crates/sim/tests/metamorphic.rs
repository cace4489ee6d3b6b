//! The same operations under many sets of sizes: the answers must not change.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tanada::{Compression, Scheduler, Tuning};
use tanada_sim::generator::{Generator, Profile};
use tanada_sim::operation::Operation;
use tanada_sim::oracle::Oracle;
use tanada_sim::runner::{Runner, Settings, Surroundings};
use tanada_sim::seeds::for_each_seed;
use tanada_sim::trace::Trace;
use tanada_sim::tuning::random_tuning;
use tanada_vfs::MemoryMachine;
use tanada_vfs::memory::Dice;

/// Sets of sizes that each sequence is run under.
const SETS: u64 = 24;

/// The background works in an order that its own numbers draw.
#[derive(Debug)]
struct Shuffled(AtomicU64);

impl Scheduler for Shuffled {
    fn order(&self) -> u64 {
        Dice::new(self.0.fetch_add(1, Ordering::Relaxed)).next_u64()
    }
}

/// One set: sizes, compression, and how often the background works.
#[derive(Debug)]
struct Set {
    tuning: Tuning,
    compression: Compression,
    work_permille: u64,
    seed: u64,
}

impl Set {
    fn of(number: u64, seed: u64) -> Set {
        let mut dice = Dice::new(seed.wrapping_mul(1_000_003) ^ number);
        let compressions = [Compression::None, Compression::Lz4, Compression::Zstd];
        // The first set is what everybody has.
        let tuning = if number == 0 { Tuning::default() } else { random_tuning(&mut dice) };
        Set {
            tuning,
            compression: compressions[number as usize % 3],
            work_permille: [0, 100, 500, 1000][dice.below(4) as usize],
            seed: dice.next_u64(),
        }
    }
}

/// The hash of all answers.
fn answers(seed: u64, operations: &[Operation], durability: tanada::Durability, set: &Set) -> u64 {
    let settings = Settings { compression: set.compression, durability };
    let oracle = Arc::new(parking_lot::Mutex::new(Oracle::new()));
    let mut runner = Runner::before_opening(MemoryMachine::new(seed), oracle, settings);
    runner.surround(Surroundings {
        tuning: set.tuning,
        scheduler: Some(Arc::new(Shuffled(AtomicU64::new(set.seed)))),
        trace: Some(Trace::default()),
        elsewhere: None,
    });
    runner.open(0).expect("nothing fails here");
    let mut dice = Dice::new(set.seed);
    for operation in operations {
        runner.apply(operation).expect("nothing fails here");
        while dice.chance(set.work_permille) && runner.db().step() {}
    }
    runner.check_everything().expect("nothing fails here");
    runner.answers()
}

#[test]
fn sizes_compression_and_the_background_s_order_change_no_answer() {
    let test = "metamorphic sizes_compression_and_the_background_s_order_change_no_answer";
    for_each_seed(test, 12, |seed| {
        // No deaths: what they leave may differ, and rightly.
        let profile = Profile { dies: false, ..Profile::small() };
        let mut generator = Generator::new(seed, profile);
        let durability = generator.durability();
        let operations: Vec<_> = generator.by_ref().take(400).collect();
        let expected = answers(seed, &operations, durability, &Set::of(0, seed));
        for number in 1..SETS {
            let set = Set::of(number, seed);
            let found = answers(seed, &operations, durability, &set);
            assert_eq!(found, expected, "other answers under {set:?}");
        }
    });
}
