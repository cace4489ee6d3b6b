//! The bucket of one database: the operations of the protocol, over names below its prefix.
//!
//! Requests are tried again here and nowhere else, and only where that cannot change what
//! they mean: a read, a delete or a plain PUT after any passing failure, a conditional PUT
//! only when it surely was not applied. A conditional PUT whose answer is unknown is the
//! caller's to resolve, with [`Bucket::create_exactly`] or [`crate::register::swap`].

mod timer;
mod backoff;
mod accounting;
mod exactly;
mod uploading;

pub use accounting::{Accounting, Cause, LATENCIES, Prices, Usage};
pub use backoff::Tries;
pub(crate) use backoff::{jittered, wait_after};
pub use exactly::Created;
pub use timer::{RuntimeTimer, Timer};
pub use uploading::Uploading;

use crate::name::{Folder, ObjectName};
use crate::store::{
    Abilities, Class, Condition, Failure, Fetched, Meta, Object, Operation, Part, Store, Version,
};
use accounting::Sent;
use backoff::Backoff;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tanada_format::planted;
use tanada_vfs::Random;

/// How a conditional PUT ended that was not refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Put {
    /// It was applied; the object has this version now.
    Applied(Version),
    /// The condition did not hold. The object may hold one's own first try.
    Lost,
    /// Nobody knows; it may still be applied at any later time.
    Unknown(Failure),
}

/// A listed object: a name of the protocol, or `None` for one of somebody else's.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// What it is.
    pub name: Option<ObjectName>,
    /// Its full name, length and version.
    pub meta: Meta,
}

#[derive(Debug)]
struct Shared {
    store: Arc<dyn Store>,
    /// Empty, or with a slash at its end.
    prefix: String,
    timer: Arc<dyn Timer>,
    random: Arc<dyn Random>,
    tries: Tries,
    accounting: Accounting,
}

/// The objects of one database. Cheap to clone; a clone shares counters.
#[derive(Clone, Debug)]
pub struct Bucket {
    shared: Arc<Shared>,
    cause: Cause,
}

/// A page of a listing, for counting requests.
const LISTED_PER_REQUEST: u64 = 1000;

impl Bucket {
    /// Names below `prefix` in `store`. Requests count for [`Cause::Opening`] until
    /// [`Bucket::because`] says otherwise.
    pub fn new(
        store: Arc<dyn Store>,
        prefix: &str,
        timer: Arc<dyn Timer>,
        random: Arc<dyn Random>,
    ) -> Bucket {
        Bucket::with_tries(store, prefix, timer, random, Tries::default())
    }

    /// As [`Bucket::new`], with other bounds of trying again.
    pub fn with_tries(
        store: Arc<dyn Store>,
        prefix: &str,
        timer: Arc<dyn Timer>,
        random: Arc<dyn Random>,
        tries: Tries,
    ) -> Bucket {
        let prefix = match prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let accounting = Accounting::default();
        let shared = Shared { store, prefix, timer, random, tries, accounting };
        Bucket { shared: Arc::new(shared), cause: Cause::Opening }
    }

    /// The same bucket, whose requests count for `cause`.
    pub fn because(&self, cause: Cause) -> Bucket {
        Bucket { shared: self.shared.clone(), cause }
    }

    /// What was sent so far, by this and all clones.
    pub fn accounting(&self) -> &Accounting {
        &self.shared.accounting
    }

    /// What the store says it can do.
    pub fn abilities(&self) -> Abilities {
        self.shared.store.abilities()
    }

    /// Its time.
    pub fn timer(&self) -> &dyn Timer {
        &*self.shared.timer
    }

    /// Its randomness.
    pub fn random(&self) -> &dyn Random {
        &*self.shared.random
    }

    pub(crate) fn tries(&self) -> Tries {
        self.shared.tries
    }

    /// The full name in the store.
    pub fn path(&self, name: &ObjectName) -> String {
        format!("{}{name}", self.shared.prefix)
    }

    /// Reads an object, or says that there is none. One GET.
    ///
    /// # Errors
    ///
    /// Failures that stay after the bounds of [`Tries`].
    pub async fn get(&self, name: &ObjectName) -> Result<Option<Object>, Failure> {
        self.get_part(name, &Part::Whole).await
    }

