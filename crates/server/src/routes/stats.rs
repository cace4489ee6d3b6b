//! `GET /stats`: the engine's statistics with the server's own beside them.

use super::accept::accepts;
use super::stats_report::{AllStats, ServerStats};
use super::stats_text;
use crate::app::App;
use crate::problem::Result;
use crate::query;
use crate::reply::{self, Reply};
use hyper::Request;
use hyper::body::Incoming;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// `GET /stats`, as JSON, or as text for `Accept: text/plain`.
pub(super) async fn stats(app: &Arc<App>, request: &mut Request<Incoming>) -> Result<Reply> {
    let [] = query::parse(request.uri().query(), [])?;
    let db = app.db.clone();
    let engine = app.pool.run(move || db.stats()).await?;
    let all = AllStats { engine, server: server_stats(app) };
    if accepts(request.headers(), "text/plain") {
        return Ok(reply::typed("text/plain; charset=utf-8", stats_text::render(&all)));
    }
    Ok(reply::json_of(&all))
}

fn server_stats(app: &App) -> ServerStats {
    ServerStats {
        uptime_ms: app.clock.monotonic_ns().saturating_sub(app.started_ns) / 1_000_000,
        connections: app.connections.stats(),
        queued_writes: app.writes.len() as u64,
        commit_groups: app.commits.groups.load(Ordering::Relaxed),
        committed_requests: app.commits.requests.load(Ordering::Relaxed),
        open_scans: app.limits.max_scans.saturating_sub(app.scans.available_permits()) as u64,
    }
}
