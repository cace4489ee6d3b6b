//! Opening for reading only: the moment of manifest and logs, and nothing is changed.
//!
//! No lock is taken, for that would create its file, and keep a writer out. So another
//! process may write, flush and compact meanwhile. What is read is a moment all the same:
//! first the manifest, then the logs that it needs, to their end. All writes of the tables
//! that it names, and of the logs up to where they were found to end, are a prefix of the
//! commit order. What has gone between the two looks, or was being written, shows as a
//! missing file or as damage: then both are looked at again.
//!
//! Tables that the writer replaces afterwards may vanish. A reader that finds one gone is
//! told that its view is too old.

use super::recovery::{ReadingSide, check_budget, time_known};
use super::replay::Replay;
use crate::control::account::Part;
use crate::control::budget::{Bytes, RowCacheUse};
use crate::control::wall_time::WallTime;
use crate::core::config::Config;
use crate::memtable::WriterToken;
use crate::read::reading::Reading;
use crate::tree::manifest::{self, Found, Manifest};
use crate::tree::version::TableStore;
use crate::types::error::{Error, Result};
use crate::wal::{self, LogOwner, RecordPlace, RecoverFrom};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tanada_format::LogId;
use tanada_table::BlockCache;
use tanada_vfs::{Env, ReadOnly};

/// Looks at a directory that changes under them before it is called damaged.
const LOOKS: usize = 8;

/// What writes are told.
const WHY_NO_WRITES: &str = "it was opened for reading only; open it for writing to change it";

/// What became of a file that is not there any more, and what to do.
const GONE: &str = "it is not there any more: the process that writes has replaced it, and this \
                    view is too old; open the database again";

/// Opens the database in `path` as it is now. Cost: as an opening for writing, without its
/// writes; several times that where another process removes what is being read.
///
/// # Errors
/// As [`crate::Builder::open`]; [`Error::NotADatabase`] when there is none;
/// [`Error::InvalidArgument`] when MemTables have no room for what the logs hold.
pub(crate) fn open(mut env: Env, path: PathBuf, config: &Config) -> Result<Arc<Reading>> {
    env.fs = Arc::new(ReadOnly::over(env.fs, GONE));
    for _ in 1..LOOKS {
        match look(env.clone(), &path, config) {
            Err(e) if may_have_changed(&e) => {}
            seen => return seen,
        }
    }
    look(env, &path, config)
}

/// Whether a writer at work may be the reason: files that went, or records half written
/// when they were read.
fn may_have_changed(e: &Error) -> bool {
    match e {
        Error::Corruption(_) | Error::MissingFile { .. } => true,
        Error::Io(e) => matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof),
        _ => false,
    }
}

fn look(mut env: Env, path: &Path, config: &Config) -> Result<Arc<Reading>> {
    let descriptors = config.descriptors(&*env.fs);
    descriptors.check()?;
    let open_files = descriptors.over(env.fs);
    env.fs = Arc::new(open_files.clone());
    let Found::Database(current) = manifest::inspect(&*env.fs, path)? else {
        let why = "there is none, and none is created for reading only".to_owned();
        return Err(Error::NotADatabase { path: path.to_owned(), why });
    };
    let budget = config.budget();
    let block_cache = BlockCache::new(budget.divide(RowCacheUse::Untried, 0).block_cache);
    let open_tables = config.open_tables(&block_cache);
    let (id, cache) = (current.database, Arc::clone(&block_cache));
    let tables = TableStore::within(open_files, path, id, cache, open_tables);
    let manifest = Manifest::open(Arc::clone(&tables), &current)?;
    let state = manifest.state();

    let mut token = WriterToken::new();
    let mut replay = Replay::new(&manifest, path, &budget, config.compression)?;
    let trees = check_budget(&budget, replay.keyspaces())?;
    budget.account.take(Part::Trees, trees);
    // Where no log has been named yet, nothing was ever acknowledged.
    if state.oldest_log != LogId(0) {
        let from = RecoverFrom { log: state.oldest_log, synced: state.log_synced() };
        let owner = LogOwner { database: id, epoch: state.epoch };
        let visit =
            |place: RecordPlace<'_>, payload: &[u8]| replay.group(&place, payload, &mut token);
        wal::read_beside_a_writer(&env, path, owner, from, visit)?;
    }
    if replay.is_cut_short() {
        return Err(Error::InvalidArgument(format!(
            "a memory budget of {} is too small for what the logs of {} hold, which cannot be \
             written to tables by one who only reads; give it more, or open it for writing",
            Bytes(budget.total),
            path.display()
        )));
    }
    budget.memtable_bytes.store(replay.held(), Ordering::Relaxed);
    let side = ReadingSide {
        database_id: id,
        epoch: state.epoch,
        // A copy that nobody has opened for writing has none yet.
        lineage: state.lineage.unwrap_or_default(),
        last_seqno: state.last_seqno.max(replay.last_seqno()),
        time: WallTime::open(time_known(state), &*env.clock),
        process: env.fs.process(),
        tables,
        block_cache,
        budget,
        env,
        path: path.to_owned(),
    };
    let reading = side.assemble(config, &replay);
    reading.health.make_read_only(WHY_NO_WRITES.to_owned());
    reading.rebalance();
    Ok(Arc::new(reading))
}
