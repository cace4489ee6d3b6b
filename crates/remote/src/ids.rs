//! Epochs, nonces, places of the log, and hashes of objects.
//!
//! Words of the protocol that stand in names and in bytes alike. Knows of no store.

use sha2::{Digest, Sha256};
use std::fmt;
use tanada_vfs::Random;

/// How many writers have owned the database, this one counted: the first has 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// 128 random bits that name one opening of the database by one process.
///
/// A process that opens again is a new writer and draws a new nonce.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nonce(pub [u8; 16]);

impl Nonce {
    /// A new one.
    pub fn draw(random: &dyn Random) -> Nonce {
        let mut bytes = [0; 16];
        random.fill(&mut bytes);
        Nonce(bytes)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A place of the log: `wal/<epoch>/<index>`. It is filled once, and keeps its bytes for
/// as long as anybody may need them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Place {
    /// Whose place it is: only the owner of this epoch stores a chunk here.
    pub epoch: Epoch,
    /// 0, 1, 2 … without a gap.
    pub index: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wal/{:016x}/{:016x}", self.epoch.0, self.index)
    }
}

/// SHA-256 of an object's bytes, header and payload.
///
/// SHA-256 rather than a faster hash: with `sha256sum` anybody can check the chain, and a
/// chunk is hashed many times faster than it is sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ObjectHash(pub [u8; 32]);

impl ObjectHash {
    /// Before the first object of a database's chain.
    pub const START: ObjectHash = ObjectHash([0; 32]);

    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> ObjectHash {
        ObjectHash(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for ObjectHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_an_object_is_what_sha256sum_says() {
        let hash = ObjectHash::of(b"abc").to_string();
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
