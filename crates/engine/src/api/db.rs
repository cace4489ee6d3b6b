//! `Db`: the handle that a program holds, and `Builder`, which opens it.

use crate::api::claim::MemoryClaim;
use crate::api::handle::Handle;
use crate::api::keyspace::Keyspace;
use crate::api::snapshot::Snapshot;
use crate::api::verify::VerifyReport;
use crate::background::compact::CompactSummary;
use crate::changes::{ChangeHold, Changes};
use crate::checkpoint::CheckpointSummary;
use crate::core::Core;
use crate::core::config::Config;
use crate::core::simulation::Simulation;
#[cfg(feature = "simulation")]
use crate::core::simulation::{Scheduler, Tuning};
use crate::opening::{self, recovery};
use crate::read::reading::Reading;
use crate::read::scan::{Cursor, Iter};
use crate::types::compactor::Compactor;
use crate::types::error::{Error, Result};
use crate::types::explain::Explain;
use crate::types::options::{Compression, Durability, KeyspaceOptions, PutOptions, WriteOptions};
use crate::types::position::{Position, Since};
use crate::types::range::KeyRange;
use crate::types::record::{Record, UnixMillis};
use crate::types::stats::{ClockStats, Stats};
use crate::write::batch::Batch;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tanada_format::{KeyspaceId, Lineage, SeqNo, WriterEpoch};
use tanada_table::Value;
use tanada_vfs::Env;

/// How a database is opened. Made by [`Db::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `open`"]
pub struct Builder {
    path: PathBuf,
    memory: u64,
    durability: Durability,
    compression: Option<Compression>,
    threads: Option<usize>,
    create_if_missing: bool,
    read_only: bool,
    compactor: Option<Arc<dyn Compactor>>,
    epoch: Option<WriterEpoch>,
    env: Env,
    simulation: Simulation,
}

impl Builder {
    /// The hard memory budget in bytes that MemTables, caches, indexes, filters,
    /// cursors, waiting batches and job buffers share. Default 256 MiB, at least 16 MiB.
    ///
    /// A batch, and so about a value, is at most 3/16 of it. Where it is full because
    /// cursors that do not move hold MemTables, writes answer [`Error::MemoryFull`].
    /// Values that the caller keeps are the caller's.
    pub fn memory(mut self, bytes: u64) -> Builder {
        self.memory = bytes;
        self
    }

    /// What a write must survive before it is acknowledged, unless it says
    /// otherwise. Default [`Durability::Synced`].
    pub fn durability(mut self, durability: Durability) -> Builder {
        self.durability = durability;
        self
    }

    /// Compression of new tables of the default keyspace; it may differ at each
    /// open. Default: what the database was created with; LZ4 for a new one.
    pub fn compression(mut self, compression: Compression) -> Builder {
        self.compression = Some(compression);
        self
    }

    /// How many background jobs run at once, 1 to 64: one flush, and one compaction fewer
    /// than that, at least one. Two more threads prepare logs and remove files; they mostly
    /// wait. Default: one job a core, at least 2, at most 8.
    pub fn threads(mut self, threads: usize) -> Builder {
        self.threads = Some(threads);
        self
    }

    /// Whether a database that is not there is created (default) or refused.
    pub fn create_if_missing(mut self, yes: bool) -> Builder {
        self.create_if_missing = yes;
        self
    }

    /// Opens it as the writer of this epoch, for a database that follows a bucket: what is
    /// written bears it, and what a writer of a later epoch has written is refused. Default:
    /// that of the last opening, 0 where there was none.
    pub fn writer_epoch(mut self, epoch: WriterEpoch) -> Builder {
        self.epoch = Some(epoch);
        self
    }

    /// Opens it for reading only: nothing is created, changed, locked or synced, so the
    /// directory need not be writable, and the disk may be full. Writes answer
    /// [`Error::ReadOnly`]. There must be a database.
    ///
    /// It shows the moment of its opening: every write that was acknowledged before, batches
    /// whole, and none that comes later. That moment needs as much memory as the logs take
    /// that are in no table yet. Another process may write meanwhile. It may remove tables
    /// then that this view needs: a read that finds one gone answers an error that says so,
    /// and never an older value; open it again.
    pub fn read_only(mut self) -> Builder {
        self.read_only = true;
        self
    }

