//! The simple verbs, keys as resources, batches, compaction, statistics, health.

mod support;

use serde_json::json;
use support::TestServer;
use tanada_server::Limits;

/// The ETag of a version.
fn tag(server: &TestServer, version: u64) -> String {
    let lineage = server.get("/stats").json()["lineage"].as_str().expect("16 digits").to_owned();
    format!("\"{lineage}-{version}\"")
}

#[test]
fn a_put_is_got_and_deleted_with_growing_versions() {
    let server = TestServer::start();
    let first = server.post("/put", r#"{"key":"sea","value":"blue"}"#).seq();
    let got = server.get("/get?key=sea");
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(
        got.json(),
        json!({"key": "sea", "value": "blue", "encoding": "utf8", "version": first, "expires_at": null})
    );
    let second = server.post("/put?key=sea&value=deep+blue", "").seq();
    assert!(second > first);
    assert_eq!(server.post("/get", r#"{"key":"sea"}"#).json()["value"], "deep blue");
    assert!(server.post("/delete", r#"{"key":"sea"}"#).seq() > second);
    let gone = server.get("/get?key=sea");
    assert_eq!((gone.status, gone.problem().as_str()), (404, "key-not-found"));
    server.post("/delete?key=sea", "").seq();
}

#[test]
fn bytes_that_are_not_utf8_travel_as_base64_or_raw() {
    let server = TestServer::start();
    server.post("/put", r#"{"key64":"/wA=","value":"+/8=","encoding":"base64"}"#).seq();
    let got = server.get("/get?key64=_wA").json();
    assert_eq!(
        (&got["key64"], &got["value"], &got["encoding"]),
        (&json!("/wA="), &json!("+/8="), &json!("base64"))
    );
    assert_eq!(got.get("key"), None);
    let raw =
        server.request("GET", "/get?key64=/wA=", &[("accept", "application/octet-stream")], "");
    assert_eq!((raw.status, &raw.body[..]), (200, &b"\xfb\xff"[..]));
    assert_eq!(raw.header("etag"), tag(&server, got["version"].as_u64().expect("a number")));
    server.post("/put?key=q&value=%2B/8=&encoding=base64", "").seq();
    assert_eq!(server.get("/v1/kv/q").body, b"\xfb\xff");
}

#[test]
fn a_ttl_shows_when_the_key_expires_and_an_expired_key_is_gone() {
    let server = TestServer::start();
    server.post("/put", r#"{"key":"fog","value":"grey","ttl":86400.5}"#).seq();
    let expires_at = server.get("/get?key=fog").json()["expires_at"].clone();
    assert!(
        expires_at.as_str().is_some_and(|t| t.starts_with("20") && t.ends_with('Z')),
        "{expires_at}"
    );
    assert_eq!(server.get("/v1/kv/fog").header("tanada-expires-at"), expires_at);

    server.put("/v1/kv/flash?ttl=0.001", "x").seq();
    // Not a sleep: reads until the millisecond is over, within the test's patience.
    let gone = (0..100_000).any(|_| server.get("/v1/kv/flash").status == 404);
    assert!(gone, "the key must expire");
}

#[test]
fn explain_shows_the_path_of_a_hit_and_of_a_miss() {
    let server = TestServer::start();
    let version = server.post("/put", r#"{"key":"a","value":"1"}"#).seq();
    let hit = server.get("/get?key=a&explain=true").json();
    assert_eq!((&hit["value"], &hit["version"]), (&json!("1"), &json!(version)));
    let steps = hit["explain"]["steps"].as_array().expect("steps");
    assert_eq!(steps.last().expect("one at least")["outcome"], "hit");
    assert!(hit["explain"]["total_ns"].as_u64().is_some());
    let miss = server.post("/get", r#"{"key":"b","explain":true}"#);
    assert_eq!((miss.status, miss.problem().as_str()), (404, "key-not-found"));
    assert!(miss.json()["explain"]["steps"].is_array());
}

#[test]
fn a_key_is_a_resource_with_raw_bytes_and_slashes() {
    let server = TestServer::start();
    let value: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let put = server.put("/v1/kv/photos/2026/%E6%A3%9A%20%2F", &value);
    let version = put.seq();
    assert_eq!(put.header("etag"), tag(&server, version));
    let got = server.get("/v1/kv/photos/2026/%E6%A3%9A%20%2F");
    assert_eq!(got.status, 200);
    assert_eq!(got.header("content-type"), "application/octet-stream");
    assert_eq!(got.header("etag"), tag(&server, version));
    assert!(got.body == value, "every byte comes back");
    assert_eq!(server.get("/get?key=photos/2026/棚+/").json()["encoding"], "base64");

    let head = server.request("HEAD", "/v1/kv/photos/2026/%E6%A3%9A%20%2F", &[], "");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "100000", 0));
    server.request("DELETE", "/v1/kv/photos/2026/%E6%A3%9A%20%2F", &[], "").seq();
    assert_eq!(server.get("/v1/kv/photos/2026/%E6%A3%9A%20%2F").status, 404);

    for target in ["/v1/kv/?key64=_wA", "/v1/kv?key64=_wA", "/v1/kv/%FF%00"] {
        server.put(target, target).seq();
        assert_eq!(server.get("/v1/kv/?key64=/wA=").body, target.as_bytes());
    }
    server.put("/v1/kv/empty", "").seq();
    assert_eq!(server.get("/v1/kv/empty").body, b"");
}

#[test]
fn ranges_give_parts() {
    let server = TestServer::start();
    let version = server.put("/v1/kv/digits", "0123456789").seq();
    let cases = [
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=-3", 206, "bytes 7-9/10", "789"),
        ("bytes=8-99", 206, "bytes 8-9/10", "89"),
        ("bytes=0-1,4-5", 200, "", "0123456789"),
        ("bytes=10-", 416, "bytes */10", ""),
    ];
    for (range, status, content_range, body) in cases {
        let got = server.request("GET", "/v1/kv/digits", &[("range", range)], "");
        assert_eq!((got.status, got.header("content-range")), (status, content_range), "{range}");
        match status {
            416 => assert_eq!(got.problem(), "range-not-satisfiable"),
            _ => assert_eq!(got.body, body.as_bytes(), "{range}"),
        }
    }
    for (tag, status) in [(tag(&server, version), 206), (tag(&server, 1000), 200)] {
        let headers = [("range", "bytes=0-0"), ("if-range", tag.as_str())];
        assert_eq!(server.request("GET", "/v1/kv/digits", &headers, "").status, status);
    }
}

#[test]
fn conditions_guard_reads_and_writes() {
    let server = TestServer::start();
    let first = server.put("/v1/kv/a", "1").seq();
    let (tag, other) = (tag(&server, first), tag(&server, 1000));
    let with = |method: &str, header: &str, value: &str| {
        server.request(method, "/v1/kv/a", &[(header, value)], "2").status
    };
    assert_eq!(server.request("GET", "/v1/kv/a", &[("if-none-match", &tag)], "").status, 304);
    assert_eq!(server.request("GET", "/v1/kv/a", &[("if-none-match", &other)], "").status, 200);
    assert_eq!(server.request("GET", "/v1/kv/a", &[("if-match", &other)], "").status, 412);
    assert_eq!(with("PUT", "if-none-match", "*"), 412);
    assert_eq!(with("PUT", "if-match", &other), 412);
    assert_eq!(server.get("/v1/kv/a").body, b"1", "nothing was done");
    assert_eq!(with("PUT", "if-match", &tag), 200);
    assert_eq!(with("PUT", "if-match", &tag), 412, "it has another version now");
    assert_eq!(with("PUT", "if-match", "*"), 200);
    let stale = server.request("DELETE", "/v1/kv/a", &[("if-match", &tag)], "");
    assert_eq!((stale.status, stale.problem().as_str()), (412, "precondition-failed"));
    assert_eq!(server.request("DELETE", "/v1/kv/a", &[("if-match", "*")], "").status, 200);
    assert_eq!(server.request("DELETE", "/v1/kv/a", &[("if-match", "*")], "").status, 412);
    assert_eq!(with("PUT", "if-none-match", "*"), 200);
}

#[test]
fn every_durability_is_taken_everywhere() {
    let server = TestServer::start();
    for durability in ["memory", "buffered", "synced"] {
        server.put(&format!("/v1/kv/a?durability={durability}"), durability).seq();
        server.post(&format!("/put?key=b&value=1&durability={durability}"), "").seq();
        server
            .post("/put", json!({"key": "c", "value": "", "durability": durability}).to_string())
            .seq();
        assert_eq!(server.get("/v1/kv/a").body, durability.as_bytes());
    }
    let bad = server.put("/v1/kv/a?durability=eternal", "x");
    assert_eq!((bad.status, bad.problem().as_str()), (400, "invalid-parameter"));
}

#[test]
fn a_batch_is_whole_and_conditional() {
    let server = TestServer::start();
    let a = server.put("/v1/kv/a", "100").seq();
    let moved = server.post(
        "/v1/batch",
        json!({"durability": "synced", "ops": [
            {"op": "check", "key": "lock", "if_absent": true},
            {"op": "put", "key": "a", "value": "90", "if_version": a},
            {"op": "put", "key": "b", "value": "10", "if_absent": true, "ttl": 1000},
            {"op": "delete", "key": "c"},
        ]})
        .to_string(),
    );
    let last = moved.seq();
    assert_eq!(moved.json()["versions"], json!([null, last - 2, last - 1, last]));
    assert_eq!(server.get("/get?key=a").json()["version"], last - 2);
    assert_eq!(server.get("/get?key=b").json()["version"], last - 1);

    let refused = server.post(
        "/v1/batch",
        json!({"ops": [
            {"op": "put", "key": "a", "value": "0", "if_version": a},
            {"op": "delete", "key": "b"},
            {"op": "check", "key": "b", "if_absent": true},
        ]})
        .to_string(),
    );
    assert_eq!((refused.status, refused.problem().as_str()), (412, "precondition-failed"));
    assert_eq!(
        refused.json()["failed"],
        json!([
            {"index": 0, "present": true, "version": last - 2},
            {"index": 2, "present": true, "version": last - 1},
        ])
    );
    assert_eq!(server.get("/v1/kv/a").body, b"90");
    assert_eq!(server.get("/v1/kv/b").body, b"10");

    let bad =
        server.post("/v1/batch", r#"{"ops":[{"op":"delete","key":"a"},{"op":"delete","key":""}]}"#);
    assert_eq!((bad.status, bad.problem().as_str()), (400, "empty-key"));
    assert_eq!(bad.json()["index"], 1);
    assert_eq!(server.get("/v1/kv/a").status, 200, "nothing of a bad batch is done");
}

#[test]
fn compactions_are_started_waited_for_and_looked_up() {
    let server = TestServer::start();
    for key in 0..50 {
        server.put(&format!("/v1/kv/k{key:02}?durability=memory"), "v").seq();
    }
    let waited = server.post("/compact?wait=true&start=k10&end=k20", "");
    assert_eq!(waited.status, 200);
    assert_eq!(waited.json()["state"], "done");
    assert!(waited.json()["summary"]["jobs"].is_u64());

    let started = server.post("/compact", "");
    assert_eq!(started.status, 202);
    let place = started.header("location").to_string();
    assert_eq!(started.json()["href"], place.as_str());
    let done = (0..10_000).map(|_| server.get(&place).json()).find(|job| job["state"] != "running");
    assert_eq!(done.expect("the job ends")["state"], "done");
    assert_eq!(server.get("/compact").json()["jobs"].as_array().map(Vec::len), Some(2));
    for key in 0..50 {
        assert_eq!(server.get(&format!("/v1/kv/k{key:02}")).body, b"v");
    }
    let unknown = server.get("/compact/77");
    assert_eq!((unknown.status, unknown.problem().as_str()), (404, "job-not-found"));
    let backwards = server.post("/compact?start=b&end=a", "");
    assert_eq!((backwards.status, backwards.problem().as_str()), (400, "invalid-parameter"));
}

#[test]
fn statistics_count_what_was_done() {
    let server = TestServer::start();
    for key in 0..10 {
        server.put(&format!("/v1/kv/{key}"), "v").seq();
    }
    server.get("/get?key=3");
    let stats = server.get("/stats").json();
    assert_eq!(stats["durability"], "buffered");
    assert_eq!(stats["server"]["committed_requests"], 10);
    assert_eq!(stats["server"]["connections"]["requests"], 12);
    assert!(stats["seqno"].as_u64() >= Some(10), "{stats}");
    for section in [
        "operations",
        "memory",
        "row_cache",
        "block_cache",
        "filter",
        "wal",
        "compaction",
        "stalls",
    ] {
        assert!(stats[section].is_object(), "{section}");
    }
    assert!(stats["keyspaces"].is_array());
    let text = server.request("GET", "/stats", &[("accept", "text/plain")], "");
    assert!(text.header("content-type").starts_with("text/plain"));
    let text = String::from_utf8(text.body).expect("text");
    for line in ["L1 rows", "L2 blocks", "filters", "wal", "compaction", "server"] {
        assert!(text.lines().any(|l| l.starts_with(line)), "{line} in\n{text}");
    }
}

#[test]
fn health_says_ok() {
    let server = TestServer::start();
    for target in ["/livez", "/readyz"] {
        let answer = server.get(target);
        assert_eq!((answer.status, &answer.body[..]), (200, &b"ok\n"[..]), "{target}");
    }
}

#[test]
fn an_etag_of_another_database_passes_nowhere() {
    // Restored from a dump, or made anew: its numbers begin at 1 again, and `"1"` was
    // another value there.
    let (first, second) = (TestServer::start(), TestServer::start());
    let put = first.put("/v1/kv/a", "first");
    let own = second.put("/v1/kv/a", "second");
    assert_eq!(put.seq(), own.seq());
    assert_ne!(put.header("etag"), own.header("etag"));
    let foreign = put.header("etag");
    let ask = |method: &str, name: &str, tag: &str| {
        second.request(method, "/v1/kv/a", &[(name, tag)], "changed").status
    };
    assert_eq!(ask("PUT", "if-match", foreign), 412);
    assert_eq!(ask("DELETE", "if-match", foreign), 412);
    assert_eq!(ask("GET", "if-match", foreign), 412);
    assert_eq!(ask("GET", "if-none-match", foreign), 200);
    for unknown in ["\"1\"", "\"\"", "\"a,b\"", "W/\"x\""] {
        assert_eq!(ask("PUT", "if-match", unknown), 412, "{unknown}");
    }
    for malformed in ["1", "\"1", "abc", "\"a\"b"] {
        assert_eq!(ask("PUT", "if-match", malformed), 400, "{malformed}");
    }
    assert_eq!(second.get("/v1/kv/a").body, b"second", "nothing was done");
    assert_eq!(ask("PUT", "if-match", own.header("etag")), 200);
}

#[test]
fn the_clock_is_told_and_may_be_said_to_be_right() {
    let server = TestServer::start();
    let clock = server.get("/v1/admin/clock").json();
    assert_eq!((&clock["state"], &clock["held_for_ms"]), (&json!("believed"), &json!(null)));
    assert!(clock["believed_ms"].as_u64().is_some_and(|ms| ms > 1_700_000_000_000), "{clock}");
    assert_eq!(server.post("/v1/admin/clock", "").json()["state"], "believed");
    assert_eq!(
        server.request("DELETE", "/v1/admin/clock", &[], "").problem(),
        "method-not-allowed"
    );
    assert_eq!(server.get("/stats").json()["clock"]["state"], "believed");
    assert_eq!(server.get("/readyz").body, b"ok\n");
}

#[test]
fn a_clock_that_is_not_believed_is_told_by_health_and_statistics() {
    let machine = tanada::vfs::MemoryMachine::new(1);
    let db = tanada::Db::builder("/db").memory(64 << 20).threads(1).env(machine.env());
    let server = TestServer::over_db(db.open().expect("it can be created"), Limits::default());
    server.put("/v1/kv/a?ttl=3600", "value").seq();
    let right = machine.env().clock.wall_ms();
    machine.clock().set_wall_ms(right + 946_080_000_000);
    assert_eq!(server.get("/v1/kv/a").status, 200, "thirty years have not passed");
    let ready = server.get("/readyz");
    let said = String::from_utf8_lossy(&ready.body).into_owned();
    assert_eq!(ready.status, 200);
    assert!(said.starts_with("ok\nwarning: the clock says 2053-"), "{said}");
    assert!(said.contains("2024-01-01T00:00:0") && said.contains("/v1/admin/clock"), "{said}");
    let clock = server.get("/stats").json()["clock"].clone();
    assert_eq!((&clock["state"], &clock["holds"]), (&json!("ahead"), &json!(1)));
    let text = server.request("GET", "/stats", &[("accept", "text/plain")], "").body;
    assert!(String::from_utf8_lossy(&text).contains("CLOCK HELD"));
    let trusted = server.post("/v1/admin/clock", "").json();
    assert_eq!(trusted["state"], "believed");
    assert_eq!(server.get("/v1/kv/a").status, 404, "a person says so");
    machine.clock().set_wall_ms(right);
    assert_eq!(server.get("/v1/kv/a").status, 200, "too soon, and it was right before");
}
