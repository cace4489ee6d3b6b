//! Keys and values from a number: 16 bytes and 100 bytes, half compressible.

/// SplitMix64: a bijection, so that distinct numbers give distinct keys.
pub fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The key of item `n`: order is random in `n`.
pub fn key(n: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mix(n).to_be_bytes());
    key[8..].copy_from_slice(&n.to_be_bytes());
    key
}

/// The value of item `n`: 48 random bytes, 52 that compress well.
pub fn fill_value(n: u64, value: &mut [u8; 100]) {
    for (i, chunk) in value[..48].chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&mix(n ^ ((i as u64 + 1) << 56)).to_le_bytes());
    }
    value[48..].fill(n as u8);
}

/// Panics when `value` is not that of item `n`.
pub fn check_value(n: u64, value: &[u8]) {
    assert_eq!(value.len(), 100, "item {n}");
    assert_eq!(value[..8], mix(n ^ (1 << 56)).to_le_bytes(), "item {n}");
    assert_eq!(value[99], n as u8, "item {n}");
}
