//! Random bits that a seed decides.

use crate::Random;
use std::sync::atomic::{AtomicU64, Ordering};

/// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number
/// Generators", OOPSLA 2014): the state counts up by this, the output mixes it.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A seeded generator for one thread: crash simulations, tests, workloads.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> Dice {
        Dice(mix(seed.wrapping_add(GAMMA)))
    }

    /// Sixty-four random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// A number below `bound`.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "no number is below 0");
        // The high word of the product; its bias, below bound / 2^64, is of no matter here.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True `permille` times in a thousand.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }
}

/// Random bits that a seed decides, shared by threads.
#[derive(Debug)]
pub struct SeededRandom {
    seed: u64,
    /// A counter and nothing more: `Relaxed` suffices, since no other memory
    /// is published through it.
    state: AtomicU64,
}

impl SeededRandom {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> SeededRandom {
        SeededRandom { seed, state: AtomicU64::new(mix(seed.wrapping_add(GAMMA))) }
    }

    /// A generator decided by this one's seed and `seed`, with other numbers.
    pub(super) fn fork(&self, seed: u64) -> SeededRandom {
        SeededRandom::new(mix(self.seed) ^ seed)
    }
}

impl Random for SeededRandom {
    fn fill(&self, buf: &mut [u8]) {
        for chunk in buf.chunks_mut(8) {
            let state = self.state.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
            chunk.copy_from_slice(&mix(state).to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_every_number_and_seeds_differ() {
        let draw = |seed| {
            let mut dice = Dice::new(seed);
            (0..100).map(|_| dice.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(7).iter().all(|n| *n < 1000));
    }
}
