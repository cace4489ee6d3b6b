//! The commit group: what the payload of one log record says.
//!
//! | size | field |
//! |---|---|
//! | 1 to 8 | seqno of the first entry, varint; the others follow one by one |
//! | 1 to 5 | number of entries, varint |
//! | | the entries |
//!
//! and an entry:
//!
//! | size | field |
//! |---|---|
//! | 1 | tag: the low four bits are the `ValueKind`, 0x80 says that an expiry follows, the rest is 0 |
//! | 1 to 5 | keyspace id, varint |
//! | 1 to 3 | key length, varint |
//! | 1 to 5 | value length, varint |
//! | 0 or 8 | expiry, milliseconds since 1970 |
//! | | key, then value |
//!
//! Entries name no seqno, so a batch encodes each of its writes once, when the
//! user calls it, and a group is a header with the bytes of its batches behind
//! it. Nothing here knows what a file or a record is.

use std::fmt;
use tanada_format::{
    EntryRef, KeyspaceId, MAX_KEY_LEN, MAX_VALUE_LEN, SeqNo, ValueKind, read_varint, write_varint,
};

/// Most bytes of a group's header: 8 for a seqno of 56 bits, 5 for a count of 32.
const MAX_HEADER_LEN: usize = 13;

const HAS_EXPIRY: u8 = 0x80;
const KIND_BITS: u8 = 0x0f;

/// One write as a batch holds it: without a seqno, which the commit gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupEntry<'a> {
    pub keyspace: KeyspaceId,
    pub kind: ValueKind,
    /// 0 means never.
    pub expires_at_ms: u64,
    pub key: &'a [u8],
    pub value: &'a [u8],
}

/// Most bytes that an entry takes beside its key and value.
const MAX_ENTRY_OVERHEAD: usize = 22;

/// Appends one entry. The caller has checked the lengths against the limits.
#[inline]
pub(crate) fn encode_entry(out: &mut Vec<u8>, entry: &GroupEntry<'_>) {
    debug_assert!((1..=MAX_KEY_LEN).contains(&entry.key.len()));
    debug_assert!(entry.value.len() <= MAX_VALUE_LEN);
    out.reserve(MAX_ENTRY_OVERHEAD + entry.key.len() + entry.value.len());
    let expiry = if entry.expires_at_ms == 0 { 0 } else { HAS_EXPIRY };
    out.push(entry.kind as u8 | expiry);
    write_varint(out, u64::from(entry.keyspace.0));
    write_varint(out, entry.key.len() as u64);
    write_varint(out, entry.value.len() as u64);
    if entry.expires_at_ms != 0 {
        out.extend_from_slice(&entry.expires_at_ms.to_le_bytes());
    }
    out.extend_from_slice(entry.key);
    out.extend_from_slice(entry.value);
}

/// The header of a group, encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupHeader {
    bytes: [u8; MAX_HEADER_LEN],
    len: u8,
}

impl GroupHeader {
    /// Of a group of `count` entries.
    #[inline]
    pub(crate) fn new(first_seqno: SeqNo, count: u32) -> GroupHeader {
        debug_assert!(first_seqno <= SeqNo::MAX);
        let mut header = GroupHeader { bytes: [0; MAX_HEADER_LEN], len: 0 };
        header.push(first_seqno.0);
        header.push(u64::from(count));
        header
    }

