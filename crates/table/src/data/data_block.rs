//! A data block before compression: the entries, each reachable at random.
//!
//! | size | field |
//! |---|---|
//! | 4 | number of entries `n`, low 24 bits; bit 31: offsets take 4 bytes, not 2; bit 30: a length stands in their place |
//! | 4 | length `p` of the prefix that all keys share |
//! | 1 | bytes `w` of each entry's seqno, 0 to 7 |
//! | 7 | the smallest seqno of the block |
//! | 4n | heads: of each key the 4 bytes behind the prefix, zero-padded, read as a big-endian number, stored little-endian |
//! | 2n or 4n | offsets of the entries from the block's start |
//! | or 4 | the length that every entry has, when it is the same: the first begins behind the prefix |
//! | p | the prefix |
//! | .. | the entries |
//!
//! An entry:
//!
//! | size | field |
//! |---|---|
//! | 1 | tag: value kind in the low nibble; 0x80: an expiry follows |
//! | varint | suffix length `s`: the key's length without the prefix |
//! | w | seqno, less the smallest of the block |
//! | 8 | expiry, milliseconds since 1970, when the tag says so |
//! | max(s, 4) - 4 | the key behind prefix and head |
//! | .. | the value, up to the next entry or the block's end |
//!
//! A key's first bytes behind the prefix lie in its head and nowhere else, so
//! that heads cost no space. There are no chains of deltas: any entry is read
//! without its neighbours, so both directions cost the same, and nearly always
//! with two loads at fixed places: `docs/decisions/0005-scan.md`. Why heads and not
//! a hash index or restart points: `docs/decisions/0004-in-block-search.md`.

mod builder;

pub(crate) use builder::{DataBlockBuilder, alone_head};

use crate::damage::{Damage, Fields};
use crate::data::key_buffer::KeyBuffer;
use std::cmp::Ordering;
use tanada_format::{EntryRef, SeqNo, ValueKind, planted};

const HEADER_LEN: usize = 16;
const SEQNO_AT: usize = 8;
const HEAD_LEN: usize = 4;
const WIDE: u32 = 1 << 31;
const EVEN: u32 = 1 << 30;
const MAX_COUNT: usize = (1 << 24) - 1;
const HAS_EXPIRY: u8 = 0x80;

/// The first bytes of `suffix` as a number that orders as they do, except that
/// a shorter suffix ties with its own continuation by zeros.
#[inline]
fn head_of(suffix: &[u8]) -> u32 {
    match suffix.first_chunk::<HEAD_LEN>() {
        Some(head) => u32::from_be_bytes(*head),
        // Byte by byte: a copy of unknown length is a call, and its result is
        // read before it has left the store buffer.
        None => u32::from_be_bytes(std::array::from_fn(|i| suffix.get(i).copied().unwrap_or(0))),
    }
}

#[inline]
pub(crate) fn common_prefix_len(a: &[u8], b: &[u8]) -> usize {
    let mut len = 0;
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        let a = u64::from_le_bytes(a.try_into().expect("chunks are of 8 bytes"));
        let b = u64::from_le_bytes(b.try_into().expect("chunks are of 8 bytes"));
        if a != b {
            return len + ((a ^ b).trailing_zeros() / 8) as usize;
        }
        len += 8;
    }
    len + a[len..].iter().zip(&b[len..]).take_while(|(a, b)| a == b).count()
}

/// The longest [`alone_head`], and more.
pub(crate) const MAX_HEAD_LEN: usize = tanada_format::MAX_KEY_LEN + 256;

/// The entry of a block that has but one, without its value, read from the block's first
/// bytes. `None` when it has more, or when they say nothing that makes sense.
pub(crate) fn only_entry(beginning: &[u8]) -> Option<EntryRef<'_>> {
    let counts = u32::from_le_bytes(*beginning.first_chunk()?);
    if counts != (1 | WIDE) {
        return None;
    }
    let prefix_len = u32::from_le_bytes(*beginning[4..].first_chunk()?);
    let block = DataBlock { bytes: beginning, counts, prefix_len };
    let prefix_at = block.prefix_at();
    let key = beginning.get(prefix_at..)?.get(..prefix_len as usize)?;
    let slot = block.slot(0).ok()?;
    let (seqno, kind, expires_at_ms) = (slot.seqno, slot.kind, slot.expires_at_ms);
    (slot.suffix_len == 0).then_some(EntryRef { key, seqno, kind, expires_at_ms, value: &[] })
}

