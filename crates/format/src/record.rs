//! The record frame: what stands before each payload in a log and in a manifest.
//!
//! A file of records is a header of its own kind, then records, each beginning
//! at a multiple of [`RECORD_ALIGN`] bytes and padded with zeros to the next:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | `frame_crc`: CRC-32C of the salt, this frame's offset in the file, and bytes 4 to 24 |
//! | 4 | 4 | `payload_len`: bytes, without the padding |
//! | 8 | 4 | `body_crc`: CRC-32C of the payload, continued from the `body_crc` of the record before |
//! | 12 | 2 | `kind`: what the payload is; never 0 |
//! | 14 | 2 | `flags`: none is known yet, so all are 0 |
//! | 16 | 8 | `synced`: a position known to be durable when this record was written |
//! | 24 | `payload_len` | the payload |
//!
//! A log has many small records, so a record that names no `synced` may have a
//! short frame instead:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | CRC-32C of the payload, continued from the `body_crc` of the record before, then of the salt, this frame's offset in the file, and bytes 4 to 8 |
//! | 4 | 3 | bytes of the payload |
//! | 7 | 1 | kind, and 0x80; in a full frame this bit of `payload_len` is 0 |
//! | 8 | | the payload |
//!
//! It cannot be verified without its payload, nor without the record before. The
//! `body_crc` that later records continue is that of the payload alone.
//!
//! All integers are little-endian. The salt binds a frame to its database, its
//! file and its place, so a frame can be verified on its own, wherever a scan
//! behind damage meets it, and a frame of another file or another place never
//! passes. The chained `body_crc` says that no record before this one is missing
//! or was exchanged. `kind` is never 0, so preallocated zeros are never a record.

use crate::{DatabaseId, WriterEpoch, crc32c, crc32c_before, crc32c_extend, planted};

/// Bytes of a frame.
pub const RECORD_FRAME_LEN: usize = 24;

/// Bytes of a short frame.
pub const SHORT_FRAME_LEN: usize = 8;

/// A payload of this length or longer has no short frame.
pub const SHORT_PAYLOAD_END: usize = 1 << 24;

const SHORT: u8 = 0x80;

/// Records begin at multiples of this many bytes.
pub const RECORD_ALIGN: u64 = 8;

/// Bytes that a record takes in its file: frame, payload and padding.
#[inline]
pub const fn record_len(payload_len: u64) -> u64 {
    (RECORD_FRAME_LEN as u64 + payload_len).next_multiple_of(RECORD_ALIGN)
}

/// As [`record_len`], for a record with a short frame.
#[inline]
pub const fn short_record_len(payload_len: u64) -> u64 {
    (SHORT_FRAME_LEN as u64 + payload_len).next_multiple_of(RECORD_ALIGN)
}

/// The kinds of file that hold records. The numbers are in every salt, so they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordFile {
    /// A log, `000042.log`.
    Log = 1,
    /// A manifest, `MANIFEST-000042`.
    Manifest = 2,
}

/// What binds the frames of one file to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordSalt(u32);

impl RecordSalt {
    /// The salt of the file with this number in this database.
    pub fn new(file: RecordFile, database: DatabaseId, number: u64) -> RecordSalt {
        if planted!(recycled_wal_stale_records) {
            return RecordSalt(0);
        }
        let crc = crc32c_extend(crc32c(&[file as u8]), &database.0);
        RecordSalt(crc32c_extend(crc, &number.to_le_bytes()))
    }

    /// That of a file with the same number that was begun in this epoch. In epoch 0 it is
    /// the same.
    pub fn in_epoch(self, epoch: WriterEpoch) -> RecordSalt {
        match epoch {
            WriterEpoch(0) => self,
            epoch => RecordSalt(crc32c_extend(self.0, &epoch.0.to_le_bytes())),
        }
    }

    fn frame_crc(self, offset: u64, rest: &[u8]) -> u32 {
        crc32c_extend(crc32c_extend(self.0, &offset.to_le_bytes()), rest)
    }

    /// The checksum in a short frame whose other bytes are `rest`.
    #[inline]
    fn short_crc(self, offset: u64, rest: &[u8; 4], body_crc: u32) -> u32 {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.0.to_le_bytes());
        bytes[4..12].copy_from_slice(&offset.to_le_bytes());
        bytes[12..].copy_from_slice(rest);
        crc32c_extend(body_crc, &bytes)
    }
}

/// A frame, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordFrame {
    /// Bytes of payload behind the frame. Checked by `frame_crc`, but still to
    /// be compared with the file's length before memory is taken for it.
    pub payload_len: u32,
    /// The chained checksum up to and including this record's payload.
    pub body_crc: u32,
    /// What the payload is.
    pub kind: u16,
    /// Bits that a reader must know; it refuses the file when one is set that it does not.
    pub flags: u16,
    /// A position known to be durable when this record was written. In a log a
    /// `LogPosition`; in a manifest an offset in the file.
    pub synced: u64,
}

