//! `GET /v1/dump`: every record of every keyspace, of one moment, as one NDJSON stream.

use super::scan::{no_place, stream};
use super::walk::Walk;
use crate::app::App;
use crate::clients::Busy;
use crate::problem::Result;
use crate::query;
use crate::reply::Reply;
use crate::space::Space;
use hyper::Method;
use std::sync::Arc;

/// `GET /v1/dump?keyspace=`
pub(super) fn dump(
    app: &Arc<App>,
    busy: &Busy,
    method: &Method,
    query: Option<&str>,
) -> Result<Reply> {
    let [name] = query::parse(query, ["keyspace"])?;
    let one = name.map(|name| Space::named(app, &name)).transpose()?;
    let place = Arc::clone(&app.scans).try_acquire_owned().map_err(|_| no_place())?;
    let db = app.db.clone();
    let one = one.map(|space| space.keyspace(app).clone());
    let start = move || {
        let snapshot = db.snapshot();
        let keyspaces = one.map_or_else(|| snapshot.keyspaces(), |one| vec![one]);
        Walk::dump(snapshot, keyspaces)
    };
    Ok(stream(app, busy, method, start, None, place))
}
