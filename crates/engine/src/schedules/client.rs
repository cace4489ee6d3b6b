//! One thread of a program that uses the database: does what is drawn, and tells the
//! history what it wrote and saw.

use super::dice::{Data, Dice, Kind, Mix};
use super::history::{Changes, Found, History, KEYS, Moment, Place, Promise, SPACES};
use crate::{
    Batch, Condition, Db, Durability, Error, Keyspace, KeyspaceOptions, Result, Snapshot,
    WriteOptions,
};
use std::path::Path;
use std::sync::Arc;

/// The names of the keyspaces beside the default one.
pub(super) const NAMES: [&str; SPACES - 1] = ["left", "right"];

/// Where checkpoints lie.
pub(super) const COPIES: &str = "/copies";

pub(super) fn key(of: u8) -> [u8; 2] {
    [b'k', of]
}

/// One thread's.
pub(super) struct Client {
    pub(super) db: Db,
    pub(super) history: Arc<History>,
    pub(super) dice: Dice,
    /// Its number among all clients.
    pub(super) number: usize,
    data: Data,
    /// The keyspaces that it has opened.
    spaces: Vec<Option<Keyspace>>,
    held: Vec<Snapshot>,
    /// Values that it has made.
    made: u32,
}

impl Client {
    pub(super) fn new(
        db: &Db,
        history: &Arc<History>,
        dice: Dice,
        number: usize,
        data: Data,
    ) -> Client {
        let mut spaces = vec![None; SPACES];
        spaces[0] = Some(db.default_keyspace().clone());
        Client {
            db: db.clone(),
            history: Arc::clone(history),
            dice,
            number,
            data,
            spaces,
            held: Vec::new(),
            made: 0,
        }
    }

    /// Makes other values than the one before it with the same number.
    pub(super) fn skip_values(&mut self, many: u32) {
        self.made += many;
    }

    /// Does `steps` things, fewer when the database is closed meanwhile.
    pub(super) fn run(mut self, mix: &Mix, steps: usize) {
        if self.work(mix, steps) {
            let ended = self.end();
            assert!(matches!(ended, Ok(()) | Err(Error::Closed)), "{ended:?}");
        }
    }

    /// Does `steps` things; answers whether the database is still open.
    pub(super) fn work(&mut self, mix: &Mix, steps: usize) -> bool {
        for _ in 0..steps {
            let kind = mix.next(&mut self.dice);
            match self.step(kind) {
                Ok(()) => {}
                Err(Error::Closed) => return false,
                Err(e) => panic!("{kind:?}: {e:?}"),
            }
        }
        true
    }

    /// Looks at everything once more: what is held, and all keys, one by one.
    fn end(&mut self) -> Result<()> {
        while let Some(snapshot) = self.held.pop() {
            self.read_snapshot(&snapshot)?;
        }
        for space in 0..SPACES {
            let Some(keyspace) = self.spaces[space].clone() else { continue };
            for of in 0..KEYS {
                let oldest = self.history.acknowledged();
                let found = keyspace.get(key(of))?.map(|value| value.to_vec());
                self.saw("last get", oldest, vec![((space, of), found)]);
            }
        }
        Ok(())
    }

    pub(super) fn step(&mut self, kind: Kind) -> Result<()> {
        match kind {
            Kind::Put => self.put(),
            Kind::Batch => self.batch(),
            Kind::Swap => self.swap(),
            Kind::Delete => self.delete(),
            Kind::Get => self.get(),
            Kind::MultiGet => self.multi_get(),
            Kind::Snapshot => self.snapshot(),
            Kind::ReadHeld => self.read_held(),
            Kind::Iterate => self.iterate(),
            Kind::Walk => self.walk(),
            Kind::Keyspace => {
                let space = 1 + self.dice.below(SPACES as u64 - 1) as usize;
                self.open(space).map(drop)
            }
            Kind::Flush => self.flush(),
            Kind::FlushOne => self.flush_one(),
            Kind::Compact => {
                let (_, keyspace) = self.any_space()?;
                keyspace.compact(..).map(drop)
            }
            Kind::Checkpoint => self.checkpoint(),
            Kind::Statistics => {
                let stats = self.db.stats();
                assert!(stats.keyspaces.len() <= SPACES);
                Ok(())
            }
        }
    }

    /// A keyspace, opened by its name, now and then though it has been before.
    fn open(&mut self, space: usize) -> Result<Keyspace> {
        if space > 0 && (self.spaces[space].is_none() || self.dice.one_in(4)) {
            let opened = self.db.keyspace(NAMES[space - 1], KeyspaceOptions::new())?;
            self.history.opened(space, opened.state.id.0);
            self.spaces[space] = Some(opened);
        }
        Ok(self.spaces[space].clone().expect("opened above"))
    }

