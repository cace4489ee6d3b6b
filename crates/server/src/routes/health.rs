//! `/livez` and `/readyz`: for whoever restarts or routes.

use crate::app::App;
use crate::encoding::rfc3339;
use crate::problem::{Kind, Problem, Result};
use crate::reply::{self, Reply};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tanada::{ClockState, ClockStats};

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
    let stats = app.pool.run(move || db.stats()).await?;
    match stats.read_only {
        None if stats.clock.state == ClockState::Believed => Ok(live()),
        None => Ok(reply::typed("text/plain; charset=utf-8", held(&stats.clock))),
        Some(reason) => Err(Problem::new(Kind::ReadOnly, format!("writes are refused: {reason}"))),
    }
}

/// Requests are served, by a time that is not the clock's.
fn held(clock: &ClockStats) -> String {
    let state = match clock.state {
        ClockState::Ahead => "further ahead than elapsed time allows",
        ClockState::Behind | ClockState::Believed => "behind what is known to have passed",
    };
    format!(
        "ok\nwarning: the clock says {}, {state}; {} is believed, and times to live go by that. \
         Set the clock right; or, if it is right, say so with POST /v1/admin/clock\n",
        rfc3339(clock.wall_ms),
        rfc3339(clock.believed_ms)
    )
}
