//! When the entries of a table expire, by eighths: so that a table is not judged by the last
//! of them alone.
//!
//! One entry that lives for a year would keep a table of others that have expired. Cassandra
//! keeps a histogram of such times in each table's metadata for the same reason
//! (`EstimatedDroppableTombstones`). Here it is counted in buckets that are the wider the
//! longer an entry lives behind the moment at which its table is written, an eighth of a power
//! of two each; what is kept are the ends of the buckets in which each eighth of the entries
//! is full. A time told is never too early: by then so many have really expired.

use crate::damage::Damage;

/// Parts that the expiring entries fall into.
pub const EXPIRY_PARTS: u64 = 8;

/// When each eighth of the entries that expire has, but the last, which is the latest expiry.
///
/// Milliseconds since 1970, ascending: by the first at least an eighth has expired, by the
/// second two, and so on. 56 bytes of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiryQuantiles(pub [u64; EXPIRY_PARTS as usize - 1]);

impl ExpiryQuantiles {
    /// Bytes on disk.
    pub const LEN: usize = 8 * (EXPIRY_PARTS as usize - 1);

    /// Little-endian, one number behind the other.
    pub fn encode(&self) -> [u8; ExpiryQuantiles::LEN] {
        let mut bytes = [0; ExpiryQuantiles::LEN];
        for (place, at_ms) in bytes.chunks_exact_mut(8).zip(self.0) {
            place.copy_from_slice(&at_ms.to_le_bytes());
        }
        bytes
    }

    /// # Errors
    /// When they are not as many as they are, or do not ascend.
    pub fn decode(bytes: &[u8]) -> Result<ExpiryQuantiles, &'static str> {
        if bytes.len() != ExpiryQuantiles::LEN {
            return Err("the quantiles of expiry have the wrong length");
        }
        let mut quantiles = [0; EXPIRY_PARTS as usize - 1];
        for (number, place) in quantiles.iter_mut().zip(bytes.chunks_exact(8)) {
            *number = u64::from_le_bytes(place.try_into().expect("eight bytes each"));
        }
        if !quantiles.is_sorted() {
            return Err("the quantiles of expiry do not ascend");
        }
        Ok(ExpiryQuantiles(quantiles))
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<ExpiryQuantiles, Damage> {
        ExpiryQuantiles::decode(bytes).map_err(Damage::from)
    }
}

/// Buckets of a power of two.
const BUCKETS: u64 = 8;

/// Counts the entries of a table that is being written. Some kibibytes, for any number of them.
#[derive(Clone, Debug)]
pub(crate) struct ExpiryCounts {
    /// When the table is written.
    written_ms: u64,
    /// By bucket; as long as the last that is not empty.
    counts: Vec<u64>,
}

impl ExpiryCounts {
    pub(crate) fn new(written_ms: u64) -> ExpiryCounts {
        ExpiryCounts { written_ms, counts: Vec::new() }
    }

    /// One entry. Cost: some instructions.
    #[inline]
    pub(crate) fn count(&mut self, expires_at_ms: u64) {
        let bucket = bucket_of(expires_at_ms.saturating_sub(self.written_ms));
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
    }

    /// The quantiles; `None` where they would say no more than that all expire by `max_ms`,
    /// the latest expiry.
    pub(crate) fn quantiles(&self, max_ms: u64) -> Option<ExpiryQuantiles> {
        let all: u64 = self.counts.iter().sum();
        let mut quantiles = [max_ms; EXPIRY_PARTS as usize - 1];
        let (mut bucket, mut passed) = (0, 0);
        for (part, at_ms) in (1..).zip(&mut quantiles) {
            while passed < (all * part).div_ceil(EXPIRY_PARTS) {
                passed += self.counts[bucket];
                bucket += 1;
            }
            if let Some(last) = bucket.checked_sub(1) {
                *at_ms = self.written_ms.saturating_add(last_of(last)).min(max_ms);
            }
        }
        (quantiles[0] < max_ms).then_some(ExpiryQuantiles(quantiles))
    }
}

/// The bucket of what expires so long behind the writing.
fn bucket_of(after_ms: u64) -> usize {
    if after_ms < BUCKETS {
        return after_ms as usize;
    }
    let power = u64::from(after_ms.ilog2());
    let eighth = (after_ms >> (power - 3)) - BUCKETS;
    ((power - 2) * BUCKETS + eighth) as usize
}

/// The longest time that falls into a bucket.
fn last_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < BUCKETS {
        return bucket;
    }
    let shift = bucket / BUCKETS - 1;
    let first = (BUCKETS + bucket % BUCKETS) << shift;
    first + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantiles(written_ms: u64, expiries: &[u64]) -> Option<ExpiryQuantiles> {
        let mut counts = ExpiryCounts::new(written_ms);
        expiries.iter().for_each(|&at_ms| counts.count(at_ms));
        counts.quantiles(expiries.iter().copied().max().unwrap_or(0))
    }

    #[test]
    fn buckets_lie_side_by_side_and_are_no_wider_than_an_eighth() {
        let mut before = None;
        for bucket in 0..62 * 8 {
            let last = last_of(bucket);
            assert_eq!(bucket_of(last), bucket);
            let first = before.map_or(0, |before: u64| before + 1);
            assert_eq!(bucket_of(first), bucket);
            assert!((last - first) * 8 <= first, "{first} to {last}");
            before = Some(last);
        }
        assert_eq!(last_of(bucket_of(u64::MAX)), u64::MAX);
    }

    #[test]
    fn by_each_time_so_many_have_expired_and_not_many_more() {
        let now = 1_796_000_000_000u64;
        let mut seed = 7u64;
        let mut draw = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for _ in 0..200 {
            let longest = 1u64 << (3 + draw(36));
            let count = 1 + draw(500);
            let mut expiries: Vec<u64> = (0..count).map(|_| now + draw(longest)).collect();
            expiries.sort_unstable();
            let max_ms = *expiries.last().unwrap();
            let Some(told) = quantiles(now, &expiries) else {
                let eighth = expiries[(count.div_ceil(8) - 1) as usize];
                assert!(bucket_of(eighth - now) == bucket_of(max_ms - now));
                continue;
            };
            for (part, at_ms) in (1..).zip(told.0) {
                let least = (count * part).div_ceil(8);
                let true_ms = expiries[(least - 1) as usize];
                let by_then = expiries.partition_point(|&expiry| expiry <= at_ms) as u64;
                assert!(by_then >= least, "{by_then} of {count} by the {part}th eighth");
                assert!(at_ms >= true_ms && (at_ms - true_ms) * 8 <= true_ms - now);
            }
            assert_eq!(ExpiryQuantiles::decode(&told.encode()), Ok(told));
        }
    }

    #[test]
    fn a_year_beside_seconds_says_when_the_seconds_are_over() {
        let (now, year) = (1_796_000_000_000, 365 * 86_400_000);
        let mut expiries = vec![now + 3_000; 999];
        expiries.push(now + year);
        let told = quantiles(now, &expiries).unwrap();
        assert!(told.0.iter().all(|&at_ms| (now + 3_000..now + 3_400).contains(&at_ms)));
        assert_eq!(quantiles(now, &[now + 5; 100]), None, "they expire together");
        assert_eq!(quantiles(now, &[now - 5; 100]), None, "they have expired together");
        assert_eq!(quantiles(now, &[]), None);
        assert!(ExpiryQuantiles::decode(&[0; 55]).is_err());
        assert!(ExpiryQuantiles::decode(&ExpiryQuantiles([7, 6, 5, 4, 3, 2, 1]).encode()).is_err());
    }
}
