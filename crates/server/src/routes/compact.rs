//! `/compact`: starts compactions and tells how they go.

use crate::app::App;
use crate::jobs::{self, JobId, Span};
use crate::problem::{Kind, Problem, Result};
use crate::query;
use crate::reply::{self, Reply};
use crate::space::Space;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, LOCATION};
use hyper::{Request, StatusCode};
use std::sync::Arc;

/// `POST /compact?wait=&start=&end=`
pub(super) async fn start(
    app: &Arc<App>,
    space: Space,
    request: &mut Request<Incoming>,
) -> Result<Reply> {
    let [wait, start, end] = query::parse(request.uri().query(), ["wait", "start", "end"])?;
    let wait = query::flag("wait", wait)?;
    let span = Span { start: start.map(|s| s.into_owned()), end: end.map(|e| e.into_owned()) };
    if let (Some(start), Some(end)) = (&span.start, &span.end)
        && start >= end
    {
        return Err(Problem::invalid("start must lie before end; exchange them"));
    }
    let job = jobs::start(&app.jobs, space.keyspace(app), span)?;
    let id = job.id;
    if wait {
        job.wait().await?;
        return look_up_id(app, id);
    }
    let mut reply = look_up_id(app, id)?;
    *reply.status_mut() = StatusCode::ACCEPTED;
    let location = HeaderValue::try_from(format!("/compact/{}", id.0)).expect("digits are ASCII");
    reply.headers_mut().insert(LOCATION, location);
    Ok(reply)
}

/// `GET /compact`
pub(super) fn list(app: &App) -> Reply {
    reply::json_of(&app.jobs.all())
}

/// `GET /compact/{id}`
pub(super) fn look_up(app: &App, id: &str) -> Result<Reply> {
    id.parse().map_or_else(|_| Err(no_job()), |id| look_up_id(app, JobId(id)))
}

fn look_up_id(app: &App, id: JobId) -> Result<Reply> {
    app.jobs.get(id).map(|job| reply::json_of(&job)).ok_or_else(no_job)
}

fn no_job() -> Problem {
    Problem::new(
        Kind::JobNotFound,
        "there is no such compaction; GET /compact lists those since the start of the server, the last 64 at most",
    )
}
