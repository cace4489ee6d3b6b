//! What tests of the bucket share: time that passes at once, a store in memory, stores that
//! answer as a test says, and stores that lie.

#![allow(dead_code, reason = "each test program uses a part of it")]

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tanada_remote::{
    Abilities, Bucket, Class, Condition, Failure, Fetched, Meta, ObjectStoreAdapter, Operation,
    Part, Store, Timer, Upload, Version,
};
use tanada_vfs::Env;

/// Time that passes when somebody waits, and only then.
#[derive(Debug, Default)]
pub(crate) struct HeldTime(Mutex<Duration>);

impl Timer for HeldTime {
    fn now(&self) -> Duration {
        *self.0.lock()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        *self.0.lock() += duration;
        Box::pin(tokio::task::yield_now())
    }
}

pub(crate) const IN_MEMORY: Abilities =
    Abilities { swap: true, conditional_delete: false, conditional_upload: false };

pub(crate) fn memory() -> Arc<dyn Store> {
    Arc::new(ObjectStoreAdapter::new(Arc::new(InMemory::new()), IN_MEMORY))
}

/// Creates, and cannot swap.
pub(crate) fn files(dir: &Path) -> Arc<dyn Store> {
    let store = LocalFileSystem::new_with_prefix(dir).unwrap();
    let abilities = Abilities { swap: false, ..IN_MEMORY };
    Arc::new(ObjectStoreAdapter::new(Arc::new(store), abilities))
}

pub(crate) fn bucket(store: Arc<dyn Store>, seed: u64) -> Bucket {
    Bucket::new(store, "a/prefix", Arc::new(HeldTime::default()), Env::memory(seed).random)
}

/// What becomes of one request that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is applied and answered.
    Answered,
    /// It is not applied, and fails so.
    Fails(Class),
    /// It is applied, and the answer is lost.
    AnswerLost,
    /// Its answer is given up, and it is applied when the test says so.
    Late,
    /// It is sent twice unseen, and the answer is that of the second.
    AppliedTwice,
}

/// A store whose answers to PUTs a test decides, in order; then it answers as it should. Its
/// listings come in the reverse order.
pub(crate) struct Scripted {
    inner: Arc<dyn Store>,
    fates: Mutex<VecDeque<Fate>>,
    late: Mutex<Vec<(String, Bytes, Condition)>>,
    pub(crate) puts: Mutex<Vec<(String, Bytes)>>,
    /// What happens before the first read of the log is answered.
    pub(crate) meanwhile: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripted").finish_non_exhaustive()
    }
}

impl Scripted {
    pub(crate) fn new(inner: Arc<dyn Store>, fates: &[Fate]) -> Arc<Scripted> {
        Arc::new(Scripted {
            inner,
            fates: Mutex::new(fates.iter().copied().collect()),
            late: Mutex::default(),
            puts: Mutex::default(),
            meanwhile: Mutex::default(),
        })
    }

    /// Everything that was late arrives now, in the order in which it was sent.
    pub(crate) async fn arrive(&self) {
        let late = std::mem::take(&mut *self.late.lock());
        for (path, bytes, condition) in late {
            let _ = self.inner.put(&path, bytes, &condition).await;
        }
    }
}

fn failed(class: Class, path: &str) -> Failure {
    Failure::new(class, Operation::Put, path, "as the test wants it")
}

#[async_trait]
impl Store for Scripted {
    fn abilities(&self) -> Abilities {
        self.inner.abilities()
    }

    async fn get(
        &self,
        path: &str,
        part: &Part,
        unless: Option<&Version>,
    ) -> Result<Fetched, Failure> {
        let meanwhile = match path.contains("/wal/") {
            true => self.meanwhile.lock().take(),
            false => None,
        };
        if let Some(meanwhile) = meanwhile {
            meanwhile.await;
        }
        self.inner.get(path, part, unless).await
    }

    async fn head(&self, path: &str) -> Result<Option<Meta>, Failure> {
        self.inner.head(path).await
    }

