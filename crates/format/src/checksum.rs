//! Checksums and the one hash of a key.

use crate::{Origin, TableId, WriterEpoch};

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

/// What binds the blocks of one table to it.
///
/// Tables of epoch 0 never leave their directory but with it: their id tells them apart. All
/// others are told apart by all of their [`Origin`], from which 64 bits are hashed: of two
/// tables, any two places have the same seed with a probability of 2^-64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSalt(Binding);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binding {
    Id(u64),
    Origin(u64),
}

impl BlockSalt {
    /// Of the blocks of this table.
    pub fn of(origin: &Origin) -> BlockSalt {
        let Origin { database, epoch, table } = origin;
        if *epoch == WriterEpoch(0) || crate::planted!(blocks_bound_to_ids_alone) {
            return BlockSalt::of_id(*table);
        }
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&database.0);
        bytes[16..24].copy_from_slice(&epoch.0.to_le_bytes());
        bytes[24..].copy_from_slice(&table.0.to_le_bytes());
        BlockSalt(Binding::Origin(xxhash_rust::xxh3::xxh3_64(&bytes)))
    }

    /// Of the blocks of tables of epoch 0, and of the properties of all.
    pub fn of_id(table: TableId) -> BlockSalt {
        BlockSalt(Binding::Id(table.0.rotate_left(40)))
    }

    #[inline]
    fn seed(self, offset: u64) -> u64 {
        // Odd, so that no two places of a table have one seed.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        match self.0 {
            Binding::Id(id) => id ^ offset,
            Binding::Origin(hash) => hash.wrapping_add(offset.wrapping_mul(STEP)),
        }
    }
}

/// Checksum of a stored block, bound to the table and to its place in the file,
/// so that a block read from elsewhere never passes.
#[inline]
pub fn block_checksum(salt: BlockSalt, offset: u64, bytes: &[u8]) -> u32 {
    xxhash_rust::xxh3::xxh3_64_with_seed(bytes, salt.seed(offset)) as u32
}

/// As [`block_checksum`], of a block that comes in pieces.
pub struct BlockHasher(Box<xxhash_rust::xxh3::Xxh3>);

impl BlockHasher {
    /// For the block at `offset`; of no bytes yet. Takes some 600 bytes.
    pub fn new(salt: BlockSalt, offset: u64) -> BlockHasher {
        BlockHasher(Box::new(xxhash_rust::xxh3::Xxh3::with_seed(salt.seed(offset))))
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
    use crate::DatabaseId;

    #[test]
    fn a_block_in_pieces_has_the_checksum_of_the_whole() {
        let bytes: Vec<u8> = (0..5_000u32).map(|i| ((i * 37) >> 3) as u8).collect();
        for len in [0, 1, 240, 241, 1024, 5_000] {
            for salt in [BlockSalt::of(&origin(0, 7)), BlockSalt::of(&origin(5, 7))] {
                let whole = block_checksum(salt, 4096, &bytes[..len]);
                for piece in [1, 3, 64, 1000] {
                    let mut hasher = BlockHasher::new(salt, 4096);
                    bytes[..len].chunks(piece).for_each(|piece| hasher.update(piece));
                    assert_eq!(hasher.finish(), whole, "{len} bytes by {piece}");
                }
            }
        }
    }

    fn origin(epoch: u64, table: u64) -> Origin {
        let (epoch, table) = (WriterEpoch(epoch), TableId(table));
        Origin { database: DatabaseId([3; 16]), epoch, table }
    }

    /// It is on disk: files of the first version were written with it.
    #[test]
    fn tables_of_a_directory_are_bound_as_they_always_were() {
        for (table, offset) in [(7u64, 4096u64), (1 << 24, 1), (u64::MAX, 1 << 41)] {
            let seed = table.rotate_left(40) ^ offset;
            let before = xxhash_rust::xxh3::xxh3_64_with_seed(b"block", seed) as u32;
            assert_eq!(block_checksum(BlockSalt::of(&origin(0, table)), offset, b"block"), before);
        }
    }

    /// The disk is lost with the counter on it, and another machine gives the id again: to
    /// the cache of one who follows both, a block of one table passed for the other's. The
    /// epoch in the high bits of the id would do no better: there the offset meets it.
    #[test]
    fn no_place_of_a_table_has_the_seed_of_a_place_of_another() {
        let mut seen = std::collections::HashMap::new();
        let databases = [3, 4].map(|byte| DatabaseId([byte; 16]));
        for database in databases {
            for epoch in [0, 1, 2, 1 << 16, 1 << 40, u64::MAX] {
                for table in [1, 2, 57, 1 << 24, 1 << 40, u64::MAX] {
                    let origin =
                        Origin { database, epoch: WriterEpoch(epoch), table: TableId(table) };
                    if epoch == 0 && (database != databases[0] || table >= 1 << 24) {
                        continue; // those are told apart by the directory they lie in
                    }
                    for offset in [0, 1, 4096, 1 << 16, 1 << 24, 1 << 32, 1 << 39] {
                        let other =
                            seen.insert(BlockSalt::of(&origin).seed(offset), (origin, offset));
                        assert_eq!(other, None, "{origin} at {offset}");
                    }
                }
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
