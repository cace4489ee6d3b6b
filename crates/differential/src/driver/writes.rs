//! Writes, alone and in batches, with conditions and without.

use super::Driver;
use super::compare::Short;
use crate::call;
use crate::oracle::{Change, Entry, View};
use std::time::Duration;
use tanada::{
    Batch, Condition, Conflict, Db, Durability, Error, Keyspace, PutOptions, Result, SeqNo,
    UnixMillis, WriteOptions,
};
use tanada_sim::operation::{Asks, Question, ValueSpec, Write};

/// When a put expires, as the call says it.
#[derive(Clone, Copy)]
enum Until {
    /// As the write has it.
    Ttl,
    /// Milliseconds since 1970.
    At(u64),
}

/// A condition, and what the key has.
struct Asked {
    key: Vec<u8>,
    condition: Condition,
    version: Option<SeqNo>,
    holds: bool,
}

fn options(write: &Write, until: Until) -> Option<PutOptions> {
    let new = || call!(PutOptions::new());
    match (until, write.ttl_ms) {
        (Until::Ttl, None) => None,
        (Until::Ttl, Some(ms)) => Some(call!(PutOptions::ttl(new(), Duration::from_millis(ms)))),
        (Until::At(ms), _) => Some(call!(PutOptions::expires_at(new(), UnixMillis(ms)))),
    }
}

impl Driver {
    pub(super) fn write_one(&mut self, write: &Write) -> Result<()> {
        self.write_until(write, Until::Ttl)
    }

    pub(super) fn put_until(&mut self, write: &Write, at: i64) -> Result<()> {
        let at = self.machine.now_ms().saturating_add_signed(at);
        self.write_until(write, Until::At(at))
    }

    fn write_until(&mut self, write: &Write, until: Until) -> Result<()> {
        let write = self.placed(write);
        let (keyspace, key) = (self.keyspace(write.space), &write.key);
        let value = write.value.map(ValueSpec::bytes);
        let told = match (self.shortcut(write.space), value, options(&write, until)) {
            (None, None, _) => call!(Keyspace::delete(keyspace, key)),
            (None, Some(value), None) => call!(Keyspace::put(keyspace, key, value)),
            (None, Some(value), Some(options)) => {
                call!(Keyspace::put_with(keyspace, key, value, options))
            }
            (Some(db), None, _) => call!(Db::delete(db, key)),
            (Some(db), Some(value), None) => call!(Db::put(db, key, value)),
            (Some(db), Some(value), Some(options)) => {
                call!(Db::put_with(db, key, value, options))
            }
        };
        self.written(std::slice::from_ref(&write), until, told?);
        Ok(())
    }

    /// A batch with conditions, if there are any.
    pub(super) fn write_if(
        &mut self,
        questions: &[Question],
        writes: &[Write],
        durability: Durability,
    ) -> Result<()> {
        let writes: Vec<Write> = writes.iter().map(|write| self.placed(write)).collect();
        let (batch, asked) = self.batch(questions, &writes, &self.view());
        let options = || call!(WriteOptions::durability(call!(WriteOptions::new()), durability));
        let told = match durability == self.settings.durability && self.done.is_multiple_of(2) {
            true => call!(Db::write(self.db(), batch)),
            false => call!(Db::write_with(self.db(), batch, options())),
        };
        self.decided(&writes, &asked, told)
    }

    /// Several batches at once: conditions see what the batches before have written.
    pub(super) fn write_each(
        &mut self,
        batches: &[(Vec<Question>, Vec<Write>, Durability)],
    ) -> Result<()> {
        // What they ask is decided by what is there before the first: versions that the
        // batches among them give are not known yet.
        let before = self.view();
        let mut each = Vec::new();
        let mut all = Vec::new();
        for (questions, writes, durability) in batches {
            let writes: Vec<Write> = writes.iter().map(|write| self.placed(write)).collect();
            let (batch, asked) = self.batch(questions, &writes, &before);
            all.push((batch, call!(WriteOptions::durability(WriteOptions::new(), *durability))));
            each.push((questions, writes, asked));
        }
        let told = call!(Db::write_each(self.db(), all));
        assert_eq!(told.len(), each.len(), "answers of write_each");
        let last = told.iter().flatten().map(|seqno| seqno.0).max().unwrap_or(self.newest);
        // One that finds no room may stand among others that have been written: those are
        // noted, and it is not tried again.
        for ((questions, writes, mut asked), told) in each.into_iter().zip(told) {
            let now = self.view();
            for (asked, question) in asked.iter_mut().zip(questions) {
                asked.look_again(&now, self.space(question.space));
            }
            if let (Ok(seqno), true, true) = (&told, writes.is_empty(), asked.is_empty()) {
                // It asks for nothing, and may be answered before those that come first.
                assert!(
                    (self.newest..=last).contains(&seqno.0),
                    "an empty batch is told {seqno:?}"
                );
                continue;
            }
            match self.decided(&writes, &asked, told) {
                Err(Error::MemoryFull { .. }) => {}
                decided => decided?,
            }
        }
        Ok(())
    }

