//! The header of a log file: who it belongs to and where it stands in the stream.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic, `TANADLOG` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | length of the header, 256: records begin here |
//! | 16 | 8 | required features: a reader refuses the file when it does not know a bit |
//! | 24 | 8 | optional features: a reader may ignore bits that it does not know |
//! | 32 | 16 | database id |
//! | 48 | 8 | id of this log |
//! | 56 | 8 | base: the stream position of the first record |
//! | 64 | 8 | id of the log whose records come before, 0 when there is none |
//! | 72 | 8 | a stream position known to be durable when this header was written |
//! | 80 | 4 | chained checksum of all records before the base |
//! | 84 | 4 | encryption scheme, 0: none |
//! | 88 | 8 | bytes reserved for the file |
//! | 96 | 128 | encryption header, zeros: room for key ids, wrapped keys and nonces |
//! | 224 | 4 | 1: the file's length was durable when this header was written, so a shorter file was cut; 0: it was not |
//! | 228 | 8 | epoch of the writer that began the log; 0 in a database that has only ever been in its directory |
//! | 236 | 16 | reserved, zeros |
//! | 252 | 4 | CRC-32C of bytes 0 to 252 |
//!
//! Required features: bit 0, the epoch is not 0, and records are bound to it.
//!
//! Every version keeps magic, version, and the checksum over these 256 bytes
//! where they are, so that an older program can say "newer" and not "damaged".

use crate::types::error::{Error, Result};
use std::path::Path;
use tanada_format::{
    Corruption, DatabaseId, LogId, LogPosition, RecordFile, RecordSalt, WriterEpoch, crc32c,
};

/// Bytes of a log's header. A multiple of the records' alignment.
pub(crate) const LOG_HEADER_LEN: u64 = 256;

const MAGIC: [u8; 8] = *b"TANADLOG";
const VERSION: u32 = 1;
const CRC_AT: usize = LOG_HEADER_LEN as usize - 4;

/// The epoch is not 0.
pub(super) const HAS_EPOCH: u64 = 1;
/// Where in the header it stands.
pub(super) const EPOCH_AT: usize = 228;

/// Whose logs: a database, opened in an epoch. Logs of later epochs are another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogOwner {
    pub(crate) database: DatabaseId,
    pub(crate) epoch: WriterEpoch,
}

impl LogOwner {
    /// What binds the records of a log that was begun in this epoch.
    pub(crate) fn salt(self, id: LogId) -> RecordSalt {
        RecordSalt::new(RecordFile::Log, self.database, id.0).in_epoch(self.epoch)
    }
}

/// Of a database that has only ever been in its directory.
impl From<DatabaseId> for LogOwner {
    fn from(database: DatabaseId) -> LogOwner {
        LogOwner { database, epoch: WriterEpoch(0) }
    }
}

/// A log's header, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogHeader {
    pub database: DatabaseId,
    /// The epoch of the writer that began it.
    pub epoch: WriterEpoch,
    pub id: LogId,
    pub base: LogPosition,
    /// `None` for the first log of a database.
    pub predecessor: Option<LogId>,
    pub synced: LogPosition,
    /// The chained checksum at `base`.
    pub chain: u32,
    /// Bytes reserved for the file.
    pub capacity: u64,
    /// Whether the file had its length durably before this header was written.
    pub length_durable: bool,
}

/// What the first bytes of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    Header(LogHeader),
    /// Nothing but zeros: reserved, and never begun.
    Blank,
    /// Anything else: half written when the power went, or damaged.
    Unreadable,
}