    /// Lets `compactor` carry out compactions elsewhere. Default: this process does.
    pub fn compactor(mut self, compactor: Arc<dyn Compactor>) -> Builder {
        self.compactor = Some(compactor);
        self
    }

    /// The machine to run on. Default: the real one. Tests and simulations
    /// bring one in memory, whose power they can cut.
    pub fn env(mut self, env: Env) -> Builder {
        self.env = env;
        self
    }

    /// Sets sizes that otherwise follow from the memory budget.
    #[cfg(feature = "simulation")]
    pub fn tuning(mut self, tuning: Tuning) -> Builder {
        self.simulation.tuning = tuning;
        self
    }

    /// Lets `scheduler` say what the background does next. Of effect only where
    /// [`Builder::env`] has no threads.
    #[cfg(feature = "simulation")]
    pub fn scheduler(mut self, scheduler: Arc<dyn Scheduler>) -> Builder {
        self.simulation.scheduler = Some(scheduler);
        self
    }

    /// Opens the database, creating it if that is allowed.
    ///
    /// Cost: reads the manifest and replays the log's tail; no table is read. A log
    /// that is longer than MemTables may get is read twice, and flushed while it is
    /// replayed: so it opens with whatever budget. Files that nothing needs any more are
    /// removed, and when earlier lives have left more than eight logs without a flush,
    /// or more than three quarters of the budget of them, all is flushed.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process holds it, or this one does, [`Error::NotADatabase`],
    /// [`Error::Unsupported`] when it is of a newer format,
    /// [`Error::Corruption`] or [`Error::MissingFile`] when a file is damaged or
    /// gone; nothing on disk is changed then. [`Error::InvalidArgument`] when the memory
    /// budget is too small, or this process may have too few files open; it says how
    /// many are needed.
    pub fn open(self) -> Result<Db> {
        if self.memory < crate::control::budget::MIN_MEMORY {
            return Err(Error::InvalidArgument(format!(
                "a memory budget of {} bytes is too small; give at least 16 MiB",
                self.memory
            )));
        }
        let threads = self.threads.unwrap_or_else(|| self.env.threads.parallelism().clamp(2, 8));
        if !(1..=64).contains(&threads) {
            return Err(Error::InvalidArgument(format!(
                "{threads} background threads cannot be; give 1 to 64"
            )));
        }
        let config = Config::new(self.memory, self.durability, self.compression, threads);
        if self.read_only {
            let config = config.simulated(self.simulation);
            let reading = opening::read_only::open(self.env, self.path, &config)?;
            return Ok(Db::new(Handle::reading_only(reading)));
        }
        let config = config.in_epoch(self.epoch).compacted_by(self.compactor);
        let config = config.simulated(self.simulation);
        let core = recovery::open(self.env, self.path, config, self.create_if_missing)?;
        // Should a thread not start, dropping the handle ends those that did, and lets go
        // of the directory.
        let db = Db::new(Handle::writing(Arc::clone(&core)));
        core.start_background()?;
        Ok(db)
    }
}

/// An open database.
///
/// Cheap to clone; all clones are the same database. When the last handle
/// (clone, keyspace or snapshot) goes, it is closed as by [`Db::close`].
///
/// The verbs on `Db` itself are those of the default keyspace.
///
/// # Processes
///
/// A database belongs to the process that opened it; others are refused with
/// [`Error::Locked`] until it is closed. Threads may start programs at any time: a program
/// inherits nothing of the database, and keeps nobody from opening it again.
///
/// A child forked from that process, which executes no program, has a copy of its handles
/// and none of its threads. There every call answers [`Error::Forked`], reads too, and
/// changes nothing on disk; so do cursors, iterators and snapshots made before the fork.
/// Dropping them does nothing, and their memory stays taken. [`Db::stats`] says why in
/// `read_only`; its numbers are 0. [`Value`]s and what [`Cursor::entry`] shows were read
/// before, and stay readable. The parent notices nothing. The child may open other
/// databases, and this one once the parent has closed it.
///
/// Fork before opening where there is a choice: the child of a process with several
/// threads lacks them for more libraries than this one. A child made by the bare system
/// call instead of `fork` is refused alike, but keeps the lock of a parent that is killed
/// until it ends.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// let db = tanada::Db::open(dir.path().join("db"))?;
/// db.put("k", "v")?;
/// assert_eq!(db.get("k")?.as_deref(), Some(&b"v"[..]));
/// db.delete("k")?;
/// assert!(!db.contains("k")?);
/// # Ok::<(), tanada::Error>(())
/// ```
#[derive(Clone)]
pub struct Db {
    default: Keyspace,
}

