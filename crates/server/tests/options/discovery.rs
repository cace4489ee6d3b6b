//! Which options there are, from the server's own answers to wrong ones.

use crate::form::World;
use serde_json::json;
use std::collections::BTreeSet;

/// A name that nothing has.
const NOTHING: &str = "no_such_option";

/// What the source says that is read of a request's head, and on which routes.
const HEADERS: &[(&str, &[&str])] = &[
    ("ACCEPT", &["GET /get", "POST /get", "GET /v1/kv", "GET /stats"]),
    ("IF_MATCH", &["GET /v1/kv/{key}", "PUT /v1/kv/{key}", "DELETE /v1/kv/{key}"]),
    ("IF_NONE_MATCH", &["GET /v1/kv/{key}", "PUT /v1/kv/{key}", "DELETE /v1/kv/{key}"]),
    ("RANGE", &["GET /v1/kv/{key}"]),
    ("IF_RANGE", &["GET /v1/kv/{key}"]),
    ("HOST", &["any"]),
    ("ORIGIN", &["any"]),
];

/// Headers of answers, and those that say how a body comes; the protocol's, not options.
const NO_OPTIONS: &[&str] = &[
    "ACCEPT_RANGES",
    "ALLOW",
    "CONNECTION",
    "CONTENT_LENGTH",
    "CONTENT_RANGE",
    "CONTENT_TYPE",
    "ETAG",
    "LOCATION",
    "RETRY_AFTER",
    "TRANSFER_ENCODING",
];

/// Every option, as `METHOD path ?parameter`, `METHOD path {field}` or `METHOD path Header`.
pub(crate) fn options(world: &World) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in paths(world) {
        let target = match path.as_str() {
            "/compact/{id}" => "/compact/1".to_owned(),
            "/v1/admin/checkpoints/{name}" => "/v1/admin/checkpoints/x".to_owned(),
            "/v1/kv/{key}" => world.path("/v1/kv/k"),
            "/put" | "/get" | "/delete" | "/compact" | "/v1/kv" | "/v1/batch" => world.path(&path),
            path => path.to_owned(),
        };
        let wrong = world.server.request("PATCH", &target, &[], "");
        assert_eq!(wrong.status, 405, "{target} takes PATCH");
        for method in wrong.header("allow").split(", ").filter(|method| *method != "HEAD") {
            let route = format!("{method} {path}");
            let query = format!("{target}?{NOTHING}=1");
            let told = world.server.request(method, &query, &[], "");
            if let Some((_, names)) = detail(&told).and_then(|d| {
                d.split_once(" here; use ").map(|(a, b)| (a.to_owned(), b.to_owned()))
            }) {
                let names = names.split(", ").filter(|name| !name.is_empty());
                found.extend(names.map(|name| format!("{route} ?{name}")));
            }
            if method != "POST" {
                continue;
            }
            let told =
                world.server.request(method, &target, &[], json!({ NOTHING: 1 }).to_string());
            found.extend(fields(&told).into_iter().map(|name| format!("{route} {{{name}}}")));
            if path == "/v1/batch" {
                let body = json!({"ops": [{"op": "put", NOTHING: 1}]}).to_string();
                let told = world.server.request(method, &target, &[], body);
                found.extend(
                    fields(&told).into_iter().map(|name| format!("{route} ops {{{name}}}")),
                );
            }
        }
    }
    let read = headers();
    let listed: BTreeSet<&str> =
        HEADERS.iter().map(|(name, _)| *name).chain(NO_OPTIONS.iter().copied()).collect();
    let unlisted: Vec<_> = read.iter().filter(|name| !listed.contains(&***name)).collect();
    assert!(unlisted.is_empty(), "the source names headers that have no place: {unlisted:?}");
    for (name, routes) in HEADERS {
        assert!(read.contains(*name), "nothing reads {name} any more");
        let words = name.split('_').map(|word| {
            let (head, rest) = word.split_at(1);
            format!("{head}{}", rest.to_lowercase())
        });
        let header = words.collect::<Vec<_>>().join("-");
        found.extend(routes.iter().map(|route| format!("{route} {header}")));
    }
    found
}

fn detail(answer: &crate::support::Answer) -> Option<String> {
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    problem["detail"].as_str().map(str::to_owned)
}

/// The names that an answer expected instead of a wrong field.
fn fields(answer: &crate::support::Answer) -> Vec<String> {
    let detail = detail(answer).unwrap_or_default();
    let Some((_, expected)) = detail.split_once("`, expected ") else { return Vec::new() };
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Every path: those that the source matches, for the answer to an unknown path names the
/// most important ones alone.
fn paths(world: &World) -> BTreeSet<String> {
    let source = include_str!("../../src/routes/mod.rs");
    let strings = || source.split('"').skip(1).step_by(2);
    let mut paths = BTreeSet::new();
    for text in strings() {
        let is_path = text.len() > 1
            && text.starts_with('/')
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '/');
        match text {
            "/v1/" | "/v1/ks/" => {}
            "/compact/" => drop(paths.insert("/compact/{id}".to_owned())),
            "/v1/admin/checkpoints/" => {
                paths.insert("/v1/admin/checkpoints/{name}".to_owned());
            }
            _ if is_path => drop(paths.insert(text.to_owned())),
            // Verbs of a keyspace.
            "get" | "put" | "delete" | "compact" => drop(paths.insert(format!("/{text}"))),
            "kv" | "batch" => drop(paths.insert(format!("/v1/{text}"))),
            "kv/" => drop(paths.insert("/v1/kv/{key}".to_owned())),
            _ => {}
        }
    }
    let verbs = source.split("fn of(path: &str)").nth(1).and_then(|rest| rest.split("fn ").next());
    let arms = verbs.map_or(0, |verbs| verbs.matches("=> Verb::").count());
    assert_eq!(arms, 6, "a verb of keyspaces has no place here");
    let unknown = world.server.request("GET", "/no/such/path", &[], "");
    let told = detail(&unknown).unwrap_or_default();
    for word in told.split([' ', ',', ';']).filter(|word| word.starts_with('/')) {
        let known = word == "/v1/ks/{name}/" || paths.contains(word);
        assert!(known, "the server tells of {word}, which this test does not know");
    }
    paths
}

/// Names of headers in the server's source.
fn headers() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("the source is here");
            open.extend(entries.map(|entry| entry.expect("it is readable").path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("the source is here");
        for imported in text.split("header::").skip(1) {
            let names = imported.split([';', '}']).next().unwrap_or_default();
            let names = names.split(|c: char| !c.is_ascii_uppercase() && c != '_');
            found.extend(names.filter(|name| name.len() > 2).map(str::to_owned));
        }
    }
    found
}