/// Bytes in which the seqnos between these two are told apart.
#[inline]
fn seqno_width((smallest, greatest): (u64, u64)) -> usize {
    (64 - (greatest - smallest).leading_zeros() as usize).div_ceil(8)
}

/// How a block's seqnos are written.
#[derive(Clone, Copy)]
struct SeqNos {
    width: usize,
    smallest: u64,
}

impl SeqNos {
    fn new(seqnos: (u64, u64)) -> SeqNos {
        SeqNos { width: seqno_width(seqnos), smallest: seqnos.0 }
    }

    fn encode(self) -> [u8; 8] {
        (self.smallest << 8 | self.width as u64).to_le_bytes()
    }

    /// Read by [`DataBlock::parse`] as well, which bounds the width.
    #[inline]
    fn decode(word: [u8; 8]) -> SeqNos {
        let word = u64::from_le_bytes(word);
        SeqNos { width: (word & 7) as usize, smallest: word >> 8 }
    }

    /// The seqno that `word` begins with.
    #[inline]
    fn read(self, word: u64) -> SeqNo {
        SeqNo(self.smallest.wrapping_add(word & !(u64::MAX << (8 * self.width))))
    }
}

/// A decompressed data block: its bytes, and its first two fields, which have
/// been checked against them.
#[derive(Clone, Copy)]
pub(crate) struct DataBlock<'a> {
    pub(crate) bytes: &'a [u8],
    /// Number of entries, and [`WIDE`] or [`EVEN`].
    pub(crate) counts: u32,
    pub(crate) prefix_len: u32,
}

/// An entry as it lies in its block: without the prefix, its first suffix
/// bytes in the head.
#[derive(Clone, Copy)]
pub(crate) struct Slot<'a> {
    pub(crate) seqno: SeqNo,
    pub(crate) kind: ValueKind,
    pub(crate) expires_at_ms: u64,
    suffix_len: usize,
    /// The suffix behind its head.
    rest: &'a [u8],
    pub(crate) value_at: u32,
    pub(crate) value: &'a [u8],
}

impl<'a> Slot<'a> {
    /// Orders this entry's suffix against another whose head is the same.
    #[inline]
    fn cmp_behind_head(&self, suffix: &[u8]) -> Ordering {
        if self.suffix_len.min(suffix.len()) >= HEAD_LEN {
            self.rest.cmp(&suffix[HEAD_LEN..])
        } else if planted!(block_heads_taken_for_keys) {
            Ordering::Equal
        } else {
            // Equal heads, one of them padded: the shorter is a prefix of the other.
            self.suffix_len.cmp(&suffix.len())
        }
    }
}

