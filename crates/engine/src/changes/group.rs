//! A commit group as those see it who follow the changes.

use crate::read::keyspaces::Keyspaces;
use crate::types::change::{Change, Operation};
use crate::types::position::Position;
use crate::types::record::UnixMillis;
use crate::wal::group::Group;
use tanada_format::{EntryRef, SeqNo, ValueKind};

/// One or several batches that were committed together, each of them whole, as
/// [`super::Changes`] shows them. Where one batch ends and the next begins the log does not
/// say: what is atomic for one who applies a group as a whole is atomic.
///
/// A batch of which a condition did not hold is in no group.
#[derive(Clone, Copy)]
pub struct CommitGroup<'c> {
    pub(super) group: Group<'c>,
    pub(super) keyspaces: &'c Keyspaces,
    pub(super) position: Position,
}

impl<'c> CommitGroup<'c> {
    /// Of its first write; the others follow one by one.
    pub fn first_seqno(&self) -> SeqNo {
        self.group.first_seqno
    }

    /// Of its last write.
    pub fn last_seqno(&self) -> SeqNo {
        self.group.last_seqno()
    }

    /// How many writes it has; at least one.
    pub fn count(&self) -> u32 {
        self.group.count
    }

    /// Behind it: to go on from there when all of it has been dealt with.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Its writes, in their order.
    pub fn changes(&self) -> impl Iterator<Item = Change<'c>> + use<'c> {
        let keyspaces = self.keyspaces;
        // All were checked before the group was shown.
        self.group.entries().flatten().filter_map(move |(id, entry)| {
            let (seqno, key, operation) = (entry.seqno, entry.key, operation(&entry)?);
            Some(Change { seqno, keyspace: &keyspaces.get(id)?.name, key, operation })
        })
    }
}

impl std::fmt::Debug for CommitGroup<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommitGroup")
            .field("first_seqno", &self.first_seqno())
            .field("count", &self.count())
            .field("position", &self.position.to_string())
            .finish()
    }
}

/// What an entry did; `None` for a kind that is not written yet.
pub(super) fn operation<'c>(entry: &EntryRef<'c>) -> Option<Operation<'c>> {
    match entry.kind {
        ValueKind::Put => {
            let expires_at = UnixMillis::of_entry(entry.expires_at_ms);
            Some(Operation::Put { value: entry.value, expires_at })
        }
        ValueKind::Delete => Some(Operation::Delete),
        _ => None,
    }
}
