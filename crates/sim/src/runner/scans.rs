//! Iterators and cursors beside what they must answer.

use super::compare::check_entry;
use super::{Runner, hold, nth};
use crate::digest::Digest;
use crate::operation::{Cover, Direction, End, Key, Move};
use crate::oracle::{Moment, Oracle};
use std::collections::VecDeque;
use std::sync::Arc;
use tanada::{Cursor, Iter, Result};

/// A begun scan and what it has still to answer.
pub(super) struct RunningScan {
    iter: Iter,
    expected: VecDeque<(Key, Arc<[u8]>)>,
    failed: bool,
    answers: Digest,
}

/// A cursor, its moment, and the key it must stand on.
pub(super) struct RunningCursor {
    cursor: Cursor,
    space: usize,
    moment: Moment,
    at: Option<Key>,
    answers: Digest,
}

impl Runner {
    pub(super) fn begin_scan(
        &mut self,
        space: usize,
        snapshot: Option<usize>,
        cover: &Cover,
    ) -> RunningScan {
        let (space, now) = (self.space(space), self.moment());
        let snapshot = snapshot.and_then(|n| nth(&mut self.handles().snapshots, n).cloned());
        let (keyspace, shortcut) = (&self.spaces()[space], self.shortcut(space));
        let (iter, moment) = match (snapshot, cover) {
            (Some((snapshot, moment)), Cover::All) if shortcut.is_some() => {
                (snapshot.iter(), moment)
            }
            (Some((snapshot, moment)), Cover::Range(range)) if shortcut.is_some() => {
                (snapshot.range(range.clone()), moment)
            }
            (Some((snapshot, moment)), Cover::All) => (snapshot.range_in(keyspace, ..), moment),
            (Some((snapshot, moment)), Cover::Range(range)) => {
                (snapshot.range_in(keyspace, range.clone()), moment)
            }
            // Snapshots scan prefixes of the default keyspace alone.
            (Some((snapshot, moment)), Cover::Prefix(prefix)) if space == 0 => {
                (snapshot.prefix(prefix), moment)
            }
            (_, cover) => {
                let iter = match (shortcut, cover) {
                    (Some(db), Cover::All) => db.iter(),
                    (Some(db), Cover::Range(range)) => db.range(range.clone()),
                    (Some(db), Cover::Prefix(prefix)) => db.prefix(prefix),
                    (None, Cover::All) => keyspace.iter(),
                    (None, Cover::Range(range)) => keyspace.range(range.clone()),
                    (None, Cover::Prefix(prefix)) => keyspace.prefix(prefix),
                };
                (iter, now)
            }
        };
        let oracle = self.oracle.lock();
        let expected = oracle.scan(space, cover, moment);
        let expected = expected.map(|(key, value)| (key.clone(), Arc::clone(value))).collect();
        RunningScan { iter, expected, failed: false, answers: self.answers.clone() }
    }

    pub(super) fn open_cursor(&mut self, space: usize, snapshot: Option<usize>) {
        let (space, now) = (self.space(space), self.moment());
        let snapshot = snapshot.and_then(|n| nth(&mut self.handles().snapshots, n).cloned());
        let opened = match snapshot {
            // Snapshots have cursors over the default keyspace alone.
            Some((snapshot, moment)) => RunningCursor {
                cursor: snapshot.cursor(),
                space: 0,
                moment,
                at: None,
                answers: self.answers.clone(),
            },
            None => RunningCursor {
                cursor: match self.shortcut(space) {
                    Some(db) => db.cursor(),
                    None => self.spaces()[space].cursor(),
                },
                space,
                moment: now,
                at: None,
                answers: self.answers.clone(),
            },
        };
        hold(&mut self.handles().cursors, opened);
    }
}

impl RunningScan {
    pub(super) fn run(&mut self, direction: Direction) -> Result<()> {
        let mut turn = 0;
        while !self.expected.is_empty() {
            self.step(match direction {
                Direction::Forward => End::Front,
                Direction::Backward => End::Back,
                Direction::Mixed(bits) if (bits >> (turn % 64)) & 1 == 0 => End::Front,
                Direction::Mixed(_) => End::Back,
            })?;
            turn += 1;
        }
        for end in [End::Front, End::Back, End::Front] {
            self.step(end)?;
        }
        Ok(())
    }

    pub(super) fn step(&mut self, end: End) -> Result<()> {
        let (found, expected) = match end {
            _ if self.failed => return Ok(()),
            End::Front => (self.iter.next(), self.expected.pop_front()),
            End::Back => (self.iter.next_back(), self.expected.pop_back()),
        };
        let found = found.transpose().inspect_err(|_| self.failed = true)?;
        let found = found.as_ref().map(|(key, value)| (&**key, &**value));
        self.answers.maybe(found.map(|(key, _)| key));
        self.answers.maybe(found.map(|(_, value)| value));
        check_entry("scan", found, expected.as_ref().map(|(key, value)| (&**key, &**value)));
        Ok(())
    }
}

impl RunningCursor {
    pub(super) fn go(&mut self, to: &Move, oracle: &Oracle) -> Result<()> {
        let at = self.at.take();
        let (space, moment) = (self.space, self.moment);
        let cover = |start, end| Cover::Range((start, end));
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let first = |cover| oracle.scan(space, &cover, moment).next();
        let last = |cover| oracle.scan(space, &cover, moment).next_back();
        let (moved, expected) = match to {
            Move::First => (self.cursor.seek_first(), first(Cover::All)),
            Move::Last => (self.cursor.seek_last(), last(Cover::All)),
            Move::Seek(key) => {
                (self.cursor.seek(key), first(cover(Included(key.clone()), Unbounded)))
            }
            Move::SeekForPrev(key) => {
                (self.cursor.seek_for_prev(key), last(cover(Unbounded, Included(key.clone()))))
            }
            Move::Next => {
                let expected = at.and_then(|at| first(cover(Excluded(at), Unbounded)));
                (self.cursor.next(), expected)
            }
            Move::Prev => {
                let expected = at.and_then(|at| last(cover(Unbounded, Excluded(at))));
                (self.cursor.prev(), expected)
            }
        };
        // A failed move leaves it nowhere, as `at` says already.
        moved?;
        let expected = expected.map(|(key, value)| (&**key, &**value));
        let found = self.cursor.entry();
        self.answers.maybe(found.map(|(key, _)| key));
        self.answers.maybe(found.map(|(_, value)| value));
        check_entry("cursor", found, expected);
        self.at = expected.map(|(key, _)| key.to_vec());
        Ok(())
    }
}
