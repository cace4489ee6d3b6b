//! LZ4 decompressed within one buffer: the compressed bytes lie at its end, and what they
//! say overwrites them from the front.
//!
//! A long block is read so in the memory that it takes anyway, not in that and half as
//! much again. It works because no part of a block decompresses to less than it is: from
//! any place on, the compressed rest is longer than what is left to be said by one byte in
//! 255 at most (`LZ4_DECOMPRESS_INPLACE_MARGIN` in `lz4.h`).

#![allow(unsafe_code)]

use crate::damage::Damage;
use std::ops::Range;

/// How long a buffer has to be for a block of `raw_len` bytes that takes `stored_len`.
pub(crate) fn buffer_len(raw_len: usize, stored_len: usize) -> usize {
    (raw_len + (stored_len >> 8) + 32).max(stored_len)
}

/// Decompresses `stored` to the first `raw_len` bytes of `buffer`, in which it lies.
/// Whatever is said there, nothing outside of the buffer is touched.
///
/// # Errors
/// It is no LZ4 block, or of another length.
///
/// # Panics
/// When `stored` ends before [`buffer_len`] of both, or outside.
pub(crate) fn decompress(
    buffer: &mut [u8],
    stored: Range<usize>,
    raw_len: usize,
) -> Result<(), Damage> {
    let stored_len = stored.len();
    assert!(
        stored.end >= buffer_len(raw_len, stored_len) && stored.end <= buffer.len(),
        "what is decompressed in place lies behind what it becomes"
    );
    const LONG: &str = "LZ4 knows no block so long";
    let (source_len, len) = (i32::try_from(stored_len), i32::try_from(raw_len));
    let (source_len, len) = (source_len.map_err(|_| LONG)?, len.map_err(|_| LONG)?);
    let at = buffer.as_mut_ptr();
    // SAFETY: both ranges lie in the buffer, which is ours (asserted above), and both
    // pointers come from the same one. The function reads and writes within the lengths
    // given, whatever the bytes are, and allows the two to overlap: were they to meet, it
    // would read what it has written.
    let written = unsafe {
        lz4::liblz4::LZ4_decompress_safe(
            at.add(stored.start).cast_const().cast(),
            at.cast(),
            source_len,
            len,
        )
    };
    match usize::try_from(written) {
        Ok(written) if written == raw_len => Ok(()),
        Ok(_) => Err("it is shorter than declared".into()),
        Err(_) => Err("LZ4 says: it is no block".into()),
    }
}

#[cfg(test)]
#[cfg(not(miri))] // the decompressor is not Rust
mod tests {
    use super::*;
    use tanada_format::hash_key;

    fn in_place(stored: &[u8], raw_len: usize) -> Result<Vec<u8>, Damage> {
        let mut buffer = vec![0xa5; buffer_len(raw_len, stored.len())];
        let start = buffer.len() - stored.len();
        buffer[start..].copy_from_slice(stored);
        let end = buffer.len();
        decompress(&mut buffer, start..end, raw_len)?;
        buffer.truncate(raw_len);
        Ok(buffer)
    }

    #[test]
    fn every_kind_of_input_comes_out_of_its_own_buffer_as_it_was() {
        let noise = |len: u64| -> Vec<u8> {
            (0..len.div_ceil(8)).flat_map(|i| hash_key(&i.to_le_bytes()).to_le_bytes()).collect()
        };
        for len in [1, 13, 255, 4_000, 300_000] {
            let mut late = vec![0; len as usize];
            late.extend(noise(len));
            let mut early = noise(len);
            early.resize(2 * early.len(), 9);
            let turns: Vec<u8> =
                noise(len).chunks(100).flat_map(|c| [c, &[1; 100]].concat()).collect();
            for input in [noise(len), vec![3; len as usize], late, early, turns] {
                let stored = lz4_flex::block::compress(&input);
                assert!(in_place(&stored, input.len()).unwrap() == input, "{}", input.len());
                assert!(in_place(&stored, input.len() - 1).is_err());
                assert!(in_place(&stored, input.len() + 1).is_err());
            }
        }
    }

    #[test]
    fn bytes_that_are_no_block_are_an_error_or_something_else_but_stay_in_the_buffer() {
        for seed in 0..500u64 {
            let stored: Vec<u8> =
                (0..300u64).map(|i| hash_key(&(seed << 10 | i).to_le_bytes()) as u8).collect();
            for raw_len in [1, 50, 300, 5_000] {
                let _ = in_place(&stored, raw_len);
            }
        }
    }
}
