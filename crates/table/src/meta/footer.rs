//! The last 88 bytes of a table. This shape is the same in every version, so
//! that any reader can tell a newer file from a damaged one.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | file offset of the properties |
//! | 8 | 4 | length of the sealed properties |
//! | 12 | 4 | length of the encryption header; 0: not encrypted |
//! | 16 | 8 | file offset of the encryption header; 0: not encrypted |
//! | 24 | 8 | length of the file |
//! | 32 | 4 | required features: a reader that does not know one refuses |
//! | 36 | 4 | optional features: a reader may ignore those it does not know |
//! | 40 | 16 | database id |
//! | 56 | 8 | table id |
//! | 64 | 4 | zero |
//! | 68 | 4 | format version |
//! | 72 | 4 | zero |
//! | 76 | 4 | CRC-32C of bytes 0 to 76 and of the magic |
//! | 80 | 8 | magic: `TANADAst` |

use crate::damage::{Damage, Fields};
use crate::index::Handle;
use tanada_format::{DatabaseId, TableId, crc32c, crc32c_extend};

pub(crate) const FOOTER_LEN: usize = 88;
/// The version written, and the newest one read.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// Required feature: the blocks but the properties are bound to all of the table's origin,
/// of which the properties say the epoch. Else to the table's id alone, and the epoch is 0.
pub(crate) const BOUND_TO_ORIGIN: u32 = 1 << 1;
/// Required features known here. Bit 0 is kept for encryption.
pub(crate) const KNOWN_FEATURES: u32 = BOUND_TO_ORIGIN;
const MAGIC: &[u8; 8] = b"TANADAst";
const CRC_AT: usize = 76;

/// The fields of a footer that a reader acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) properties: Handle,
    pub(crate) file_len: u64,
    pub(crate) required_features: u32,
    pub(crate) optional_features: u32,
    pub(crate) database: DatabaseId,
    pub(crate) table: TableId,
    pub(crate) version: u32,
}

impl Footer {
    pub(crate) fn encode(&self) -> [u8; FOOTER_LEN] {
        let mut out = Vec::with_capacity(FOOTER_LEN);
        out.extend_from_slice(&self.properties.offset.to_le_bytes());
        out.extend_from_slice(&self.properties.len.to_le_bytes());
        out.extend_from_slice(&[0; 12]);
        out.extend_from_slice(&self.file_len.to_le_bytes());
        out.extend_from_slice(&self.required_features.to_le_bytes());
        out.extend_from_slice(&self.optional_features.to_le_bytes());
        out.extend_from_slice(&self.database.0);
        out.extend_from_slice(&self.table.0.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        let crc = crc32c_extend(crc32c(&out), MAGIC);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(MAGIC);
        out.try_into().expect("the fields add up to FOOTER_LEN")
    }

    pub(crate) fn parse(bytes: &[u8; FOOTER_LEN]) -> Result<Footer, Damage> {
        let (covered, tail) = bytes.split_at(CRC_AT);
        if &tail[4..] != MAGIC {
            return Err("it does not end as a table does".into());
        }
        let mut fields = Fields(tail);
        if fields.u32()? != crc32c_extend(crc32c(covered), MAGIC) {
            return Err("the footer's checksum does not match".into());
        }
        let mut fields = Fields(covered);
        let properties = Handle { offset: fields.u64()?, len: fields.u32()? };
        fields.bytes(12)?;
        let file_len = fields.u64()?;
        let required_features = fields.u32()?;
        let optional_features = fields.u32()?;
        let database = DatabaseId(fields.array()?);
        let table = TableId(fields.u64()?);
        fields.bytes(4)?;
        let version = fields.u32()?;
        Ok(Footer {
            properties,
            file_len,
            required_features,
            optional_features,
            database,
            table,
            version,
        })
    }

    /// What a reader of this version does not know of this file, if anything.
    pub(crate) fn unsupported(&self) -> Option<String> {
        let unknown = self.required_features & !KNOWN_FEATURES;
        if self.version > FORMAT_VERSION {
            Some(format!("table format {}, and {FORMAT_VERSION} is known here", self.version))
        } else if unknown != 0 {
            Some(format!("table features {unknown:#x}"))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_reads_back_and_any_changed_bit_is_damage() {
        let footer = Footer {
            properties: Handle { offset: 1 << 40, len: 77 },
            file_len: (1 << 40) + 200,
            required_features: 0,
            optional_features: 2,
            database: DatabaseId([9; 16]),
            table: TableId(42),
            version: FORMAT_VERSION,
        };
        let bytes = footer.encode();
        assert_eq!(Footer::parse(&bytes).unwrap(), footer);
        assert_eq!(footer.unsupported(), None);
        for bit in 0..FOOTER_LEN * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Footer::parse(&bad).is_err(), "bit {bit}");
        }
        assert!(Footer { version: 2, ..footer }.unsupported().is_some());
        assert!(Footer { required_features: 1, ..footer }.unsupported().is_some());
    }
}
