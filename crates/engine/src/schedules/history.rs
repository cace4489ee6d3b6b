//! What was written and what was seen in one schedule, and whether the two agree.
//!
//! Every write is answered with its sequence numbers, and all writes together number
//! from 1 on without a gap. So when all threads have ended, the contents of the database
//! at each moment are known: those after the first so many writes. A read must have seen
//! one of these moments, no older one than was acknowledged when it began, no later one
//! than was visible when it ended, and none older than the same reader has seen before. A
//! snapshot, and what a crash leaves, names the very moment.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// The keyspaces: the default one, and those that are opened by name.
pub(super) const SPACES: usize = 3;
/// Keys of each keyspace.
pub(super) const KEYS: u8 = 4;

/// A key of a keyspace.
pub(super) type Place = (usize, u8);

/// What a key was found to be.
pub(super) type Found = Option<Vec<u8>>;

/// What one batch does.
pub(super) type Changes = Vec<(Place, Found)>;

/// The number of the write that a key was found to have; `None` when it was absent.
pub(super) type Versions = Vec<(Place, Option<u64>)>;

/// How far what was acknowledged must survive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Promise {
    /// The process.
    Process,
    /// A power cut.
    Power,
}

/// The moments that a read may have seen.
#[derive(Clone, Copy)]
pub(super) enum Moment {
    /// This one.
    At(u64),
    /// Of one reader, any that is not before what this reader has seen, nor before the
    /// first nor behind the second.
    Between { reader: usize, oldest: u64, newest: u64 },
}

/// One read, of one key or of many.
struct Sight {
    moment: Moment,
    found: Changes,
    how: &'static str,
}

/// A checkpoint that was made.
#[derive(Clone, Debug)]
pub(super) struct Copied {
    pub(super) name: String,
    /// The newest write that had been acknowledged before the call.
    pub(super) promised: u64,
    /// The newest write in it, as the call has answered.
    pub(super) seqno: u64,
}

/// All of one schedule.
#[derive(Default)]
pub(super) struct History(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// By their last numbers.
    writes: BTreeMap<u64, Changes>,
    /// The newest write that was acknowledged, and the newest with each promise.
    acknowledged: u64,
    promised: [u64; 2],
    sights: Vec<Sight>,
    copies: Vec<Copied>,
    /// What batches with conditions rest on: the versions of keys behind this very write.
    held: Vec<(u64, Versions)>,
    /// What others were refused for: at some moment between these two, these keys had
    /// these versions, each at one.
    refused: Vec<((u64, u64), Versions)>,
    /// Ids of the keyspaces, by their place in [`SPACES`].
    ids: BTreeMap<usize, u32>,
}

