//! Any store of the `object_store` crate, seen through [`Store`].
//!
//! The library must be built to try nothing again by itself (see `address`): it sends a
//! conditional PUT a second time after a 5xx, and after a connection that was closed before
//! the answer, so that a request meets its own first try and reports a conflict.

use super::exchange::{Addition, Broken, Exchange, observe};
use super::{
    Abilities, Class, Condition, Failure, Fetched, Meta, Object, Operation, Part, Store, Upload,
    Version,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, PutResult, UpdateVersion,
};
use std::error::Error as _;
use std::fmt::Write as _;
use std::sync::Arc;
use tanada_format::planted;

/// A store of the `object_store` crate.
#[derive(Debug)]
pub struct ObjectStoreAdapter {
    inner: Arc<dyn ObjectStore>,
    abilities: Abilities,
}

impl ObjectStoreAdapter {
    /// Of a store that tries nothing again by itself.
    ///
    /// `conditional_delete` and `conditional_upload` are the connector's: of stores that
    /// [`super::open`] has not made they are false.
    pub fn new(inner: Arc<dyn ObjectStore>, abilities: Abilities) -> ObjectStoreAdapter {
        ObjectStoreAdapter { inner, abilities }
    }
}

fn meta_of(meta: ObjectMeta) -> Meta {
    Meta {
        path: meta.location.to_string(),
        len: meta.size,
        version: Version::new(meta.e_tag, meta.version),
    }
}

fn version_of(result: PutResult) -> Version {
    Version::new(result.e_tag, result.version)
}

#[async_trait]
impl Store for ObjectStoreAdapter {
    fn abilities(&self) -> Abilities {
        self.abilities
    }

    async fn get(
        &self,
        path: &str,
        part: &Part,
        unless: Option<&Version>,
    ) -> Result<Fetched, Failure> {
        let location = location(path, Operation::Get)?;
        let options = GetOptions {
            if_none_match: unless.and_then(|version| version.e_tag.clone()),
            range: match part {
                Part::Whole => None,
                Part::Range(range) => Some(GetRange::Bounded(range.clone())),
                Part::Last(bytes) => Some(GetRange::Suffix(*bytes)),
            },
            ..GetOptions::default()
        };
        let read = async {
            let result = self.inner.get_opts(&location, options).await?;
            let meta = result.meta.clone();
            Ok((result.bytes().await?, meta))
        };
        let (result, exchange) = observe(path, Addition::None, read).await;
        match result {
            Ok((bytes, meta)) => {
                let meta = meta_of(meta);
                Ok(Fetched::Object(Object { bytes, len: meta.len, version: meta.version }))
            }
            Err(Error::NotFound { .. }) => Ok(Fetched::Absent),
            Err(Error::NotModified { .. }) => Ok(Fetched::Unchanged),
            Err(error) => Err(failure(&error, Operation::Get, path, &exchange)),
        }
    }

    async fn head(&self, path: &str) -> Result<Option<Meta>, Failure> {
        let location = location(path, Operation::Head)?;
        match observe(path, Addition::None, self.inner.head(&location)).await {
            (Ok(meta), _) => Ok(Some(meta_of(meta))),
            (Err(Error::NotFound { .. }), _) => Ok(None),
            (Err(error), exchange) => Err(failure(&error, Operation::Head, path, &exchange)),
        }
    }

    async fn put(
        &self,
        path: &str,
        bytes: Bytes,
        condition: &Condition,
    ) -> Result<Version, Failure> {
        let (operation, mode) = match condition {
            Condition::Always => (Operation::Put, PutMode::Overwrite),
            Condition::Absent => (Operation::Create, PutMode::Create),
            Condition::Is(version) => {
                let version = UpdateVersion {
                    e_tag: version.e_tag.clone(),
                    version: version.generation.clone(),
                };
                (Operation::Swap, PutMode::Update(version))
            }
        };
        let location = location(path, operation)?;
        let put = self.inner.put_opts(&location, bytes.into(), PutOptions::from(mode));
        let (result, exchange) = observe(path, Addition::None, put).await;
        result.map(version_of).map_err(|error| failure(&error, operation, path, &exchange))
    }

