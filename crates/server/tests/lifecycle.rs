//! Starting, many clients at once, and ending well.
#![allow(clippy::disallowed_methods)] // clients on real threads

mod support;

use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;
use support::{TestServer, read_to_end, temp_dir};
use tanada::Db;
use tanada_server::{Limits, Server, ServerError, ServerOptions};

#[test]
fn a_busy_port_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound");
    let dir = temp_dir();
    let db = Db::open(dir.path()).expect("a database");
    let error = Server::bind(ServerOptions::new().http(address), db).expect_err("taken");
    assert!(matches!(error, ServerError::AddressInUse(a) if a == address));
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && text.contains("--http"), "{text}");
}

#[test]
fn an_address_that_others_reach_is_refused() {
    let dir = temp_dir();
    let db = Db::open(dir.path()).expect("a database");
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let options = ServerOptions::new().http(address.parse().expect("an address"));
        let error = Server::bind(options, db.clone()).expect_err(address);
        assert!(matches!(error, ServerError::NotLoopback(_)), "{error}");
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
    }
}

#[test]
fn of_many_clients_that_want_one_key_absent_exactly_one_wins() {
    let server = TestServer::start();
    for round in 0..20 {
        let target = format!("/v1/kv/leader/{round}");
        let winners: Vec<u32> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..16u32)
                .map(|client| {
                    let (server, target) = (&server, &target);
                    scope.spawn(move || {
                        let answer = server.request(
                            "PUT",
                            target,
                            &[("if-none-match", "*")],
                            client.to_string(),
                        );
                        assert!(matches!(answer.status, 200 | 412), "{answer:?}");
                        (answer.status == 200).then_some(client)
                    })
                })
                .collect();
            clients.into_iter().filter_map(|c| c.join().expect("no panic")).collect()
        });
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(server.get(&target).body, winners[0].to_string().as_bytes());
    }
}

/// Lost updates: read, add one, write if still the same; no step may be lost.
#[test]
fn counters_by_compare_and_set_count_every_step() {
    const CLIENTS: u64 = 8;
    const STEPS: u64 = 25;
    let server = TestServer::start();
    server.put("/v1/kv/count", "0").seq();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                for _ in 0..STEPS {
                    for tries in 1.. {
                        assert!(tries < 10_000, "refused again and again");
                        let now = server.get("/v1/kv/count");
                        let count: u64 =
                            String::from_utf8_lossy(&now.body).parse().expect("a number");
                        let headers = [("if-match", now.header("etag"))];
                        let next = (count + 1).to_string();
                        match server.request("PUT", "/v1/kv/count", &headers, next).status {
                            200 => break,
                            412 => {}
                            other => panic!("{other}"),
                        }
                    }
                }
            });
        }
    });
    assert_eq!(server.get("/v1/kv/count").body, (CLIENTS * STEPS).to_string().as_bytes());
}

#[test]
fn concurrent_writers_share_commit_groups_and_every_version_is_its_own() {
    let server = TestServer::start();
    let mut versions: Vec<u64> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|client| {
                let server = &server;
                scope.spawn(move || {
                    (0..50)
                        .map(|n| {
                            let target = format!("/v1/kv/{client}/{n}?durability=synced");
                            server.put(&target, "v").seq()
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|c| c.join().expect("no panic")).collect()
    });
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), 800);
    let stats = server.get("/stats").json();
    assert_eq!(stats["server"]["committed_requests"], 800);
    for client in 0..16 {
        let answer =
            server.get(&format!("/v1/kv?prefix={client}/&keys_only=true&limit=1000")).json();
        assert_eq!(answer["items"].as_array().map(Vec::len), Some(50));
    }
}

/// aof_tail_never_synced, shutdown_without_flush (redis #5985, #4033, #8111):
/// what was acknowledged before a stop is there after it, at every durability.
#[test]
fn what_was_acknowledged_survives_a_stop() {
    let dir = temp_dir();
    let mut server = TestServer::over(dir.path(), Limits::default());
    for (key, durability) in ["memory", "buffered", "synced"].iter().enumerate() {
        server.put(&format!("/v1/kv/{key}?durability={durability}"), durability).seq();
    }
    server.stop().expect("a good end");
    let server = TestServer::over(dir.path(), Limits::default());
    for (key, durability) in ["memory", "buffered", "synced"].iter().enumerate() {
        assert_eq!(server.get(&format!("/v1/kv/{key}")).body, durability.as_bytes());
    }
}

#[test]
fn a_stop_finishes_the_request_under_way_and_takes_no_new_ones() {
    let dir = temp_dir();
    let mut server = TestServer::over(dir.path(), Limits::default());
    // An idle connection must not hold the stop up.
    let mut idle = server.connect();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
    let mut answer = [0; 15];
    idle.read_exact(&mut answer).expect("answered");
    // A request whose body is half here when the signal comes.
    let mut under_way = server.connect();
    under_way
        .write_all(b"PUT /v1/kv/late HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 6\r\n\r\n")
        .expect("sent");
    let mut go_on = [0; 25];
    under_way.read_exact(&mut go_on).expect("the server reads the body");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    server.signal();
    read_to_end(&mut idle);
    under_way.write_all(b"landed").expect("sent");
    let late = read_to_end(&mut under_way);
    assert!(late.starts_with("HTTP/1.1 200 OK") && late.contains("\"ok\":true"), "{late}");
    server.stop().expect("a good end");
    assert!(std::net::TcpStream::connect(server.address).is_err(), "no one listens");
    let server = TestServer::over(dir.path(), Limits::default());
    assert_eq!(server.get("/v1/kv/late").body, b"landed");
}

#[test]
fn a_stop_waits_no_longer_than_it_may() {
    // Nothing but the bound on a stop may end it: the others are longer than any test, and
    // would hide that this one is ignored.
    let (drain, hour) = (Duration::from_millis(100), Duration::from_secs(3600));
    let limits = Limits {
        drain_timeout: drain,
        idle_timeout: hour,
        write_timeout: hour,
        body_timeout: hour,
        ..Limits::default()
    };
    let mut server = TestServer::with_limits(limits);
    let mut stuck = server.connect();
    stuck
        .write_all(b"PUT /v1/kv/a HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 6\r\n\r\n")
        .expect("sent");
    let mut go_on = [0; 25];
    stuck.read_exact(&mut go_on).expect("the server reads the body");
    let clock = tanada::vfs::Env::real().clock;
    let began_ns = clock.monotonic_ns();
    server.stop().expect("a good end although a client is stuck");
    let waited = Duration::from_nanos(clock.monotonic_ns() - began_ns);
    assert!(waited >= drain, "it gave the client {waited:?} of {drain:?}");
    assert!(waited < hour / 2, "it waited for {waited:?}");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = TestServer::start();
    let mut requests = String::new();
    for n in 0..100 {
        let body = json!({"key": "p", "value": n.to_string()}).to_string();
        requests += &format!(
            "POST /put HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}GET /get?key=p HTTP/1.1\r\nhost: localhost\r\n\r\n",
            body.len()
        );
    }
    requests += "GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answers = server.raw(requests);
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 201);
    let values: Vec<_> = answers
        .lines()
        .filter_map(|line| line.strip_prefix("{\"key\":\"p\",\"value\":\"")?.split('"').next())
        .collect();
    assert_eq!(values, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
}
