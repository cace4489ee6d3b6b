//! One file a resource; this one finds the file.
//!
//! A match on the path instead of a router crate: the paths are few, fixed, and
//! the hot ones come first.

pub(crate) mod batch;
mod compact;
mod health;
mod kv;
pub(crate) mod range;
pub(crate) mod walk;
mod scan_stream;
pub(crate) mod scan;
mod accept;
mod simple;
mod stats_report;
mod stats_text;
mod verify;
mod stats;

use crate::app::App;
use crate::clients::Busy;
use crate::guard;
use crate::problem::{Kind, Problem, Result};
use crate::query;
use crate::reply::Reply;
use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Method, Request};
use std::sync::Arc;

/// Answers one request.
pub(crate) async fn handle(app: &Arc<App>, busy: &Busy, mut request: Request<Incoming>) -> Reply {
    let mut reply = match route(app, busy, &mut request).await {
        Ok(reply) => reply,
        Err(problem) => problem.into_reply(),
    };
    // What is left of the body would have to be read before the next request,
    // for nothing. Hyper closes then, or not, as its buffers have it: say so.
    if !request.body().is_end_stream() {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

async fn route(app: &Arc<App>, busy: &Busy, request: &mut Request<Incoming>) -> Result<Reply> {
    guard::check(request.headers())?;
    let method = request.method().clone();
    let path = request.uri().path();
    match (path, &method) {
        ("/get", &(Method::GET | Method::HEAD | Method::POST)) => simple::get(app, request).await,
        ("/put", &Method::POST) => simple::put(app, request).await,
        ("/delete", &Method::POST) => simple::delete(app, request).await,
        // The futures of the others are larger; boxed they do not burden the hot ones.
        _ => Box::pin(route_rest(app, busy, request, method)).await,
    }
}

async fn route_rest(
    app: &Arc<App>,
    busy: &Busy,
    request: &mut Request<Incoming>,
    method: Method,
) -> Result<Reply> {
    let path = request.uri().path();
    if let Some(key) = path.strip_prefix("/v1/kv/") {
        let key = Bytes::from(query::decode_path(key).into_owned());
        return kv::handle(app, request, key).await;
    }
    let wrong_method = |allow| Err(Problem::method(request.uri().path(), &method, allow));
    let reads = matches!(method, Method::GET | Method::HEAD);
    match path {
        "/v1/kv" if kv::names_a_key(request.uri().query()) => {
            kv::handle(app, request, Bytes::new()).await
        }
        "/v1/kv" if reads => scan::scan(app, busy, request).await,
        "/v1/kv" => wrong_method("GET, HEAD"),
        "/v1/batch" if method == Method::POST => batch::write(app, request).await,
        "/v1/batch" | "/put" | "/delete" => wrong_method("POST"),
        "/get" => wrong_method("GET, HEAD, POST"),
        "/compact" if method == Method::POST => compact::start(app, request).await,
        "/compact" if reads => Ok(compact::list(app)),
        "/compact" => wrong_method("GET, HEAD, POST"),
        "/stats" if reads => stats::stats(app, request).await,
        "/livez" if reads => Ok(health::live()),
        "/readyz" if reads => health::ready(app).await,
        "/stats" | "/livez" | "/readyz" => wrong_method("GET, HEAD"),
        "/v1/admin/verify" if method == Method::POST => verify::verify(app, request).await,
        "/v1/admin/verify" => wrong_method("POST"),
        _ => match path.strip_prefix("/compact/") {
            Some(id) if reads => compact::look_up(app, id),
            Some(_) => wrong_method("GET, HEAD"),
            None => Err(Problem::new(
                Kind::UnknownPath,
                "there is nothing at this path; there are /put, /get, /delete, /compact, /stats, /v1/kv, /v1/kv/{key}, \
                 /v1/batch, /v1/admin/verify, /livez and /readyz",
            )),
        },
    }
}
