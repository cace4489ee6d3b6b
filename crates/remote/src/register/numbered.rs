//! A register of numbered objects, for stores that can create but not swap: `file://`.
//!
//! Version `n` is the object `<name>.<n>`, numbers have 16 digits and begin with 1, and a
//! swap of version `n` creates `n + 1`. No number is ever deleted: a number that was free
//! again could be created by a writer that slept, and there would be two owners. A number
//! that is superseded is overwritten with a stub instead, which is right at any later time,
//! since "superseded" cannot become false.
//!
//! `<name>.hint` says where to begin to look. It is advice: it may be old, or missing. From
//! there a reader gallops to the first number that is missing.
//!
//! A stub, 32 bytes, little-endian:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic, `TANADAST` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | zero |
//! | 16 | 8 | the number whose place it takes |
//! | 24 | 4 | zero |
//! | 28 | 4 | CRC-32C of bytes 0 to 28 |
//!
//! The hint has the same form with the magic `TANADAHI` and the number at which to begin.

use super::{Held, Looked, Register, RegisterVersion, Swap};
use crate::bucket::{Bucket, Put};
use crate::name::{ObjectName, RegisterName};
use crate::store::{Class, Failure, Operation, Version};
use async_trait::async_trait;
use bytes::Bytes;
use tanada_format::{crc32c, planted};

/// Length of a stub and of a hint, in bytes.
pub const STUB_LEN: usize = 32;

const STUB: &[u8; 8] = b"TANADAST";
const HINT: &[u8; 8] = b"TANADAHI";
const FORMAT: u32 = 1;
/// A hint is written after so many swaps: finding the newest takes few reads without one.
const SWAPS_PER_HINT: u64 = 16;
/// Reads at most in one search for the newest version: a gallop over 2^64 numbers takes 128,
/// and it starts again only when the register has moved on meanwhile.
const READS: u32 = 1024;

/// Numbered objects and create.
#[derive(Debug)]
pub struct NumberedObjects {
    bucket: Bucket,
    name: RegisterName,
}

fn mark(magic: &[u8; 8], number: u64) -> [u8; STUB_LEN] {
    let mut bytes = [0; STUB_LEN];
    bytes[0..8].copy_from_slice(magic);
    bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[16..24].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c(&bytes[..28]);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The number in a stub or hint; `None` when it is none.
fn marked(magic: &[u8; 8], bytes: &[u8]) -> Option<u64> {
    let number = u64::from_le_bytes(bytes.get(16..24)?.try_into().ok()?);
    (bytes == mark(magic, number)).then_some(number)
}

impl NumberedObjects {
    /// The register of that name.
    pub fn new(bucket: Bucket, name: RegisterName) -> NumberedObjects {
        NumberedObjects { bucket, name }
    }

    fn object(&self, number: u64) -> ObjectName {
        ObjectName::RegisterVersion(self.name, number)
    }

    async fn is_there(&self, number: u64) -> Result<bool, Failure> {
        Ok(self.bucket.head(&self.object(number)).await?.is_some())
    }

    async fn hint(&self) -> Result<u64, Failure> {
        let hint = self.bucket.get(&ObjectName::RegisterHint(self.name)).await?;
        Ok(hint.and_then(|object| marked(HINT, &object.bytes)).unwrap_or(1))
    }

    /// The newest number, at `from` or behind it; 0 when there is none.
    async fn newest(&self, from: u64) -> Result<u64, Failure> {
        if !self.is_there(from).await? {
            // No version yet, or a hint that is no hint of ours: numbers have no gaps.
            return if from <= 1 { Ok(0) } else { self.search(0, from).await };
        }
        let mut there = from;
        let mut step = 1;
        loop {
            let next = there.saturating_add(step);
            if self.is_there(next).await? {
                there = next;
                step = step.saturating_mul(2);
            } else {
                return self.search(there, next).await;
            }
        }
    }

    /// The last number that is there, between one that is (or 0) and one that is not.
    async fn search(&self, mut there: u64, mut missing: u64) -> Result<u64, Failure> {
        while missing - there > 1 {
            let middle = there + (missing - there) / 2;
            if self.is_there(middle).await? {
                there = middle;
            } else {
                missing = middle;
            }
        }
        Ok(there)
    }

    /// Overwrites the superseded numbers from `from` to the newest with stubs. Two requests
    /// for each that is not one yet; at most `limit` of them. Returns where to go on.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn collect(&self, from: u64, limit: usize) -> Result<u64, Failure> {
        let newest = self.newest(self.hint().await?).await?;
        let mut number = from.max(1);
        let mut written = 0;
        while number < newest && written < limit {
            let object = self.object(number);
            match self.bucket.head(&object).await? {
                _ if planted!(manifest_name_free_again_after_collection) => {
                    self.bucket.delete(&object).await?;
                }
                Some(meta) if meta.len == STUB_LEN as u64 => {}
                _ => {
                    self.bucket.put(&object, Bytes::copy_from_slice(&mark(STUB, number))).await?;
                    written += 1;
                }
            }
            number += 1;
        }
        Ok(number)
    }
}

#[async_trait]
impl Register for NumberedObjects {
    fn path(&self) -> String {
        self.bucket.path(&ObjectName::Register(self.name))
    }

    async fn look(&self, unless: Option<&RegisterVersion>) -> Result<Looked, Failure> {
        let mut from = match unless {
            Some(known) if !self.is_there(known.number + 1).await? => return Ok(Looked::Unchanged),
            Some(known) => known.number + 1,
            None => self.hint().await?,
        };
        for _ in 0..READS {
            let number = self.newest(from).await?;
            if number == 0 {
                return Ok(Looked::Absent);
            }
            let object = self.bucket.get(&self.object(number)).await?;
            match object {
                Some(object) if marked(STUB, &object.bytes) != Some(number) => {
                    let version = RegisterVersion { version: Version::default(), number };
                    return Ok(Looked::Held(Held { version, bytes: object.bytes }));
                }
                // Superseded since.
                Some(_) => from = number,
                None => {
                    let what = "a version is never deleted, and it is not there";
                    let path = self.bucket.path(&self.object(number));
                    return Err(Failure::new(Class::Damaged, Operation::Get, path, what));
                }
            }
        }
        let what = "it changes faster than it can be read";
        Err(Failure::new(Class::Busy, Operation::Get, self.path(), what))
    }

    async fn swap(&self, from: Option<&RegisterVersion>, bytes: Bytes) -> Result<Swap, Failure> {
        let number = from.map_or(0, |version| version.number) + 1;
        Ok(match self.bucket.create(&self.object(number), bytes).await? {
            Put::Applied(_) => {
                if number.is_multiple_of(SWAPS_PER_HINT) {
                    let hint = Bytes::copy_from_slice(&mark(HINT, number));
                    // Advice: readers find the newest without it.
                    let _ = self.bucket.put(&ObjectName::RegisterHint(self.name), hint).await;
                }
                Swap::Won(RegisterVersion { version: Version::default(), number })
            }
            Put::Lost => Swap::Lost,
            Put::Unknown(failure) => Swap::Unknown(failure),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stub_is_one_of_its_own_number_and_kind() {
        let bytes = mark(STUB, 7);
        assert_eq!(marked(STUB, &bytes), Some(7));
        assert_eq!(marked(HINT, &bytes), None);
        for at in 0..STUB_LEN {
            let mut damaged = bytes;
            damaged[at] ^= 1;
            assert_eq!(marked(STUB, &damaged), None, "byte {at}");
        }
        assert_eq!(marked(STUB, &bytes[..31]), None);
    }
}
