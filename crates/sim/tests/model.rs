//! Random operations against the oracle, deaths included.

use tanada::Error;
use tanada_sim::crash::same_seed_same_calls;
use tanada_sim::generator::{Generator, Profile};
use tanada_sim::operation::Exit;
use tanada_sim::runner::{Runner, Settings};
use tanada_sim::seeds::for_each_seed;

fn run(seed: u64, profile: Profile, operations: u64) {
    let mut generator = Generator::new(seed, profile);
    let settings =
        Settings { compression: generator.compression(), durability: generator.durability() };
    let mut runner = Runner::new(seed, settings);
    for n in 0..operations {
        let operation = generator.operation();
        if std::env::var_os("TANADA_TRACE").is_some() {
            eprintln!("{n}: {operation:?}");
        }
        let failing = Failing { n, operation: &operation };
        let mut outcome = runner.apply(&operation);
        if let Err(Error::MemoryFull { .. }) = outcome {
            // Cursors that do not move hold MemTables: the error says to close them.
            runner.let_go();
            outcome = runner.apply(&operation);
        }
        outcome.expect("nothing fails here");
        std::mem::forget(failing);
        if n % 200 == 199 {
            runner.check_everything().expect("nothing fails here");
        }
    }
    runner.reopen(Exit::PowerCut(seed)).expect("nothing fails here");
}

/// Names the operation when a panic drops it.
struct Failing<'o> {
    n: u64,
    operation: &'o tanada_sim::operation::Operation,
}

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        let text = format!("{:?}", self.operation);
        eprintln!("operation {}: {}", self.n, &text[..text.len().min(600)]);
    }
}

#[test]
fn every_answer_is_the_oracles_through_flushes_compactions_kills_and_power_cuts() {
    for_each_seed(
        "model every_answer_is_the_oracles_through_flushes_compactions_kills_and_power_cuts",
        12,
        |seed| run(seed, Profile::everything(), 1_200),
    );
}

#[test]
fn every_answer_is_the_oracles_when_few_keys_have_many_versions() {
    let profile =
        Profile { keys: 2, huge_permille: 2, large_permille: 20, ..Profile::everything() };
    for_each_seed(
        "model every_answer_is_the_oracles_when_few_keys_have_many_versions",
        8,
        |seed| run(seed ^ 0x5eed, profile, 1_500),
    );
}

#[test]
fn every_answer_is_the_oracles_when_memtables_fill_by_themselves() {
    let profile = Profile {
        keys: 400,
        huge_permille: 150,
        large_permille: 300,
        upkeep_permille: 15,
        mostly_writes: true,
        ..Profile::everything()
    };
    for_each_seed(
        "model every_answer_is_the_oracles_when_memtables_fill_by_themselves",
        4,
        |seed| run(seed ^ 0xf111, profile, 900),
    );
}

#[test]
fn the_same_seed_makes_the_same_calls() {
    for_each_seed("model the_same_seed_makes_the_same_calls", 3, |seed| {
        // Of one life: each machine records its own calls.
        same_seed_same_calls(seed, Profile { dies: false, ..Profile::everything() }, 400);
    });
}
