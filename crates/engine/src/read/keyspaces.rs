//! The keyspaces of an open database, by id and by name.

use crate::read::view::KeyspaceState;
use std::collections::HashMap;
use std::ops::Index;
use std::sync::Arc;
use tanada_format::KeyspaceId;

/// Keyspaces of one chunk.
const CHUNK: usize = 128;

/// All keyspaces at one moment. They are never removed, so ids are indices.
///
/// A list of chunks that all moments share: one more keyspace copies the last chunk,
/// not the other ten thousand.
#[derive(Clone, Default)]
pub(crate) struct Keyspaces {
    chunks: Vec<Arc<Vec<Arc<KeyspaceState>>>>,
    len: usize,
}

/// Keyspaces by their names.
pub(crate) type KeyspaceNames = HashMap<String, KeyspaceId>;

impl Keyspaces {
    pub(crate) fn new(all: Vec<Arc<KeyspaceState>>) -> Keyspaces {
        let chunks = all.chunks(CHUNK).map(|chunk| Arc::new(chunk.to_vec())).collect();
        Keyspaces { chunks, len: all.len() }
    }

    /// These and one more. Cost: that of a chunk.
    pub(crate) fn with(&self, keyspace: Arc<KeyspaceState>) -> Keyspaces {
        assert_eq!(self.len, keyspace.id.0 as usize, "keyspaces are never removed");
        let mut next = self.clone();
        match next.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => Arc::make_mut(last).push(keyspace),
            _ => next.chunks.push(Arc::new(vec![keyspace])),
        }
        next.len += 1;
        next
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The keyspace with this id.
    #[inline]
    pub(crate) fn get(&self, id: KeyspaceId) -> Option<&Arc<KeyspaceState>> {
        let index = id.0 as usize;
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    /// Those of these ids.
    pub(crate) fn all_of(
        &self,
        ids: impl IntoIterator<Item = KeyspaceId>,
    ) -> Vec<Arc<KeyspaceState>> {
        ids.into_iter().filter_map(|id| self.get(id)).cloned().collect()
    }

    /// All of them, by id.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<KeyspaceState>> + Clone {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}

impl Index<KeyspaceId> for Keyspaces {
    type Output = Arc<KeyspaceState>;

    /// # Panics
    /// Where there is no such keyspace: they are never removed, so whoever has got an id
    /// from this database may ask.
    #[inline]
    fn index(&self, id: KeyspaceId) -> &Arc<KeyspaceState> {
        self.get(id).expect("keyspaces are never removed")
    }
}
