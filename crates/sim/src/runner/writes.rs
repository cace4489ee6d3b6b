//! Writes and new keyspaces, acknowledged or refused.

use super::Runner;
use crate::operation::{ValueSpec, Write};
use crate::oracle::Space;
use std::time::Duration;
use tanada::{
    Batch, Compression, Durability, Error, KeyspaceOptions, PutOptions, Result, SeqNo, WriteOptions,
};

/// Keyspaces besides the default one.
const MAX_SPACES: usize = 4;

impl Runner {
    pub(super) fn write_one(&mut self, write: &Write) -> Result<()> {
        let write = Write { space: self.space(write.space), ..write.clone() };
        let durability = self.settings.durability;
        self.commit(std::slice::from_ref(&write), durability, |runner| {
            let keyspace = &runner.spaces()[write.space];
            let (key, value) = (&write.key, write.value.map(ValueSpec::bytes));
            match (runner.shortcut(write.space), value, write.ttl_ms) {
                (None, None, _) => keyspace.delete(key),
                (None, Some(value), None) => keyspace.put(key, value),
                (None, Some(value), Some(_)) => keyspace.put_with(key, value, options(&write)),
                (Some(db), None, _) => db.delete(key),
                (Some(db), Some(value), None) => db.put(key, value),
                (Some(db), Some(value), Some(_)) => db.put_with(key, value, options(&write)),
            }
        })
    }

    pub(super) fn write_batch(&mut self, writes: &[Write], durability: Durability) -> Result<()> {
        let place = |write: &Write| Write { space: self.space(write.space), ..write.clone() };
        let writes: Vec<Write> = writes.iter().map(place).collect();
        self.commit(&writes, durability, |runner| {
            let batch = runner.batch(&writes);
            // Every other batch that wants what is given anyway does not say so.
            if runner.shortcut(0).is_some() && durability == runner.settings.durability {
                return runner.db().write(batch);
            }
            runner.db().write_with(batch, WriteOptions::new().durability(durability))
        })
    }

    /// A batch of these, in one that held something else before.
    pub(super) fn batch(&self, writes: &[Write]) -> Batch {
        let mut batch = Batch::new();
        batch.put("cleared", "before it is written");
        batch.clear();
        assert!(batch.is_empty(), "it was cleared");
        for write in writes {
            let (keyspace, key) = (&self.spaces()[write.space], &write.key);
            match (self.shortcut(write.space), write.value.map(ValueSpec::bytes)) {
                (None, None) => batch.delete_in(keyspace, key),
                (None, Some(value)) if write.ttl_ms.is_none() => batch.put_in(keyspace, key, value),
                (None, Some(value)) => batch.put_in_with(keyspace, key, value, options(write)),
                (Some(_), None) => batch.delete(key),
                (Some(_), Some(value)) if write.ttl_ms.is_none() => batch.put(key, value),
                (Some(_), Some(value)) => batch.put_with(key, value, options(write)),
            }
        }
        let bytes = |write: &Write| write.key.len() + write.value.map_or(0, |value| value.len);
        assert_eq!(batch.len(), writes.len());
        assert!(batch.size_bytes() >= writes.iter().map(bytes).sum(), "keys and values count");
        batch
    }

    /// Whether a write that failed was done: either nothing is taken any more, or nothing
    /// was done the last time. Then its numbers are given again, to the next write.
    pub(super) fn find_out_the_last(&mut self) -> Result<()> {
        let unknown = {
            let oracle = self.oracle.lock();
            oracle.started != oracle.visible
        };
        if unknown {
            if let Err(e @ Error::Poisoned { .. }) = self.db().write(Batch::new()) {
                return Err(e);
            }
            self.oracle.lock().withdraw();
        }
        Ok(())
    }

    pub(super) fn commit(
        &mut self,
        writes: &[Write],
        durability: Durability,
        write: impl FnOnce(&Runner) -> Result<SeqNo>,
    ) -> Result<()> {
        let now_ms = self.now_ms();
        self.find_out_the_last()?;
        let expected = self.oracle.lock().begin(writes, now_ms);
        match write(self) {
            Ok(seqno) => {
                assert_eq!(seqno.0, expected, "the write has another sequence number");
                self.answers.number(seqno.0);
                self.oracle.lock().acknowledge(durability);
                Ok(())
            }
            Err(e) => {
                let nothing_done = matches!(
                    e,
                    Error::InvalidArgument(_)
                        | Error::ReadOnly { .. }
                        | Error::MemoryFull { .. }
                        | Error::Closed
                        | Error::Conflict(_)
                        | Error::Undecided(_)
                );
                if nothing_done {
                    self.oracle.lock().withdraw();
                }
                Err(e)
            }
        }
    }

    pub(super) fn create_keyspace(&mut self, n: usize, compression: Compression) -> Result<()> {
        let name = format!("space {}", n % MAX_SPACES);
        {
            let mut oracle = self.oracle.lock();
            if oracle.spaces.iter().all(|space| space.name != name) {
                oracle.spaces.push(Space { name: name.clone(), ..Space::default() });
            }
        }
        let options = KeyspaceOptions::new().compression(compression);
        let created = self.db().keyspace(&name, options);
        let mut oracle = self.oracle.lock();
        let keyspace = match created {
            Ok(keyspace) => keyspace,
            Err(e) => {
                if matches!(e, Error::ReadOnly { .. } | Error::Closed) {
                    oracle.spaces.retain(|space| space.created || space.name != name);
                }
                return Err(e);
            }
        };
        let space = oracle.spaces.iter_mut().find(|s| s.name == name).expect("added above");
        if !std::mem::replace(&mut space.created, true) {
            self.open.as_mut().expect("it created a keyspace").spaces.push(keyspace);
        }
        Ok(())
    }
}

fn options(write: &Write) -> PutOptions {
    match write.ttl_ms {
        Some(ttl_ms) => PutOptions::new().ttl(Duration::from_millis(ttl_ms)),
        None => PutOptions::new(),
    }
}
