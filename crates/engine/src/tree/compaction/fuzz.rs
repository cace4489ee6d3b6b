//! What only compaction jobs can do for fuzzers.

use super::check::check_outputs;
use super::job::{CompactionJob, JobHash, Outputs, framed};
use tanada_format::DatabaseId;

/// A job that can be read is written again with the same meaning; outputs too. Whatever
/// they say, asking whether they belong together comes to an end.
pub(crate) fn job(data: &[u8]) {
    let database = DatabaseId([0; 16]);
    let job = [CompactionJob::decode(data), CompactionJob::decode(&framed::job(database, data))];
    for job in job.into_iter().flatten() {
        let bytes = job.encode().expect("it has been read");
        assert_eq!(CompactionJob::decode(&bytes).as_ref(), Ok(&job));
        assert!(job.ids_wanted() > 0);
        let hash = JobHash::of(&bytes);
        let outputs = Outputs::decode(data, job.database, hash, job.target);
        let _ = check_outputs(&job, &outputs.unwrap_or_default());
    }
    for hash in [JobHash::of(&[]), JobHash::of(data)] {
        let bytes = framed::outputs(database, hash, data);
        for target in [5, 6].map(tanada_format::Level) {
            let Ok(outputs) = Outputs::decode(&bytes, database, hash, target) else { continue };
            let counts = outputs.counts();
            assert!(!counts.is_complete() || counts.read >= counts.written);
        }
    }
}

/// Bytes of a job and of its outputs to begin with.
#[cfg(test)]
pub(crate) fn samples() -> [Vec<u8>; 2] {
    use super::job::tests::{sample, sample_outputs};
    let job = sample().encode().expect("it is short");
    let outputs = sample_outputs().encode(&sample(), JobHash::of(&job)).expect("it is short");
    [job, outputs]
}
