//! `GET /v1/kv`: keys in order, in JSON pages or as one NDJSON stream.

use super::accept::accepts;
use super::scan_stream::ScanStream;
use super::walk::{Columns, Direction, Scan, Walk};
use crate::app::App;
use crate::clients::Busy;
use crate::encoding::{from_base64, to_url_base64};
use crate::json::push_string;
use crate::memory::Share;
use crate::problem::{Kind, Problem, Result};
use crate::query;
use crate::reply::{self, Reply, ReplyBody};
use crate::space::Space;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};
use std::ops::Bound;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// What a scan may be told.
pub(crate) const PARAMETERS: [&str; 7] =
    ["prefix", "start", "end", "limit", "cursor", "reverse", "keys_only"];

const DEFAULT_PAGE: u64 = 100;
const MAX_PAGE: u64 = 10_000;

/// A page ends early here, so that large values do not add up.
const PAGE_BYTES: usize = 4 << 20;

impl Scan {
    pub(crate) fn parse(text: Option<&str>) -> Result<Scan> {
        let [prefix, start, end, limit, cursor, reverse, keys_only] =
            query::parse(text, PARAMETERS)?;
        let direction = match query::flag("reverse", reverse)? {
            true => Direction::Reverse,
            false => Direction::Forward,
        };
        let columns = match query::flag("keys_only", keys_only)? {
            true => Columns::KeysOnly,
            false => Columns::KeysAndValues,
        };
        let limit = match limit {
            None => None,
            Some(digits) => Some(
                std::str::from_utf8(&digits)
                    .ok()
                    .and_then(|d| d.parse().ok())
                    .filter(|n| *n > 0)
                    .ok_or_else(|| Problem::invalid("limit must be a whole number, 1 or more"))?,
            ),
        };
        let prefix = prefix.unwrap_or_default();
        let lower = prefix.as_ref().max(start.as_deref().unwrap_or_default()).to_vec();
        let upper = match (tanada::prefix_end(&prefix), end.map(|e| e.into_owned())) {
            (Some(a), Some(b)) => Bound::Excluded(a.min(b)),
            (Some(a), None) | (None, Some(a)) => Bound::Excluded(a),
            (None, None) => Bound::Unbounded,
        };
        let mut scan = Scan { lower: Bound::Included(lower), upper, direction, columns, limit };
        if let Some(cursor) = cursor {
            scan.go_on_at(&cursor)?;
        }
        Ok(scan)
    }

    /// Narrows the range to what lies beyond the last key of a page.
    fn go_on_at(&mut self, cursor: &[u8]) -> Result<()> {
        let bad = || {
            Problem::invalid(
                "cursor is not from an earlier answer to this request; repeat the request with the cursor it gave, \
                 and the same prefix, start, end and reverse",
            )
        };
        let decoded = from_base64(cursor).map_err(|_| bad())?;
        let (mark, last) = decoded.split_first().ok_or_else(bad)?;
        if *mark != self.direction.mark() || !self.contains(last) {
            return Err(bad());
        }
        match self.direction {
            Direction::Forward => self.lower = Bound::Excluded(last.to_vec()),
            Direction::Reverse => self.upper = Bound::Excluded(last.to_vec()),
        }
        Ok(())
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        let above = match &self.lower {
            Bound::Included(lower) => key >= &lower[..],
            Bound::Excluded(lower) => key > &lower[..],
            Bound::Unbounded => true,
        };
        let below = match &self.upper {
            Bound::Included(upper) => key <= &upper[..],
            Bound::Excluded(upper) => key < &upper[..],
            Bound::Unbounded => true,
        };
        above && below
    }
}

/// What a page that ends with the key `last` tells a client to go on with.
pub(crate) fn cursor_behind(direction: Direction, last: &[u8]) -> String {
    to_url_base64(&[&[direction.mark()], last].concat())
}

/// `GET /v1/kv`
pub(super) async fn scan(
    app: &Arc<App>,
    busy: &Busy,
    space: Space,
    request: &mut Request<Incoming>,
) -> Result<Reply> {
    let scan = Scan::parse(request.uri().query())?;
    if accepts(request.headers(), "application/x-ndjson") {
        let place = Arc::clone(&app.scans).try_acquire_owned().map_err(|_| no_place())?;
        let (keyspace, limit) = (space.keyspace(app).clone(), scan.limit);
        let start = move || Walk::start(&keyspace, scan);
        return Ok(stream(app, busy, request.method(), start, limit, place));
    }
    let limit = scan.limit.unwrap_or(DEFAULT_PAGE);
    if limit > MAX_PAGE {
        return Err(Problem::invalid(format!(
            "limit is at most {MAX_PAGE} a page; follow the cursor, or stream all with Accept: application/x-ndjson"
        )));
    }
    let keyspace = space.keyspace(app).clone();
    let share = app.memory.answer();
    let page = app.pool.run(move || page(Walk::start(&keyspace, scan), limit, share)).await??;
    Ok(reply::json(page))
}

