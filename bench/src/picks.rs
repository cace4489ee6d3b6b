//! Which item an operation takes: uniform, zipfian, or the latest.
//!
//! Zipfian numbers cost a `powf` each, more than some engines need for a get:
//! they are drawn before the clock starts.

use crate::data::mix;

/// Uniform on `0..n`, from the number of the operation. Costs 2 ns.
#[inline]
pub fn uniform(i: u64, seed: u64, n: u64) -> u64 {
    // The high half of a product instead of a division.
    ((u128::from(mix(i ^ (seed << 44))) * u128::from(n)) >> 64) as u64
}

/// Zipfian ranks as YCSB draws them: Gray et al., "Quickly generating
/// billion-record synthetic databases", SIGMOD 1994, section 3.2.
pub struct Zipf {
    n: u64,
    theta: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    /// Ranks `0..n` with exponent 0.99, YCSB's. Costs `n` times a `powf`.
    pub fn new(n: u64) -> Zipf {
        let theta = 0.99;
        let zeta: f64 = (1..=n).map(|rank| (rank as f64).powf(-theta)).sum();
        let zeta_of_two = 1.0 + 0.5f64.powf(theta);
        let eta = (1.0 - (2.0 / n as f64).powf(1.0 - theta)) / (1.0 - zeta_of_two / zeta);
        Zipf { n, theta, zeta, alpha: 1.0 / (1.0 - theta), eta }
    }

    /// The rank that draw `i` of `seed` gives; 0 is the most frequent.
    pub fn rank(&self, i: u64, seed: u64) -> u64 {
        let u = (mix(i ^ (seed << 44)) >> 11) as f64 / (1u64 << 53) as f64;
        let scaled = u * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5f64.powf(self.theta) {
            return 1.min(self.n - 1);
        }
        let rank = self.n as f64 * (self.eta * u - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.n - 1)
    }

    /// `count` items, the frequent ones strewn over all numbers.
    pub fn scrambled(&self, count: u64, seed: u64) -> Vec<u32> {
        (0..count).map(|i| scatter(self.rank(i, seed), self.n) as u32).collect()
    }

    /// `count` ranks, for the distance from the newest item.
    pub fn ranks(&self, count: u64, seed: u64) -> Vec<u32> {
        (0..count).map(|i| self.rank(i, seed) as u32).collect()
    }
}

/// A bijection of `0..n` for every `n` that the prime does not divide.
fn scatter(rank: u64, n: u64) -> u64 {
    ((u128::from(rank) * 2_305_843_009_213_693_951) % u128::from(n)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipfian_draws_have_the_frequencies_of_their_law() {
        let (n, draws) = (1000, 400_000);
        let zipf = Zipf::new(n);
        let mut counts = vec![0u64; n as usize];
        for i in 0..draws {
            counts[zipf.rank(i, 3) as usize] += 1;
        }
        for rank in [0, 1] {
            let want = draws as f64 / zipf.zeta / (rank as f64 + 1.0).powf(0.99);
            let got = counts[rank] as f64;
            assert!((got / want - 1.0).abs() < 0.03, "rank {rank}: {got} of {want}");
        }
        // The formula is an approximation from rank 2 on: compare whole tenths.
        let want: f64 = (1..=100).map(|r| f64::from(r).powf(-0.99)).sum::<f64>() / zipf.zeta;
        let got = counts[..100].iter().sum::<u64>() as f64 / draws as f64;
        assert!((got / want - 1.0).abs() < 0.03, "first tenth: {got} of {want}");
        assert!(counts[900..].iter().sum::<u64>() > 0, "the tail is drawn as well");
    }

    #[test]
    fn frequent_items_are_strewn_and_none_is_lost() {
        for n in [10, 1000, 65_537] {
            let mut items: Vec<u64> = (0..n).map(|rank| scatter(rank, n)).collect();
            items.sort_unstable();
            assert!(items.iter().copied().eq(0..n), "not a bijection of {n}");
        }
    }

    #[test]
    fn uniform_picks_reach_every_item_about_equally_often() {
        let mut counts = [0; 16];
        for i in 0..160_000 {
            counts[uniform(i, 1, 16) as usize] += 1;
        }
        assert!(counts.iter().all(|&count| (9_500..10_500).contains(&count)), "{counts:?}");
    }
}
