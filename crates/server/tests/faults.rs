//! A disk that fails below the server: what clients are told, and what is kept.

mod support;

use std::io::Write;
use support::{TempDir, TestServer, read_to_end};
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
    let dir = TempDir::new();
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
    let dir = TempDir::new();
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
    let dir = TempDir::new();
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
    let dir = TempDir::new();
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
