//! One number for everything that happened, in order: equal numbers, equal runs.

use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// A running hash. Clones add to the same one.
#[derive(Clone)]
pub struct Digest(Arc<Mutex<Xxh3>>);

impl Default for Digest {
    fn default() -> Digest {
        Digest(Arc::new(Mutex::new(Xxh3::new())))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({:016x})", self.value())
    }
}

impl Digest {
    /// Adds a number.
    pub fn number(&self, number: u64) {
        self.0.lock().update(&number.to_le_bytes());
    }

    /// Adds bytes, with their length: two notes never look like one.
    pub fn bytes(&self, bytes: &[u8]) {
        let mut hash = self.0.lock();
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }

    /// Adds bytes that may be absent.
    pub fn maybe(&self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bytes(bytes),
            None => self.number(u64::MAX),
        }
    }

    /// The hash of all that was added.
    pub fn value(&self) -> u64 {
        self.0.lock().digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_borders_count() {
        let of = |notes: &[&str]| {
            let digest = Digest::default();
            notes.iter().for_each(|note| digest.bytes(note.as_bytes()));
            digest.value()
        };
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["a", "b"]), of(&["b", "a"]));
        assert_ne!(of(&["ab"]), of(&["a", "b"]));
    }
}
