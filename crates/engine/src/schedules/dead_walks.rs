//! Readers that walk dead keys and make them known, beside a writer that puts some of them.
//!
//! All keys are dead at first, so each scan walks them, or steps over the span that another
//! has made known. Whatever the order: what was put before a scan began is in it, unless it
//! was deleted since.

use super::dice::Dice;
use crate::{Db, Tuning};
use std::collections::BTreeSet;
use std::sync::Arc;
use tanada_vfs::MemoryMachine;
use tanada_vfs::sync::{explore, seeds, shuttle::thread};

const KEYS: u8 = 10;

/// What the writer puts, one after the other.
const PUT: [u8; 3] = [4, 7, 2];

/// The keys that a scan finds: those that its moment has.
fn scan(db: &Db, backward: bool) -> Vec<u8> {
    let iter = db.iter();
    // Each key was put and deleted before.
    let put = (iter.seqno().0 - 2 * u64::from(KEYS)) as usize;
    let keys: Vec<_> = match backward {
        true => iter.rev().map(|entry| entry.unwrap().0[0]).collect(),
        false => iter.map(|entry| entry.unwrap().0[0]).collect(),
    };
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    if backward {
        sorted.reverse();
    }
    assert_eq!(keys, sorted);
    let found = BTreeSet::from_iter(keys.iter().copied());
    assert_eq!(found, BTreeSet::from_iter(PUT[..put].iter().copied()), "what its moment has");
    keys
}

/// A scan sees each write that was acknowledged when it began, and of those that come after
/// one another no later one without the earlier ones.
// Found: puts noted behind the moment at which they show; puts that a walk under way is not
// told of; spans that no put cuts.
#[test]
fn schedules_of_walks_beside_puts() {
    explore("walks_beside_puts", seeds(200), || {
        let mut dice = Dice::of_this_schedule();
        let machine = MemoryMachine::new(dice.next());
        let tuning = Tuning { dead_entries: Some(1), ..Tuning::default() };
        let builder = Db::builder("/db").env(machine.env()).tuning(tuning);
        let db = Arc::new(builder.open().unwrap());
        for key in 0..KEYS {
            db.put([key], "old").unwrap();
        }
        if dice.one_in(2) {
            db.flush().unwrap();
        }
        for key in 0..KEYS {
            db.delete([key]).unwrap();
        }
        if dice.one_in(4) {
            db.flush().unwrap();
        }
        if dice.one_in(2) {
            assert!(scan(&db, dice.one_in(2)).is_empty());
        }
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (db, mut dice) = (Arc::clone(&db), dice.fork());
                thread::spawn(move || {
                    for _ in 0..2 {
                        scan(&db, dice.one_in(2));
                    }
                })
            })
            .collect();
        for (n, key) in PUT.iter().enumerate() {
            db.put([*key], "new").unwrap();
            let mut found = scan(&db, dice.one_in(2));
            found.sort_unstable();
            let mut put = PUT[..=n].to_vec();
            put.sort_unstable();
            assert_eq!(found, put, "the writer sees what it wrote");
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        for backward in [false, true] {
            assert_eq!(scan(&db, backward).len(), PUT.len());
        }
    });
}
