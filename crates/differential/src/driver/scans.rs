//! Iterators and cursors beside those of redb.

use super::compare::{check_record, check_value};
use super::reads::borrowed;
use super::{Driver, hold, nth};
use crate::call;
use crate::oracle::{Entry, View};
use std::ops::Bound::{Excluded, Included, Unbounded};
use tanada::{Cursor, Db, Iter, Keyspace, Result, Snapshot};
use tanada_sim::operation::{Cover, Direction, End, Key, Move};

type Expected = Box<dyn DoubleEndedIterator<Item = (Key, Entry)>>;

/// A begun scan on both sides.
pub(super) struct RunningScan {
    iter: Iter,
    expected: Expected,
}

/// A cursor, what it walks, and the key it must stand on.
pub(super) struct RunningCursor {
    cursor: Cursor,
    view: View,
    space: usize,
    at: Option<Key>,
}

/// Which end the `turn`-th step of a scan asks.
fn end(direction: Direction, turn: u32) -> End {
    match direction {
        Direction::Forward => End::Front,
        Direction::Backward => End::Back,
        Direction::Mixed(bits) if (bits >> (turn % 64)) & 1 == 0 => End::Front,
        Direction::Mixed(_) => End::Back,
    }
}

/// Both to their ends, in step.
fn walk<T>(
    mut found: impl DoubleEndedIterator<Item = Result<T>>,
    mut expected: Expected,
    direction: Direction,
    check: impl Fn(Option<T>, Option<(Key, Entry)>),
) -> Result<()> {
    for turn in 0.. {
        let (found, expected) = match end(direction, turn) {
            End::Front => (found.next(), expected.next()),
            End::Back => (found.next_back(), expected.next_back()),
        };
        let found = found.transpose()?;
        let is_over = found.is_none() && expected.is_none();
        check(found, expected);
        if is_over {
            break;
        }
    }
    // Behind its end it stays there, from either side.
    assert!(found.next().is_none() && found.next_back().is_none(), "goes on behind its end");
    Ok(())
}

fn check_pair(found: Option<(tanada::Value, tanada::Value)>, expected: Option<(Key, Entry)>) {
    let expected = expected.as_ref();
    let (key, value) = found.as_ref().map(|(key, value)| (&**key, &**value)).unzip();
    assert_eq!(
        key.map(<[u8]>::escape_ascii).map(|key| key.to_string()),
        expected.map(|(key, _)| key.escape_ascii().to_string()),
        "key of a scan"
    );
    check_value("scan", key.unwrap_or_default(), value, expected.map(|(_, entry)| entry));
}

impl Driver {
    pub(super) fn check_space(&mut self, space: usize) -> Result<()> {
        let view = self.view();
        for direction in [Direction::Forward, Direction::Backward] {
            let iter = call!(Keyspace::iter(self.keyspace(space)));
            let expected = view.scan(space, &Cover::All);
            walk(iter, Box::new(expected), direction, check_pair)?;
        }
        for (key, entry) in view.scan(space, &Cover::All) {
            let value = call!(Keyspace::get(self.keyspace(space), &key))?;
            check_value("get", &key, value.as_deref(), Some(&entry));
        }
        Ok(())
    }

    pub(super) fn begin_scan(
        &mut self,
        space: usize,
        snapshot: Option<usize>,
        cover: &Cover,
    ) -> RunningScan {
        let (space, now) = (self.space(space), self.view());
        let snapshot = snapshot.and_then(|slot| nth(&mut self.opened().snapshots, slot).cloned());
        let (keyspace, shortcut) = (self.keyspace(space), self.shortcut(space));
        if let Some((snapshot, view)) = snapshot {
            let iter = match (shortcut, cover) {
                (Some(_), Cover::All) => call!(Snapshot::iter(&snapshot)),
                (Some(_), Cover::Range(range)) => call!(Snapshot::range(&snapshot, range.clone())),
                (Some(_), Cover::Prefix(prefix)) => call!(Snapshot::prefix(&snapshot, prefix)),
                (None, cover) => iter_in(&snapshot, keyspace, cover),
            };
            return RunningScan { iter, expected: Box::new(view.scan(space, cover)) };
        }
        let iter = match (shortcut, cover) {
            (Some(db), Cover::All) => call!(Db::iter(db)),
            (Some(db), Cover::Range(range)) => call!(Db::range(db, range.clone())),
            (Some(db), Cover::Prefix(prefix)) => call!(Db::prefix(db, prefix)),
            (None, cover) => self.iter(space, cover),
        };
        RunningScan { iter, expected: Box::new(now.scan(space, cover)) }
    }

    fn iter(&self, space: usize, cover: &Cover) -> Iter {
        let keyspace = self.keyspace(space);
        match cover {
            Cover::All => call!(Keyspace::iter(keyspace)),
            Cover::Range(range) => call!(Keyspace::range(keyspace, range.clone())),
            Cover::Prefix(prefix) => call!(Keyspace::prefix(keyspace, prefix)),
        }
    }

    pub(super) fn scan_at(
        &mut self,
        slot: usize,
        space: usize,
        cover: &Cover,
        direction: Direction,
    ) -> Result<()> {
        let space = self.space(space);
        let Some((snapshot, view)) = nth(&mut self.opened().snapshots, slot).cloned() else {
            return Ok(());
        };
        let iter = iter_in(&snapshot, self.keyspace(space), cover);
        walk(iter, Box::new(view.scan(space, cover)), direction, check_pair)
    }

