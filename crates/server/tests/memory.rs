//! Large requests and answers stay within their part of the memory budget, and give it
//! back whatever becomes of their clients.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // real threads and sockets

mod support;

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::{TempDir, TestServer, temp_dir};
use tanada::{Db, Durability};
use tanada_server::Limits;

const BUDGET: u64 = 16 << 20;
const REQUESTS: u64 = BUDGET / 8;
const ANSWERS: u64 = BUDGET / 4;
/// What is claimed with each large body: the buffer that it comes through.
const BUFFER: u64 = 96 << 10;
/// What is claimed for a body of 1 MiB.
const BODY: u64 = (1 << 20) + BUFFER;

/// A server with a small budget.
fn small(dir: &TempDir) -> TestServer {
    let db = Db::builder(dir.path())
        .memory(BUDGET)
        .durability(Durability::Buffered)
        .open()
        .expect("a database");
    TestServer::over_db(db, Limits::default())
}

fn memory(server: &TestServer) -> Value {
    server.get("/stats").json()["memory"].clone()
}

fn claimed(server: &TestServer) -> u64 {
    memory(server)["claimed_bytes"].as_u64().expect("a number")
}

/// Asks until nothing is claimed: the server learns in its own time that a client is gone.
fn wait_until_nothing_is_claimed(server: &TestServer) {
    let free = (0..20_000).any(|_| claimed(server) == 0);
    assert!(free, "{} bytes stay claimed", claimed(server));
}

/// Set when dropped: a test that fails must not wait for its watcher.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Does `work` while somebody looks at what is claimed; the most that was.
fn watched(server: &TestServer, work: impl FnOnce()) -> u64 {
    let (most, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                most.fetch_max(claimed(server), Ordering::Relaxed);
            }
        });
        let _done = Done(&done);
        work();
    });
    most.load(Ordering::Relaxed)
}

fn head(method: &str, target: &str, length: usize) -> String {
    format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n")
}

/// The server's bound on bodies was 128 MiB whatever the budget was: with 256 MiB,
/// writers of batches and large values had 404 MiB resident.
#[test]
fn many_large_bodies_are_done_or_refused_within_their_part_of_the_budget() {
    let dir = temp_dir();
    let server = small(&dir);
    let done = AtomicU64::new(0);
    let most = watched(&server, || {
        std::thread::scope(|scope| {
            for client in 0..16 {
                let (server, done) = (&server, &done);
                scope.spawn(move || {
                    for round in 0..8 {
                        let target = format!("/v1/kv/{client}-{round}");
                        let answer = server.put(&target, vec![b'x'; 700_000]);
                        match answer.status {
                            200 => {
                                done.fetch_add(1, Ordering::Relaxed);
                                // Answers have their part too.
                                let found = server.get(&target);
                                assert!(found.status == 503 || found.body.len() == 700_000);
                            }
                            503 => {
                                assert_eq!(answer.problem(), "overloaded");
                                assert!(!answer.header("retry-after").is_empty());
                                let detail = answer.json()["detail"].to_string();
                                let told = ["memory", "too many connections"];
                                assert!(told.iter().any(|why| detail.contains(why)), "{detail}");
                            }
                            _ => panic!("{answer:?}"),
                        }
                    }
                });
            }
        });
    });
    assert!(done.into_inner() > 0, "some are done");
    assert!(most > 0, "large bodies are counted");
    assert!(most <= REQUESTS + ANSWERS, "{most} bytes were claimed at once");
    wait_until_nothing_is_claimed(&server);
}

/// A load of batches of 1 MiB was refused at once wherever MemTables waited for a flush
/// that would have made room a moment later.
#[test]
fn a_large_body_waits_for_memory_that_is_about_to_be_given_back() {
    let dir = temp_dir();
    let builder = Db::builder(dir.path()).memory(BUDGET).durability(Durability::Buffered);
    let db = builder.open().expect("a database");
    let mut all = db.claim_memory(1 << 20).expect("room");
    let server = TestServer::over_db(db, Limits::default());
    while all.grow(64 << 10).is_ok() {
        assert!(all.bytes() <= BUDGET, "{} bytes are claimed", all.bytes());
    }
    std::thread::scope(|scope| {
        let put = scope.spawn(|| server.put("/v1/kv/large", vec![7; 1 << 20]).status);
        // By then the server has seen it, nearly always.
        (0..5).for_each(|_| drop(memory(&server)));
        drop(all);
        assert_eq!(put.join().expect("an answer"), 200);
    });
}

