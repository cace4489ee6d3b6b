//! Records one by one from bytes in memory: what a reader of a range of a log walks through.
//!
//! Knows nothing of files. What the bytes are is in docs/format/log.md.

use super::segment::kind;
use tanada_format::{
    MAX_RECORD_LEN, RECORD_FRAME_LEN, RecordCursor, SHORT_FRAME_LEN, ShortFrame, record_len,
    short_record_len,
};

/// What stands at the front of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<'b> {
    /// A record, whole and as it was written, behind those that were written before it.
    Record(Found<'b>),
    /// The front of a record, perhaps; whole it has at least so many bytes.
    Needs(u64),
    /// No record that was written here.
    Invalid,
    /// A record that only a later version knows.
    Unknown {
        /// What its payload is.
        kind: u16,
        /// Bits that a reader must know.
        flags: u16,
    },
}

/// A record that has been verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found<'b> {
    /// Empty for a mark.
    pub(crate) payload: &'b [u8],
    /// Where the payload begins, from the front of the record.
    pub(crate) payload_at: u64,
    /// Whether the payload is a commit group; else it is a mark.
    pub(crate) is_group: bool,
}

/// The record at the front of `bytes`, which lie where `at` stands in its file; moves `at`
/// behind it. Where there is none `at` stays.
pub(crate) fn next<'b>(at: &mut RecordCursor, bytes: &'b [u8]) -> Next<'b> {
    let Some(short) = ShortFrame::decode(bytes) else {
        return match bytes.len() {
            0..SHORT_FRAME_LEN => Next::Needs(SHORT_FRAME_LEN as u64),
            SHORT_FRAME_LEN..RECORD_FRAME_LEN => Next::Needs(RECORD_FRAME_LEN as u64),
            _ => next_full(at, bytes),
        };
    };
    let len = u64::from(short.payload_len());
    let Some(payload) = payload(bytes, SHORT_FRAME_LEN, len) else {
        return Next::Needs(short_record_len(len));
    };
    if !at.accept_short(&short, payload) {
        return Next::Invalid;
    }
    found(SHORT_FRAME_LEN, payload, short.kind(), 0)
}

fn next_full<'b>(at: &mut RecordCursor, bytes: &'b [u8]) -> Next<'b> {
    let Some(frame) = at.frame(bytes) else { return Next::Invalid };
    let len = u64::from(frame.payload_len);
    if len > MAX_RECORD_LEN as u64 {
        return Next::Invalid;
    }
    let Some(payload) = payload(bytes, RECORD_FRAME_LEN, len) else {
        return Next::Needs(record_len(len));
    };
    if !at.accept(&frame, payload) {
        return Next::Invalid;
    }
    found(RECORD_FRAME_LEN, payload, frame.kind, frame.flags)
}

/// The payload behind a frame of `frame_len` bytes, when the padding is there too.
fn payload(bytes: &[u8], frame_len: usize, len: u64) -> Option<&[u8]> {
    let whole = (frame_len as u64 + len).next_multiple_of(tanada_format::RECORD_ALIGN);
    let is_whole = bytes.len() as u64 >= whole;
    is_whole.then(|| &bytes[frame_len..frame_len + len as usize])
}

fn found(frame_len: usize, payload: &[u8], kind: u16, flags: u16) -> Next<'_> {
    if flags != 0 || !matches!(kind, kind::GROUP | kind::MARK) {
        return Next::Unknown { kind, flags };
    }
    let is_group = kind == kind::GROUP;
    Next::Record(Found { payload, payload_at: frame_len as u64, is_group })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tanada_format::{DatabaseId, RecordFile, RecordSalt, record_padding};

    fn start() -> RecordCursor {
        RecordCursor::new(RecordSalt::new(RecordFile::Log, DatabaseId([7; 16]), 1), 256, 5)
    }

    fn written() -> (Vec<u8>, RecordCursor) {
        let (mut at, mut bytes) = (start(), Vec::new());
        for n in 0..30usize {
            let payload = vec![n as u8; n];
            match n % 3 {
                0 => bytes.extend(at.write(kind::GROUP, 9, &[&payload])),
                1 => bytes.extend(at.write_short(kind::GROUP, &[&payload])),
                _ => bytes.extend(at.write_short(kind::MARK, &[&payload])),
            }
            bytes.extend(payload);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        (bytes, at)
    }

    #[test]
    fn every_record_is_found_once_and_what_is_cut_asks_for_what_it_lacks() {
        let (bytes, end) = written();
        let (mut at, mut used, mut n) = (start(), 0, 0);
        while used < bytes.len() {
            let whole = {
                let mut at = at;
                assert!(matches!(next(&mut at, &bytes[used..]), Next::Record(_)));
                (at.offset() - 256) as usize
            };
            for cut in used..whole {
                let before = at;
                let Next::Needs(needs) = next(&mut at, &bytes[used..cut]) else { panic!() };
                let has = (cut - used) as u64;
                assert!(has < needs && needs <= (whole - used) as u64, "{needs} behind {has}");
                assert_eq!(at, before);
            }
            let Next::Record(found) = next(&mut at, &bytes[used..]) else { panic!() };
            assert_eq!(found.payload, vec![n as u8; n]);
            assert_eq!(found.is_group, n % 3 != 2);
            (used, n) = (whole, n + 1);
        }
        assert_eq!((at, n), (end, 30));
    }

    #[test]
    fn a_changed_bit_is_never_taken_for_a_record() {
        let mut at = start();
        let mut bytes = at.write(kind::GROUP, 9, &[b"payload"]).to_vec();
        bytes.extend(b"payload");
        bytes.extend(record_padding(7));
        for bit in 0..(RECORD_FRAME_LEN + 7) * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let found = next(&mut start(), &damaged);
            assert!(matches!(found, Next::Invalid | Next::Needs(_)), "bit {bit}: {found:?}");
        }
    }

    #[test]
    fn what_only_a_later_version_writes_is_told_apart_from_damage() {
        let mut at = start();
        let bytes = at.write(3, 9, &[]);
        assert_eq!(next(&mut start(), &bytes), Next::Unknown { kind: 3, flags: 0 });
    }
}