    #[inline]
    fn push(&mut self, mut n: u64) {
        loop {
            let more = n >= 0x80;
            self.bytes[usize::from(self.len)] = n as u8 & 0x7f | u8::from(more) << 7;
            self.len += 1;
            n >>= 7;
            if !more {
                return;
            }
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// A payload that is no commit group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadGroup {
    /// Where in the payload.
    pub offset: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl fmt::Display for BadGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

/// A group's header, checked, with its entries still to be decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group<'a> {
    pub first_seqno: SeqNo,
    pub count: u32,
    header_len: usize,
    body: &'a [u8],
}

impl<'a> Group<'a> {
    /// Reads the header. Takes no memory.
    pub(crate) fn parse(payload: &'a [u8]) -> Result<Group<'a>, BadGroup> {
        let Some((seqno, seqno_len)) = read_varint(payload) else {
            return Err(BadGroup { offset: 0, what: "the commit group ends inside its header" });
        };
        let Some((count, count_len)) = read_varint(&payload[seqno_len..]) else {
            let what = "the commit group ends inside its header";
            return Err(BadGroup { offset: seqno_len, what });
        };
        let Some(count) = u32::try_from(count).ok().filter(|&count| count != 0) else {
            let what = "the commit group's number of entries is out of range";
            return Err(BadGroup { offset: seqno_len, what });
        };
        let (header, body) = payload.split_at(seqno_len + count_len);
        let last = seqno.checked_add(u64::from(count) - 1);
        if seqno == 0 || last.is_none_or(|last| last > SeqNo::MAX.0) {
            return Err(BadGroup { offset: 0, what: "the commit group's seqno is out of range" });
        }
        Ok(Group { first_seqno: SeqNo(seqno), count, header_len: header.len(), body })
    }

    /// The seqno of the last entry.
    pub(crate) fn last_seqno(&self) -> SeqNo {
        self.first_seqno.plus(u64::from(self.count) - 1)
    }

    /// The entries with their seqnos, each checked; an error ends the walk.
    pub(crate) fn entries(
        &self,
    ) -> impl Iterator<Item = Result<(KeyspaceId, EntryRef<'a>), BadGroup>> + use<'a> {
        let first = self.first_seqno;
        let (mut nth, header_len) = (0, self.header_len);
        GroupEntries { rest: self.body, len: self.body.len(), left: self.count }.map(move |entry| {
            let entry = entry.map_err(|e| BadGroup { offset: e.offset + header_len, ..e })?;
            let seqno = first.plus(nth);
            nth += 1;
            let GroupEntry { keyspace, kind, expires_at_ms, key, value } = entry;
            Ok((keyspace, EntryRef { key, seqno, kind, expires_at_ms, value }))
        })
    }
}

/// The entry at the front of `bytes`, and the bytes it takes; what is wrong with it otherwise.
#[inline]
pub(crate) fn decode_entry(bytes: &[u8]) -> Result<(GroupEntry<'_>, usize), &'static str> {
    let (&tag, mut rest) = bytes.split_first().ok_or("an entry is missing")?;
    let kind = ValueKind::from_u8(tag & KIND_BITS).ok_or("an entry's kind is unknown")?;
    if tag & !(KIND_BITS | HAS_EXPIRY) != 0 {
        return Err("an entry's tag has unknown bits");
    }
    let mut varint = |max: u64, what| match read_varint(rest) {
        Some((n, len)) if n <= max => {
            rest = &rest[len..];
            Ok(n)
        }
        _ => Err(what),
    };
    let keyspace = varint(u64::from(u32::MAX), "an entry's keyspace is out of range")?;
    let key_len = varint(MAX_KEY_LEN as u64, "an entry's key length is out of range")?;
    let value_len = varint(MAX_VALUE_LEN as u64, "an entry's value length is out of range")?;
    if key_len == 0 {
        return Err("an entry's key is empty");
    }
    if kind == ValueKind::Delete && value_len != 0 {
        return Err("a delete has a value");
    }
    let mut expires_at_ms = 0;
    if tag & HAS_EXPIRY != 0 {
        let (expiry, behind) = rest.split_first_chunk().ok_or("an entry is cut short")?;
        expires_at_ms = u64::from_le_bytes(*expiry);
        rest = behind;
        if expires_at_ms == 0 {
            return Err("an entry's expiry is zero");
        }
    }
    // Both are bounded by the limits above, so they fit a usize.
    let (key, rest) =
        rest.split_at_checked(key_len as usize).ok_or("an entry's key is cut short")?;
    let (value, rest) =
        rest.split_at_checked(value_len as usize).ok_or("an entry's value is cut short")?;
    let keyspace = KeyspaceId(keyspace as u32);
    let entry = GroupEntry { keyspace, kind, expires_at_ms, key, value };
    Ok((entry, bytes.len() - rest.len()))
}

/// Walks the entries of one batch, or of several one behind the other. Ends
/// after `count` entries, with an error when bytes are left over, or with the
/// first error.
#[derive(Clone, Debug)]
pub(crate) struct GroupEntries<'a> {
    rest: &'a [u8],
    /// Bytes at the start, for the offset in an error.
    len: usize,
    left: u32,
}

#[cfg(test)]
impl<'a> GroupEntries<'a> {
    /// The `count` entries in `bytes`.
    pub(crate) fn new(bytes: &'a [u8], count: u32) -> GroupEntries<'a> {
        GroupEntries { rest: bytes, len: bytes.len(), left: count }
    }
}

impl<'a> Iterator for GroupEntries<'a> {
    type Item = Result<GroupEntry<'a>, BadGroup>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.len - self.rest.len();
        let decoded = match self.left {
            0 if self.rest.is_empty() => return None,
            0 => Err("bytes are left over behind the last entry"),
            _ => decode_entry(self.rest),
        };
        match decoded {
            Ok((entry, len)) => {
                self.rest = &self.rest[len..];
                self.left -= 1;
                Some(Ok(entry))
            }
            Err(what) => {
                (self.left, self.rest) = (0, &[]);
                Some(Err(BadGroup { offset, what }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Vec<u8>, Vec<GroupEntry<'static>>) {
        let entry = |keyspace, kind, expires_at_ms, key, value| GroupEntry {
            keyspace: KeyspaceId(keyspace),
            kind,
            expires_at_ms,
            key,
            value,
        };
        static LONG: [u8; MAX_KEY_LEN] = [b'k'; MAX_KEY_LEN];
        let entries = vec![
            entry(0, ValueKind::Put, 0, b"a", b"1"),
            entry(u32::MAX, ValueKind::Put, u64::MAX, &LONG, b""),
            entry(300, ValueKind::Delete, 0, b"b", b""),
            entry(1, ValueKind::Merge, 1, b"c", &LONG),
            entry(1, ValueKind::RangeDelete, 0, b"d", b"e"),
            entry(1, ValueKind::BlobRef, 0, b"f", b"12345678"),
        ];
        let mut payload = GroupHeader::new(SeqNo(41), entries.len() as u32).bytes().to_vec();
        for entry in &entries {
            encode_entry(&mut payload, entry);
        }
        (payload, entries)
    }

    fn walk(payload: &[u8]) -> Result<usize, BadGroup> {
        let mut n = 0;
        for entry in Group::parse(payload)?.entries() {
            entry?;
            n += 1;
        }
        Ok(n)
    }

    #[test]
    fn every_kind_and_length_reads_back_with_seqnos_in_order() {
        let (payload, entries) = sample();
        let group = Group::parse(&payload).unwrap();
        assert_eq!((group.first_seqno, group.last_seqno()), (SeqNo(41), SeqNo(46)));
        let read: Vec<_> = group.entries().map(|entry| entry.unwrap()).collect();
        assert_eq!(read.len(), entries.len());
        for (n, ((keyspace, entry), wanted)) in read.into_iter().zip(entries).enumerate() {
            assert_eq!(entry.seqno, SeqNo(41 + n as u64));
            let GroupEntry { key, value, kind, expires_at_ms, .. } = wanted;
            let seqno = entry.seqno;
            assert_eq!(entry, EntryRef { key, seqno, kind, expires_at_ms, value });
            assert_eq!(keyspace, wanted.keyspace);
        }
    }

    #[test]
    fn batches_behind_each_other_read_as_one() {
        let (payload, entries) = sample();
        let body = &payload[Group::parse(&payload).unwrap().header_len..];
        let two = [body, body].concat();
        let read: Vec<_> =
            GroupEntries::new(&two, 2 * entries.len() as u32).map(|entry| entry.unwrap()).collect();
        assert_eq!(read, [entries.clone(), entries].concat());
    }

    #[test]
    fn a_group_cut_or_lengthened_or_changed_is_refused_or_read_but_never_panics() {
        let (payload, _) = sample();
        assert_eq!(walk(&payload), Ok(6));
        for len in 0..payload.len() {
            assert!(walk(&payload[..len]).is_err(), "cut to {len}");
        }
        let longer = [&payload[..], b"x"].concat();
        let error = walk(&longer).unwrap_err();
        assert_eq!(error.offset, payload.len());
        assert_eq!(error.to_string(), "bytes are left over behind the last entry");
        for at in 0..64 {
            for bit in 0..8 {
                let mut changed = payload.clone();
                changed[at] ^= 1 << bit;
                let _ = walk(&changed);
            }
        }
    }

    #[test]
    fn each_rule_of_an_entry_is_checked() {
        let cases: [(&[u8], &str); 11] = [
            (&[1], "an entry's keyspace is out of range"),
            (&[5, 0, 1, 0, b'k'], "an entry's kind is unknown"),
            (&[0x41, 0, 1, 0, b'k'], "an entry's tag has unknown bits"),
            (&[1, 0xff, 0xff, 0xff, 0xff, 0x10, 1, 0], "an entry's keyspace is out of range"),
            (&[1, 0, 0x81, 0x80, 4, 0, b'k'], "an entry's key length is out of range"),
            (
                &[1, 0, 1, 0x81, 0x80, 0x80, 0x80, 4, b'k'],
                "an entry's value length is out of range",
            ),
            (&[1, 0, 0, 0], "an entry's key is empty"),
            (&[0, 0, 1, 1, b'k', b'v'], "a delete has a value"),
            (&[0x81, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'k'], "an entry's expiry is zero"),
            (&[1, 0, 2, 0, b'k'], "an entry's key is cut short"),
            (&[1, 0, 1, 2, b'k', b'v'], "an entry's value is cut short"),
        ];
        for (bytes, what) in cases {
            let mut entries = GroupEntries::new(bytes, 1);
            assert_eq!(entries.next(), Some(Err(BadGroup { offset: 0, what })), "{bytes:?}");
            assert_eq!(entries.next(), None);
        }
        assert_eq!(GroupEntries::new(&[], 0).next(), None);
        let header = |seqno: u64, count| {
            let mut payload = Vec::new();
            write_varint(&mut payload, seqno);
            write_varint(&mut payload, count);
            Group::parse(&payload).map(drop)
        };
        assert!(header(0, 1).is_err() && header(1, 0).is_err());
        assert!(header(SeqNo::MAX.0, 2).is_err() && header(u64::MAX, 2).is_err());
        assert!(header(SeqNo::MAX.0, 1).is_ok() && header(1, 1 << 32).is_err());
        for seqno in [1, 127, 128, SeqNo::MAX.0] {
            for count in [1, 127, 128, u32::MAX] {
                let header = GroupHeader::new(SeqNo(seqno), count);
                match Group::parse(header.bytes()) {
                    Ok(group) => assert_eq!((group.first_seqno.0, group.count), (seqno, count)),
                    Err(_) => assert!(seqno == SeqNo::MAX.0 && count > 1),
                }
            }
        }
    }
}
