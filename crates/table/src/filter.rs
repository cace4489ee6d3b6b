//! A Bloom filter whose every key lies in one cache line.
//!
//! | size | field |
//! |---|---|
//! | 4 | number of lines `n` |
//! | 4 | bits set for each key |
//! | 64n | the lines: bit `b` of a line is bit `b % 8` of its byte `b / 8` |
//!
//! The high half of a key's hash chooses the line, the low half its bits: the
//! top 9 bits of the low half, times [`STEP`] for each further one. Cache-local
//! filters: Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom
//! Filters", 2007; the way of drawing bits from 32 bits: RocksDB's FastLocalBloom.

use crate::damage::{Damage, Fields};

const LINE_BITS: u32 = 512;
const LINE_LEN: usize = 64;
const STEP: u32 = 0x9e37_79b9;
/// No number of probes above this pays, whatever the bits.
const MAX_PROBES: u32 = 16;

#[inline]
fn line_of(hash: u64, lines: usize) -> usize {
    (((hash >> 32) * lines as u64) >> 32) as usize
}

/// Rate at which a filter with `bits_per_key` says "maybe" to a key that is
/// not there, by theory: keys fall on lines as a Poisson process, and a line
/// with `j` keys has a share `1 - (1 - 1/512)^(j * probes)` of its bits set.
///
/// 1.0 when there is no filter.
pub fn theoretical_false_positive_rate(bits_per_key: f64) -> f64 {
    if bits_per_key > 0.0 { rate(bits_per_key, probes_for(bits_per_key)) } else { 1.0 }
}

fn rate(bits_per_key: f64, probes: u32) -> f64 {
    let mean = f64::from(LINE_BITS) / bits_per_key;
    let clear = 1.0 - 1.0 / f64::from(LINE_BITS);
    let spread = 12.0 * mean.sqrt() + 12.0;
    let first = (mean - spread).max(0.0) as u32;
    let last = (mean + spread) as u32;
    // ln(j!) is carried along, so that neither power nor factorial overflows.
    let mut ln_factorial: f64 = (1..=first).map(|i| f64::from(i).ln()).sum();
    let mut sum = 0.0;
    for j in first..=last {
        if j > first {
            ln_factorial += f64::from(j).ln();
        }
        let likelihood = (f64::from(j) * mean.ln() - mean - ln_factorial).exp();
        let set = 1.0 - clear.powf(f64::from(j) * f64::from(probes));
        sum += likelihood * set.powi(probes as i32);
    }
    sum
}

/// Bits a key from which 2, 3, ... 16 probes have the lowest rate. Found with
/// [`rate`], which takes too long for each table of a small keyspace.
const PROBES_FROM: [f64; MAX_PROBES as usize - 1] = [
    2.080, 3.577, 5.087, 6.644, 8.270, 9.988, 11.822, 13.796, 15.940, 18.286, 20.869, 23.731,
    26.920, 30.491, 34.509,
];

/// The number of probes with the lowest rate.
pub(crate) fn probes_for(bits_per_key: f64) -> u32 {
    1 + PROBES_FROM.iter().filter(|&&from| bits_per_key >= from).count() as u32
}

/// Encodes the filter of these keys.
pub(crate) fn build(hashes: &[u64], bits_per_key: f64, probes: u32) -> Vec<u8> {
    let bits = hashes.len() as f64 * bits_per_key;
    let lines = ((bits / f64::from(LINE_BITS)).ceil() as usize).max(1);
    let mut out = vec![0; 8 + lines * LINE_LEN];
    out[..4].copy_from_slice(&(lines as u32).to_le_bytes());
    out[4..8].copy_from_slice(&probes.to_le_bytes());
    let (body, _) = out[8..].as_chunks_mut::<LINE_LEN>();
    for &hash in hashes {
        let line = &mut body[line_of(hash, lines)];
        let mut draw = hash as u32;
        for _ in 0..probes {
            let bit = draw >> 23;
            line[(bit / 8) as usize] |= 1 << (bit % 8);
            draw = draw.wrapping_mul(STEP);
        }
    }
    out
}

/// A filter in memory.
#[derive(Clone, Copy)]
pub(crate) struct Filter<'a> {
    lines: &'a [[u8; LINE_LEN]],
    probes: u32,
}

/// An encoded filter of its own, known to be whole.
pub(crate) struct KeptFilter(Vec<u8>);

