//! `/put`, `/get` and `/delete`: for a first curl, and for the benchmark.

use super::accept::accepts;
use crate::app::App;
use crate::body::Received;
use crate::etag::etag;
use crate::input::{
    DeleteBody, GetBody, PutBody, checked_value, durability_of_query, json, key_of, key_of_query,
    put_options, put_options_of_query, value_of, value_of_query,
};
use crate::json::{entry_len, push_key, push_number, push_value, record, written};
use crate::memory::SMALL_BYTES;
use crate::problem::{Kind, Problem, Result};
use crate::query;
use crate::reply::{self, Reply};
use crate::space::Space;
use crate::write_queue::{Action, Op};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::ETAG;
use hyper::{Method, Request};
use serde::Serialize;
use std::sync::Arc;
use tanada::{Durability, Record, Step};

/// `POST /put`, with JSON or with query parameters.
pub(super) async fn put(
    app: &Arc<App>,
    space: Space,
    request: &mut Request<Incoming>,
) -> Result<Reply> {
    let Received { bytes: body, share } = app.receive(request).await?;
    let (key, value, options, durability) = match query_alone(request.uri().query(), &body)? {
        Some(text) => {
            let [key, key64, value, encoding, ttl, expires_at, durability] = query::parse(
                Some(text),
                ["key", "key64", "value", "encoding", "ttl", "expires_at", "durability"],
            )?;
            (
                key_of_query(key, key64)?,
                value_of_query(value, encoding)?,
                put_options_of_query(ttl, expires_at)?,
                durability_of_query(durability)?,
            )
        }
        None => {
            let put: PutBody<'_> = json(&body)?;
            (
                key_of(put.key, put.key64, &body)?,
                value_of(put.value, put.encoding, &body)?,
                put_options(put.ttl, put.expires_at.as_ref())?,
                put.durability.map(Durability::from),
            )
        }
    };
    let value = checked_value(value, app.limits.max_value_bytes)?;
    // What the operation has of it stays.
    drop(body);
    let keyspace = space.into_named();
    let action = Action::Put { value, options };
    let op = Op { keyspace, key, action, conditions: Vec::new() };
    Ok(reply::json(written(app.write_one(op, share, durability).await?)))
}

/// `POST /delete`, with JSON or with query parameters.
pub(super) async fn delete(
    app: &Arc<App>,
    space: Space,
    request: &mut Request<Incoming>,
) -> Result<Reply> {
    let Received { bytes: body, share } = app.receive(request).await?;
    let (key, durability) = match query_alone(request.uri().query(), &body)? {
        Some(text) => {
            let [key, key64, durability] =
                query::parse(Some(text), ["key", "key64", "durability"])?;
            (key_of_query(key, key64)?, durability_of_query(durability)?)
        }
        None => {
            let delete: DeleteBody<'_> = json(&body)?;
            (key_of(delete.key, delete.key64, &body)?, delete.durability.map(Durability::from))
        }
    };
    // What the operation has of it stays.
    drop(body);
    let keyspace = space.into_named();
    let op = Op { keyspace, key, action: Action::Delete, conditions: Vec::new() };
    Ok(reply::json(written(app.write_one(op, share, durability).await?)))
}

/// The query when it carries the request; the body must be empty then, for
/// what is not read must not look as if it had been.
pub(super) fn query_alone<'q>(query: Option<&'q str>, body: &Bytes) -> Result<Option<&'q str>> {
    match query.filter(|q| !q.is_empty()) {
        Some(_) if !body.is_empty() => Err(Problem::invalid(
            "there are both query parameters and a body; send the fields in one of them \
             (PUT /v1/kv/{key} takes a raw value as its body)",
        )),
        other => Ok(other),
    }
}

