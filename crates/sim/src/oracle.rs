//! A plain ordered map of every version of every key: what the engine must answer.
//!
//! It also keeps what a crash may take: commits are numbered as the engine
//! numbers them, and each acknowledgement moves a floor below which nothing
//! may be lost.

use crate::operation::{Cover, Key, Write};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use tanada::{Durability, Position};

/// One version of a key.
#[derive(Clone, Debug)]
pub struct Version {
    /// The write's sequence number.
    pub seqno: u64,
    /// The value; `None` for a delete.
    pub value: Option<Arc<[u8]>>,
    /// Wall time of its expiry in milliseconds; 0 for never.
    pub expires_at_ms: u64,
}

impl Version {
    /// Its value, if it has one at `now_ms`.
    pub fn live(&self, now_ms: u64) -> Option<&Arc<[u8]>> {
        let expired = self.expires_at_ms != 0 && self.expires_at_ms <= now_ms;
        self.value.as_ref().filter(|_| !expired)
    }
}

/// Where checkpoints lie.
pub const CHECKPOINTS_DIR: &str = "/checkpoints";

/// One keyspace.
#[derive(Clone, Debug, Default)]
pub struct Space {
    /// Its name.
    pub name: String,
    /// Whether its creation has been acknowledged.
    pub created: bool,
    /// Versions of each key, oldest first.
    pub keys: BTreeMap<Key, Vec<Version>>,
}

/// When a read happens: what it sees, and what has expired for it.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The newest write that it sees.
    pub seqno: u64,
    /// Wall time in milliseconds.
    pub now_ms: u64,
}

/// Every answer.
///
/// Invariants: 1. `synced <= buffered <= visible <= started`. 2. Each of the
/// last three is the end of a commit or 0.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// Keyspaces by number; the default one first.
    pub spaces: Vec<Space>,
    /// Last sequence number of each commit, ascending.
    ends: Vec<u64>,
    /// That of each write, ascending.
    writes: Vec<u64>,
    /// What somebody knows who follows the changes, and keeps through all lives.
    pub follower: Follower,
    /// A power cut keeps everything up to here.
    pub synced: u64,
    /// A kill keeps everything up to here.
    pub buffered: u64,
    /// Readers see everything up to here.
    pub visible: u64,
    /// No write that was acknowledged has had a greater number, those lost included.
    given: u64,
    /// The least number that the next write gets.
    next: u64,
    /// The last write that was begun. What lies between may or may not be there
    /// after a crash.
    pub started: u64,
    /// The newest checkpoints, the last one last.
    pub checkpoints: Vec<Checkpoint>,
    /// Checkpoints that were begun: names the next one.
    pub checkpoints_begun: u64,
}

/// One who follows the changes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Follower {
    /// Behind the last group that it was shown.
    pub position: Option<Position>,
    /// The last write that it was shown, or behind which it began.
    pub seen: Option<u64>,
}

/// A checkpoint.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Its directory.
    pub path: String,
    /// Whether the call has answered that it is there: from then on it is, whatever happens.
    pub made: bool,
    /// Its moment.
    pub seqno: u64,
    /// All that had been written by then.
    pub truth: Arc<Oracle>,
}

/// So many checkpoints are looked at after each opening.
pub const CHECKPOINTS: usize = 2;

impl Oracle {
    /// An empty database.
    pub fn new() -> Oracle {
        let default = Space { name: "default".to_owned(), created: true, ..Space::default() };
        Oracle { spaces: vec![default], ..Oracle::default() }
    }

    /// Notes that a commit is on its way. Answers its last sequence number.
    ///
    /// # Panics
    /// When another is still on its way.
    pub fn begin(&mut self, writes: &[Write], now_ms: u64) -> u64 {
        assert_eq!(self.started, self.visible, "one commit at a time");
        for write in writes {
            self.started = (self.started + 1).max(self.next);
            self.writes.push(self.started);
            let version = Version {
                seqno: self.started,
                value: write.value.map(|value| value.bytes().into()),
                expires_at_ms: write.ttl_ms.map_or(0, |ttl| now_ms + ttl),
            };
            self.spaces[write.space].keys.entry(write.key.clone()).or_default().push(version);
        }
        if !writes.is_empty() {
            self.ends.push(self.started);
        }
        self.started
    }

