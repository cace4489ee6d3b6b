//! A hundred thousand calls, and every public method among them.

use std::collections::BTreeSet;
use tanada_differential::life::Life;
use tanada_differential::methods::{LEFT_OUT, METHODS, called};

/// Lives until so many calls have been compared.
const CALLS: u64 = 100_000;

#[test]
fn every_answer_is_that_of_another_store_whatever_is_called() {
    if let Ok(seed) = std::env::var("TANADA_SEED") {
        let seed = seed.parse().expect("TANADA_SEED is a number");
        run(seed);
        return;
    }
    let (mut seed, mut calls) = (0, 0);
    while calls < CALLS {
        seed += 1;
        calls += run(seed);
    }
    let called = called();
    let missing: Vec<_> = METHODS.iter().filter(|name| !called.contains_key(*name)).collect();
    assert!(missing.is_empty(), "in {calls} calls nobody called {missing:?}");
    let named = BTreeSet::from_iter(METHODS);
    let unnamed: Vec<_> = called.keys().filter(|name| !named.contains(name)).collect();
    assert!(unnamed.is_empty(), "called, and not in METHODS: {unnamed:?}");
    assert!(LEFT_OUT.iter().all(|(name, why)| !named.contains(name) && !why.is_empty()));
}

fn run(seed: u64) -> u64 {
    Life::of_seed(seed).check(None).unwrap_or_else(|difference| panic!("{difference}"))
}

/// What `cargo xtask planted` has time for.
#[test]
fn ten_lives_answer_as_another_store_does() {
    let calls: u64 = (1..=10).map(run).sum();
    assert!(calls > 5_000, "{calls} calls");
}