    async fn put(
        &self,
        path: &str,
        bytes: Bytes,
        condition: &Condition,
    ) -> Result<Version, Failure> {
        self.puts.lock().push((path.to_owned(), bytes.clone()));
        let fate = self.fates.lock().pop_front().unwrap_or(Fate::Answered);
        match fate {
            Fate::Answered => self.inner.put(path, bytes, condition).await,
            Fate::Fails(class) => Err(failed(class, path)),
            Fate::AnswerLost => {
                let _ = self.inner.put(path, bytes, condition).await;
                Err(failed(Class::Unknown, path))
            }
            Fate::AppliedTwice => {
                let _ = self.inner.put(path, bytes.clone(), condition).await;
                self.inner.put(path, bytes, condition).await
            }
            Fate::Late => {
                self.late.lock().push((path.to_owned(), bytes, condition.clone()));
                Err(failed(Class::Unknown, path))
            }
        }
    }

    async fn delete(&self, path: &str, only: Option<&Version>) -> Result<(), Failure> {
        self.inner.delete(path, only).await
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<Meta>, Failure> {
        let mut listed = self.inner.list(prefix, limit).await?;
        listed.sort_by(|a, b| a.path.cmp(&b.path));
        listed.reverse();
        Ok(listed)
    }

    async fn upload(&self, path: &str) -> Result<Box<dyn Upload>, Failure> {
        self.inner.upload(path).await
    }
}

/// How a store lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// `If-None-Match: *` is accepted and ignored.
    IgnoresCreate,
    /// `If-Match` is accepted and ignored.
    IgnoresSwap,
    /// It looks whether there is an object, and stores it a moment later.
    RacesToCreate,
    /// It looks at the version, and replaces the object a moment later.
    RacesToSwap,
    /// The condition is kept, and a winner's object is another's.
    KeepsAnother,
    /// A DELETE's condition is accepted and ignored.
    IgnoresDelete,
    /// Its PUT answers an ETag without quotation marks, and it wants them in `If-Match`.
    Unquoted,
}

/// A store that lies, over one that does not.
#[derive(Debug)]
pub(crate) struct Liar {
    inner: Arc<dyn Store>,
    lie: Lie,
}

impl Liar {
    pub(crate) fn over(inner: Arc<dyn Store>, lie: Lie) -> Arc<dyn Store> {
        Arc::new(Liar { inner, lie })
    }

    async fn overwrite(&self, path: &str, bytes: Bytes) -> Result<Version, Failure> {
        self.inner.put(path, bytes, &Condition::Always).await
    }
}

#[async_trait]
impl Store for Liar {
    fn abilities(&self) -> Abilities {
        let conditional_delete = self.lie == Lie::IgnoresDelete;
        Abilities { conditional_delete, ..self.inner.abilities() }
    }

    async fn get(
        &self,
        path: &str,
        part: &Part,
        unless: Option<&Version>,
    ) -> Result<Fetched, Failure> {
        let fetched = self.inner.get(path, part, unless).await?;
        match fetched {
            Fetched::Object(mut object) if self.lie == Lie::KeepsAnother => {
                object.bytes = Bytes::from_static(b"somebody else's");
                Ok(Fetched::Object(object))
            }
            fetched => Ok(fetched),
        }
    }

    async fn head(&self, path: &str) -> Result<Option<Meta>, Failure> {
        self.inner.head(path).await
    }

    async fn put(
        &self,
        path: &str,
        bytes: Bytes,
        condition: &Condition,
    ) -> Result<Version, Failure> {
        let there = self.inner.head(path).await?.map(|meta| meta.version);
        match (self.lie, condition) {
            (Lie::IgnoresCreate, Condition::Absent) | (Lie::IgnoresSwap, Condition::Is(_)) => {
                self.overwrite(path, bytes).await
            }
            (Lie::RacesToCreate, Condition::Absent) => {
                tokio::task::yield_now().await;
                match there {
                    None => self.overwrite(path, bytes).await,
                    Some(_) => Err(failed(Class::Lost, path)),
                }
            }
            (Lie::RacesToSwap, Condition::Is(version)) => {
                tokio::task::yield_now().await;
                match there {
                    Some(there) if there == *version => self.overwrite(path, bytes).await,
                    _ => Err(failed(Class::Lost, path)),
                }
            }
            _ => self.inner.put(path, bytes, condition).await,
        }
    }

    async fn delete(&self, path: &str, only: Option<&Version>) -> Result<(), Failure> {
        let only = only.filter(|_| self.lie != Lie::IgnoresDelete);
        self.inner.delete(path, only).await
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<Meta>, Failure> {
        self.inner.list(prefix, limit).await
    }

    async fn upload(&self, path: &str) -> Result<Box<dyn Upload>, Failure> {
        self.inner.upload(path).await
    }
}
