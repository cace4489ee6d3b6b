//! Creating an object with exactly these bytes, whatever becomes of single requests.
//!
//! A name is bound to its bytes at the first send. When no answer came, or another request
//! came first, the object is read: one's own bytes mean that it happened; other bytes make
//! every request that is still on its way fail for ever; nothing there means to send *the
//! same bytes* again, so that it does not matter which try is applied.

use super::backoff::Backoff;
use super::{Bucket, Put};
use crate::name::ObjectName;
use crate::store::{Class, Failure, Object, Version};
use bytes::Bytes;
use tanada_format::planted;

/// Whose bytes an object holds after [`Bucket::create_exactly`].
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    /// Those that were to be stored.
    Mine(Version),
    /// Others. They were there first, and no request of this caller will be applied.
    Taken(Object),
}

impl Bucket {
    /// Creates an object with exactly these bytes. One PUT; a GET of the object, and perhaps
    /// another PUT, only when the answer was not clear.
    ///
    /// The bytes must be ones that nobody else stores under this name: they hold a nonce.
    ///
    /// # Errors
    ///
    /// With [`Class::Unknown`] nobody knows yet: call it again with the same bytes, and never
    /// with others. Of other classes, too, an earlier try may have been applied.
    pub async fn create_exactly(
        &self,
        name: &ObjectName,
        bytes: Bytes,
    ) -> Result<Created, Failure> {
        let mut backoff = Backoff::new(self.tries(), self.timer());
        loop {
            let last = match self.create(name, bytes.clone()).await? {
                Put::Applied(version) => return Ok(Created::Mine(version)),
                Put::Lost => None,
                Put::Unknown(_) if planted!(a_lost_answer_counts_as_stored) => {
                    return Ok(Created::Mine(Version::default()));
                }
                Put::Unknown(failure) => Some(failure),
            };
            match self.get(name).await {
                Ok(Some(object))
                    if object.bytes == bytes && !planted!(put_retried_after_timeout) =>
                {
                    return Ok(Created::Mine(object.version));
                }
                Ok(Some(object)) => return Ok(Created::Taken(object)),
                // It has not arrived, or what had the name was deleted since.
                Ok(None) => {}
                Err(failure) => return Err(failure.of_class(Class::Unknown)),
            }
            match backoff.next(self.timer(), self.random()) {
                Some(wait) => self.shared.timer.sleep(wait).await,
                None => {
                    let path = self.path(name);
                    let missing = "it was there before, and is not there now";
                    let again = Failure::new(
                        Class::Unknown,
                        crate::store::Operation::Create,
                        path,
                        missing,
                    );
                    return Err(last.unwrap_or(again));
                }
            }
        }
    }
}
