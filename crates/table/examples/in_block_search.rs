//! Measures ways of finding a key in a decompressed 4 KiB data block; the
//! figures of `docs/decisions/0004-in-block-search.md`.
//!
//! `cargo run --release -p tanada-table --example in_block_search`
//!
//! Each layout is built here, without the library: a block is a list of
//! entries `tag, seqno, suffix length, value length, suffix, value` behind an
//! array of their offsets and what the layout adds. All strip the prefix that
//! the block's keys share. Processor time, which a busy machine disturbs less;
//! the best of six rounds, taken in turns.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Duration;
use tanada_format::hash_key;

const BLOCK: usize = 4096;
const VALUE: usize = 100;
const ENTRY_HEADER: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Layout {
    /// Offsets only: a binary search that reads the key of each entry it meets.
    Derefs,
    /// The first 4 bytes of each suffix in an array, halved without branches.
    Heads32Halved,
    /// The same, counting all that are smaller.
    Heads32Counted,
    Heads64Halved,
    Heads64Counted,
    /// A byte for each of 4/3 buckets an entry: its number, or "several".
    HashIndex,
    /// A byte of each key's hash in an array, compared eight at a time.
    HashTags,
}

use Layout::*;
const LAYOUTS: [Layout; 7] =
    [Derefs, Heads32Halved, Heads32Counted, Heads64Halved, Heads64Counted, HashIndex, HashTags];

struct Block {
    bytes: Vec<u8>,
    count: usize,
    prefix: usize,
    offsets: usize,
    buckets: usize,
    prefix_at: usize,
}

const EMPTY: u8 = 255;
const SEVERAL: u8 = 254;

fn head<const N: usize>(suffix: &[u8]) -> [u8; N] {
    match suffix.first_chunk() {
        Some(head) => *head,
        // Byte by byte: a copy of unknown length is a call, and its result is
        // read before it has left the store buffer.
        None => std::array::from_fn(|i| suffix.get(i).copied().unwrap_or(0)),
    }
}

impl Layout {
    fn head_len(self) -> usize {
        match self {
            Heads32Halved | Heads32Counted => 4,
            Heads64Halved | Heads64Counted => 8,
            _ => 0,
        }
    }

    fn build(self, keys: &[Vec<u8>], value: &[u8]) -> Block {
        let (first, last) = (&keys[0], &keys[keys.len() - 1]);
        let prefix = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        let mut bytes = vec![0; 8];
        for key in keys {
            match self.head_len() {
                4 => bytes.extend(u32::from_be_bytes(head(&key[prefix..])).to_le_bytes()),
                8 => bytes.extend(u64::from_be_bytes(head(&key[prefix..])).to_le_bytes()),
                _ => {}
            }
        }
        let mut buckets = 0;
        match self {
            HashIndex => {
                buckets = keys.len() * 4 / 3;
                let mut table = vec![EMPTY; buckets];
                for (i, key) in keys.iter().enumerate() {
                    let b = bucket(hash_key(key), buckets);
                    table[b] = if table[b] == EMPTY { i as u8 } else { SEVERAL };
                }
                bytes.extend(table);
            }
            HashTags => {
                bytes.extend(keys.iter().map(|k| hash_key(k) as u8));
                bytes.resize(8 + keys.len().next_multiple_of(8), 0);
            }
            _ => {}
        }
        let offsets = bytes.len();
        bytes.resize(offsets + keys.len() * 2, 0);
        let prefix_at = bytes.len();
        bytes.extend(&first[..prefix]);
        for (i, key) in keys.iter().enumerate() {
            let at = (bytes.len() as u16).to_le_bytes();
            bytes[offsets + 2 * i..offsets + 2 * i + 2].copy_from_slice(&at);
            let suffix = &key[prefix..];
            bytes.extend([1, 0x85, 0x92, 0x11, suffix.len() as u8, value.len() as u8]);
            bytes.extend(suffix.get(self.head_len()..).unwrap_or_default());
            bytes.extend(value);
        }
        Block { bytes, count: keys.len(), prefix, offsets, buckets, prefix_at }
    }

    /// As many keys from the front of `keys` as fit.
    fn fill(self, keys: &[Vec<u8>], value: &[u8]) -> Block {
        let mut count = BLOCK / (value.len() + ENTRY_HEADER);
        while self.build(&keys[..count], value).bytes.len() > BLOCK {
            count -= 1;
        }
        self.build(&keys[..count], value)
    }
}

