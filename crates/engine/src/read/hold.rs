//! The right to read at one moment for as long as one likes.

use crate::read::holders::{HolderKind, Place, ReadPoint};
use crate::read::reading::Reading;
use crate::read::view::View;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use tanada_format::{KeyspaceId, SeqNo, planted};

/// A moment held: until this is dropped no version that it sees goes from MemTables or
/// tables, so any later view of the keyspace answers the same.
pub(crate) struct Hold {
    pub(crate) reading: Arc<Reading>,
    pub(crate) keyspace: KeyspaceId,
    /// The newest write seen.
    pub(crate) seqno: SeqNo,
    /// Decides what has expired.
    pub(crate) now_ms: u64,
    /// How often MemTables had gone from a view before any was loaded here: while none has
    /// gone since, this is nobody's last holder.
    retired: u64,
    /// `None` in a forked child, where every step is refused and lists may be locked
    /// for ever.
    place: Option<Place>,
}

impl Hold {
    /// Holds this moment, or `at`, which somebody must hold already.
    pub(crate) fn new(
        reading: &Arc<Reading>,
        kind: HolderKind,
        keyspace: KeyspaceId,
        at: Option<ReadPoint>,
    ) -> Hold {
        let retired = reading.retired.0.load(Acquire);
        if reading.health.owner.is_forked() {
            let seqno = at.map_or_else(|| reading.visible(), |at| at.seqno);
            let reading = Arc::clone(reading);
            return Hold { reading, keyspace, seqno, now_ms: 0, retired, place: None };
        }
        // For statistics in seconds.
        let opened_ns = reading.env.clock.coarse_monotonic_ns();
        let early_point = || ReadPoint { seqno: reading.visible(), now_ms: reading.now_ms() };
        let at = match planted!(snapshot_numbered_before_it_is_listed) {
            true => Some(at.unwrap_or_else(early_point)),
            false => at,
        };
        let early = planted!(view_loaded_before_its_number)
            .then(|| reading.keyspaces.load()[keyspace].view.load());
        let (place, ReadPoint { seqno, now_ms }) = match at {
            Some(at) => (reading.holders.join((kind, keyspace), opened_ns, at), at),
            None => {
                let now_ms = reading.now_ms();
                reading.holders.enter((kind, keyspace), (opened_ns, now_ms), || reading.visible())
            }
        };
        if let Some(early) = early {
            drop(reading.holders.walks(place, 0, early));
        }
        let (reading, place) = (Arc::clone(reading), Some(place));
        Hold { reading, keyspace, seqno, now_ms, retired, place }
    }

    /// What its readers see.
    pub(crate) fn point(&self) -> ReadPoint {
        ReadPoint { seqno: self.seqno, now_ms: self.now_ms }
    }

    /// The keyspace as it is now, for the end `end` to walk. Loaded behind the seqno,
    /// so it has every write that the seqno sees.
    pub(crate) fn view(&self, end: usize) -> Arc<View> {
        let Some(place) = self.place.filter(|_| !self.reading.health.owner.is_forked()) else {
            return Arc::new(View::empty());
        };
        let keyspaces = self.reading.keyspaces.load();
        let view = keyspaces[self.keyspace].view.load();
        let before = self.reading.holders.walks(place, end, Arc::clone(&view));
        if planted!(view_loaded_before_its_number) {
            return before.unwrap_or(view);
        }
        view
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.reading.health.owner.is_forked() {
            // What it holds is the parent's.
            std::mem::forget(Arc::clone(&self.reading));
        } else if let Some(place) = self.place {
            let (gone, awaited) = self.reading.holders.leave(place);
            drop(gone);
            if awaited {
                self.reading.tell_of_release();
            }
            // It may have been the last to hold a MemTable, and nobody may write any more.
            if self.reading.retired.0.load(Relaxed) != self.retired {
                self.reading.hand_on_mems();
            }
        }
    }
}