    /// Reads a part of an object. One GET.
    ///
    /// # Errors
    ///
    /// As [`Bucket::get`]; [`Class::Refused`] for a range that begins behind the end.
    pub async fn get_part(
        &self,
        name: &ObjectName,
        part: &Part,
    ) -> Result<Option<Object>, Failure> {
        match self.fetch(name, part, None).await? {
            Fetched::Object(object) => Ok(Some(object)),
            Fetched::Absent | Fetched::Unchanged => Ok(None),
        }
    }

    /// Reads an object unless it has still the version `known`. One GET; without a body
    /// when nothing has changed.
    ///
    /// # Errors
    ///
    /// As [`Bucket::get`].
    pub async fn get_if_changed(
        &self,
        name: &ObjectName,
        known: &Version,
    ) -> Result<Fetched, Failure> {
        self.fetch(name, &Part::Whole, Some(known)).await
    }

    async fn fetch(
        &self,
        name: &ObjectName,
        part: &Part,
        unless: Option<&Version>,
    ) -> Result<Fetched, Failure> {
        let path = self.path(name);
        let store = &self.shared.store;
        let received = |fetched: &Fetched| match fetched {
            Fetched::Object(object) => object.bytes.len() as u64,
            _ => 0,
        };
        self.until_answered(Operation::Get, 0, Class::is_passing, received, || {
            store.get(&path, part, unless)
        })
        .await
    }

    /// Length and version of an object. One HEAD.
    ///
    /// # Errors
    ///
    /// As [`Bucket::get`].
    pub async fn head(&self, name: &ObjectName) -> Result<Option<Meta>, Failure> {
        let path = self.path(name);
        let store = &self.shared.store;
        self.until_answered(Operation::Head, 0, Class::is_passing, |_| 0, || store.head(&path))
            .await
    }