/// What a walk meets, as NDJSON.
pub(super) fn stream(
    app: &Arc<App>,
    busy: &Busy,
    method: &Method,
    start: impl FnOnce() -> Walk + Send + 'static,
    limit: Option<u64>,
    place: OwnedSemaphorePermit,
) -> Reply {
    let body = if method == Method::HEAD {
        ReplyBody::empty()
    } else {
        ReplyBody::Stream(Box::new(ScanStream::start(app, start, limit, place, busy.again())))
    };
    let mut reply = Reply::new(body);
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    reply.headers_mut().insert(CONTENT_TYPE, ndjson);
    reply
}

pub(super) fn no_place() -> Problem {
    Problem::new(
        Kind::Overloaded,
        "too many streamed scans are open; try again in a second, or ask for pages (without Accept: application/x-ndjson)",
    )
}

/// `{"items":[…],"cursor":…}`; the cursor is null on the last page.
fn page(mut walk: Walk, limit: u64, mut share: Share) -> Result<Bytes> {
    let mut out = b"{\"items\":[".to_vec();
    let mut last = Vec::new();
    let mut count = 0;
    let mut more = false;
    while let Some(entry) = walk.next() {
        let end = out.len();
        let pushed = entry.map_err(Problem::from).and_then(|record| {
            if count == limit || end >= PAGE_BYTES {
                return Ok(false);
            }
            if count > 0 {
                out.push(b',');
            }
            walk.push_item(&mut out, &mut share, &record)?;
            last.clear();
            last.extend_from_slice(&record.key);
            Ok(true)
        });
        match pushed {
            Ok(true) => count += 1,
            Ok(false) => {
                more = true;
                break;
            }
            // Memory is short: what there is makes a page, and the next one begins here.
            Err(problem) if count > 0 && problem.kind() == Kind::Overloaded => {
                out.truncate(end);
                more = true;
                break;
            }
            Err(problem) => return Err(problem),
        }
    }
    out.extend_from_slice(b"],\"cursor\":");
    if more {
        push_string(&mut out, &cursor_behind(walk.direction(), &last));
    } else {
        out.extend_from_slice(b"null");
    }
    out.extend_from_slice(b"}\n");
    Ok(share.over(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(query: &str) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        let scan = Scan::parse(Some(query)).expect(query);
        (scan.lower, scan.upper)
    }

    fn included(key: &str) -> Bound<Vec<u8>> {
        Bound::Included(key.as_bytes().to_vec())
    }

    fn excluded(key: &str) -> Bound<Vec<u8>> {
        Bound::Excluded(key.as_bytes().to_vec())
    }

    #[test]
    fn prefix_start_and_end_are_cut_with_one_another() {
        assert_eq!(bounds(""), (included(""), Bound::Unbounded));
        assert_eq!(bounds("prefix=ab"), (included("ab"), excluded("ac")));
        assert_eq!(bounds("prefix=ab&start=abx&end=b"), (included("abx"), excluded("ac")));
        assert_eq!(bounds("prefix=ab&start=a&end=abc"), (included("ab"), excluded("abc")));
        assert_eq!(bounds("prefix=%FF%FF").1, Bound::Unbounded);
        assert_eq!(bounds("prefix=a%FF").1, excluded("b"));
        assert!(Scan::parse(Some("start=b&end=a")).expect("valid").is_empty());
    }

    #[test]
    fn a_cursor_goes_on_behind_its_key_in_its_direction() {
        let forward = to_url_base64(b">abc");
        assert_eq!(
            bounds(&format!("prefix=ab&cursor={forward}")),
            (excluded("abc"), excluded("ac"))
        );
        let reverse = to_url_base64(b"<abc");
        assert_eq!(
            bounds(&format!("prefix=ab&reverse=true&cursor={reverse}")),
            (included("ab"), excluded("abc"))
        );
        for bad in [
            format!("prefix=ab&cursor={reverse}"),
            format!("prefix=x&cursor={forward}"),
            "cursor=".into(),
            "cursor=%21".into(),
        ] {
            let problem = Scan::parse(Some(&bad)).expect_err(&bad);
            assert_eq!(problem.kind(), Kind::InvalidParameter, "{bad}");
        }
    }

    #[test]
    fn limits_are_whole_and_positive() {
        for bad in ["limit=0", "limit=-1", "limit=1.5", "limit=", "limit=x"] {
            assert!(Scan::parse(Some(bad)).is_err(), "{bad}");
        }
        assert_eq!(Scan::parse(Some("limit=7")).expect("valid").limit, Some(7));
    }
}
