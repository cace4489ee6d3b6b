//! A multipart upload of one object.
//!
//! Parts go one after the other; whoever wants several in flight uploads several objects. A
//! part is sent once: the library numbers parts as they come, so a second try would be
//! another part. An upload that fails is begun anew.

use super::Bucket;
use crate::name::ObjectName;
use crate::store::{Class, Failure, Operation, Upload, Version};
use bytes::Bytes;

/// An upload that has begun. Dropped without [`Uploading::finish`] it leaves parts that cost
/// money until a lifecycle rule of the bucket aborts them.
#[derive(Debug)]
pub struct Uploading {
    bucket: Bucket,
    name: ObjectName,
    inner: Box<dyn Upload>,
    len: u64,
}

impl Uploading {
    pub(super) fn new(bucket: Bucket, name: ObjectName, inner: Box<dyn Upload>) -> Uploading {
        Uploading { bucket, name, inner, len: 0 }
    }

    /// Adds a part. All but the last have the same length, 5 MiB or more. One PUT.
    ///
    /// # Errors
    ///
    /// Any class: give the upload up and begin anew.
    pub async fn part(&mut self, bytes: Bytes) -> Result<(), Failure> {
        self.len += bytes.len() as u64;
        let began = self.bucket.timer().now();
        let sent = bytes.len() as u64;
        let result = self.inner.part(bytes).await;
        self.note(&result.as_ref().err().map(|f| f.class), sent, began);
        result
    }

    /// Makes the object of its parts. One POST, and a HEAD when the answer was not clear.
    ///
    /// Whether the object was there before is asked where the store can do that. Names of
    /// the protocol are given once, so this only guards against mistakes.
    ///
    /// # Errors
    ///
    /// [`Class::Lost`]: there is another object of that name. [`Class::Unknown`]: upload it
    /// again under another name.
    pub async fn finish(mut self) -> Result<Version, Failure> {
        let began = self.bucket.timer().now();
        let result = self.inner.complete().await;
        self.note(&result.as_ref().err().map(|f| f.class), 0, began);
        match result {
            Err(failure) if failure.class == Class::Unknown => {
                // Names are given once, so an object of this length is this one.
                match self.bucket.head(&self.name).await? {
                    Some(meta) if meta.len == self.len => Ok(meta.version),
                    _ => Err(failure),
                }
            }
            result => result,
        }
    }

    /// Gives it up, and frees its parts. One DELETE.
    ///
    /// # Errors
    ///
    /// The store did not answer: a lifecycle rule will free them.
    pub async fn abort(mut self) -> Result<(), Failure> {
        let began = self.bucket.timer().now();
        let result = self.inner.abort().await;
        self.note(&result.as_ref().err().map(|f| f.class), 0, began);
        result
    }

    fn note(&self, failed: &Option<Class>, sent: u64, began: std::time::Duration) {
        let took = self.bucket.timer().now().saturating_sub(began);
        self.bucket.note(Operation::Upload, *failed, (sent, 0), took, 1);
    }
}
