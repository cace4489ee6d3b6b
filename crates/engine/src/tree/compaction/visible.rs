//! Which versions of a key must live on.
//!
//! Flush and compaction put every entry that they write through one
//! [`Retention`]. It looks at nothing but the entries, the snapshots and the
//! clock's reading it is given, so a job does the same wherever it runs.
//!
//! The snapshots cut the commit order into stripes: all versions written
//! behind one snapshot and not behind the next look alike to everybody except
//! for the newest of them, which alone is kept. So a key has at most one
//! version more than there are snapshots.

use tanada_format::{EntryRef, SeqNo, ValueKind, planted};

/// A kind of entry that this version of the engine cannot judge: dropping it,
/// or what lies under it, might lose data. The job ends, its inputs stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnsupportedKind(pub(crate) ValueKind);

/// Whether a put with this expiry counts as deleted. The one place that says so.
///
/// Readers and jobs must take `now_ms` from one clock that never goes back, or
/// a key that was gone comes back.
#[inline]
pub(crate) fn is_expired(expires_at_ms: u64, now_ms: u64) -> bool {
    expires_at_ms != 0 && now_ms >= expires_at_ms
}

/// By which times a job judges expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JobTime {
    /// What had expired by then has expired for everybody who reads at a moment that is
    /// not now.
    pub(crate) held_ms: u64,
    /// When the job began: what had expired by then has expired for those who begin to
    /// read behind that. They alone see what is newer than all that is held.
    pub(crate) clock_ms: u64,
}

/// Where nobody reads but now.
impl From<u64> for JobTime {
    fn from(now_ms: u64) -> JobTime {
        JobTime { held_ms: now_ms, clock_ms: now_ms }
    }
}

/// Judges sorted entries one after another.
///
/// Invariants:
/// 1. for every snapshot, and for a reader without one, what is visible after
///    is what was visible before;
/// 2. a tombstone goes only when it hides nothing: no snapshot separates it
///    from an older version, and nothing below its key is left;
/// 3. an expired put is a tombstone, to every snapshot: it never just vanishes
///    while it hides an older version (kvrocks #2315).
#[derive(Debug)]
pub(crate) struct Retention<'a> {
    /// Seqnos that somebody reads at, ascending.
    snapshots: &'a [SeqNo],
    time: JobTime,
    /// The key judged last.
    key: Vec<u8>,
    /// Whether the entry judged last was the first of its key.
    began_key: bool,
    /// The stripe of the version judged last, as the number of snapshots that
    /// do not see it; `None` before the first entry.
    stripe: Option<usize>,
    dropped: Dropped,
}

/// Entries that a [`Retention`] has let go, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Hidden by a newer version, from everybody.
    pub(crate) superseded: u64,
    /// Deletes that hide nothing.
    pub(crate) deletes: u64,
    /// Puts that have expired, and hide nothing.
    pub(crate) expired: u64,
}

impl<'a> Retention<'a> {
    /// A judge for a job that judges expiry by `time` (wall clock).
    ///
    /// `snapshots` must be ascending, and hold every seqno that somebody reads
    /// at or may yet begin to read at while older than an entry of the job:
    /// when entries may be newer than the last visible write, that write's
    /// seqno is to be among them.
    pub(crate) fn new(snapshots: &'a [SeqNo], time: impl Into<JobTime>) -> Retention<'a> {
        assert!(snapshots.is_sorted(), "snapshots are not ascending: {snapshots:?}");
        let time = time.into();
        let dropped = Dropped::default();
        Retention { snapshots, time, key: Vec::new(), began_key: false, stripe: None, dropped }
    }

    /// The entry as it is to be written, or `None` when nobody can see it.
    /// Entries must come in internal order, all versions of a key that the job
    /// has in a row.
    ///
    /// `may_be_below(key)` says whether versions of the key that are older than
    /// the job's may lie outside of it; it is asked for deletes alone.
    ///
    /// # Errors
    /// [`UnsupportedKind`] for the kinds reserved for later.
    #[inline]
    pub(crate) fn keep<'e>(
        &mut self,
        entry: EntryRef<'e>,
        may_be_below: impl FnOnce(&[u8]) -> bool,
    ) -> Result<Option<EntryRef<'e>>, UnsupportedKind> {
        let stripe = self.stripe_of(entry.seqno);
        let now_ms = match stripe == self.snapshots.len() {
            true => self.time.clock_ms,
            false => self.time.held_ms,
        };
        let deletes = match entry.kind {
            ValueKind::Put => is_expired(entry.expires_at_ms, now_ms),
            ValueKind::Delete => true,
            kind @ (ValueKind::Merge | ValueKind::RangeDelete | ValueKind::BlobRef) => {
                return Err(UnsupportedKind(kind));
            }
        };
        let mut began_key = false;
        let order = (*self.key).cmp(entry.key);
        if self.stripe.is_some() && order.is_eq() {
            assert!(Some(stripe) <= self.stripe, "versions of one key are not newest first");
            if self.stripe == Some(stripe) {
                self.dropped.superseded += 1;
                return Ok(None); // hidden by the version before it, from everybody
            }
        } else {
            // In release too: what comes out of order would be written, or dropped, wrongly.
            assert!(self.stripe.is_none() || order.is_lt(), "keys are not sorted");
            self.key.clear();
            self.key.extend_from_slice(entry.key);
            began_key = true;
        }
        self.began_key = began_key;
        self.stripe = Some(stripe);
        if !deletes {
            return Ok(Some(entry));
        }
        if planted!(ttl_exposes_older) && matches!(entry.kind, ValueKind::Put) {
            self.dropped.expired += 1;
            return Ok(None);
        }
        // In the oldest stripe, no older version of this job is kept.
        let hides_nothing = stripe == 0 || planted!(delete_at_bottom_drops_snapshot_version);
        if hides_nothing && !may_be_below(entry.key) {
            match entry.kind {
                ValueKind::Put => self.dropped.expired += 1,
                _ => self.dropped.deletes += 1,
            }
            return Ok(None);
        }
        Ok(Some(EntryRef { kind: ValueKind::Delete, expires_at_ms: 0, value: &[], ..entry }))
    }

    /// Whether the entry that [`Retention::keep`] answered last is the first
    /// that is kept of its key: of each key the newest version is kept, or none.
    #[inline]
    pub(crate) fn began_key(&self) -> bool {
        self.began_key
    }

    /// What was let go until now.
    pub(crate) fn dropped(&self) -> Dropped {
        self.dropped
    }

    #[inline]
    fn stripe_of(&self, seqno: SeqNo) -> usize {
        match self.snapshots {
            [] => 0,
            snapshots => snapshots.partition_point(|&snapshot| snapshot < seqno),
        }
    }
}

#[cfg(test)]
mod tests;
