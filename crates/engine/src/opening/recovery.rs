//! Opening: from a directory to a [`Core`], whatever the last process left.
//!
//! 1. Look at the directory; lock it; look again.
//! 2. Read the manifest: keyspaces and their tables. No table is opened.
//! 3. Replay the log's tail into MemTables, each keyspace from where its
//!    tables end.
//! 4. Begin a new log behind the old one's last whole record. Old logs are
//!    never appended to; they stay until the MemTables replayed from them are
//!    in tables.
//!
//! Nothing on disk is changed before the log has been found whole.

use crate::control::budget::{Budget, RowCacheUse};
use crate::control::counters::Counters;
use crate::control::health::Health;
use crate::control::owner::Owner;
use crate::control::pacing::Pacing;
use crate::core::Core;
use crate::core::config::Config;
use crate::core::jobs::Jobs;
use crate::core::queue::Commit;
use crate::core::work::Background;
use crate::memtable::{ChunkPool, WriterToken};
use crate::read::mem::Mem;
use crate::read::reading::Reading;
use crate::read::reading::Visible;
use crate::read::row_cache::{RowCache, Worth};
use crate::read::snapshots::Snapshots;
use crate::read::view::{KeyspaceState, View};
use crate::tree::manifest::{self, CreatedKeyspace, Current, Edit, Found, Manifest};
use crate::tree::version::TableStore;
use crate::types::error::{Error, Result};
use crate::types::keyspace_options;
use crate::types::options::Compression;
use crate::wal::group::Group;
use crate::wal::{self, RecordPlace, RecoverFrom, Tail, WalWriter};
use arc_swap::ArcSwap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tanada_format::{Corruption, DatabaseId, EntryRef, KeyspaceId, LogId, LogPosition, SeqNo};
use tanada_table::{BlockCache, Published};
use tanada_vfs::sync::{self, Mutex};
use tanada_vfs::{DirLock, Env, LockHeld};

/// The default keyspace's name in the manifest.
const DEFAULT_NAME: &str = "default";

/// Opens the database in `path`, or creates one there.
///
/// # Errors
/// As [`crate::Builder::open`].
pub(crate) fn open(mut env: Env, path: PathBuf, config: Config, create: bool) -> Result<Arc<Core>> {
    let descriptors = config.descriptors(&*env.fs);
    descriptors.check()?;
    // Whatever needs a descriptor and finds none takes that of a table.
    let open_files = descriptors.over(env.fs);
    env.fs = Arc::new(open_files.clone());
    // Before anything is written: a foreign directory is left as it is.
    let found = manifest::inspect(&*env.fs, &path)?;
    if matches!(found, Found::Nothing) && !create {
        let why = "there is none, and creating one was not asked for".to_owned();
        return Err(Error::NotADatabase { path, why });
    }
    env.fs.create_dir_all(&path)?;
    let lock = lock(&env, &path)?;
    let budget = config.budget();
    let block_cache = BlockCache::new(budget.caches(RowCacheUse::Asked).block_cache);
    let files = |id| {
        let open_tables = config.open_tables(&block_cache);
        TableStore::within(open_files.clone(), &path, id, Arc::clone(&block_cache), open_tables)
    };
    let (tables, mut manifest) = match manifest::inspect(&*env.fs, &path)? {
        Found::Nothing => create_database(&env, &config, files)?,
        Found::Database(current) => open_database(&current, files)?,
    };

    let token = WriterToken::new();
    let mut replay = Replay::new(token, &manifest, &path, &budget, config.compression)?;
    let tail = replay_log(&env, &path, tables.database, &manifest, &mut replay)?;
    let wal = WalWriter::create(&env, &path, tables.database, &tail, config.log_sizes())?;
    // Each opening begins a log: those that no MemTable needs go, or they would pile
    // up in a database that is opened often and written to rarely.
    let needed = replay.oldest_needed().unwrap_or(wal.position());
    let oldest_log = wal.handle().oldest_needed_for(needed);
    // In a new database only now may a write be acknowledged: the manifest knows
    // of the log.
    manifest.append(&Edit { oldest_log: Some(oldest_log), ..Edit::default() })?;
    manifest.settle()?;

    let state = manifest.state();
    let last_seqno = state.last_seqno.max(replay.last_seqno);
    let clock_high_ms = state.clock_high_ms;
    let oldest_log = state.oldest_log;
    let active_bytes = replay.active_bytes();
    budget.memtable_bytes.store(replay.memtable_bytes(), Ordering::Relaxed);
    let reading = Reading {
        database_id: tables.database,
        row_cache: RowCache::new(budget.caches(RowCacheUse::Asked).row_cache),
        row_cache_worth: Worth::new(),
        block_cache,
        tables,
        budget,
        balancing: Mutex::new(()),
        counters: Counters::new(),
        health: Health::new(Owner::new(lock.process())),
        snapshots: Snapshots::default(),
        visible: Visible(sync::atomic::AtomicU64::new(last_seqno.0)),
        clock_high_ms: AtomicU64::new(clock_high_ms),
        views: Mutex::new(()),
        keyspaces: ArcSwap::from_pointee(replay.keyspaces),
        env,
        path,
    };
    let core = Arc::new(Core {
        opened_ns: reading.env.clock.monotonic_ns(),
        reading: Arc::new(reading),
        opened_position: wal.position(),
        table_ids: manifest.ids(),
        wal: wal.handle().clone(),
        chunks: replay.chunks,
        jobs: Jobs::default(),
        pacing: Pacing::default(),
        commit: Commit::new(wal, replay.token, last_seqno.plus(1), active_bytes),
        manifest: Mutex::new(manifest),
        background: Background::new(oldest_log),
        lock: Mutex::new(Some(lock)),
        config,
    });
    core.reading.rebalance();
    core.update_pacing();
    core.background.set_sealed_to(core.opened_position);
    core.drop_old_logs_now();
    core.shorten_log();
    Ok(core)
}

