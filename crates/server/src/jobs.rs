//! Compactions asked for over HTTP: started, remembered, looked up.

use crate::pool::panicked;
use crate::problem::{Kind, Problem, Result};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;
use tanada::vfs::Clock;
use tanada::{CompactSummary, Keyspace};

/// Jobs under way at once.
const MAX_RUNNING: usize = 4;

/// Jobs remembered, running ones included.
const MAX_REMEMBERED: usize = 64;

/// Names a job for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JobId(pub(crate) u64);

/// A range of keys: both ends may be open.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) start: Option<Vec<u8>>,
    pub(crate) end: Option<Vec<u8>>,
}

impl Span {
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (
            self.start.as_deref().map_or(Bound::Unbounded, Bound::Included),
            self.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
        )
    }
}

enum State {
    Running,
    Done(CompactSummary),
    Failed(Box<RawValue>),
}

struct Job {
    id: JobId,
    span: Span,
    started_ns: u64,
    took_ms: Option<u64>,
    state: State,
}

/// A job as a client sees it.
#[derive(Serialize)]
pub(crate) struct JobReport {
    job: u64,
    state: &'static str,
    href: String,
    /// Not exact for keys that are not UTF-8.
    start: Option<String>,
    end: Option<String>,
    elapsed_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<CompactSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Box<RawValue>>,
}

/// All jobs remembered, newest first.
#[derive(Serialize)]
pub(crate) struct JobList {
    jobs: Vec<JobReport>,
}

impl Job {
    fn elapsed_ms(&self, clock: &dyn Clock) -> u64 {
        self.took_ms.unwrap_or_else(|| (clock.monotonic_ns() - self.started_ns) / 1_000_000)
    }

    fn report(&self, clock: &dyn Clock) -> JobReport {
        let lossy =
            |key: &Option<Vec<u8>>| key.as_ref().map(|k| String::from_utf8_lossy(k).into_owned());
        let (state, summary, problem) = match &self.state {
            State::Running => ("running", None, None),
            State::Done(summary) => ("done", Some(summary.clone()), None),
            State::Failed(problem) => ("failed", None, Some(problem.clone())),
        };
        JobReport {
            job: self.id.0,
            state,
            href: format!("/compact/{}", self.id.0),
            start: lossy(&self.span.start),
            end: lossy(&self.span.end),
            elapsed_ms: self.elapsed_ms(clock),
            summary,
            problem,
        }
    }
}

/// The jobs of this process.
pub(crate) struct Jobs {
    clock: Arc<dyn Clock>,
    /// Guards the list, oldest first; at most [`MAX_REMEMBERED`].
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    jobs: VecDeque<Job>,
    last_id: u64,
}

impl Jobs {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Jobs {
        Jobs { clock, list: Mutex::default() }
    }

    fn begin(&self, span: Span) -> Result<JobId> {
        let mut list = self.list.lock();
        let running = list.jobs.iter().filter(|job| matches!(job.state, State::Running)).count();
        if running >= MAX_RUNNING {
            return Err(Problem::new(
                Kind::Overloaded,
                format!(
                    "{running} compactions are under way already; see GET /compact, and try again when one is done"
                ),
            ));
        }
        if list.jobs.len() == MAX_REMEMBERED
            && let Some(oldest_done) =
                list.jobs.iter().position(|job| !matches!(job.state, State::Running))
        {
            list.jobs.remove(oldest_done);
        }
        list.last_id += 1;
        let id = JobId(list.last_id);
        list.jobs.push_back(Job {
            id,
            span,
            started_ns: self.clock.monotonic_ns(),
            took_ms: None,
            state: State::Running,
        });
        Ok(id)
    }

    fn end(&self, id: JobId, state: State) {
        let mut list = self.list.lock();
        if let Some(job) = list.jobs.iter_mut().find(|job| job.id == id) {
            job.took_ms = Some(job.elapsed_ms(&*self.clock));
            job.state = state;
        }
    }

    /// One job.
    pub(crate) fn get(&self, id: JobId) -> Option<JobReport> {
        self.list.lock().jobs.iter().find(|job| job.id == id).map(|job| job.report(&*self.clock))
    }

    /// All jobs.
    pub(crate) fn all(&self) -> JobList {
        let list = self.list.lock();
        JobList { jobs: list.jobs.iter().rev().map(|job| job.report(&*self.clock)).collect() }
    }
}

/// A job under way; await it for its end.
pub(crate) struct Started {
    pub(crate) id: JobId,
    end: tokio::task::JoinHandle<Result<()>>,
}

impl Started {
    /// Waits for the job's end.
    pub(crate) async fn wait(self) -> Result<()> {
        self.end.await.unwrap_or_else(|_| Err(panicked()))
    }
}

/// Starts to compact `span` of a keyspace on a blocking thread.
pub(crate) fn start(jobs: &Arc<Jobs>, keyspace: &Keyspace, span: Span) -> Result<Started> {
    let id = jobs.begin(span.clone())?;
    let (jobs, keyspace) = (Arc::clone(jobs), keyspace.clone());
    let end = tokio::task::spawn(async move {
        let compacted = tokio::task::spawn_blocking(move || keyspace.compact(span.bounds())).await;
        let (state, result) = match compacted {
            Ok(Ok(summary)) => (State::Done(summary), Ok(())),
            Ok(Err(e)) => {
                let problem = Problem::from(e);
                (State::Failed(problem.to_json()), Err(problem))
            }
            Err(_) => (State::Failed(panicked().to_json()), Err(panicked())),
        };
        jobs.end(id, state);
        result
    });
    Ok(Started { id, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span() -> Span {
        Span { start: Some(b"a".to_vec()), end: None }
    }

    #[test]
    fn jobs_are_found_until_many_others_are_done() {
        let jobs = Jobs::new(tanada::vfs::Env::real().clock);
        let first = jobs.begin(span()).expect("room");
        assert_eq!(jobs.get(first).expect("known").state, "running");
        jobs.end(first, State::Done(CompactSummary::default()));
        let done = jobs.get(first).expect("known");
        assert_eq!((done.state, done.summary.map(|s| s.jobs)), ("done", Some(0)));
        for _ in 0..MAX_REMEMBERED {
            let id = jobs.begin(span()).expect("room");
            jobs.end(id, State::Failed(panicked().to_json()));
        }
        assert!(jobs.get(first).is_none());
        let all = jobs.all().jobs;
        assert_eq!(all.len(), MAX_REMEMBERED);
        assert!(all[0].problem.is_some());
    }

    #[test]
    fn too_many_at_once_are_refused() {
        let jobs = Jobs::new(tanada::vfs::Env::real().clock);
        for _ in 0..MAX_RUNNING {
            jobs.begin(span()).expect("room");
        }
        assert_eq!(jobs.begin(span()).expect_err("full").kind(), Kind::Overloaded);
    }
}
