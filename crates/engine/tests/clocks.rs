//! Clocks that are wrong: set forward or back, once or again, before an opening or while a
//! database is open; and machines that sleep.
//!
//! valkey #4345 and #2651, etcd #6700: one look at a wrong clock broke expiry for years.
//! Here one `get` that saw a clock thirty years ahead dropped every key with a time to
//! live, and no key that was put behind it ever expired, behind a restart either.

#![allow(clippy::unwrap_used)] // of outcomes that must not fail

use std::time::Duration;
use tanada::vfs::{Clock, MemoryMachine};
use tanada::{Batch, ClockState, Db, PutOptions, UnixMillis};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const YEARS_30: i64 = 30 * 365 * 24 * 3_600_000;

fn open(machine: &MemoryMachine) -> Db {
    Db::builder("/db").memory(16 << 20).threads(1).env(machine.env()).open().unwrap()
}

/// The clock says so much more, or less, from now on.
fn jump(machine: &MemoryMachine, by_ms: i64) {
    let clock = machine.clock();
    clock.set_wall_ms(clock.wall_ms().checked_add_signed(by_ms).unwrap());
}

fn ttl(time: Duration) -> PutOptions {
    PutOptions::new().ttl(time)
}

fn at(machine: &MemoryMachine, time: Duration) -> PutOptions {
    let ms = machine.clock().wall_ms() + time.as_millis() as u64;
    PutOptions::new().expires_at(UnixMillis(ms))
}

fn put(db: &Db, key: &str, options: PutOptions) {
    db.put_with(key, "value", options).unwrap();
}

/// Whether it is there, by every way to read it.
fn has(db: &Db, key: &str) -> bool {
    let found = db.get(key).unwrap().is_some();
    assert_eq!(db.contains(key).unwrap(), found, "contains {key}");
    let walked = db.iter().any(|entry| &*entry.unwrap().0 == key.as_bytes());
    assert_eq!(walked, found, "a walk over {key}");
    let snapshot = db.snapshot();
    assert_eq!(snapshot.get(key).unwrap().is_some(), found, "a snapshot of {key}");
    found
}

/// What else may look at the clock while it is wrong.
const LOOKS: [fn(&Db); 8] = [
    |_| {},
    |db| drop(db.get("hour").unwrap()),
    |db| put(db, "other", ttl(HOUR)),
    |db| {
        let mut batch = Batch::new();
        batch.put_with("other", "value", ttl(HOUR));
        db.write(batch).unwrap();
    },
    |db| db.flush().unwrap(),
    |db| _ = db.compact(..).unwrap(),
    |db| drop(db.iter().collect::<Vec<_>>()),
    |db| drop(db.snapshot()),
];

/// Keys that live a second and an hour, by either option; and one that has expired.
fn fill(machine: &MemoryMachine, db: &Db) {
    put(db, "gone", ttl(SECOND));
    machine.clock().advance(2 * SECOND);
    put(db, "hour", ttl(HOUR));
    put(db, "hour by time", at(machine, HOUR));
    put(db, "for ever", PutOptions::new());
}

/// The clock is right again: nothing that should live is gone, what is put expires in its
/// time, and what expired before stays gone.
fn all_is_well(machine: &MemoryMachine, db: &Db, what: &str) {
    for key in ["hour", "hour by time", "for ever"] {
        assert!(has(db, key), "{what}: {key} is gone");
    }
    assert!(!has(db, "gone"), "{what}: what had expired is back");
    put(db, "second", ttl(SECOND));
    put(db, "second by time", at(machine, SECOND));
    assert!(has(db, "second") && has(db, "second by time"), "{what}: gone at once");
    machine.clock().advance(SECOND);
    assert!(!has(db, "second") && !has(db, "second by time"), "{what}: it does not expire");
    let now = machine.clock().wall_ms();
    assert_eq!(db.now(), UnixMillis(now), "{what}: another time is believed");
    assert_eq!(db.stats().clock.state, ClockState::Believed, "{what}");
}

