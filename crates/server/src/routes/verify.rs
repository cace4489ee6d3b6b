//! `POST /v1/admin/verify`: reads and checks every byte of the database.

use crate::app::App;
use crate::problem::Result;
use crate::query;
use crate::reply::{self, Reply};
use hyper::Request;
use hyper::body::Incoming;
use std::sync::Arc;

/// Answers what was found, damage included: finding it is no failure of the
/// request. Takes as long as reading the whole database does.
pub(super) async fn verify(app: &Arc<App>, request: &mut Request<Incoming>) -> Result<Reply> {
    let [] = query::parse(request.uri().query(), [])?;
    let db = app.db.clone();
    let report = app.pool.run(move || db.verify()).await??;
    Ok(reply::json_of(&report))
}