impl KeptFilter {
    /// `None` when it is damaged.
    pub(crate) fn parse(bytes: Vec<u8>) -> Option<KeptFilter> {
        match Filter::parse(&bytes) {
            Ok(_) => Some(KeptFilter(bytes)),
            Err(_) => None,
        }
    }

    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        Filter::parse(&self.0).is_ok_and(|filter| filter.may_contain(hash))
    }
}

/// The number of probes and the lines of an encoded filter.
pub(crate) fn parse(bytes: &[u8]) -> Result<(u32, &[u8]), Damage> {
    let mut fields = Fields(bytes);
    let count = fields.u32()? as usize;
    let probes = fields.u32()?;
    let lines = fields.0;
    if count == 0 || lines.len() as u64 != count as u64 * LINE_LEN as u64 || probes > MAX_PROBES {
        return Err("a filter's length is not the one declared".into());
    }
    Ok((probes, lines))
}

impl<'a> Filter<'a> {
    /// Of an encoded filter.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Filter<'a>, Damage> {
        parse(bytes).map(|(probes, lines)| Filter::new(lines, probes))
    }

    /// Of what [`parse`] answered. Fast where the lines lie on cache lines.
    #[inline]
    pub(crate) fn new(lines: &'a [u8], probes: u32) -> Filter<'a> {
        Filter { lines: lines.as_chunks().0, probes }
    }

    /// `false` means that no key with this hash was added. One cache line.
    #[inline]
    pub(crate) fn may_contain(self, hash: u64) -> bool {
        let (words, _) = self.lines[line_of(hash, self.lines.len())].as_chunks::<8>();
        let mut draw = hash as u32;
        let mut all = 1;
        for _ in 0..self.probes {
            let bit = draw >> 23;
            all &= u64::from_le_bytes(words[(bit / 64) as usize]) >> (bit % 64);
            draw = draw.wrapping_mul(STEP);
        }
        all & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tanada_format::hash_key;

    fn hashes(from: u64, count: u64) -> Vec<u64> {
        (from..from + count).map(|i| hash_key(&i.to_be_bytes())).collect()
    }

    #[test]
    fn every_key_added_is_contained_and_the_rate_is_what_theory_says() {
        for bits_per_key in [1.0, 3.5, 8.0, 10.0, 14.0, 20.0] {
            let probes = probes_for(bits_per_key);
            let added = hashes(0, 20_000);
            let built = build(&added, bits_per_key, probes);
            let filter = Filter::parse(&built).unwrap();
            assert!(added.iter().all(|&h| filter.may_contain(h)));
            let absent = hashes(1 << 40, 100_000);
            let false_positives = absent.iter().filter(|&&h| filter.may_contain(h)).count();
            let measured = false_positives as f64 / absent.len() as f64;
            let theory = theoretical_false_positive_rate(bits_per_key);
            let noise = 5.0 * (theory / absent.len() as f64).sqrt() + 0.02 * theory;
            assert!((measured - theory).abs() < noise, "{bits_per_key}: {measured} {theory}");
        }
        assert!((0.008..0.0105).contains(&theoretical_false_positive_rate(10.0)));
        assert_eq!(theoretical_false_positive_rate(0.0), 1.0);
    }

    #[test]
    fn no_other_number_of_probes_has_a_lower_rate() {
        let around = PROBES_FROM.iter().flat_map(|from| [from - 0.001, *from]);
        let between = (1..200).map(|i| f64::from(i) * 0.5);
        for bits_per_key in around.chain(between) {
            let by_rate =
                |&a: &u32, &b: &u32| rate(bits_per_key, a).total_cmp(&rate(bits_per_key, b));
            let best = (1..=MAX_PROBES).min_by(by_rate);
            assert_eq!(Some(probes_for(bits_per_key)), best, "{bits_per_key} bits a key");
        }
    }

    #[test]
    fn a_filter_of_another_length_than_declared_is_refused() {
        let good = build(&hashes(0, 300), 10.0, 7);
        for cut in 0..good.len() {
            assert!(Filter::parse(&good[..cut]).is_err());
        }
        assert!(Filter::parse(&[good.clone(), vec![0; 64]].concat()).is_err());
        let mut many_probes = good;
        many_probes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Filter::parse(&many_probes).is_err());
    }
}