    /// `put_if_version` of the default keyspace, and what `check_version` and `check_absent`
    /// say of the same key.
    pub(super) fn compare_and_set(&mut self, right: bool, write: &Write) -> Result<()> {
        let key = &write.key;
        let version = self.view().get(0, key).map(|entry| entry.version);
        let value = write.value.map(ValueSpec::bytes).unwrap_or_default();
        let asked = SeqNo(version.unwrap_or(1) - u64::from(!right));
        let mut batch = call!(Batch::new());
        match (version, right) {
            (None, true) => {
                call!(Batch::check_absent(&mut batch, key));
                call!(Batch::put(&mut batch, key, &value));
            }
            (_, _) if self.done.is_multiple_of(3) => {
                call!(Batch::check_version(&mut batch, key, asked));
                call!(Batch::put(&mut batch, key, &value));
            }
            (_, _) => call!(Batch::put_if_version(&mut batch, key, &value, asked)),
        }
        match call!(Db::write(self.db(), batch)) {
            Ok(seqno) => {
                assert!(right, "{} was set though it has {version:?}, not {asked:?}", Short(key));
                let put = Write { space: 0, key: key.clone(), ttl_ms: None, ..write.clone() };
                let value =
                    Some(write.value.unwrap_or(ValueSpec { len: 0, stamp: 0, plain: true }));
                self.written(&[Write { value, ..put }], Until::Ttl, seqno);
                Ok(())
            }
            Err(Error::Conflict(conflict)) => {
                let [failed] = &conflict.failed[..] else { panic!("{conflict}") };
                assert!(!right, "{} was refused: {conflict}", Short(key));
                assert_eq!((failed.index, &failed.key[..]), (0, &key[..]));
                assert_eq!(failed.version.map(|version| version.0), version, "{}", Short(key));
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    fn placed(&self, write: &Write) -> Write {
        Write { space: self.space(write.space), ..write.clone() }
    }

    /// A batch of these, in one that held something else before.
    fn batch(&self, questions: &[Question], writes: &[Write], view: &View) -> (Batch, Vec<Asked>) {
        let mut batch = call!(Batch::new());
        call!(Batch::put(&mut batch, "cleared", "before it is written"));
        call!(Batch::clear(&mut batch));
        assert!(call!(Batch::is_empty(&batch)), "it was cleared");
        let mut asked = Vec::new();
        for question in questions {
            let space = self.space(question.space);
            let one = Asked::of(question, view, space);
            let condition = one.condition.clone();
            match self.shortcut(space) {
                Some(_) => call!(Batch::check(&mut batch, &question.key, condition)),
                None => {
                    let keyspace = self.keyspace(space);
                    call!(Batch::check_in(&mut batch, keyspace, &question.key, condition));
                }
            }
            asked.push(one);
        }
        for write in writes {
            let (keyspace, key) = (self.keyspace(write.space), &write.key);
            let value = write.value.map(ValueSpec::bytes);
            match (self.shortcut(write.space), value, options(write, Until::Ttl)) {
                (None, None, _) => call!(Batch::delete_in(&mut batch, keyspace, key)),
                (None, Some(value), None) => {
                    call!(Batch::put_in(&mut batch, keyspace, key, value));
                }
                (None, Some(value), Some(options)) => {
                    call!(Batch::put_in_with(&mut batch, keyspace, key, value, options));
                }
                (Some(_), None, _) => call!(Batch::delete(&mut batch, key)),
                (Some(_), Some(value), None) => call!(Batch::put(&mut batch, key, value)),
                (Some(_), Some(value), Some(options)) => {
                    call!(Batch::put_with(&mut batch, key, value, options));
                }
            }
        }
        let bytes = |write: &Write| write.key.len() + write.value.map_or(0, |value| value.len);
        assert_eq!(call!(Batch::len(&batch)), writes.len(), "writes of a batch");
        let least: usize = writes.iter().map(bytes).sum();
        assert!(call!(Batch::size_bytes(&batch)) >= least, "keys and values count");
        (batch, asked)
    }

    /// Compares what a batch was told with what its conditions come to.
    fn decided(&mut self, writes: &[Write], asked: &[Asked], told: Result<SeqNo>) -> Result<()> {
        match told {
            Ok(seqno) => {
                let failed = asked.iter().find(|asked| !asked.holds);
                assert!(failed.is_none(), "written though {} fails", failed.expect("one").shown());
                self.written(writes, Until::Ttl, seqno);
                Ok(())
            }
            Err(Error::Conflict(conflict)) => {
                assert_is_right(&conflict, asked);
                Ok(())
            }
            Err(Error::Undecided(e)) => Err(e.as_ref().clone()),
            Err(e) => Err(e),
        }
    }

    /// Notes what was written: the last write of it has the number `seqno`.
    fn written(&mut self, writes: &[Write], until: Until, seqno: SeqNo) {
        let now_ms = self.machine.now_ms();
        let Some(before) = writes.len().checked_sub(1) else {
            assert_eq!(seqno.0, self.newest, "what a batch without writes is told");
            return;
        };
        let first = seqno.0 - before as u64;
        assert!(first > self.newest, "{first} is given, behind {}", self.newest);
        let changes = writes.iter().zip(first..).map(|(write, version)| {
            let expires_at_ms = match (until, write.ttl_ms) {
                (Until::At(ms), _) => ms,
                (Until::Ttl, ttl_ms) => ttl_ms.map_or(0, |ttl_ms| now_ms + ttl_ms),
            };
            let value = write.value.map(ValueSpec::bytes);
            let entry = value.map(|value| Entry { version, expires_at_ms, value });
            Change { space: write.space, key: &write.key, entry }
        });
        self.oracle.apply(&changes.collect::<Vec<_>>());
        self.newest = seqno.0;
    }
}

impl Asked {
    fn of(question: &Question, view: &View, space: usize) -> Asked {
        let version = view.get(space, &question.key).map(|entry| SeqNo(entry.version));
        let number = version.map_or(1, |version| version.0);
        let (current, other) = (SeqNo(number), SeqNo(number - 1));
        let condition = match question.asks {
            Asks::Absent => Condition::Absent,
            Asks::Present => Condition::Present,
            Asks::Current => Condition::Version(current),
            Asks::Other => Condition::Version(other),
            Asks::OneOf => Condition::VersionIn(vec![other, current]),
            Asks::NoneOf => Condition::VersionNotIn(vec![other]),
            Asks::What => match version {
                Some(version) => Condition::Version(version),
                None => Condition::Absent,
            },
        };
        let holds = holds(&condition, version);
        Asked { key: question.key.clone(), condition, version, holds }
    }

    /// What it comes to by now.
    fn look_again(&mut self, view: &View, space: usize) {
        self.version = view.get(space, &self.key).map(|entry| SeqNo(entry.version));
        self.holds = holds(&self.condition, self.version);
    }

    fn shown(&self) -> String {
        format!("{:?} of {} ({:?})", self.condition, Short(&self.key), self.version)
    }
}

/// Not by the engine's code.
fn holds(condition: &Condition, version: Option<SeqNo>) -> bool {
    let decided = match condition {
        Condition::Absent => version.is_none(),
        Condition::Present => version.is_some(),
        Condition::Version(wanted) => version.is_some_and(|version| version == *wanted),
        Condition::VersionIn(wanted) => wanted.iter().any(|wanted| version == Some(*wanted)),
        Condition::VersionNotIn(barred) => barred.iter().all(|barred| version != Some(*barred)),
        other => panic!("{other:?} has no meaning here yet"),
    };
    assert_eq!(call!(Condition::holds(condition, version)), decided, "{condition:?}");
    decided
}

fn assert_is_right(conflict: &Conflict, asked: &[Asked]) {
    let told = conflict.failed.iter().map(|failed| (failed.index, &*failed.key, failed.version));
    let failed = asked.iter().enumerate().filter(|(_, asked)| !asked.holds);
    let expected = failed.map(|(index, asked)| (index, &asked.key[..], asked.version));
    assert_eq!(
        told.collect::<Vec<_>>(),
        expected.collect::<Vec<_>>(),
        "conditions that do not hold"
    );
    assert!(!conflict.failed.is_empty(), "a conflict without a condition");
}
