//! `/v1/keyspaces`: which there are, and new ones.

use super::named::named;
use crate::app::App;
use crate::problem::Result;
use crate::query;
use crate::reply::{self, Reply};
use crate::space;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
struct List<'a> {
    keyspaces: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Made<'a> {
    ok: bool,
    name: &'a str,
    /// False when it was there already.
    created: bool,
}

/// `GET /v1/keyspaces`: the default one first, then as they were created.
pub(super) fn list(app: &App, query: Option<&str>) -> Result<Reply> {
    let [] = query::parse(query, [])?;
    let names = app.db.keyspaces();
    let all = std::iter::once(app.keyspace.name()).chain(names.iter().map(String::as_str));
    Ok(reply::json_of(&List { keyspaces: all.map(|name| Entry { name }).collect() }))
}

/// `POST /v1/keyspaces`, with JSON or with a query parameter.
pub(super) async fn create(app: &Arc<App>, request: &mut Request<Incoming>) -> Result<Reply> {
    let name = named(app, request, "name the keyspace").await?;
    let created = space::create(app, &name).await?;
    let name = &String::from_utf8_lossy(&name);
    let mut reply = reply::json_of(&Made { ok: true, name, created });
    if created {
        *reply.status_mut() = StatusCode::CREATED;
    }
    Ok(reply)
}
