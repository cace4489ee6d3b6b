//! A block as it lies in the file: perhaps compressed, always sealed.
//!
//! | size | field |
//! |---|---|
//! | n | the block, compressed as the trailer says |
//! | 4 | its length before compression |
//! | 1 | compression: 0 none, 1 LZ4, 2 Zstandard |
//! | 4 | [`block_checksum`] of all above, bound to the table and to the block's offset |

use crate::damage::Damage;
use crate::seal::compression::{Compression, Compressor, decompress};
use tanada_format::{BlockSalt, MAX_KEY_LEN, MAX_VALUE_LEN, block_checksum};

/// Bytes behind each block.
pub(crate) const TRAILER_LEN: usize = 9;

/// No block is longer before compression: one entry of the largest size and
/// its header.
pub(crate) const MAX_RAW_LEN: usize = MAX_VALUE_LEN + MAX_KEY_LEN + 4096;

/// Appends `raw`, sealed, to `out`. `offset` is where its first byte will lie
/// in the file. Returns the length it takes there.
pub(crate) fn seal(
    out: &mut Vec<u8>,
    raw: &[u8],
    salt: BlockSalt,
    offset: u64,
    compressor: &mut Compressor,
) -> usize {
    let start = out.len();
    let kind = match compressor.compress(raw) {
        Some((kind, bytes)) => {
            out.extend_from_slice(bytes);
            kind
        }
        None => {
            out.extend_from_slice(raw);
            Compression::None
        }
    };
    close(out, start, raw.len(), kind, salt, offset);
    out.len() - start
}

/// Appends the trailer of the block that begins at `start`.
fn close(
    out: &mut Vec<u8>,
    start: usize,
    raw_len: usize,
    kind: Compression,
    salt: BlockSalt,
    offset: u64,
) {
    let raw_len = u32::try_from(raw_len).expect("a block is bounded by MAX_RAW_LEN");
    out.extend_from_slice(&raw_len.to_le_bytes());
    out.push(kind as u8);
    let sum = block_checksum(salt, offset, &out[start..]);
    out.extend_from_slice(&sum.to_le_bytes());
}

/// A sealed block whose checksum and trailer are right.
pub(crate) struct Checked<'a> {
    compression: Compression,
    /// As it lies in the file, without the trailer.
    pub(crate) stored: &'a [u8],
    /// Its length before compression.
    pub(crate) raw_len: usize,
}

impl Checked<'_> {
    /// Whether it was stored as it was.
    pub(crate) fn is_raw(&self) -> bool {
        self.compression == Compression::None
    }

    /// Fills `raw`, of the length declared.
    pub(crate) fn decompress(&self, raw: &mut [u8]) -> Result<(), Damage> {
        decompress(self.compression, self.stored, raw)
    }
}

/// What a trailer says of its block, before anything has been checked.
#[derive(Clone, Copy)]
pub(crate) struct Told {
    pub(crate) compression: Compression,
    /// Its length before compression.
    pub(crate) raw_len: usize,
}

/// Reads the trailer of a sealed block of `len` bytes. `max_raw_len` as for [`check`].
pub(crate) fn told(
    trailer: &[u8; TRAILER_LEN],
    len: usize,
    max_raw_len: usize,
) -> Result<Told, Damage> {
    let [l0, l1, l2, l3, kind, ..] = *trailer;
    let raw_len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let compression = Compression::from_u8(kind).ok_or("a block's compression is unknown")?;
    if raw_len > max_raw_len.min(MAX_RAW_LEN) {
        return Err("a block declares a length over the bound".into());
    }
    if compression == Compression::None && len != raw_len + TRAILER_LEN {
        return Err("a raw block's length is not the one declared".into());
    }
    Ok(Told { compression, raw_len })
}

/// Checks one sealed block. `max_raw_len` bounds what it may declare, so that a
/// wrong length never takes memory.
pub(crate) fn check(
    sealed: &[u8],
    salt: BlockSalt,
    offset: u64,
    max_raw_len: usize,
) -> Result<Checked<'_>, Damage> {
    const SHORT: &str = "a block is shorter than its trailer";
    let (covered, sum) = sealed.split_last_chunk::<4>().ok_or(SHORT)?;
    if block_checksum(salt, offset, covered) != u32::from_le_bytes(*sum) {
        return Err("a block's checksum does not match".into());
    }
    let trailer = sealed.last_chunk().ok_or(SHORT)?;
    let Told { compression, raw_len } = told(trailer, sealed.len(), max_raw_len)?;
    let stored = &sealed[..sealed.len() - TRAILER_LEN];
    Ok(Checked { compression, stored, raw_len })
}

