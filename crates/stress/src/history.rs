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

/// All that a database holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Its newest sequence number.
    pub(crate) seqno: u64,
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
