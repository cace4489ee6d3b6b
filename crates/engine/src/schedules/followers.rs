//! Those who follow the changes, beside writers, flushes and the end of the database.
//!
//! Whatever the order: each sees every commit behind its beginning once and in order, can
//! read what it was shown, and is woken by the last one as by all others. Where a wake-up is
//! lost, nobody moves any more, and the checker says so.

use super::dice::Dice;
use crate::{Changes, Db, Error, Since, Tuning};
use std::sync::Arc;
use std::time::Duration;
use tanada_vfs::MemoryMachine;
use tanada_vfs::sync::{explore, seeds, shuttle::thread};

const WRITERS: u64 = 2;
const EACH: u64 = 3;

/// Follows until all was written, or the database is closed. Answers how many it was shown.
fn follow(db: &Db, mut changes: Changes) -> u64 {
    let (mut next, mut shown) = (None, 0);
    while next.is_none_or(|next| next <= WRITERS * EACH) {
        // As long as it takes: it is woken, or nobody moves any more.
        match changes.wait(Duration::MAX) {
            Ok(there) => assert!(there, "nothing is there for who was woken"),
            Err(Error::Closed) => break,
            Err(e) => panic!("{e}"),
        }
        let group = match changes.next() {
            Ok(group) => group.expect("it was there"),
            Err(Error::Closed) => break,
            Err(e) => panic!("{e}"),
        };
        for change in group.changes() {
            assert!(next.is_none_or(|next| next == change.seqno.0), "{change:?} behind {next:?}");
            match db.get_record(change.key) {
                Ok(record) => {
                    let version = record.map(|record| record.version);
                    assert!(version >= Some(change.seqno), "{change:?}, and read is {version:?}");
                }
                Err(Error::Closed) => {}
                Err(e) => panic!("{e}"),
            }
            next = Some(change.seqno.0 + 1);
            shown += 1;
        }
    }
    shown
}

#[test]
fn schedules_of_followers() {
    explore("followers", seeds(150), || {
        let mut dice = Dice::of_this_schedule();
        let machine = MemoryMachine::new(dice.next());
        let tuning = Tuning {
            memtable_bytes: Some(dice.pick(&[64, 4 << 10])),
            log_bytes: Some(dice.pick(&[4 << 10, 64 << 10])),
            ..Tuning::default()
        };
        let env = machine.threaded_env();
        let db = Db::builder("/db").env(env).threads(1).tuning(tuning).open();
        let db = Arc::new(db.expect("nothing fails here"));
        let is_closed_early = dice.one_in(4);
        let all = db.changes(Since::Oldest).expect("nothing was written yet");
        let early = thread::spawn({
            let db = Arc::clone(&db);
            move || follow(&db, all)
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let (db, flushes) = (Arc::clone(&db), dice.one_in(2));
                thread::spawn(move || {
                    for n in 0..EACH {
                        match db.put([number as u8, n as u8], [7; 700]) {
                            Ok(_) => {}
                            Err(Error::Closed | Error::Poisoned { .. }) => return,
                            Err(e) => panic!("{e}"),
                        }
                        if flushes && n == 1 {
                            let _ = db.flush();
                        }
                    }
                })
            })
            .collect();
        if is_closed_early {
            db.close().expect("nothing fails here");
        } else {
            let late = thread::spawn({
                let db = Arc::clone(&db);
                move || {
                    let before = db.snapshot().seqno();
                    match db.changes(Since::Write(before)) {
                        Ok(changes) if before.0 < WRITERS * EACH => follow(&db, changes),
                        Ok(_) | Err(Error::WindowGone { .. }) => 0,
                        Err(e) => panic!("{e}"),
                    }
                }
            });
            late.join().expect("a follower panicked");
        }
        for writer in writers {
            writer.join().expect("a writer panicked");
        }
        let shown = early.join().expect("a follower panicked");
        assert!(is_closed_early || shown == WRITERS * EACH, "{shown} were shown");
        let wal = db.stats().wal;
        assert_eq!((wal.consumers, wal.lost_windows), (0, 0));
        db.close().expect("nothing fails here");
    });
}
