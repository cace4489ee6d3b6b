//! Checksums and the one hash of a key.

use crate::TableId;

/// CRC-32C of `bytes`.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    ::crc32c::crc32c(bytes)
}

/// CRC-32C of what `crc` covers followed by `bytes`.
#[inline]
pub fn crc32c_extend(crc: u32, bytes: &[u8]) -> u32 {
    ::crc32c::crc32c_append(crc, bytes)
}

/// Checksum of a stored block, bound to the table and to its place in the file,
/// so that a block read from elsewhere never passes.
#[inline]
pub fn block_checksum(table: TableId, offset: u64, bytes: &[u8]) -> u32 {
    let seed = table.0.rotate_left(40) ^ offset;
    xxhash_rust::xxh3::xxh3_64_with_seed(bytes, seed) as u32
}

/// The hash of a user key. A read computes it once; filters, caches and shards
/// all derive what they need from it. It is on disk (filters), so it never changes.
#[inline]
pub fn hash_key(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}
