//! redb as the one who knows every answer.
//!
//! One table a keyspace. Of each key: u64 version, u64 expiry in milliseconds since 1970 (0
//! for never), both little-endian, then the value. What has expired stays and is passed over,
//! so that an earlier moment still sees it. An earlier moment is a read transaction.

use redb::{
    Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition,
    backends::InMemoryBackend,
};
use std::ops::Bound;
use std::sync::Arc;
use tanada_sim::operation::{Cover, Key};

/// The table of each keyspace; the default one first. There from the beginning: a keyspace
/// that has not been created is one without keys.
const TABLES: [&str; 5] = ["default", "1", "2", "3", "4"];
/// Keyspaces beside the default one.
pub const MOST_SPACES: usize = TABLES.len() - 1;

/// After so many commits one is durable, which lets redb use pages again.
const DURABLE_EVERY: u64 = 64;

type Bytes = &'static [u8];
const STAMP_BYTES: usize = 16;

/// What a key has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Sequence number of its write.
    pub version: u64,
    /// When it expires, milliseconds since 1970; 0 for never.
    pub expires_at_ms: u64,
    /// The value.
    pub value: Vec<u8>,
}

/// One write of a commit.
#[derive(Debug)]
pub struct Change<'c> {
    /// The keyspace, by number.
    pub space: usize,
    /// The key.
    pub key: &'c [u8],
    /// What it has from now on; `None` when it is deleted.
    pub entry: Option<Entry>,
}

/// Every answer.
#[derive(Debug)]
pub struct Oracle {
    db: Database,
    now: Tables,
    commits: u64,
}

type Tables = Arc<Vec<ReadOnlyTable<Bytes, Bytes>>>;

/// All keys at one moment, of which the time belongs to it.
#[derive(Clone)]
pub struct View {
    tables: Tables,
    now_ms: u64,
}

impl Oracle {
    /// Without a key.
    ///
    /// # Panics
    /// When redb fails; so does every other method.
    pub fn new() -> Oracle {
        let db = Database::builder().create_with_backend(InMemoryBackend::new()).expect("created");
        let commit = db.begin_write().expect("nobody else writes");
        for name in TABLES {
            commit.open_table(table(name)).expect("it is new");
        }
        commit.commit().expect("in memory");
        let now = read(&db);
        Oracle { db, now, commits: 0 }
    }

    /// All that is there now.
    pub fn view(&self, now_ms: u64) -> View {
        View { tables: Arc::clone(&self.now), now_ms }
    }

    /// Applies writes in order.
    pub fn apply(&mut self, changes: &[Change<'_>]) {
        if changes.is_empty() {
            return;
        }
        self.commits += 1;
        let mut commit = self.db.begin_write().expect("nobody else writes");
        if !self.commits.is_multiple_of(DURABLE_EVERY) {
            commit.set_durability(Durability::None).expect("no savepoint");
        }
        for change in changes {
            let mut table = commit.open_table(table(TABLES[change.space])).expect("it is there");
            match &change.entry {
                Some(entry) => {
                    let stamp = [entry.version.to_le_bytes(), entry.expires_at_ms.to_le_bytes()];
                    let bytes = [stamp.as_flattened(), &entry.value].concat();
                    table.insert(change.key, &bytes[..]).map(drop)
                }
                None => table.remove(change.key).map(drop),
            }
            .expect("in memory");
        }
        commit.commit().expect("in memory");
        self.now = read(&self.db);
    }
}

impl Default for Oracle {
    fn default() -> Oracle {
        Oracle::new()
    }
}

impl View {
    /// What `key` has.
    pub fn get(&self, space: usize, key: &[u8]) -> Option<Entry> {
        let found = self.tables[space].get(key).expect("in memory")?;
        decode(found.value(), self.now_ms)
    }

