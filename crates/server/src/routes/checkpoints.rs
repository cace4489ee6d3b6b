//! `/v1/admin/checkpoints`: copies of the whole database at one moment, below the one
//! directory that the server was given for them. Clients give names, never paths.

use super::named::named;
use crate::app::App;
use crate::pool::panicked;
use crate::problem::{Kind, Problem, Result};
use crate::query;
use crate::reply::{self, Reply};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::Serialize;
use std::sync::Arc;
use tanada::{CheckpointDir, CheckpointEntry, CheckpointSummary, Db};

#[derive(Serialize)]
struct Made {
    ok: bool,
    name: String,
    #[serde(flatten)]
    summary: CheckpointSummary,
}

#[derive(Serialize)]
struct List {
    checkpoints: Vec<CheckpointEntry>,
}

#[derive(Serialize)]
struct Removed {
    ok: bool,
}

/// `POST /v1/admin/checkpoints`, with JSON or with a query parameter. Answers when the
/// checkpoint is there, durably. It goes on when the client goes away.
pub(super) async fn create(app: &Arc<App>, request: &mut Request<Incoming>) -> Result<Reply> {
    let name = text(named(app, request, "name the checkpoint").await?)?;
    let made = run(app, move |checkpoints, db| {
        let summary = db.checkpoint(checkpoints.place(&name)?)?;
        Ok(Made { ok: true, name, summary })
    });
    let mut reply = reply::json_of(&made.await?);
    *reply.status_mut() = StatusCode::CREATED;
    Ok(reply)
}

/// `GET /v1/admin/checkpoints`: by name.
pub(super) async fn list(app: &Arc<App>, query: Option<&str>) -> Result<Reply> {
    let [] = query::parse(query, [])?;
    let checkpoints = run(app, |checkpoints, _| checkpoints.list()).await?;
    Ok(reply::json_of(&List { checkpoints }))
}

/// `DELETE /v1/admin/checkpoints/{name}`
pub(super) async fn remove(app: &Arc<App>, name: Vec<u8>, query: Option<&str>) -> Result<Reply> {
    let [] = query::parse(query, [])?;
    let name = text(name)?;
    match run(app, move |checkpoints, _| checkpoints.remove(&name)).await? {
        true => Ok(reply::json_of(&Removed { ok: true })),
        false => Err(Problem::new(
            Kind::CheckpointNotFound,
            "there is no checkpoint of this name; GET /v1/admin/checkpoints lists them",
        )),
    }
}

fn text(name: Vec<u8>) -> Result<String> {
    let refused = |_| Problem::new(Kind::NotUtf8, "the name of a checkpoint is ASCII text");
    String::from_utf8(name).map_err(refused)
}

/// Does something with the directory of checkpoints on a blocking thread: not on those of
/// reads, for it may take minutes.
async fn run<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&CheckpointDir, &Db) -> tanada::Result<T> + Send + 'static,
) -> Result<T> {
    let Some(checkpoints) = app.checkpoints.clone() else {
        return Err(Problem::new(
            Kind::NoCheckpointDir,
            "the server was given no directory for checkpoints; start it with one (tanada serve --checkpoint-dir DIR)",
        ));
    };
    let Ok(place) = Arc::clone(&app.checkpoint_places).try_acquire_owned() else {
        return Err(Problem::new(
            Kind::Overloaded,
            "several checkpoints are being made or removed already; try again when one is done",
        ));
    };
    let db = app.db.clone();
    let work = move || {
        let done = work(&checkpoints, &db);
        drop(place);
        done
    };
    Ok(tokio::task::spawn_blocking(work).await.map_err(|_| panicked())??)
}