impl RecordFrame {
    /// The frame's bytes at `offset` of the file that `salt` names.
    #[inline]
    pub fn encode(&self, salt: RecordSalt, offset: u64) -> [u8; RECORD_FRAME_LEN] {
        let mut out = [0; RECORD_FRAME_LEN];
        out[4..8].copy_from_slice(&self.payload_len.to_le_bytes());
        out[8..12].copy_from_slice(&self.body_crc.to_le_bytes());
        out[12..14].copy_from_slice(&self.kind.to_le_bytes());
        out[14..16].copy_from_slice(&self.flags.to_le_bytes());
        out[16..24].copy_from_slice(&self.synced.to_le_bytes());
        let crc = salt.frame_crc(offset, &out[4..]);
        out[..4].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The frame at the front of `bytes`, which lie at `offset` of the file that
    /// `salt` names. `None` when there is no valid frame: zeros, too few bytes,
    /// damage, or another file's bytes.
    #[inline]
    pub fn decode(bytes: &[u8], salt: RecordSalt, offset: u64) -> Option<RecordFrame> {
        let bytes: &[u8; RECORD_FRAME_LEN] = bytes.first_chunk()?;
        let frame = RecordFrame {
            payload_len: u32_at(bytes, 4),
            body_crc: u32_at(bytes, 8),
            kind: u16::from_le_bytes([bytes[12], bytes[13]]),
            flags: u16::from_le_bytes([bytes[14], bytes[15]]),
            synced: u64::from(u32_at(bytes, 16)) | u64::from(u32_at(bytes, 20)) << 32,
        };
        // The kind first: it is cheap, and settles the long runs of zeros behind a log's end.
        if frame.kind == 0 || u32_at(bytes, 0) != salt.frame_crc(offset, &bytes[4..]) {
            return None;
        }
        Some(frame)
    }

    /// Bytes that the whole record takes in its file.
    #[inline]
    pub fn record_len(&self) -> u64 {
        record_len(u64::from(self.payload_len))
    }
}

/// A short frame, decoded. Nothing of it is verified before
/// [`RecordCursor::accept_short`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortFrame {
    crc: u32,
    rest: [u8; 4],
}

impl ShortFrame {
    /// The frame at the front of `bytes`, if it may be a short one.
    #[inline]
    pub fn decode(bytes: &[u8]) -> Option<ShortFrame> {
        let bytes: &[u8; SHORT_FRAME_LEN] = bytes.first_chunk()?;
        let [c0, c1, c2, c3, rest @ ..] = *bytes;
        let is_short = rest[3] & SHORT != 0 && rest[3] != SHORT;
        is_short.then_some(ShortFrame { crc: u32::from_le_bytes([c0, c1, c2, c3]), rest })
    }

    /// Bytes of payload behind the frame.
    pub fn payload_len(&self) -> u32 {
        u32::from_le_bytes([self.rest[0], self.rest[1], self.rest[2], 0])
    }

    /// What the payload is.
    pub fn kind(&self) -> u16 {
        u16::from(self.rest[3] & !SHORT)
    }

    /// The chained checksum up to and including this record's payload, if the
    /// frame, at `offset` of the file that `salt` names, is as it was written.
    /// Proves nothing by itself; for repair alone.
    pub fn body_crc(&self, salt: RecordSalt, offset: u64) -> u32 {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&salt.0.to_le_bytes());
        bytes[4..12].copy_from_slice(&offset.to_le_bytes());
        bytes[12..].copy_from_slice(&self.rest);
        crc32c_before(self.crc, &bytes)
    }
}

/// A place between two records of one file: for a writer the end of what it
/// wrote, for a reader the end of what it has verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordCursor {
    salt: RecordSalt,
    offset: u64,
    chain: u32,
}

impl RecordCursor {
    /// At `offset`, where the chained checksum of all before is `chain`.
    pub fn new(salt: RecordSalt, offset: u64, chain: u32) -> RecordCursor {
        debug_assert!(offset.is_multiple_of(RECORD_ALIGN));
        RecordCursor { salt, offset, chain }
    }

    /// Where the next record begins, in bytes from the file's start.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The chained checksum of all payloads before.
    pub fn chain(&self) -> u32 {
        self.chain
    }

    /// The salt of the file.
    pub fn salt(&self) -> RecordSalt {
        self.salt
    }