    async fn delete(&self, path: &str, only: Option<&Version>) -> Result<(), Failure> {
        let location = location(path, Operation::Delete)?;
        let addition = match only {
            Some(_) if !self.abilities.conditional_delete => {
                let detail = "it has no conditional delete";
                return Err(Failure::new(Class::Refused, Operation::Delete, path, detail));
            }
            Some(version) => Addition::OnlyIf(version.clone()),
            None => Addition::None,
        };
        match observe(path, addition, self.inner.delete(&location)).await {
            (Ok(()) | Err(Error::NotFound { .. }), _) => Ok(()),
            (Err(error), exchange) => Err(failure(&error, Operation::Delete, path, &exchange)),
        }
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<Meta>, Failure> {
        let whole = prefix.trim_end_matches('/');
        let location = match whole {
            "" => None,
            whole => Some(location(whole, Operation::List)?),
        };
        let read = async {
            let mut pages = self.inner.list(location.as_ref());
            let mut found = Vec::new();
            while let Some(meta) = pages.try_next().await? {
                found.push(meta_of(meta));
                if found.len() > limit {
                    return Ok(None);
                }
            }
            Ok(Some(found))
        };
        // A listing asks for the bucket itself: every exchange during it counts as its own.
        match observe("", Addition::None, read).await {
            (Ok(Some(found)), _) => Ok(found),
            (Ok(None), _) => {
                let detail = format!("there are more than {limit} objects");
                Err(Failure::new(Class::Refused, Operation::List, prefix, detail))
            }
            // A local directory that is not there.
            (Err(Error::NotFound { .. }), _) => Ok(Vec::new()),
            (Err(error), exchange) => Err(failure(&error, Operation::List, prefix, &exchange)),
        }
    }

    async fn upload(&self, path: &str) -> Result<Box<dyn Upload>, Failure> {
        let location = location(path, Operation::Upload)?;
        let (result, exchange) =
            observe(path, Addition::None, self.inner.put_multipart(&location)).await;
        let inner = result.map_err(|error| failure(&error, Operation::Upload, path, &exchange))?;
        Ok(Box::new(Parts { inner, path: path.to_owned() }))
    }
}

#[derive(Debug)]
struct Parts {
    inner: Box<dyn MultipartUpload>,
    path: String,
}

#[async_trait]
impl Upload for Parts {
    async fn part(&mut self, bytes: Bytes) -> Result<(), Failure> {
        let put = self.inner.put_part(bytes.into());
        let (result, exchange) = observe(&self.path, Addition::None, put).await;
        result.map_err(|error| failure(&error, Operation::Upload, &self.path, &exchange))
    }

    async fn complete(&mut self) -> Result<Version, Failure> {
        let complete = self.inner.complete();
        let (result, exchange) = observe(&self.path, Addition::Absent, complete).await;
        result
            .map(version_of)
            .map_err(|error| failure(&error, Operation::Upload, &self.path, &exchange))
    }

    async fn abort(&mut self) -> Result<(), Failure> {
        let (result, exchange) = observe(&self.path, Addition::None, self.inner.abort()).await;
        result.map_err(|error| failure(&error, Operation::Upload, &self.path, &exchange))
    }
}

fn location(path: &str, operation: Operation) -> Result<Path, Failure> {
    Path::parse(path)
        .map_err(|e| Failure::new(Class::Refused, operation, path, format!("not a name: {e}")))
}

/// What the sender does next. A status says most; without one, the kind of the error.
fn failure(error: &Error, operation: Operation, path: &str, exchange: &Exchange) -> Failure {
    let detail = in_full(error);
    let class = match (exchange.status, exchange.broken) {
        (Some(status), _) if !(200..300).contains(&status) => of_status(status, operation, &detail),
        (None, Some(Broken::NotSent)) => Class::Away,
        (None, Some(Broken::Perhaps)) => Class::Unknown,
        // A success that could not be read to its end, or that holds an error.
        (Some(_), _) => Class::Unknown,
        (None, None) => of_error(error, operation),
    };
    Failure::new(class, operation, path, detail)
}

/// The error with its sources, each once.
fn in_full(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            let _ = write!(text, ": {inner_text}");
        }
        source = inner.source();
    }
    text
}

/// Codes of errors in whose presence a 400 is about the credentials, and not about the request.
const OF_CREDENTIALS: [&str; 3] = ["ExpiredToken", "InvalidToken", "TokenRefreshRequired"];
/// Azure's words for what is 412 elsewhere.
const EXISTS: [&str; 2] = ["BlobAlreadyExists", "UnauthorizedBlobOverwrite"];
/// S3's words for a concurrent request, which was not applied.
const CONCURRENT: [&str; 2] = ["ConditionalRequestConflict", "OperationAborted"];