/// `GET /get?key=` and `POST /get`.
pub(super) async fn get(
    app: &Arc<App>,
    space: Space,
    request: &mut Request<Incoming>,
) -> Result<Reply> {
    let raw = accepts(request.headers(), "application/octet-stream");
    let (key, explain) = if *request.method() == Method::POST {
        let received = app.receive(request).await?;
        let body = &received.bytes;
        if request.uri().query().is_some_and(|q| !q.is_empty()) {
            let text = query_alone(request.uri().query(), body)?;
            key_and_explain(text)?
        } else {
            let get: GetBody<'_> = json(body)?;
            (key_of(get.key, get.key64, body)?, get.explain.unwrap_or(false))
        }
    } else {
        key_and_explain(request.uri().query())?
    };
    if explain {
        return Box::pin(explained(app, &space, key)).await;
    }
    let Some(found) = read(app, &space, &key).await? else { return Err(not_found(&key)) };
    if raw {
        let version = found.version.0;
        let mut reply = reply::typed("application/octet-stream", value_bytes(app, found)?);
        reply.headers_mut().insert(ETAG, etag(app.lineage, version));
        return Ok(reply);
    }
    let text = |value: &[u8]| record(&key, value, found.version.0, found.expires_at);
    large_or_small(app, &key, &found.value, text)
}

fn key_and_explain(text: Option<&str>) -> Result<(Bytes, bool)> {
    let [key, key64, explain] = query::parse(text, ["key", "key64", "explain"])?;
    Ok((key_of_query(key, key64)?, query::flag("explain", explain)?))
}

/// Reads from memory on the spot, from the disk on the pool.
pub(super) async fn read(app: &Arc<App>, space: &Space, key: &Bytes) -> Result<Option<Record>> {
    let keyspace = space.keyspace(app);
    match keyspace.try_get_record(key) {
        Err(tanada::Error::WouldBlock) => {
            let (keyspace, key) = (keyspace.clone(), key.clone());
            Ok(app.pool.run(move || keyspace.get_record(&key)).await??)
        }
        known => Ok(known?),
    }
}

/// JSON that holds a key and a value; a large one claims its memory first.
fn large_or_small(
    app: &App,
    key: &[u8],
    value: &[u8],
    text: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Result<Reply> {
    if key.len() + value.len() <= SMALL_BYTES / 2 {
        return Ok(reply::json(text(value)));
    }
    let mut share = app.memory.answer();
    share.hold(entry_len(key, value))?;
    Ok(reply::json(share.over(text(value))))
}

/// The value as an answer's body: copied when small, for then the copy costs
/// less than keeping the block; shared when large. The block may leave the cache while
/// the client takes its time, so that a large one is claimed.
pub(super) fn value_bytes(app: &App, record: Record) -> Result<Bytes> {
    const SHARED_FROM_BYTES: usize = 4096;
    let length = record.value.len();
    if length < SHARED_FROM_BYTES {
        return Ok(Bytes::copy_from_slice(&record.value));
    }
    if length <= SMALL_BYTES {
        return Ok(Bytes::from_owner(record.value));
    }
    let mut share = app.memory.answer();
    share.hold(length)?;
    Ok(share.over(record.value))
}

/// 404.
pub(super) fn not_found(key: &[u8]) -> Problem {
    const SHOWN_BYTES: usize = 100;
    let shown = String::from_utf8_lossy(&key[..key.len().min(SHOWN_BYTES)]);
    let more = if key.len() > SHOWN_BYTES { "…" } else { "" };
    Problem::new(
        Kind::KeyNotFound,
        format!(
            "there is no key {shown:?}{more}, or it was deleted, or it has expired; put it first"
        ),
    )
}

/// The tiers that were asked, in order.
#[derive(Serialize)]
struct Path<'a> {
    steps: &'a [Step],
    total_ns: u64,
}

/// A read with its path through the tiers. An absent key has a path too.
async fn explained(app: &Arc<App>, space: &Space, key: Bytes) -> Result<Reply> {
    let (keyspace, asked) = (space.keyspace(app).clone(), key.clone());
    let explain = app.pool.run(move || keyspace.explain(&asked)).await??;
    let path = Path { steps: &explain.steps, total_ns: explain.total_ns };
    let (Some(value), Some(version)) = (explain.value, explain.seqno) else {
        return Err(not_found(&key).with("explain", &path));
    };
    let text = |value: &[u8]| {
        let mut out = Vec::with_capacity(entry_len(&key, value) + 1024);
        out.push(b'{');
        push_key(&mut out, &key);
        out.push(b',');
        push_value(&mut out, value);
        out.extend_from_slice(b",\"version\":");
        push_number(&mut out, version);
        out.extend_from_slice(b",\"explain\":");
        serde_json::to_writer(&mut out, &path).expect("a vector takes all bytes");
        out.extend_from_slice(b"}\n");
        out
    };
    large_or_small(app, &key, &value, text)
}
