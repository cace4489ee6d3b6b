//! Objects of the log: chunks, and the fences that close epochs.
//!
//! A header of 256 bytes, little-endian, then the payload: bytes of one log file as they
//! are. A fence has no payload.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic, `TANADACK` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | 1: a chunk; 2: a fence |
//! | 16 | 16 | database id |
//! | 32 | 8 | epoch of the place |
//! | 40 | 8 | index of the place |
//! | 48 | 16 | nonce of who wrote it: in a chunk the owner's, in a fence the closer's |
//! | 64 | 8 | epoch of who wrote it: in a fence a higher one than that of the place |
//! | 72 | 32 | hash of the object before it in the chain; zero in the first of a database |
//! | 104 | 8 | id of the log file; 0 in a fence |
//! | 112 | 8 | begin of the payload in that file; 0 in a fence |
//! | 120 | 8 | position of the payload's begin in the stream of the log |
//! | 128 | 8 | position of its end; the same in a fence |
//! | 136 | 8 | first seqno in it; 0 in a fence |
//! | 144 | 8 | last seqno in it; 0 in a fence |
//! | 152 | 8 | when it was made, milliseconds since 1970, for people |
//! | 160 | 8 | required feature bits. None yet |
//! | 168 | 8 | optional feature bits. None yet |
//! | 176 | 4 | length of the payload |
//! | 180 | 4 | CRC-32C of the payload |
//! | 184 | 68 | zero |
//! | 252 | 4 | CRC-32C of bytes 0 to 252 |
//!
//! The checksum of the header stays where it is in every version, and is looked at before
//! the version.

use super::damage::Unreadable;
use super::envelope::KNOWN_FEATURES;
use crate::ids::{Epoch, Nonce, ObjectHash, Place};
use bytes::Bytes;
use tanada_format::{DatabaseId, LogId, LogPosition, SeqNo, crc32c};

/// Length of the header, in bytes.
pub const CHUNK_HEADER_LEN: usize = 256;
/// Longest payload, in bytes.
pub const MAX_PAYLOAD_LEN: usize = 8 << 20;

const MAGIC: &[u8; 8] = b"TANADACK";
const FORMAT: u32 = 1;

/// Which bytes of the log a chunk holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The log file.
    pub log: LogId,
    /// Where in that file.
    pub offset: u64,
    /// Where in the stream of the log.
    pub position: LogPosition,
    /// The first write in it.
    pub first: SeqNo,
    /// The last write in it.
    pub last: SeqNo,
    /// The bytes, at most [`MAX_PAYLOAD_LEN`].
    pub bytes: Bytes,
}

impl Piece {
    /// The position behind it.
    pub fn end(&self) -> LogPosition {
        LogPosition(self.position.0 + self.bytes.len() as u64)
    }
}

/// What an object of the log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes of the log.
    Chunk(Piece),
    /// The end of its epoch, at this position.
    Fence(LogPosition),
}

/// An object of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogObject {
    /// Whose it is.
    pub database: DatabaseId,
    /// Where it lies.
    pub place: Place,
    /// Who wrote it.
    pub writer: Nonce,
    /// With which epoch.
    pub writer_epoch: Epoch,
    /// Of the object before it.
    pub previous: ObjectHash,
    /// When it was made, milliseconds since 1970, for people.
    pub wall_ms: u64,
    /// What it is.
    pub kind: Kind,
}

