//! What disks do to one file rather than to a kind of call: no room for an edit of the
//! manifest, a job's sync of the directory that fails, a sector of one table that cannot be
//! read. Lives that have no other trouble meet it again and again, beside the background and
//! others; what each must still be given is said in `simulation::trouble`.

use tanada_sim::plan::{Event, Fault, Plan, Turn};
use tanada_sim::shrink::check_plan;
use tanada_sim::simulation::Summary;
use tanada_vfs::memory::Dice;

/// Seeds, each a life of its own.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=60;

/// Turns between two faults, and of these so many until the disk is mended.
const EVERY: usize = 12;
const MENDED_AFTER: usize = 8;

/// Lives that meet this fault and no other.
fn lives_with(fault: fn(&mut Dice) -> Fault) -> Summary {
    let mut all = Summary::default();
    for seed in SEEDS {
        let mut plan = Plan::of_seed(seed);
        let is_trouble =
            |event: &Event| matches!(event, Event::Fault(_) | Event::Room(_) | Event::Mend);
        plan.turns.retain(|turn| !is_trouble(&turn.event));
        let (mut dice, mut turns) = (Dice::new(seed), Vec::new());
        for (n, turn) in plan.turns.into_iter().enumerate() {
            let seed = turn.seed ^ 1;
            turns.push(turn);
            match n % EVERY {
                0 if n > 0 => turns.push(Turn { event: Event::Fault(fault(&mut dice)), seed }),
                MENDED_AFTER => turns.push(Turn { event: Event::Mend, seed }),
                _ => {}
            }
        }
        plan.turns = turns;
        match check_plan(plan) {
            Ok(summary) => all = all.and(&summary),
            Err(failure) => panic!("{failure}"),
        }
    }
    println!("{all:?}");
    all
}

/// Nothing is unknown, so the writing never ends, and goes on once there is room.
#[test]
fn a_full_disk_under_the_manifest_loses_nothing_and_needs_no_opening() {
    let lives = lives_with(Fault::full_manifest);
    assert!(lives.struck > 60, "{lives:?}");
}

/// What a failed sync gives up may be the name of a log, so no write is taken behind it.
#[test]
fn a_jobs_failed_sync_of_the_directory_ends_the_writing_and_loses_nothing() {
    let lives = lives_with(Fault::names);
    assert!(lives.struck > 60, "{lives:?}");
}

/// Reads of the sector are errors; no write is refused, all other tables are compacted, and
/// that one is, too, once it can be read.
#[test]
fn a_bad_sector_of_one_table_refuses_no_write_and_stops_no_other_job() {
    let lives = lives_with(Fault::sector);
    assert!(lives.struck > 60, "{lives:?}");
}
