//! The promises of pins and links in every order that loom knows; and the same without
//! what the argument of the module's docs rests on, which loom must find. "Found" says
//! what else was broken by hand, once, and made that model fail.

use super::*;
use std::sync::{Arc, Weak};
use tanada_vfs::sync::Without;
use tanada_vfs::sync::loom::cell::UnsafeCell;
use tanada_vfs::sync::loom::{sync::Arc as Shared, thread};

/// Loom finds two threads of which one makes or drops it while the other looks at it.
struct Witness {
    number: u64,
    life: UnsafeCell<()>,
    /// Of no checker: loom runs all threads in one.
    dropped: std::sync::atomic::AtomicBool,
}

impl Witness {
    fn look(&self) -> u64 {
        self.life.with(|_| ());
        assert!(!self.dropped.load(Relaxed), "a reader looks at what was freed");
        self.number
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.life.with_mut(|_| ());
            self.dropped.store(true, Relaxed);
        }
    }
}

/// Keeps the memory of all witnesses, so that a model that fails looks at no other's.
#[derive(Clone, Default)]
struct Witnesses(Arc<std::sync::Mutex<Vec<Weak<Witness>>>>);

impl Witnesses {
    #[allow(clippy::arc_with_non_send_sync)] // as loom's cell is; loom has one thread
    fn make(&self, number: u64) -> Arc<Witness> {
        let dropped = std::sync::atomic::AtomicBool::new(false);
        let witness = Arc::new(Witness { number, life: UnsafeCell::new(()), dropped });
        self.0.lock().unwrap().push(Arc::downgrade(&witness));
        witness
    }

    fn alive(&self) -> usize {
        self.0.lock().unwrap().iter().filter(|witness| witness.strong_count() > 0).count()
    }
}

fn link() -> (Witnesses, Shared<Published<Witness>>) {
    let witnesses = Witnesses::default();
    let link = Shared::new(Published::new(witnesses.make(0)));
    (witnesses, link)
}

fn check(name: &str, without: Without, body: impl Fn() + Send + Sync + 'static) {
    tanada_vfs::sync::check(&format!("epoch, {name}"), without, body);
}

/// One reader, one store.
fn a_store_beside_a_reader() {
    let (witnesses, link) = link();
    let reader = thread::spawn({
        let link = link.clone();
        move || {
            let pin = pin();
            let seen = link.read(&pin);
            let first = seen.look();
            let second = link.read(&pin).look();
            assert!(first <= second, "a link never goes back");
            // Still there, for the pin has not ended.
            assert_eq!(seen.look(), first);
        }
    });
    link.store(witnesses.make(1));
    reader.join().unwrap();
    link.settle();
    assert_eq!(witnesses.alive(), 1);
}

// Found: freed although a pin of the epoch before is there.
#[test]
fn models_nothing_is_freed_under_a_pin() {
    check("a store beside a reader", Without::Nothing, a_store_beside_a_reader);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn models_without_sequential_consistency_a_reader_looks_at_what_is_freed() {
    check("a store beside a reader", Without::SeqCst, a_store_beside_a_reader);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn models_without_release_the_end_of_a_pin_does_not_wait_for_its_reads() {
    check("a store beside a reader", Without::Release, a_store_beside_a_reader);
}

/// One reader that pins twice, two stores: epochs of its own time and later ones.
fn two_stores_beside_a_reader() {
    let (witnesses, link) = link();
    let reader = thread::spawn({
        let link = link.clone();
        move || {
            let mut last = 0;
            for _ in 0..2 {
                let pin = pin();
                let seen = link.read(&pin);
                let now = seen.look();
                assert!(now >= last, "a link never goes back");
                last = now;
                seen.look();
            }
        }
    });
    link.store(witnesses.make(1));
    link.store(witnesses.make(2));
    reader.join().unwrap();
    link.settle();
    assert_eq!(witnesses.alive(), 1);
}

// Found: the number of the epoch before taken for that of the one begun; an epoch begun
// with Relaxed.
#[test]
fn models_a_pin_that_begins_again_keeps_what_it_sees_then() {
    check("two stores beside a reader", Without::Nothing, two_stores_beside_a_reader);
}

// Found: the count taken when the pin has ended.
#[test]
fn models_what_is_kept_outlives_its_pin() {
    check("kept", Without::Nothing, || {
        let (witnesses, link) = link();
        let reader = thread::spawn({
            let link = link.clone();
            move || {
                let kept = link.load();
                kept.look();
                kept
            }
        });
        link.store(witnesses.make(1));
        let kept = reader.join().unwrap();
        kept.look();
        drop(kept);
        link.settle();
        assert_eq!(witnesses.alive(), 1);
    });
}

/// A link is emptied and filled beside a reader, which may keep what it finds.
fn a_link_beside_a_reader() {
    let witnesses = Witnesses::default();
    let link = Shared::new(Link::empty());
    link.fill(witnesses.make(0));
    let reader = thread::spawn({
        let link = link.clone();
        move || {
            let pin = pin();
            let seen = link.read(&pin);
            if let Some(seen) = &seen {
                seen.look();
                seen.look();
            }
            seen.filter(|seen| seen.look() == 1).map(|seen| seen.keep())
        }
    });
    let mut limbo = Limbo::new();
    assert!(link.empty_into(&mut limbo));
    drop(limbo.collect(usize::MAX));
    link.fill(witnesses.make(1));
    let kept = reader.join().unwrap();
    assert!(kept.is_none_or(|kept| kept.look() == 1));
    drop(limbo.collect(usize::MAX));
    assert_eq!(witnesses.alive(), 1);
}

// Found: freed where it was unlinked, without a limbo.
#[test]
fn models_what_a_link_has_lost_is_not_freed_under_a_pin() {
    check("a link beside a reader", Without::Nothing, a_link_beside_a_reader);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn models_without_sequential_consistency_a_reader_of_a_link_looks_at_what_is_freed() {
    check("a link beside a reader", Without::SeqCst, a_link_beside_a_reader);
}

/// As [`pin`] in a thread that is about to end: with a place of its own for this pin.
pub(crate) fn lone_pin() -> Pin {
    let place = Place::take();
    place.pinned.swap(NOW.load(Acquire), SeqCst);
    Pin { place, outermost: true, lone: true, not_send: PhantomData }
}

// Found: a place that is not marked as taken; one that is given back before its pin has
// ended.
#[test]
fn models_a_place_is_one_readers_until_it_is_handed_on() {
    check("places", Without::Nothing, || {
        let (witnesses, link) = link();
        let readers = [(); 2].map(|()| {
            let link = link.clone();
            thread::spawn(move || {
                let pin = lone_pin();
                let seen = link.read(&pin);
                let number = seen.look();
                assert_eq!(pin.place.pinned.load(Relaxed) & !7, 0, "an epoch of this model");
                assert_ne!(pin.place.pinned.load(Relaxed), 0, "another reader ended this pin");
                assert_eq!(seen.look(), number);
            })
        });
        link.store(witnesses.make(1));
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        link.settle();
        assert_eq!(witnesses.alive(), 1);
    });
}
