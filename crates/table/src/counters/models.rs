//! Threads that count in stripes of their own and in the shared one, in every order
//! that loom knows. "Found" says what was broken by hand, once, and made that model fail.

use super::*;
use crate::epoch::models::lone_pin;
use tanada_vfs::sync::loom::{sync::Arc as Shared, thread};
use tanada_vfs::sync::{Without, check};

// Found: the shared stripe added to by a load and a store; a thread that takes it for its
// own.
#[test]
fn models_a_counter_loses_nothing() {
    check("counters", Without::Nothing, || {
        let counters = Shared::new(Counters::<1>::new());
        let others = [(); 2].map(|()| {
            let counters = counters.clone();
            thread::spawn(move || {
                counters.bump(0);
                counters.bump(0);
            })
        });
        counters.bump(0);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(counters.sum(0), 5);
    });
}

/// Two threads, one behind the other or beside it, in one stripe or in two.
// Found: places that are not marked as taken.
#[test]
fn models_a_stripe_is_handed_on_with_what_was_counted_there() {
    check("stripes handed on", Without::Nothing, || {
        let counters = Shared::new(Counters::<1>::new());
        let threads = [(); 2].map(|()| {
            let counters = counters.clone();
            thread::spawn(move || {
                counters.add_pinned(&lone_pin(), 0, 1);
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(counters.sum(0), 2);
    });
}
