//! Reads of single keys and of several, now and at a snapshot; and what must be refused.

use super::compare::{Short, check_record, check_value};
use super::{Driver, hold, nth};
use crate::call;
use std::time::Duration;
use tanada::{
    Batch, Db, Error, Keyspace, KeyspaceOptions, MAX_KEY_LEN, PutOptions, Record, RecordRef,
    Result, Snapshot,
};
use tanada_sim::operation::{Key, Refusal};

pub(super) fn borrowed(record: &Record) -> RecordRef<'_> {
    let Record { key, value, version, expires_at } = record;
    RecordRef { key, value, version: *version, expires_at: *expires_at }
}

impl Driver {
    pub(super) fn get(&mut self, space: usize, key: &Key) -> Result<()> {
        let (space, view) = (self.space(space), self.view());
        let keyspace = self.keyspace(space);
        let (value, contains, record) = match self.shortcut(space) {
            Some(db) => (
                call!(Db::get(db, key))?,
                call!(Db::contains(db, key))?,
                call!(Db::get_record(db, key))?,
            ),
            None => (
                call!(Keyspace::get(keyspace, key))?,
                call!(Keyspace::contains(keyspace, key))?,
                call!(Keyspace::get_record(keyspace, key))?,
            ),
        };
        let expected = view.get(space, key);
        let stamped = expected.as_ref().map(|entry| (&key[..], entry));
        check_value("get", key, value.as_deref(), expected.as_ref());
        assert_eq!(contains, expected.is_some(), "contains {}", Short(key));
        check_record("get_record", record.as_ref().map(borrowed), stamped);
        match call!(Keyspace::try_get_record(keyspace, key)) {
            Err(Error::WouldBlock) => {}
            record => check_record("try_get_record", record?.as_ref().map(borrowed), stamped),
        }
        Ok(())
    }

    pub(super) fn explain(&mut self, space: usize, key: &Key) -> Result<()> {
        let (space, view) = (self.space(space), self.view());
        let explained = match self.shortcut(space) {
            Some(db) => call!(Db::explain(db, key))?,
            None => call!(Keyspace::explain(self.keyspace(space), key))?,
        };
        let expected = view.get(space, key);
        check_value("explain", key, explained.value.as_deref(), expected.as_ref());
        assert!(!explained.steps.is_empty(), "nobody was asked for {}", Short(key));
        if let Some(entry) = expected {
            assert_eq!(explained.seqno, Some(entry.version), "version of {}", Short(key));
        }
        Ok(())
    }

    pub(super) fn multi_get(&mut self, space: usize, keys: &[Key]) -> Result<()> {
        let (space, view) = (self.space(space), self.view());
        let values = match self.shortcut(space) {
            Some(db) => call!(Db::multi_get(db, keys))?,
            None => call!(Keyspace::multi_get(self.keyspace(space), keys))?,
        };
        assert_eq!(values.len(), keys.len(), "values of multi_get");
        for (key, value) in keys.iter().zip(values) {
            check_value("multi_get", key, value.as_deref(), view.get(space, key).as_ref());
        }
        Ok(())
    }

    pub(super) fn take_snapshot(&mut self) {
        let view = self.view();
        let snapshot = call!(Db::snapshot(self.db()));
        assert_eq!(call!(Snapshot::seqno(&snapshot)).0, self.newest, "a snapshot's moment");
        hold(&mut self.opened().snapshots, (snapshot, view));
    }

    pub(super) fn get_at(&mut self, slot: usize, space: usize, key: &Key) -> Result<()> {
        let space = self.space(space);
        let Some((snapshot, view)) = nth(&mut self.opened().snapshots, slot).cloned() else {
            return Ok(());
        };
        let (value, record) = match self.shortcut(space) {
            Some(_) => (
                call!(Snapshot::get(&snapshot, key))?,
                call!(Snapshot::get_record(&snapshot, key))?,
            ),
            None => {
                let keyspace = self.keyspace(space);
                (
                    call!(Snapshot::get_in(&snapshot, keyspace, key))?,
                    call!(Snapshot::get_record_in(&snapshot, keyspace, key))?,
                )
            }
        };
        let expected = view.get(space, key);
        check_value("get at a snapshot", key, value.as_deref(), expected.as_ref());
        let stamped = expected.as_ref().map(|entry| (&key[..], entry));
        check_record("get_record at a snapshot", record.as_ref().map(borrowed), stamped);
        Ok(())
    }

