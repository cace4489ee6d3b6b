//! Keys that are easily taken for one another, for whoever draws keys in a test.
//!
//! Whatever keeps keys compares the first bytes of them as numbers, leaves out what
//! they share, and shortens those that only divide others. So the pairs to draw are
//! a key and the same key with zeros behind it, keys that differ behind their first
//! 8, 12 or 16 bytes, runs of one byte that are longer than any head, and a key of
//! one byte beside one of the greatest length. Everything that draws keys draws them
//! here: the simulation, the fuzzers, and the property tests of each crate.
//!
//! It does not know where choices come from: a function answers a number below a
//! bound, from a seed's dice, a fuzzer's bytes or the words of a property test.

use crate::MAX_KEY_LEN;

/// A source of choices: a number below the bound, which is not 0.
pub type Below<'c> = &'c mut dyn FnMut(u64) -> u64;

/// Keys that belong into every pool.
pub const FIXED: [&[u8]; 18] = [
    b"\0",
    b"\0\0",
    b"\0\0\0\0\0\0\0\0",
    b"\0\0\0\0\0\0\0\0\0",
    b"\xff",
    b"\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"a",
    b"a\0",
    b"a\0\0",
    b"a\0\0\0\0\0\0\0",
    b"a\0\0\0\0\0\0\0\0",
    b"a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"a\xff",
    b"aa",
    b"aaaaaaaaaaaaaaaa",
    b"b",
];

/// What keys begin with that go on in zeros.
const STEMS: [&[u8]; 6] = [b"", b"a", b"k/1", b"1234567", b"12345678", b"123456789abcdef"];

/// What keys begin with that differ behind their first bytes.
const SHARED: &[u8; 64] = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// So many first bytes are what something compares as a number, or keeps once.
const HEADS: [usize; 5] = [8, 12, 16, 32, 64];

/// Bytes at which comparisons go wrong.
const BYTES: [u8; 4] = [0, 1, b'a', 0xff];

