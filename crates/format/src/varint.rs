//! Unsigned LEB128: seven bits a byte, low bits first, the top bit says "more".

/// Most bytes that a varint takes.
pub const MAX_VARINT_LEN: usize = 10;

/// Appends `n`.
#[inline]
pub fn write_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Bytes that `n` takes: 1 to 10.
#[inline]
pub fn varint_len(n: u64) -> usize {
    (64 - (n | 1).leading_zeros() as usize).div_ceil(7)
}

/// Reads one number from the front of `bytes`: the number and the bytes it took.
/// `None` when the bytes end first or the number needs more than 64 bits.
#[inline]
pub fn read_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some((u64::from(first), 1));
    }
    let mut n = u64::from(first & 0x7f);
    for (i, &b) in bytes.iter().enumerate().take(MAX_VARINT_LEN).skip(1) {
        if i == 9 && b > 1 {
            return None;
        }
        n |= u64::from(b & 0x7f) << (7 * i);
        if b < 0x80 {
            return Some((n, i + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_reads_back_and_truncation_is_told() {
        for shift in 0..64 {
            for n in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut out = Vec::new();
                write_varint(&mut out, n);
                assert_eq!(out.len(), varint_len(n));
                assert_eq!(read_varint(&out), Some((n, out.len())));
                for cut in 0..out.len() {
                    assert_eq!(read_varint(&out[..cut]), None);
                }
            }
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        let mut bytes = [0xff; 10];
        bytes[9] = 2;
        assert_eq!(read_varint(&bytes), None);
        assert_eq!(read_varint(&[0x80; 11]), None);
    }
}
