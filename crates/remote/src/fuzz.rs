//! What fuzzers call: everything that is read from a bucket, from any bytes.
//!
//! Compiled for fuzzers (feature `fuzzing`, see `fuzz/`) and for tests. Panics when a rule
//! is broken, and else says nothing.

use crate::codec::{DeadList, Job, Lease, LogObject, Manifest};
use crate::name::ObjectName;
use bytes::Bytes;

/// Every object of the bucket, and every name. What is read is read again from its own bytes.
pub fn bucket_objects(data: &[u8]) {
    if let Ok(manifest) = Manifest::decode(data) {
        let again = manifest.encode().expect("what was read can be written");
        assert_eq!(Manifest::decode(&again), Ok(manifest));
    }
    if let Ok(dead) = DeadList::decode(data) {
        let again = dead.encode().expect("what was read can be written");
        assert_eq!(DeadList::decode(&again), Ok(dead));
    }
    if let Ok(lease) = Lease::decode(data) {
        let again = lease.encode().expect("what was read can be written");
        assert_eq!(Lease::decode(&again), Ok(lease));
    }
    if let Ok(job) = Job::decode(data) {
        let again = job.encode().expect("what was read can be written");
        assert_eq!(Job::decode(&again), Ok(job));
    }
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(object) = LogObject::decode(&bytes) {
        // Optional features alone are not kept.
        assert_eq!(LogObject::decode(&object.encode()), Ok(object));
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(name) = ObjectName::parse(text)
    {
        assert_eq!(name.to_string(), text, "a name has one spelling");
    }
}
