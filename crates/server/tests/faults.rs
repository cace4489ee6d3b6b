//! A disk that fails below the server: what clients are told, and what is kept.

mod support;

use parking_lot::Mutex;
use serde_json::Value;
use std::io::Write;
use std::sync::Arc;
use support::{TempDir, TestServer, read_to_end, temp_dir};
use tanada::vfs::Env;
use tanada::vfs::fault::{EIO, ENOSPC, Faults, Op, Rule};
use tanada::{Db, Durability};
use tanada_server::Limits;

/// A server over a directory whose file system fails as told.
fn failing(dir: &TempDir) -> (TestServer, Faults) {
    let real = Env::real();
    let faults = Faults::over(real.fs.clone());
    let db = Db::builder(dir.path())
        .env(faults.env(&real))
        .durability(Durability::Buffered)
        .open()
        .expect("a database");
    (TestServer::over_db(db, Limits::default()), faults)
}

/// group_commit_one_waiter_sees_error (scylladb #1490), wal_error_swallowed (fjall #304):
/// after a failed sync no write is acknowledged, and each hears why.
#[test]
fn after_a_failed_sync_every_writer_hears_of_it_and_reads_go_on() {
    let dir = temp_dir();
    let (mut server, faults) = failing(&dir);
    server.put("/v1/kv/before?durability=synced", "kept").seq();
    faults.add(Rule::fail(EIO).on(Op::LogSync));
    std::thread::scope(|scope| {
        for client in 0..8 {
            let server = &server;
            scope.spawn(move || {
                let target = format!("/v1/kv/after{client}?durability=synced");
                let answer = server.put(&target, "lost");
                assert_eq!((answer.status, answer.problem().as_str()), (503, "stopped"));
                assert!(!answer.header("retry-after").is_empty());
                let detail = answer.json()["detail"].to_string();
                assert!(detail.contains("restart") && detail.contains("not known"), "{detail}");
            });
        }
    });
    let again = server.put("/v1/kv/again?durability=memory", "no");
    assert_eq!((again.status, again.problem().as_str()), (503, "stopped"));
    assert_eq!(server.get("/v1/kv/before").body, b"kept");
    assert_eq!(server.get("/readyz").status, 503);
    assert_eq!(server.get("/livez").status, 200);
    let _ = server.stop(); // may well say that the log cannot be synced
    let server = TestServer::over(dir.path(), Limits::default());
    assert_eq!(server.get("/v1/kv/before").body, b"kept");
    assert_eq!(server.put("/v1/kv/again", "yes").status, 200);
}

/// iterator_swallows_error: a scan that ends early must not look complete.
#[test]
fn a_scan_that_breaks_off_says_so_and_does_not_look_complete() {
    const KEYS: usize = 4000;
    let dir = temp_dir();
    {
        let server = TestServer::over(dir.path(), Limits::default());
        // Bytes that do not compress, so that there is something to read.
        let mut seed = 7u64;
        let mut value = || -> String {
            let letters = std::iter::repeat_with(|| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(b'0' + (seed >> 58) as u8)
            });
            letters.take(1000).collect()
        };
        for block in 0..KEYS / 500 {
            let ops: Vec<_> = (0..500)
                .map(|n| serde_json::json!({"op": "put", "key": format!("{:05}", block * 500 + n), "value": value()}))
                .collect();
            server.post("/v1/batch", serde_json::json!({"ops": ops}).to_string()).seq();
        }
        assert_eq!(server.post("/compact?wait=true", "").status, 200);
    }
    let (server, faults) = failing(&dir);
    faults.add(Rule::fail(EIO).on(Op::Read).path_suffix(".sst").nth(8));
    let mut stream = server.connect();
    stream
        .write_all(
            b"GET /v1/kv HTTP/1.1\r\nhost: localhost\r\naccept: application/x-ndjson\r\n\r\n",
        )
        .expect("sent");
    let text = read_to_end(&mut stream);
    assert!(text.starts_with("HTTP/1.1 200 OK"));
    let last = text.lines().rev().find(|line| line.starts_with('{')).expect("a line");
    assert!(last.contains("{\"problem\":{\"type\":\"urn:tanada:problem:storage\""), "{last}");
    assert!(!text.ends_with("0\r\n\r\n"), "the body has no end");
    assert!(text.matches("\"key\":").count() < KEYS);
    // A disk that works again is read again.
    assert_eq!(server.get("/v1/kv/03999").status, 200);
}

