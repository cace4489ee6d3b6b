//! What `MANIFEST`, dead lists, leases and jobs have around their fields, 64 bytes.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic, which says what it is |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | length of the body in bytes |
//! | 16 | 8 | required feature bits: who does not know one must not read on. None yet |
//! | 24 | 8 | optional feature bits: who does not know one may read on. None yet |
//! | 32 | 16 | database id |
//! | 48 | 12 | zero |
//! | 60 | 4 | CRC-32C of bytes 0 to 60 and of the body |
//!
//! Length and checksum stay where they are in every version, and the checksum is looked at
//! before the version: damage never passes for the future.

use super::damage::Unreadable;
use tanada_format::{DatabaseId, crc32c, crc32c_extend};

/// Before every body.
pub(super) const ENVELOPE_LEN: usize = 64;
const FORMAT: u32 = 1;
/// Feature bits that this version knows.
pub(super) const KNOWN_FEATURES: u64 = 0;

/// One kind of object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) magic: &'static [u8; 8],
    /// With the envelope, in bytes.
    pub(super) most: usize,
    pub(super) what: &'static str,
}

/// The object around a body. `None` when it would be longer than its kind may be.
pub(super) fn wrap(
    kind: Kind,
    database: DatabaseId,
    required: u64,
    body: &[u8],
) -> Option<Vec<u8>> {
    if ENVELOPE_LEN + body.len() > kind.most {
        return None;
    }
    let len = u32::try_from(body.len()).ok()?;
    let mut bytes = vec![0; ENVELOPE_LEN];
    bytes[0..8].copy_from_slice(kind.magic);
    bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[12..16].copy_from_slice(&len.to_le_bytes());
    bytes[16..24].copy_from_slice(&required.to_le_bytes());
    bytes[32..48].copy_from_slice(&database.0);
    let crc = crc32c_extend(crc32c(&bytes[..60]), body);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(body);
    Some(bytes)
}

/// The database and the body of an object.
pub(super) fn unwrap(kind: Kind, bytes: &[u8]) -> Result<(DatabaseId, &[u8]), Unreadable> {
    if bytes.len() > kind.most {
        return Err(Unreadable::damaged(kind.most, format!("longer than {} may be", kind.what)));
    }
    let Some((envelope, body)) = bytes.split_at_checked(ENVELOPE_LEN) else {
        return Err(Unreadable::damaged(bytes.len(), format!("shorter than {} is", kind.what)));
    };
    if envelope[0..8] != kind.magic[..] {
        return Err(Unreadable::damaged(0, format!("it does not begin as {} does", kind.what)));
    }
    let u32_at = |at: usize| u32::from_le_bytes(envelope[at..at + 4].try_into().expect("4 bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(envelope[at..at + 8].try_into().expect("8 bytes"));
    if u32_at(12) as usize != body.len() {
        return Err(Unreadable::damaged(12, "it has another length than it says"));
    }
    if crc32c_extend(crc32c(&envelope[..60]), body) != u32_at(60) {
        return Err(Unreadable::damaged(60, "the checksum does not match"));
    }
    if u32_at(8) != FORMAT {
        return Err(Unreadable::Newer(format!("format version {}", u32_at(8)).into()));
    }
    let unknown = u64_at(16) & !KNOWN_FEATURES;
    if unknown != 0 {
        return Err(Unreadable::Newer(format!("required features {unknown:#x}").into()));
    }
    if envelope[48..60] != [0; 12] {
        return Err(Unreadable::damaged(48, "bytes that are zero in this version are not"));
    }
    Ok((DatabaseId(envelope[32..48].try_into().expect("16 bytes")), body))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind { magic: b"TANADATE", most: 100, what: "a test" };

    #[test]
    fn every_flipped_bit_is_noticed_and_the_future_is_told_from_damage() {
        let whole = wrap(KIND, DatabaseId([7; 16]), 0, b"body").unwrap();
        assert_eq!(unwrap(KIND, &whole), Ok((DatabaseId([7; 16]), &b"body"[..])));
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let read = unwrap(KIND, &damaged);
            assert!(matches!(read, Err(Unreadable::Damaged { .. })), "bit {bit}: {read:?}");
        }
        let newer = wrap(KIND, DatabaseId([7; 16]), 1, b"body").unwrap();
        assert!(matches!(unwrap(KIND, &newer), Err(Unreadable::Newer(_))));
        assert_eq!(wrap(KIND, DatabaseId([7; 16]), 0, &[0; 37]), None);
    }
}
