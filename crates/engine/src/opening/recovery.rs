//! Opening: from a directory to a [`Core`], whatever the last process left.
//!
//! 1. Look at the directory; lock it; look again.
//! 2. Read the manifest: keyspaces and their tables. No table is opened.
//! 3. Read the log's tail to its end, and replay it into MemTables as far as they
//!    have room, each keyspace from where its tables end.
//! 4. Begin a new log behind the old one's last whole record. Old logs are
//!    never appended to; they stay until the MemTables replayed from them are
//!    in tables.
//! 5. Where there was no room for all of it: flush, replay, and so on.
//! 6. Finish what short lives would leave for ever ([`upkeep`](super::upkeep)).
//!
//! Nothing on disk is changed before the log has been found whole.

use crate::control::account::Part;
use crate::control::belief::DurableTime;
use crate::control::budget::{Budget, Bytes, MIN_MEMORY, RowCacheUse};
use crate::control::counters::Counters;
use crate::control::freed_heap::FreedHeap;
use crate::control::health::Health;
use crate::control::io_rate::IoRate;
use crate::control::owner::Owner;
use crate::control::pacing::Pacing;
use crate::control::wall_time::WallTime;
use crate::core::Core;
use crate::core::config::Config;
use crate::core::jobs::Jobs;
use crate::core::queue::Commit;
use crate::core::seqnos::Seqnos;
use crate::core::unflushed::Unflushed;
use crate::core::work::Background;
use crate::memtable::{Fixed, WriterToken};
use crate::opening::replay::Replay;
use crate::read::dead_spans::{DeadSpans, LOOKED};
use crate::read::holders::Holders;
use crate::read::keyspaces::Keyspaces;
use crate::read::reading::{Reading, Retired, Visible};
use crate::read::row_cache::{RowCache, Worth};
use crate::read::view::KeyspaceState;
use crate::tree::manifest::{self, CreatedKeyspace, Current, Edit, Found, Manifest, State};
use crate::tree::version::{Deletion, TableStore, Version};
use crate::types::error::{Error, Result};
use crate::types::keyspace_options;
use crate::wal::{self, LogOwner, RecordPlace, RecoverFrom, Tail, WalWriter};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tanada_format::{DatabaseId, KeyspaceId, Lineage, LogId, SeqNo, WriterEpoch, planted};
use tanada_table::BlockCache;
use tanada_vfs::sync::atomic::{AtomicBool, AtomicU64};
use tanada_vfs::sync::{ArcSwap, Mutex, OnceLock};
use tanada_vfs::{DirLock, Env, LockHeld, Process};

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
    let block_cache = BlockCache::new(budget.divide(RowCacheUse::Untried, 0).block_cache);
    let files = |id| {
        let open_tables = config.open_tables(&block_cache);
        TableStore::within(open_files.clone(), &path, id, Arc::clone(&block_cache), open_tables)
    };
    let (tables, mut manifest) = match manifest::inspect(&*env.fs, &path)? {
        Found::Nothing => create_database(&env, &config, files)?,
        Found::Database(current) => open_database(&current, files)?,
    };

    manifest.snapshot_part_bytes = config.simulation.snapshot_part(manifest.snapshot_part_bytes);
    let mut token = WriterToken::new();
    let mut replay = Replay::new(&manifest, &path, &budget, config.compression)?;
    let trees = check_budget(&budget, replay.keyspaces())?;
    budget.account.take(Part::Trees, trees);
    let tail = replay_log(&env, &path, tables.database, &manifest, &mut replay, &mut token)?;
    if let Some(epoch) = config.epoch {
        manifest.begin_epoch(epoch)?;
        // Durable before there is a log that says so.
        manifest.append(&Edit::default())?;
    }
    let epoch = manifest.state().epoch;
    let owner = LogOwner { database: tables.database, epoch };
    let mut wal = WalWriter::create(&env, &path, owner, &tail, config.log_sizes())?;
    // What is useless from now on, whatever the manifest says. At once, or openings that
    // die one after the other would leave a file each. What cannot be removed now is left
    // to the background.
    let mut superseded = wal.take_superseded();
    if !planted!(logs_pile_up_with_openings) {
        superseded.retain(|(path, _)| env.fs.remove(path).is_err());
    }
    let needed = replay.oldest_needed().unwrap_or(wal.position());
    let oldest_log = wal.handle().oldest_needed_for(needed);
    let time = WallTime::open(time_known(manifest.state()), &*env.clock);
    let last_seqno = manifest.state().last_seqno.max(replay.last_seqno());
    let seqnos = Seqnos::open(manifest.state(), last_seqno, &config);
    // In a new database only now may a write be acknowledged: the manifest knows
    // of the log.
    manifest.append(&Edit {
        oldest_log: Some(oldest_log),
        time: Some(time.durable()),
        seqno_ceiling: Some(seqnos.ceiling()),
        lineage: manifest.state().lineage.is_none().then(|| new_lineage(&env)),
        ..Edit::default()
    })?;
    manifest.settle()?;

    let state = manifest.state();
    let oldest_log = state.oldest_log;
    let lineage = state.lineage.expect("the edit above gives one where there was none");
    budget.memtable_bytes.store(replay.held(), Ordering::Relaxed);
    let unflushed = Unflushed::default();
    unflushed.look_at(replay.keyspaces());
    let side = ReadingSide {
        database_id: tables.database,
        epoch,
        lineage,
        tables,
        block_cache,
        budget,
        last_seqno,
        time,
        process: lock.process(),
        env,
        path,
    };
    let reading = side.assemble(&config, &replay);
    let memtable_fixed = Fixed::of(&reading.chunks);
    let core = Arc::new(Core {
        opened_ns: reading.env.clock.monotonic_ns(),
        reading: Arc::new(reading),
        opened_position: wal.position(),
        table_ids: manifest.ids(),
        wal: wal.handle().clone(),
        memtable_fixed,
        jobs: Jobs::default(),
        pacing: Pacing::default(),
        io_rate: IoRate::default(),
        unflushed,
        commit: Commit::new(wal, token, seqnos.first, 0),
        seqnos,
        manifest: Mutex::new(manifest),
        background: Arc::new(Background::new(oldest_log)),
        lock: Mutex::new(Some(lock)),
        config,
    });
    let log = core.wal.clone();
    core.reading.health.tell(move || log.news().ring());
    replay.replay_rest(&core)?;
    core.commit.writer().active_bytes = replay.active_bytes();
    core.background.set_sealed_to(core.opened_position);
    for (path, size_bytes) in superseded {
        core.reading.tables.deletions.push(Deletion { path, size_bytes });
    }
    core.catch_up()?;
    core.reading.rebalance();
    core.line_up_all();
    debug_assert!(core.unflushed.agrees_with(core.reading.keyspaces.load().iter()));
    Ok(core)
}