/// Bodies that are declared and never come hold their part until their clients go, and
/// nobody else's.
#[test]
fn clients_that_go_away_in_the_middle_of_a_body_give_its_memory_back() {
    let dir = temp_dir();
    let server = small(&dir);
    let half = |length: usize| -> TcpStream {
        let mut stream = server.connect();
        stream.write_all(head("PUT", "/v1/kv/half", length).as_bytes()).expect("sent");
        stream.write_all(&vec![b'x'; length / 2]).expect("sent");
        stream
    };
    let first = half(1 << 20);
    let second = half(1 << 20);
    let both = (0..20_000).any(|_| claimed(&server) == 2 * BODY);
    assert!(both, "what is declared is claimed: {}", claimed(&server));
    let refused = server.put("/v1/kv/large", vec![b'x'; 1 << 20]);
    assert_eq!((refused.status, refused.problem().as_str()), (503, "overloaded"));
    assert_eq!(claimed(&server), 2 * BODY, "a refused one holds nothing");
    server.put("/v1/kv/small", "small ones are not refused").seq();
    drop(first);
    let given_back = (0..20_000).any(|_| claimed(&server) == BODY);
    assert!(given_back, "{}", claimed(&server));
    second.shutdown(Shutdown::Both).expect("an open connection");
    wait_until_nothing_is_claimed(&server);
    server.put("/v1/kv/large", vec![b'x'; 1 << 20]).seq();
    assert_eq!(server.get("/v1/kv/half").status, 404);
}

/// A chunked body does not say how long it is: it claims as it grows.
#[test]
fn a_body_of_unknown_length_claims_as_it_grows() {
    let dir = temp_dir();
    let server = small(&dir);
    let mut stream = server.connect();
    let head =
        "PUT /v1/kv/chunked HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("sent");
    let piece = vec![b'x'; 300_000];
    stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).expect("sent");
    stream.write_all(&piece).expect("sent");
    stream.write_all(b"\r\n").expect("sent");
    let grown = (0..20_000).any(|_| claimed(&server) >= 300_000);
    assert!(grown && claimed(&server) <= 600_000 + BUFFER, "{}", claimed(&server));
    stream.write_all(b"0\r\n\r\n").expect("sent");
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).expect("answered");
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    wait_until_nothing_is_claimed(&server);
}

/// A value may be as long as the engine takes; what can never fit is told its limit.
#[test]
fn the_longest_value_is_written_and_read_and_a_longer_one_is_told_the_limit() {
    let dir = temp_dir();
    let server = small(&dir);
    let largest = memory(&server)["largest_batch_bytes"].as_u64().expect("a number") as usize;
    // What a write takes beside its key and value.
    let fits = largest - 4096;
    let value: Vec<u8> = (0..fits).map(|n| (n % 251) as u8).collect();
    let most = watched(&server, || {
        for round in 0..4 {
            server.put(&format!("/v1/kv/{round}"), &value).seq();
        }
    });
    assert!(most <= 2 * largest as u64 + BUFFER, "the body, and its copy: {most}");
    assert_eq!(server.get("/v1/kv/3").body, value);
    let json = server.get("/get?key=2");
    assert_eq!(json.json()["encoding"], "base64");
    for (length, kind) in [(largest + 1, "value-too-large"), (2 * largest, "body-too-large")] {
        let refused = server.put("/v1/kv/never", vec![b'x'; length]);
        assert_eq!((refused.status, refused.problem().as_str()), (413, kind));
        let detail = refused.json()["detail"].to_string();
        assert!(detail.chars().any(|c| c.is_ascii_digit()), "{detail}");
    }
    wait_until_nothing_is_claimed(&server);
}

