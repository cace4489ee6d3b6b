//! The database that a verb works on, wherever it is: one set of operations
//! over an open directory and over a server.

use crate::client::{Client, ServerKeyspace, bound_parameter};
use crate::condition::Condition;
use crate::failure::{Failure, Result};
use crate::place::{Durability, Place, Space};
use crate::record::{DEFAULT_KEYSPACE, Expiry, Line, Record};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::ops::Bound;
use std::time::Duration;
use tanada::vfs::{Env, is_disk_full};
use tanada::{Batch, Builder, Db, Keyspace, KeyspaceOptions, PutOptions, UnixMillis, WriteOptions};

/// Keys on a server's page: few enough to be answered at once, many enough to be few requests.
const PAGE: u64 = 1000;

/// An open database or a server.
#[derive(Debug)]
pub(crate) struct Target {
    base: Base,
    env: Env,
    /// Of every write; `None` leaves it to the database.
    durability: Option<Durability>,
    /// Keyspaces that the server has been asked to create.
    created: RefCell<BTreeSet<String>>,
}

#[derive(Debug)]
enum Base {
    Directory(Db),
    Server(Client),
}

/// One keyspace of a target.
#[derive(Debug)]
pub(crate) struct TargetKeyspace<'t> {
    target: &'t Target,
    base: KeyspaceBase<'t>,
    /// Of what is read; `None` for the default one.
    name: Option<String>,
}

#[derive(Debug)]
enum KeyspaceBase<'t> {
    Directory(&'t Db, Keyspace),
    Server(ServerKeyspace<'t>),
}

/// Whether a database or keyspace that is not there is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Create,
    Refuse,
}

/// What to scan, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scan {
    pub(crate) prefix: Option<Vec<u8>>,
    pub(crate) start: Option<Vec<u8>>,
    pub(crate) end: Option<Vec<u8>>,
    pub(crate) limit: Option<u64>,
    pub(crate) reverse: bool,
    pub(crate) keys_only: bool,
}

fn builder(place: &Place) -> Builder {
    let builder = Db::builder(&place.data);
    match place.memory {
        Some(memory) => builder.memory(memory),
        None => builder,
    }
}

/// Whether a directory cannot be opened since nothing can be written there.
fn cannot_write(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
        || is_disk_full(e)
}

impl Target {
    /// Opens the directory, or addresses the server.
    pub(crate) fn open(place: &Place, missing: Missing) -> Result<Target> {
        let base = match &place.url {
            Some(url) => Base::Server(Client::new(url)?),
            None => {
                let create = missing == Missing::Create;
                let db = builder(place).create_if_missing(create).open()?;
                write_out_piled_up_logs(&db);
                Base::Directory(db)
            }
        };
        Ok(Target::new(base))
    }

    /// As [`Target::open`], for a verb that changes nothing: a directory that cannot be
    /// written is opened for reading only.
    pub(crate) fn open_to_read(place: &Place) -> Result<Target> {
        if place.url.is_some() {
            return Target::open(place, Missing::Refuse);
        }
        let db = match builder(place).create_if_missing(false).open() {
            Err(tanada::Error::Io(e)) if cannot_write(&e) => builder(place).read_only().open()?,
            opened => {
                let db = opened?;
                write_out_piled_up_logs(&db);
                db
            }
        };
        Ok(Target::new(Base::Directory(db)))
    }

    fn new(base: Base) -> Target {
        Target { base, env: Env::real(), durability: None, created: RefCell::default() }
    }

    /// Sets what every write must survive.
    pub(crate) fn durability(mut self, durability: Option<Durability>) -> Target {
        self.durability = durability;
        self
    }

    /// Nanoseconds of a clock that never goes back.
    pub(crate) fn now_ns(&self) -> u64 {
        self.env.clock.monotonic_ns()
    }

