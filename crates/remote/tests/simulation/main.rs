//! The protocol over its real code, on one thread, every step drawn from a seed: two to four
//! writers at once that stall and die anywhere, collectors that act on what they read long
//! ago, requests that are lost, late and doubled.
//!
//! What is checked at each moment stands in `world`. Each failure that others had is a test
//! of its own name here, and finds the fault of that name when it is planted.
#![allow(clippy::unwrap_used)]

mod actors;
mod link;
mod run;
mod world;

use actors::Habits;
use run::{Plan, USUAL, report, run};

/// Runs so many seeds, or as many as `TANADA_SEEDS` says, or the one of `TANADA_SEED`, and
/// fails with the first violation.
fn seeds(plan: Plan, first: u64, count: u64) {
    let only = std::env::var("TANADA_SEED").ok().and_then(|seed| seed.parse().ok());
    let many = std::env::var("TANADA_SEEDS").ok().and_then(|many| many.parse().ok());
    let count = many.unwrap_or(count);
    let range = only.map_or(first..first + count, |seed: u64| seed..seed + 1);
    let (mut steps, mut acknowledgements, mut openings, mut deletions) = (0, 0, 0, 0);
    for seed in range {
        let outcome = run(plan, seed);
        assert!(outcome.violation.is_none(), "{}", report(&outcome));
        assert!(outcome.steps < run::STEPS, "seed {seed} does not end");
        steps += outcome.steps;
        acknowledgements += outcome.acknowledgements;
        openings += outcome.openings;
        deletions += outcome.deletions;
    }
    println!(
        "{steps} steps, {acknowledgements} acknowledgements, {openings} openings, {deletions} deletions"
    );
    // A run in which nothing happens shows nothing.
    assert!(
        only.is_some() || (acknowledgements > count && openings > count && deletions > count / 4)
    );
}

/// Many openings, short lives, long naps: races of openers.
const OPENERS: Plan =
    Plan { writers: 8, habits: Habits { operations: 5, width: 2, flushes: 35 }, naps: 60, ..USUAL };

/// Every answer may be lost.
const LOSSES: Plan = Plan { lost: 150, late: 150, doubled: 80, deaths: 1, ..USUAL };

/// Flushes and collectors at every turn.
const COLLECTIONS: Plan =
    Plan { collectors: 4, habits: Habits { operations: 12, width: 3, flushes: 50 }, ..USUAL };

#[test]
fn writers_that_stall_and_die_anywhere_lose_no_acknowledged_write() {
    seeds(USUAL, 1, 400);
}

#[test]
fn answers_that_are_lost_late_and_doubled_lose_no_acknowledged_write() {
    seeds(LOSSES, 10_000, 200);
}

#[test]
fn collectors_that_act_on_what_they_read_long_ago_lose_no_acknowledged_write() {
    seeds(COLLECTIONS, 20_000, 200);
}

/// A regression of others: a writer looked for the free place of the log before it raised
/// the epoch; another opened in between.
#[test]
fn two_openers_at_once() {
    seeds(OPENERS, 30_000, 400);
}

/// A regression of others: a fence lay below the replay point, where its epoch's owner no
/// longer looked, and the owner went on behind it.
#[test]
fn fence_below_the_replay_point() {
    seeds(OPENERS, 40_000, 400);
}

/// A regression of others: a third writer came between a writer's look at the log and its
/// fence, and the fence that failed counted as placed.
#[test]
fn third_writer_between_probe_and_fence() {
    seeds(OPENERS, 50_000, 400);
}

/// A regression of others: garbage collection freed a fence's name, and a writer that had
/// stalled created its chunk there and acknowledged it.
#[test]
fn fenced_writer_acks_after_gc() {
    seeds(COLLECTIONS, 60_000, 400);
}

/// A regression of others: a table was uploaded, and collected before the edit that named it.
#[test]
fn uploaded_table_collected_before_published() {
    seeds(COLLECTIONS, 70_000, 200);
}
