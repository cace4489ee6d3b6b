//! Putting a data block together.

use super::{
    EVEN, HAS_EXPIRY, HEAD_LEN, HEADER_LEN, MAX_COUNT, SeqNos, WIDE, common_prefix_len, head_of,
    seqno_width,
};
use tanada_format::{EntryRef, SeqNo, ValueKind, varint_len, write_varint};

/// Collects entries in order and encodes them as one block.
#[derive(Default)]
pub(crate) struct DataBlockBuilder {
    keys: Vec<u8>,
    values: Vec<u8>,
    entries: Vec<Pending>,
    /// Bytes of all entries, whole keys included.
    entry_bytes: usize,
    prefix_len: usize,
    shortest_key: usize,
    /// The smallest and the greatest seqno.
    seqnos: (u64, u64),
}

/// How a [`DataBlockBuilder`] would stand with one entry more.
#[derive(Clone, Copy)]
pub(crate) struct Grown {
    prefix_len: usize,
    shortest_key: usize,
    entry_bytes: usize,
    seqnos: (u64, u64),
    /// Bytes that the block takes then, before compression: never less.
    pub(crate) len: usize,
}

struct Pending {
    seqno: SeqNo,
    expires_at_ms: u64,
    key_len: u32,
    value_len: u32,
    kind: ValueKind,
}

impl DataBlockBuilder {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes that the block takes as it is, before compression: never less.
    pub(crate) fn len(&self) -> usize {
        if self.entries.is_empty() {
            return HEADER_LEN;
        }
        let padding = HEAD_LEN.saturating_sub(self.shortest_key - self.prefix_len);
        let each = 2 + padding + seqno_width(self.seqnos);
        let count = self.entries.len();
        HEADER_LEN + self.prefix_len + self.entry_bytes + count * each - count * self.prefix_len
    }

    /// What adding `entry`, which follows all others in internal order, makes
    /// of the block.
    #[inline]
    pub(crate) fn grown(&self, entry: &EntryRef<'_>) -> Grown {
        let (key, seqno) = (entry.key, entry.seqno.0);
        let (prefix_len, shortest_key, seqnos) = match self.entries.first() {
            None => (key.len(), key.len(), (seqno, seqno)),
            Some(first) => (
                common_prefix_len(&self.keys[..self.prefix_len.min(first.key_len as usize)], key),
                self.shortest_key.min(key.len()),
                (self.seqnos.0.min(seqno), self.seqnos.1.max(seqno)),
            ),
        };
        let entry_bytes = self.entry_bytes + entry_len(entry);
        let count = self.entries.len() + 1;
        // Heads of suffixes shorter than a head are padded.
        let padding = HEAD_LEN.saturating_sub(shortest_key - prefix_len);
        let each = 2 + padding + seqno_width(seqnos);
        let len = HEADER_LEN + prefix_len + entry_bytes + count * each - count * prefix_len;
        Grown { prefix_len, shortest_key, entry_bytes, seqnos, len }
    }

    /// Adds the entry of which [`DataBlockBuilder::grown`] has said `grown`.
    #[inline]
    pub(crate) fn add(&mut self, entry: &EntryRef<'_>, grown: Grown) {
        assert!(self.entries.len() < MAX_COUNT, "a block is cut by size long before");
        self.prefix_len = grown.prefix_len;
        self.shortest_key = grown.shortest_key;
        self.entry_bytes = grown.entry_bytes;
        self.seqnos = grown.seqnos;
        self.keys.extend_from_slice(entry.key);
        self.values.extend_from_slice(entry.value);
        self.entries.push(Pending {
            seqno: entry.seqno,
            expires_at_ms: entry.expires_at_ms,
            key_len: entry.key.len() as u32,
            value_len: entry.value.len() as u32,
            kind: entry.kind,
        });
    }

