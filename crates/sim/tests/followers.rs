//! Lives of a database with one who follows its changes: whatever the background, others and
//! the power do meanwhile, it sees exactly the commits, in order, and goes on by its position
//! in the next life or is told that the window has gone.

use tanada_sim::operation::{Begin, Operation};
use tanada_sim::plan::{Event, Plan, Turn};
use tanada_sim::simulation::run;

/// Seeds, each a life of its own.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=80;

#[test]
fn a_follower_misses_nothing_and_repeats_nothing_in_any_life() {
    for seed in SEEDS {
        let mut plan = Plan::of_seed(seed);
        let mut turns = Vec::new();
        for (n, turn) in plan.turns.into_iter().enumerate() {
            let begin = match n {
                0 => Some(Begin::Oldest),
                _ if n % 40 == 20 => Some(Begin::Write(seed * n as u64)),
                _ => None,
            };
            // A few groups or all there are, and once in a while it sleeps.
            let groups = [1, 3, 1_000, 0][n % 4];
            let follow = Event::Do(Operation::Follow(begin, groups));
            let extra = Turn { event: follow, seed: turn.seed ^ 1 };
            turns.push(turn);
            if seed % 3 == 0 || n % 3 == 2 || begin.is_some() {
                turns.push(extra);
            }
        }
        plan.turns = turns;
        println!("seed {seed}");
        run(&plan);
    }
}
