//! Lives with many checkpoints: whatever the background, others and the power do meanwhile,
//! each is its moment, and none is there in part.

use tanada_sim::operation::Operation;
use tanada_sim::plan::{Event, Plan, Turn};
use tanada_sim::simulation::run;

/// Seeds, each a life of its own.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=60;

#[test]
fn lives_with_many_checkpoints_keep_each_of_them() {
    let mut checkpoints = 0;
    for seed in SEEDS {
        let mut plan = Plan::of_seed(seed);
        let mut turns = Vec::new();
        for (n, turn) in plan.turns.into_iter().enumerate() {
            let extra = Turn { event: Event::Do(Operation::Checkpoint), seed: turn.seed ^ 1 };
            turns.push(turn);
            if n % 6 == 5 {
                turns.push(extra);
                checkpoints += 1;
            }
        }
        plan.turns = turns;
        println!("seed {seed}");
        run(&plan);
    }
    assert!(checkpoints > 500, "{checkpoints}");
}