    /// Milliseconds since 1970.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.env.clock.wall_ms()
    }

    /// The keyspace that the command line names.
    pub(crate) fn space(&self, space: &Space, missing: Missing) -> Result<TargetKeyspace<'_>> {
        self.keyspace(space.keyspace.as_deref(), missing)
    }

    /// The keyspace of this name, or the default one. A server says itself, later, that
    /// there is none of it.
    pub(crate) fn keyspace(
        &self,
        name: Option<&str>,
        missing: Missing,
    ) -> Result<TargetKeyspace<'_>> {
        let name = name.filter(|name| *name != DEFAULT_KEYSPACE);
        let base = match &self.base {
            Base::Directory(db) => KeyspaceBase::Directory(db, keyspace_of(db, name, missing)?),
            Base::Server(client) => {
                if let (Some(name), Missing::Create) = (name, missing)
                    && !self.created.borrow().contains(name)
                {
                    client.create_keyspace(name)?;
                    self.created.borrow_mut().insert(name.to_owned());
                }
                KeyspaceBase::Server(client.keyspace(name))
            }
        };
        Ok(TargetKeyspace { target: self, base, name: name.map(str::to_owned) })
    }

    /// Hands everything there is to `visit`, as of one moment: of each keyspace its name,
    /// if it is not the default one, and then its records in order. Of one keyspace alone
    /// when it is named.
    pub(crate) fn dump(
        &self,
        keyspace: Option<&str>,
        visit: &mut dyn FnMut(Line) -> Result<()>,
    ) -> Result<()> {
        match &self.base {
            Base::Directory(db) => {
                let one = keyspace.map(|name| keyspace_of(db, Some(name), Missing::Refuse));
                let snapshot = db.snapshot();
                let keyspaces = match one {
                    Some(one) => vec![one?],
                    None => snapshot.keyspaces(),
                };
                for keyspace in keyspaces {
                    let name = Some(keyspace.name()).filter(|name| *name != DEFAULT_KEYSPACE);
                    if let Some(name) = name {
                        visit(Line::Keyspace(name.to_owned()))?;
                    }
                    for record in snapshot.range_in(&keyspace, ..).records() {
                        visit(Line::Record(record_of(record?, name)))?;
                    }
                }
                Ok(())
            }
            Base::Server(client) => client.dump(keyspace, visit),
        }
    }

    /// Statistics of every tier.
    pub(crate) fn stats(&self) -> Result<Value> {
        match &self.base {
            Base::Directory(db) => {
                Ok(serde_json::to_value(db.stats()).expect("a plain structure has a JSON form"))
            }
            Base::Server(client) => client.stats(),
        }
    }

    /// Reads and checks every byte of every file.
    pub(crate) fn verify(&self) -> Result<Value> {
        match &self.base {
            Base::Directory(db) => {
                Ok(serde_json::to_value(db.verify()?).expect("a plain structure has a JSON form"))
            }
            Base::Server(client) => client.verify(),
        }
    }

    /// What is known of the clock; first that it is right, if `trust` says so.
    pub(crate) fn clock(&self, trust: bool) -> Result<Value> {
        match &self.base {
            Base::Directory(db) => {
                let clock = if trust { db.trust_clock()? } else { db.stats().clock };
                Ok(serde_json::to_value(clock).expect("a plain structure has a JSON form"))
            }
            Base::Server(client) => client.clock(trust),
        }
    }

    /// Makes a checkpoint: in a directory that is new or empty, or by this name below that of a server.
    pub(crate) fn checkpoint(&self, place: &str) -> Result<Value> {
        match &self.base {
            Base::Directory(db) => {
                let summary = db.checkpoint(place)?;
                Ok(serde_json::to_value(summary).expect("a plain structure has a JSON form"))
            }
            Base::Server(client) => client.create_checkpoint(place),
        }
    }

    /// Makes everything durable. A verb that wrote ends with this.
    pub(crate) fn close(self) -> Result<()> {
        match self.base {
            Base::Directory(db) => Ok(db.close()?),
            Base::Server(_) => Ok(()),
        }
    }

    fn write_options(&self) -> WriteOptions {
        match self.durability {
            Some(durability) => WriteOptions::new().durability(durability.into()),
            None => WriteOptions::new(),
        }
    }
}

