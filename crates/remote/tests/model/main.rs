//! The core of the protocol as a model, explored whole: who owns the database, and is
//! anything lost?
//!
//! Every interleaving of writers, a collector, a worker, somebody who enters a hold, and
//! requests whose answers are lost or that arrive late. The sound protocol must hold in
//! every state; each variant without one rule must be found broken, or the rule would not
//! be needed. `docs/remote.md` says what is in the model and what is not.
//!
//! By default the smaller configurations. All of them, 6.8 million states and half a
//! gigabyte of memory:
//! `TANADA_MODEL=all cargo test --profile checked -p tanada-remote --test model -- --nocapture`
#![allow(clippy::unwrap_used)]

mod explore;
mod rules;
mod state;
mod steps;

use explore::explore;
use rules::{Size, VARIANTS, size};

const SMALL: [Size; 4] = [
    size(3, 1, 0, false, 0),
    size(2, 2, 1, false, 0),
    size(2, 1, 1, true, 0),
    size(2, 1, 1, false, 1),
];
const WHOLE: [Size; 5] = [
    size(3, 2, 0, false, 0),
    size(3, 1, 1, false, 0),
    size(2, 2, 2, false, 0),
    size(2, 2, 1, true, 0),
    size(2, 2, 1, false, 1),
];

#[test]
fn the_protocol_holds_in_every_state_of_the_model() {
    let is_whole = std::env::var("TANADA_MODEL").is_ok_and(|what| what == "all");
    let sizes: &[Size] = if is_whole { &WHOLE } else { &SMALL };
    for size in sizes {
        let explored = explore(*size, None);
        println!("{size:?}: {} states, none broken", explored.states);
        if let Some((trace, what)) = explored.broken {
            panic!("{size:?}: {what}\n  {}", trace.join("\n  "));
        }
    }
}

#[test]
fn without_any_one_of_its_rules_the_protocol_is_broken() {
    for (without, size) in VARIANTS {
        let explored = explore(size, Some(without));
        let Some((trace, what)) = explored.broken else {
            panic!("{without:?} in {size:?}: {} states, none broken", explored.states)
        };
        println!("{without:?}: {} steps, {} states: {what}", trace.len(), explored.states);
        assert!(!trace.iter().any(|label| label == "?"), "{trace:?}");
    }
}