    /// The frame for a record whose payload is all of `parts`, to be written at
    /// [`offset`](Self::offset); moves behind the record. The writer adds the
    /// payload and [`record_padding`].
    ///
    /// # Panics
    /// When `kind` is 0 or the payload is longer than `u32::MAX`.
    pub fn write(&mut self, kind: u16, synced: u64, parts: &[&[u8]]) -> [u8; RECORD_FRAME_LEN] {
        assert_ne!(kind, 0, "kind 0 means that there is no record");
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let payload_len = u32::try_from(len).expect("the caller keeps to MAX_RECORD_LEN");
        let body_crc = parts.iter().fold(self.chain, |crc, part| crc32c_extend(crc, part));
        let frame = RecordFrame { payload_len, body_crc, kind, flags: 0, synced };
        let bytes = frame.encode(self.salt, self.offset);
        self.offset += frame.record_len();
        self.chain = link(body_crc);
        bytes
    }

    /// As [`write`](Self::write), with a short frame, which names nothing as synced.
    ///
    /// # Panics
    /// When `kind` is 0 or above 127, or the payload not shorter than
    /// [`SHORT_PAYLOAD_END`].
    #[inline]
    pub fn write_short(&mut self, kind: u16, parts: &[&[u8]]) -> [u8; SHORT_FRAME_LEN] {
        assert!((1..u16::from(SHORT)).contains(&kind), "kind {kind} has no short frame");
        let len: usize = parts.iter().map(|part| part.len()).sum();
        assert!(len < SHORT_PAYLOAD_END, "{len} bytes have no short frame");
        let mut rest = (len as u32).to_le_bytes();
        rest[3] = SHORT | kind as u8;
        let body_crc = parts.iter().fold(self.chain, |crc, part| crc32c_extend(crc, part));
        let mut out = [0; SHORT_FRAME_LEN];
        let crc = self.salt.short_crc(self.offset, &rest, body_crc);
        out[..4].copy_from_slice(&crc.to_le_bytes());
        out[4..].copy_from_slice(&rest);
        self.offset += short_record_len(len as u64);
        self.chain = link(body_crc);
        out
    }

    /// The valid frame in `bytes`, which lie at [`offset`](Self::offset), if there is one.
    pub fn frame(&self, bytes: &[u8]) -> Option<RecordFrame> {
        RecordFrame::decode(bytes, self.salt, self.offset)
    }

    /// Moves behind the record of `frame` when `payload` is what was written
    /// with it, behind all that was written before; stays and says `false` when not.
    #[must_use]
    pub fn accept(&mut self, frame: &RecordFrame, payload: &[u8]) -> bool {
        if payload.len() as u64 != u64::from(frame.payload_len)
            || crc32c_extend(self.chain, payload) != frame.body_crc
        {
            return false;
        }
        self.offset += frame.record_len();
        self.chain = link(frame.body_crc);
        true
    }

    /// As [`accept`](Self::accept), for a short frame, which this verifies too.
    #[must_use]
    pub fn accept_short(&mut self, frame: &ShortFrame, payload: &[u8]) -> bool {
        if payload.len() as u64 != u64::from(frame.payload_len()) {
            return false;
        }
        let body_crc = crc32c_extend(self.chain, payload);
        if self.salt.short_crc(self.offset, &frame.rest, body_crc) != frame.crc {
            return false;
        }
        self.offset += short_record_len(payload.len() as u64);
        self.chain = link(body_crc);
        true
    }
}

/// What the next record's checksum continues.
#[inline]
fn link(body_crc: u32) -> u32 {
    if planted!(recycled_wal_stale_records) { 0 } else { body_crc }
}

/// The zeros that pad a record with a payload of `payload_len` bytes.
pub fn record_padding(payload_len: usize) -> &'static [u8] {
    const ZEROS: [u8; RECORD_ALIGN as usize] = [0; RECORD_ALIGN as usize];
    let used = payload_len % RECORD_ALIGN as usize;
    &ZEROS[..if used == 0 { 0 } else { RECORD_ALIGN as usize - used }]
}