    /// The commit on its way was acknowledged.
    pub fn acknowledge(&mut self, durability: Durability) {
        let moved = self.visible != self.started;
        self.visible = self.started;
        assert!(!moved || self.visible > self.given, "{} was given before", self.visible);
        self.given = self.given.max(self.visible);
        // An empty batch promises nothing.
        if moved && durability >= Durability::Buffered {
            self.buffered = self.visible;
        }
        if moved && durability == Durability::Synced {
            self.synced = self.visible;
        }
    }

    /// Behind an opening the next write gets this number, or a greater one.
    ///
    /// # Panics
    /// When a write that was acknowledged has had it.
    pub fn go_on_at(&mut self, next: u64) {
        assert!(next > self.given, "{next} is given again, behind {}", self.given);
        assert!(next > self.visible, "{next} is given, and {} is there", self.visible);
        self.next = next;
    }

    /// The commit on its way was refused: nothing of it was done.
    pub fn withdraw(&mut self) {
        self.truncate(self.visible);
    }

    /// All that is visible survives everything from now on.
    pub fn all_durable(&mut self) {
        self.durable_up_to(self.visible);
    }

    /// All up to here survives everything from now on.
    pub fn durable_up_to(&mut self, seqno: u64) {
        self.buffered = self.buffered.max(seqno);
        self.synced = self.synced.max(seqno);
    }

    /// Takes back every write behind `seqno`.
    pub fn truncate(&mut self, seqno: u64) {
        for space in &mut self.spaces {
            for versions in space.keys.values_mut() {
                while versions.last().is_some_and(|v| v.seqno > seqno) {
                    versions.pop();
                }
            }
        }
        self.ends.retain(|&end| end <= seqno);
        self.writes.retain(|&write| write <= seqno);
        self.started = seqno;
        self.visible = seqno;
        self.buffered = self.buffered.min(seqno);
        self.synced = self.synced.min(seqno);
    }

    /// A checkpoint is on its way, into the answered path. Answers too the path of one that
    /// nobody looks at any more.
    pub fn begin_checkpoint(&mut self) -> (String, Option<String>) {
        let path = format!("{CHECKPOINTS_DIR}/{}", self.checkpoints_begun);
        self.checkpoints_begun += 1;
        let checkpoints = std::mem::take(&mut self.checkpoints);
        let mut truth = self.clone();
        truth.truncate(self.visible);
        self.checkpoints = checkpoints;
        let gone = (self.checkpoints.len() == CHECKPOINTS).then(|| self.checkpoints.remove(0).path);
        let (seqno, truth) = (self.visible, Arc::new(truth));
        self.checkpoints.push(Checkpoint { path: path.clone(), made: false, seqno, truth });
        (path, gone)
    }

    /// The first write behind `seqno`, if there is one.
    pub fn next_write(&self, seqno: u64) -> Option<u64> {
        let at = self.writes.partition_point(|&write| write <= seqno);
        self.writes.get(at).copied()
    }

    /// Where the last commit ends that has no write behind `seqno`.
    pub fn last_end_up_to(&self, seqno: u64) -> u64 {
        let at = self.ends.partition_point(|&end| end <= seqno);
        at.checked_sub(1).map_or(0, |last| self.ends[last])
    }

    /// Whether this write is the first of a commit.
    pub fn begins_a_commit(&self, seqno: u64) -> bool {
        self.next_write(self.last_end_up_to(seqno - 1)) == Some(seqno)
    }

    /// Whether commits end at `seqno`: no batch is cut there.
    pub fn is_end_of_commit(&self, seqno: u64) -> bool {
        seqno == 0 || self.ends.binary_search(&seqno).is_ok()
    }

    /// The version of `key` that a read at `moment` answers with.
    pub fn get(&self, space: usize, key: &[u8], moment: Moment) -> Option<&Version> {
        let versions = self.spaces[space].keys.get(key)?;
        newest(versions, moment)
    }

