//! What others do while a job of the background is under way: they read, scan,
//! take snapshots, write, and let other jobs begin.
//!
//! There is one thread. A job calls the file system, and there the others come in,
//! finish what they do, and let the job go on: so the job meets every change that
//! threads could bring about between two of its calls.

use crate::operation::{Cover, ValueSpec, Write};
use crate::oracle::{Moment, Oracle};
use crate::runner::TrueTime;
use parking_lot::Mutex;
use std::sync::Arc;
use tanada::{Batch, Db, Durability, Error, Keyspace, Result, Snapshot, WriteOptions};
use tanada_vfs::MemoryMachine;
use tanada_vfs::memory::Dice;

/// Snapshots they hold at once.
const SNAPSHOTS: usize = 3;

/// Somebody else with the same database open.
#[derive(Debug)]
pub(crate) struct Others {
    pub(crate) db: Db,
    pub(crate) spaces: Vec<Keyspace>,
    pub(crate) oracle: Arc<Mutex<Oracle>>,
    pub(crate) machine: MemoryMachine,
    pub(crate) time: TrueTime,
    pub(crate) snapshots: Mutex<Vec<(Snapshot, Moment)>>,
}

/// What they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Write,
    Get,
    Scan,
    Snapshot,
    Step,
}

impl Deed {
    /// One that may be done now: nobody writes while a write waits for room.
    pub(crate) fn draw(dice: &mut Dice, may_write: bool) -> Deed {
        match dice.below(10) {
            0..=3 if may_write => Deed::Write,
            0..=4 => Deed::Get,
            5 => Deed::Scan,
            6 | 7 => Deed::Snapshot,
            _ => Deed::Step,
        }
    }
}

impl Others {
    /// Does it.
    ///
    /// # Errors
    /// What the engine answers.
    ///
    /// # Panics
    /// When an answer is wrong.
    pub(crate) fn act(&self, deed: Deed, dice: &mut Dice) -> Result<()> {
        let space = dice.below(self.spaces.len() as u64) as usize;
        match deed {
            Deed::Write => self.write(space, dice),
            Deed::Get => self.get(space, dice),
            Deed::Scan => self.scan(space, dice, None),
            Deed::Snapshot => self.snapshot(space, dice),
            Deed::Step => {
                self.db.step();
                Ok(())
            }
        }
    }

    fn now(&self) -> Moment {
        let seqno = self.oracle.lock().visible;
        Moment { seqno, now_ms: self.now_ms() }
    }

    fn now_ms(&self) -> u64 {
        self.time.believed_ms(&self.machine, &self.db)
    }

    /// A key that somebody has written, or a new one.
    fn key(&self, space: usize, dice: &mut Dice) -> Vec<u8> {
        let oracle = self.oracle.lock();
        let keys = &oracle.spaces[space].keys;
        let n = dice.below(keys.len() as u64 + 1) as usize;
        keys.keys().nth(n).cloned().unwrap_or_else(|| b"of others".to_vec())
    }

    fn write(&self, space: usize, dice: &mut Dice) -> Result<()> {
        let count = 1 + dice.below(3);
        let mut writes = Vec::new();
        for _ in 0..count {
            let key = self.key(space, dice);
            let len = dice.below(300) as usize;
            let value = ValueSpec { len, stamp: dice.next_u64(), plain: false };
            writes.push(Write {
                space,
                key,
                value: Some(value).filter(|_| len > 30),
                ttl_ms: None,
            });
        }
        let mut batch = Batch::new();
        for write in &writes {
            match write.value {
                Some(value) => batch.put_in(&self.spaces[space], &write.key, value.bytes()),
                None => batch.delete_in(&self.spaces[space], &write.key),
            }
        }
        let now_ms = self.now_ms();
        let expected = {
            let mut oracle = self.oracle.lock();
            if oracle.started != oracle.visible {
                return Ok(()); // the outcome of an earlier one is unknown
            }
            oracle.begin(&writes, now_ms)
        };
        let durability = match dice.below(3) {
            0 => Durability::Memory,
            1 => Durability::Buffered,
            _ => Durability::Synced,
        };
        match self.db.write_with(batch, WriteOptions::new().durability(durability)) {
            Ok(seqno) => {
                assert_eq!(seqno.0, expected, "the write has another sequence number");
                self.oracle.lock().acknowledge(durability);
                Ok(())
            }
            Err(e) => {
                let refused = matches!(e, Error::ReadOnly { .. } | Error::MemoryFull { .. });
                if refused || matches!(e, Error::Closed) {
                    self.oracle.lock().withdraw();
                }
                // The only job that would make room may be the one that waits for us.
                if refused { Ok(()) } else { Err(e) }
            }
        }
    }

    fn get(&self, space: usize, dice: &mut Dice) -> Result<()> {
        let (key, moment) = (self.key(space, dice), self.now());
        let found = self.spaces[space].get(&key)?;
        let oracle = self.oracle.lock();
        let expected = oracle.get(space, &key, moment).and_then(|v| v.value.as_deref());
        assert!(
            found.as_deref() == expected,
            "a get during a job: {:?} bytes found, {:?} expected, of \"{}\"",
            found.as_deref().map(<[u8]>::len),
            expected.map(<[u8]>::len),
            key[..key.len().min(40)].escape_ascii()
        );
        Ok(())
    }

    fn scan(&self, space: usize, dice: &mut Dice, at: Option<&(Snapshot, Moment)>) -> Result<()> {
        let now = self.now();
        let keyspace = &self.spaces[space];
        let (iter, moment) = match at {
            Some((snapshot, moment)) => (snapshot.range_in(keyspace, ..), *moment),
            None => (keyspace.iter(), now),
        };
        let mut found = match dice.below(2) {
            0 => iter.collect::<Result<Vec<_>>>()?,
            _ => {
                let mut back = iter.rev().collect::<Result<Vec<_>>>()?;
                back.reverse();
                back
            }
        }
        .into_iter();
        let oracle = self.oracle.lock();
        for (key, value) in oracle.scan(space, &Cover::All, moment) {
            let next = found.next();
            let next = next.as_ref().map(|(key, value)| (&**key, &**value));
            assert!(
                next == Some((&**key, &**value)),
                "a scan during a job misses \"{}\" or has another value of it",
                key[..key.len().min(40)].escape_ascii()
            );
        }
        assert!(found.next().is_none(), "a scan during a job has a key too many");
        Ok(())
    }

    /// Takes one, or looks at one that was taken earlier and may let it go.
    fn snapshot(&self, space: usize, dice: &mut Dice) -> Result<()> {
        let mut held = std::mem::take(&mut *self.snapshots.lock());
        if held.len() < SNAPSHOTS && dice.chance(500) {
            let moment = self.now();
            let snapshot = self.db.snapshot();
            assert_eq!(snapshot.seqno().0, moment.seqno, "a snapshot of another moment");
            held.push((snapshot, moment));
        }
        let looked = match held.is_empty() {
            true => Ok(()),
            false => {
                let n = dice.below(held.len() as u64) as usize;
                let looked = self.scan(space, dice, Some(&held[n]));
                if dice.chance(300) {
                    held.remove(n);
                }
                looked
            }
        };
        *self.snapshots.lock() = held;
        looked
    }
}