#[inline]
fn u32_at(bytes: &[u8; RECORD_FRAME_LEN], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn salt(number: u64) -> RecordSalt {
        RecordSalt::new(RecordFile::Log, DatabaseId([7; 16]), number)
    }

    #[test]
    fn records_read_back_in_order_and_padding_keeps_them_aligned() {
        let mut file = vec![0; 64];
        let mut at = RecordCursor::new(salt(1), 64, 5);
        let payloads: Vec<Vec<u8>> = (0..40).map(|n| vec![n as u8; n]).collect();
        for payload in &payloads {
            let (a, b) = payload.split_at(payload.len() / 2);
            assert_eq!(at.offset(), file.len() as u64);
            file.extend(at.write(3, 9, &[a, b]));
            file.extend(payload);
            file.extend(record_padding(payload.len()));
        }
        assert_eq!(at.offset(), file.len() as u64);
        let end = at;
        let mut at = RecordCursor::new(salt(1), 64, 5);
        for payload in &payloads {
            let frame = at.frame(&file[at.offset() as usize..]).unwrap();
            assert_eq!((frame.kind, frame.flags, frame.synced), (3, 0, 9));
            let start = at.offset() as usize + RECORD_FRAME_LEN;
            assert_eq!(&file[start..start + frame.payload_len as usize], &payload[..]);
            assert!(at.accept(&frame, payload));
        }
        assert_eq!(at, end);
        assert_eq!(at.frame(&file[at.offset() as usize..]), None);
    }

    #[test]
    fn a_frame_passes_only_unchanged_in_its_database_file_and_place() {
        let bytes = RecordCursor::new(salt(1), 64, 0).write(1, 8, &[b"abc"]);
        assert!(RecordFrame::decode(&bytes, salt(1), 64).is_some());
        assert_eq!(RecordFrame::decode(&bytes, salt(1), 72), None);
        assert_eq!(RecordFrame::decode(&bytes, salt(2), 64), None);
        let other = RecordSalt::new(RecordFile::Log, DatabaseId([8; 16]), 1);
        assert_eq!(RecordFrame::decode(&bytes, other, 64), None);
        let manifest = RecordSalt::new(RecordFile::Manifest, DatabaseId([7; 16]), 1);
        assert_eq!(RecordFrame::decode(&bytes, manifest, 64), None);
        for bit in 0..RECORD_FRAME_LEN * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordFrame::decode(&damaged, salt(1), 64), None, "bit {bit}");
        }
        for len in 0..RECORD_FRAME_LEN {
            assert_eq!(RecordFrame::decode(&bytes[..len], salt(1), 64), None);
        }
        assert_eq!(RecordFrame::decode(&[0; RECORD_FRAME_LEN], salt(1), 64), None);
    }

    #[test]
    fn short_frames_and_full_ones_follow_each_other_and_no_changed_bit_passes() {
        let mut file = vec![0; 64];
        let mut at = RecordCursor::new(salt(1), 64, 5);
        let payloads: Vec<Vec<u8>> = (0..40).map(|n| vec![n as u8; n]).collect();
        for payload in &payloads {
            assert_eq!(at.offset(), file.len() as u64);
            match payload.len() % 3 {
                0 => file.extend(at.write(3, 9, &[payload])),
                _ => file.extend(at.write_short(3, &[payload])),
            }
            file.extend(payload);
            file.resize(file.len().next_multiple_of(RECORD_ALIGN as usize), 0);
        }
        let read = |file: &[u8], salt, chain| {
            let mut at = RecordCursor::new(salt, 64, chain);
            let mut found = Vec::new();
            loop {
                let start = at.offset() as usize;
                let Some(rest) = file.get(start..) else { return (at, found) };
                let (len, head) = match (ShortFrame::decode(rest), at.frame(rest)) {
                    (Some(short), None) => (short.payload_len() as usize, SHORT_FRAME_LEN),
                    (None, Some(full)) => (full.payload_len as usize, RECORD_FRAME_LEN),
                    (None, None) => return (at, found),
                    (Some(_), Some(_)) => panic!("a frame is full or short"),
                };
                let Some(payload) = rest.get(head..head + len) else { return (at, found) };
                let accepted = match ShortFrame::decode(rest) {
                    Some(short) => at.accept_short(&short, payload),
                    None => at.accept(&at.frame(rest).unwrap(), payload),
                };
                if !accepted {
                    return (at, found);
                }
                found.push(payload.to_vec());
            }
        };
        assert_eq!(read(&file, salt(1), 5), (at, payloads.clone()));
        assert!(read(&file[..], salt(2), 5).1.is_empty() && read(&file, salt(1), 6).1.is_empty());
        for bit in 64 * 8..file.len() * 8 {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let (_, found) = read(&damaged, salt(1), 5);
            let padding = found.len() == 40;
            assert!(padding || found.len() < 40 && found == payloads[..found.len()], "bit {bit}");
        }
    }

    #[test]
    fn a_body_passes_only_behind_the_records_it_was_written_behind() {
        let mut at = RecordCursor::new(salt(1), 64, 0);
        let first = at.write(1, 0, &[b"first"]);
        let second_offset = at.offset();
        let second = at.write(1, 0, &[b"second"]);
        let frame = RecordFrame::decode(&second, salt(1), second_offset).unwrap();
        let mut reader = RecordCursor::new(salt(1), second_offset, 0);
        assert!(!reader.accept(&frame, b"second"), "without the first record");
        let mut reader = RecordCursor::new(salt(1), 64, 0);
        let first = reader.frame(&first).unwrap();
        assert!(!reader.accept(&first, b"fist"));
        assert!(!reader.accept(&first, b"First"));
        assert!(reader.accept(&first, b"first") && reader.accept(&frame, b"second"));
    }
}
