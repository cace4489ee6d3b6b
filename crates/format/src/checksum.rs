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

/// The CRC-32C that, extended by `bytes`, gives `crc`: extending undone. One
/// byte at a time; for repair alone.
pub fn crc32c_before(crc: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let mut word = i as u32;
            let mut bit = 0;
            while bit < 8 {
                word = if word & 1 == 1 { word >> 1 ^ 0x82f6_3b78 } else { word >> 1 };
                bit += 1;
            }
            table[i] = word;
            i += 1;
        }
        table
    };
    // No two words of the table have the same highest byte.
    const BY_TOP: [u8; 256] = {
        let mut by_top = [0; 256];
        let mut i = 0;
        while i < 256 {
            by_top[(TABLE[i] >> 24) as usize] = i as u8;
            i += 1;
        }
        by_top
    };
    let mut state = !crc;
    for &byte in bytes.iter().rev() {
        let index = BY_TOP[(state >> 24) as usize];
        state = (state ^ TABLE[usize::from(index)]) << 8 | u32::from(index ^ byte);
    }
    !state
}

/// Checksum of a stored block, bound to the table and to its place in the file,
/// so that a block read from elsewhere never passes.
#[inline]
pub fn block_checksum(table: TableId, offset: u64, bytes: &[u8]) -> u32 {
    let seed = table.0.rotate_left(40) ^ offset;
    xxhash_rust::xxh3::xxh3_64_with_seed(bytes, seed) as u32
}

/// As [`block_checksum`], of a block that comes in pieces.
pub struct BlockHasher(Box<xxhash_rust::xxh3::Xxh3>);

impl BlockHasher {
    /// For the block of `table` at `offset`; of no bytes yet. Takes some 600 bytes.
    pub fn new(table: TableId, offset: u64) -> BlockHasher {
        let seed = table.0.rotate_left(40) ^ offset;
        BlockHasher(Box::new(xxhash_rust::xxh3::Xxh3::with_seed(seed)))
    }

    /// Takes the block's next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// [`block_checksum`] of all bytes so far.
    pub fn finish(&self) -> u32 {
        self.0.digest() as u32
    }
}

impl std::fmt::Debug for BlockHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockHasher").finish_non_exhaustive()
    }
}

/// The hash of a user key. A read computes it once; filters, caches and shards
/// all derive what they need from it. It is on disk (filters), so it never changes.
#[inline]
pub fn hash_key(key: &[u8]) -> u64 {
    if crate::planted!(sixteen_bytes_taken_for_keys) {
        return xxhash_rust::xxh3::xxh3_64(&key[..key.len().min(16)]);
    }
    xxhash_rust::xxh3::xxh3_64(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_in_pieces_has_the_checksum_of_the_whole() {
        let bytes: Vec<u8> = (0..5_000u32).map(|i| ((i * 37) >> 3) as u8).collect();
        for len in [0, 1, 240, 241, 1024, 5_000] {
            let whole = block_checksum(TableId(7), 4096, &bytes[..len]);
            for piece in [1, 3, 64, 1000] {
                let mut hasher = BlockHasher::new(TableId(7), 4096);
                bytes[..len].chunks(piece).for_each(|piece| hasher.update(piece));
                assert_eq!(hasher.finish(), whole, "{len} bytes by {piece}");
            }
        }
    }

    #[test]
    fn what_was_extended_is_taken_back() {
        let bytes: Vec<u8> = (0..200u32).map(|i| (i * 37) as u8).collect();
        for (i, crc) in [0, 1, 0xffff_ffff, 0x1234_5678].into_iter().enumerate() {
            for len in [0, 1, 8, 16, 199] {
                assert_eq!(
                    crc32c_before(crc32c_extend(crc, &bytes[i..len.max(i)]), &bytes[i..len.max(i)]),
                    crc
                );
            }
        }
    }
}