/// 644 MiB resident with 256 MiB of budget: six values of 50 MB, and four readers.
#[test]
fn large_answers_that_nobody_takes_stay_within_their_part_and_are_given_back() {
    let dir = temp_dir();
    let server = small(&dir);
    server.put("/v1/kv/raw", vec![0xff; 1_200_000]).seq();
    server.post("/put", json!({"key": "quotes", "value": "\"".repeat(500_000)}).to_string()).seq();
    let requests = [
        "GET /v1/kv/raw HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /get?key=raw HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /get?key=quotes HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /get?key=quotes&explain=true HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /v1/kv HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /v1/kv HTTP/1.1\r\nhost: localhost\r\naccept: application/x-ndjson\r\n\r\n",
    ];
    for request in requests {
        // Far more than the system's buffers take: answers are begun, and never read.
        let readers: Vec<TcpStream> = (0..3)
            .map(|_| {
                let mut stream = server.connect();
                stream.write_all(request.repeat(40).as_bytes()).expect("sent");
                stream
            })
            .collect();
        let is_counted = (0..20_000).any(|_| claimed(&server) > 0);
        assert!(is_counted, "{request}");
        for _ in 0..50 {
            assert!(claimed(&server) <= ANSWERS, "{} for {request}", claimed(&server));
        }
        drop(readers);
        wait_until_nothing_is_claimed(&server);
    }
    // All of them are answered to a client that takes its answer.
    assert_eq!(server.get("/v1/kv/raw").body.len(), 1_200_000);
    assert_eq!(server.get("/get?key=quotes").json()["value"].as_str().map(str::len), Some(500_000));
    wait_until_nothing_is_claimed(&server);
}

/// A dump broke off in the middle: a large value found no room beside the one before it, which
/// the same dump had not sent yet.
#[test]
fn a_stream_of_large_values_waits_for_its_own_last_chunk_and_breaks_off_nowhere() {
    let dir = temp_dir();
    let server = small(&dir);
    const VALUES: usize = 8;
    for n in 0..VALUES {
        server.put(&format!("/v1/kv/{n}"), vec![b'a' + n as u8; 2_500_000]).seq();
    }
    for target in ["/v1/kv", "/v1/dump"] {
        let mut stream = server.connect();
        let head =
            "HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\naccept: application/x-ndjson";
        stream.write_all(format!("GET {target} {head}\r\n\r\n").as_bytes()).expect("sent");
        // The first of them is on its way, and not taken yet.
        assert!((0..20_000).any(|_| claimed(&server) > 0), "{target}");
        let answer = support::read_to_end(&mut stream);
        let lines = answer.matches("{\"key\":").count();
        let end = &answer[answer.len() - 200..];
        assert_eq!(lines, VALUES, "{target}: {end}");
        assert!(
            answer.ends_with("0\r\n\r\n") && !answer.contains("\"problem\""),
            "{target}: {end}"
        );
        wait_until_nothing_is_claimed(&server);
    }
}

/// A page was refused as a whole, each time anew, though it held entries already.
#[test]
fn a_page_of_large_values_ends_where_memory_does_and_the_next_one_goes_on() {
    let dir = temp_dir();
    let server = small(&dir);
    const VALUES: usize = 6;
    for n in 0..VALUES {
        server.put(&format!("/v1/kv/{n}"), vec![b'a' + n as u8; 2_500_000]).seq();
    }
    let (mut keys, mut cursor) = (Vec::new(), String::new());
    for _ in 0..=VALUES {
        wait_until_nothing_is_claimed(&server);
        let page = server.get(&format!("/v1/kv?limit=5{cursor}")).json();
        for item in page["items"].as_array().expect("items") {
            let value = item["value"].as_str().expect("text");
            assert_eq!(value.len(), 2_500_000);
            keys.push(item["key"].as_str().expect("text").to_owned());
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(keys, (0..VALUES).map(|n| n.to_string()).collect::<Vec<_>>());
}
