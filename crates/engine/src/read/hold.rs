//! The right to read at one moment for as long as one likes.

use crate::read::holders::{HolderKind, Place};
use crate::read::reading::Reading;
use crate::read::view::View;
use std::sync::Arc;
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
    /// `None` in a forked child, where every step is refused and lists may be locked
    /// for ever.
    place: Option<Place>,
}

impl Hold {
    /// Holds the newest visible write, or `at`, which somebody must hold already.
    pub(crate) fn new(
        reading: &Arc<Reading>,
        kind: HolderKind,
        keyspace: KeyspaceId,
        at: Option<SeqNo>,
    ) -> Hold {
        if reading.health.owner.is_forked() {
            let seqno = at.unwrap_or_else(|| reading.visible());
            return Hold { reading: Arc::clone(reading), keyspace, seqno, now_ms: 0, place: None };
        }
        let now_ms = match kind {
            HolderKind::Snapshot => u64::MAX,
            HolderKind::Cursor | HolderKind::Iterator => reading.now_ms(),
        };
        // For statistics in seconds.
        let opened_ns = reading.env.clock.coarse_monotonic_ns();
        let at = match planted!(snapshot_numbered_before_it_is_listed) {
            true => Some(at.unwrap_or_else(|| reading.visible())),
            false => at,
        };
        let early = planted!(view_loaded_before_its_number)
            .then(|| reading.keyspaces.load()[keyspace].view.load());
        let visible = || at.unwrap_or_else(|| reading.visible());
        let (place, seqno, now_ms) =
            reading.holders.enter((kind, keyspace), (opened_ns, now_ms), visible);
        if let Some(early) = early {
            drop(reading.holders.walks(place, 0, early));
        }
        Hold { reading: Arc::clone(reading), keyspace, seqno, now_ms, place: Some(place) }
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
        }
    }
}
