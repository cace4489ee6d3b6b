//! The sequence numbers that live snapshots hold.
//!
//! A flush or compaction asks for them once, when it starts. A snapshot taken
//! later sees every write in that job's inputs (a MemTable is sealed between
//! commit groups, and a table holds sealed MemTables only), so it needs only
//! newest versions, which no job drops.

use std::collections::BTreeMap;
use tanada_format::SeqNo;
use tanada_vfs::sync::Mutex;

/// Live snapshots, counted by sequence number.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    /// How many snapshots hold each number.
    held: Mutex<BTreeMap<SeqNo, usize>>,
}

impl Snapshots {
    /// Holds what `newest` answers. It is asked under the lock, so that a job
    /// that lists the snapshots meanwhile either sees this one or started
    /// before the number was read.
    pub(crate) fn hold(&self, newest: impl FnOnce() -> SeqNo) -> SeqNo {
        let mut held = self.held.lock();
        let seqno = newest();
        *held.entry(seqno).or_default() += 1;
        seqno
    }

    /// Lets go of one hold of `seqno`.
    pub(crate) fn release(&self, seqno: SeqNo) {
        let mut held = self.held.lock();
        if let Some(count) = held.get_mut(&seqno) {
            *count -= 1;
            if *count == 0 {
                held.remove(&seqno);
            }
        }
    }

    /// All numbers held, ascending.
    pub(crate) fn live(&self) -> Vec<SeqNo> {
        self.held.lock().keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_held_twice_stays_until_both_are_released() {
        let snapshots = Snapshots::default();
        snapshots.hold(|| SeqNo(7));
        snapshots.hold(|| SeqNo(7));
        snapshots.hold(|| SeqNo(3));
        assert_eq!(snapshots.live(), [SeqNo(3), SeqNo(7)]);
        snapshots.release(SeqNo(7));
        assert_eq!(snapshots.live(), [SeqNo(3), SeqNo(7)]);
        snapshots.release(SeqNo(7));
        assert_eq!(snapshots.live(), [SeqNo(3)]);
    }
}
