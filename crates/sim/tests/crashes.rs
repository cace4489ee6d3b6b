//! Runs that are cut at each of their calls to the file system.

use tanada_sim::crash::{Cuts, cut_at_every_call};
use tanada_sim::generator::Profile;
use tanada_sim::seeds::for_each_seed;

#[test]
fn whatever_call_the_power_fails_at_a_prefix_with_all_that_was_promised_is_left() {
    let cuts = Cuts { seeds: 3, deep_every: 11, live_every: 7 };
    for_each_seed(
        "crashes whatever_call_the_power_fails_at_a_prefix_with_all_that_was_promised_is_left",
        4,
        |seed| {
            let report = cut_at_every_call(seed, Profile::short(), 40, cuts);
            assert!(report.calls > 50, "{report:?}");
        },
    );
}
