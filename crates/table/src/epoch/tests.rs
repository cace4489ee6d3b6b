//! Readers beside those who unlink: what is freed, and when.

use super::*;
use std::sync::Arc;

/// Says whether it is alive, and how many of its kind are.
struct Witness {
    alive: u64,
    number: u64,
    count: Arc<AtomicU64>,
}

const ALIVE: u64 = 0x6c69_7665;

impl Witness {
    fn new(number: u64, count: &Arc<AtomicU64>) -> Arc<Witness> {
        count.fetch_add(1, Relaxed);
        Arc::new(Witness { alive: ALIVE, number, count: Arc::clone(count) })
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.alive = 0;
        self.count.fetch_sub(1, Relaxed);
    }
}

/// Looks at what another thread says, many times as often as any machine needs.
const MOST_LOOKS: u64 = if cfg!(miri) { 1_000_000 } else { 200_000_000 };

/// Waits until another thread says so.
///
/// # Panics
/// When it never does: it has failed.
#[track_caller]
fn wait_until(said: &AtomicBool) {
    for _ in 0..MOST_LOOKS {
        if said.load(Acquire) {
            return;
        }
        std::thread::yield_now();
    }
    panic!("the other thread never says so");
}

/// Ends the readers of a scope, which it waits for, though an assertion beside them fails.
struct End<'f>(&'f AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Release);
    }
}

#[test]
fn what_is_replaced_goes_when_no_reader_is_left_and_stays_under_a_pin() {
    let count = Arc::default();
    let link = Published::new(Witness::new(0, &count));
    link.store(Witness::new(1, &count));
    // Not at once: other tests of this process pin as well.
    link.settle();
    assert_eq!(count.load(Relaxed), 1);
    let (seen, go, done) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let pin = pin();
            let old = link.read(&pin);
            seen.store(true, Release);
            wait_until(&go);
            assert_eq!((old.alive, old.number), (ALIVE, 1));
            assert_eq!(link.load().number, 2);
            drop(pin);
            done.store(true, Release);
        });
        let _go = End(&go);
        wait_until(&seen);
        link.store(Witness::new(2, &count));
        assert_eq!(count.load(Relaxed), 2);
        go.store(true, Release);
        wait_until(&done);
    });
    link.store(Witness::new(3, &count));
    link.settle();
    assert_eq!(count.load(Relaxed), 1);
    drop(link);
    assert_eq!(count.load(Relaxed), 0);
}

#[test]
fn settling_waits_for_the_reader_that_outlasts_the_store() {
    let count = Arc::default();
    let link = Published::new(Witness::new(0, &count));
    let (seen, go) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let pin = pin();
            let old = link.read(&pin);
            seen.store(true, Release);
            wait_until(&go);
            assert_eq!(old.alive, ALIVE);
        });
        let _go = End(&go);
        wait_until(&seen);
        link.store(Witness::new(1, &count));
        assert_eq!(count.load(Relaxed), 2, "the store did not wait");
        go.store(true, Release);
        link.settle();
        assert_eq!(count.load(Relaxed), 1);
    });
}

#[test]
fn a_pin_inside_a_pin_ends_nothing() {
    let count = Arc::default();
    let link = Published::new(Witness::new(0, &count));
    let outer = pin();
    let first = link.read(&outer);
    drop(pin());
    link.store(Witness::new(1, &count));
    assert_eq!((first.alive, first.number), (ALIVE, 0));
    link.settle(); // does not wait for its own thread
    assert_eq!(first.number, 0);
    drop(outer);
    link.store(Witness::new(2, &count));
    link.settle();
    assert_eq!(count.load(Relaxed), 1);
}

#[test]
fn readers_and_a_writer_race_and_nobody_meets_the_dead() {
    let rounds: u64 = if cfg!(miri) { 60 } else { 30_000 };
    let count = Arc::default();
    let link = Published::new(Witness::new(0, &count));
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let (link, end) = (&link, &end);
            scope.spawn(move || {
                let mut last = 0;
                while !end.load(Acquire) {
                    let kept = (reader == 0).then(|| link.load());
                    let pin = pin();
                    let now = link.read(&pin);
                    assert_eq!(now.alive, ALIVE);
                    assert!(now.number >= last && kept.is_none_or(|k| k.number <= now.number));
                    last = now.number;
                    assert_eq!(now.alive, ALIVE);
                }
            });
        }
        let _end = End(&end);
        for number in 1..=rounds {
            link.store(Witness::new(number, &count));
            assert!(count.load(Relaxed) <= 4, "one linked, one in limbo, one kept");
        }
    });
    link.store(Witness::new(rounds + 1, &count));
    link.settle();
    assert_eq!(count.load(Relaxed), 1);
}

#[test]
fn what_a_link_lost_under_a_pin_goes_when_the_pin_ends() {
    let (count, mut limbo) = (Arc::default(), Limbo::new());
    let link = Link::empty();
    assert!(!link.empty_into(&mut limbo));
    link.fill(Witness::new(1, &count));
    let outer = pin();
    let seen = link.read(&outer).unwrap();
    let kept = seen.keep();
    assert!(link.empty_into(&mut limbo));
    assert!(limbo.collect(0).is_empty() && link.read(&outer).is_none());
    assert_eq!((seen.alive, seen.number), (ALIVE, 1));
    drop(outer);
    assert_eq!(limbo.collect(0).len(), 1);
    assert_eq!(kept.number, 1);
    drop(kept);
    assert_eq!(count.load(Relaxed), 0);
    link.fill(Witness::new(2, &count));
    drop(link);
    assert_eq!(count.load(Relaxed), 0);
}

#[test]
fn readers_race_with_filling_and_emptying_a_link_and_nobody_meets_the_dead() {
    let rounds: u64 = if cfg!(miri) { 60 } else { 30_000 };
    let count = Arc::default();
    let (link, end) = (Link::<Witness>::empty(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let (link, end) = (&link, &end);
            scope.spawn(move || {
                let mut kept: Option<Arc<Witness>> = None;
                while !end.load(Acquire) {
                    let pin = pin();
                    let Some(now) = link.read(&pin) else { continue };
                    assert_eq!(now.alive, ALIVE);
                    if reader == 0 {
                        kept = Some(now.keep());
                    }
                }
                assert!(kept.is_none_or(|kept| kept.alive == ALIVE));
            });
        }
        let mut limbo = Limbo::new();
        let _end = End(&end);
        for number in 1..=rounds {
            link.fill(Witness::new(number, &count));
            assert!(link.empty_into(&mut limbo));
            drop(limbo.collect(0));
            assert!(count.load(Relaxed) <= 2, "one kept by a reader, one about to be");
        }
    });
    assert_eq!(count.load(Relaxed), 0);
}

#[test]
fn threads_that_come_and_go_use_the_same_places() {
    let before = places().count();
    let threads = if cfg!(miri) { 50 } else { 500 };
    for _ in 0..threads {
        std::thread::scope(|scope| {
            scope.spawn(|| drop(pin()));
        });
    }
    // Other tests of this process take places, too; and a scope does not wait
    // for its threads to give theirs back.
    let most = if cfg!(miri) { 40 } else { 250 };
    assert!(places().count() < before + most);
}