impl LogHeader {
    pub(crate) fn encode(&self) -> [u8; LOG_HEADER_LEN as usize] {
        let mut out = [0; LOG_HEADER_LEN as usize];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(12, &(LOG_HEADER_LEN as u32).to_le_bytes());
        put(32, &self.database.0);
        put(48, &self.id.0.to_le_bytes());
        put(56, &self.base.0.to_le_bytes());
        put(64, &self.predecessor.map_or(0, |id| id.0).to_le_bytes());
        put(72, &self.synced.0.to_le_bytes());
        put(80, &self.chain.to_le_bytes());
        put(88, &self.capacity.to_le_bytes());
        put(224, &u32::from(self.length_durable).to_le_bytes());
        if self.epoch != WriterEpoch(0) {
            put(16, &HAS_EPOCH.to_le_bytes());
            put(EPOCH_AT, &self.epoch.0.to_le_bytes());
        }
        let crc = crc32c(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the first bytes of the file `path`, all of them or the first 256.
    ///
    /// # Errors
    /// `Unsupported` for a newer version, unknown required features or
    /// encryption; `Corruption` for the sound header of another database or log.
    pub(crate) fn parse(
        bytes: &[u8],
        path: &Path,
        database: DatabaseId,
        id: LogId,
    ) -> Result<Parsed> {
        let Some(bytes) = bytes.first_chunk::<{ LOG_HEADER_LEN as usize }>() else {
            return Ok(blank_or_unreadable(bytes));
        };
        let u32_at = |at: usize| {
            u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes of the header"))
        };
        let u64_at = |at: usize| {
            u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes of the header"))
        };
        if bytes[..8] != MAGIC || u32_at(CRC_AT) != crc32c(&bytes[..CRC_AT]) {
            return Ok(blank_or_unreadable(bytes));
        }
        let unsupported = |what| Error::Unsupported { file: path.to_path_buf(), what };
        if u32_at(8) != VERSION || u32_at(12) != LOG_HEADER_LEN as u32 {
            return Err(unsupported(format!("it is a log of format version {}", u32_at(8))));
        }
        let unknown = u64_at(16) & !HAS_EPOCH;
        if unknown != 0 {
            return Err(unsupported(format!("it requires features {unknown:#x}")));
        }
        if u32_at(84) != 0 {
            return Err(unsupported(format!("it is encrypted by scheme {}", u32_at(84))));
        }
        let corrupt = |offset, what: String| Corruption::new(path, offset, what);
        let header = LogHeader {
            database: DatabaseId(bytes[32..48].try_into().expect("16 bytes of the header")),
            epoch: match u64_at(16) & HAS_EPOCH {
                0 => WriterEpoch(0),
                _ => WriterEpoch(u64_at(EPOCH_AT)),
            },
            id: LogId(u64_at(48)),
            base: LogPosition(u64_at(56)),
            predecessor: Some(LogId(u64_at(64))).filter(|id| id.0 != 0),
            synced: LogPosition(u64_at(72)),
            chain: u32_at(80),
            capacity: u64_at(88),
            length_durable: u32_at(224) != 0,
        };
        if header.database != database {
            let what = format!("the log belongs to database {}, not {database}", header.database);
            return Err(corrupt(32, what).into());
        }
        if header.id != id {
            return Err(corrupt(48, format!("the log says that it is log {}", header.id)).into());
        }
        if header.synced > header.base || header.predecessor.is_some_and(|before| before >= id) {
            return Err(corrupt(64, "the log's header contradicts itself".into()).into());
        }
        Ok(Parsed::Header(header))
    }

    /// What binds this log's records to it.
    pub(crate) fn salt(&self) -> RecordSalt {
        LogOwner { database: self.database, epoch: self.epoch }.salt(self.id)
    }

    /// Where in the stream the byte at `offset` of the file stands.
    pub(crate) fn position(&self, offset: u64) -> LogPosition {
        LogPosition(self.base.0.saturating_add(offset - LOG_HEADER_LEN))
    }
}

fn blank_or_unreadable(bytes: &[u8]) -> Parsed {
    if bytes.iter().all(|&b| b == 0) { Parsed::Blank } else { Parsed::Unreadable }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> LogHeader {
        LogHeader {
            database: DatabaseId([3; 16]),
            epoch: WriterEpoch(0),
            id: LogId(12),
            base: LogPosition(4096),
            predecessor: Some(LogId(11)),
            synced: LogPosition(4000),
            chain: 77,
            capacity: 1 << 20,
            length_durable: true,
        }
    }

    fn parse(bytes: &[u8]) -> Result<Parsed> {
        LogHeader::parse(bytes, Path::new("000012.log"), DatabaseId([3; 16]), LogId(12))
    }

    /// `bytes` with `at` replaced and the checksum made right again.
    fn changed(at: usize, by: &[u8]) -> [u8; 256] {
        let mut bytes = sample().encode();
        bytes[at..at + by.len()].copy_from_slice(by);
        let crc = crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn a_header_reads_back_and_no_changed_bit_passes() {
        let bytes = sample().encode();
        assert_eq!(parse(&bytes).unwrap(), Parsed::Header(sample()));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&damaged).unwrap(), Parsed::Unreadable, "bit {bit}");
        }
        for len in 1..bytes.len() {
            assert_eq!(parse(&bytes[..len]).unwrap(), Parsed::Unreadable);
        }
        assert_eq!(parse(&[]).unwrap(), Parsed::Blank);
        assert_eq!(parse(&[0; 999]).unwrap(), Parsed::Blank);
    }

    #[test]
    fn what_is_newer_is_called_newer_and_not_damaged() {
        for (at, by) in [(8, 2), (16, 2), (23, 0x80), (84, 1)] {
            let error = parse(&changed(at, &[by])).unwrap_err();
            assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        }
        assert!(parse(&changed(24, &[0xff; 8])).is_ok(), "optional features are ignored");
    }

    #[test]
    fn the_epoch_reads_back_and_binds_the_records() {
        let header = LogHeader { epoch: WriterEpoch(1 << 40), ..sample() };
        let bytes = header.encode();
        assert_eq!(parse(&bytes).unwrap(), Parsed::Header(header));
        assert_eq!(bytes[16], 1, "who does not know it refuses the log");
        assert_eq!(sample().encode()[16], 0);
        let other = LogHeader { epoch: WriterEpoch(2), ..sample() };
        assert!(header.salt() != sample().salt() && header.salt() != other.salt());
    }

    #[test]
    fn a_log_of_another_database_or_under_another_name_is_refused() {
        for (at, by) in [(32, 9), (48, 13), (64, 12), (74, 1)] {
            let error = parse(&changed(at, &[by])).unwrap_err();
            assert!(matches!(error, Error::Corruption(_)), "{at}: {error}");
        }
    }
}
