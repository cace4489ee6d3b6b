//! The first 128 bytes of a manifest.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic, `TANADAMF` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | zero |
//! | 16 | 8 | required feature bits: who does not know one must not read on |
//! | 24 | 8 | optional feature bits: who does not know one may read on |
//! | 32 | 16 | database id |
//! | 48 | 8 | number of the manifest, as in its name |
//! | 56 | 56 | encryption header; all zero: not encrypted |
//! | 112 | 8 | epoch of the writer; 0 in a database that has only ever been in its directory |
//! | 120 | 4 | zero |
//! | 124 | 4 | CRC-32C of bytes 0 to 124 |
//!
//! Required feature bits: 0, the epoch is not 0, and records are bound to it. 1 to 3 are
//! kept for merge operands, range deletes and blob references: whoever first writes one of
//! them into a database says so in a new manifest before.

use crate::types::error::{Error, Result};
use std::path::Path;
use tanada_format::{Corruption, DatabaseId, WriterEpoch, crc32c};

/// Bytes of the header, in every format version.
pub(crate) const HEADER_LEN: usize = 128;

const MAGIC: &[u8; 8] = b"TANADAMF";
const FORMAT_VERSION: u32 = 1;
/// The epoch is not 0.
const HAS_EPOCH: u64 = 1;
/// Required feature bits that this version knows.
const KNOWN_FEATURES: u64 = HAS_EPOCH;

/// The header of manifest `number` of `database`, written in `epoch`.
pub(crate) fn encode(database: DatabaseId, number: u64, epoch: WriterEpoch) -> [u8; HEADER_LEN] {
    let mut out = [0; HEADER_LEN];
    out[0..8].copy_from_slice(MAGIC);
    out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    out[32..48].copy_from_slice(&database.0);
    out[48..56].copy_from_slice(&number.to_le_bytes());
    if epoch != WriterEpoch(0) {
        out[16..24].copy_from_slice(&HAS_EPOCH.to_le_bytes());
        out[112..120].copy_from_slice(&epoch.0.to_le_bytes());
    }
    let crc = crc32c(&out[..124]);
    out[124..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Checks that `bytes`, read from the front of `file`, are the header of
/// manifest `number` of `database`; the epoch in which it was written.
pub(crate) fn check(
    bytes: &[u8; HEADER_LEN],
    file: &Path,
    database: DatabaseId,
    number: u64,
) -> Result<WriterEpoch> {
    let damaged = |offset, what: &'static str| Err(Corruption::new(file, offset, what).into());
    let u64_at =
        |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("the header is longer"));
    if bytes[..8] != *MAGIC {
        return damaged(0, "it does not begin as a manifest");
    }
    // The checksum before the version: damage must not pass for the future.
    if bytes[124..] != crc32c(&bytes[..124]).to_le_bytes() {
        return damaged(0, "the header's checksum does not match");
    }
    let version = u64_at(8) as u32;
    let unknown = u64_at(16) & !KNOWN_FEATURES;
    let has_epoch = u64_at(16) & HAS_EPOCH != 0;
    let encrypted = bytes[56..112].iter().any(|&b| b != 0);
    let what = if version != FORMAT_VERSION {
        format!("its format version is {version}, and only {FORMAT_VERSION} is known here")
    } else if unknown != 0 {
        format!("its feature bits {unknown:#x} are not known here")
    } else if encrypted {
        "it is encrypted".into()
    } else if bytes[32..48] != database.0 {
        return damaged(32, "it belongs to another database than CURRENT says");
    } else if u64_at(48) != number {
        return damaged(48, "it is another manifest, renamed");
    } else {
        return Ok(WriterEpoch(if has_epoch { u64_at(112) } else { 0 }));
    };
    Err(Error::Unsupported { file: file.into(), what })
}

/// The database that the manifest which begins so says it belongs to.
pub(crate) fn database_of(bytes: &[u8]) -> Option<DatabaseId> {
    let bytes = sound(bytes)?;
    Some(DatabaseId(bytes[32..48].try_into().expect("16 bytes of the header")))
}

/// The epoch in which the manifest that begins so says it was written.
pub(crate) fn epoch_of(bytes: &[u8]) -> Option<WriterEpoch> {
    let bytes = sound(bytes)?;
    Some(WriterEpoch(u64::from_le_bytes(bytes[112..120].try_into().expect("8 bytes of it"))))
}

fn sound(bytes: &[u8]) -> Option<&[u8; HEADER_LEN]> {
    let bytes = bytes.first_chunk::<HEADER_LEN>()?;
    let sound = bytes[..8] == *MAGIC && bytes[124..] == crc32c(&bytes[..124]).to_le_bytes();
    sound.then_some(bytes)
}
