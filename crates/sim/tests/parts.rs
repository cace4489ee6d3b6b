//! No part of the engine does nothing: a part that does gives no wrong answer, and so no
//! other test of lives fails.

use tanada_sim::plan::Plan;
use tanada_sim::simulation::{Summary, run};

/// Fixed, so that the same runs are judged each time.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=500;

/// Where caches are small no row was cached: what the row cache had before anybody had looked
/// whether it pays was less than a row takes, and every promise was kept.
#[test]
fn every_part_of_the_engine_is_at_work_in_many_lives() {
    let runs = SEEDS.map(|seed| run(&Plan::of_seed(seed)));
    let work = runs.fold(Summary::default(), |sum, summary| sum.and(&summary)).work;
    println!("{work}");
    assert_eq!(work.idle(), Vec::<String>::new());
}
