//! `/livez` and `/readyz`: for whoever restarts or routes.

use crate::app::App;
use crate::problem::{Kind, Problem, Result};
use crate::reply::{self, Reply};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The process answers: do not restart it.
pub(super) fn live() -> Reply {
    reply::typed("text/plain; charset=utf-8", "ok\n")
}

/// Reads and writes are taken: send requests here.
pub(super) async fn ready(app: &Arc<App>) -> Result<Reply> {
    if app.draining.load(Ordering::Relaxed) {
        return Err(Problem::new(
            Kind::ShuttingDown,
            "the server is shutting down; try again when it is back",
        ));
    }
    let db = app.db.clone();
    match app.pool.run(move || db.stats().read_only).await? {
        None => Ok(live()),
        Some(reason) => Err(Problem::new(Kind::ReadOnly, format!("writes are refused: {reason}"))),
    }
}