    pub(super) fn multi_get_at(&mut self, slot: usize, space: usize, keys: &[Key]) -> Result<()> {
        let space = self.space(space);
        let Some((snapshot, view)) = nth(&mut self.opened().snapshots, slot).cloned() else {
            return Ok(());
        };
        let values = match self.shortcut(space) {
            Some(_) => call!(Snapshot::multi_get(&snapshot, keys))?,
            None => call!(Snapshot::multi_get_in(&snapshot, self.keyspace(space), keys))?,
        };
        assert_eq!(values.len(), keys.len(), "values of multi_get at a snapshot");
        for (key, value) in keys.iter().zip(values) {
            let expected = view.get(space, key);
            check_value("multi_get at a snapshot", key, value.as_deref(), expected.as_ref());
        }
        Ok(())
    }

    pub(super) fn names(&mut self, slot: usize) -> Result<()> {
        let db = self.db();
        assert_eq!(call!(Db::keyspaces(db)), self.names[1..], "names of keyspaces");
        assert!(call!(Db::find_keyspace(db, "nobody's"))?.is_none(), "a keyspace of nobody");
        let lineage = call!(Db::lineage(db)).to_string();
        assert_eq!(call!(Db::stats(db)).lineage, lineage, "the lineage");
        let names = self.names.clone();
        if let Some((snapshot, _)) = nth(&mut self.opened().snapshots, slot) {
            let seen = call!(Snapshot::keyspaces(snapshot));
            let seen: Vec<&str> = seen.iter().map(Keyspace::name).collect();
            assert_eq!(seen, names[..seen.len()], "names of a snapshot's keyspaces");
        }
        Ok(())
    }

    pub(super) fn stats(&mut self) -> Result<()> {
        let stats = call!(Db::stats(self.db()));
        assert_eq!(stats.seqno, self.newest, "the newest write in the statistics");
        let names: Vec<&str> = stats.keyspaces.iter().map(|space| &*space.name).collect();
        assert_eq!(names, self.names, "keyspaces in the statistics");
        Ok(())
    }

    pub(super) fn refused(&mut self, space: usize, refusal: Refusal) -> Result<()> {
        let keyspace = self.keyspace(self.space(space));
        let taken = match refusal {
            Refusal::EmptyKey => call!(Keyspace::put(keyspace, b"", b"value")).map(drop),
            Refusal::LongKey => {
                call!(Keyspace::get(keyspace, vec![b'k'; MAX_KEY_LEN + 1])).map(drop)
            }
            Refusal::NoTtl => {
                let options = call!(PutOptions::ttl(call!(PutOptions::new()), Duration::ZERO));
                call!(Keyspace::put_with(keyspace, b"a", b"value", options)).map(drop)
            }
            Refusal::FaultyBatch => {
                let mut batch = call!(Batch::new());
                call!(Batch::put_in(&mut batch, keyspace, b"a", b"must not be there"));
                call!(Batch::delete_in(&mut batch, keyspace, b""));
                call!(Db::write(self.db(), batch)).map(drop)
            }
            Refusal::NoName => {
                call!(Db::keyspace(self.db(), "", call!(KeyspaceOptions::new()))).map(drop)
            }
            Refusal::OpenTwice => self.try_open().map(drop),
        };
        match taken {
            Err(Error::InvalidArgument(_)) if refusal != Refusal::OpenTwice => Ok(()),
            Err(Error::Locked { .. }) if refusal == Refusal::OpenTwice => Ok(()),
            Err(e) => Err(e),
            Ok(()) => panic!("{refusal:?} was taken"),
        }
    }
}
