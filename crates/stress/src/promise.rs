//! What must be left after a life of the server: pure, from what was known
//! before it, what its clients saw, and what was found after it.
//!
//! 1. Acknowledged ⊆ recovered ⊆ acknowledged ∪ in flight, and of each key the
//!    newest: every write with a sequence number up to the recovered one counts.
//! 2. What is recovered is a prefix of the commit order, at least up to the
//!    last write that was promised to survive what happened.
//! 3. Batches are whole: no prefix ends inside one.
//! 4. Sequence numbers are given out once, and follow real time.
//! 5. Each subject's history is linearizable, what was found included.

use crate::history::{Contents, Effect, Fate, Touch};
use crate::linearizability::{self, Operation, Stuck, What};
use crate::operation::Subject;
use crate::stamp::{Stamp, State};
use std::collections::{BTreeMap, BTreeSet};
use tanada::Durability;

/// What a life came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// Writes of subjects that were acknowledged.
    pub(crate) acknowledged: u64,
    /// Of these, lost, as they were allowed to be.
    pub(crate) lost: u64,
    /// Writes whose answer never came.
    pub(crate) in_flight: u64,
    /// Of these, found.
    pub(crate) came_through: u64,
    /// Operations, reads among them, put into an order that explains all.
    pub(crate) ordered: u64,
}

/// How much of the history there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// All of it.
    Whole,
    /// The acknowledged writes, without their times: what a journal keeps.
    Acknowledged,
}

/// One life, to be judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life<'l> {
    /// What was there when it began.
    pub(crate) before: &'l Contents,
    pub(crate) touches: &'l [Touch],
    pub(crate) record: Record,
    /// What was there after it ended.
    pub(crate) after: &'l Contents,
    /// What a write had to be promised to be there still.
    pub(crate) survives: Durability,
}

/// An acknowledged write.
#[derive(Clone, Copy)]
struct Acknowledged {
    touch: Touch,
    to: State,
    by: Stamp,
    seqno: u64,
    durability: Durability,
}

impl Acknowledged {
    /// Its first sequence number.
    fn first(&self) -> u64 {
        (self.seqno + 1).saturating_sub(self.touch.subject.writes())
    }
}

