//! Reads of single keys, in every way, and what must be refused.

use super::compare::{Short, check_value};
use super::{MEMORY_BYTES, PATH, Runner, nth};
use crate::operation::{Key, Refusal};
use crate::oracle::Moment;
use std::time::Duration;
use tanada::{Batch, Db, Error, Keyspace, KeyspaceOptions, MAX_KEY_LEN, PutOptions, Result, Value};

impl Runner {
    pub(super) fn get(&mut self, space: usize, key: &Key) -> Result<()> {
        let (space, moment) = (self.space(space), self.moment());
        let keyspace = &self.spaces()[space];
        let (value, contains, record) = match self.shortcut(space) {
            Some(db) => (db.get(key)?, db.contains(key)?, db.get_record(key)?),
            None => (keyspace.get(key)?, keyspace.contains(key)?, keyspace.get_record(key)?),
        };
        let in_memory = match keyspace.try_get_record(key) {
            Err(Error::WouldBlock) => None,
            answer => Some(answer?),
        };
        let oracle = self.oracle.lock();
        let version = oracle.get(space, key, moment);
        let expected = version.and_then(|v| v.value.as_deref());
        self.answers.maybe(value.as_deref());
        if let Some(record) = in_memory {
            check_value("try_get_record", key, record.as_ref().map(|r| &*r.value), expected);
        }
        check_value("get", key, value.as_deref(), expected);
        assert_eq!(contains, expected.is_some(), "contains {}", Short(key));
        check_value("get_record", key, record.as_ref().map(|r| &*r.value), expected);
        if let (Some(record), Some(version)) = (record, version) {
            assert_eq!(record.version.0, version.seqno, "version of {}", Short(key));
            assert_eq!(record.expires_at.map_or(0, |at| at.0), version.expires_at_ms);
        }
        Ok(())
    }

    pub(super) fn explain(&mut self, space: usize, key: &Key) -> Result<()> {
        let (space, moment) = (self.space(space), self.moment());
        let explained = match self.shortcut(space) {
            Some(db) => db.explain(key)?,
            None => self.spaces()[space].explain(key)?,
        };
        self.check_get("explain", space, key, moment, explained.value.as_ref());
        assert!(!explained.steps.is_empty(), "nobody was asked for {}", Short(key));
        if explained.value.is_some() {
            let oracle = self.oracle.lock();
            let version = oracle.get(space, key, moment);
            assert_eq!(explained.seqno, version.map(|v| v.seqno), "version of {}", Short(key));
        }
        Ok(())
    }

    pub(super) fn multi_get(&mut self, space: usize, keys: &[Key]) -> Result<()> {
        let (space, moment) = (self.space(space), self.moment());
        let values = match self.shortcut(space) {
            Some(db) => db.multi_get(keys)?,
            None => self.spaces()[space].multi_get(keys)?,
        };
        assert_eq!(values.len(), keys.len());
        for (key, value) in keys.iter().zip(values) {
            self.check_get("multi_get", space, key, moment, value.as_ref());
        }
        Ok(())
    }

    pub(super) fn get_at(&mut self, snapshot: usize, space: usize, key: &Key) -> Result<()> {
        let space = self.space(space);
        let Some((snapshot, moment)) = nth(&mut self.handles().snapshots, snapshot) else {
            return Ok(());
        };
        let (snapshot, moment) = (snapshot.clone(), *moment);
        let (value, record) = match self.shortcut(space) {
            Some(_) => (snapshot.get(key)?, snapshot.get_record(key)?),
            None => {
                let keyspace = &self.spaces()[space];
                (snapshot.get_in(keyspace, key)?, snapshot.get_record_in(keyspace, key)?)
            }
        };
        assert_eq!(record.map(|record| record.value), value, "get_record of {}", Short(key));
        self.check_get("get at a snapshot", space, key, moment, value.as_ref());
        Ok(())
    }

    fn check_get(
        &self,
        what: &str,
        space: usize,
        key: &Key,
        moment: Moment,
        value: Option<&Value>,
    ) {
        let oracle = self.oracle.lock();
        let expected = oracle.get(space, key, moment).and_then(|v| v.value.as_deref());
        self.answers.maybe(value.map(|v| &**v));
        check_value(what, key, value.map(|v| &**v), expected);
    }

    pub(super) fn refused(&mut self, space: usize, refusal: Refusal) -> Result<()> {
        let space = self.space(space);
        let keyspace = &self.spaces()[space];
        let taken = match refusal {
            Refusal::EmptyKey => keyspace.put(b"", b"value").map(drop),
            Refusal::LongKey => keyspace.get(vec![b'k'; MAX_KEY_LEN + 1]).map(drop),
            Refusal::NoTtl => {
                keyspace.put_with(b"a", b"value", PutOptions::new().ttl(Duration::ZERO)).map(drop)
            }
            Refusal::FaultyBatch => {
                let mut batch = Batch::new();
                batch.put_in(keyspace, b"a", b"must not be there");
                batch.delete_in(keyspace, b"");
                self.db().write(batch).map(drop)
            }
            Refusal::NoName => self.db().keyspace("", KeyspaceOptions::new()).map(drop),
            Refusal::OpenTwice => {
                Db::builder(PATH).memory(MEMORY_BYTES).env(self.env()).open().map(drop)
            }
        };
        match taken {
            Err(Error::InvalidArgument(_)) if refusal != Refusal::OpenTwice => Ok(()),
            Err(Error::Locked { .. }) if refusal == Refusal::OpenTwice => Ok(()),
            Err(e) => Err(e),
            Ok(()) => panic!("{refusal:?} was taken"),
        }
    }

    pub(super) fn stats(&mut self) {
        let stats = self.db().stats();
        let oracle = self.oracle.lock();
        assert_eq!(stats.seqno, oracle.visible, "statistics of another moment");
        let created = oracle.spaces.iter().filter(|space| space.created);
        let expected: Vec<&str> = created.map(|space| &*space.name).collect();
        let found: Vec<&str> = stats.keyspaces.iter().map(|space| &*space.name).collect();
        assert_eq!(found, expected);
        assert!(self.spaces().iter().map(Keyspace::name).eq(expected.iter().copied()));
        assert_eq!(self.db().keyspaces(), expected[1..]);
    }
}
