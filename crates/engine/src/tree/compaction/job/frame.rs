//! What stands before the fields of a job or of its outputs.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic: `TANADAJB` a job, `TANADAJO` outputs |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | zero |
//! | 16 | 8 | required feature bits: who does not know one must not read on |
//! | 24 | 8 | optional feature bits: who does not know one may read on |
//! | 32 | 16 | database id |
//! | 48 | 4 | length of the fields |
//! | 52 | 4 | CRC-32C of bytes 0 to 52 and of the fields |
//! | 56 | | fields |

use crate::tree::fields::DecodeError;
use crate::tree::fields::Problem;
use std::fmt;
use tanada_format::{DatabaseId, crc32c, crc32c_extend};

/// A job or its outputs are no longer than this.
pub(crate) const MAX_LEN: usize = 64 << 20;

const FORMAT_VERSION: u32 = 1;
/// Required feature bits that this version knows: none yet.
const KNOWN_FEATURES: u64 = 0;
pub(super) const HEADER_LEN: usize = 56;
const CRC_AT: usize = 52;

/// What the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Job,
    Outputs,
}

impl Kind {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            Kind::Job => b"TANADAJB",
            Kind::Outputs => b"TANADAJO",
        }
    }
}

/// Why bytes are no job, or no outputs of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JobBytesError {
    /// They are not what was written.
    Damaged {
        /// Where.
        offset: usize,
        what: &'static str,
    },
    /// A newer version wrote them: update this program.
    Unsupported(String),
    /// They are longer than a job may be.
    TooLong(usize),
}

impl fmt::Display for JobBytesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JobBytesError::Damaged { offset, what } => {
                write!(f, "a compaction job is damaged at byte {offset}: {what}")
            }
            JobBytesError::Unsupported(what) => {
                write!(f, "a compaction job needs a newer version: {what}")
            }
            JobBytesError::TooLong(len) => write!(
                f,
                "a compaction job takes {len} bytes, and at most {MAX_LEN} are allowed: it is \
                 about too many tables with long keys; compact a smaller range at a time"
            ),
        }
    }
}

impl From<DecodeError> for JobBytesError {
    fn from(e: DecodeError) -> JobBytesError {
        match e.problem {
            Problem::Damaged(what) => JobBytesError::Damaged { offset: e.offset, what },
            Problem::Unknown(field) => JobBytesError::Unsupported(format!("field {field}")),
        }
    }
}

/// A header with room for what [`finish`] fills in.
pub(super) fn begin(kind: Kind, database: DatabaseId) -> Vec<u8> {
    let mut out = vec![0; HEADER_LEN];
    out[..8].copy_from_slice(kind.magic());
    out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    out[32..48].copy_from_slice(&database.0);
    out
}

/// Fills in the length and the checksum of what [`begin`] began.
pub(super) fn finish(mut out: Vec<u8>) -> Result<Vec<u8>, JobBytesError> {
    if out.len() > MAX_LEN {
        return Err(JobBytesError::TooLong(out.len()));
    }
    let len = (out.len() - HEADER_LEN) as u32;
    out[48..52].copy_from_slice(&len.to_le_bytes());
    let crc = checksum(&out);
    out[CRC_AT..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    Ok(out)
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c_extend(crc32c(&bytes[..CRC_AT]), &bytes[HEADER_LEN..])
}

/// Checks what stands before the fields; whose they are, and the fields.
pub(super) fn open(kind: Kind, bytes: &[u8]) -> Result<(DatabaseId, &[u8]), JobBytesError> {
    let damaged = |offset, what| Err(JobBytesError::Damaged { offset, what });
    if bytes.len() > MAX_LEN {
        return Err(JobBytesError::TooLong(bytes.len()));
    }
    if bytes.len() < HEADER_LEN || bytes[..8] != *kind.magic() {
        return damaged(0, "it does not begin as one");
    }
    let u32_at =
        |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().expect("the header is longer"));
    if u32_at(48) as usize != bytes.len() - HEADER_LEN {
        return damaged(48, "its length is not the one that it declares");
    }
    // The checksum before the version: damage must not pass for the future.
    if u32_at(CRC_AT) != checksum(bytes) {
        return damaged(CRC_AT, "its checksum does not match");
    }
    let version = u32_at(8);
    let features = u64::from_le_bytes(*bytes[16..].first_chunk().expect("the header is longer"));
    let unknown = features & !KNOWN_FEATURES;
    if version != FORMAT_VERSION {
        let what = format!("format version {version}, and only {FORMAT_VERSION} is known here");
        return Err(JobBytesError::Unsupported(what));
    }
    if unknown != 0 {
        return Err(JobBytesError::Unsupported(format!("feature bits {unknown:#x}")));
    }
    let database = DatabaseId(bytes[32..48].try_into().expect("16 bytes of the header"));
    Ok((database, &bytes[HEADER_LEN..]))
}