fn bucket(hash: u64, buckets: usize) -> usize {
    ((u64::from((hash >> 8) as u32) * buckets as u64) >> 32) as usize
}

impl Block {
    /// The entry's suffix behind its head, and its value.
    #[inline(always)]
    fn entry(&self, i: usize, head_len: usize) -> (&[u8], &[u8]) {
        let o = self.offsets + 2 * i;
        let at = usize::from(u16::from_le_bytes(self.bytes[o..o + 2].try_into().unwrap()));
        let entry = &self.bytes[at..];
        // The seqno is a varint of three bytes here, read as one.
        let mut p = 1;
        while entry[p] >= 0x80 {
            p += 1;
        }
        let suffix_len = usize::from(entry[p + 1]).saturating_sub(head_len);
        let value_len = usize::from(entry[p + 2]);
        let rest = &entry[p + 3..];
        (&rest[..suffix_len], &rest[suffix_len..suffix_len + value_len])
    }

    #[inline(always)]
    fn suffix<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        let prefix = &self.bytes[self.prefix_at..self.prefix_at + self.prefix];
        key.strip_prefix(prefix)
    }

    #[inline(always)]
    fn by_derefs(&self, suffix: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = (low + high) / 2;
            if self.entry(middle, 0).0 < suffix { low = middle + 1 } else { high = middle }
        }
        low
    }

    #[inline(always)]
    fn rank32(&self, suffix: &[u8], counted: bool) -> usize {
        let heads = self.bytes[8..8 + 4 * self.count].as_chunks::<4>().0;
        let head = u32::from_be_bytes(head(suffix));
        if counted {
            heads.iter().map(|h| u32::from(u32::from_le_bytes(*h) < head)).sum::<u32>() as usize
        } else {
            halve(heads, |h| u32::from_le_bytes(*h) < head)
        }
    }

    #[inline(always)]
    fn rank64(&self, suffix: &[u8], counted: bool) -> usize {
        let heads = self.bytes[8..8 + 8 * self.count].as_chunks::<8>().0;
        let head = u64::from_be_bytes(head(suffix));
        if counted {
            heads.iter().map(|h| u64::from(u64::from_le_bytes(*h) < head)).sum::<u64>() as usize
        } else {
            halve(heads, |h| u64::from_le_bytes(*h) < head)
        }
    }

    /// Slot of the first entry at or after the key, or where heads are the same
    /// the first of these.
    #[inline(always)]
    fn seek(&self, layout: Layout, suffix: &[u8]) -> usize {
        match layout {
            Heads32Halved => self.rank32(suffix, false),
            Heads32Counted => self.rank32(suffix, true),
            Heads64Halved => self.rank64(suffix, false),
            Heads64Counted => self.rank64(suffix, true),
            _ => self.by_derefs(suffix),
        }
    }

    #[inline(always)]
    fn get(&self, layout: Layout, key: &[u8], hash: u64) -> Option<&[u8]> {
        let suffix = self.suffix(key)?;
        let head_len = layout.head_len();
        let slot = match layout {
            HashIndex => match self.bytes[8 + bucket(hash, self.buckets)] {
                EMPTY => return None,
                SEVERAL => self.by_derefs(suffix),
                slot => usize::from(slot),
            },
            HashTags => return self.by_tags(suffix, hash as u8),
            _ => self.seek(layout, suffix),
        };
        // Nearly always one round: a second one where two heads are the same.
        for slot in slot..self.count {
            let (rest, value) = self.entry(slot, head_len);
            // (Not `get(..).unwrap_or_default()`: comparing with an empty slice
            // that points nowhere costs 60 ns in libc's masked loads.)
            if rest == &suffix[head_len.min(suffix.len())..] {
                return Some(value);
            }
            if head_len == 0 {
                break;
            }
        }
        None
    }

    #[inline(always)]
    fn by_tags(&self, suffix: &[u8], tag: u8) -> Option<&[u8]> {
        const ONES: u64 = u64::MAX / 255;
        let words = self.bytes[8..self.offsets].as_chunks::<8>().0;
        for (w, word) in words.iter().enumerate() {
            let x = u64::from_le_bytes(*word) ^ (u64::from(tag) * ONES);
            let mut zeros = x.wrapping_sub(ONES) & !x & (ONES << 7);
            while zeros != 0 {
                let i = 8 * w + (zeros.trailing_zeros() / 8) as usize;
                zeros &= zeros - 1;
                if i < self.count {
                    let (rest, value) = self.entry(i, 0);
                    if rest == suffix {
                        return Some(value);
                    }
                }
            }
        }
        None
    }
}

