//! Keyspaces over HTTP: every verb in each, apart from one another; and a dump of all.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod support;

use serde_json::{Value, json};
use support::TestServer;

fn create(server: &TestServer, name: &str) -> (u16, Value) {
    let body = json!({ "name": name }).to_string();
    let answer = server.request("POST", "/v1/keyspaces", &[], body);
    (answer.status, answer.json())
}

fn lines(body: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(body).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

#[test]
fn keyspaces_are_created_once_and_listed_in_order() {
    let server = TestServer::start();
    let names = |server: &TestServer| server.get("/v1/keyspaces").json()["keyspaces"].clone();
    assert_eq!(names(&server), json!([{"name": "default"}]));
    let made = json!({"ok": true, "name": "users", "created": true});
    assert_eq!(create(&server, "users"), (201, made));
    let there = json!({"ok": true, "name": "users", "created": false});
    assert_eq!(create(&server, "users"), (200, there));
    assert_eq!(create(&server, "default").1["created"], false);
    let answer = server.request("POST", "/v1/keyspaces?name=a/b%20%E6%A3%9A", &[], "");
    assert_eq!((answer.status, &answer.json()["name"]), (201, &json!("a/b 棚")));
    assert_eq!(names(&server), json!([{"name": "default"}, {"name": "users"}, {"name": "a/b 棚"}]));

    let long = "n".repeat(256);
    for (name, kind) in [("", "invalid-parameter"), (&*long, "invalid-parameter")] {
        let body = json!({ "name": name }).to_string();
        assert_eq!(server.request("POST", "/v1/keyspaces", &[], body).problem(), kind);
    }
    let post = |body: &'static str| server.request("POST", "/v1/keyspaces", &[], body).problem();
    assert_eq!(post("{}"), "missing-parameter");
    assert_eq!(post("{\"nam\":\"x\"}"), "unknown-field");
    assert_eq!(server.request("DELETE", "/v1/keyspaces", &[], "").problem(), "method-not-allowed");
    assert_eq!(names(&server).as_array().expect("a list").len(), 3);
}

#[test]
fn every_verb_is_there_in_every_keyspace_and_sees_its_own_keys_alone() {
    let server = TestServer::start();
    for name in ["users", "a/b 棚"] {
        assert_eq!(create(&server, name).0, 201);
    }
    let post = |path: &str, body: Value| server.request("POST", path, &[], body.to_string());
    server.put("/v1/kv/k", "of default").seq();
    for (space, own) in [("users", "u"), ("a%2Fb%20%E6%A3%9A", "ab")] {
        let path = |verb: &str| format!("/v1/ks/{space}/{verb}");
        assert_eq!(server.get(&path("kv/k")).problem(), "key-not-found");
        server.put(&path("kv/k"), own).seq();
        post(&path("put"), json!({"key": "p", "value": own, "ttl": 60})).seq();
        let op = json!({"op": "put", "key": "b", "value": own, "if_absent": true});
        post(&path("batch"), json!({ "ops": [op] })).seq();
        assert_eq!(post(&path("batch"), json!({ "ops": [op] })).problem(), "precondition-failed");

        assert_eq!(server.get(&path("kv/k")).body, own.as_bytes());
        assert_eq!(server.get(&path("get?key=k")).json()["value"], own);
        let explained = server.get(&path("get?key=k&explain=true")).json();
        assert_eq!(explained["value"], own);
        assert!(post(&path("get"), json!({"key": "p"})).json()["expires_at"].is_string());
        let page = server.get(&path("kv?limit=2")).json();
        assert_eq!(page["items"].as_array().expect("items").len(), 2);
        let cursor = page["cursor"].as_str().expect("more");
        let rest = server.get(&path(&format!("kv?limit=2&cursor={cursor}"))).json();
        assert_eq!(rest["items"][0]["key"], "p");
        let ndjson = [("accept", "application/x-ndjson")];
        assert_eq!(lines(&server.request("GET", &path("kv"), &ndjson, "").body).len(), 3);
        let version = server.get(&path("kv/k")).header("etag").to_owned();
        let stale = [("if-match", "\"1\"")];
        let refused = server.request("PUT", &path("kv/k"), &stale, "x").problem();
        assert_eq!(refused, "precondition-failed");
        server.request("PUT", &path("kv/k"), &[("if-match", &version)], own).seq();
        post(&path("delete"), json!({"key": "p"})).seq();
        server.request("DELETE", &path("kv/b"), &[], "").seq();
        let job = post(&path("compact?wait=true"), Value::Null).json();
        assert_eq!(job["state"], "done");
        assert_eq!(server.get(&path("kv")).json()["items"].as_array().expect("items").len(), 1);
        assert_eq!(server.request("PATCH", &path("kv/k"), &[], "").problem(), "method-not-allowed");
        assert_eq!(server.get(&path("stats")).problem(), "unknown-path");
    }
    assert_eq!(server.get("/v1/kv/k").body, b"of default");
    assert_eq!(server.get("/v1/ks/default/kv/k").body, b"of default");
    let statistics = server.get("/stats").json();
    let keyspaces = statistics["keyspaces"].as_array().expect("a list").iter();
    let compacted = keyspaces.filter(|k| k["name"] != json!("default"));
    let entries: Vec<_> = compacted.map(|k| &k["table_entries"]).collect();
    assert_eq!(entries, [&json!(1), &json!(1)], "{statistics}");

    for verb in ["kv", "kv/k", "get?key=k"] {
        let problem = server.get(&format!("/v1/ks/userz/{verb}"));
        assert_eq!((problem.status, &*problem.problem()), (404, "keyspace-not-found"));
    }
    assert_eq!(server.get("/v1/ks//kv").problem(), "invalid-parameter");
    assert_eq!(server.get("/v1/ks/%FF/kv").problem(), "not-utf8");
    assert_eq!(server.get("/v1/ks/users").problem(), "unknown-path");
    assert_eq!(server.get("/v1/get?key=k").problem(), "unknown-path");
}

#[test]
fn one_key_in_two_keyspaces_is_two_keys_to_conditions_of_one_commit_group() {
    let server = TestServer::start();
    assert_eq!(create(&server, "users").0, 201);
    let absent = [("if-none-match", "*")];
    server.request("PUT", "/v1/kv/k", &absent, "1").seq();
    server.request("PUT", "/v1/ks/users/kv/k", &absent, "2").seq();
    for path in ["/v1/kv/k", "/v1/ks/users/kv/k"] {
        assert_eq!(server.request("PUT", path, &absent, "3").problem(), "precondition-failed");
    }
}

#[test]
fn a_dump_has_every_keyspace_with_its_name_and_one_alone_when_asked() {
    let server = TestServer::start();
    for name in ["users", "empty", "q\"\\"] {
        assert_eq!(create(&server, name).0, 201);
    }
    server.put("/v1/kv/a?expires_at=2100-01-01T00:00:00Z", "1").seq();
    server.put("/v1/ks/users/kv/%FF?durability=memory", [0xff]).seq();
    server.put("/v1/ks/q%22%5C/kv/c", "3").seq();
    let dump = server.get("/v1/dump");
    assert_eq!((dump.status, dump.header("content-type")), (200, "application/x-ndjson"));
    let all = lines(&dump.body);
    assert_eq!(
        all,
        [
            json!({"key": "a", "value": "1", "encoding": "utf8", "version": 1, "expires_at": "2100-01-01T00:00:00.000Z"}),
            json!({"keyspace": "users"}),
            json!({"key64": "/w==", "value": "/w==", "encoding": "base64", "version": 2, "expires_at": null, "keyspace": "users"}),
            json!({"keyspace": "empty"}),
            json!({"keyspace": "q\"\\"}),
            json!({"key": "c", "value": "3", "encoding": "utf8", "version": 3, "expires_at": null, "keyspace": "q\"\\"}),
        ]
    );
    assert_eq!(lines(&server.get("/v1/dump?keyspace=users").body), all[1..3]);
    assert_eq!(lines(&server.get("/v1/dump?keyspace=default").body), all[..1]);
    assert_eq!(server.get("/v1/dump?keyspace=userz").problem(), "keyspace-not-found");
    assert_eq!(server.get("/v1/dump?keyspac=users").problem(), "unknown-field");
    assert_eq!(server.request("POST", "/v1/dump", &[], "").problem(), "method-not-allowed");
    assert_eq!(server.request("HEAD", "/v1/dump", &[], "").status, 200);
}
