//! Errors as a client sees them: problems after RFC 9457, one stable type each.
//!
//! The `type` is a URN: it names, and resolves nowhere. The list in
//! `docs/guide/http.md` follows [`Kind`]; a kind is never renamed.

use crate::encoding::DecodeError;
use crate::json::push_string;
use crate::reply::{Reply, ReplyBody};
use hyper::StatusCode;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde::Serialize;
use serde_json::value::RawValue;

/// A `Result` of a handler.
pub(crate) type Result<T> = std::result::Result<T, Problem>;

macro_rules! kinds {
    ($($kind:ident = $status:ident, $slug:literal, $title:literal;)*) => {
        /// What went wrong, as clients may tell it apart.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind { $($kind),* }

        impl Kind {
            /// All of them, in the order of the guide.
            #[cfg(test)]
            pub(crate) const ALL: &[Kind] = &[$(Kind::$kind),*];

            pub(crate) fn status(self) -> StatusCode {
                match self { $(Kind::$kind => StatusCode::$status),* }
            }
            pub(crate) fn type_uri(self) -> &'static str {
                match self { $(Kind::$kind => concat!("urn:tanada:problem:", $slug)),* }
            }
            pub(crate) fn title(self) -> &'static str {
                match self { $(Kind::$kind => $title),* }
            }
        }
    };
}

kinds! {
    EmptyKey = BAD_REQUEST, "empty-key", "The key is empty";
    KeyTooLong = BAD_REQUEST, "key-too-long", "The key is too long";
    MissingParameter = BAD_REQUEST, "missing-parameter", "A parameter is missing";
    UnknownField = BAD_REQUEST, "unknown-field", "A field or parameter is not known";
    InvalidParameter = BAD_REQUEST, "invalid-parameter", "A field or parameter is not valid";
    InvalidJson = BAD_REQUEST, "invalid-json", "The body is not valid JSON";
    NotUtf8 = BAD_REQUEST, "not-utf8", "The bytes are not UTF-8";
    InvalidBase64 = BAD_REQUEST, "invalid-base64", "The text is not base64";
    Rejected = BAD_REQUEST, "rejected", "The database rejected the request";
    ForeignOrigin = FORBIDDEN, "foreign-origin", "The request comes from a web page";
    ForeignHost = FORBIDDEN, "foreign-host", "The Host header is not this machine's";
    KeyNotFound = NOT_FOUND, "key-not-found", "There is no such key";
    KeyspaceNotFound = NOT_FOUND, "keyspace-not-found", "There is no such keyspace";
    JobNotFound = NOT_FOUND, "job-not-found", "There is no such job";
    UnknownPath = NOT_FOUND, "unknown-path", "There is nothing at this path";
    CheckpointNotFound = NOT_FOUND, "checkpoint-not-found", "There is no such checkpoint";
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method-not-allowed", "The path does not take this method";
    SlowBody = REQUEST_TIMEOUT, "slow-body", "The body did not arrive in time";
    NameTaken = CONFLICT, "name-taken", "Something has this name already";
    InUse = CONFLICT, "in-use", "Somebody has it open";
    PreconditionFailed = PRECONDITION_FAILED, "precondition-failed", "A condition does not hold";
    BodyTooLarge = PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large";
    ValueTooLarge = PAYLOAD_TOO_LARGE, "value-too-large", "The value is too large";
    RangeNotSatisfiable = RANGE_NOT_SATISFIABLE, "range-not-satisfiable", "The range lies outside the value";
    Damaged = INTERNAL_SERVER_ERROR, "damaged", "Stored data is damaged";
    Storage = INTERNAL_SERVER_ERROR, "storage", "The storage failed";
    Internal = INTERNAL_SERVER_ERROR, "internal", "The server made a mistake";
    NoCheckpointDir = NOT_IMPLEMENTED, "no-checkpoint-dir", "The server makes no checkpoints";
    Overloaded = SERVICE_UNAVAILABLE, "overloaded", "The server is overloaded";
    ReadOnly = SERVICE_UNAVAILABLE, "read-only", "The database is read-only";
    Stopped = SERVICE_UNAVAILABLE, "stopped", "The database stopped after a failed write";
    ShuttingDown = SERVICE_UNAVAILABLE, "shutting-down", "The server is shutting down";
}

/// One error answer.
#[derive(Debug)]
pub(crate) struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    detail: String,
    /// Members beside the standard ones, as JSON.
    extra: Vec<(&'static str, String)>,
    allow: Option<&'static str>,
    retry_after_s: Option<u32>,
    close: bool,
}