impl Life<'_> {
    /// Judges it.
    ///
    /// # Errors
    /// The first promise that is broken, and what shows it.
    pub(crate) fn judge(&self) -> Result<Judgement, String> {
        let acknowledged = self.acknowledged();
        let unknown = self.unknown();
        self.prefix(&acknowledged)?;
        self.sequence_numbers(&acknowledged, &unknown)?;
        let came_through = self.newest(&acknowledged, &unknown)?;
        self.versions(&acknowledged)?;
        let lost = acknowledged.iter().filter(|a| a.seqno > self.after.seqno).count() as u64;
        let ordered = match self.record {
            Record::Whole => self.linearizable(lost > 0)?,
            Record::Acknowledged => 0,
        };
        Ok(Judgement {
            acknowledged: acknowledged.len() as u64,
            lost,
            in_flight: unknown.len() as u64,
            came_through,
            ordered,
        })
    }

    fn acknowledged(&self) -> Vec<Acknowledged> {
        let mut all: Vec<Acknowledged> = self
            .touches
            .iter()
            .filter_map(|touch| match touch.effect {
                Effect::Write { to, by, fate: Fate::Acknowledged { seqno, durability } } => {
                    Some(Acknowledged { touch: *touch, to, by, seqno, durability })
                }
                _ => None,
            })
            .collect();
        all.sort_by_key(|a| a.seqno);
        all
    }

    fn unknown(&self) -> Vec<(Subject, State, Stamp)> {
        let writes = self.touches.iter().filter_map(|touch| match touch.effect {
            Effect::Write { to, by, fate: Fate::Unknown } => Some((touch.subject, to, by)),
            _ => None,
        });
        writes.collect()
    }

    /// Rules 2 and 3.
    fn prefix(&self, acknowledged: &[Acknowledged]) -> Result<(), String> {
        let found = self.after.seqno;
        if found < self.before.seqno {
            return Err(format!(
                "what had been recovered once is lost: sequence number {} then, {found} now",
                self.before.seqno
            ));
        }
        let promised =
            acknowledged.iter().filter(|a| a.durability >= self.survives).max_by_key(|a| a.seqno);
        if let Some(a) = promised
            && a.seqno > found
        {
            return Err(format!(
                "{} by {}, acknowledged as {:?} with sequence number {}, is lost: recovery ended at {found}",
                a.touch.subject, a.by, a.durability, a.seqno
            ));
        }
        // Of a batch over several subjects all or nothing.
        let mut batches: BTreeMap<Stamp, (u64, u64)> = BTreeMap::new();
        for a in acknowledged {
            let (first, last) = batches.entry(a.by).or_insert((u64::MAX, 0));
            *first = (*first).min(a.first());
            *last = (*last).max(a.seqno);
        }
        for (by, (first, last)) in batches {
            if first <= found && found < last {
                return Err(format!(
                    "the batch of {by} is cut in two: it has the numbers {first} to {last}, recovery ended at {found}"
                ));
            }
        }
        Ok(())
    }

    /// Rule 4, and nothing that nobody wrote: the numbers that were used fit
    /// into what was acknowledged and what was in flight.
    fn sequence_numbers(
        &self,
        acknowledged: &[Acknowledged],
        unknown: &[(Subject, State, Stamp)],
    ) -> Result<(), String> {
        // The life's numbers begin there, one behind the other.
        let first = self.before.next_seqno.max(self.before.seqno + 1);
        let mut last = first - 1;
        let mut used = 0;
        for a in acknowledged {
            if a.first() <= last {
                return Err(format!(
                    "sequence number {} was given to {} by {}, but {last} had been given already",
                    a.first(),
                    a.touch.subject,
                    a.by
                ));
            }
            last = a.seqno;
            if a.seqno <= self.after.seqno {
                used += a.touch.subject.writes();
            }
        }
        let in_flight: u64 = unknown.iter().map(|(subject, ..)| subject.writes()).sum();
        let all = (self.after.seqno + 1).saturating_sub(first);
        if all > used + in_flight {
            return Err(format!(
                "{all} writes were recovered, but {used} were acknowledged and only {in_flight} in flight"
            ));
        }
        if self.record == Record::Acknowledged {
            return Ok(());
        }
        // What was answered before another was asked has the smaller number.
        let mut by_return: Vec<&Acknowledged> = acknowledged.iter().collect();
        by_return.sort_by_key(|a| a.touch.back);
        let mut by_call: Vec<&Acknowledged> = acknowledged.iter().collect();
        by_call.sort_by_key(|a| a.touch.call);
        let mut returned = by_return.into_iter().peekable();
        let mut newest: Option<&Acknowledged> = None;
        for a in by_call {
            while let Some(r) = returned.next_if(|r| r.touch.back < a.touch.call) {
                if newest.is_none_or(|n| r.seqno > n.seqno) {
                    newest = Some(r);
                }
            }
            if let Some(n) = newest
                && n.seqno > a.seqno
            {
                return Err(format!(
                    "{} was asked for after {} had been answered, but has the smaller number: {} and {}",
                    a.by, n.by, a.seqno, n.seqno
                ));
            }
        }
        Ok(())
    }

    /// Rule 1. Answers how many writes in flight were found.
    fn newest(
        &self,
        acknowledged: &[Acknowledged],
        unknown: &[(Subject, State, Stamp)],
    ) -> Result<u64, String> {
        let mut newest: BTreeMap<Subject, &Acknowledged> = BTreeMap::new();
        for a in acknowledged.iter().filter(|a| a.seqno <= self.after.seqno) {
            newest.insert(a.touch.subject, a); // they come in order
        }
        let mut subjects: BTreeSet<Subject> = self.before.subjects.keys().copied().collect();
        subjects.extend(self.after.subjects.keys());
        subjects.extend(self.touches.iter().map(|touch| touch.subject));
        let mut came_through = BTreeSet::new();
        for subject in subjects {
            let found = self.after.state(subject);
            let version = self.after.subjects.get(&subject).map(|held| held.version);
            if version.is_some_and(|v| v > self.after.seqno) {
                return Err(format!("{subject} has a version beyond the newest number"));
            }
            let (expected, expected_version) = match newest.get(&subject) {
                Some(a) => (a.to, a.to.map(|_| a.seqno)),
                None => (
                    self.before.state(subject),
                    self.before.subjects.get(&subject).map(|held| held.version),
                ),
            };
            if found == expected && version == expected_version {
                continue;
            }
            let floor = newest.get(&subject).map_or(0, |a| a.seqno);
            let in_flight = unknown.iter().find(|(s, to, _)| *s == subject && *to == found);
            match in_flight {
                Some((_, _, by)) if version.is_none_or(|v| v > floor) => {
                    came_through.insert(*by);
                }
                _ => {
                    return Err(format!(
                        "{subject} holds {} (version {version:?}), but its newest write is {} (version {expected_version:?}), \
                         and no write in flight explains it",
                        shown(found),
                        shown(expected)
                    ));
                }
            }
        }
        Ok(came_through.len() as u64)
    }

    /// A version that was read belongs to the write that was read.
    fn versions(&self, acknowledged: &[Acknowledged]) -> Result<(), String> {
        let given: BTreeMap<(Subject, Stamp), u64> = acknowledged
            .iter()
            .filter_map(|a| a.to.map(|to| ((a.touch.subject, to), a.seqno)))
            .collect();
        for touch in self.touches {
            if let Effect::Read { state: Some(stamp), version: Some(version) } = touch.effect
                && let Some(seqno) = given.get(&(touch.subject, stamp))
                && *seqno != version
            {
                return Err(format!(
                    "{} by {stamp} was read with version {version}, but was acknowledged with {seqno}",
                    touch.subject
                ));
            }
        }
        Ok(())
    }

    /// Rule 5. Where acknowledged writes were lost, as they may be, what was
    /// found says nothing of the order of what came before.
    fn linearizable(&self, lossy: bool) -> Result<u64, String> {
        // A killed server does nothing more: what was in flight happened before
        // its end or never. What was found was read after all.
        let end = self.touches.iter().map(|t| t.back.max(t.call)).max().unwrap_or(0) + 1;
        let mut histories: BTreeMap<Subject, Vec<Operation<State>>> = BTreeMap::new();
        for touch in self.touches {
            let (what, fate, back) = match touch.effect {
                Effect::Read { state, .. } => {
                    (What::Read(state), linearizability::Fate::Happened, touch.back)
                }
                Effect::Write { to, fate: Fate::Acknowledged { .. }, .. } => {
                    (What::Write(to), linearizability::Fate::Happened, touch.back)
                }
                Effect::Write { to, fate: Fate::Unknown, .. } => {
                    (What::Write(to), linearizability::Fate::Unknown, end)
                }
            };
            histories.entry(touch.subject).or_default().push(Operation {
                call: touch.call,
                back,
                what,
                fate,
            });
        }
        let mut ordered = 0;
        for (subject, mut history) in histories {
            if !lossy {
                history.push(Operation {
                    call: end + 1,
                    back: end + 2,
                    what: What::Read(self.after.state(subject)),
                    fate: linearizability::Fate::Happened,
                });
            }
            ordered += history.len() as u64;
            linearizability::check(self.before.state(subject), &history)
                .map_err(|stuck| explain(subject, self.before.state(subject), &history, stuck))?;
        }
        Ok(ordered)
    }
}