    /// What `cover` covers, in order, from either end.
    pub fn scan(
        &self,
        space: usize,
        cover: &Cover,
    ) -> impl DoubleEndedIterator<Item = (Key, Entry)> + use<> {
        let (start, end) = bounds(cover);
        let (start, end) = (start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
        let table = is_ordered(start, end).then(|| &self.tables[space]);
        let range = table.map(|table| table.range::<&[u8]>((start, end)).expect("in memory"));
        let now_ms = self.now_ms;
        range.into_iter().flatten().filter_map(move |found| {
            let (key, value) = found.expect("in memory");
            Some((key.value().to_vec(), decode(value.value(), now_ms)?))
        })
    }
}

fn table(name: &str) -> TableDefinition<'_, Bytes, Bytes> {
    TableDefinition::new(name)
}

fn read(db: &Database) -> Tables {
    let reading = db.begin_read().expect("in memory");
    Arc::new(TABLES.iter().map(|name| reading.open_table(table(name)).expect("made")).collect())
}

fn decode(bytes: &[u8], now_ms: u64) -> Option<Entry> {
    let (stamp, value) = bytes.split_at(STAMP_BYTES);
    let word = |at: usize| u64::from_le_bytes(stamp[at..at + 8].try_into().expect("eight bytes"));
    let (version, expires_at_ms) = (word(0), word(8));
    let lives = expires_at_ms == 0 || expires_at_ms > now_ms;
    lives.then(|| Entry { version, expires_at_ms, value: value.to_vec() })
}

fn bounds(cover: &Cover) -> (Bound<Key>, Bound<Key>) {
    match cover {
        Cover::All => (Bound::Unbounded, Bound::Unbounded),
        Cover::Range(range) => range.clone(),
        Cover::Prefix(prefix) => {
            // Not by the engine's code: prefixes are numbers to be counted up.
            let mut end = prefix.clone();
            loop {
                match end.pop() {
                    None => return (Bound::Included(prefix.clone()), Bound::Unbounded),
                    Some(0xff) => {}
                    Some(last) => {
                        end.push(last + 1);
                        return (Bound::Included(prefix.clone()), Bound::Excluded(end));
                    }
                }
            }
        }
    }
}

/// redb, as most, has no answer for ranges that are the wrong way round.
fn is_ordered(start: Bound<&[u8]>, end: Bound<&[u8]>) -> bool {
    use Bound::{Excluded, Included, Unbounded};
    match (start, end) {
        (Unbounded, _) | (_, Unbounded) => true,
        (Included(a), Included(b)) => a <= b,
        (Included(a) | Excluded(a), Included(b) | Excluded(b)) => a < b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &[u8], version: u64, expires_at_ms: u64) -> Change<'_> {
        Change { space: 1, key, entry: Some(Entry { version, expires_at_ms, value: key.to_vec() }) }
    }

    #[test]
    fn a_view_keeps_its_moment_and_its_time() {
        let mut oracle = Oracle::new();
        oracle.apply(&[put(b"a", 1, 50), put(b"a\xff", 2, 0), put(b"b", 3, 0)]);
        let before = oracle.view(49);
        oracle.apply(&[Change { space: 1, key: b"b", entry: None }, put(b"c", 5, 0)]);
        let keys = |view: &View, cover: Cover| {
            view.scan(1, &cover).map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(keys(&before, Cover::All), [&b"a"[..], b"a\xff", b"b"]);
        assert_eq!(keys(&oracle.view(50), Cover::All), [&b"a\xff"[..], b"c"]);
        assert_eq!(keys(&before, Cover::Prefix(b"a\xff".to_vec())), [b"a\xff"]);
        let crossed = (Bound::Included(b"b".to_vec()), Bound::Excluded(b"b".to_vec()));
        assert!(keys(&before, Cover::Range(crossed)).is_empty());
        assert_eq!(before.get(1, b"b").map(|entry| entry.version), Some(3));
        assert_eq!(oracle.view(0).get(1, b"b"), None);
        assert_eq!(oracle.view(0).get(0, b"c"), None);
    }
}