/// What the reading side of a database is made of, beside its keyspaces.
pub(super) struct ReadingSide {
    pub(super) env: Env,
    pub(super) path: PathBuf,
    pub(super) database_id: DatabaseId,
    pub(super) epoch: WriterEpoch,
    pub(super) lineage: Lineage,
    pub(super) tables: Arc<TableStore>,
    pub(super) block_cache: Arc<BlockCache>,
    pub(super) budget: Budget,
    /// The newest write there is.
    pub(super) last_seqno: SeqNo,
    pub(super) time: WallTime,
    /// Who opens it.
    pub(super) process: Process,
}

impl ReadingSide {
    /// With the keyspaces that were replayed.
    pub(super) fn assemble(self, config: &Config, replay: &Replay) -> Reading {
        let ReadingSide { env, path, database_id, epoch, lineage, .. } = self;
        let ReadingSide { tables, block_cache, budget, last_seqno, time, process, .. } = self;
        let names = replay.keyspaces().iter().map(|keyspace| (keyspace.name.clone(), keyspace.id));
        Reading {
            database_id,
            epoch,
            lineage,
            row_cache: RowCache::new(budget.divide(RowCacheUse::Untried, 0).row_cache),
            row_cache_worth: Worth::new(),
            block_cache,
            tables,
            seals_paid: AtomicBool::new(false),
            dead_spans: DeadSpans::new(
                budget.total,
                Arc::clone(&budget.account),
                config.simulation.dead_entries(LOOKED),
            ),
            budget,
            balancing: Mutex::new(()),
            rows_high_bytes: AtomicU64::new(0),
            rows_kept_bytes: AtomicU64::new(0),
            freed_heap: FreedHeap::default(),
            counters: Counters::new(),
            health: Health::new(Owner::new(process)),
            holders: Holders::default(),
            on_release: OnceLock::new(),
            chunks: Arc::clone(replay.chunks()),
            retired: Retired::default(),
            visible: Visible(AtomicU64::new(last_seqno.0)),
            time,
            views: Mutex::new(()),
            keyspace_names: Mutex::new(names.collect()),
            keyspaces: ArcSwap::from_pointee(Keyspaces::new(replay.keyspaces().to_vec())),
            env,
            path,
        }
    }
}

/// What is known of the time, by this version or an earlier one. That had no evidence for
/// it: one look at a wrong clock sufficed.
pub(super) fn time_known(state: &State<Arc<Version>>) -> DurableTime {
    let noted = state.clock_high_ms;
    match state.time == DurableTime::default() {
        true => DurableTime { floor_ms: noted, seen_ms: noted, evidence_ms: 0 },
        false => state.time,
    }
}

fn new_lineage(env: &Env) -> Lineage {
    let mut id = [0; 8];
    env.random.fill(&mut id);
    Lineage(id)
}

/// Refuses a budget that this database does not fit into even while it is quiet; answers
/// what the trees take of it. Nothing on disk has been changed yet.
pub(super) fn check_budget(budget: &Budget, keyspaces: &[Arc<KeyspaceState>]) -> Result<u64> {
    let memtables = budget.account.taken();
    let (mut tables, mut trees) = (0, 0);
    for keyspace in keyspaces {
        let version = &keyspace.view.load().version;
        trees += version.memory_bytes();
        tables += version.table_count();
    }
    let rest = budget.jobs + budget.growth(0) + budget.caches_floor();
    let needed = memtables + trees + rest;
    if needed <= budget.total {
        return Ok(trees);
    }
    // The rest grows with the budget, by an eighth of it at most.
    let enough = ((memtables + trees) * 3 / 2 + MIN_MEMORY) >> 20;
    Err(Error::InvalidArgument(format!(
        "a memory budget of {} is too small for this database: its {} keyspaces need {} for their MemTables, its {tables} tables {} for what is known of each, and writes, background jobs and caches {}; give it at least {enough} MiB",
        Bytes(budget.total),
        keyspaces.len(),
        Bytes(memtables),
        Bytes(trees),
        Bytes(rest)
    )))
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
        seqno_ceiling: Some(SeqNo::ZERO.plus(1)),
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
    token: &mut WriterToken,
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
    let visit = |place: RecordPlace<'_>, payload: &[u8]| replay.group(&place, payload, token);
    let owner = LogOwner { database, epoch: state.epoch };
    Ok(wal::recover(env, path, owner, from, visit)?.tail)
}

#[cfg(test)]
mod tests;
