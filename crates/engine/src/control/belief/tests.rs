//! A machine that knows what time it is, and shows something else.

use super::*;
use tanada_vfs::memory::Dice;

const START: u64 = FIRST_MS + 3 * 365 * 24 * 3_600_000;
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const YEARS_30: u64 = 30 * 365 * DAY;

/// A machine that knows the time, and shows some of it.
#[derive(Clone, Debug)]
struct Machine {
    up_ms: u64,
    wrong_by_ms: i64,
}

impl Machine {
    fn new() -> Machine {
        Machine { up_ms: 0, wrong_by_ms: 0 }
    }

    fn right(&self) -> u64 {
        START + self.up_ms
    }

    fn now(&self) -> Readings {
        let wall = self.right().saturating_add_signed(self.wrong_by_ms);
        Readings { elapsed_ms: self.up_ms, wall_ms: wall }
    }
}

/// With evidence of days.
fn known(seen_ms: u64) -> DurableTime {
    DurableTime { floor_ms: seen_ms, seen_ms, evidence_ms: YOUNG_MS }
}

#[test]
fn whatever_a_clock_says_behind_a_right_opening_time_goes_on_within_the_slack() {
    for seed in 0..500 {
        let mut dice = Dice::new(seed);
        let mut machine = Machine::new();
        let durable = [DurableTime::default(), known(START - DAY)][(seed % 2) as usize];
        let mut belief = Belief::open(durable, machine.now());
        let (mut removable, mut confirmed) = (0, false);
        for _ in 0..200 {
            machine.up_ms += [0, 1, 100, MINUTE, HOUR, DAY][dice.below(6) as usize];
            let by = [0, 1, 4 * MINUTE, HOUR, 40 * DAY, YEARS_30, START][dice.below(7) as usize];
            machine.wrong_by_ms = [by as i64, -(by as i64)][dice.below(2) as usize];
            let believed = belief.read(machine.now());
            let right = machine.right();
            let drift = machine.up_ms / 100 + 1;
            assert!(believed <= right + SLACK_MS + drift, "seed {seed}: {believed} at {right}");
            assert!(belief.removable_ms() <= right + drift, "seed {seed}");
            // Till the opening is confirmed, it may be that its clock was wrong: it never
            // goes back to what was known before.
            let back = durable.floor_ms.max(FIRST_MS) + machine.up_ms;
            assert!(believed + SLACK_MS + drift >= back, "seed {seed}: {believed} at {right}");
            let known = belief.durable();
            confirmed |= known.evidence_ms == YOUNG_MS && known.floor_ms + HOUR > right;
            assert!(!confirmed || believed + drift >= right, "seed {seed}: {believed} at {right}");
            assert!(!confirmed || belief.removable_ms() >= removable, "seed {seed}");
            removable = belief.removable_ms();
            if believed == machine.now().wall_ms {
                assert_eq!(belief.state, ClockState::Believed);
            }
        }
    }
}

#[test]
fn an_opening_believes_what_nothing_speaks_against() {
    let wall = |ms| Readings { elapsed_ms: 5, wall_ms: ms };
    let open = |durable, ms| Belief::open(durable, wall(ms)).read(wall(ms));
    let young = |seen_ms| DurableTime { floor_ms: seen_ms, seen_ms, evidence_ms: MINUTE };
    for ahead in [0, 1, HOUR, DAY, YEARS_30] {
        assert_eq!(open(DurableTime::default(), START + ahead), START + ahead);
        assert_eq!(open(known(START), START + ahead), START + ahead);
    }
    for behind in [1, HOUR, 40 * DAY, START] {
        assert_eq!(open(known(START), START - behind), START, "{behind} ms behind what it knows");
    }
    // Rather was a database of a minute created in 2056 than is it 1970.
    assert_eq!(open(young(START + YEARS_30), START), START);
    assert_eq!(open(young(START), 7_000), START);
    assert_eq!(open(young(START), START - DAY), START);
}

#[test]
fn a_slow_clock_is_followed_and_time_never_stands_still() {
    // Twenty seconds a day are lost to steps, and elapsed time knows nothing of it.
    let mut machine = Machine::new();
    let mut belief = Belief::open(known(START), machine.now());
    let mut last = 0;
    for hour in 0..24 * 365 {
        machine.up_ms += HOUR;
        machine.wrong_by_ms -= 833;
        let believed = belief.read(machine.now());
        assert!(believed > last, "hour {hour}");
        assert_eq!(belief.state, ClockState::Believed, "hour {hour}");
        last = believed;
    }
    assert!(last - machine.now().wall_ms < MINUTE, "{} ms off", last - machine.now().wall_ms);
}

#[test]
fn a_night_without_an_opening_is_evidence_within_two_hours() {
    let machine = Machine { up_ms: 12 * HOUR, wrong_by_ms: 0 };
    let mut belief = Belief::open(known(START), machine.now());
    assert_eq!(belief.durable().floor_ms, START, "confirmed, and no later");
    for (minutes, floor) in [(59, false), (60, false), (100, false), (115, true)] {
        let later = Machine { up_ms: machine.up_ms + minutes * MINUTE, ..machine.clone() };
        belief.read(later.now());
        assert_eq!(belief.durable().floor_ms == later.right(), floor, "{minutes} minutes");
    }
}

#[test]
fn what_a_wrong_opening_was_shown_is_no_evidence_for_the_next() {
    let right = Machine::new();
    let mut wrong = right.clone();
    wrong.wrong_by_ms = YEARS_30 as i64;
    let mut durable = known(START);
    for life in 0..5 {
        let mut belief = Belief::open(durable, wrong.now());
        wrong.up_ms += 10 * MINUTE;
        assert_eq!(belief.read(wrong.now()), wrong.now().wall_ms, "life {life}");
        durable = belief.durable();
        wrong.wrong_by_ms += YEARS_30 as i64;
    }
    let now = Machine { wrong_by_ms: 0, ..wrong };
    let mut belief = Belief::open(durable, now.now());
    assert_eq!(belief.read(now.now()), now.right());
    assert_eq!(belief.state, ClockState::Believed);
}

#[test]
fn a_person_is_believed_over_all_evidence() {
    for by in [-(DAY as i64), DAY as i64, YEARS_30 as i64] {
        let mut machine = Machine::new();
        let mut belief = Belief::open(known(START), machine.now());
        machine.wrong_by_ms = by;
        assert_ne!(belief.read(machine.now()), machine.now().wall_ms);
        belief.trust(machine.now());
        machine.up_ms += 1;
        assert_eq!(belief.read(machine.now()), machine.now().wall_ms);
        assert_eq!(belief.state, ClockState::Believed);
        let again = Belief::open(belief.durable(), machine.now());
        assert_eq!(again.state, ClockState::Believed);
    }
}
