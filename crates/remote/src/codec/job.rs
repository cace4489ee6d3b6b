//! A job: a compaction that a worker may do, and how far it is.
//!
//! An envelope with the magic `TANADAJB` and these fields:
//!
//! | field | content | meaning |
//! |---|---|---|
//! | 1 | epoch, number: 2 × u64 | the job, as in the name |
//! | 2 | u8 | 1: free; 2: claimed; 3: done |
//! | 3 | bytes | the plan: opaque here |
//! | 4 | attempt, beat: 2 × u64 | how often it was claimed; how often the worker was heard of |
//! | 5 | 16 bytes | nonce of the worker; not there before the first claim |
//! | 6 * | fields | an output that is uploaded: 1 to 4 of the next table |
//! | 7 | bytes | the last key in the outputs: who resumes begins behind it; not there before the first output |
//!
//! | field | content | meaning |
//! |---|---|---|
//! | 1 | attempt, number: 2 × u64 | in its name, `tables/<epoch>-j<job>-<attempt>-<number>` |
//! | 2 | u64 | its length in bytes |
//! | 3 | 32 bytes | its hash |
//! | 4 | bytes | the table's metadata: opaque here |

use super::damage::Unreadable;
use super::envelope::{self, ENVELOPE_LEN, Kind};
use super::fields::{Field, Reader, Writer, needed, once};
use super::manifest::Unwritable;
use crate::ids::{Epoch, Nonce, ObjectHash};
use crate::name::JobId;
use tanada_format::{DatabaseId, MAX_KEY_LEN};

/// Longest job, in bytes.
pub const MAX_JOB_LEN: usize = 4 << 20;
/// Most outputs of one job.
pub const MAX_OUTPUTS: usize = 4096;
const KIND: Kind = Kind { magic: b"TANADAJB", most: MAX_JOB_LEN, what: "a job" };

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Any worker may claim it: it was posted, or a worker handed it on.
    Free,
    /// A worker has it.
    Claimed,
    /// All outputs are there; the owner decides.
    Done,
}

/// A table that a worker has uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The claim under which it was written.
    pub attempt: u64,
    /// Given once in that attempt.
    pub number: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Its hash.
    pub hash: ObjectHash,
    /// The table's metadata, opaque here.
    pub meta: Vec<u8>,
}

/// A job's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Whose database it is.
    pub database: DatabaseId,
    /// Which.
    pub id: JobId,
    /// How far.
    pub state: JobState,
    /// What is to be done, opaque here.
    pub plan: Vec<u8>,
    /// How often it was claimed.
    pub attempt: u64,
    /// Grows whenever the worker is heard of.
    pub beat: u64,
    /// The worker of the last claim.
    pub worker: Option<Nonce>,
    /// What is uploaded so far.
    pub outputs: Vec<Output>,
    /// The last key in the outputs.
    pub last_key: Option<Vec<u8>>,
}

impl Job {
    /// Its bytes.
    ///
    /// # Errors
    ///
    /// It is larger than it may be.
    pub fn encode(&self) -> Result<Vec<u8>, Unwritable> {
        if self.outputs.len() > MAX_OUTPUTS {
            return Err(Unwritable("a job has more outputs than it may have"));
        }
        if self.last_key.as_ref().is_some_and(|key| key.len() > MAX_KEY_LEN) {
            return Err(Unwritable("a key is longer than it may be"));
        }
        let state = match self.state {
            JobState::Free => 1,
            JobState::Claimed => 2,
            JobState::Done => 3,
        };
        let mut w = Writer::default();
        w.u64s(1, [self.id.epoch.0, self.id.number]).field(2, &[state]).field(3, &self.plan);
        w.u64s(4, [self.attempt, self.beat]);
        if let Some(worker) = &self.worker {
            w.field(5, &worker.0);
        }
        for output in &self.outputs {
            let mut inner = Writer::default();
            inner.u64s(1, [output.attempt, output.number]).u64(2, output.len);
            inner.field(3, &output.hash.0).field(4, &output.meta);
            w.field(6, &inner.finish());
        }
        if let Some(key) = &self.last_key {
            w.field(7, key);
        }
        envelope::wrap(KIND, self.database, 0, &w.finish())
            .ok_or(Unwritable("a job is longer than it may be"))
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// Damage, or what a newer version wrote.
    pub fn decode(bytes: &[u8]) -> Result<Job, Unreadable> {
        let (database, body) = envelope::unwrap(KIND, bytes)?;
        let mut reader = Reader::new(body, ENVELOPE_LEN);
        let (mut id, mut state, mut plan, mut counts) = (None, None, None, None);
        let (mut worker, mut outputs, mut last_key) = (None, Vec::new(), None);
        while let Some(field) = reader.next()? {
            match field.number {
                1 => {
                    let [epoch, number] = field.u64s()?;
                    once(&mut id, &field, JobId { epoch: Epoch(epoch), number })?;
                }
                2 => once(
                    &mut state,
                    &field,
                    match field.u8()? {
                        1 => JobState::Free,
                        2 => JobState::Claimed,
                        3 => JobState::Done,
                        _ => return Err(field.damaged("no state of a job")),
                    },
                )?,
                3 => once(&mut plan, &field, field.content.to_vec())?,
                4 => once(&mut counts, &field, field.u64s::<2>()?)?,
                5 => once(&mut worker, &field, Nonce(field.array()?))?,
                6 if outputs.len() == MAX_OUTPUTS => {
                    return Err(field.damaged("it has more outputs than it may have"));
                }
                6 => outputs.push(decode_output(&field)?),
                7 if field.content.len() > MAX_KEY_LEN => {
                    return Err(field.damaged("a key is longer than it may be"));
                }
                7 => once(&mut last_key, &field, field.content.to_vec())?,
                _ => field.unknown()?,
            }
        }
        let at = ENVELOPE_LEN;
        let [attempt, beat] = needed(counts, at, "it does not say how often it was claimed")?;
        Ok(Job {
            database,
            id: needed(id, at, "it has no name")?,
            state: needed(state, at, "it has no state")?,
            plan: needed(plan, at, "it has no plan")?,
            attempt,
            beat,
            worker,
            outputs,
            last_key,
        })
    }
}

fn decode_output(field: &Field<'_>) -> Result<Output, Unreadable> {
    let (mut name, mut len, mut hash, mut meta) = (None, None, None, None);
    let mut reader = field.fields();
    while let Some(inner) = reader.next()? {
        match inner.number {
            1 => once(&mut name, &inner, inner.u64s::<2>()?)?,
            2 => once(&mut len, &inner, inner.u64()?)?,
            3 => once(&mut hash, &inner, ObjectHash(inner.array()?))?,
            4 => once(&mut meta, &inner, inner.content.to_vec())?,
            _ => inner.unknown()?,
        }
    }
    let [attempt, number] = needed(name, field.offset, "an output has no name")?;
    Ok(Output {
        attempt,
        number,
        len: needed(len, field.offset, "an output has no length")?,
        hash: needed(hash, field.offset, "an output has no hash")?,
        meta: needed(meta, field.offset, "an output has no metadata")?,
    })
}