impl TargetKeyspace<'_> {
    /// The record at `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Record>> {
        let found = match &self.base {
            KeyspaceBase::Directory(_, keyspace) => {
                keyspace.get_record(key)?.map(|record| record_of(record, None))
            }
            KeyspaceBase::Server(server) => server.get(key)?,
        };
        Ok(found.map(|record| Record { keyspace: self.name.clone(), ..record }))
    }

    /// The path of a read: `{"found", "value"…, "explain": {"total_ns", "steps": [{"tier", "name", "outcome", "time_ns"}]}}`.
    pub(crate) fn explain(&self, key: &[u8]) -> Result<Value> {
        match &self.base {
            KeyspaceBase::Directory(_, keyspace) => {
                let explain = keyspace.explain(key)?;
                let found = Record {
                    key: key.to_vec(),
                    value: explain.value.as_ref().map(|value| value.to_vec()).unwrap_or_default(),
                    ..Record::default()
                };
                let mut answer: Value = serde_json::from_str(&match explain.value {
                    Some(_) => found.to_json(),
                    None => found.key_to_json(),
                })
                .expect("our own JSON reads back");
                answer["found"] = explain.value.is_some().into();
                answer["version"] = explain.seqno.into();
                answer["explain"] = json!({ "total_ns": explain.total_ns, "steps": explain.steps });
                Ok(answer)
            }
            KeyspaceBase::Server(server) => server.explain(key),
        }
    }

    /// Writes one record if `condition` holds of its key; its sequence number.
    pub(crate) fn put(&self, record: &Record, condition: Option<Condition>) -> Result<u64> {
        match &self.base {
            KeyspaceBase::Directory(db, keyspace) => {
                self.write_to(db, keyspace, std::slice::from_ref(record), condition)
            }
            KeyspaceBase::Server(server) => server.put(record, condition, self.durability_name()),
        }
    }

    /// Deletes a key if `condition` holds of it; its sequence number.
    pub(crate) fn delete(&self, key: &[u8], condition: Option<Condition>) -> Result<u64> {
        match &self.base {
            KeyspaceBase::Directory(db, keyspace) => {
                let mut batch = Batch::new();
                if let Some(condition) = condition {
                    batch.check_in(keyspace, key, condition.into());
                }
                batch.delete_in(keyspace, key);
                let written = db.write_with(batch, self.target.write_options());
                written.map(|seqno| seqno.0).map_err(|e| failure_of(e, condition))
            }
            KeyspaceBase::Server(server) => server.delete(key, condition, self.durability_name()),
        }
    }

    /// Writes all records or none, in order.
    pub(crate) fn write(&self, records: &[Record]) -> Result<()> {
        match &self.base {
            KeyspaceBase::Directory(db, keyspace) => {
                self.write_to(db, keyspace, records, None).map(|_| ())
            }
            KeyspaceBase::Server(server) => server.write(records, self.durability_name()),
        }
    }

    /// Hands every record of the scan to `visit`, in order, until it answers an error.
    pub(crate) fn scan(
        &self,
        scan: &Scan,
        visit: &mut dyn FnMut(Record) -> Result<()>,
    ) -> Result<()> {
        let mut visit = |record| visit(Record { keyspace: self.name.clone(), ..record });
        match &self.base {
            KeyspaceBase::Directory(_, keyspace) => scan_directory(keyspace, scan, &mut visit),
            KeyspaceBase::Server(server) => scan_server(server, scan, &mut visit),
        }
    }

    /// Merges the tables that hold keys of the range.
    pub(crate) fn compact(&self, start: Option<&[u8]>, end: Option<&[u8]>) -> Result<Value> {
        match &self.base {
            KeyspaceBase::Directory(_, keyspace) => {
                let range = (bound(start, Bound::Included), bound(end, Bound::Excluded));
                let summary = keyspace.compact(range)?;
                Ok(serde_json::to_value(summary).expect("a plain structure has a JSON form"))
            }
            KeyspaceBase::Server(server) => server.compact(start, end),
        }
    }

    fn durability_name(&self) -> Option<&'static str> {
        self.target.durability.map(Durability::name)
    }

    /// Writes all records if `condition` holds of the key of each, and none otherwise.
    fn write_to(
        &self,
        db: &Db,
        keyspace: &Keyspace,
        records: &[Record],
        condition: Option<Condition>,
    ) -> Result<u64> {
        let mut batch = Batch::new();
        for record in records {
            if let Some(condition) = condition {
                batch.check_in(keyspace, &record.key, condition.into());
            }
            let options = match record.expiry {
                Expiry::Never => PutOptions::new(),
                Expiry::In(ms) => PutOptions::new().ttl(Duration::from_millis(ms)),
                Expiry::At(at) => PutOptions::new().expires_at(UnixMillis(at)),
            };
            batch.put_in_with(keyspace, &record.key, &record.value, options);
        }
        let bytes = batch.size_bytes() as u64;
        match db.write_with(batch, self.target.write_options()) {
            Ok(seqno) => Ok(seqno.0),
            Err(e @ tanada::Error::InvalidArgument(_))
                if bytes > db.stats().memory.largest_batch_bytes.saturating_sub(SMALL_BYTES) =>
            {
                // With room to spare: the engine's own limit is 3/16.
                let memory = bytes.saturating_mul(6).div_ceil(16 << 20) * 16;
                Err(Failure::from(e).then(format!("say --memory {memory}MiB to write it here")))
            }
            Err(e) => Err(failure_of(e, condition)),
        }
    }
}

