//! `/v1/kv/{key}`: one key as a resource, raw bytes, versions as ETags.

use super::range::{self, Part};
use super::simple::{not_found, read, value_bytes};
use crate::app::App;
use crate::encoding::rfc3339;
use crate::etag::{conditions, etag};
use crate::input::{checked_key, checked_value, durability_of_query, put_options_of_query};
use crate::json::written;
use crate::problem::{Kind, Problem, Result};
use crate::query;
use crate::reply::{self, Reply};
use crate::space::Space;
use crate::write_queue::{Action, Op};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ACCEPT_RANGES, CONTENT_RANGE, ETAG, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, StatusCode};
use std::sync::Arc;
use tanada::{Condition, UnixMillis};

const ALLOW: &str = "GET, HEAD, PUT, DELETE";

/// When the key expires, in RFC 3339.
const EXPIRES_AT: HeaderName = HeaderName::from_static("tanada-expires-at");

/// Whether the query of `/v1/kv` names one key (`?key64=`), so that it is no scan.
pub(super) fn names_a_key(query: Option<&str>) -> bool {
    query.is_some_and(|q| q.split('&').any(|pair| pair.starts_with("key64=")))
}

/// One request on a key whose path is `path`, or `?key64=` when that is empty.
pub(super) async fn handle(
    app: &Arc<App>,
    space: Space,
    request: &mut Request<Incoming>,
    path: Bytes,
) -> Result<Reply> {
    match *request.method() {
        Method::GET | Method::HEAD => {
            let [key64] = query::parse(request.uri().query(), ["key64"])?;
            get(app, &space, key_of(path, key64.as_deref())?, request.headers()).await
        }
        Method::PUT => {
            let [key64, ttl, expires_at, durability] =
                query::parse(request.uri().query(), ["key64", "ttl", "expires_at", "durability"])?;
            let key = key_of(path, key64.as_deref())?;
            let options = put_options_of_query(ttl, expires_at)?;
            let durability = durability_of_query(durability)?;
            let conditions = both(conditions(request.headers(), app.lineage)?);
            let received = app.receive(request).await?;
            let value = checked_value(received.bytes, app.limits.max_value_bytes)?;
            let keyspace = space.into_named();
            let op = Op { keyspace, key, action: Action::Put { value, options }, conditions };
            let version = app.write_one(op, received.share, durability).await?;
            let mut reply = reply::json(written(version));
            reply.headers_mut().insert(ETAG, etag(app.lineage, version));
            Ok(reply)
        }
        Method::DELETE => {
            let [key64, durability] = query::parse(request.uri().query(), ["key64", "durability"])?;
            let key = key_of(path, key64.as_deref())?;
            let durability = durability_of_query(durability)?;
            let conditions = both(conditions(request.headers(), app.lineage)?);
            let keyspace = space.into_named();
            let op = Op { keyspace, key, action: Action::Delete, conditions };
            Ok(reply::json(written(app.write_one(op, None, durability).await?)))
        }
        ref other => Err(Problem::method(request.uri().path(), other, ALLOW)),
    }
}

fn key_of(path: Bytes, key64: Option<&[u8]>) -> Result<Bytes> {
    match key64 {
        Some(key64) if path.is_empty() => checked_key(query::base64("key64", key64)?.into()),
        Some(_) => Err(Problem::invalid("the key is both in the path and in key64; give one")),
        None => checked_key(path),
    }
}

fn both((if_match, if_none_match): (Option<Condition>, Option<Condition>)) -> Vec<Condition> {
    if_match.into_iter().chain(if_none_match).collect()
}

/// The value, a part of it, or why not, in the order of RFC 9110, 13.2.2.
async fn get(app: &Arc<App>, space: &Space, key: Bytes, headers: &HeaderMap) -> Result<Reply> {
    let (if_match, if_none_match) = conditions(headers, app.lineage)?;
    let found = read(app, space, &key).await?;
    let current = found.as_ref().map(|record| record.version);
    if if_match.is_some_and(|condition| !condition.holds(current)) {
        return Err(Problem::new(
            Kind::PreconditionFailed,
            "the key is not as If-Match wants it; read it again without If-Match",
        ));
    }
    let Some(record) = found else { return Err(not_found(&key)) };
    let tag = etag(app.lineage, record.version.0);
    let expires_at = record.expires_at;
    let mut reply = if if_none_match.is_some_and(|condition| !condition.holds(current)) {
        reply::empty(StatusCode::NOT_MODIFIED)
    } else {
        part(value_bytes(app, record)?, headers, &tag)?
    };
    let answer = reply.headers_mut();
    answer.insert(ETAG, tag);
    if let Some(UnixMillis(ms)) = expires_at {
        answer.insert(EXPIRES_AT, ascii(rfc3339(ms)));
    }
    Ok(reply)
}

fn part(value: Bytes, headers: &HeaderMap, tag: &HeaderValue) -> Result<Reply> {
    let length = value.len();
    let mut reply = match range::requested(headers, length, tag) {
        Part::Whole => reply::typed("application/octet-stream", value),
        Part::Bytes(part) => {
            let content_range = format!("bytes {}-{}/{length}", part.start, part.end - 1);
            let mut reply = reply::typed("application/octet-stream", value.slice(part));
            *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
            reply.headers_mut().insert(CONTENT_RANGE, ascii(content_range));
            reply
        }
        Part::Outside => {
            let mut reply = Problem::new(
                Kind::RangeNotSatisfiable,
                format!("the value has {length} bytes; ask for a range inside it"),
            )
            .into_reply();
            reply.headers_mut().insert(CONTENT_RANGE, ascii(format!("bytes */{length}")));
            reply
        }
    };
    reply.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    Ok(reply)
}

fn ascii(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("digits and punctuation are visible ASCII")
}
