//! Scans: pages with cursors and NDJSON streams, both ways.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use support::{TestServer, read_to_end};

const KEYS: usize = 257;

fn filled() -> TestServer {
    let server = TestServer::start();
    let ops: Vec<_> = (0..KEYS)
        .map(|n| json!({"op": "put", "key": format!("k{n:03}"), "value": n.to_string()}))
        .collect();
    server.post("/v1/batch", json!({"ops": ops, "durability": "memory"}).to_string()).seq();
    server
}

/// Follows the cursors of `query` to the end.
fn pages(server: &TestServer, query: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    for _ in 0..1000 {
        let page = server.get(&format!("/v1/kv?{query}{cursor}")).json();
        items.extend(page["items"].as_array().expect("items").iter().cloned());
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
    panic!("{query} has no last page");
}

fn stream(server: &TestServer, query: &str) -> Vec<Value> {
    let target = format!("/v1/kv?{query}");
    let answer = server.request("GET", &target, &[("accept", "application/x-ndjson")], "");
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
    let text = String::from_utf8(answer.body).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

#[test]
fn pages_and_streams_agree_with_the_sorted_keys_in_both_directions() {
    let server = filled();
    // What a get tells of each.
    let all: Vec<Value> =
        (0..KEYS).map(|n| server.get(&format!("/get?key=k{n:03}")).json()).collect();
    assert_eq!(all[7]["value"], "7");
    assert!(all.iter().all(|record| record["version"].is_u64()), "{:?}", all[0]);
    let cases = [
        ("", 0..KEYS),
        ("prefix=k1&", 100..200),
        ("start=k010&end=k020&", 10..20),
        ("prefix=k1&start=k150&", 150..200),
        ("start=k250&", 250..KEYS),
        ("prefix=x&", 0..0),
        ("start=k2&end=k1&", 0..0),
    ];
    for (query, range) in cases {
        let expected = &all[range];
        let reversed: Vec<_> = expected.iter().rev().cloned().collect();
        for limit in [1, 7, 100, 10_000] {
            if limit == 1 && expected.len() > 100 {
                continue; // the same walk, many more requests
            }
            assert_eq!(
                pages(&server, &format!("{query}limit={limit}")),
                expected,
                "{query}{limit}"
            );
            let backwards = pages(&server, &format!("{query}reverse=true&limit={limit}"));
            assert_eq!(backwards, reversed, "{query}{limit} reverse");
        }
        assert_eq!(stream(&server, query), expected, "{query} stream");
        assert_eq!(stream(&server, &format!("{query}reverse=true")), reversed);
    }
    assert_eq!(pages(&server, "").len(), KEYS, "the default page has a cursor, too");
    assert_eq!(
        stream(&server, "limit=5&keys_only=true"),
        all[..5]
            .iter()
            .map(|r| json!({"key": r["key"], "version": r["version"], "expires_at": null}))
            .collect::<Vec<_>>()
    );
}

#[test]
fn keys_that_are_not_utf8_are_paged_over() {
    let server = TestServer::start();
    for byte in [0x00, 0x7f, 0x80, 0xfe, 0xff] {
        server.put(&format!("/v1/kv/%{byte:02X}%FF"), [byte]).seq();
    }
    let items = pages(&server, "limit=1");
    let keys: BTreeSet<_> = items.iter().map(|i| i["key64"].as_str().expect("not UTF-8")).collect();
    assert_eq!((items.len(), keys.len()), (5, 5));
    assert_eq!(pages(&server, "prefix=%FF").len(), 1);
}

#[test]
fn large_values_end_a_page_early_and_nothing_is_lost() {
    let server = TestServer::start();
    let value = vec![b'x'; 1 << 20];
    for key in 0..10 {
        server.put(&format!("/v1/kv/{key}?durability=memory"), &value).seq();
    }
    let first = server.get("/v1/kv?limit=10").json();
    let count = first["items"].as_array().map(Vec::len).expect("items");
    assert!((1..10).contains(&count), "{count} values of 1 MiB in a page");
    assert!(first["cursor"].is_string());
    assert_eq!(pages(&server, "limit=10").len(), 10);
}

#[test]
fn a_stream_is_one_moment_and_is_made_as_it_is_read() {
    let server = TestServer::start();
    let value = vec![b'x'; 64 << 10];
    for key in 0..200 {
        server.put(&format!("/v1/kv/{key:03}?durability=memory"), &value).seq();
    }
    // 12.5 MiB do not fit into the sockets: the stream stays open behind its first bytes.
    let mut slow = server.connect();
    slow.write_all(
        b"GET /v1/kv HTTP/1.1\r\nhost: localhost\r\naccept: application/x-ndjson\r\nconnection: close\r\n\r\n",
    )
    .expect("sent");
    // Its moment is that of its first entry.
    let mut begun = Vec::new();
    while !begun.windows(6).any(|bytes| bytes == br#""key":"#) {
        let mut bytes = [0; 1024];
        let n = slow.read(&mut bytes).expect("the stream begins");
        assert!(n > 0, "the stream has entries");
        begun.extend_from_slice(&bytes[..n]);
    }
    assert_eq!(server.get("/stats").json()["server"]["open_scans"], 1, "its reader is slow");
    for key in 0..200 {
        server.request("DELETE", &format!("/v1/kv/{key:03}?durability=memory"), &[], "").seq();
    }
    let whole = String::from_utf8(begun).expect("ASCII") + &read_to_end(&mut slow);
    assert_eq!(whole.matches("\"key\":").count(), 200, "deleted meanwhile, but of the same moment");
    assert!(whole.ends_with("0\r\n\r\n"), "the stream has its end");
    assert_eq!(stream(&server, ""), Vec::<Value>::new());
}

#[test]
fn bad_scans_say_what_is_wrong() {
    let server = TestServer::start();
    for query in ["limit=0", "limit=10001", "limit=x", "cursor=abc", "reverse=maybe"] {
        let bad = server.get(&format!("/v1/kv?{query}"));
        assert_eq!((bad.status, bad.problem().as_str()), (400, "invalid-parameter"), "{query}");
    }
    let unknown = server.get("/v1/kv?prefx=a");
    assert_eq!((unknown.status, unknown.problem().as_str()), (400, "unknown-field"));
}
