//! Which keys a MemTable does not hold: a Bloom filter that is filled as it is.
//!
//! While writers are ahead of the flush, a get asks several MemTables for a key that
//! at most one of them has. A "no" from here is one load; one from the tree is a way
//! down of half a dozen cache misses (docs/decisions/0001-memtable.md).
//!
//! Every key lies in one word, so that adding it is a load and a store; the word is
//! chosen by the high half of the key's hash, four of its bits by the low half.

use std::sync::atomic::Ordering::Relaxed;
use tanada_vfs::sync::unchecked::AtomicU64;
use tanada_vfs::sync::{Mutex, OnceLock};

/// Keys until a filter is made: few are found as fast without.
pub(super) const FIRST_KEYS: usize = 512;
/// Of the bytes that a MemTable is filled with, this part goes to its filter: ten bits
/// a key where keys and values take 100 bytes, and less use where they take less.
const PART: usize = 128;
const LEAST_WORDS: usize = 1 << 10;

/// What adding a key did beside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    /// Nothing.
    Only,
    /// It made the filter, which takes memory from now on.
    WithAFilter,
}

/// A filter of keys, by their [`tanada_format::hash_key`]. One adds, any number ask.
pub(super) struct KeyFilter {
    /// Set once: with [`FIRST_KEYS`] keys. Relaxed words: who knows of a write by its
    /// seqno, which is stored with Release after the key was added, sees its bits.
    words: OnceLock<Box<[AtomicU64]>>,
    count: usize,
    /// The keys before that. Held by who adds, alone; no other lock is taken under it.
    first: Mutex<Vec<u64>>,
}

impl KeyFilter {
    /// An empty one of a MemTable that will take `bytes`.
    pub(super) fn new(bytes: usize) -> KeyFilter {
        let count = KeyFilter::bytes_for(bytes) / size_of::<u64>();
        KeyFilter { words: OnceLock::new(), count, first: Mutex::default() }
    }

    /// Bytes behind that of a MemTable that will take `bytes`, once it is made.
    pub(super) fn bytes_for(bytes: usize) -> usize {
        (bytes / PART / size_of::<u64>()).max(LEAST_WORDS) * size_of::<u64>()
    }

    /// Bytes of memory behind this structure.
    pub(super) fn heap_bytes(&self) -> usize {
        self.words.get().map_or(0, |words| size_of_val(&**words))
    }

    /// Adds a key. One thread at a time: of two, one could undo the other's.
    #[inline]
    pub(super) fn add(&self, hash: u64) -> Added {
        match self.words.get() {
            Some(words) => {
                set(words, hash);
                Added::Only
            }
            None => self.add_early(hash),
        }
    }

    #[cold]
    fn add_early(&self, hash: u64) -> Added {
        let mut first = self.first.lock();
        first.push(hash);
        if first.len() == FIRST_KEYS {
            let words: Box<[_]> = (0..self.count).map(|_| AtomicU64::new(0)).collect();
            std::mem::take(&mut *first).into_iter().for_each(|hash| set(&words, hash));
            let fresh = self.words.set(words);
            assert!(fresh.is_ok(), "the filter is made once, under the lock");
            return Added::WithAFilter;
        }
        Added::Only
    }

    /// `false` means that no key with this hash was added by a write that the caller
    /// knows of. One load of a line.
    #[inline]
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        self.words.get().is_none_or(|words| {
            let (at, bits) = place(hash, words.len());
            words[at].load(Relaxed) & bits == bits
        })
    }
}

#[inline]
fn set(words: &[AtomicU64], hash: u64) {
    let (at, bits) = place(hash, words.len());
    let before = words[at].load(Relaxed);
    words[at].store(before | bits, Relaxed);
}

/// The word of a key, and its bits in it.
#[inline]
fn place(hash: u64, words: usize) -> (usize, u64) {
    let bit = |n: u32| 1 << (hash >> (6 * n) & 63);
    ((((hash >> 32) * words as u64) >> 32) as usize, bit(0) | bit(1) | bit(2) | bit(3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tanada_format::hash_key;

    #[test]
    fn what_was_added_is_always_known_and_little_else_is() {
        let filter = KeyFilter::new(2 << 20);
        let hash = |n: u64| hash_key(&n.to_le_bytes());
        let keys = if cfg!(miri) { 1_000 } else { 13_000 };
        for n in 0..keys {
            assert!(n >= FIRST_KEYS as u64 || filter.heap_bytes() == 0);
            filter.add(hash(n));
            assert!(filter.may_hold(hash(n)));
        }
        assert_eq!(filter.heap_bytes(), (2 << 20) / PART);
        assert!((0..keys).all(|n| filter.may_hold(hash(n))));
        let wrong = (keys..2 * keys).filter(|&n| filter.may_hold(hash(n))).count() as u64;
        assert!(wrong < keys / 20, "{wrong} of {keys}");
    }

    #[test]
    fn who_sees_a_write_published_sees_its_bits() {
        let keys = if cfg!(miri) { 1_500 } else { 100_000 };
        let (filter, published) = (KeyFilter::new(1 << 20), AtomicU64::new(0));
        let hash = |n: u64| hash_key(&n.to_le_bytes());
        let ended = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _ended = crate::patience::SetAtEnd(&ended);
            let reader = scope.spawn(|| {
                loop {
                    let known = published.load(std::sync::atomic::Ordering::Acquire);
                    for n in (0..known).rev().take(100) {
                        assert!(filter.may_hold(hash(n)));
                    }
                    if known == keys || ended.load(std::sync::atomic::Ordering::Acquire) {
                        return;
                    }
                }
            });
            for n in 0..keys {
                filter.add(hash(n));
                published.store(n + 1, std::sync::atomic::Ordering::Release);
            }
            reader.join().expect("a panic ends the test");
        });
    }
}