#[test]
fn a_clock_that_is_wrong_for_a_moment_takes_no_key_and_stops_no_time() {
    for (n, look) in LOOKS.iter().enumerate() {
        for in_tables in [false, true] {
            let what = format!("look {n}, in tables: {in_tables}");
            let machine = MemoryMachine::new(1);
            let db = open(&machine);
            fill(&machine, &db);
            if in_tables {
                db.flush().unwrap();
            }
            jump(&machine, YEARS_30);
            look(&db);
            machine.clock().advance(MINUTE);
            look(&db);
            jump(&machine, -YEARS_30);
            look(&db);
            all_is_well(&machine, &db, &what);
            db.close().unwrap();
            let db = open(&machine);
            all_is_well(&machine, &db, &format!("{what}, opened again"));
        }
    }
}

#[test]
fn while_the_clock_is_wrong_time_goes_on_without_it_and_the_statistics_say_so() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine);
    fill(&machine, &db);
    let before = db.now().0;
    jump(&machine, YEARS_30);
    assert_eq!(db.now().0, before, "no time has passed");
    machine.clock().advance(MINUTE);
    let clock = db.stats().clock;
    assert_eq!(clock.state, ClockState::Ahead);
    assert_eq!(clock.believed_ms, before + 60_000);
    assert_eq!(clock.wall_ms, machine.clock().wall_ms());
    assert_eq!((clock.holds, clock.held_for_ms), (1, Some(60_000)));
    put(&db, "second", ttl(SECOND));
    assert!(has(&db, "second"));
    machine.clock().advance(SECOND);
    assert!(!has(&db, "second"), "time goes on");
    machine.clock().advance(HOUR);
    assert!(!has(&db, "hour") && !has(&db, "hour by time"), "an hour has passed");
}

#[test]
fn a_clock_that_jumps_before_the_first_write_is_not_believed() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine);
    jump(&machine, YEARS_30);
    put(&db, "hour", ttl(HOUR));
    let expires = db.get_record("hour").unwrap().unwrap().expires_at.unwrap();
    jump(&machine, -YEARS_30);
    assert_eq!(expires.0, machine.clock().wall_ms() + 3_600_000);
    machine.clock().advance(HOUR);
    assert!(!has(&db, "hour"));
}

#[test]
fn jumps_again_and_again_do_not_add_up() {
    for by in [4 * 60_000, 3_600_000, YEARS_30] {
        let machine = MemoryMachine::new(1);
        let start = machine.clock().wall_ms();
        let db = open(&machine);
        fill(&machine, &db);
        put(&db, "ten minutes", ttl(10 * MINUTE));
        for n in 0..100 {
            jump(&machine, by);
            assert!(has(&db, "ten minutes"), "jump {n} by {by} ms");
            if n % 10 == 0 {
                db.compact(..).unwrap();
            }
        }
        machine.clock().set_wall_ms(start + 2_000);
        all_is_well(&machine, &db, &format!("a hundred jumps by {by} ms"));
    }
}

#[test]
fn a_small_jump_is_believed_and_taken_back() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine);
    fill(&machine, &db);
    put(&db, "two minutes", ttl(2 * MINUTE));
    jump(&machine, 3 * 60_000);
    assert!(!has(&db, "two minutes"), "a clock may be set forward by three minutes");
    db.flush().unwrap();
    db.compact(..).unwrap();
    jump(&machine, -3 * 60_000);
    assert!(has(&db, "two minutes"), "it was wrong");
    all_is_well(&machine, &db, "three minutes there and back");
}

#[test]
fn a_clock_set_back_revives_nothing_and_stops_no_time() {
    for by in [20_000, 240_000, 3_600_000, 24 * 3_600_000, YEARS_30, 53 * 365 * 24 * 3_600_000] {
        let machine = MemoryMachine::new(1);
        let db = open(&machine);
        fill(&machine, &db);
        jump(&machine, -by);
        for life in 0..2 {
            let what = format!("{by} ms back, life {life}");
            if life == 1 {
                db.close().unwrap();
            }
            let reopened = (life == 1).then(|| open(&machine));
            let db = reopened.as_ref().unwrap_or(&db);
            assert!(!has(db, "gone"), "{what}: what had expired is back");
            assert!(has(db, "hour") && has(db, "for ever"), "{what}");
            put(db, "second", ttl(SECOND));
            assert!(has(db, "second"), "{what}: gone at once");
            machine.clock().advance(SECOND);
            assert!(!has(db, "second"), "{what}: it does not expire");
            if by > 300_000 {
                assert_eq!(db.stats().clock.state, ClockState::Behind, "{what}");
            }
        }
    }
}