fn of_status(status: u16, operation: Operation, detail: &str) -> Class {
    let says = |codes: &[&str]| codes.iter().any(|code| detail.contains(code));
    let reads = matches!(operation, Operation::Get | Operation::Head | Operation::List);
    match status {
        412 => Class::Lost,
        // The library takes 304 for the failed condition of some stores.
        304 if !reads => Class::Lost,
        409 if planted!(conflict_409_taken_for_failure) => Class::Lost,
        409 if says(&EXISTS) => Class::Lost,
        409 if says(&CONCURRENT) || operation == Operation::Swap => Class::Busy,
        // Nobody's known word: the object tells.
        409 => Class::Unknown,
        404 if operation == Operation::Swap => Class::Damaged,
        404 => Class::Gone,
        429 | 503 => Class::Busy,
        401 | 403 => Class::Denied,
        400 if says(&OF_CREDENTIALS) => Class::Denied,
        400 if detail.contains("RequestTimeout") => Class::Unknown,
        408 | 500..=599 => Class::Unknown,
        _ => Class::Refused,
    }
}

fn of_error(error: &Error, operation: Operation) -> Class {
    match error {
        Error::AlreadyExists { .. } | Error::Precondition { .. } => Class::Lost,
        Error::NotFound { .. } if operation == Operation::Swap => Class::Damaged,
        Error::NotFound { .. } => Class::Gone,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Class::Denied,
        Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::InvalidPath { .. }
        | Error::UnknownConfigurationKey { .. } => Class::Refused,
        _ if is_of_credentials(error) => Class::Away,
        _ => of_io(error).unwrap_or(Class::Unknown),
    }
}

/// Nothing was sent when no credentials could be fetched: no exchange was noted.
fn is_of_credentials(error: &Error) -> bool {
    let Error::Generic { store, .. } = error else { return false };
    let is_near = ["LocalFileSystem", "InMemory"].contains(store);
    let text = in_full(error).to_ascii_lowercase();
    !is_near && ["credential", "metadata endpoint", "token"].iter().any(|word| text.contains(word))
}

/// What a local disk says.
fn of_io(error: &Error) -> Option<Class> {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return Some(match io.kind() {
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    Class::Denied
                }
                std::io::ErrorKind::StorageFull => Class::Busy,
                _ => Class::Unknown,
            });
        }
        source = inner.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A regression of others: S3 answers 409 to conditional writes that race, and says that
    /// nothing was applied; taken for a lost race, a writer of the only copy gave up.
    #[test]
    fn conflict_409_taken_for_failure() {
        let s3 = "<Code>ConditionalRequestConflict</Code>";
        assert_eq!(of_status(409, Operation::Create, s3), Class::Busy);
        assert_eq!(of_status(409, Operation::Swap, ""), Class::Busy);
        assert_eq!(of_status(409, Operation::Create, "BlobAlreadyExists"), Class::Lost);
        assert_eq!(of_status(409, Operation::Create, "who knows"), Class::Unknown);
    }

    #[test]
    fn every_status_says_what_to_do_next() {
        for (status, operation, class) in [
            (412, Operation::Create, Class::Lost),
            (412, Operation::Swap, Class::Lost),
            (304, Operation::Create, Class::Lost),
            (404, Operation::Swap, Class::Damaged),
            (404, Operation::Delete, Class::Gone),
            (429, Operation::Create, Class::Busy),
            (503, Operation::Create, Class::Busy),
            (500, Operation::Create, Class::Unknown),
            (502, Operation::Create, Class::Unknown),
            (504, Operation::Swap, Class::Unknown),
            (408, Operation::Swap, Class::Unknown),
            (401, Operation::Get, Class::Denied),
            (403, Operation::Create, Class::Denied),
            (400, Operation::Create, Class::Refused),
            (416, Operation::Get, Class::Refused),
        ] {
            assert_eq!(of_status(status, operation, ""), class, "{status} {operation:?}");
        }
        assert_eq!(of_status(400, Operation::Put, "<Code>ExpiredToken</Code>"), Class::Denied);
    }

    #[test]
    fn a_connection_that_was_closed_leaves_the_outcome_unknown() {
        let error = Error::Generic { store: "S3", source: "closed".into() };
        let mut exchange = Exchange {
            path: "a".into(),
            addition: Addition::None,
            status: None,
            broken: Some(Broken::Perhaps),
        };
        assert_eq!(failure(&error, Operation::Create, "a", &exchange).class, Class::Unknown);
        exchange.broken = Some(Broken::NotSent);
        assert_eq!(failure(&error, Operation::Create, "a", &exchange).class, Class::Away);
        // A success whose body broke off, or that says InternalError.
        exchange.status = Some(200);
        assert_eq!(failure(&error, Operation::Create, "a", &exchange).class, Class::Unknown);
    }
}
