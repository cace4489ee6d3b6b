//! Where choices come from: a seed's dice without end, or the bytes of a fuzzer,
//! which end.
//!
//! One generator draws from either, so what a fuzzer finds is an operation sequence
//! like any other, and a corpus covers what the property tests cover.

use tanada_vfs::memory::Dice;

/// A source of choices.
pub trait Choices {
    /// Sixty-four bits.
    fn next_u64(&mut self) -> u64;

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: u64) -> u64;

    /// True `permille` times in a thousand, more or less.
    fn chance(&mut self, permille: u64) -> bool;

    /// Whether nothing but zeros and *no* will come from here on.
    fn is_over(&self) -> bool;
}

impl Choices for Dice {
    fn next_u64(&mut self) -> u64 {
        Dice::next_u64(self)
    }

    fn below(&mut self, bound: u64) -> u64 {
        Dice::below(self, bound)
    }

    fn chance(&mut self, permille: u64) -> bool {
        Dice::chance(self, permille)
    }

    fn is_over(&self) -> bool {
        false
    }
}

/// Choices made by given bytes. A choice takes as few of them as can hold it, so
/// that a byte changed in the middle changes one choice, not all that follow.
#[derive(Clone, Debug)]
pub struct Bytes {
    bytes: Vec<u8>,
    at: usize,
}

impl Bytes {
    /// Choices from `bytes`, first to last.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Bytes {
        Bytes { bytes: bytes.into(), at: 0 }
    }

    /// The next `count` bytes as a number; those that are missing count as zeros.
    fn take(&mut self, count: usize) -> u64 {
        let mut word = [0; 8];
        let rest = &self.bytes[self.at..];
        let taken = count.min(rest.len());
        word[..taken].copy_from_slice(&rest[..taken]);
        self.at += taken;
        u64::from_le_bytes(word)
    }
}

impl Choices for Bytes {
    fn next_u64(&mut self) -> u64 {
        self.take(8)
    }

    fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "no number is below 0");
        self.take(bytes_below(bound)) % bound
    }

    fn chance(&mut self, permille: u64) -> bool {
        !self.is_over() && self.below(1000) < permille
    }

    fn is_over(&self) -> bool {
        self.at == self.bytes.len()
    }
}

/// Bytes that hold a number below `bound`.
fn bytes_below(bound: u64) -> usize {
    match bound {
        1 => 0,
        2..=0x100 => 1,
        0x101..=0x1_0000 => 2,
        _ => 8,
    }
}

/// A seed's dice, and the bytes from which [`Bytes`] makes the same choices: how a
/// corpus is written from which a fuzzer begins.
#[derive(Clone, Debug)]
pub struct Recorder {
    dice: Dice,
    bytes: Vec<u8>,
}

impl Recorder {
    /// The choices of `seed`.
    pub fn new(seed: u64) -> Recorder {
        Recorder { dice: Dice::new(seed), bytes: Vec::new() }
    }

    /// The bytes of all choices so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn note(&mut self, number: u64, count: usize) {
        self.bytes.extend_from_slice(&number.to_le_bytes()[..count]);
    }
}

impl Choices for Recorder {
    fn next_u64(&mut self) -> u64 {
        let number = self.dice.next_u64();
        self.note(number, 8);
        number
    }

    fn below(&mut self, bound: u64) -> u64 {
        let number = self.dice.below(bound);
        self.note(number, bytes_below(bound));
        number
    }

    fn chance(&mut self, permille: u64) -> bool {
        let yes = self.dice.chance(permille);
        // A number below `permille`, or one that is not.
        self.note(if yes { 0 } else { 999 }, bytes_below(1000));
        yes
    }

    fn is_over(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_taken_sparingly_and_end_in_noes() {
        let mut bytes = Bytes::new([7, 0x01, 0x02, 9]);
        assert_eq!(bytes.below(1), 0);
        assert_eq!(bytes.below(256), 7);
        assert_eq!(bytes.below(0x1_0000), 0x0201);
        assert!(!bytes.is_over());
        assert_eq!(bytes.next_u64(), 9);
        assert!(bytes.is_over());
        assert_eq!((bytes.below(10), bytes.chance(1000)), (0, false));
    }

    #[test]
    fn noted_bytes_make_the_same_choices() {
        fn draw(choices: &mut impl Choices) -> Vec<u64> {
            let mut drawn = Vec::new();
            for bound in [1, 2, 256, 257, 1 << 16, (1 << 16) + 1, u64::MAX] {
                drawn.extend([choices.below(bound), choices.next_u64()]);
                drawn.extend([0, 300, 1000].map(|permille| u64::from(choices.chance(permille))));
            }
            drawn
        }
        for seed in 0..100 {
            let mut recorder = Recorder::new(seed);
            let drawn = draw(&mut recorder);
            let mut bytes = Bytes::new(recorder.bytes());
            assert_eq!(draw(&mut bytes), drawn);
            assert!(bytes.is_over(), "no byte too many");
        }
    }
}
