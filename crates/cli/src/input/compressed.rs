//! Input that is compressed: told by its first bytes, not by its name.

use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, Cursor, Read};

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Bytes that are decompressed ahead.
const BUFFER_BYTES: usize = 256 << 10;

/// What `source` holds, decompressed where it is gzip or Zstandard: all members and
/// frames. A stream that is cut off or damaged is an error where it breaks.
///
/// # Errors
/// When the first bytes cannot be read.
pub(super) fn decompressed(mut source: Box<dyn Read + Send>) -> io::Result<Box<dyn BufRead>> {
    let mut first = Vec::new();
    source.by_ref().take(ZSTD.len() as u64).read_to_end(&mut first)?;
    let (gzip, zstd) = (first.starts_with(GZIP), first.starts_with(ZSTD));
    let whole = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(first).chain(source));
    Ok(if gzip {
        Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(whole)))
    } else if zstd {
        let decoder = zstd::Decoder::with_buffer(whole)?;
        Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
    } else {
        Box::new(whole)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        decompressed(Box::new(Cursor::new(bytes)))?.read_to_end(&mut text)?;
        Ok(text)
    }

    #[test]
    fn gzip_and_zstandard_are_told_by_their_first_bytes_and_read_to_their_last() {
        let text = b"{\"key\":\"a\",\"value\":\"1\"}\n".repeat(10_000);
        for plain in [&b""[..], b"a", b"\x1f", &text] {
            assert_eq!(read(plain.to_vec()).unwrap(), plain);
            let zstd = zstd::encode_all(plain, 1).unwrap();
            for compressed in [gzip(plain), zstd] {
                assert_eq!(read(compressed.clone()).unwrap(), plain);
                // Two files, one behind the other, as `cat` leaves them.
                let twice = [&compressed[..], &compressed].concat();
                assert_eq!(read(twice).unwrap(), [plain, plain].concat());
            }
        }
    }

    #[test]
    fn a_stream_that_is_cut_off_or_damaged_is_an_error() {
        let text = b"{\"key\":\"a\",\"value\":\"1\"}\n".repeat(1000);
        for compressed in [gzip(&text), zstd::encode_all(&text[..], 1).unwrap()] {
            for length in [5, compressed.len() / 2, compressed.len() - 1] {
                assert!(read(compressed[..length].to_vec()).is_err(), "cut to {length}");
            }
        }
    }
}