fn pick<'t, T: ?Sized>(below: Below<'_>, of: &[&'t T]) -> &'t T {
    of[below(of.len() as u64) as usize]
}

fn few_bytes(below: Below<'_>, len: u64) -> Vec<u8> {
    (0..len).map(|_| BYTES[below(BYTES.len() as u64) as usize]).collect()
}

/// A key of at most a few hundred bytes; never the empty one.
pub fn key(below: Below<'_>) -> Vec<u8> {
    let n = below(1000);
    let small = n as usize;
    match below(11) {
        0 => n.to_be_bytes().to_vec(),
        1 => format!("user:{n:03}").into_bytes(),
        2 => format!("a common prefix that is longer than any head/{n}").into_bytes(),
        3 => vec![b'a'; 1 + small % 40],
        4 => [vec![b'x'; 300], n.to_string().into_bytes()].concat(),
        5 => (0..=n % 8).map(|_| below(256) as u8).collect(),
        6 => [vec![0xff; small % 12], vec![n as u8]].concat(),
        7 => few_bytes(below, 1 + n % 6),
        8 => {
            let stem = pick(below, &STEMS);
            let zeros = small % 21;
            [stem, &vec![0; zeros.max(1 - stem.len().min(1))]].concat()
        }
        9 => {
            let stem = pick(below, &STEMS);
            [stem, &vec![0; small % 21], &few_bytes(below, 1)].concat()
        }
        _ => {
            let head = HEADS[below(HEADS.len() as u64) as usize];
            [&SHARED[..head], &few_bytes(below, n % 4)].concat()
        }
    }
}

/// A key of the greatest length, or one byte less; they differ at their ends alone.
pub fn longest(below: Below<'_>) -> Vec<u8> {
    let mut key = vec![b'k'; MAX_KEY_LEN - below(2) as usize];
    *key.last_mut().expect("it is long") = BYTES[below(BYTES.len() as u64) as usize];
    key
}

/// The fixed keys and about `count` more, many of them in pairs; a pair of the
/// greatest length in three pools of ten.
pub fn pool(below: Below<'_>, count: usize) -> Vec<Vec<u8>> {
    let mut pool: Vec<Vec<u8>> = FIXED.map(<[u8]>::to_vec).to_vec();
    let full = pool.len() + count;
    while pool.len() < full {
        let mut key = key(below);
        pool.push(key.clone());
        if below(3) == 0 {
            beside(below, &mut key);
            pool.push(key);
        }
    }
    if below(10) < 3 {
        pool.extend([longest(below), longest(below)]);
    }
    pool
}

/// Makes a key that lies just beside: no reader may take the one for the other.
pub fn beside(below: Below<'_>, key: &mut Vec<u8>) {
    match below(6) {
        0 if key.len() < MAX_KEY_LEN => key.push(0),
        1 if key.len() > 1 => drop(key.pop()),
        2 => *key.last_mut().expect("no key is empty") ^= 1,
        // Zeros up to the end of a head, or behind it.
        3 if key.len() < 64 => {
            let head = HEADS[below(HEADS.len() as u64) as usize] + below(2) as usize;
            key.resize(head.max(key.len() + 1), 0);
        }
        4 => {
            while key.len() > 1 && key.last() == Some(&0) {
                key.pop();
            }
        }
        _ => key[0] = key[0].wrapping_add(1),
    }
}

/// The key that the words of a property test describe, which shrink as they do. One
/// in sixteen is of the greatest length.
pub fn of_words(words: &[u64]) -> Vec<u8> {
    let mut words = words.iter();
    let mut below = |bound| words.next().map_or(0, |word| word % bound);
    if below(16) == 15 { longest(&mut below) } else { key(&mut below) }
}

/// Words enough for any key of [`of_words`].
pub const WORDS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn splitmix(mut state: u64) -> impl FnMut(u64) -> u64 {
        move |bound| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed ^ (mixed >> 27)) % bound
        }
    }

    /// The first `head` bytes, with zeros for those that are missing.
    fn padded(key: &[u8], head: usize) -> Vec<u8> {
        (0..head).map(|i| key.get(i).copied().unwrap_or(0)).collect()
    }

    #[test]
    fn a_pool_has_keys_that_only_their_lengths_or_later_bytes_tell_apart() {
        for seed in 0..50 {
            let mut below = splitmix(seed);
            let keys = BTreeSet::from_iter(pool(&mut below, 20));
            assert!(keys.iter().all(|key| (1..=MAX_KEY_LEN).contains(&key.len())));
            for head in [8, 16] {
                let same = |(a, b): (&Vec<u8>, &Vec<u8>)| padded(a, head) == padded(b, head);
                let short = |(a, b): &(&Vec<u8>, &Vec<u8>)| a.len().max(b.len()) <= head;
                let pairs = || keys.iter().zip(keys.iter().skip(1));
                assert!(pairs().filter(short).any(same), "{head}: zeros behind a short key");
                assert!(pairs().any(|p| !short(&p) && same(p)), "{head}: bytes behind the head");
            }
        }
    }

    #[test]
    fn every_kind_of_key_is_drawn_and_what_lies_beside_is_another_or_the_same() {
        let mut below = splitmix(1);
        let (mut lengths, mut moved) = (BTreeSet::new(), 0);
        for _ in 0..4_000 {
            let drawn = key(&mut below);
            let mut other = drawn.clone();
            beside(&mut below, &mut other);
            assert!(!other.is_empty() && other.len() <= MAX_KEY_LEN);
            moved += u32::from(other != drawn);
            lengths.insert(drawn.len());
        }
        for length in [1, 7, 8, 9, 12, 15, 16, 17, 32, 64, 66, 303] {
            assert!(lengths.contains(&length), "no key of {length} bytes");
        }
        assert!(moved > 2_400, "{moved} of 4000");
        for seed in 0..200 {
            let mut below = splitmix(seed);
            let words: Vec<u64> = (0..WORDS).map(|_| below(u64::MAX)).collect();
            assert!(!of_words(&words).is_empty());
        }
        assert!(!of_words(&[]).is_empty());
    }
}
