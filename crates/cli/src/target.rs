//! The database that a verb works on, wherever it is: one set of operations
//! over an open directory and over a server.

use crate::client::{Client, bound_parameter};
use crate::failure::{Failure, Result};
use crate::place::{Durability, Place};
use crate::record::{Expiry, Record};
use serde_json::{Value, json};
use std::ops::Bound;
use std::time::Duration;
use tanada::vfs::Env;
use tanada::{Batch, Db, PutOptions, WriteOptions};

/// Keys on a server's page: few enough to be answered at once, many enough to be few requests.
const PAGE: u64 = 1000;

/// An open database or a server.
#[derive(Debug)]
pub(crate) struct Target {
    base: Base,
    env: Env,
    /// Of every write; `None` leaves it to the database.
    durability: Option<Durability>,
}

#[derive(Debug)]
enum Base {
    Directory(Db),
    Server(Client),
}

/// Whether a database that is not there is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Create,
    Refuse,
}

/// A value and its version.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) value: Vec<u8>,
    pub(crate) version: u64,
    pub(crate) expires_at_ms: Option<u64>,
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

impl Target {
    /// Opens the directory, or addresses the server.
    pub(crate) fn open(place: &Place, missing: Missing) -> Result<Target> {
        let env = Env::real();
        let base = match &place.url {
            Some(url) => Base::Server(Client::new(url)?),
            None => {
                let create = missing == Missing::Create;
                let db = Db::builder(&place.data).create_if_missing(create).open()?;
                write_out_piled_up_logs(&db);
                Base::Directory(db)
            }
        };
        Ok(Target { base, env, durability: None })
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

    /// The version at `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        match &self.base {
            Base::Directory(db) => Ok(db.default_keyspace().get_record(key)?.map(|record| Found {
                value: record.value.to_vec(),
                version: record.seqno.0,
                expires_at_ms: record.expires_at_ms,
            })),
            Base::Server(client) => Ok(client.get(key)?.map(|found| Found {
                value: found.value,
                version: found.version,
                expires_at_ms: found.expires_at_ms,
            })),
        }
    }

    /// The path of a read: `{"found", "value"…, "explain": {"total_ns", "steps": [{"tier", "name", "outcome", "time_ns"}]}}`.
    pub(crate) fn explain(&self, key: &[u8]) -> Result<Value> {
        match &self.base {
            Base::Directory(db) => {
                let explain = db.default_keyspace().explain(key)?;
                let found = Record {
                    key: key.to_vec(),
                    value: explain.value.as_ref().map(|value| value.to_vec()).unwrap_or_default(),
                    expiry: Expiry::Never,
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
            Base::Server(client) => client.explain(key),
        }
    }

    /// Writes one record; its sequence number.
    pub(crate) fn put(&self, record: &Record) -> Result<u64> {
        match &self.base {
            Base::Directory(db) => {
                let mut batch = Batch::new();
                self.add(&mut batch, record)?;
                Ok(db.write_with(batch, self.write_options())?.0)
            }
            Base::Server(client) => {
                client.put(record, self.durability.map(Durability::name), self.wall_ms())
            }
        }
    }

    /// Deletes a key; its sequence number.
    pub(crate) fn delete(&self, key: &[u8]) -> Result<u64> {
        match &self.base {
            Base::Directory(db) => {
                let mut batch = Batch::new();
                batch.delete(key);
                Ok(db.write_with(batch, self.write_options())?.0)
            }
            Base::Server(client) => client.delete(key, self.durability.map(Durability::name)),
        }
    }

    /// Writes all records or none, in order.
    pub(crate) fn write(&self, records: &[Record]) -> Result<()> {
        match &self.base {
            Base::Directory(db) => {
                let mut batch = Batch::new();
                for record in records {
                    self.add(&mut batch, record)?;
                }
                db.write_with(batch, self.write_options())?;
                Ok(())
            }
            Base::Server(client) => {
                client.write(records, self.durability.map(Durability::name), self.wall_ms())
            }
        }
    }

    /// Hands every record of the scan to `visit`, in order, until it answers an error.
    pub(crate) fn scan(
        &self,
        scan: &Scan,
        visit: &mut dyn FnMut(Record) -> Result<()>,
    ) -> Result<()> {
        match &self.base {
            Base::Directory(db) => scan_directory(db, scan, visit),
            Base::Server(client) => scan_server(client, scan, visit),
        }
    }

    /// Hands every record there is to `visit`, in order, as of one moment.
    pub(crate) fn everything(&self, visit: &mut dyn FnMut(Record) -> Result<()>) -> Result<()> {
        match &self.base {
            Base::Directory(db) => scan_directory(db, &Scan::default(), visit),
            Base::Server(client) => client.stream(visit),
        }
    }

    /// Merges the tables that hold keys of the range.
    pub(crate) fn compact(&self, start: Option<&[u8]>, end: Option<&[u8]>) -> Result<Value> {
        match &self.base {
            Base::Directory(db) => {
                let summary =
                    db.compact((bound(start, Bound::Included), bound(end, Bound::Excluded)))?;
                Ok(serde_json::to_value(summary).expect("a plain structure has a JSON form"))
            }
            Base::Server(client) => client.compact(start, end),
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

    /// Makes everything durable. A verb that wrote ends with this.
    pub(crate) fn close(self) -> Result<()> {
        match self.base {
            Base::Directory(db) => Ok(db.close()?),
            Base::Server(_) => Ok(()),
        }
    }

    fn wall_ms(&self) -> u64 {
        self.env.clock.wall_ms()
    }

    fn write_options(&self) -> WriteOptions {
        match self.durability {
            Some(durability) => WriteOptions::new().durability(durability.into()),
            None => WriteOptions::new(),
        }
    }

    fn add(&self, batch: &mut Batch, record: &Record) -> Result<()> {
        let ttl_ms = match record.expiry {
            Expiry::Never => {
                batch.put(&record.key, &record.value);
                return Ok(());
            }
            Expiry::In(ms) => ms,
            // What expired while it lay in a file is written with the shortest life
            // there is: it still must cover an older value of its key.
            Expiry::At(at) => at.saturating_sub(self.wall_ms()).max(1),
        };
        let options = PutOptions::new().ttl(Duration::from_millis(ttl_ms));
        batch.put_with(&record.key, &record.value, options);
        Ok(())
    }
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

fn scan_directory(db: &Db, scan: &Scan, visit: &mut dyn FnMut(Record) -> Result<()>) -> Result<()> {
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
    let mut entries = db.range((start, bound(end, Bound::Excluded)));
    let keyspace = db.default_keyspace();
    for _ in 0..scan.limit.unwrap_or(u64::MAX) {
        let next = if scan.reverse { entries.next_back() } else { entries.next() };
        let Some(entry) = next else { break };
        let (key, value) = entry?;
        // The iterator does not tell the expiry. Nobody else holds this directory,
        // so the record read now is the one the iterator saw.
        let mut record = Record { key: key.to_vec(), ..Record::default() };
        if !scan.keys_only {
            let expires_at_ms = keyspace.get_record(&*key)?.and_then(|found| found.expires_at_ms);
            record.value = value.to_vec();
            record.expiry = expires_at_ms.map_or(Expiry::Never, Expiry::At);
        }
        visit(record)?;
    }
    Ok(())
}

fn scan_server(
    client: &Client,
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
        let (records, next) = client.scan(&query, cursor.as_deref())?.into_records()?;
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
