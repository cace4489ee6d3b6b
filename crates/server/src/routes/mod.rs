//! One file a resource; this one finds the file.
//!
//! A match on the path instead of a router crate: the paths are few, fixed, and
//! the hot ones come first.

pub(crate) mod batch;
mod checkpoints;
mod clock;
mod compact;
mod dump;
mod keyspaces;
mod named;
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
use crate::space::Space;
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

/// What can be done in every keyspace: `/v1/ks/{name}/` and the verb's path, and in the
/// default one `/` or `/v1/` and the verb's path.
enum Verb {
    Get,
    Put,
    Delete,
    /// `kv`: keys in order.
    Keys,
    /// `kv/{key}`: one key, decoded.
    Key(Bytes),
    Batch,
    Compact,
}

impl Verb {
    fn of(path: &str) -> Option<Verb> {
        Some(match path {
            "get" => Verb::Get,
            "put" => Verb::Put,
            "delete" => Verb::Delete,
            "kv" => Verb::Keys,
            "batch" => Verb::Batch,
            "compact" => Verb::Compact,
            _ => {
                let key = path.strip_prefix("kv/")?;
                Verb::Key(Bytes::from(query::decode_path(key).into_owned()))
            }
        })
    }

    /// That of a path of the default keyspace.
    fn of_default(path: &str) -> Option<Verb> {
        let (under_v1, verb) = match path.strip_prefix("/v1/") {
            Some(verb) => (true, verb),
            None => (false, path.strip_prefix('/')?),
        };
        Verb::of(verb).filter(|verb| match verb {
            Verb::Keys | Verb::Key(_) | Verb::Batch => under_v1,
            Verb::Get | Verb::Put | Verb::Delete | Verb::Compact => !under_v1,
        })
    }
}

async fn route(app: &Arc<App>, busy: &Busy, request: &mut Request<Incoming>) -> Result<Reply> {
    guard::check(request.headers())?;
    let method = request.method().clone();
    let (path, space) = (request.uri().path(), Space::DEFAULT);
    match (path, &method) {
        ("/get", &(Method::GET | Method::HEAD | Method::POST)) => {
            simple::get(app, space, request).await
        }
        ("/put", &Method::POST) => simple::put(app, space, request).await,
        ("/delete", &Method::POST) => simple::delete(app, space, request).await,
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
    if let Some(verb) = Verb::of_default(path) {
        return on_keyspace(app, busy, Space::DEFAULT, verb, request, &method).await;
    }
    if let Some((name, verb)) = path.strip_prefix("/v1/ks/").and_then(|rest| rest.split_once('/')) {
        let Some(verb) = Verb::of(verb) else {
            return Err(Problem::new(
                Kind::UnknownPath,
                "there is nothing at this path; a keyspace has kv, kv/{key}, batch, get, put, delete and compact",
            ));
        };
        let space = Space::named(app, &query::decode_path(name))?;
        return on_keyspace(app, busy, space, verb, request, &method).await;
    }
    let reads = matches!(method, Method::GET | Method::HEAD);
    let wrong_method = |allow| Err(Problem::method(request.uri().path(), &method, allow));
    match path {
        "/v1/keyspaces" if method == Method::POST => keyspaces::create(app, request).await,
        "/v1/keyspaces" if reads => keyspaces::list(app, request.uri().query()),
        "/v1/keyspaces" => wrong_method("GET, HEAD, POST"),
        "/v1/dump" if reads => dump::dump(app, busy, &method, request.uri().query()),
        "/v1/dump" => wrong_method("GET, HEAD"),
        "/stats" if reads => stats::stats(app, request).await,
        "/livez" if reads => Ok(health::live()),
        "/readyz" if reads => health::ready(app).await,
        "/stats" | "/livez" | "/readyz" => wrong_method("GET, HEAD"),
        "/v1/admin/verify" if method == Method::POST => verify::verify(app, request).await,
        "/v1/admin/verify" => wrong_method("POST"),
        "/v1/admin/clock" if method == Method::POST => clock::trust(app, request).await,
        "/v1/admin/clock" if reads => clock::look(app, request).await,
        "/v1/admin/clock" => wrong_method("GET, HEAD, POST"),
        "/v1/admin/checkpoints" if method == Method::POST => {
            checkpoints::create(app, request).await
        }
        "/v1/admin/checkpoints" if reads => checkpoints::list(app, request.uri().query()).await,
        "/v1/admin/checkpoints" => wrong_method("GET, HEAD, POST"),
        _ => match (path.strip_prefix("/compact/"), path.strip_prefix("/v1/admin/checkpoints/")) {
            (Some(id), _) if reads => compact::look_up(app, id),
            (Some(_), _) => wrong_method("GET, HEAD"),
            (None, Some(name)) if method == Method::DELETE => {
                let name = query::decode_path(name).into_owned();
                checkpoints::remove(app, name, request.uri().query()).await
            }
            (None, Some(_)) => wrong_method("DELETE"),
            (None, None) => Err(Problem::new(
                Kind::UnknownPath,
                "there is nothing at this path; there are /put, /get, /delete, /compact, /stats, /v1/kv, /v1/kv/{key}, \
                 /v1/batch, the same of a keyspace under /v1/ks/{name}/, /v1/keyspaces, /v1/dump, /v1/admin/verify, \
                 /v1/admin/checkpoints, /v1/admin/clock, /livez and /readyz",
            )),
        },
    }
}

async fn on_keyspace(
    app: &Arc<App>,
    busy: &Busy,
    space: Space,
    verb: Verb,
    request: &mut Request<Incoming>,
    method: &Method,
) -> Result<Reply> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let posts = *method == Method::POST;
    let allow = match verb {
        Verb::Key(key) => return kv::handle(app, space, request, key).await,
        Verb::Keys if kv::names_a_key(request.uri().query()) => {
            return kv::handle(app, space, request, Bytes::new()).await;
        }
        Verb::Keys if reads => return scan::scan(app, busy, space, request).await,
        Verb::Keys => "GET, HEAD",
        Verb::Get if reads || posts => return simple::get(app, space, request).await,
        Verb::Get => "GET, HEAD, POST",
        Verb::Put if posts => return simple::put(app, space, request).await,
        Verb::Delete if posts => return simple::delete(app, space, request).await,
        Verb::Batch if posts => return batch::write(app, space, request).await,
        Verb::Put | Verb::Delete | Verb::Batch => "POST",
        Verb::Compact if posts => return compact::start(app, space, request).await,
        Verb::Compact if reads => return Ok(compact::list(app)),
        Verb::Compact => "GET, HEAD, POST",
    };
    Err(Problem::method(request.uri().path(), method, allow))
}
