//! Writes on conditions, which the oracle decides for itself.

use super::Runner;
use crate::operation::{Asks, Question, Write};
use crate::oracle::Moment;
use tanada::{Condition, Conflict, Durability, Error, Result, SeqNo, WriteOptions};

/// A question as a condition, and what the oracle knows of its key.
struct Asked {
    condition: Condition,
    key: Vec<u8>,
    /// What was there when the call began, and whether the condition held.
    before: (Option<SeqNo>, bool),
    /// And when it ended: time passes, and keys expire.
    after: (Option<SeqNo>, bool),
}

impl Runner {
    pub(super) fn write_if(
        &mut self,
        questions: &[Question],
        writes: &[Write],
        durability: Durability,
    ) -> Result<()> {
        self.find_out_the_last()?;
        let place = |write: &Write| Write { space: self.space(write.space), ..write.clone() };
        let writes: Vec<Write> = writes.iter().map(place).collect();
        let seqno = self.oracle.lock().visible;
        let mut asked: Vec<Asked> = questions.iter().map(|q| self.ask(q, seqno)).collect();
        let told = self.commit(&writes, durability, |runner| {
            let mut batch = runner.batch(&writes);
            for (question, asked) in questions.iter().zip(&asked) {
                let space = runner.space(question.space);
                let condition = asked.condition.clone();
                match runner.shortcut(space) {
                    Some(_) => batch.check(&question.key, condition),
                    None => batch.check_in(&runner.spaces()[space], &question.key, condition),
                }
            }
            runner.db().write_with(batch, WriteOptions::new().durability(durability))
        });
        for (question, asked) in questions.iter().zip(&mut asked) {
            let version = self.version_of(question, seqno);
            asked.after = (version, asked.condition.holds(version));
        }
        match told {
            Ok(()) => {
                let failed = asked.iter().find(|asked| !asked.before.1 && !asked.after.1);
                assert!(failed.is_none(), "written though {:?} fails", failed.map(Asked::shown));
                Ok(())
            }
            Err(Error::Conflict(conflict)) => {
                self.answers.number(conflict.failed.len() as u64);
                assert_is_right(&conflict, &asked);
                Ok(())
            }
            Err(Error::Undecided(e)) => Err(e.as_ref().clone()),
            Err(e) => Err(e),
        }
    }

    /// What the writes up to `seqno` have left of its key until now.
    fn version_of(&self, question: &Question, seqno: u64) -> Option<SeqNo> {
        let moment = Moment { seqno, now_ms: self.now_ms() };
        let oracle = self.oracle.lock();
        let version = oracle.get(self.space(question.space), &question.key, moment)?;
        Some(SeqNo(version.seqno))
    }

    fn ask(&self, question: &Question, seqno: u64) -> Asked {
        let version = self.version_of(question, seqno);
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
        let before = (version, condition.holds(version));
        Asked { condition, key: question.key.clone(), before, after: before }
    }
}

impl Asked {
    fn shown(&self) -> String {
        format!("{:?} of {:?} ({:?})", self.condition, self.key.escape_ascii(), self.before.0)
    }
}

fn assert_is_right(conflict: &Conflict, asked: &[Asked]) {
    let mut told = conflict.failed.iter().peekable();
    for (index, asked) in asked.iter().enumerate() {
        let failed = told.next_if(|failed| failed.index == index);
        let holds = [asked.before.1, asked.after.1];
        match failed {
            None => assert!(holds.contains(&true), "{} fails, and is not named", asked.shown()),
            Some(failed) => {
                assert!(holds.contains(&false), "{} holds, and is named", asked.shown());
                assert_eq!(*failed.key, asked.key[..]);
                assert!([asked.before.0, asked.after.0].contains(&failed.version), "{failed:?}");
            }
        }
    }
    assert!(told.next().is_none() && !conflict.failed.is_empty());
}
