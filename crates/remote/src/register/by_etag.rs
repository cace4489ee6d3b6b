//! A register that is one object, replaced by `If-Match`.
//!
//! One GET reads it, and a conditional GET sees that nothing has changed. It is never
//! deleted: a version whose ETag is gone stays gone.

use super::{Held, Looked, Register, RegisterVersion, Swap};
use crate::bucket::{Bucket, Put};
use crate::name::{ObjectName, RegisterName};
use crate::store::{Failure, Fetched, Version};
use async_trait::async_trait;
use bytes::Bytes;

/// One object and `If-Match`.
#[derive(Debug)]
pub struct ByEtag {
    bucket: Bucket,
    name: ObjectName,
}

impl ByEtag {
    /// The register of that name.
    pub fn new(bucket: Bucket, name: RegisterName) -> ByEtag {
        ByEtag { bucket, name: ObjectName::Register(name) }
    }
}

fn version(version: Version) -> RegisterVersion {
    RegisterVersion { version, number: 0 }
}

#[async_trait]
impl Register for ByEtag {
    fn path(&self) -> String {
        self.bucket.path(&self.name)
    }

    async fn look(&self, unless: Option<&RegisterVersion>) -> Result<Looked, Failure> {
        let fetched = match unless {
            Some(known) => self.bucket.get_if_changed(&self.name, &known.version).await?,
            None => self.bucket.get(&self.name).await?.map_or(Fetched::Absent, Fetched::Object),
        };
        Ok(match fetched {
            Fetched::Absent => Looked::Absent,
            Fetched::Unchanged => Looked::Unchanged,
            Fetched::Object(object) => {
                Looked::Held(Held { version: version(object.version), bytes: object.bytes })
            }
        })
    }

    async fn swap(&self, from: Option<&RegisterVersion>, bytes: Bytes) -> Result<Swap, Failure> {
        let put = match from {
            Some(from) => self.bucket.swap(&self.name, &from.version, bytes).await?,
            None => self.bucket.create(&self.name, bytes).await?,
        };
        Ok(match put {
            Put::Applied(new) => Swap::Won(version(new)),
            Put::Lost => Swap::Lost,
            Put::Unknown(failure) => Swap::Unknown(failure),
        })
    }
}