#[test]
fn a_read_that_fails_is_an_error_and_never_an_absent_key() {
    let dir = temp_dir();
    {
        let server = TestServer::over(dir.path(), Limits::default());
        server.put("/v1/kv/a", "1").seq();
        assert_eq!(server.post("/compact?wait=true", "").status, 200);
    }
    let (server, faults) = failing(&dir);
    faults.add(Rule::fail(EIO).on(Op::Read).path_suffix(".sst").nth(1));
    let failed = server.get("/get?key=a");
    assert_eq!((failed.status, failed.problem().as_str()), (500, "storage"));
    assert_eq!(server.get("/get?key=a").json()["value"], "1");
}

#[test]
fn a_full_disk_names_the_cure_and_loses_nothing() {
    let dir = temp_dir();
    let (server, faults) = failing(&dir);
    server.put("/v1/kv/a", "1").seq();
    faults.add(Rule::fail(ENOSPC).path_suffix(".sst"));
    let failed = server.post("/compact?wait=true", "");
    assert!(failed.status >= 500, "{failed:?}");
    assert!(["storage", "read-only"].contains(&failed.problem().as_str()), "{failed:?}");
    let job = server.get("/compact/1").json();
    assert_eq!(job["state"], "failed");
    assert!(job["problem"]["detail"].as_str().is_some_and(|d| !d.is_empty()));
    assert_eq!(server.get("/v1/kv/a").body, b"1");
}

/// cancelled_future_half_commits (slatedb #1733): a future that was dropped left half
/// a commit. Here the handler of a write waits for it, and is dropped when its client
/// goes away. The disk holds the first sync up until all clients have gone: half of
/// them when their writes wait for it, the others as soon as they have spoken.
#[test]
fn batches_whose_clients_went_away_are_there_whole_or_not_at_all() {
    const BATCHES: usize = 100;
    const WAITING: usize = BATCHES / 2;
    const KEYS: usize = 5;
    let dir = temp_dir();
    let (mut server, faults) = failing(&dir);
    server.put("/v1/kv/before?durability=synced", "kept").seq();
    let gate = Arc::new(Mutex::new(()));
    let at_the_gate = Arc::clone(&gate);
    let held_up = gate.lock();
    faults.before_each_change(move |_, call| {
        if call.op == Op::LogSync {
            drop(at_the_gate.lock());
        }
    });
    let name = |batch: usize, key: usize| format!("batch{batch:03}/{key}");
    let send = |batch: usize| {
        let ops: Vec<_> = (0..KEYS)
            .map(|key| serde_json::json!({"op": "put", "key": name(batch, key), "value": "v"}))
            .collect();
        let body = serde_json::json!({"ops": ops, "durability": "synced"}).to_string();
        let head = "POST /v1/batch HTTP/1.1\r\nhost: localhost\r\ncontent-length:";
        let mut client = server.connect();
        let request = format!("{head} {}\r\n\r\n{body}", body.len());
        client.write_all(request.as_bytes()).expect("sent");
        client
    };
    let wait_until = |what: &str, is_so: &dyn Fn(&Value) -> bool| {
        let mut looks = (0..100_000).map(|_| server.get("/stats").json()["server"].take());
        assert!(looks.any(|stats| is_so(&stats)), "never: {what}");
    };
    let mut clients = vec![send(0)];
    // Two: what was kept before, and this one.
    wait_until("the first is being written", &|stats| stats["committed_requests"] == 2);
    clients.extend((1..WAITING).map(send));
    wait_until("all others wait for it", &|stats| stats["queued_writes"] == WAITING - 1);
    (WAITING..BATCHES).for_each(|batch| drop(send(batch)));
    drop(clients);
    // Only the one who asks here is still there.
    wait_until("all clients are gone", &|stats| {
        let connections = &stats["connections"];
        connections["accepted"].as_u64() > Some(BATCHES as u64) && connections["open"] == 1
    });
    drop(held_up);
    server.stop().expect("a good end");

    let db = Db::open(dir.path()).expect("it opens");
    assert!(db.get("before").expect("it reads").is_some());
    for batch in 0..BATCHES {
        let is_there = |key: &usize| db.get(name(batch, *key)).expect("it reads").is_some();
        let count = (0..KEYS).filter(is_there).count();
        assert!(count == 0 || count == KEYS, "of batch {batch} {count} of {KEYS} keys are there");
        assert!(batch >= WAITING || count == KEYS, "batch {batch} was taken, and is not there");
    }
}
