//! What clients saw in one life of a server.

use crate::operation::Subject;
use crate::stamp::{Stamp, State};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use tanada::Durability;

/// One clock for all clients. Tells before from after, and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Ticks(AtomicU64);

impl Ticks {
    /// The next tick. Every later call, of any thread, gets a larger one:
    /// sequentially consistent, because what one client saw before it asked
    /// must not be later than what another was told after.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was acknowledged.
    Acknowledged {
        /// Sequence number of its last write for this subject.
        seqno: u64,
        /// What it was promised to survive.
        durability: Durability,
    },
    /// No answer, or one that does not know.
    Unknown,
}

/// What was done to a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It was read.
    Read {
        state: State,
        /// The version that came with it, where one did.
        version: Option<u64>,
    },
    /// It was, or may have been, written.
    Write { to: State, by: Stamp, fate: Fate },
}

/// One operation, as it touched one subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Touch {
    pub(crate) subject: Subject,
    /// Tick before it was sent.
    pub(crate) call: u64,
    /// Tick after its answer. Of a write of unknown fate without meaning.
    pub(crate) back: u64,
    pub(crate) effect: Effect,
}

/// When the power was cut. It goes at some moment between the two: a sync that
/// is under way then may be answered with success though nothing was written,
/// for the kernel looks at its file system's end only when a sync begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Tick before.
    pub(crate) began: u64,
    /// Tick after.
    pub(crate) ended: u64,
}

impl Cut {
    /// Takes its promise from each write that was answered after the cut had
    /// begun; how many these are.
    ///
    /// # Errors
    /// A write that was sent when the power was gone, and acknowledged as synced.
    pub(crate) fn doubt(self, touches: &mut [Touch]) -> Result<u64, String> {
        let mut doubted = 0;
        for touch in touches.iter_mut().filter(|touch| touch.back > self.began) {
            let Effect::Write { by, fate: Fate::Acknowledged { durability, .. }, .. } =
                &mut touch.effect
            else {
                continue;
            };
            if touch.call > self.ended && *durability == Durability::Synced {
                return Err(format!(
                    "{} by {by} was acknowledged as synced, but was sent after the power was gone",
                    touch.subject
                ));
            }
            *durability = Durability::Memory;
            doubted += 1;
        }
        Ok(doubted)
    }
}

/// All that a database holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Its newest sequence number.
    pub(crate) seqno: u64,
    /// That of the next write: an opening leaves numbers out behind an unclean end.
    pub(crate) next_seqno: u64,
    /// What is there; what is not, is not here either.
    pub(crate) subjects: BTreeMap<Subject, Held>,
}

/// What one subject holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) stamp: Stamp,
    /// Version of its last key.
    pub(crate) version: u64,
}

impl Contents {
    /// What `subject` holds.
    pub(crate) fn state(&self, subject: Subject) -> State {
        self.subjects.get(&subject).map(|held| held.stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(call: u64, back: u64, durability: Durability) -> Touch {
        let by = Stamp { life: 1, client: 1, n: call as u32 };
        let fate = Fate::Acknowledged { seqno: call, durability };
        Touch {
            subject: Subject::Register(1),
            call,
            back,
            effect: Effect::Write { to: Some(by), by, fate },
        }
    }

    fn promised(touch: &Touch) -> Durability {
        match touch.effect {
            Effect::Write { fate: Fate::Acknowledged { durability, .. }, .. } => durability,
            _ => panic!("an acknowledged write"),
        }
    }

    /// A sync that was under way during the cut was answered with success, and
    /// the write was lost: no power cut lets anyone hear such an answer.
    #[test]
    fn only_what_was_answered_before_the_cut_began_is_promised_to_survive_it() {
        let cut = Cut { began: 10, ended: 20 };
        let mut touches = [
            write(1, 9, Durability::Synced),
            write(2, 11, Durability::Synced),
            write(12, 30, Durability::Synced),
            write(21, 22, Durability::Buffered),
        ];
        assert_eq!(cut.doubt(&mut touches), Ok(3));
        assert_eq!(promised(&touches[0]), Durability::Synced);
        assert!(touches[1..].iter().all(|touch| promised(touch) == Durability::Memory));
    }

    #[test]
    fn a_write_that_was_sent_when_the_power_was_gone_must_not_be_synced() {
        let cut = Cut { began: 10, ended: 20 };
        let told = cut.doubt(&mut [write(21, 22, Durability::Synced)]).unwrap_err();
        assert!(told.contains("after the power was gone"), "{told}");
    }
}