impl Core {
    /// Lets everything be flushed when the files of the log are much larger than what
    /// is in MemTables can be: many openings have each begun one.
    fn shorten_log(&self) {
        let bytes: u64 = self.wal.segments().iter().map(|segment| segment.bytes).sum();
        if bytes > 2 * self.reading.budget.memtables_max {
            let mut writer = self.commit.writer();
            for keyspace in self.reading.keyspaces.load().iter() {
                self.seal(&mut writer, keyspace);
            }
        }
    }
}

fn lock(env: &Env, path: &Path) -> Result<Box<dyn DirLock>> {
    env.fs.lock(&path.join("LOCK")).map_err(|e| {
        if e.kind() != io::ErrorKind::WouldBlock {
            return e.into();
        }
        let pid = LockHeld::of(&e).and_then(|held| held.pid);
        Error::Locked { path: path.to_owned(), pid }
    })
}

fn create_database(
    env: &Env,
    config: &Config,
    files: impl FnOnce(DatabaseId) -> Arc<TableStore>,
) -> Result<(Arc<TableStore>, Manifest)> {
    let mut id = [0; 16];
    env.random.fill(&mut id);
    let tables = files(DatabaseId(id));
    let initial = Edit {
        created: vec![CreatedKeyspace {
            id: KeyspaceId::DEFAULT,
            name: DEFAULT_NAME.to_owned(),
            options: keyspace_options::encode(config.compression.unwrap_or_default()),
        }],
        ..Edit::default()
    };
    let manifest = Manifest::create(Arc::clone(&tables), &initial)?;
    Ok((tables, manifest))
}

fn open_database(
    current: &Current,
    files: impl FnOnce(DatabaseId) -> Arc<TableStore>,
) -> Result<(Arc<TableStore>, Manifest)> {
    let tables = files(current.database);
    let manifest = Manifest::open(Arc::clone(&tables), current)?;
    Ok((tables, manifest))
}

/// Replays what the manifest's tables lack, and says where the log ends.
fn replay_log(
    env: &Env,
    path: &Path,
    database: DatabaseId,
    manifest: &Manifest,
    replay: &mut Replay,
) -> Result<Tail> {
    let state = manifest.state();
    if state.oldest_log == LogId(0) {
        // A creation that never ended: nothing was ever acknowledged.
        for entry in env.fs.read_dir(path)? {
            if entry.name.ends_with(".log") {
                env.fs.remove(&path.join(&entry.name))?;
            }
        }
        return Ok(Tail::new_database());
    }
    // A flush syncs the log before its edit, so this much was durable.
    let from = RecoverFrom { log: state.oldest_log, synced: state.log_synced() };
    let recovered =
        wal::recover(env, path, database, from, |place, payload| replay.group(&place, payload))?;
    Ok(recovered.tail)
}