/// Checks one sealed block and decompresses it into `scratch`, which grows to
/// the longest block seen. What was stored raw is answered where it lies.
pub(crate) fn open<'a>(
    sealed: &'a [u8],
    salt: BlockSalt,
    offset: u64,
    max_raw_len: usize,
    scratch: &'a mut Vec<u8>,
) -> Result<&'a [u8], Damage> {
    let checked = check(sealed, salt, offset, max_raw_len)?;
    if checked.is_raw() {
        return Ok(checked.stored);
    }
    if scratch.len() < checked.raw_len {
        scratch.resize(checked.raw_len, 0);
    }
    let raw = &mut scratch[..checked.raw_len];
    checked.decompress(raw)?;
    Ok(raw)
}

/// The same for a block in a buffer of its own, which becomes the block when
/// there is nothing to decompress.
pub(crate) fn open_alone(
    mut sealed: Vec<u8>,
    salt: BlockSalt,
    offset: u64,
    max_raw_len: usize,
) -> Result<Vec<u8>, Damage> {
    let checked = check(&sealed, salt, offset, max_raw_len)?;
    let raw_len = checked.raw_len;
    if checked.is_raw() {
        sealed.truncate(raw_len);
        return Ok(sealed);
    }
    let mut raw = vec![0; raw_len];
    checked.decompress(&mut raw)?;
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tanada_format::TableId;

    fn salt(table: u64) -> BlockSalt {
        BlockSalt::of_id(TableId(table))
    }

    #[test]
    fn each_compression_reads_back_and_noise_is_stored_raw() {
        let text = b"rice fields on a hill, terrace by terrace; ".repeat(90);
        let noise: Vec<u8> = (0..500u64)
            .flat_map(|i| tanada_format::hash_key(&i.to_le_bytes()).to_le_bytes())
            .collect();
        for kind in [Compression::None, Compression::Lz4, Compression::Zstd] {
            let mut compressor = Compressor::new(kind);
            for (raw, pays) in
                [(&text[..], kind != Compression::None), (&noise, false), (b"", false)]
            {
                let mut out = vec![7];
                let len = seal(&mut out, raw, salt(3), 40, &mut compressor);
                assert_eq!(len, out.len() - 1);
                assert_eq!(len < raw.len(), pays);
                let mut scratch = Vec::new();
                let opened = open(&out[1..], salt(3), 40, raw.len(), &mut scratch);
                assert_eq!(opened.unwrap(), raw);
                let alone = out[1..].to_vec();
                assert_eq!(open_alone(alone, salt(3), 40, raw.len()).unwrap(), raw);
                assert!(open_alone(out[1..].to_vec(), salt(4), 40, raw.len()).is_err());
                assert!(open_alone(out[1..].to_vec(), salt(3), 41, raw.len()).is_err());
                if !raw.is_empty() {
                    assert!(open_alone(out[1..].to_vec(), salt(3), 40, raw.len() - 1).is_err());
                }
            }
        }
    }

    #[test]
    fn a_changed_byte_or_a_cut_is_an_error() {
        let mut out = Vec::new();
        seal(&mut out, &b"mountain".repeat(30), salt(1), 0, &mut Compressor::new(Compression::Lz4));
        for i in 0..out.len() {
            let mut bad = out.clone();
            bad[i] ^= 0x40;
            assert!(open_alone(bad, salt(1), 0, 1 << 20).is_err(), "byte {i}");
            assert!(open_alone(out[..i].to_vec(), salt(1), 0, 1 << 20).is_err(), "cut at {i}");
        }
    }

    #[test]
    fn a_wrong_length_under_a_right_checksum_takes_no_memory_and_is_an_error() {
        let name = [
            "seal::sealed::tests",
            "a_wrong_length_under_a_right_checksum_takes_no_memory_and_is_an_error",
        ]
        .join("::");
        // A length that is over its bound by one, or is a gibibyte of address space if believed.
        let declared = [
            (0, MAX_RAW_LEN),
            (1, MAX_RAW_LEN),
            (100, MAX_RAW_LEN),
            (u32::MAX, MAX_RAW_LEN),
            (MAX_RAW_LEN as u32 + 1, MAX_RAW_LEN),
            (MAX_RAW_LEN as u32 + 1, usize::MAX),
            (MAX_RAW_LEN as u32, 4096),
            (4097, 4096),
        ];
        crate::alone::grows_by_less_than(16 << 20, &name, || {
            for kind in [0u8, 1, 2, 9] {
                for (raw_len, bound) in declared {
                    let mut block = b"not really compressed".to_vec();
                    block.extend_from_slice(&raw_len.to_le_bytes());
                    block.push(kind);
                    let sum = block_checksum(salt(1), 0, &block);
                    block.extend_from_slice(&sum.to_le_bytes());
                    let what = format!("{raw_len} bytes, {bound} allowed, kind {kind}");
                    let mut scratch = Vec::new();
                    assert!(open(&block, salt(1), 0, bound, &mut scratch).is_err(), "{what}");
                    assert!(open_alone(block, salt(1), 0, bound).is_err(), "{what}");
                }
            }
        });
    }
}