    fn any_space(&mut self) -> Result<(usize, Keyspace)> {
        let space = self.dice.below(self.data.spaces as u64) as usize;
        Ok((space, self.open(space)?))
    }

    fn any_key(&mut self) -> u8 {
        self.dice.below(self.data.keys.into()) as u8
    }

    /// A value that no other write has.
    fn value(&mut self) -> Vec<u8> {
        self.made += 1;
        let mut value = format!("{}.{:<6}", self.number, self.made).into_bytes();
        value.resize(self.data.value_bytes.max(value.len()), self.made as u8);
        value
    }

    fn put(&mut self) -> Result<()> {
        let (space, keyspace) = self.any_space()?;
        let (of, value) = (self.any_key(), self.value());
        let last = keyspace.put(key(of), &value)?;
        self.history.wrote(last.0, vec![((space, of), Some(value))], Some(Promise::Power));
        Ok(())
    }

    fn delete(&mut self) -> Result<()> {
        let (space, keyspace) = self.any_space()?;
        let of = self.any_key();
        let last = keyspace.delete(key(of))?;
        self.history.wrote(last.0, vec![((space, of), None)], Some(Promise::Power));
        Ok(())
    }

    /// Several writes, to one keyspace or to several.
    fn batch(&mut self) -> Result<()> {
        let mut batch = Batch::new();
        let mut changes = Changes::new();
        for _ in 0..2 + self.dice.below(3) {
            let (space, keyspace) = self.any_space()?;
            let of = self.any_key();
            if self.dice.one_in(5) {
                batch.delete_in(&keyspace, key(of));
                changes.push(((space, of), None));
            } else {
                let value = self.value();
                batch.put_in(&keyspace, key(of), &value);
                changes.push(((space, of), Some(value)));
            }
        }
        let (durability, promise) = self.any_durability();
        let last = self.db.write_with(batch, WriteOptions::new().durability(durability))?;
        self.history.wrote(last.0, changes, promise);
        Ok(())
    }

    fn any_durability(&mut self) -> (Durability, Option<Promise>) {
        self.dice.pick(&[
            (Durability::Synced, Some(Promise::Power)),
            (Durability::Buffered, Some(Promise::Process)),
            (Durability::Memory, None),
        ])
    }

