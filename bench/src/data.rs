//! Keys and values from a number, so that whatever an engine hands out can be
//! checked without keeping a copy.
//!
//! A key is 16 bytes: 8 that give its place in the order, then the number of
//! its item, big-endian. A value is half random and half one repeated byte, so
//! that it compresses to about half; its first 8 bytes and its last belong to
//! the item, the rest also to the generation (how often it was overwritten).

/// Length of every key.
pub const KEY_BYTES: usize = 16;

/// A key.
pub type Key = [u8; KEY_BYTES];

/// Numbers from here on are of items that are never written: their keys lie
/// between those of the items that are.
pub const MISSING: u64 = 1 << 40;

/// SplitMix64: a bijection, so that distinct numbers give distinct keys.
pub fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How keys lie in the order of their items' numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Random,
    Ascending,
}

/// The key of item `n`.
pub fn key_in(order: Order, n: u64) -> Key {
    let place = match order {
        Order::Random => mix(n),
        Order::Ascending => n,
    };
    let mut key = [0; KEY_BYTES];
    key[..8].copy_from_slice(&place.to_be_bytes());
    key[8..].copy_from_slice(&n.to_be_bytes());
    key
}

/// The key of item `n`; its place in the order is random.
pub fn key(n: u64) -> Key {
    key_in(Order::Random, n)
}

/// The place of a key in the order.
pub fn place(key: &[u8]) -> u64 {
    u64::from_be_bytes(key[..8].try_into().expect("8 of 16 bytes"))
}

/// The item of a key.
pub fn item(key: &[u8]) -> u64 {
    u64::from_be_bytes(key[8..].try_into().expect("8 of 16 bytes"))
}

/// Writes the value of item `n` in its `generation`.
pub fn fill_value(n: u64, generation: u64, value: &mut [u8]) {
    let random = value.len() / 16 * 8;
    let (noise, rest) = value.split_at_mut(random);
    let mut chunks = noise.chunks_exact_mut(8);
    if let Some(first) = chunks.next() {
        first.copy_from_slice(&mark(n).to_le_bytes());
    }
    for (i, chunk) in chunks.enumerate() {
        let seed = n ^ (generation << 40) ^ ((i as u64 + 2) << 52);
        chunk.copy_from_slice(&mix(seed).to_le_bytes());
    }
    rest.fill(n as u8);
}

fn mark(n: u64) -> u64 {
    mix(n ^ (1 << 56))
}

/// Panics when `value` is not one of item `n`.
#[inline]
pub fn check_value(n: u64, value: &[u8], length: usize) {
    assert!(
        value.len() == length
            && value[..8] == mark(n).to_le_bytes()
            && value[length - 1] == n as u8,
        "wrong value of item {n}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_by_its_key_in_every_generation() {
        for length in [100, 4096] {
            let (mut first, mut second) = (vec![0; length], vec![0; length]);
            fill_value(7, 0, &mut first);
            fill_value(7, 1, &mut second);
            assert_ne!(first, second);
            check_value(item(&key(7)), &first, length);
            check_value(7, &second, length);
        }
    }

    #[test]
    #[should_panic(expected = "wrong value of item 8")]
    fn a_value_of_another_item_is_refused() {
        let mut value = [0; 100];
        fill_value(7, 0, &mut value);
        check_value(8, &value, 100);
    }
}