    /// Stores an object that must not be there yet. One PUT.
    ///
    /// # Errors
    ///
    /// Classes other than lost and unknown: it was not applied.
    pub async fn create(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, Failure> {
        self.put_if(Operation::Create, name, bytes, Condition::Absent).await
    }

    /// Replaces version `from` of an object. One PUT.
    ///
    /// # Errors
    ///
    /// Classes other than lost and unknown: it was not applied.
    pub async fn swap(
        &self,
        name: &ObjectName,
        from: &Version,
        bytes: Bytes,
    ) -> Result<Put, Failure> {
        self.put_if(Operation::Swap, name, bytes, Condition::Is(from.clone())).await
    }

    async fn put_if(
        &self,
        operation: Operation,
        name: &ObjectName,
        bytes: Bytes,
        condition: Condition,
    ) -> Result<Put, Failure> {
        let path = self.path(name);
        let store = &self.shared.store;
        let surely_not_applied = |class| matches!(class, Class::Busy | Class::Away);
        let put = self
            .until_answered(
                operation,
                bytes.len() as u64,
                surely_not_applied,
                |_| 0,
                || store.put(&path, bytes.clone(), &condition),
            )
            .await;
        match put {
            Ok(version) => Ok(Put::Applied(version)),
            Err(failure) if failure.class == Class::Lost => Ok(Put::Lost),
            Err(failure) if failure.class == Class::Unknown => Ok(Put::Unknown(failure)),
            Err(failure) => Err(failure),
        }
    }

    /// Stores an object whatever is there. For advice alone: a late one may replace a newer.
    ///
    /// # Errors
    ///
    /// As [`Bucket::get`].
    pub async fn put(&self, name: &ObjectName, bytes: Bytes) -> Result<Version, Failure> {
        let path = self.path(name);
        let store = &self.shared.store;
        let len = bytes.len() as u64;
        self.until_answered(
            Operation::Put,
            len,
            Class::is_passing,
            |_| 0,
            || store.put(&path, bytes.clone(), &Condition::Always),
        )
        .await
    }

    /// Deletes an object; one that is not there counts as deleted. It may arrive late, so
    /// only what is garbage for ever may be named.
    ///
    /// # Errors
    ///
    /// As [`Bucket::get`].
    pub async fn delete(&self, name: &ObjectName) -> Result<(), Failure> {
        self.delete_path(&self.path(name), None).await.map(|_| ())
    }

    /// Deletes an object if it has that version. `false`: it has another, and stays.
    ///
    /// # Errors
    ///
    /// As [`Bucket::get`]; [`Class::Refused`] from a store without conditional deletes.
    pub async fn delete_if(&self, name: &ObjectName, only: &Version) -> Result<bool, Failure> {
        self.delete_path(&self.path(name), Some(only)).await
    }

    async fn delete_path(&self, path: &str, only: Option<&Version>) -> Result<bool, Failure> {
        let store = &self.shared.store;
        let deleted = self
            .until_answered(
                Operation::Delete,
                0,
                Class::is_passing,
                |_| 0,
                || store.delete(path, only),
            )
            .await;
        match deleted {
            Ok(()) => Ok(true),
            Err(failure) if failure.class == Class::Gone => Ok(true),
            Err(failure) if failure.class == Class::Lost && only.is_some() => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Everything in a folder, sorted by name. One LIST for a thousand objects.
    ///
    /// Never a source of truth: what it does not show may be there a moment later.
    ///
    /// # Errors
    ///
    /// As [`Bucket::get`]; [`Class::Refused`] when there are more than `limit`.
    pub async fn list(&self, folder: Folder, limit: usize) -> Result<Vec<Listed>, Failure> {
        let prefix = format!("{}{folder}", self.shared.prefix);
        let store = &self.shared.store;
        let began = self.timer().now();
        let found = self
            .until_answered(
                Operation::List,
                0,
                Class::is_passing,
                |_| 0,
                || store.list(&prefix, limit),
            )
            .await?;
        let further = (found.len() as u64).saturating_sub(1) / LISTED_PER_REQUEST;
        if further > 0 {
            let took = self.timer().now().saturating_sub(began);
            self.note(Operation::List, None, (0, 0), took, further);
        }
        let mut listed: Vec<Listed> = found
            .into_iter()
            .map(|meta| {
                let name = meta.path.strip_prefix(&self.shared.prefix).and_then(ObjectName::parse);
                Listed { name, meta }
            })
            .collect();
        // Stores may list in any order: some have directories, some are many machines.
        if !planted!(list_unordered) {
            listed.sort_by(|a, b| a.meta.path.cmp(&b.meta.path));
        }
        Ok(listed)
    }

    /// Begins a multipart upload. One POST, then one PUT a part and one POST at the end.
    ///
    /// # Errors
    ///
    /// As [`Bucket::get`].
    pub async fn upload(&self, name: &ObjectName) -> Result<Uploading, Failure> {
        let path = self.path(name);
        let store = &self.shared.store;
        let upload = self
            .until_answered(Operation::Upload, 0, Class::is_passing, |_| 0, || store.upload(&path))
            .await?;
        Ok(Uploading::new(self.clone(), *name, upload))
    }

    /// Sends until there is an answer, or a failure that another try would not better.
    async fn until_answered<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        operation: Operation,
        bytes_sent: u64,
        may_send_again: impl Fn(Class) -> bool,
        bytes_received: impl Fn(&T) -> u64,
        mut send: impl FnMut() -> F,
    ) -> Result<T, Failure> {
        let mut backoff = Backoff::new(self.shared.tries, self.timer());
        loop {
            let began = self.timer().now();
            let result = send().await;
            let took = self.timer().now().saturating_sub(began);
            let failed = result.as_ref().err().map(|failure| failure.class);
            let received = result.as_ref().map_or(0, &bytes_received);
            self.note(operation, failed, (bytes_sent, received), took, 1);
            let failure = match result {
                Ok(answer) => return Ok(answer),
                Err(failure) if !may_send_again(failure.class) => return Err(failure),
                Err(failure) => failure,
            };
            match backoff.next(self.timer(), self.random()) {
                Some(wait) => self.shared.timer.sleep(wait).await,
                None => return Err(failure),
            }
        }
    }

    fn note(
        &self,
        operation: Operation,
        failed: Option<Class>,
        (bytes_sent, bytes_received): (u64, u64),
        took: Duration,
        requests: u64,
    ) {
        let cause = self.cause;
        let sent = Sent { cause, operation, failed, bytes_sent, bytes_received, took, requests };
        self.shared.accounting.note(sent);
    }
}