#[test]
fn a_directory_that_a_wrong_clock_has_opened_is_none_the_worse() {
    for (wrong, most) in [(YEARS_30, 4), (40 * 24 * 3_600_000, 4), (9 * 3_600_000, 1)] {
        for lives in 1..=most {
            for (n, look) in LOOKS.iter().enumerate() {
                let what = format!("{lives} lives {wrong} ms ahead, look {n}");
                let machine = MemoryMachine::new(1);
                let db = open(&machine);
                fill(&machine, &db);
                drop(db);
                for _ in 0..lives {
                    jump(&machine, wrong);
                    let db = open(&machine);
                    look(&db);
                    machine.clock().advance(MINUTE);
                    look(&db);
                    assert!(!has(&db, "hour"), "{what}: an opening believes its clock");
                    db.close().unwrap();
                }
                jump(&machine, -(wrong * lives));
                let db = open(&machine);
                all_is_well(&machine, &db, &what);
            }
        }
    }
}

#[test]
fn a_database_that_a_wrong_clock_has_created_is_none_the_worse() {
    for open_for in [Duration::ZERO, MINUTE, 20 * MINUTE] {
        let machine = MemoryMachine::new(1);
        jump(&machine, YEARS_30);
        let db = open(&machine);
        put(&db, "for ever", PutOptions::new());
        put(&db, "hour then", ttl(HOUR));
        db.flush().unwrap();
        machine.clock().advance(open_for);
        assert!(has(&db, "hour then"));
        db.close().unwrap();
        jump(&machine, -YEARS_30);
        let db = open(&machine);
        fill(&machine, &db);
        all_is_well(&machine, &db, &format!("wrong for {open_for:?}"));
    }
}

#[test]
fn a_clock_that_was_wrong_at_the_opening_is_set_right_while_it_is_open() {
    for (n, look) in LOOKS.iter().enumerate() {
        let machine = MemoryMachine::new(1);
        let db = open(&machine);
        fill(&machine, &db);
        db.flush().unwrap();
        drop(db);
        jump(&machine, YEARS_30);
        let db = open(&machine);
        look(&db);
        assert!(!has(&db, "hour"));
        machine.clock().advance(50 * MINUTE);
        look(&db);
        jump(&machine, -YEARS_30);
        all_is_well(&machine, &db, &format!("look {n}"));
    }
}

#[test]
fn a_machine_that_boots_in_1970_goes_on_with_the_time_it_knew() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine);
    fill(&machine, &db);
    drop(db);
    let right = machine.clock().wall_ms();
    machine.clock().set_wall_ms(7_000);
    let db = open(&machine);
    assert_eq!(db.now(), UnixMillis(right));
    assert_eq!(db.stats().clock.state, ClockState::Behind);
    put(&db, "second", ttl(SECOND));
    machine.clock().advance(SECOND);
    assert!(!has(&db, "second") && !has(&db, "gone") && has(&db, "hour"));
    // The network is there, and says how late it is: it was off for some days.
    machine.clock().set_wall_ms(right + 3 * DAY.as_millis() as u64);
    assert!(!has(&db, "hour"));
    assert_eq!(db.now(), UnixMillis(machine.clock().wall_ms()));
    assert_eq!(db.stats().clock.state, ClockState::Believed);
}

#[test]
fn a_laptop_that_slept_believes_its_clock() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine);
    fill(&machine, &db);
    machine.clock().suspend(2 * HOUR);
    assert!(!has(&db, "hour") && has(&db, "for ever"));
    assert_eq!(db.stats().clock.state, ClockState::Believed);
}