    /// Encodes the block into `out`, which is cleared first, and starts anew.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        let count = self.entries.len();
        let prefix = &self.keys[..self.prefix_len];
        // Heads may be padded, so this is a bound and not the exact length.
        let bound = HEADER_LEN + prefix.len() + count * (8 + 7) + self.entry_bytes;
        let seqnos = SeqNos::new(self.seqnos);
        let length = |e: &Pending| {
            let suffix_len = e.key_len as usize - self.prefix_len;
            let expiry_len = if e.expires_at_ms != 0 { 8 } else { 0 };
            let rest = suffix_len.saturating_sub(HEAD_LEN) + e.value_len as usize;
            1 + varint_len(suffix_len as u64) + seqnos.width + expiry_len + rest
        };
        // One entry has its offset, so that `alone` need not be told apart.
        let even = (self.entries.split_first())
            .filter(|(first, rest)| {
                !rest.is_empty() && rest.iter().all(|e| length(e) == length(first))
            })
            .map(|(first, _)| length(first) as u32);
        let wide = even.is_none() && bound > usize::from(u16::MAX);
        let offset_len = if wide { 4 } else { 2 };
        let flags = if wide { WIDE } else { 0 } | if even.is_some() { EVEN } else { 0 };

        out.clear();
        out.reserve(bound);
        out.extend_from_slice(&(count as u32 | flags).to_le_bytes());
        out.extend_from_slice(&(prefix.len() as u32).to_le_bytes());
        out.extend_from_slice(&seqnos.encode());
        let mut key_start = 0;
        for e in &self.entries {
            let key_end = key_start + e.key_len as usize;
            let head = head_of(&self.keys[key_start + prefix.len()..key_end]);
            out.extend_from_slice(&head.to_le_bytes());
            key_start = key_end;
        }
        let offsets = out.len();
        match even {
            Some(length) => out.extend_from_slice(&length.to_le_bytes()),
            None => out.resize(offsets + count * offset_len, 0),
        }
        out.extend_from_slice(prefix);

        let (mut keys, mut values) = (&self.keys[..], &self.values[..]);
        for (i, e) in self.entries.iter().enumerate() {
            let at = out.len() as u32;
            if even.is_none() {
                let slot = offsets + i * offset_len;
                out[slot..slot + offset_len].copy_from_slice(&at.to_le_bytes()[..offset_len]);
            }
            let (key, value);
            (key, keys) = keys.split_at(e.key_len as usize);
            (value, values) = values.split_at(e.value_len as usize);
            push_entry(
                out,
                &key[prefix.len()..],
                seqnos,
                &EntryRef {
                    key,
                    seqno: e.seqno,
                    kind: e.kind,
                    expires_at_ms: e.expires_at_ms,
                    value,
                },
            );
        }
        self.clear();
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.values.clear();
        self.entries.clear();
        self.entry_bytes = 0;
        self.prefix_len = 0;
    }
}

/// All but the value of a block of one entry, for long ones: the value follows. The key
/// is the prefix, and the suffix is empty.
pub(crate) fn alone_head(entry: &EntryRef<'_>) -> Vec<u8> {
    let prefix_at = HEADER_LEN + HEAD_LEN + 4;
    let bare = EntryRef { value: &[], ..*entry };
    let mut out = Vec::with_capacity(prefix_at + entry_len(&bare) + 16);
    out.extend_from_slice(&(1 | WIDE).to_le_bytes());
    out.extend_from_slice(&(entry.key.len() as u32).to_le_bytes());
    let seqnos = SeqNos::new((entry.seqno.0, entry.seqno.0));
    out.extend_from_slice(&seqnos.encode());
    out.extend_from_slice(&[0; HEAD_LEN]);
    out.extend_from_slice(&((prefix_at + entry.key.len()) as u32).to_le_bytes());
    out.extend_from_slice(entry.key);
    push_entry(&mut out, b"", seqnos, &bare);
    out
}

#[inline]
fn push_entry(out: &mut Vec<u8>, suffix: &[u8], seqnos: SeqNos, e: &EntryRef<'_>) {
    out.push(e.kind as u8 | if e.expires_at_ms != 0 { HAS_EXPIRY } else { 0 });
    write_varint(out, suffix.len() as u64);
    out.extend_from_slice(&(e.seqno.0 - seqnos.smallest).to_le_bytes()[..seqnos.width]);
    if e.expires_at_ms != 0 {
        out.extend_from_slice(&e.expires_at_ms.to_le_bytes());
    }
    out.extend_from_slice(suffix.get(HEAD_LEN..).unwrap_or_default());
    out.extend_from_slice(e.value);
}

/// Bytes of an entry with its whole key, but for its seqno.
#[inline]
fn entry_len(e: &EntryRef<'_>) -> usize {
    let expiry_len = if e.expires_at_ms != 0 { 8 } else { 0 };
    1 + varint_len(e.key.len() as u64) + expiry_len + e.key.len() + e.value.len()
}
