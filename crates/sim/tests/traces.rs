//! The same seed twice. Alone in its file: other threads of the process may hold
//! what a run would free, and then it frees it a call later.

use tanada_sim::plan::Plan;
use tanada_sim::seeds::for_each_seed;
use tanada_sim::simulation::run;

#[test]
fn the_same_seed_leaves_the_same_trace_and_another_seed_another() {
    let test = "traces the_same_seed_leaves_the_same_trace_and_another_seed_another";
    for_each_seed(test, 60, |seed| {
        let first = run(&Plan::of_seed(seed));
        assert!(first.changes > 20, "{first:?}");
        assert_eq!(first, run(&Plan::of_seed(seed)));
        assert_ne!(first.trace, run(&Plan::of_seed(seed + 1_000_000)).trace);
    });
}