    /// All live keys that `cover` covers, in order.
    pub fn scan<'o>(
        &'o self,
        space: usize,
        cover: &Cover,
        moment: Moment,
    ) -> impl DoubleEndedIterator<Item = (&'o Key, &'o Arc<[u8]>)> + use<'o> {
        let (start, end) = bounds(cover);
        let keys = &self.spaces[space].keys;
        let range = is_ordered(&start, &end).then(|| keys.range((start, end)));
        range.into_iter().flatten().filter_map(move |(key, versions)| {
            Some((key, newest(versions, moment)?.value.as_ref()?))
        })
    }
}

fn newest(versions: &[Version], moment: Moment) -> Option<&Version> {
    let version = versions.iter().rev().find(|v| v.seqno <= moment.seqno)?;
    version.live(moment.now_ms).map(|_| version)
}

fn bounds(cover: &Cover) -> (Bound<Key>, Bound<Key>) {
    match cover {
        Cover::All => (Bound::Unbounded, Bound::Unbounded),
        Cover::Range(range) => range.clone(),
        Cover::Prefix(prefix) => {
            // Not by the engine's code: the first key behind all that start so.
            let mut end = prefix.clone();
            while end.last() == Some(&0xff) {
                end.pop();
            }
            let end = match end.last_mut() {
                Some(last) => {
                    *last += 1;
                    Bound::Excluded(end)
                }
                None => Bound::Unbounded,
            };
            (Bound::Included(prefix.clone()), end)
        }
    }
}

/// Whether `BTreeMap::range` takes these ends; it panics on those it does not.
fn is_ordered(start: &Bound<Key>, end: &Bound<Key>) -> bool {
    match (start, end) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => true,
        (Bound::Excluded(a), Bound::Excluded(b)) => a < b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => {
            a <= b
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::ValueSpec;

    fn put(key: &str, stamp: u64, ttl_ms: Option<u64>) -> Write {
        let value = Some(ValueSpec { len: 8, stamp, plain: false });
        Write { space: 0, key: key.into(), value, ttl_ms }
    }

    #[test]
    fn the_newest_version_decides_even_when_it_has_expired() {
        let mut oracle = Oracle::new();
        oracle.begin(&[put("k", 1, None)], 100);
        oracle.acknowledge(Durability::Synced);
        oracle.begin(&[put("k", 2, Some(10))], 100);
        oracle.acknowledge(Durability::Memory);
        let at = |seqno, now_ms| Moment { seqno, now_ms };
        assert_eq!(oracle.get(0, b"k", at(2, 109)).unwrap().seqno, 2);
        assert!(oracle.get(0, b"k", at(2, 110)).is_none());
        assert_eq!(oracle.get(0, b"k", at(1, 110)).unwrap().seqno, 1);
        assert_eq!((oracle.synced, oracle.buffered, oracle.visible), (1, 1, 2));
    }

    #[test]
    fn truncating_takes_back_whole_commits_and_lowers_every_floor() {
        let mut oracle = Oracle::new();
        oracle.begin(&[put("a", 1, None), put("b", 2, None)], 0);
        oracle.acknowledge(Durability::Synced);
        oracle.begin(&[put("a", 3, None)], 0);
        assert!(!oracle.is_end_of_commit(1) && oracle.is_end_of_commit(2));
        oracle.withdraw();
        assert!(!oracle.is_end_of_commit(3));
        let now = Moment { seqno: u64::MAX, now_ms: 0 };
        assert_eq!(oracle.scan(0, &Cover::All, now).count(), 2);
        oracle.truncate(0);
        assert_eq!(oracle.scan(0, &Cover::All, now).count(), 0);
        assert_eq!(oracle.synced, 0);
    }

    #[test]
    fn a_prefix_covers_what_starts_with_it() {
        let mut oracle = Oracle::new();
        let keys = [&b"a"[..], b"a\xff", b"a\xff\xff", b"b", b"\xff", b"\xff\xff"];
        let writes: Vec<_> =
            keys.iter().map(|k| Write { key: k.to_vec(), ..put("", 1, None) }).collect();
        oracle.begin(&writes, 0);
        oracle.acknowledge(Durability::Synced);
        let now = Moment { seqno: 99, now_ms: 0 };
        for prefix in keys {
            let covered = oracle.scan(0, &Cover::Prefix(prefix.to_vec()), now).count();
            assert_eq!(covered, keys.iter().filter(|k| k.starts_with(prefix)).count());
        }
    }
}