impl<'a> DataBlock<'a> {
    /// Takes the decompressed bytes after checking the fixed parts. Entries
    /// are checked when they are read.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<DataBlock<'a>, Damage> {
        let mut fields = Fields(bytes);
        let counts = fields.u32()?;
        let prefix_len = fields.u32()?;
        let [seqno_width] = fields.array()?;
        if seqno_width > 7 {
            return Err("a data block's seqnos are too long".into());
        }
        let count = counts & !(WIDE | EVEN);
        if count as usize > MAX_COUNT || count == 0 || counts & (WIDE | EVEN) == WIDE | EVEN {
            return Err("a data block's number of entries is out of bounds".into());
        }
        let block = DataBlock { bytes, counts, prefix_len };
        if u64::from(prefix_len) + block.prefix_at() as u64 > block.bytes.len() as u64
            || block.bytes.len() > u32::MAX as usize
        {
            return Err("a data block is shorter than its arrays".into());
        }
        if block.is_even() {
            let entries = block.bytes.len() - block.prefix_at() - prefix_len as usize;
            if block.span(0).1.checked_sub(block.span(0).0).map(|length| length * count as usize)
                != Some(entries)
            {
                return Err("a data block's entries do not have the length declared".into());
            }
        }
        Ok(block)
    }

    /// Number of entries; at least one.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.counts as usize & MAX_COUNT
    }

    #[inline]
    fn is_even(&self) -> bool {
        self.counts & EVEN != 0
    }

    #[inline]
    fn is_wide(&self) -> bool {
        self.counts & WIDE != 0
    }

    /// Where the prefix begins, and the offsets end.
    #[inline]
    fn prefix_at(&self) -> usize {
        if self.is_even() {
            return HEADER_LEN + self.count() * HEAD_LEN + 4;
        }
        HEADER_LEN + self.count() * if self.is_wide() { HEAD_LEN + 4 } else { HEAD_LEN + 2 }
    }

    #[inline]
    pub(crate) fn prefix(&self) -> &'a [u8] {
        &self.bytes[self.prefix_at()..][..self.prefix_len as usize]
    }

    #[inline]
    fn heads(&self) -> &'a [[u8; HEAD_LEN]] {
        let bytes = &self.bytes[HEADER_LEN..HEADER_LEN + self.count() * HEAD_LEN];
        bytes.as_chunks::<HEAD_LEN>().0
    }

    /// Where entry `i < count` begins and ends.
    #[inline]
    fn span(&self, i: usize) -> (usize, usize) {
        let prefix_at = self.prefix_at();
        let offsets = &self.bytes[HEADER_LEN + self.count() * HEAD_LEN..prefix_at];
        if self.is_even() {
            let length = offsets.first_chunk().map_or(0, |&length| u32::from_le_bytes(length));
            // Checked by `parse`: the last entry ends where the block does.
            let at = prefix_at + self.prefix_len as usize + i * length as usize;
            (at, at + length as usize)
        } else if self.is_wide() {
            let (offsets, _) = offsets.as_chunks();
            let end =
                offsets.get(i + 1).map_or(self.bytes.len(), |&o| u32::from_le_bytes(o) as usize);
            (u32::from_le_bytes(offsets[i]) as usize, end)
        } else {
            let (offsets, _) = offsets.as_chunks();
            let end =
                offsets.get(i + 1).map_or(self.bytes.len(), |&o| u16::from_le_bytes(o).into());
            (u16::from_le_bytes(offsets[i]).into(), end)
        }
    }

    /// Reads entry `i < count`.
    #[inline(always)] // a call would hand the fields over in memory
    pub(crate) fn slot(&self, i: usize) -> Result<Slot<'a>, Damage> {
        let (at, end) = self.span(i);
        let seqnos =
            SeqNos::decode(self.bytes[SEQNO_AT..].first_chunk().copied().unwrap_or([0; 8]));
        // Nearly always the tag, the suffix's length and the seqno lie in the
        // ten bytes from here on; the tag then is the kind alone.
        if let Some(&[tag, suffix_len, ref word @ ..]) =
            self.bytes.get(at..).and_then(|b| b.first_chunk::<10>())
            && suffix_len < 0x80
            && let Some(kind) = ValueKind::from_u8(tag)
        {
            let suffix_len = usize::from(suffix_len);
            let rest_at = at + 2 + seqnos.width;
            let value_at = rest_at + suffix_len.saturating_sub(HEAD_LEN);
            if value_at <= end && end <= self.bytes.len() {
                return Ok(Slot {
                    seqno: seqnos.read(u64::from_le_bytes(*word)),
                    kind,
                    expires_at_ms: 0,
                    suffix_len,
                    rest: &self.bytes[rest_at..value_at],
                    value_at: value_at as u32,
                    value: &self.bytes[value_at..end],
                });
            }
        }
        self.read_slot(at, end, seqnos)
    }

    /// The same for any entry, and for what is none.
    #[cold]
    #[inline(never)]
    fn read_slot(&self, at: usize, end: usize, seqnos: SeqNos) -> Result<Slot<'a>, Damage> {
        let mut fields =
            Fields(self.bytes.get(at..end).ok_or("an entry's offset lies outside its place")?);
        let [tag] = fields.array::<1>()?;
        let kind = ValueKind::from_u8(tag & 0x0f).ok_or("an entry's kind is unknown")?;
        if tag & !(0x0f | HAS_EXPIRY) != 0 {
            return Err("an entry's tag has an unknown bit".into());
        }
        let suffix_len = fields.varint_u32()? as usize;
        let mut word = [0; 8];
        word[..seqnos.width].copy_from_slice(fields.bytes(seqnos.width)?);
        let seqno = seqnos.read(u64::from_le_bytes(word));
        let expires_at_ms = if tag & HAS_EXPIRY != 0 { fields.u64()? } else { 0 };
        let rest = fields.bytes(suffix_len.saturating_sub(HEAD_LEN))?;
        let value_at = (end - fields.0.len()) as u32;
        Ok(Slot { seqno, kind, expires_at_ms, suffix_len, rest, value_at, value: fields.0 })
    }

    /// Writes the key of entry `i` behind the prefix that `key` begins with.
    #[inline]
    pub(crate) fn write_key(&self, i: usize, slot: &Slot<'_>, key: &mut KeyBuffer) {
        let head = u32::from_le_bytes(self.heads()[i]).to_be_bytes();
        let rest_at = slot.value_at as usize - slot.rest.len();
        key.set_suffix(self.prefix_len as usize, slot.suffix_len, head, self.bytes, rest_at);
    }

    /// Index of the first entry at or after `(key, seqno)`; `count` when all
    /// are before it.
    #[inline]
    pub(crate) fn lower_bound(&self, key: &[u8], seqno: SeqNo) -> Result<usize, Damage> {
        match self.strip_prefix(key) {
            Ok(suffix) => Ok(self.search(suffix, seqno)?.0),
            Err(Ordering::Less) => Ok(0),
            Err(_) => Ok(self.count()),
        }
    }

    /// The newest version of `key` that is not newer than `seqno`.
    #[inline]
    pub(crate) fn get(&self, key: &[u8], seqno: SeqNo) -> Result<Option<Slot<'a>>, Damage> {
        match self.strip_prefix(key) {
            Ok(suffix) => Ok(self.search(suffix, seqno)?.1),
            Err(_) => Ok(None),
        }
    }

    /// What is behind the common prefix, or how `key` lies to all keys here.
    #[inline]
    fn strip_prefix<'k>(&self, key: &'k [u8]) -> Result<&'k [u8], Ordering> {
        let prefix = self.prefix();
        match key.split_at_checked(prefix.len()) {
            Some((start, suffix)) if start == prefix => Ok(suffix),
            Some((start, _)) => Err(start.cmp(prefix)),
            None => Err(key.cmp(prefix)),
        }
    }

    /// The first entry at or after the target, and that entry itself when its
    /// key is the target's.
    #[inline]
    fn search(&self, suffix: &[u8], seqno: SeqNo) -> Result<(usize, Option<Slot<'a>>), Damage> {
        let head = head_of(suffix);
        let heads = self.heads();
        let mut at = rank(heads, head);
        // Nearly always the entry at the head's rank is the one; a long run of
        // equal heads (many versions of one key) is halved.
        let mut end = None;
        while at < heads.len() && u32::from_le_bytes(heads[at]) == head {
            let slot = self.slot(at)?;
            match slot.cmp_behind_head(suffix).then_with(|| seqno.cmp(&slot.seqno)) {
                Ordering::Less => at += 1,
                _ => {
                    let same = slot.cmp_behind_head(suffix) == Ordering::Equal;
                    return Ok((at, same.then_some(slot)));
                }
            }
            let end = *end.get_or_insert_with(|| match head.checked_add(1) {
                Some(next) => rank(heads, next),
                None => heads.len(),
            });
            let (mut low, mut high) = (at, end);
            while high - low > 4 {
                let middle = low + (high - low) / 2;
                let slot = self.slot(middle)?;
                match slot.cmp_behind_head(suffix).then_with(|| seqno.cmp(&slot.seqno)) {
                    Ordering::Less => low = middle + 1,
                    _ => high = middle,
                }
            }
            at = low;
        }
        Ok((at, None))
    }
}

/// Number of heads below `head`. Counting them all, without a branch, is
/// vectorised and its loads do not wait for each other; long arrays are first
/// halved down to a few lines.
#[inline]
fn rank(heads: &[[u8; HEAD_LEN]], head: u32) -> usize {
    const COUNTED: usize = 64;
    let mut start = 0;
    let mut len = heads.len();
    while len > COUNTED {
        let half = len / 2;
        if u32::from_le_bytes(heads[start + half - 1]) < head {
            start += half;
        }
        len -= half;
    }
    let counted = &heads[start..start + len];
    start + counted.iter().map(|h| u32::from(u32::from_le_bytes(*h) < head)).sum::<u32>() as usize
}

#[cfg(test)]
mod tests;