/// The failure of a write that had this condition.
fn failure_of(e: tanada::Error, condition: Option<Condition>) -> Failure {
    if let tanada::Error::Conflict(conflict) = &e
        && let (Some(condition), Some(failed)) = (condition, conflict.failed.first())
    {
        return condition.refused(&failed.key, failed.version.map(|version| version.0));
    }
    e.into()
}

/// What a batch takes beside its encoded bytes, at most, in the default budget.
const SMALL_BYTES: u64 = 1 << 20;

fn record_of(record: tanada::Record, keyspace: Option<&str>) -> Record {
    Record {
        key: record.key.to_vec(),
        value: record.value.to_vec(),
        expiry: record.expires_at.map_or(Expiry::Never, |at| Expiry::At(at.0)),
        version: Some(record.version.0),
        keyspace: keyspace.map(str::to_owned),
    }
}

/// The keyspace of this name, or the default one.
fn keyspace_of(db: &Db, name: Option<&str>, missing: Missing) -> Result<Keyspace> {
    let Some(name) = name else { return Ok(db.default_keyspace().clone()) };
    if missing == Missing::Create {
        return Ok(db.keyspace(name, KeyspaceOptions::new())?);
    }
    db.find_keyspace(name)?.ok_or_else(|| {
        let all = [&[DEFAULT_KEYSPACE.to_owned()], &db.keyspaces()[..]].concat();
        let shown = all.iter().take(20).map(|name| format!("'{name}'")).collect::<Vec<_>>();
        let more = if all.len() > 20 { " and others" } else { "" };
        let there = if all.len() == 1 { "is" } else { "are" };
        Failure::new(format!(
            "there is no keyspace '{name}'; there {there} {}{more}; put and load create one",
            shown.join(", ")
        ))
    })
}

/// Every opening begins a new log, and a log goes only when its writes are in
/// tables. A server gets there by itself; a script of a thousand `put`s, each
/// opening and closing the directory, never writes enough to.
fn write_out_piled_up_logs(db: &Db) {
    const MANY: u64 = 8;
    if db.stats().wal.files > MANY {
        // Not this verb's business when it fails, on a full disk say: nothing is
        // lost, a write will say so itself, and reads go on.
        let _ = db.flush();
    }
}

fn bound<'a>(key: Option<&'a [u8]>, kind: fn(&'a [u8]) -> Bound<&'a [u8]>) -> Bound<&'a [u8]> {
    key.map_or(Bound::Unbounded, kind)
}

fn scan_directory(
    keyspace: &Keyspace,
    scan: &Scan,
    visit: &mut dyn FnMut(Record) -> Result<()>,
) -> Result<()> {
    // A prefix is a range too, and may be narrowed by start and end.
    let prefix = scan.prefix.as_deref().unwrap_or_default();
    let after_prefix = tanada::prefix_end(prefix);
    let start = scan.start.as_deref().map_or(prefix, |start| start.max(prefix));
    let end = match (scan.end.as_deref(), after_prefix.as_deref()) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    if end.is_some_and(|end| start >= end) {
        return Ok(());
    }
    let start = if start.is_empty() { Bound::Unbounded } else { Bound::Included(start) };
    let mut records = keyspace.range((start, bound(end, Bound::Excluded))).records();
    for _ in 0..scan.limit.unwrap_or(u64::MAX) {
        let next = if scan.reverse { records.next_back() } else { records.next() };
        let Some(record) = next else { break };
        visit(record_of(record?, None))?;
    }
    Ok(())
}

fn scan_server(
    server: &ServerKeyspace<'_>,
    scan: &Scan,
    visit: &mut dyn FnMut(Record) -> Result<()>,
) -> Result<()> {
    let mut left = scan.limit.unwrap_or(u64::MAX);
    let mut cursor: Option<String> = None;
    while left > 0 {
        let mut query = format!("limit={}", left.min(PAGE));
        let bounds = [("prefix", &scan.prefix), ("start", &scan.start), ("end", &scan.end)];
        for (name, bound) in bounds {
            if let Some(bound) = bound {
                query.push_str(&bound_parameter(name, bound));
            }
        }
        for (name, on) in [("reverse", scan.reverse), ("keys_only", scan.keys_only)] {
            if on {
                query.push_str(&format!("&{name}=true"));
            }
        }
        let (records, next) = server.scan(&query, cursor.as_deref())?;
        left = left.saturating_sub(records.len() as u64);
        for record in records {
            visit(record)?;
        }
        match next {
            Some(_) if next == cursor => {
                return Err(Failure::new(
                    "the server sent the same page twice; nothing was lost, scan again",
                ));
            }
            Some(_) => cursor = next,
            None => break,
        }
    }
    Ok(())
}
