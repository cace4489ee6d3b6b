//! Randomness: the machine's, or a seed's.

use std::fmt::Debug;

/// A source of random bits.
pub trait Random: Send + Sync + Debug + 'static {
    /// Fills `buf`.
    fn fill(&self, buf: &mut [u8]);
}
