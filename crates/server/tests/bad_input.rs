//! What clients should not send: each gets a problem that says what to do, and loses nothing.

mod support;
#[path = "../../vfs/tests/house/alone.rs"]
mod alone;

use std::io::{Read, Write};
use std::time::Duration;
use support::{TestServer, read_to_end};
use tanada_server::Limits;

fn small() -> Limits {
    Limits { max_body_bytes: 200_000, max_value_bytes: 100_000, ..Limits::default() }
}

#[test]
fn every_bad_request_gets_its_own_problem_and_loses_nothing() {
    let server = TestServer::with_limits(small());
    server.put("/v1/kv/kept", "whole").seq();
    let key_over = "k".repeat(65_537);
    let value_over = "v".repeat(100_001);
    let body_over = "b".repeat(200_001);
    let json_key_over = format!(r#"{{"key":"{key_over}","value":""}}"#);
    let json_key_alone_over = format!(r#"{{"key":"{key_over}"}}"#);
    let json_value_over = format!(r#"{{"key":"kept","value":"{value_over}"}}"#);
    let batch_key_over = format!(r#"{{"ops":[{{"op":"delete","key":"{key_over}"}}]}}"#);
    #[rustfmt::skip]
    let cases: &[(&str, &str, &[u8], u16, &str)] = &[
        // The key.
        ("POST", "/put", br#"{"key":"","value":"v"}"#, 400, "empty-key"),
        ("POST", "/put?key=&value=v", b"", 400, "empty-key"),
        ("GET", "/get?key=", b"", 400, "empty-key"),
        ("GET", "/get?key64=", b"", 400, "empty-key"),
        ("POST", "/delete?key=", b"", 400, "empty-key"),
        ("PUT", "/v1/kv/", b"v", 400, "empty-key"),
        ("GET", "/v1/kv/", b"", 400, "empty-key"),
        ("POST", "/put", json_key_over.as_bytes(), 400, "key-too-long"),
        ("POST", "/get", json_key_alone_over.as_bytes(), 400, "key-too-long"),
        ("POST", "/delete", json_key_alone_over.as_bytes(), 400, "key-too-long"),
        ("POST", "/v1/batch", batch_key_over.as_bytes(), 400, "key-too-long"),
        // The value and the body.
        ("POST", "/put", json_value_over.as_bytes(), 413, "value-too-large"),
        ("PUT", "/v1/kv/kept", value_over.as_bytes(), 413, "value-too-large"),
        ("POST", "/put", body_over.as_bytes(), 413, "body-too-large"),
        ("PUT", "/v1/kv/kept", body_over.as_bytes(), 413, "body-too-large"),
        ("POST", "/v1/batch", body_over.as_bytes(), 413, "body-too-large"),
        // JSON.
        ("POST", "/put", b"{\"key\":\"kept\"", 400, "invalid-json"),
        ("POST", "/put", b"key=kept&value=v", 400, "invalid-json"),
        ("POST", "/put", b"[\"kept\",null,\"v\"]", 400, "invalid-json"),
        ("POST", "/get", b"nonsense", 400, "invalid-json"),
        ("POST", "/v1/batch", b"{\"ops\":[{]}", 400, "invalid-json"),
        ("POST", "/put", br#"{"key":"kept","value":"v","tll":1}"#, 400, "unknown-field"),
        ("POST", "/get", br#"{"key":"kept","value":"v"}"#, 400, "unknown-field"),
        ("POST", "/delete", br#"{"key":"kept","force":true}"#, 400, "unknown-field"),
        ("POST", "/v1/batch", br#"{"ops":[{"op":"delete","key":"kept","force":1}]}"#, 400, "unknown-field"),
        ("POST", "/put", br#"{"key":7,"value":"v"}"#, 400, "invalid-parameter"),
        ("POST", "/put", br#"{"key":"kept","value":"v","ttl":"1h"}"#, 400, "invalid-parameter"),
        ("POST", "/put", br#"{"key":"kept","value":"v","ttl":-1}"#, 400, "invalid-parameter"),
        ("POST", "/put", br#"{"key":"kept","value":"v","encoding":"hex"}"#, 400, "invalid-parameter"),
        ("POST", "/put", br#"{"key":"kept","value":"v","durability":"maybe"}"#, 400, "invalid-parameter"),
        // Parameters.
        ("POST", "/put", b"", 400, "missing-parameter"),
        ("POST", "/put", br#"{"key":"kept"}"#, 400, "missing-parameter"),
        ("POST", "/put", br#"{"value":"v"}"#, 400, "missing-parameter"),
        ("POST", "/put?key=kept", b"", 400, "missing-parameter"),
        ("POST", "/put?value=v", b"", 400, "missing-parameter"),
        ("GET", "/get", b"", 400, "missing-parameter"),
        ("POST", "/delete", b"{}", 400, "missing-parameter"),
        ("POST", "/v1/batch", b"{}", 400, "missing-parameter"),
        ("POST", "/v1/batch", br#"{"ops":[]}"#, 400, "missing-parameter"),
        ("GET", "/get?key=kept&verbose=1", b"", 400, "unknown-field"),
        ("GET", "/stats?all=1", b"", 400, "unknown-field"),
        ("PUT", "/v1/kv/kept?tll=1", b"v", 400, "unknown-field"),
        ("DELETE", "/v1/kv/kept?ttl=1", b"", 400, "unknown-field"),
        ("GET", "/get?key=kept&key=other", b"", 400, "invalid-parameter"),
        ("GET", "/get?key=kept&key64=a2V5", b"", 400, "invalid-parameter"),
        ("GET", "/get?key=kept&explain=perhaps", b"", 400, "invalid-parameter"),
        ("PUT", "/v1/kv/kept?ttl=0", b"v", 400, "invalid-parameter"),
        ("PUT", "/v1/kv/kept?ttl=NaN", b"v", 400, "invalid-parameter"),
        ("PUT", "/v1/kv/kept?ttl=inf", b"v", 400, "invalid-parameter"),
        ("PUT", "/v1/kv/kept?ttl=", b"v", 400, "invalid-parameter"),
        ("POST", "/put?key=kept", br#"{"value":"v"}"#, 400, "invalid-parameter"),
        ("PUT", "/v1/kv/kept?key64=a2V5", b"v", 400, "invalid-parameter"),
        ("POST", "/compact?wait=perhaps", b"", 400, "invalid-parameter"),
        // Bytes that are no text.
        ("POST", "/put", b"{\"key\":\"kept\",\"value\":\"\xff\"}", 400, "not-utf8"),
        ("POST", "/put?key=kept&value=%FF", b"", 400, "not-utf8"),
        ("GET", "/get?key=%FF", b"", 400, "not-utf8"),
        ("POST", "/put", br#"{"key":"kept","value":"?","encoding":"base64"}"#, 400, "invalid-base64"),
        ("GET", "/get?key64=!", b"", 400, "invalid-base64"),
        ("GET", "/v1/kv/?key64=a", b"", 400, "invalid-base64"),
        // Paths and methods.
        ("GET", "/", b"", 404, "unknown-path"),
        ("GET", "/got?key=kept", b"", 404, "unknown-path"),
        ("POST", "/v1/kvs", b"", 404, "unknown-path"),
        ("GET", "/get/", b"", 404, "unknown-path"),
        ("GET", "/put?key=kept&value=v", b"", 405, "method-not-allowed"),
        ("DELETE", "/delete?key=kept", b"", 405, "method-not-allowed"),
        ("PUT", "/get?key=kept", b"", 405, "method-not-allowed"),
        ("DELETE", "/v1/kv", b"", 405, "method-not-allowed"),
        ("POST", "/v1/kv/kept", b"v", 405, "method-not-allowed"),
        ("GET", "/v1/batch", b"", 405, "method-not-allowed"),
        ("POST", "/stats", b"", 405, "method-not-allowed"),
        ("DELETE", "/compact", b"", 405, "method-not-allowed"),
        ("POST", "/livez", b"", 405, "method-not-allowed"),
        ("GET", "/compact/x", b"", 404, "job-not-found"),
        ("GET", "/get?key=absent", b"", 404, "key-not-found"),
        ("GET", "/v1/kv/absent", b"", 404, "key-not-found"),
    ];
    for (method, target, body, status, problem) in cases {
        let case =
            format!("{method} {target} {}", String::from_utf8_lossy(&body[..body.len().min(60)]));
        let answer = server.request(method, target, &[], body);
        assert_eq!((answer.status, answer.problem().as_str()), (*status, *problem), "{case}");
        if *status == 405 {
            let allow = answer.header("allow");
            assert!(
                !allow.is_empty() && !allow.split(", ").any(|m| m == *method),
                "{case}: {allow}"
            );
        }
        let kept = server.get("/v1/kv/kept");
        assert_eq!((kept.status, &kept.body[..]), (200, &b"whole"[..]), "after {case}");
    }
}

#[test]
fn web_pages_of_other_sites_are_refused() {
    let server = TestServer::start();
    server.put("/v1/kv/kept", "whole").seq();
    let form = [("origin", "https://evil.example"), ("content-type", "text/plain")];
    let forged = server.request("POST", "/delete", &form, r#"{"key":"kept"}"#);
    assert_eq!((forged.status, forged.problem().as_str()), (403, "foreign-origin"));
    let rebound =
        server.raw("GET /get?key=kept HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
    assert!(rebound.starts_with("HTTP/1.1 403 ") && rebound.contains("foreign-host"), "{rebound}");
    assert!(!rebound.contains("whole"));
    assert_eq!(server.get("/v1/kv/kept").body, b"whole");
}

/// Both headers in one request: whichever a proxy before us believed, no second
/// request is read out of the first one's body.
#[test]
fn cross_protocol_and_smuggling_find_nothing_to_hold() {
    let server = TestServer::start();
    server.put("/v1/kv/kept", "whole").seq();
    let hidden = "DELETE /v1/kv/kept HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for lengths in [
        format!("transfer-encoding: chunked\r\ncontent-length: {}\r\n", 5 + hidden.len()),
        format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", 5 + hidden.len()),
    ] {
        let smuggled = server.raw(format!(
            "POST /put HTTP/1.1\r\nhost: localhost\r\n{lengths}\r\n0\r\n\r\n{hidden}"
        ));
        assert_eq!(
            smuggled.matches("HTTP/1.1 ").count(),
            1,
            "one answer, then the end: {smuggled}"
        );
        assert_eq!(server.get("/v1/kv/kept").body, b"whole");
    }
    let twice = server.raw(
        "POST /put HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    );
    assert!(twice.starts_with("HTTP/1.1 400 "), "{twice}");
    let redis = server.raw("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n");
    assert!(redis.starts_with("HTTP/1.1 400 "), "{redis}");
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn a_declared_length_takes_no_memory_and_an_endless_body_is_cut() {
    let name = "a_declared_length_takes_no_memory_and_an_endless_body_is_cut";
    let server = TestServer::with_limits(Limits { max_body_bytes: 60 << 20, ..small() });
    // Its threads and what the first requests take are there before.
    server.put("/v1/kv/other", vec![b'x'; 100_000]).seq();
    alone::takes_less_than(16 << 20, name, || {
        // Allowed, and declared by several at once: what comes takes memory, not what is said.
        let head = format!(
            "PUT /v1/kv/a HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            50 << 20
        );
        let declared: Vec<_> = (0..2)
            .map(|_| {
                let mut client = server.connect();
                client.write_all(head.as_bytes()).expect("sent");
                let mut go_on = [0; 25];
                client.read_exact(&mut go_on).expect("the server reads the body");
                client
            })
            .collect();
        drop(declared);
        assert_eq!(server.get("/v1/kv/a").status, 404);
    });
    let server = TestServer::with_limits(small());
    let huge = server.raw(format!(
        "PUT /v1/kv/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        u64::MAX / 4
    ));
    assert!(huge.starts_with("HTTP/1.1 413 ") && huge.contains("body-too-large"), "{huge}");
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let mut endless =
        b"PUT /v1/kv/a HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    endless.extend(chunk.repeat(60).bytes());
    let cut = server.raw(endless);
    assert!(cut.starts_with("HTTP/1.1 413 "), "{cut}");
    assert_eq!(server.get("/v1/kv/a").status, 404);
}

#[test]
fn heads_and_uris_beyond_their_limits_are_refused() {
    let server = TestServer::start();
    let header = server.raw(format!(
        "GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "x".repeat(200_000)
    ));
    assert!(header.starts_with("HTTP/1.1 431 "), "{header}");
    let uri = server
        .raw(format!("GET /get?key={} HTTP/1.1\r\nhost: localhost\r\n\r\n", "k".repeat(66_000)));
    assert!(uri.starts_with("HTTP/1.1 414 "), "{uri}");
    let many = server
        .raw(format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x: y\r\n".repeat(200)));
    assert!(many.starts_with("HTTP/1.1 431 "), "{many}");
    assert_eq!(server.get("/livez").status, 200);
}

/// slowloris: a head that never ends, a client that says nothing, a body that never comes.
#[test]
fn slow_clients_are_cut_off() {
    let limits = Limits {
        idle_timeout: Duration::from_secs(1),
        body_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = TestServer::with_limits(limits);
    let mut silent = server.connect();
    let mut slow_head = server.connect();
    slow_head.write_all(b"GET /livez HTTP/1.1\r\nhost: local").expect("sent");
    let mut slow_body = server.connect();
    slow_body
        .write_all(b"PUT /v1/kv/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nabc")
        .expect("sent");
    let body = read_to_end(&mut slow_body);
    assert!(body.starts_with("HTTP/1.1 408 ") && body.contains("slow-body"), "{body}");
    assert_eq!(read_to_end(&mut slow_head), "");
    assert_eq!(read_to_end(&mut silent), "");
    assert_eq!(server.get("/v1/kv/a").status, 404, "half a body is no value");
    assert!(server.get("/stats").json()["server"]["connections"]["cut_off"].as_u64() >= Some(2));
}

/// slow_reader_fills_memory: pipelined reads whose answers are never taken.
#[test]
fn a_reader_that_takes_nothing_is_cut_off() {
    let limits = Limits { write_timeout: Duration::from_secs(1), ..Limits::default() };
    let server = TestServer::with_limits(limits);
    server.put("/v1/kv/large", vec![b'x'; 4 << 20]).seq();
    let mut reader = server.connect();
    let request = "GET /v1/kv/large HTTP/1.1\r\nhost: localhost\r\n\r\n";
    reader.write_all(request.repeat(50).as_bytes()).expect("sent");
    let cut = (0..1_000_000)
        .any(|_| server.get("/stats").json()["server"]["connections"]["cut_off"] == 1);
    assert!(cut, "the connection is closed although it is never read");
    let mut rest = Vec::new();
    let _ = reader.read_to_end(&mut rest);
    assert!(rest.len() < 200 << 20, "the answers were not all made");
}

#[test]
fn connections_beyond_the_limit_are_answered_503_at_once() {
    // Nothing ends the first two meanwhile: a third that had to wait for the place of one of
    // them would find nothing to read, and fail.
    let hour = Duration::from_secs(3600);
    let server = TestServer::with_limits(Limits {
        max_connections: 2,
        idle_timeout: hour,
        write_timeout: hour,
        body_timeout: hour,
        ..Limits::default()
    });
    let mut first = server.connect();
    let mut second = server.connect();
    for open in [&mut first, &mut second] {
        open.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
        let mut answer = [0; 15];
        open.read_exact(&mut answer).expect("answered");
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }
    let third = server.raw("GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(third.starts_with("HTTP/1.1 503 ") && third.contains("retry-after: 1"), "{third}");
    for open in [&mut first, &mut second] {
        open.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .expect("sent");
        assert!(read_to_end(open).contains("HTTP/1.1 200 OK"), "it has had its place all along");
    }
    drop((first, second));
    let again = (0..10_000)
        .any(|_| server.raw("GET /livez HTTP/1.0\r\nhost: localhost\r\n\r\n").contains("200 OK"));
    assert!(again, "places are free again");
}