impl LogObject {
    /// Its bytes. The payload is copied once.
    ///
    /// # Panics
    ///
    /// The payload is longer than [`MAX_PAYLOAD_LEN`]: who cuts the log keeps that bound.
    pub fn encode(&self) -> Bytes {
        let mut header = [0; CHUNK_HEADER_LEN];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, MAGIC);
        put(8, &FORMAT.to_le_bytes());
        put(16, &self.database.0);
        put(32, &self.place.epoch.0.to_le_bytes());
        put(40, &self.place.index.to_le_bytes());
        put(48, &self.writer.0);
        put(64, &self.writer_epoch.0.to_le_bytes());
        put(72, &self.previous.0);
        put(152, &self.wall_ms.to_le_bytes());
        let payload: &[u8] = match &self.kind {
            Kind::Chunk(piece) => {
                assert!(piece.bytes.len() <= MAX_PAYLOAD_LEN, "a chunk holds at most 8 MiB");
                put(12, &1u32.to_le_bytes());
                put(104, &piece.log.0.to_le_bytes());
                put(112, &piece.offset.to_le_bytes());
                put(120, &piece.position.0.to_le_bytes());
                put(128, &piece.end().0.to_le_bytes());
                put(136, &piece.first.0.to_le_bytes());
                put(144, &piece.last.0.to_le_bytes());
                &piece.bytes
            }
            Kind::Fence(position) => {
                put(12, &2u32.to_le_bytes());
                put(120, &position.0.to_le_bytes());
                put(128, &position.0.to_le_bytes());
                &[]
            }
        };
        put(176, &(payload.len() as u32).to_le_bytes());
        put(180, &crc32c(payload).to_le_bytes());
        let crc = crc32c(&header[..252]);
        header[252..].copy_from_slice(&crc.to_le_bytes());
        [&header[..], payload].concat().into()
    }

    /// Reads an object of the log, header and payload. The payload is not copied.
    ///
    /// # Errors
    ///
    /// Damage, or what a newer version wrote.
    pub fn decode(bytes: &Bytes) -> Result<LogObject, Unreadable> {
        let Some((header, payload)) = bytes.split_at_checked(CHUNK_HEADER_LEN) else {
            return Err(Unreadable::damaged(bytes.len(), "shorter than the header of a chunk"));
        };
        if header[0..8] != MAGIC[..] {
            return Err(Unreadable::damaged(0, "it does not begin as a chunk does"));
        }
        let u32_at =
            |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
        let u64_at =
            |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"));
        if crc32c(&header[..252]) != u32_at(252) {
            return Err(Unreadable::damaged(252, "the checksum of the header does not match"));
        }
        if u32_at(8) != FORMAT {
            return Err(Unreadable::Newer(format!("format version {}", u32_at(8)).into()));
        }
        let unknown = u64_at(160) & !KNOWN_FEATURES;
        if unknown != 0 {
            return Err(Unreadable::Newer(format!("required features {unknown:#x}").into()));
        }
        if header[184..252] != [0; 68] {
            return Err(Unreadable::damaged(184, "bytes that are zero in this version are not"));
        }
        if u32_at(176) as usize != payload.len() || payload.len() > MAX_PAYLOAD_LEN {
            return Err(Unreadable::damaged(176, "the payload has another length"));
        }
        if crc32c(payload) != u32_at(180) {
            return Err(Unreadable::damaged(CHUNK_HEADER_LEN, "the checksum does not match"));
        }
        let place = Place { epoch: Epoch(u64_at(32)), index: u64_at(40) };
        let writer_epoch = Epoch(u64_at(64));
        let (from, to) = (u64_at(120), u64_at(128));
        if from.checked_add(payload.len() as u64) != Some(to) {
            return Err(Unreadable::damaged(120, "the positions are not those of the payload"));
        }
        let kind = match u32_at(12) {
            1 if payload.is_empty() => {
                return Err(Unreadable::damaged(176, "a chunk without a payload"));
            }
            1 if writer_epoch != place.epoch => {
                return Err(Unreadable::damaged(64, "a chunk of another epoch than its place"));
            }
            1 => Kind::Chunk(Piece {
                log: LogId(u64_at(104)),
                offset: u64_at(112),
                position: LogPosition(from),
                first: SeqNo(u64_at(136)),
                last: SeqNo(u64_at(144)),
                bytes: bytes.slice(CHUNK_HEADER_LEN..),
            }),
            2 if !payload.is_empty() => {
                return Err(Unreadable::damaged(176, "a fence with a payload"));
            }
            2 if writer_epoch <= place.epoch => {
                return Err(Unreadable::damaged(64, "a fence of no higher epoch than its place"));
            }
            2 if header[104..120] != [0; 16] || header[136..152] != [0; 16] => {
                return Err(Unreadable::damaged(104, "a fence that names bytes of a log"));
            }
            2 => Kind::Fence(LogPosition(from)),
            other => return Err(Unreadable::Newer(format!("log objects of kind {other}").into())),
        };
        Ok(LogObject {
            database: DatabaseId(header[16..32].try_into().expect("16 bytes")),
            place,
            writer: Nonce(header[48..64].try_into().expect("16 bytes")),
            writer_epoch,
            previous: ObjectHash(header[72..104].try_into().expect("32 bytes")),
            wall_ms: u64_at(152),
            kind,
        })
    }

    /// Length of its payload in bytes; 0 for a fence.
    pub fn payload_len(&self) -> u64 {
        match &self.kind {
            Kind::Chunk(piece) => piece.bytes.len() as u64,
            Kind::Fence(_) => 0,
        }
    }

    /// As [`LogObject::decode`], of what was found at `place` of this database.
    ///
    /// # Errors
    ///
    /// Also [`Unreadable::Misplaced`].
    pub fn decode_at(
        bytes: &Bytes,
        database: DatabaseId,
        place: Place,
    ) -> Result<LogObject, Unreadable> {
        let object = LogObject::decode(bytes)?;
        if object.database != database {
            return Err(Unreadable::Misplaced(format!("of database {}", object.database).into()));
        }
        if object.place != place {
            return Err(Unreadable::Misplaced(format!("of place {}", object.place).into()));
        }
        Ok(object)
    }
}
