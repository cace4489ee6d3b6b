//! Requests that say no more than the name of something to be made.

use crate::app::App;
use crate::body::Received;
use crate::input::{NameBody, json};
use crate::problem::{Problem, Result};
use crate::query;
use hyper::Request;
use hyper::body::Incoming;
use std::borrow::Cow;
use std::sync::Arc;

/// The name, from JSON or from a query parameter. `what_to_do` is told where there is none.
pub(super) async fn named(
    app: &Arc<App>,
    request: &mut Request<Incoming>,
    what_to_do: &str,
) -> Result<Vec<u8>> {
    let Received { bytes: body, .. } = app.receive(request).await?;
    let name = match super::simple::query_alone(request.uri().query(), &body)? {
        Some(text) => {
            let [name] = query::parse(Some(text), ["name"])?;
            name.map(Cow::into_owned)
        }
        None => {
            let asked: NameBody<'_> = json(&body)?;
            asked.name.map(|name| name.into_bytes(&body).to_vec())
        }
    };
    name.ok_or_else(|| Problem::missing("name", what_to_do))
}
