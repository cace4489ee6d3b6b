//! What `/stats` answers: the engine's statistics, and the server's own.

use crate::clients::ConnectionStats;
use serde::Serialize;
use tanada::Stats;

/// What `/stats` answers.
#[derive(Serialize)]
pub(super) struct AllStats {
    #[serde(flatten)]
    pub(super) engine: Stats,
    pub(super) server: ServerStats,
}

/// What the server itself counts, since its start.
#[derive(Serialize)]
pub(super) struct ServerStats {
    pub(super) uptime_ms: u64,
    pub(super) connections: ConnectionStats,
    /// Writes waiting for the committer now.
    pub(super) queued_writes: u64,
    /// Groups the committer wrote, and the requests in them.
    pub(super) commit_groups: u64,
    pub(super) committed_requests: u64,
    pub(super) open_scans: u64,
}
