//! What the tree knows of a table without opening it. The manifest stores it.

use tanada_format::{Origin, SeqNo, TableId, planted};
use tanada_table::{EXPIRY_PARTS, ExpiryQuantiles};

/// Share of a table, in percent, that is garbage before it is rewritten for that.
pub(crate) const GARBAGE_PERCENT: u64 = 25;

/// Facts about one table file, fixed when it was written.
///
/// Invariants, checked by [`TableMeta::check`] for bytes that come from disk:
/// 1. `min_key <= max_key`, both 1 B to 64 KiB long.
/// 2. `1 <= entries`, `tombstones <= entries`, `min_seqno <= max_seqno <= SeqNo::MAX`.
/// 3. `superseded < entries`: each key has a newest one.
/// 4. `tail_bytes <= size_bytes`.
/// 5. `min_expires_at_ms == 0` exactly when `max_expires_at_ms == 0`, and the
///    first is not after the second. Quantiles lie between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableMeta {
    /// Names the file.
    pub(crate) id: TableId,
    /// Where the table comes from, to which its blocks are bound; `None` for one that this
    /// database wrote with this id in epoch 0.
    pub(crate) origin: Option<Box<Origin>>,
    /// Length of the file.
    pub(crate) size_bytes: u64,
    /// Bytes at the end of the file that hold all but data blocks: filters, indexes,
    /// properties, footer. One read of them is enough to find any key; 0 when that is not
    /// known.
    pub(crate) tail_bytes: u64,
    /// Bytes of keys and values before compression.
    pub(crate) raw_bytes: u64,
    /// Versions of keys, tombstones included.
    pub(crate) entries: u64,
    /// Entries that delete.
    pub(crate) tombstones: u64,
    /// Smallest user key, inclusive.
    pub(crate) min_key: Box<[u8]>,
    /// Largest user key, inclusive.
    pub(crate) max_key: Box<[u8]>,
    /// Oldest write.
    pub(crate) min_seqno: SeqNo,
    /// Newest write.
    pub(crate) max_seqno: SeqNo,
    /// Wall-clock milliseconds since 1970 when the file was written: the age
    /// of its tombstones for the picker.
    pub(crate) created_ms: u64,
    /// Earliest expiry of any entry in milliseconds since 1970; 0 when none expires.
    pub(crate) min_expires_at_ms: u64,
    /// Latest expiry of those entries that expire; 0 when none does.
    pub(crate) max_expires_at_ms: u64,
    /// Entries that expire. When it equals `entries`, the whole table is dead
    /// after `max_expires_at_ms`.
    pub(crate) expiring: u64,
    /// When each eighth of them has; `None` when that is not known, or all do at once.
    pub(crate) expiry_quantiles: Option<Box<ExpiryQuantiles>>,
    /// Entries that are not the newest of their key in this table: readers at earlier
    /// moments needed them when it was written.
    pub(crate) superseded: u64,
}

impl TableMeta {
    /// What is wrong with these facts, if anything is.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        use tanada_format::MAX_KEY_LEN;
        let bad_len = |k: &[u8]| k.is_empty() || k.len() > MAX_KEY_LEN;
        if bad_len(&self.min_key) || bad_len(&self.max_key) {
            return Err("a table's border key is empty or too long");
        }
        if self.min_key > self.max_key {
            return Err("a table's smallest key is behind its largest");
        }
        if self.tail_bytes > self.size_bytes {
            return Err("a table's tail is longer than its file");
        }
        if self.entries == 0 || self.tombstones > self.entries || self.expiring > self.entries {
            return Err("a table's entry counts contradict each other");
        }
        if self.superseded >= self.entries {
            return Err("a table's entries are all superseded");
        }
        if self.min_seqno > self.max_seqno || self.max_seqno > SeqNo::MAX {
            return Err("a table's seqno range is impossible");
        }
        if (self.min_expires_at_ms == 0) != (self.max_expires_at_ms == 0)
            || (self.expiring == 0) != (self.max_expires_at_ms == 0)
            || self.min_expires_at_ms > self.max_expires_at_ms
        {
            return Err("a table's expiry range is impossible");
        }
        if let Some(quantiles) = self.expiry_quantiles.as_deref()
            && (quantiles.0[0] < self.min_expires_at_ms
                || quantiles.0.last() > Some(&self.max_expires_at_ms))
        {
            return Err("a table's quantiles of expiry lie outside of its range");
        }
        Ok(())
    }

    /// Entries that a rewrite at the bottom drops once nobody looks back: deletes, and what
    /// is superseded. An entry that is both counts twice.
    pub(crate) fn useless(&self) -> u64 {
        let superseded = if planted!(snapshot_garbage_stays) { 0 } else { self.superseded };
        self.tombstones + superseded
    }

    /// Entries that have expired by `now_ms`, as far as that is known: never too many, and
    /// too few by less than an eighth of those that expire, and those whose time to live,
    /// behind the writing of the table, ended less than an eighth of it ago.
    pub(crate) fn expired_by(&self, now_ms: u64) -> u64 {
        if self.expiring == 0 || now_ms >= self.max_expires_at_ms {
            return self.expiring;
        }
        match self.expiry_quantiles.as_deref() {
            Some(quantiles) if !planted!(one_long_life_keeps_expired) => {
                let parts = quantiles.0.partition_point(|&at_ms| at_ms <= now_ms) as u64;
                (self.expiring * parts).div_ceil(EXPIRY_PARTS)
            }
            _ => 0,
        }
    }

    /// When all of the table has expired; `u64::MAX` for never.
    pub(crate) fn dead_from_ms(&self) -> u64 {
        match self.expiry_quantiles.as_deref() {
            _ if self.expiring < self.entries => u64::MAX,
            Some(quantiles) if planted!(partly_expired_table_dropped) => quantiles.0[0],
            _ => self.max_expires_at_ms,
        }
    }

    /// The first moment at which this share of its entries, in percent, is known to be
    /// [useless](TableMeta::useless) or expired; 0 when that is so whatever the time, `None`
    /// when it never will be.
    pub(crate) fn is_garbage_from(&self, percent: u64) -> Option<u64> {
        let is_most = |expired: u64| (self.useless() + expired) * 100 >= self.entries * percent;
        if is_most(0) {
            return Some(0);
        }
        let quantiles = self.expiry_quantiles.as_deref().into_iter().flat_map(|q| q.0);
        let mut moments = quantiles.chain([self.max_expires_at_ms]);
        moments.find(|&at_ms| self.expiring > 0 && is_most(self.expired_by(at_ms)))
    }

    /// Whether any key of `lower..=upper` may lie in the table.
    #[cfg(test)]
    pub(crate) fn overlaps(&self, lower: &[u8], upper: &[u8]) -> bool {
        *self.min_key <= *upper && lower <= &*self.max_key
    }
}