impl History {
    /// The number of the newest write that has been acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.lock().acknowledged
    }

    /// The newest write that must survive.
    pub(super) fn promised(&self, promise: Promise) -> u64 {
        self.lock().promised[promise as usize]
    }

    /// The newest acknowledged write to a keyspace.
    pub(super) fn acknowledged_in(&self, space: usize) -> u64 {
        let inner = self.lock();
        let touches = |changes: &Changes| changes.iter().any(|((of, _), _)| *of == space);
        inner.writes.iter().rev().find(|(_, changes)| touches(changes)).map_or(0, |(&n, _)| n)
    }

    /// A batch has been acknowledged, with the number of its last write.
    pub(super) fn wrote(&self, last: u64, changes: Changes, promise: Option<Promise>) {
        let mut inner = self.lock();
        assert!(inner.writes.insert(last, changes).is_none(), "two batches end with {last}");
        inner.acknowledged = inner.acknowledged.max(last);
        drop(inner);
        if let Some(promise) = promise {
            self.promise(last, promise);
        }
    }

    /// Everything up to `last` must survive from now on.
    pub(super) fn promise(&self, last: u64, promise: Promise) {
        let mut inner = self.lock();
        for of in 0..=promise as usize {
            inner.promised[of] = inner.promised[of].max(last);
        }
    }

    /// A keyspace has been opened by its name.
    pub(super) fn opened(&self, space: usize, id: u32) {
        let mut inner = self.lock();
        let known = *inner.ids.entry(space).or_insert(id);
        assert_eq!(known, id, "one name leads to two keyspaces");
        let same = inner.ids.values().filter(|&&other| other == id).count();
        assert_eq!(same, 1, "two names lead to one keyspace");
    }

    /// The keyspaces that have been opened by name.
    pub(super) fn spaces(&self) -> Vec<usize> {
        self.lock().ids.keys().copied().collect()
    }

    /// How many batches were written, and reads done.
    pub(super) fn counts(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.writes.len() as u64, inner.sights.len() as u64)
    }

    /// A read has seen this.
    pub(super) fn saw(&self, how: &'static str, moment: Moment, found: Changes) {
        self.lock().sights.push(Sight { moment, found, how });
    }

    /// A checkpoint was made.
    pub(super) fn copied(&self, name: String, promised: u64, seqno: u64) {
        self.lock().copies.push(Copied { name, promised, seqno });
    }

    /// All checkpoints.
    pub(super) fn copies(&self) -> Vec<Copied> {
        self.lock().copies.clone()
    }

    /// A batch was written behind write `before` because these keys had these versions.
    pub(super) fn held(&self, before: u64, versions: Versions) {
        self.lock().held.push((before, versions));
    }

    /// A batch was refused because these keys had these versions.
    pub(super) fn refused(&self, between: (u64, u64), versions: Versions) {
        self.lock().refused.push((between, versions));
    }

    /// Compares all that was seen with what was written. For when no thread writes any more.
    pub(super) fn check(&self) {
        let inner = self.lock();
        let mut next = 1;
        for (last, changes) in &inner.writes {
            let first = last + 1 - changes.len() as u64;
            assert_eq!(first, next, "numbers are given once, and none is left out");
            next = last + 1;
        }
        let moments = inner.moments();
        for (before, versions) in &inner.held {
            assert!(moments.contains_key(before), "{before} is in the middle of a batch");
            for (place, version) in versions {
                let right = inner.version_at(*place, *before);
                assert_eq!(right, *version, "{place:?} behind {before}: a batch rests on this");
            }
        }
        for ((oldest, newest), versions) in &inner.refused {
            for (place, version) in versions {
                let mut between = moments.range(oldest..=newest.max(oldest));
                let was = between.any(|(&at, _)| inner.version_at(*place, at) == *version);
                assert!(was, "{place:?} had not version {version:?} from {oldest} to {newest}");
            }
        }
        let mut seen: BTreeMap<usize, u64> = BTreeMap::new();
        for Sight { moment, found, how } in &inner.sights {
            match *moment {
                Moment::At(at) => {
                    let contents = moments
                        .get(&at)
                        .unwrap_or_else(|| panic!("{how}: {at} is in the middle of a batch"));
                    let wrong = contents.first_difference(found);
                    assert!(wrong.is_none(), "{how} at {at}: {}", wrong.unwrap_or_default());
                }
                Moment::Between { reader, oldest, newest } => {
                    let before = seen.entry(reader).or_insert(0);
                    let oldest = oldest.max(*before);
                    let is_it = |(_, contents): &(&u64, &Contents<'_>)| {
                        contents.first_difference(found).is_none()
                    };
                    let first = moments.range(oldest..=newest.max(oldest)).find(is_it);
                    let Some((&at, _)) = first else {
                        let anywhere: Vec<_> = moments.iter().filter(is_it).map(|m| m.0).collect();
                        panic!(
                            "{how} of reader {reader}: {:?} at no moment from {oldest} to {newest}, but at {anywhere:?}",
                            shown(found)
                        );
                    };
                    *before = at;
                }
            }
        }
    }

    /// Compares what a later life has found with what must have been left.
    pub(super) fn check_left(&self, how: &str, at: u64, promised: u64, left: &Changes) {
        let inner = self.lock();
        assert!(at >= promised, "{how}: {promised} was promised, and {at} is the newest write");
        let moments = inner.moments();
        let contents = moments
            .get(&at)
            .unwrap_or_else(|| panic!("{how}: half a batch is left: the newest write is {at}"));
        let wrong = contents.first_difference(left);
        assert!(wrong.is_none(), "{how}, up to {at}: {}", wrong.unwrap_or_default());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The database at one moment.
#[derive(Clone, Default)]
struct Contents<'h>(BTreeMap<Place, &'h [u8]>);

impl Contents<'_> {
    /// What of `found` is not so.
    fn first_difference(&self, found: &Changes) -> Option<String> {
        let differs =
            |(place, value): &&(Place, Found)| self.0.get(place).copied() != value.as_deref();
        found.iter().find(differs).map(|(place, value)| {
            let right = self.0.get(place).copied();
            format!("{place:?} is {:?} and must be {:?}", name(value.as_deref()), name(right))
        })
    }
}

impl Inner {
    /// The number of the put that `place` has behind write `at`.
    fn version_at(&self, place: Place, at: u64) -> Option<u64> {
        self.writes.range(..=at).rev().find_map(|(last, changes)| {
            let (nth, (_, value)) =
                changes.iter().enumerate().rev().find(|(_, change)| change.0 == place)?;
            Some(value.as_ref().map(|_| last + 1 + nth as u64 - changes.len() as u64))
        })?
    }

    /// The contents after each batch, by the batch's last number.
    fn moments(&self) -> BTreeMap<u64, Contents<'_>> {
        let mut moments = BTreeMap::from([(0, Contents::default())]);
        let mut now = Contents::default();
        for (&last, changes) in &self.writes {
            for (place, value) in changes {
                match value {
                    Some(value) => drop(now.0.insert(*place, value)),
                    None => drop(now.0.remove(place)),
                }
            }
            moments.insert(last, now.clone());
        }
        moments
    }
}

/// The part of a value that tells it from all others.
fn name(value: Option<&[u8]>) -> Option<String> {
    value.map(|value| String::from_utf8_lossy(&value[..value.len().min(8)]).into_owned())
}

fn shown(found: &Changes) -> Vec<(Place, Option<String>)> {
    found.iter().map(|(place, value)| (*place, name(value.as_deref()))).collect()
}
