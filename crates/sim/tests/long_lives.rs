//! Long lives: about a thousand tables with few files open, snapshots held across
//! thousands of operations, quiet nights, the smallest budget, clocks that jump both ways;
//! and what has a bound is within it all along. `cargo xtask simulate --long` runs more.

use tanada_sim::plan::Plan;
use tanada_sim::shrink::check_plan;
use tanada_sim::simulation::Summary;

const SEEDS: u64 = 2;

#[test]
fn long_lives_keep_every_promise_and_every_bound() {
    let mut all = Summary::default();
    for seed in 1..=SEEDS {
        match check_plan(Plan::long_of_seed(seed)) {
            Ok(summary) => all = all.and(&summary),
            Err(failure) => panic!("{failure}"),
        }
    }
    println!("{all:?}");
    // Or what is said above was not looked at.
    assert!(all.most_tables > 900 && all.looks > 300 * SEEDS && all.nights > SEEDS, "{all:?}");
}
