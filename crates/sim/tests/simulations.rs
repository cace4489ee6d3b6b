//! Whole lives drawn from seeds: the background's steps, power cuts and failing
//! calls at any moment, and all debt drained at the end.
//!
//! Four parts, so that they run side by side. `cargo xtask simulate` runs as many
//! seeds as one has time for.

use tanada_sim::plan::Plan;
use tanada_sim::seeds::for_each_seed;
use tanada_sim::shrink::{check, check_plan};
use tanada_sim::simulation::Summary;
use tanada_vfs::memory::Dice;

/// Of each part.
const SEEDS: u64 = 1_250;

fn part(number: u64) {
    let first = 1 + number * SEEDS;
    let mut all = Summary::default();
    for seed in first..first + SEEDS {
        match check(seed) {
            Ok(summary) => all = all.and(&summary),
            Err(failure) => panic!("{failure}"),
        }
    }
    // Or the simulation has stopped to simulate anything.
    assert!(all.crashes > SEEDS && all.faults > SEEDS / 10 && all.steps > 10 * SEEDS, "{all:?}");
    assert_eq!(all.work.idle(), Vec::<String>::new());
}

#[test]
fn lives_keep_every_promise_and_pay_every_debt_first_quarter() {
    part(0);
}

#[test]
fn lives_keep_every_promise_and_pay_every_debt_second_quarter() {
    part(1);
}

#[test]
fn lives_keep_every_promise_and_pay_every_debt_third_quarter() {
    part(2);
}

#[test]
fn lives_keep_every_promise_and_pay_every_debt_last_quarter() {
    part(3);
}

#[test]
fn plans_of_any_bytes_keep_every_promise() {
    for_each_seed("simulations plans_of_any_bytes_keep_every_promise", 200, |seed| {
        let mut dice = Dice::new(seed);
        let len = dice.below(4_000);
        let bytes: Vec<u8> = (0..len).map(|_| dice.next_u64() as u8).collect();
        if let Err(failure) = check_plan(Plan::from_bytes(&bytes)) {
            panic!("{failure}");
        }
    });
}
