//! A consumer that follows the changes: it sees every commit once, in order and as the oracle
//! has it, and none that anything takes back later. It goes on by its position in the next
//! life, or is told that the window has gone.

use super::Runner;
use super::compare::{Short, check_value};
use crate::operation::Begin;
use crate::oracle::{Follower, Oracle};
use tanada::{Change, Changes, Error, Result, SeqNo, Since};

impl Runner {
    /// Shows the consumer at most so many groups.
    pub(super) fn follow(&mut self, begin: Option<Begin>, groups: usize) -> Result<()> {
        if begin.is_some() {
            self.handles().changes = None;
            self.oracle.lock().follower = Follower::default();
        }
        let mut changes = match self.handles().changes.take() {
            Some(changes) => changes,
            None => self.begin_to_follow(begin)?,
        };
        let mut followed = self.show(&mut changes, groups);
        if let Err(Error::WindowGone { .. }) = followed {
            self.check_gone();
            changes = self.begin_at_the_end()?;
            followed = Ok(());
        }
        self.handles().changes = Some(changes);
        match followed {
            // Its buffer is the least important of all that is in memory.
            Err(Error::MemoryFull { .. }) => Ok(()),
            followed => followed,
        }
    }

    fn begin_to_follow(&mut self, begin: Option<Begin>) -> Result<Changes> {
        let (since, seen) = {
            let oracle = self.oracle.lock();
            match (begin, oracle.follower.position) {
                (None, Some(position)) => (Since::Position(position), oracle.follower.seen),
                (None | Some(Begin::Now), _) => (Since::Now, Some(oracle.visible)),
                (Some(Begin::Oldest), _) => (Since::Oldest, None),
                (Some(Begin::Write(n)), _) => {
                    let write = n % (oracle.visible + 1);
                    (Since::Write(SeqNo(write)), Some(oracle.last_end_up_to(write)))
                }
            }
        };
        match self.db().changes(since) {
            Ok(changes) => {
                let position = Some(changes.position());
                self.oracle.lock().follower = Follower { position, seen };
                Ok(changes)
            }
            Err(Error::WindowGone { .. }) => {
                if let Since::Position(_) = since {
                    self.check_gone();
                }
                self.begin_at_the_end()
            }
            Err(e) => Err(e),
        }
    }

    /// Nobody is told so who has missed nothing.
    fn check_gone(&self) {
        let oracle = self.oracle.lock();
        let missed = oracle.next_write(oracle.follower.seen.unwrap_or(0));
        assert!(missed.is_some(), "the window is gone, and nothing was written behind it");
    }

    fn begin_at_the_end(&mut self) -> Result<Changes> {
        let seen = self.oracle.lock().visible;
        let changes = self.db().changes(Since::Now)?;
        let position = Some(changes.position());
        self.oracle.lock().follower = Follower { position, seen: Some(seen) };
        Ok(changes)
    }

    fn show(&mut self, changes: &mut Changes, groups: usize) -> Result<()> {
        for _ in 0..groups {
            let Some(group) = changes.next()? else {
                let oracle = self.oracle.lock();
                let next = oracle.next_write(oracle.follower.seen.unwrap_or(0));
                let owed = next.filter(|&next| next <= oracle.synced);
                assert!(
                    owed.is_none() || oracle.follower.seen.is_none(),
                    "write {owed:?} is durable and not shown"
                );
                return Ok(());
            };
            let mut oracle = self.oracle.lock();
            let first = group.first_seqno().0;
            let seen = match oracle.follower.seen {
                Some(seen) => seen,
                None => {
                    assert!(oracle.begins_a_commit(first), "a batch is cut in two at {first}");
                    first - 1
                }
            };
            let mut last = seen;
            for change in group.changes() {
                assert_eq!(
                    Some(change.seqno.0),
                    oracle.next_write(last),
                    "shown is another write than the next behind {last}"
                );
                last = change.seqno.0;
                check_change(&oracle, &change);
            }
            assert_eq!(last, group.last_seqno().0);
            assert!(last <= oracle.visible, "{last} is shown, and {} can be read", oracle.visible);
            assert!(oracle.is_end_of_commit(last), "a batch is cut in two at {last}");
            oracle.follower = Follower { position: Some(group.position()), seen: Some(last) };
        }
        Ok(())
    }
}

fn check_change(oracle: &Oracle, change: &Change<'_>) {
    let space = oracle.spaces.iter().find(|space| space.name == change.keyspace);
    let versions = space.and_then(|space| space.keys.get(change.key));
    let version = versions.into_iter().flatten().find(|v| v.seqno == change.seqno.0);
    let Some(version) = version else {
        panic!("{} is shown of a key that it did not write: {}", change.seqno, Short(change.key))
    };
    let (value, expires_at_ms) = match change.operation {
        tanada::Operation::Put { value, expires_at } => {
            (Some(value), expires_at.map_or(0, |at| at.0))
        }
        tanada::Operation::Delete => (None, 0),
        other => panic!("nobody wrote {other:?}"),
    };
    check_value("a change", change.key, value, version.value.as_deref());
    assert_eq!(expires_at_ms, version.expires_at_ms, "when {} expires", Short(change.key));
}