/// Keyspaces being filled from the log.
struct Replay {
    token: WriterToken,
    keyspaces: Vec<Arc<KeyspaceState>>,
    /// Where each keyspace's tables end.
    from: Vec<LogPosition>,
    last_seqno: SeqNo,
    seal_bytes: usize,
    chunks: Arc<ChunkPool>,
}

impl Replay {
    /// `asked`: the compression that was given for the default keyspace.
    fn new(
        token: WriterToken,
        manifest: &Manifest,
        dir: &Path,
        budget: &Budget,
        asked: Option<Compression>,
    ) -> Result<Replay> {
        let state = manifest.state();
        let mut keyspaces = Vec::with_capacity(state.keyspaces.len());
        let mut from = Vec::with_capacity(state.keyspaces.len());
        let chunks = ChunkPool::new(budget.memtable_seal);
        for (&id, keyspace) in &state.keyspaces {
            if id.0 as usize != keyspaces.len() {
                let what = "a keyspace was dropped".to_owned();
                return Err(Error::Unsupported { file: dir.to_owned(), what });
            }
            let created_with = keyspace_options::decode(&keyspace.options, dir)?;
            let asked = asked.filter(|_| id == KeyspaceId::DEFAULT);
            let view = View {
                active: Mem::new(&chunks),
                sealed: Vec::new(),
                version: Arc::clone(&keyspace.tables),
            };
            keyspaces.push(Arc::new(KeyspaceState {
                id,
                name: keyspace.name.clone(),
                compression: Mutex::new(asked.unwrap_or(created_with)),
                view: Published::new(Arc::new(view)),
            }));
            from.push(keyspace.flushed_to);
        }
        if keyspaces.is_empty() {
            let what = "the manifest knows no keyspace";
            return Err(Corruption::new(dir.join("CURRENT"), 0, what).into());
        }
        Ok(Replay {
            token,
            keyspaces,
            from,
            last_seqno: SeqNo::ZERO,
            seal_bytes: budget.memtable_seal as usize,
            chunks,
        })
    }

    fn group(&mut self, place: &RecordPlace<'_>, payload: &[u8]) -> Result<()> {
        let group = Group::parse(payload).map_err(|e| place.corruption(e.offset, e.what))?;
        if group.first_seqno <= self.last_seqno {
            return Err(place.corruption(0, "its sequence numbers have been used before"));
        }
        self.seal_full(place.start);
        for entry in group.entries() {
            let (id, entry) = entry.map_err(|e| place.corruption(e.offset, e.what))?;
            self.entry(place, id, entry)?;
        }
        self.last_seqno = group.last_seqno();
        Ok(())
    }

    /// Seals what is full, between two records: `end` is where the next begins.
    fn seal_full(&self, end: LogPosition) {
        for keyspace in &self.keyspaces {
            let view = keyspace.view.load();
            if view.active.table.size_bytes() < self.seal_bytes {
                continue;
            }
            view.active.set_end(end);
            keyspace.view.store(Arc::new(view.with_new_active(&self.chunks)));
        }
    }

    fn entry(
        &mut self,
        place: &RecordPlace<'_>,
        id: KeyspaceId,
        entry: EntryRef<'_>,
    ) -> Result<()> {
        let Some(keyspace) = self.keyspaces.get(id.0 as usize) else {
            return Err(place.corruption(0, "it writes to a keyspace that does not exist"));
        };
        if place.start < self.from[id.0 as usize] {
            return Ok(());
        }
        let view = keyspace.view.load();
        view.active.touch(place.start);
        view.active.table.insert(&mut self.token, entry);
        Ok(())
    }

    /// Start of the oldest record that some MemTable needs.
    fn oldest_needed(&self) -> Option<LogPosition> {
        self.keyspaces.iter().filter_map(|k| k.view.load().oldest_position()).min()
    }

    fn active_bytes(&self) -> u64 {
        self.keyspaces.iter().map(|k| k.view.load().active.size_bytes()).sum()
    }

    fn memtable_bytes(&self) -> u64 {
        let views = self.keyspaces.iter().map(|k| k.view.load());
        views.map(|view| view.mems().map(|m| m.size_bytes()).sum::<u64>()).sum()
    }
}

#[cfg(test)]
mod tests;
