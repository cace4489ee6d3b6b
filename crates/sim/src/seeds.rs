//! Which seeds a test runs, and how a failing one is run again.
//!
//! `TANADA_SEED=17` runs that seed alone, `TANADA_SEEDS=1000` runs the first
//! thousand. Without either a test runs as many as CI has time for.

use std::env;

/// Runs `run` with each seed. When one fails, prints the command for it.
///
/// `test` is the test's target and name, as in `"model names_are_sentences"`.
///
/// # Panics
/// When a seed fails, or a variable is set to something that is no number.
pub fn for_each_seed(test: &str, count: u64, run: impl Fn(u64)) {
    if let Some(seed) = number("TANADA_SEED") {
        return run_one(test, seed, &run);
    }
    for seed in 1..=number("TANADA_SEEDS").unwrap_or(count) {
        run_one(test, seed, &run);
    }
}

fn run_one(test: &str, seed: u64, run: &impl Fn(u64)) {
    let replay = Replay { test, seed };
    run(seed);
    std::mem::forget(replay);
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// Tells how to replay its seed when a panic drops it.
struct Replay<'t> {
    test: &'t str,
    seed: u64,
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        let Replay { test, seed } = self;
        eprintln!("seed {seed} failed; replay it with:");
        eprintln!("    TANADA_SEED={seed} cargo test -p tanada-sim --test {test} -- --exact");
    }
}