    pub(super) fn records(
        &mut self,
        space: usize,
        cover: &Cover,
        direction: Direction,
    ) -> Result<()> {
        let (space, view) = (self.space(space), self.view());
        let records = call!(Iter::records(self.iter(space, cover)));
        walk(records, Box::new(view.scan(space, cover)), direction, |found, expected| {
            let expected = expected.as_ref().map(|(key, entry)| (&key[..], entry));
            check_record("records", found.as_ref().map(borrowed), expected);
        })
    }

    pub(super) fn keys(&mut self, space: usize, cover: &Cover, direction: Direction) -> Result<()> {
        let (space, view) = (self.space(space), self.view());
        let keys = call!(Iter::keys(self.iter(space, cover)));
        walk(keys, Box::new(view.scan(space, cover)), direction, |found, expected| {
            let (found, expected) = (found.as_deref(), expected.map(|(key, _)| key));
            assert!(found == expected.as_deref(), "keys: found {found:?}, expected {expected:?}");
        })
    }

    pub(super) fn open_cursor(&mut self, space: usize, snapshot: Option<usize>) {
        let (space, now) = (self.space(space), self.view());
        let snapshot = snapshot.and_then(|slot| nth(&mut self.opened().snapshots, slot).cloned());
        let (cursor, view) = match (snapshot, self.shortcut(space)) {
            (Some((snapshot, view)), Some(_)) => (call!(Snapshot::cursor(&snapshot)), view),
            (Some((snapshot, view)), None) => {
                (call!(Snapshot::cursor_in(&snapshot, self.keyspace(space))), view)
            }
            (None, Some(db)) => (call!(Db::cursor(db)), now),
            (None, None) => (call!(Keyspace::cursor(self.keyspace(space))), now),
        };
        hold(&mut self.opened().cursors, RunningCursor { cursor, view, space, at: None });
    }

    pub(super) fn cursor_at(&mut self, slot: usize, space: usize, moves: &[Move]) -> Result<()> {
        let space = self.space(space);
        let Some((snapshot, view)) = nth(&mut self.opened().snapshots, slot).cloned() else {
            return Ok(());
        };
        let cursor = call!(Snapshot::cursor_in(&snapshot, self.keyspace(space)));
        let mut cursor = RunningCursor { cursor, view, space, at: None };
        moves.iter().try_for_each(|to| cursor.go(to))
    }
}

fn iter_in(snapshot: &Snapshot, keyspace: &Keyspace, cover: &Cover) -> Iter {
    match cover {
        Cover::All => call!(Snapshot::range_in(snapshot, keyspace, ..)),
        Cover::Range(range) => call!(Snapshot::range_in(snapshot, keyspace, range.clone())),
        Cover::Prefix(prefix) => call!(Snapshot::prefix_in(snapshot, keyspace, prefix)),
    }
}

impl RunningScan {
    pub(super) fn run(self, direction: Direction) -> Result<()> {
        walk(self.iter, self.expected, direction, check_pair)
    }

    pub(super) fn step(&mut self, end: End) -> Result<()> {
        let (found, expected) = match end {
            End::Front => (self.iter.next(), self.expected.next()),
            End::Back => (self.iter.next_back(), self.expected.next_back()),
        };
        check_pair(found.transpose()?, expected);
        Ok(())
    }
}

impl RunningCursor {
    pub(super) fn go(&mut self, to: &Move) -> Result<()> {
        // A failed move leaves it nowhere.
        let at = self.at.take();
        let cover = |start, end| Cover::Range((start, end));
        let first = |cover| self.view.scan(self.space, &cover).next();
        let last = |cover| self.view.scan(self.space, &cover).next_back();
        let cursor = &mut self.cursor;
        let (moved, expected) = match to {
            Move::First => (call!(Cursor::seek_first(cursor)), first(Cover::All)),
            Move::Last => (call!(Cursor::seek_last(cursor)), last(Cover::All)),
            Move::Seek(key) => {
                (call!(Cursor::seek(cursor, key)), first(cover(Included(key.clone()), Unbounded)))
            }
            Move::SeekForPrev(key) => (
                call!(Cursor::seek_for_prev(cursor, key)),
                last(cover(Unbounded, Included(key.clone()))),
            ),
            Move::Next => {
                let expected = at.and_then(|at| first(cover(Excluded(at), Unbounded)));
                (call!(Cursor::next(cursor)), expected)
            }
            Move::Prev => {
                let expected = at.and_then(|at| last(cover(Unbounded, Excluded(at))));
                (call!(Cursor::prev(cursor)), expected)
            }
        };
        moved?;
        let stamped = expected.as_ref().map(|(key, entry)| (&key[..], entry));
        check_record("cursor", call!(Cursor::record(cursor)), stamped);
        let entry = call!(Cursor::entry(cursor));
        assert!(
            entry == stamped.map(|(key, entry)| (key, &entry.value[..])),
            "a cursor's entry is not its record"
        );
        self.at = expected.map(|(key, _)| key);
        Ok(())
    }
}