fn shown(state: State) -> String {
    state.map_or_else(|| "nothing".to_owned(), |stamp| stamp.to_string())
}

/// The operations around the one that could not be.
fn explain(subject: Subject, before: State, history: &[Operation<State>], stuck: Stuck) -> String {
    const SHOWN: usize = 24;
    let operation = match stuck {
        Stuck::TooLong { steps } => {
            return format!("the history of {subject} was not understood after {steps} steps");
        }
        Stuck::Impossible { operation } => operation,
    };
    let line = |o: &Operation<State>| {
        let (verb, state) = match o.what {
            What::Read(state) => ("read", state),
            What::Write(state) => ("write", state),
        };
        format!("\n    {}..{} {verb} {} ({:?})", o.call, o.back, shown(state), o.fate)
    };
    let mut order: Vec<usize> = (0..history.len()).collect();
    order.sort_by_key(|&i| history[i].call);
    let at = order.iter().position(|&i| i == operation).unwrap_or(0);
    let around = &order[at.saturating_sub(SHOWN)..history.len().min(at + SHOWN / 4)];
    let lines: String = around.iter().map(|&i| line(&history[i])).collect();
    format!(
        "the history of {subject} has no order; it held {}, and this cannot be explained:{}\n  among:{lines}",
        shown(before),
        line(&history[operation])
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Held;

    const R: Subject = Subject::Register(1);
    const G: Subject = Subject::Group(0);

    fn by(n: u32) -> Stamp {
        Stamp { life: 1, client: 0, n }
    }

    /// A write with all its times after those of the ones before.
    fn wrote(subject: Subject, n: u32, seqno: u64, durability: Durability) -> Touch {
        let fate = Fate::Acknowledged { seqno, durability };
        let (call, back) = (u64::from(n) * 10, u64::from(n) * 10 + 1);
        Touch { subject, call, back, effect: Effect::Write { to: Some(by(n)), by: by(n), fate } }
    }

    fn lost(subject: Subject, n: u32) -> Touch {
        let effect = Effect::Write { to: Some(by(n)), by: by(n), fate: Fate::Unknown };
        Touch { subject, call: u64::from(n) * 10, back: u64::from(n) * 10 + 1, effect }
    }

    fn read(subject: Subject, at: u32, state: State, version: Option<u64>) -> Touch {
        let (call, back) = (u64::from(at) * 10, u64::from(at) * 10 + 1);
        Touch { subject, call, back, effect: Effect::Read { state, version } }
    }

    fn contents(seqno: u64, held: &[(Subject, u32, u64)]) -> Contents {
        let subjects = held
            .iter()
            .map(|&(subject, n, version)| (subject, Held { stamp: by(n), version }))
            .collect();
        Contents { seqno, next_seqno: seqno + 1, subjects }
    }

    fn judge(touches: &[Touch], after: &Contents) -> Result<Judgement, String> {
        let before = Contents::default();
        let survives = Durability::Buffered;
        Life { before: &before, touches, record: Record::Whole, after, survives }.judge()
    }

    fn refused(touches: &[Touch], after: &Contents, word: &str) {
        let told = judge(touches, after).expect_err("this must not pass");
        assert!(told.contains(word), "'{word}' is not in: {told}");
    }

    use Durability::{Buffered, Memory, Synced};

    #[test]
    fn what_was_acknowledged_is_there() {
        let touches = [wrote(R, 1, 1, Synced), wrote(R, 2, 2, Buffered)];
        let judgement = judge(&touches, &contents(2, &[(R, 2, 2)])).unwrap();
        assert_eq!((judgement.acknowledged, judgement.lost, judgement.ordered), (2, 0, 3));
    }

    #[test]
    fn an_acknowledged_write_that_is_gone_is_noticed() {
        let touches = [wrote(R, 1, 1, Synced), wrote(R, 2, 2, Buffered)];
        refused(&touches, &contents(1, &[(R, 1, 1)]), "is lost");
        // The number is there, the value is not.
        refused(&touches, &contents(2, &[(R, 1, 1)]), "its newest write is 1.0.2");
        refused(&touches, &contents(2, &[]), "holds nothing");
    }

    #[test]
    fn a_write_that_was_promised_less_may_be_lost_but_only_as_a_suffix() {
        let touches = [wrote(R, 1, 1, Synced), wrote(R, 2, 2, Memory)];
        let judgement = judge(&touches, &contents(1, &[(R, 1, 1)])).unwrap();
        assert_eq!(judgement.lost, 1);
        // What came behind it was promised: so must it be there.
        let touches = [wrote(R, 1, 1, Memory), wrote(Subject::Register(2), 2, 2, Synced)];
        refused(&touches, &contents(2, &[(Subject::Register(2), 2, 2)]), "holds nothing");
    }

    #[test]
    fn a_write_in_flight_may_be_there_or_not_and_an_older_one_may_not_come_back() {
        let touches = [wrote(R, 1, 1, Synced), lost(R, 2)];
        assert_eq!(judge(&touches, &contents(1, &[(R, 1, 1)])).unwrap().came_through, 0);
        assert_eq!(judge(&touches, &contents(2, &[(R, 2, 2)])).unwrap().came_through, 1);
        // In flight before the acknowledged one: its number is smaller.
        let touches = [lost(R, 1), wrote(R, 2, 2, Synced)];
        refused(&touches, &contents(2, &[(R, 1, 1)]), "no write in flight explains it");
    }

    #[test]
    fn what_nobody_wrote_is_noticed() {
        refused(&[], &contents(0, &[(R, 9, 0)]), "no write in flight explains it");
        refused(&[wrote(R, 1, 1, Synced)], &contents(3, &[(R, 1, 1)]), "only 0 in flight");
    }

    #[test]
    fn half_a_batch_is_noticed() {
        let last = crate::operation::MEMBERS.into();
        let touches = [wrote(G, 1, last, Memory)];
        refused(&touches, &contents(last - 1, &[]), "cut in two");
        judge(&touches, &contents(0, &[])).unwrap();
        judge(&touches, &contents(last, &[(G, 1, last)])).unwrap();
        // Over two accounts.
        let accounts = [Subject::Account(0), Subject::Account(1)];
        let transfer = [wrote(accounts[0], 1, 1, Memory), wrote(accounts[1], 1, 2, Memory)];
        refused(&transfer, &contents(1, &[(accounts[0], 1, 1)]), "cut in two");
    }

    #[test]
    fn a_number_that_is_given_twice_or_against_time_is_noticed() {
        let twice = [wrote(R, 1, 1, Synced), wrote(Subject::Register(2), 2, 1, Synced)];
        refused(&twice, &contents(1, &[(R, 1, 1)]), "had been given already");
        let against = [wrote(R, 1, 2, Synced), wrote(Subject::Register(2), 2, 1, Synced)];
        let after = contents(2, &[(R, 1, 2), (Subject::Register(2), 2, 1)]);
        refused(&against, &after, "smaller number");
    }

    #[test]
    fn a_stale_read_and_a_wrong_version_are_noticed() {
        let after = contents(2, &[(R, 2, 2)]);
        let writes = [wrote(R, 1, 1, Synced), wrote(R, 2, 2, Synced)];
        judge(&[writes[0], writes[1], read(R, 3, Some(by(2)), Some(2))], &after).unwrap();
        refused(&[writes[0], writes[1], read(R, 3, Some(by(1)), None)], &after, "has no order");
        refused(
            &[writes[0], writes[1], read(R, 3, Some(by(2)), Some(1))],
            &after,
            "with version 1",
        );
    }

    /// Behind a kill an opening leaves numbers out: they are nobody's writes, and no number
    /// among them may be given.
    #[test]
    fn numbers_that_an_opening_leaves_out_are_no_writes() {
        let before = Contents { next_seqno: 100, ..contents(5, &[(R, 1, 5)]) };
        let judge = |n: u64, after: u64| {
            let touches = [wrote(R, 2, n, Synced)];
            let after = contents(after, &[(R, 2, n)]);
            let survives = Durability::Buffered;
            let record = Record::Whole;
            Life { before: &before, touches: &touches, record, after: &after, survives }.judge()
        };
        judge(100, 100).unwrap();
        assert!(judge(100, 102).expect_err("two too many").contains("only 0 in flight"));
        assert!(judge(99, 99).expect_err("left out").contains("had been given already"));
    }

    #[test]
    fn what_was_recovered_once_stays() {
        let before = contents(5, &[(R, 1, 5)]);
        let after = contents(4, &[]);
        let life = Life {
            before: &before,
            touches: &[],
            record: Record::Acknowledged,
            after: &after,
            survives: Synced,
        };
        assert!(life.judge().expect_err("lost").contains("recovered once"));
    }
}
