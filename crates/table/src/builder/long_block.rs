//! A data block of one long entry: written from where the value lies, in pieces.
//!
//! The block and its compressed form are never in memory as a whole: the value may be as
//! long as a large part of the memory budget, and so would each of them be.

use crate::Error;
use crate::data::data_block;
use crate::seal::compression::{Compression, Compressor};
use crate::seal::lz4_sequences::Joiner;
use tanada_format::{BlockHasher, BlockSalt, EntryRef};

/// Compressed at once.
const PIECE_BYTES: usize = 1 << 20;
/// So many pieces, from all over the value, tell whether compressing the rest pays.
const SAMPLES: usize = 8;

/// A data block of one entry before it is sealed.
pub(crate) struct LongBlock<'e> {
    /// All but the value.
    head: Vec<u8>,
    value: &'e [u8],
}

impl<'e> LongBlock<'e> {
    pub(crate) fn new(entry: &EntryRef<'e>) -> LongBlock<'e> {
        LongBlock { head: data_block::alone_head(entry), value: entry.value }
    }

    /// Its length before compression.
    pub(crate) fn raw_len(&self) -> usize {
        self.head.len() + self.value.len()
    }

    /// Hands the sealed block to `append`, part by part. `offset` is where its first byte
    /// will lie in the file. Answers the length it takes there. Takes about 1 MiB.
    ///
    /// # Errors
    /// Those of `append`; then a part of it was appended.
    pub(crate) fn seal(
        &self,
        salt: BlockSalt,
        offset: u64,
        compressor: &mut Compressor,
        append: &mut impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        let (mut hasher, mut len) = (BlockHasher::new(salt, offset), 0);
        let mut emit = |bytes: &[u8]| {
            hasher.update(bytes);
            len += bytes.len();
            append(bytes)
        };
        let kind = match self.pays(compressor)? {
            false => {
                emit(&self.head)?;
                emit(self.value)?;
                Compression::None
            }
            true => {
                self.compress(compressor, &mut emit)?;
                compressor.kind()
            }
        };
        let raw_len = u32::try_from(self.raw_len()).expect("a block is bounded by MAX_RAW_LEN");
        emit(&raw_len.to_le_bytes())?;
        emit(&[kind as u8])?;
        let sum = hasher.finish().to_le_bytes();
        append(&sum)?;
        Ok(len + sum.len())
    }

    /// Whether compressing saves an eighth, judged by some of the pieces.
    fn pays(&self, compressor: &mut Compressor) -> Result<bool, Error> {
        if compressor.kind() == Compression::None {
            return Ok(false);
        }
        let step = self.value.len().div_ceil(PIECE_BYTES).div_ceil(SAMPLES).max(1);
        let (mut raw, mut stored) = (self.head.len(), self.head.len());
        for piece in self.value.chunks(PIECE_BYTES).step_by(step) {
            raw += piece.len();
            stored += compressor.compress_piece(piece)?.len();
        }
        Ok(stored + stored / 7 < raw)
    }

    fn compress(
        &self,
        compressor: &mut Compressor,
        emit: &mut impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if compressor.kind() == Compression::Zstd {
            // Frames, which decode to what they hold one behind the other.
            emit(compressor.compress_piece(&self.head)?)?;
            for piece in self.value.chunks(PIECE_BYTES) {
                emit(compressor.compress_piece(piece)?)?;
            }
            return Ok(());
        }
        let (mut joiner, mut end) = (Joiner::new(&self.head, self.value), 0);
        for piece in self.value.chunks(PIECE_BYTES) {
            end += piece.len();
            joiner.add(piece.len(), end, compressor.compress_piece(piece)?, emit)?;
        }
        joiner.finish(emit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::data_block::DataBlock;
    use crate::seal::sealed;
    use tanada_format::{SeqNo, TableId, ValueKind, hash_key};

    fn entry(value: &[u8]) -> EntryRef<'_> {
        let (seqno, kind) = (SeqNo(7), ValueKind::Put);
        EntryRef { key: b"a key of some length", seqno, kind, expires_at_ms: 0, value }
    }

    fn sealed_in_parts(value: &[u8], kind: Compression) -> (Vec<u8>, usize) {
        let (mut sealed, mut compressor) = (Vec::new(), Compressor::new(kind));
        let block = LongBlock::new(&entry(value));
        let len = block.seal(BlockSalt::of_id(TableId(3)), 40, &mut compressor, &mut |bytes| {
            sealed.extend_from_slice(bytes);
            Ok(())
        });
        assert_eq!(len.unwrap(), sealed.len());
        (sealed, block.raw_len())
    }

    #[test]
    fn what_is_sealed_in_parts_opens_as_one_block_whatever_its_compression() {
        let noise: Vec<u8> = (0..PIECE_BYTES as u64 / 4)
            .flat_map(|i| hash_key(&i.to_le_bytes()).to_le_bytes())
            .collect();
        let text = b"rice fields on a hill, terrace by terrace; ".repeat(80_000);
        // Noise and text by turns: the samples see some of both.
        let both: Vec<u8> = noise[..300_000].iter().chain(&text[..500_000]).copied().collect();
        let both = both.repeat(4);
        for kind in [Compression::None, Compression::Lz4, Compression::Zstd] {
            for (value, pays) in [(&noise, false), (&text, true), (&both, true)] {
                let (sealed, raw_len) = sealed_in_parts(value, kind);
                let pays = pays && kind != Compression::None;
                assert_eq!(sealed.len() < raw_len, pays, "{kind:?}");
                let raw =
                    sealed::open_alone(sealed, BlockSalt::of_id(TableId(3)), 40, raw_len).unwrap();
                let slot = DataBlock::parse(&raw).unwrap().get(b"a key of some length", SeqNo(9));
                assert!(slot.unwrap().unwrap().value == value, "{kind:?}");
            }
        }
    }
}
