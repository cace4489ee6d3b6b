//! What every handler shares: the database, the queues before it, the bounds.

use crate::body::{Bodies, Received};
use crate::clients::Connections;
use crate::committer::{self, CommitCounters};
use crate::input::ends_too_late;
use crate::jobs::Jobs;
use crate::memory::{self, Memory, SMALL_BYTES, Share};
use crate::options::Limits;
use crate::pool::Pool;
use crate::problem::{Kind, Problem, Result};
use crate::write_queue::{
    Action, Bounds, Committed, Op, Ops, Outcome, Refused, WriteError, WriteQueue, WriteRequest,
};
use hyper::Request;
use hyper::body::Incoming;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tanada::vfs::{Clock, Env};
use tanada::{CheckpointDir, Db, Durability, Keyspace, Lineage, MAX_EXPIRES_AT_MS};
use tokio::sync::{Semaphore, oneshot};

/// Checkpoints being made, listed or removed at once.
const MAX_CHECKPOINTS: usize = 4;

/// One running server.
pub(crate) struct App {
    pub(crate) db: Db,
    pub(crate) keyspace: Keyspace,
    /// Whose versions ETags name.
    pub(crate) lineage: Lineage,
    pub(crate) limits: Limits,
    /// What a write must survive that does not say.
    pub(crate) durability: Durability,
    pub(crate) writes: WriteQueue,
    /// Of these the committer writes so many at once.
    pub(crate) group: Bounds,
    pub(crate) commits: CommitCounters,
    pub(crate) pool: Pool,
    pub(crate) scans: Arc<Semaphore>,
    pub(crate) bodies: Bodies,
    pub(crate) memory: Memory,
    pub(crate) jobs: Arc<Jobs>,
    /// Where checkpoints are made, if anywhere.
    pub(crate) checkpoints: Option<CheckpointDir>,
    /// Checkpoints that may still be begun.
    pub(crate) checkpoint_places: Arc<Semaphore>,
    pub(crate) connections: Connections,
    pub(crate) clock: Arc<dyn Clock>,
    /// When it started, by its clock.
    pub(crate) started_ns: u64,
    /// Set once, when the server is told to stop. Only `/readyz` looks: relaxed.
    pub(crate) draining: AtomicBool,
}

impl App {
    pub(crate) fn new(db: Db, limits: Limits, checkpoints: Option<CheckpointDir>) -> App {
        let clock = Env::real().clock;
        let limits = memory::within_budget(limits, &db);
        App {
            keyspace: db.default_keyspace().clone(),
            lineage: db.lineage(),
            durability: db.stats().durability,
            writes: WriteQueue::new(Bounds {
                requests: limits.max_queued_writes,
                bytes: limits.max_queued_bytes,
            }),
            group: committer::group_within(db.stats().memory.largest_batch_bytes),
            commits: CommitCounters::default(),
            pool: Pool::new(limits.max_disk_reads, limits.max_waiting_reads),
            scans: Arc::new(Semaphore::new(limits.max_scans)),
            bodies: Bodies::new(&limits),
            memory: Memory::new(&db, &limits),
            jobs: Arc::new(Jobs::new(Arc::clone(&clock))),
            checkpoints,
            checkpoint_places: Arc::new(Semaphore::new(MAX_CHECKPOINTS)),
            connections: Connections::default(),
            started_ns: clock.monotonic_ns(),
            clock,
            draining: AtomicBool::new(false),
            db,
            limits,
        }
    }

    /// Reads the body of a request.
    pub(crate) async fn receive(&self, request: &mut Request<Incoming>) -> Result<Received> {
        self.bodies.read(&self.memory, request.body_mut()).await
    }

    /// Hands a request to the committer and waits until it is as durable as asked.
    /// `share` is what its body has of the memory: the operations have it from here on.
    pub(crate) async fn write(
        &self,
        ops: Ops,
        share: Option<Share>,
        durability: Option<Durability>,
    ) -> Result<Committed> {
        self.check_expiries(ops.as_slice())?;
        let size_bytes = ops.size_bytes();
        let mut share = share.or_else(|| (size_bytes > SMALL_BYTES).then(|| self.memory.request()));
        if let Some(share) = &mut share {
            share.hold_soon(size_bytes).await?;
        }
        let (answer, outcome) = oneshot::channel();
        let durability = durability.unwrap_or(self.durability);
        self.writes.push(WriteRequest { ops, durability, share, answer }).map_err(|refused| {
            match refused {
                Refused::Full => Problem::new(
                    Kind::Overloaded,
                    "too many writes wait for the disk; nothing was done; try again in a second",
                ),
                Refused::Closed => Problem::new(
                    Kind::ShuttingDown,
                    "the server is shutting down; nothing was done; try again when it is back",
                ),
            }
        })?;
        let outcome = outcome.await.unwrap_or_else(|_| {
            // The committer is gone: it answers everything it takes, so it must have panicked.
            Err(WriteError::Engine(tanada::Error::Poisoned {
                reason: "the writing thread failed".into(),
            }))
        });
        outcome_to_result(outcome)
    }

    /// Refuses times to live that end too late, so that none spoils its commit group.
    fn check_expiries(&self, ops: &[Op]) -> Result<()> {
        let ttl = |op: &Op| match &op.action {
            Action::Put { options, .. } => options.ttl,
            Action::Delete | Action::Check => None,
        };
        let Some(longest) = ops.iter().filter_map(ttl).max() else { return Ok(()) };
        let end_ms = u128::from(self.db.now().0) + longest.as_millis();
        if end_ms > u128::from(MAX_EXPIRES_AT_MS) { Err(ends_too_late()) } else { Ok(()) }
    }

    /// Writes one operation; its sequence number.
    pub(crate) async fn write_one(
        &self,
        op: Op,
        share: Option<Share>,
        durability: Option<Durability>,
    ) -> Result<u64> {
        let committed = self.write(Ops::One(op), share, durability).await?;
        Ok(committed.first)
    }
}

/// A condition that did not hold, as a client sees it.
#[derive(Serialize)]
struct FailedCondition {
    index: usize,
    present: bool,
    version: Option<u64>,
}

fn outcome_to_result(outcome: Outcome) -> Result<Committed> {
    outcome.map_err(|e| match e {
        WriteError::Conditions(failed) => {
            let failed: Vec<_> = failed
                .iter()
                .map(|f| FailedCondition {
                    index: f.index,
                    present: f.version.is_some(),
                    version: f.version,
                })
                .collect();
            Problem::new(
                Kind::PreconditionFailed,
                "the key is not as the request wants it; nothing was done; read it again and decide anew",
            )
            .with("failed", &failed)
        }
        WriteError::Engine(tanada::Error::Undecided(e)) => {
            Problem::from(e.as_ref().clone()).and("; nothing was done")
        }
        WriteError::Engine(e) => {
            let certain = matches!(
                e,
                tanada::Error::InvalidArgument(_)
                    | tanada::Error::ReadOnly { .. }
                    | tanada::Error::Closed
            );
            let says_so = matches!(e, tanada::Error::MemoryFull { .. });
            let problem = Problem::from(e);
            if says_so {
                problem
            } else if certain {
                problem.and("; nothing was done")
            } else {
                problem.and("; whether this write was done is not known")
            }
        }
    })
}