#[inline(always)]
fn halve<T>(heads: &[T], below: impl Fn(&T) -> bool) -> usize {
    let (mut start, mut len) = (0, heads.len());
    while len > 1 {
        let half = len / 2;
        start += if below(&heads[start + half - 1]) { half } else { 0 };
        len -= half;
    }
    start + usize::from(len == 1 && below(&heads[start]))
}

/// Processor time of this process.
fn now() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    hash_key(&state.to_le_bytes())
}

fn keys(kind: &str, count: usize) -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = (0..count as u64)
        .map(|i| match kind {
            "16 random bytes" => {
                let hash = hash_key(&i.to_le_bytes());
                [hash.to_be_bytes(), hash.rotate_left(17).to_be_bytes()].concat()
            }
            "16 digits" => format!("{:016}", i * 7).into_bytes(),
            _ => format!("user:{i:06}").into_bytes(),
        })
        .collect();
    keys.sort();
    keys
}

/// Nanoseconds of one get and of one seek.
#[inline(never)]
fn time(layout: Layout, blocks: &[Block], keys: &[Vec<Vec<u8>>], count: usize) -> (f64, f64) {
    // What is asked is drawn beforehand, keys and hashes in one array, so that
    // only the block is cold.
    let mut state = 1;
    let asked: Vec<(u32, [u8; 16], u8, u64)> = (0..count)
        .map(|_| {
            let b = random(&mut state) as usize % blocks.len();
            let key = &keys[b][random(&mut state) as usize % blocks[b].count];
            (b as u32, head(key), key.len() as u8, hash_key(key))
        })
        .collect();
    let start = now();
    let mut sum = 0u64;
    for (b, key, len, hash) in &asked {
        let key = &key[..usize::from(*len)];
        // The next lookup waits for this one, as a caller's does.
        let b = *b as usize + (sum >> 63) as usize;
        let value = blocks[b].get(layout, key, *hash).expect("each key asked for is there");
        sum = (sum + u64::from(value[0])) & (u64::MAX >> 1);
    }
    let get = now() - start;
    let start = now();
    for (b, key, len, _) in &asked {
        let key = &key[..usize::from(*len)];
        let block = &blocks[*b as usize + (sum >> 63) as usize];
        let suffix = block.suffix(key).unwrap();
        let slot = block.seek(layout, suffix);
        sum = (sum + u64::from(block.entry(slot, layout.head_len()).1[0])) & (u64::MAX >> 1);
    }
    let seek = now() - start;
    black_box(sum);
    (get.as_nanos() as f64 / count as f64, seek.as_nanos() as f64 / count as f64)
}

fn main() {
    let hot_only = std::env::args().nth(1).is_some_and(|a| a == "hot");
    let value = [7; VALUE];
    for kind in ["16 random bytes", "16 digits", "user:000123"] {
        for (name, count) in [("hot, 8 blocks", 8), ("cold, 256 MiB", 65_536)] {
            if hot_only && count > 8 {
                continue;
            }
            println!("\n{kind}; {name}");
            println!("{:16} {:>8} {:>8} {:>14}", "layout", "get ns", "seek ns", "bytes an entry");
            let all = keys(kind, count * 42);
            let mut rows = vec![(f64::MAX, f64::MAX, 0.0); LAYOUTS.len()];
            for _ in 0..2 {
                for (layout, row) in LAYOUTS.iter().zip(&mut rows) {
                    let mut blocks = Vec::new();
                    let mut asked = Vec::new();
                    let mut rest = &all[..];
                    while blocks.len() < count && rest.len() >= 42 {
                        let block = layout.fill(rest, &value);
                        asked.push(rest[..block.count].to_vec());
                        rest = &rest[block.count..];
                        blocks.push(block);
                    }
                    let bytes: usize = blocks.iter().map(|b| b.bytes.len()).sum();
                    let entries: usize = blocks.iter().map(|b| b.count).sum();
                    for _ in 0..3 {
                        let (get, seek) = time(*layout, &blocks, &asked, 300_000);
                        *row = (row.0.min(get), row.1.min(seek), bytes as f64 / entries as f64);
                    }
                }
            }
            for (layout, (get, seek, bytes)) in LAYOUTS.iter().zip(rows) {
                let layout = format!("{layout:?}");
                println!("{layout:16} {get:8.1} {seek:8.1} {bytes:14.1}");
            }
        }
    }
}