impl Problem {
    /// `detail` says what is wrong and what to do.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        let retry_after_s = match kind {
            Kind::Overloaded => Some(1),
            Kind::ShuttingDown => Some(5),
            Kind::ReadOnly | Kind::Stopped => Some(30),
            _ => None,
        };
        let detail = detail.into();
        Problem(Box::new(Inner {
            kind,
            detail,
            extra: Vec::new(),
            allow: None,
            retry_after_s,
            close: false,
        }))
    }

    /// 405 with the methods the path takes.
    pub(crate) fn method(path: &str, method: &hyper::Method, allow: &'static str) -> Problem {
        let mut problem = Problem::new(
            Kind::MethodNotAllowed,
            format!("{path} does not take {method}; it takes {allow}"),
        );
        problem.0.allow = Some(allow);
        problem
    }

    /// The parameter `name` is not there; `how` says how to give it.
    pub(crate) fn missing(name: &str, how: &str) -> Problem {
        Problem::new(Kind::MissingParameter, format!("{name} is missing; {how}"))
    }

    /// The parameter `name` is not base64.
    pub(crate) fn not_base64(name: &str, error: &DecodeError) -> Problem {
        Problem::new(
            Kind::InvalidBase64,
            format!("{name} is not base64: {error}; encode the bytes as base64"),
        )
    }

    /// A parameter is of the wrong form; `detail` says which and what to do.
    pub(crate) fn invalid(detail: impl Into<String>) -> Problem {
        Problem::new(Kind::InvalidParameter, detail)
    }

    /// The request was not read to its end, or cannot be trusted: close afterwards.
    pub(crate) fn closing(mut self) -> Problem {
        self.0.close = true;
        self
    }

    /// Adds a member of our own.
    pub(crate) fn with(mut self, name: &'static str, value: &impl Serialize) -> Problem {
        let json = serde_json::to_string(value).expect("our own structures have string keys only");
        self.0.extra.push((name, json));
        self
    }

    /// Appends a sentence to the detail.
    pub(crate) fn and(mut self, sentence: &str) -> Problem {
        self.0.detail.push_str(sentence);
        self
    }

    /// What kind of problem it is.
    pub(crate) fn kind(&self) -> Kind {
        self.0.kind
    }

    /// As the JSON object that a client gets, in the order in which one reads it.
    pub(crate) fn to_json(&self) -> Box<RawValue> {
        let inner = &self.0;
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(b"{\"type\":");
        push_string(&mut out, inner.kind.type_uri());
        out.extend_from_slice(b",\"title\":");
        push_string(&mut out, inner.kind.title());
        out.extend_from_slice(b",\"status\":");
        out.extend_from_slice(inner.kind.status().as_str().as_bytes());
        out.extend_from_slice(b",\"detail\":");
        push_string(&mut out, &inner.detail);
        for (name, json) in &inner.extra {
            out.push(b',');
            push_string(&mut out, name);
            out.push(b':');
            out.extend_from_slice(json.as_bytes());
        }
        out.push(b'}');
        let text = String::from_utf8(out).expect("strings and digits are UTF-8");
        RawValue::from_string(text).expect("this is JSON")
    }

    /// As an answer.
    pub(crate) fn into_reply(self) -> Reply {
        let mut body = String::from(Box::<str>::from(self.to_json()));
        body.push('\n');
        let mut reply = Reply::new(ReplyBody::full(body));
        *reply.status_mut() = self.0.kind.status();
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(allow) = self.0.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(seconds) = self.0.retry_after_s {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.0.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }
}

impl From<tanada::Error> for Problem {
    fn from(e: tanada::Error) -> Problem {
        use tanada::Error;
        let kind = match &e {
            Error::InvalidArgument(_) => Kind::Rejected,
            Error::AlreadyExists { .. } => Kind::NameTaken,
            Error::Locked { .. } => Kind::InUse,
            Error::ReadOnly { .. } => Kind::ReadOnly,
            Error::MemoryFull { .. } => Kind::Overloaded,
            Error::Poisoned { .. } => Kind::Stopped,
            Error::Closed => Kind::ShuttingDown,
            Error::Corruption(_) | Error::MissingFile { .. } | Error::Unsupported { .. } => {
                Kind::Damaged
            }
            Error::Io(_) => Kind::Storage,
            Error::Conflict(_) => Kind::PreconditionFailed,
            // Opening is over, and `WouldBlock` is handled where it is asked for.
            _ => Kind::Internal,
        };
        let problem = Problem::new(kind, e.to_string());
        match kind {
            Kind::Storage => problem
                .and("; check the disk and the permissions of the data directory, then try again"),
            Kind::Stopped => problem.and("; restart the server"),
            Kind::ShuttingDown => problem.and("; try again when the server is back"),
            _ => problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_type_and_an_error_status() {
        let mut types: Vec<_> = Kind::ALL.iter().map(|k| k.type_uri()).collect();
        types.sort_unstable();
        types.dedup();
        assert_eq!(types.len(), Kind::ALL.len());
        assert!(
            Kind::ALL.iter().all(|k| k.status().is_client_error() || k.status().is_server_error())
        );
    }

    #[test]
    fn the_guide_lists_every_kind_with_its_status() {
        let pages = [
            ("http.md", include_str!("../../../docs/guide/http.md")),
            ("http.ja.md", include_str!("../../../docs/guide/http.ja.md")),
        ];
        for kind in Kind::ALL {
            let slug = kind.type_uri().rsplit(':').next().expect("a URN has colons");
            let row = format!("| `{slug}` | {} |", kind.status().as_u16());
            for (page, guide) in pages {
                assert!(guide.contains(&row), "docs/guide/{page} lacks the row {row}");
            }
        }
    }

    #[test]
    fn engine_errors_keep_their_cure_and_get_a_fitting_status() {
        let cases = [
            (tanada::Error::InvalidArgument("x".into()), 400),
            (tanada::Error::ReadOnly { reason: "disk full; free some space".into() }, 503),
            (tanada::Error::MemoryFull { reason: "3 cursors hold 180 MiB".into() }, 503),
            (tanada::Error::Poisoned { reason: "fsync failed".into() }, 503),
            (tanada::Error::Closed, 503),
            (tanada::Error::AlreadyExists { path: "c".into(), why: "a checkpoint".into() }, 409),
            (tanada::Error::Locked { path: "c".into(), pid: None }, 409),
            (tanada::Error::from(std::io::Error::other("boom")), 500),
        ];
        for (error, status) in cases {
            let text = error.to_string();
            let problem = Problem::from(error);
            assert_eq!(problem.kind().status().as_u16(), status);
            let json: serde_json::Value =
                serde_json::from_str(problem.to_json().get()).expect("JSON");
            assert!(json["detail"].as_str().is_some_and(|d| d.contains(&text)));
        }
    }
}
