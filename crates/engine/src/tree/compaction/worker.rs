//! A job that comes as bytes, carried out where its tables are: by a process that has no
//! database open.

use super::job::{CompactionJob, JobBytesError, JobHash};
use super::job_io::JobIo;
use super::run::{find_inputs, run_job};
use crate::tree::version::TableStore;
use crate::types::error::{Error, Result};
use std::path::Path;
use std::sync::Arc;
use tanada_table::BlockCache;
use tanada_vfs::Env;

/// Carries out a compaction that a database has handed to a [`Compactor`](crate::Compactor),
/// and answers its outcome as bytes, for that database.
///
/// `dir` has the tables that go in, by their names in the database's directory, and gets
/// those that come out; it may be that directory, or another that has copies. What comes
/// out depends on `job` and on the tables alone: it is the same wherever and whenever that
/// is done. The files are durable on return, and their names are not: the database sees to
/// those in its own directory, and whoever keeps copies elsewhere to those. `memory` bounds
/// the buffers, in bytes; 4 MiB are enough for most jobs.
///
/// # Errors
/// [`Error::InvalidArgument`] when `job` is damaged, [`Error::Unsupported`] when a newer
/// version wrote it; those of reading and writing tables. No output is left then.
pub fn run_compaction(
    env: &Env,
    dir: impl AsRef<Path>,
    job: &[u8],
    memory: u64,
) -> Result<Vec<u8>> {
    let hash = JobHash::of(job);
    let job = CompactionJob::decode(job)?;
    let cache = BlockCache::new(0);
    let files = TableStore::new(Arc::clone(&env.fs), dir.as_ref(), job.database, cache);
    let io = JobIo {
        files: &files,
        should_stop: &|| false,
        yield_point: &|_bytes| {},
        // The parts run at once, and each has its own.
        share_bytes: memory / job.parts.len().max(1) as u64,
        buffers: &|_change| {},
        threads: &*env.threads,
    };
    let outputs = run_job(&job, &find_inputs(&job, &files), &io)?;
    outputs.encode(&job, hash).map_err(|e| {
        outputs.tables().for_each(|table| files.discard(table.id));
        e.into()
    })
}

impl From<JobBytesError> for Error {
    fn from(e: JobBytesError) -> Error {
        match e {
            JobBytesError::Unsupported(what) => {
                Error::Unsupported { file: "a compaction job".into(), what }
            }
            e => Error::InvalidArgument(e.to_string()),
        }
    }
}