    /// Reads one key or two, and writes to them and others if they are still as they were.
    fn swap(&mut self) -> Result<()> {
        let (mut batch, mut changes, mut read) = (Batch::new(), Changes::new(), Vec::new());
        for _ in 0..1 + self.dice.below(2) {
            let (space, keyspace) = self.any_space()?;
            let of = self.any_key();
            let record = keyspace.get_record(key(of))?;
            let version = record.map(|record| record.version);
            let condition = version.map_or(Condition::Absent, Condition::Version);
            batch.check_in(&keyspace, key(of), condition);
            read.push(((space, of), version.map(|version| version.0)));
            if !self.dice.one_in(4) {
                let value = self.value();
                batch.put_in(&keyspace, key(of), &value);
                changes.push(((space, of), Some(value)));
            }
        }
        if self.dice.one_in(3) {
            let (space, keyspace) = self.any_space()?;
            let of = self.any_key();
            batch.delete_in(&keyspace, key(of));
            changes.push(((space, of), None));
        }
        let (durability, promise) = self.any_durability();
        let oldest = self.history.acknowledged();
        match self.db.write_with(batch, WriteOptions::new().durability(durability)) {
            Ok(last) => {
                let before = last.0 - changes.len() as u64;
                self.history.held(before, read);
                if !changes.is_empty() {
                    self.history.wrote(last.0, changes, promise);
                }
                Ok(())
            }
            Err(Error::Conflict(conflict)) => {
                let newest = self.db.default_keyspace().core().reading.visible().0;
                let failed = conflict.failed.iter().map(|failed| {
                    let (place, was) = read[failed.index];
                    let is = failed.version.map(|version| version.0);
                    assert_ne!(is, was, "it is as it was, and refused");
                    (place, is)
                });
                self.history.refused((oldest, newest), failed.collect());
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    /// Notes what a read has found that began when `oldest` was acknowledged.
    fn saw(&self, how: &'static str, oldest: u64, found: Changes) {
        let newest = self.db.default_keyspace().core().reading.visible().0;
        let moment = Moment::Between { reader: self.number, oldest, newest };
        self.history.saw(how, moment, found);
    }

    fn get(&mut self) -> Result<()> {
        let (space, keyspace) = self.any_space()?;
        for _ in 0..1 + self.dice.below(2) {
            let of = self.any_key();
            let oldest = self.history.acknowledged();
            let found = keyspace.get(key(of))?.map(|value| value.to_vec());
            self.saw("get", oldest, vec![((space, of), found)]);
        }
        Ok(())
    }

    fn multi_get(&mut self) -> Result<()> {
        let (space, keyspace) = self.any_space()?;
        let oldest = self.history.acknowledged();
        let found = keyspace.multi_get((0..KEYS).map(key))?;
        let found = found.into_iter().map(|value| value.map(|value| value.to_vec()));
        self.saw("multi_get", oldest, (0..KEYS).map(|of| (space, of)).zip(found).collect());
        Ok(())
    }

    fn snapshot(&mut self) -> Result<()> {
        let oldest = self.history.acknowledged();
        let snapshot = self.db.snapshot();
        assert!(snapshot.seqno().0 >= oldest, "a snapshot sees what was acknowledged before");
        self.read_snapshot(&snapshot)?;
        if self.held.len() < 2 && !self.dice.one_in(3) {
            self.held.push(snapshot);
        }
        Ok(())
    }

    fn read_held(&mut self) -> Result<()> {
        let Some(snapshot) = self.held.last().cloned() else { return self.snapshot() };
        self.read_snapshot(&snapshot)
    }

    /// Reads a part of what a snapshot sees, key by key or as a scan.
    fn read_snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        let at = Moment::At(snapshot.seqno().0);
        let (space, keyspace) = self.any_space()?;
        if self.dice.one_in(2) {
            for of in 0..KEYS {
                let found = snapshot.get_in(&keyspace, key(of))?.map(|value| value.to_vec());
                self.history.saw("snapshot's get", at, vec![((space, of), found)]);
            }
            return Ok(());
        }
        let found = snapshot.range_in(&keyspace, ..).collect::<Result<Vec<_>>>()?;
        let found = found.into_iter().map(|(key, value)| (key[1], value.to_vec()));
        self.history.saw("snapshot's scan", at, all_of(space, found));
        Ok(())
    }

    /// All keys of a keyspace, from either end.
    fn iterate(&mut self) -> Result<()> {
        let (space, keyspace) = self.any_space()?;
        let oldest = self.history.acknowledged();
        let iter = keyspace.iter();
        let at = iter.seqno().0;
        assert!(at >= oldest, "an iterator sees what was acknowledged before");
        let found: Result<Vec<_>> = match self.dice.one_in(2) {
            true => iter.collect(),
            false => iter.rev().collect(),
        };
        let found = found?.into_iter().map(|(key, value)| (key[1], value.to_vec()));
        self.history.saw("iterator", Moment::At(at), all_of(space, found));
        Ok(())
    }

    /// A cursor, which does something else between two of its steps, and goes both ways.
    fn walk(&mut self) -> Result<()> {
        let (space, keyspace) = self.any_space()?;
        let oldest = self.history.acknowledged();
        let mut cursor = keyspace.cursor();
        let at = cursor.seqno().0;
        assert!(at >= oldest, "a cursor sees what was acknowledged before");
        let between = self.dice.pick(&[Kind::Put, Kind::Batch, Kind::Get, Kind::FlushOne]);
        let forward = self.dice.one_in(2);
        let mut found = Vec::new();
        match forward {
            true => cursor.seek_first()?,
            false => cursor.seek_last()?,
        }
        while let Some((key, value)) = cursor.entry() {
            found.push((key[1], value.to_vec()));
            if found.len() == 1 && self.dice.one_in(2) {
                self.step(between)?;
            }
            match forward {
                true => cursor.next()?,
                false => cursor.prev()?,
            }
        }
        self.history.saw("cursor", Moment::At(at), all_of(space, found));
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let before = self.history.acknowledged();
        self.db.flush()?;
        self.history.promise(before, Promise::Power);
        Ok(())
    }

    /// A checkpoint under a name of its own; now and then one that is taken, perhaps by
    /// another that is being made.
    fn checkpoint(&mut self) -> Result<()> {
        self.made += 1;
        let name = match self.dice.one_in(3) {
            true => "shared".to_owned(),
            false => format!("{}.{}", self.number, self.made),
        };
        let promised = self.history.acknowledged();
        match self.db.checkpoint(Path::new(COPIES).join(&name)) {
            Ok(summary) => self.history.copied(name, promised, summary.seqno),
            Err(Error::AlreadyExists { .. }) if name == "shared" => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn flush_one(&mut self) -> Result<()> {
        let (space, keyspace) = self.any_space()?;
        let before = self.history.acknowledged_in(space);
        keyspace.flush()?;
        self.history.promise(before, Promise::Power);
        Ok(())
    }
}

/// What a scan of a whole keyspace says of each key.
pub(super) fn all_of(space: usize, found: impl IntoIterator<Item = (u8, Vec<u8>)>) -> Changes {
    let mut all: Vec<(Place, Found)> = (0..KEYS).map(|of| ((space, of), None)).collect();
    for (of, value) in found {
        let entry = &mut all[usize::from(of)].1;
        assert!(entry.is_none(), "a scan shows key {of} twice");
        *entry = Some(value);
    }
    all
}