#[test]
fn a_clock_may_be_said_to_be_right() {
    // A virtual machine was stopped for a week, and nothing told its processes.
    let machine = MemoryMachine::new(1);
    let db = open(&machine);
    fill(&machine, &db);
    jump(&machine, 7 * DAY.as_millis() as i64);
    assert!(has(&db, "hour"), "nothing says that a week has passed");
    let clock = db.trust_clock().unwrap();
    assert_eq!((clock.state, clock.believed_ms), (ClockState::Believed, clock.wall_ms));
    assert!(!has(&db, "hour") && has(&db, "for ever"));
    put(&db, "second", ttl(SECOND));
    machine.clock().advance(SECOND);
    assert!(!has(&db, "second"));
    db.flush().unwrap();
    db.compact(..).unwrap();
    // Too soon: it was wrong after all.
    jump(&machine, -7 * DAY.as_millis() as i64);
    all_is_well(&machine, &db, "it was believed as at an opening");

    jump(&machine, -2 * DAY.as_millis() as i64);
    assert_eq!(db.stats().clock.state, ClockState::Behind);
    let clock = db.trust_clock().unwrap();
    assert_eq!((clock.state, clock.believed_ms), (ClockState::Believed, clock.wall_ms));
    put(&db, "second", at(&machine, SECOND));
    assert!(has(&db, "second") && has(&db, "hour"));
    machine.clock().advance(SECOND);
    assert!(!has(&db, "second"));
    let machine = machine.kill();
    drop(db);
    let db = open(&machine);
    assert_eq!(db.now(), UnixMillis(machine.clock().wall_ms()), "it was noted");
}

#[test]
fn what_has_expired_is_removed_and_what_a_jump_let_expire_is_not() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine);
    let entries = || db.stats().keyspaces[0].table_entries;
    put(&db, "second", ttl(SECOND));
    put(&db, "for ever", PutOptions::new());
    db.flush().unwrap();
    put(&db, "two minutes", ttl(2 * MINUTE));
    db.flush().unwrap();
    machine.clock().advance(SECOND);
    jump(&machine, 4 * 60_000);
    assert!(!has(&db, "second") && !has(&db, "two minutes"));
    db.compact(..).unwrap();
    assert_eq!(entries(), 2);
    machine.clock().advance(2 * MINUTE);
    db.compact(..).unwrap();
    assert_eq!(entries(), 1);
}

#[test]
fn what_expired_while_nobody_had_it_open_is_removed_soon() {
    let machine = MemoryMachine::new(1);
    let entries = |db: &Db| db.stats().keyspaces[0].table_entries;
    let db = open(&machine);
    put(&db, "two hours", ttl(2 * HOUR));
    put(&db, "for ever", PutOptions::new());
    db.flush().unwrap();
    drop(db);
    machine.clock().advance(12 * HOUR);
    let db = open(&machine);
    assert!(!has(&db, "two hours"));
    db.compact(..).unwrap();
    assert_eq!(entries(&db), 2, "the clock alone says so");
    machine.clock().advance(HOUR);
    db.compact(..).unwrap();
    assert_eq!(entries(&db), 2, "for an hour only");
    machine.clock().advance(HOUR);
    db.compact(..).unwrap();
    assert_eq!(entries(&db), 1);
}

#[test]
fn lives_of_a_moment_remove_what_has_expired_too() {
    let machine = MemoryMachine::new(1);
    for life in 0..10 {
        let db = open(&machine);
        put(&db, &format!("{life}"), ttl(HOUR));
        db.flush().unwrap();
        db.compact(..).unwrap();
        let entries = db.stats().keyspaces[0].table_entries;
        assert!(entries <= 3, "{entries} entries in life {life}");
        drop(db);
        machine.clock().advance(7 * DAY);
    }
}

#[test]
fn a_year_of_small_corrections_is_followed() {
    for step_ms in [20_000, -20_000] {
        let machine = MemoryMachine::new(1);
        let db = open(&machine);
        for day in 0..365 {
            for _ in 0..24 {
                machine.clock().advance(HOUR);
                db.now();
            }
            jump(&machine, step_ms);
            let (now, wall) = (db.now().0, machine.clock().wall_ms());
            let clock = db.stats().clock;
            assert_eq!(clock.state, ClockState::Believed, "{step_ms} ms, day {day}");
            assert!(now.abs_diff(wall) <= 20_000, "{now} is believed at {wall}");
        }
    }
}
