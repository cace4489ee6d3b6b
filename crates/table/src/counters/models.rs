//! Threads that count in stripes of their own and in the shared one, in every order
//! that loom knows.

use super::*;
use tanada_vfs::sync::loom::{sync::Arc as Shared, thread};
use tanada_vfs::sync::{Without, check};

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
