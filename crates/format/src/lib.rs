//! Words and bytes that every part of Tanada shares.
//!
//! Ids, the internal key and its one ordering, varints, checksums, limits and
//! the corruption error. Nothing here does I/O, starts a thread or knows what a
//! file is for; only a build for [`planted!`] bugs asks the environment.

pub mod awkward_keys;
mod checksum;
mod corruption;
mod entry;
mod ids;
mod limits;
mod planted;
mod record;
mod varint;

pub use checksum::{
    BlockHasher, BlockSalt, block_checksum, crc32c, crc32c_before, crc32c_extend, hash_key,
};
pub use corruption::Corruption;
pub use entry::{EntryRef, ValueKind, compare_internal};
pub use ids::{
    DatabaseId, KeyspaceId, Level, Lineage, LogId, LogPosition, Origin, SeqNo, TableId, WriterEpoch,
};
pub use limits::{MAX_BATCH_BYTES, MAX_KEY_LEN, MAX_LEVELS, MAX_RECORD_LEN, MAX_VALUE_LEN};
#[cfg(tanada_planted)]
pub use planted::is_planted;
pub use record::{
    RECORD_ALIGN, RECORD_FRAME_LEN, RecordCursor, RecordFile, RecordFrame, RecordSalt,
    SHORT_FRAME_LEN, SHORT_PAYLOAD_END, ShortFrame, record_len, record_padding, short_record_len,
};
pub use varint::{MAX_VARINT_LEN, read_varint, varint_len, write_varint};