impl Db {
    fn new(handle: Handle) -> Db {
        let state = Arc::clone(&handle.reading().keyspaces.load()[KeyspaceId::DEFAULT]);
        Db { default: Keyspace::new(Arc::new(handle), state) }
    }

    fn reading(&self) -> &Arc<Reading> {
        self.default.reading()
    }

    fn writer(&self) -> Result<&Arc<Core>> {
        self.default.writer()
    }

    /// Opens a database for reading only, with the defaults: see [`Builder::read_only`].
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Db> {
        Db::builder(path).read_only().open()
    }

    /// Opens (or creates) a database with the defaults: synced writes, 256 MiB.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Db> {
        Db::builder(path).open()
    }

    /// Says how to open the database in directory `path`.
    pub fn builder(path: impl AsRef<Path>) -> Builder {
        let env = Env::real();
        Builder {
            path: path.as_ref().to_owned(),
            memory: 256 << 20,
            durability: Durability::default(),
            compression: None,
            threads: None,
            create_if_missing: true,
            read_only: false,
            compactor: None,
            epoch: None,
            env,
            simulation: Simulation::default(),
        }
    }

    /// The keyspace that the verbs of `Db` use.
    pub fn default_keyspace(&self) -> &Keyspace {
        &self.default
    }

    /// Sets `key` to `value`. See [`Keyspace::put`].
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<SeqNo> {
        self.default.put(key, value)
    }

    /// Sets `key` to `value` with options, such as a time to live.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        options: PutOptions,
    ) -> Result<SeqNo> {
        self.default.put_with(key, value, options)
    }

    /// The newest value of `key`. See [`Keyspace::get`].
    ///
    /// # Errors
    /// I/O or damage below: never "not found", never an older value instead.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        self.default.get(key)
    }

    /// The newest value of `key` and the path of the read.
    ///
    /// # Errors
    /// As [`Db::get`].
    pub fn explain(&self, key: impl AsRef<[u8]>) -> Result<Explain> {
        self.default.explain(key)
    }

    /// Value, version and expiry of `key`.
    ///
    /// # Errors
    /// As [`Db::get`].
    pub fn get_record(&self, key: impl AsRef<[u8]>) -> Result<Option<Record>> {
        self.default.get_record(key)
    }

    /// Removes `key`; no error when it is not there.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<SeqNo> {
        self.default.delete(key)
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// As [`Db::get`].
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.default.contains(key)
    }

    /// The newest values of several keys, of one moment.
    ///
    /// # Errors
    /// As [`Db::get`].
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Value>>> {
        self.default.multi_get(keys)
    }

    /// Writes a batch: all or nothing, across keyspaces. Answers the sequence
    /// number of its last write.
    ///
    /// A batch may take up to three sixteenths of the memory budget, in memory: key and
    /// value, some 90 bytes for each write, and 10 KB for each keyspace beside the first.
    /// With 16 MiB that is one value of 3 MiB, or 31,000 writes of a few bytes.
    ///
    /// A batch may have conditions: see [`Batch`]. Of one without writes, the answer is the
    /// number of the newest write behind which its conditions held.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], [`Error::Conflict`], [`Error::Undecided`],
    /// [`Error::ReadOnly`], [`Error::MemoryFull`],
    /// [`Error::Closed`] and [`Error::Forked`]: nothing was done. Any other: the outcome is unknown until the database
    /// is opened again.
    pub fn write(&self, batch: Batch) -> Result<SeqNo> {
        self.write_with(batch, WriteOptions::new())
    }

    /// Writes a batch with options. Write `i` of `n` in it has the answered
    /// number less `n - 1 - i`.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn write_with(&self, mut batch: Batch, options: WriteOptions) -> Result<SeqNo> {
        self.writer()?.commit(&mut batch, options.durability)
    }

    /// Writes several batches in this order, each all or nothing for itself, and answers
    /// each, in the same order. What a batch is refused for is no matter of the others;
    /// conditions see what the batches before have written.
    ///
    /// As many as fit share one log record and one sync, as those of several threads would:
    /// for a program that answers many clients from one thread. Others may write in between.
    ///
    /// # Errors
    /// Those of each batch as of [`Db::write`].
    pub fn write_each(
        &self,
        batches: impl IntoIterator<Item = (Batch, WriteOptions)>,
    ) -> Vec<Result<SeqNo>> {
        let batches = batches.into_iter();
        let core = match self.writer() {
            Ok(core) => core,
            Err(e) => return batches.map(|_| Err(e.clone())).collect(),
        };
        core.commit_each(batches.map(|(batch, options)| (batch, options.durability)))
    }

    /// Keys and values of `range`, in order, from either end.
    pub fn range(&self, range: impl KeyRange) -> Iter {
        self.default.range(range)
    }

    /// All keys and values, in order, from either end.
    pub fn iter(&self) -> Iter {
        self.default.iter()
    }

    /// Keys that start with `prefix`, and their values.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Iter {
        self.default.prefix(prefix)
    }

    /// A cursor over all keys: the fast way to scan.
    pub fn cursor(&self) -> Cursor {
        self.default.cursor()
    }

    /// This moment of the whole database, kept readable until dropped.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.default.clone())
    }

    /// Opens the keyspace `name`, creating it when it is not there: one
    /// manifest write with a sync. Names are 1 to 255 bytes of UTF-8. What
    /// `options` say holds for every handle of the keyspace from now on.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a bad name; as [`Db::write`].
    pub fn keyspace(&self, name: &str, options: KeyspaceOptions) -> Result<Keyspace> {
        let state = match self.writer() {
            Ok(core) => core.open_keyspace(name, &options)?,
            // One that is there can be read.
            Err(e) => self.reading().find_keyspace(name)?.ok_or(e)?,
        };
        Ok(Keyspace::new(Arc::clone(self.default.handle()), state))
    }

    /// The keyspace `name`, if there is one; the default one is `"default"`. Creates
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Closed`] and [`Error::Forked`].
    pub fn find_keyspace(&self, name: &str) -> Result<Option<Keyspace>> {
        let found = self.reading().find_keyspace(name)?;
        Ok(found.map(|state| Keyspace::new(Arc::clone(self.default.handle()), state)))
    }

    /// Names of all keyspaces but the default one.
    pub fn keyspaces(&self) -> Vec<String> {
        self.reading().keyspaces.load().iter().skip(1).map(|k| k.name.clone()).collect()
    }

    /// Writes all MemTables of all keyspaces to tables, durably.
    ///
    /// # Errors
    /// Why they could not be written; they stay in the log.
    pub fn flush(&self) -> Result<()> {
        self.writer()?.flush(None)
    }

    /// Merges all tables of the default keyspace that hold keys of `range`
    /// down to the last level, MemTables first. Readers and writers go on.
    ///
    /// # Errors
    /// I/O or damage; inputs are left as they were.
    pub fn compact(&self, range: impl KeyRange) -> Result<CompactSummary> {
        self.default.compact(range)
    }

    /// Reads and checks every byte of every file. What is wrong is in the
    /// report, by file and offset. Of a database that was opened for reading only the tables
    /// alone: manifest and logs were checked when it was opened.
    ///
    /// # Errors
    /// When the database is closed, or not even the directory can be read.
    pub fn verify(&self) -> Result<VerifyReport> {
        match self.writer() {
            Ok(core) => core.verify(),
            Err(_) => self.reading().verify(),
        }
    }

    /// Makes a checkpoint: the whole database at one moment, in the new directory `path`.
    /// Every write that was acknowledged before the call is in it, batches and keyspaces
    /// whole; so is no other than those that were acknowledged before its moment. It is a
    /// database: open it, [verify](Db::verify) it, write to it, make a checkpoint of it.
    /// This database and the checkpoint never change each other. Reads, writes, flushes and
    /// compactions go on meanwhile.
    ///
    /// Tables are linked, so they take no room as long as both have them; where `path` lies
    /// on another file system they are copied, and the copies are read back and checked.
    /// What is in no table yet is copied from the log. Nothing is flushed.
    ///
    /// It is there whole and durably, or not at all. It is made in the directory
    /// `path.unfinished`; what a process that died has left there is removed by the next
    /// call with the same `path`.
    ///
    /// Cost: writers wait for the moment, which does no I/O. A link for each table (or a
    /// copy of it); reading and writing what MemTables hold, from log to log; a sync of
    /// each file that is written, and of two directories. The linked tables are not read: [`Db::verify`] of the
    /// checkpoint does that.
    ///
    /// The checkpoint keeps the id of this database, to which its tables are bound.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when `path` holds something, or another checkpoint is
    /// being made there; [`Error::InvalidArgument`] when the directory above is not there,
    /// or is this database's; [`Error::Poisoned`], [`Error::Closed`] (also when it is closed
    /// meanwhile) and [`Error::Forked`]; [`Error::Io`], [`Error::Corruption`] and
    /// [`Error::MissingFile`]. Nothing of the checkpoint is left then, and the database goes
    /// on as before. One that is read-only can be saved so.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let db = tanada::Db::open(dir.path().join("db"))?;
    /// db.put("k", "v1")?;
    /// db.checkpoint(dir.path().join("monday"))?;
    /// db.put("k", "v2")?;
    /// let monday = tanada::Db::open(dir.path().join("monday"))?;
    /// assert_eq!(monday.get("k")?.as_deref(), Some(&b"v1"[..]));
    /// # Ok::<(), tanada::Error>(())
    /// ```
    pub fn checkpoint(&self, path: impl AsRef<Path>) -> Result<CheckpointSummary> {
        self.writer()?.checkpoint(path.as_ref())
    }

    /// Follows what is committed: every change from `since` on, in the order of the commits,
    /// commits whole. Nothing is shown that a power cut could still take back, and nothing
    /// that a read does not find yet. Where [`Durability::Synced`] is not asked for, commits
    /// are synced now and then while somebody follows: after a quarter of a second, or 8 MiB.
    ///
    /// The log is kept from the place on that the stream has come to, until it moves on or
    /// is dropped. But no more than the memory budget of it, and 64 MiB where that is less,
    /// beside what is kept anyway: a consumer that is further behind gets
    /// [`Error::WindowGone`], and the disk does not fill. Nothing is kept while the database
    /// is closed: a position that was kept over a restart is good as long as the log goes
    /// back so far. One that was behind the last change before always is.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tanada::{Db, Operation, Since};
    /// # let dir = tempfile::tempdir().unwrap();
    /// let db = Db::open(dir.path().join("db"))?;
    /// let mut changes = db.changes(Since::Now)?;
    /// db.put("k", "v")?;
    /// db.delete("k")?;
    /// while changes.wait(Duration::ZERO)? {
    ///     let Some(group) = changes.next()? else { break };
    ///     for change in group.changes() {
    ///         match change.operation {
    ///             Operation::Put { value, .. } => println!("{:?} = {value:?}", change.key),
    ///             _ => println!("{:?} was removed", change.key),
    ///         }
    ///     }
    /// }
    /// let kept = changes.position().to_string();
    /// # drop(changes);
    /// // Later, or in another process:
    /// let position: tanada::Position = kept.parse().unwrap();
    /// let mut changes = db.changes(position)?;
    /// assert!(changes.next()?.is_none());
    /// db.put("k", "w")?;
    /// assert_eq!(changes.next()?.unwrap().changes().next().unwrap().key, b"k");
    /// # Ok::<(), tanada::Error>(())
    /// ```
    ///
    /// Creating a keyspace is no change; the first write to it names it. Cost: waits for the
    /// commit that is under way, and reads the log file in which it begins up to there; of
    /// [`Since::Now`] a sync where the last commit was not synced.
    ///
    /// # Errors
    /// [`Error::WindowGone`] when changes from there on are not in the log, or it is not the
    /// log that the position was taken of; [`Error::Corruption`], [`Error::MissingFile`],
    /// [`Error::MemoryFull`] and [`Error::Io`]; [`Error::Closed`] and [`Error::Forked`];
    /// [`Error::ReadOnly`] of a database that was opened for reading only.
    pub fn changes(&self, since: impl Into<Since>) -> Result<Changes> {
        Changes::new(self.writer()?, since.into())
    }

    /// Keeps the changes from `position` on for who will read them later: see [`ChangeHold`].
    ///
    /// # Errors
    /// As [`Db::changes`].
    pub fn hold_changes(&self, position: Position) -> Result<ChangeHold> {
        ChangeHold::new(self.writer()?, position)
    }

    /// Statistics of every tier. Cost: a walk over all tables in memory.
    pub fn stats(&self) -> Stats {
        match self.writer() {
            Ok(core) => core.stats(),
            Err(_) => self.reading().stats(),
        }
    }

    /// The time by which this database judges what has expired, in milliseconds since 1970:
    /// the wall clock's, as far as it is believed ([`crate::ClockStats`]). A key that
    /// expires at that moment or before is gone. Cost: one look at the clock.
    pub fn now(&self) -> UnixMillis {
        let reading = self.reading();
        match reading.health.owner.is_forked() {
            // What it believes is behind a lock that may be held for ever.
            true => UnixMillis(reading.env.clock.wall_ms()),
            false => UnixMillis(reading.now_ms()),
        }
    }

    /// The wall clock is right now, whatever it said before: it is believed from here on,
    /// further ahead than elapsed time allows, or behind what was believed. What has expired
    /// by it is gone; what has not, and is still there, is back. For a person who has looked
    /// at the clock. Cost: one sync.
    ///
    /// # Errors
    /// When it cannot be noted in the manifest: then the next opening may not believe it.
    pub fn trust_clock(&self) -> Result<ClockStats> {
        self.writer()?.trust_clock()
    }

    /// Whose sequence numbers those of this database are: 64 bits, drawn at random when it
    /// was created. A number and its lineage name one write for ever.
    pub fn lineage(&self) -> Lineage {
        self.reading().lineage
    }

    /// Takes `bytes` of the memory budget for the program itself: for requests, answers
    /// and buffers that live beside the database. The caches give way.
    ///
    /// # Errors
    /// [`Error::MemoryFull`] when they cannot give so much. Nothing was done.
    pub fn claim_memory(&self, bytes: u64) -> Result<MemoryClaim> {
        MemoryClaim::new(self.reading(), bytes)
    }

    /// Does one piece of the background's work in this thread, if any is due, where
    /// there are no other threads for it. Answers whether it did.
    #[cfg(feature = "simulation")]
    pub fn step(&self) -> bool {
        let Ok(core) = self.writer() else { return false };
        !core.reading.health.owner.is_forked() && core.background.is_inline() && core.step()
    }

    /// Makes every write durable and ends the threads. All handles answer
    /// [`Error::Closed`] from now on. Closing twice is fine.
    ///
    /// # Errors
    /// When the last sync fails: writes below `Synced` may be lost by a power cut.
    pub fn close(&self) -> Result<()> {
        match self.writer() {
            Ok(core) => core.close(),
            Err(Error::ReadOnly { .. }) => {
                self.reading().health.close();
                Ok(())
            }
            Err(Error::Closed) => Ok(()),
            Err(e) => Err(e),
        }
    }
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("path", &self.reading().path).finish_non_exhaustive()
    }
}
