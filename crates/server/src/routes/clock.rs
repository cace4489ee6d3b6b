//! `/v1/admin/clock`: the time that is believed, and the word of a person that the wall
//! clock is right.

use crate::app::App;
use crate::problem::Result;
use crate::query;
use crate::reply::{self, Reply};
use hyper::Request;
use hyper::body::Incoming;
use std::sync::Arc;

/// `GET`: what is known of the clock.
pub(super) async fn look(app: &Arc<App>, request: &mut Request<Incoming>) -> Result<Reply> {
    let [] = query::parse(request.uri().query(), [])?;
    let db = app.db.clone();
    let clock = app.pool.run(move || db.stats().clock).await?;
    Ok(reply::json_of(&clock))
}

/// `POST`: the wall clock is right now. Answers what is known of it then.
pub(super) async fn trust(app: &Arc<App>, request: &mut Request<Incoming>) -> Result<Reply> {
    let [] = query::parse(request.uri().query(), [])?;
    let db = app.db.clone();
    let clock = app.pool.run(move || db.trust_clock()).await??;
    Ok(reply::json_of(&clock))
}
