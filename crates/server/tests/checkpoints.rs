//! Checkpoints over HTTP: made by name below one directory, listed, removed; and no name
//! leads anywhere else.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod support;

use serde_json::{Value, json};
use std::path::Path;
use support::{TestServer, temp_dir};
use tanada::{Db, Durability};
use tanada_server::{Server, ServerOptions};

const PATH: &str = "/v1/admin/checkpoints";

fn open(path: &Path) -> Db {
    let builder = Db::builder(path).durability(Durability::Buffered).memory(16 << 20);
    builder.open().expect("a database")
}

fn serve(home: &Path) -> TestServer {
    let options = ServerOptions::new().checkpoint_dir(home.join("copies"));
    TestServer::with_options(open(&home.join("db")), options)
}

fn create(server: &TestServer, name: &str) -> support::Answer {
    server.request("POST", PATH, &[], json!({ "name": name }).to_string())
}

#[test]
fn a_checkpoint_is_made_listed_opened_and_removed() {
    let home = temp_dir();
    std::fs::create_dir(home.path().join("copies")).expect("a directory");
    let server = serve(home.path());
    server.put("/v1/kv/k", "before").seq();
    let made = create(&server, "monday");
    assert_eq!(made.status, 201);
    let made = made.json();
    assert_eq!(
        (&made["ok"], &made["name"], &made["seqno"]),
        (&json!(true), &json!("monday"), &json!(1))
    );
    server.put("/v1/kv/k", "after").seq();
    assert_eq!(create(&server, "monday").problem(), "name-taken");
    assert_eq!(create(&server, "monday").status, 409);
    assert_eq!(server.request("POST", &format!("{PATH}?name=tuesday"), &[], "").status, 201);
    let names = |server: &TestServer| {
        let listed = server.get(PATH).json();
        let all = listed["checkpoints"].as_array().expect("a list").clone();
        all.iter().map(|one| one["name"].clone()).collect::<Vec<Value>>()
    };
    assert_eq!(names(&server), ["monday", "tuesday"]);
    let stats = server.get("/stats").json()["checkpoints"].clone();
    assert_eq!((&stats["made"], &stats["failed"]), (&json!(2), &json!(2)));

    let copy = open(&home.path().join("copies/monday"));
    assert_eq!(copy.get("k").expect("it reads").as_deref(), Some(&b"before"[..]));
    let remove = |name: &str| server.request("DELETE", &format!("{PATH}/{name}"), &[], "");
    assert_eq!(remove("monday").problem(), "in-use");
    drop(copy);
    assert_eq!(remove("monday").status, 200);
    assert_eq!(remove("monday").problem(), "checkpoint-not-found");
    assert_eq!(names(&server), ["tuesday"]);
    assert_eq!(server.request("PUT", PATH, &[], "").problem(), "method-not-allowed");
    assert_eq!(server.get(&format!("{PATH}/tuesday")).problem(), "method-not-allowed");
}

#[test]
fn path_traversal_backup() {
    // Backups whose name came from a client and was joined to a directory: "../../etc" wrote
    // anywhere, and deleting one deleted anything.
    let home = temp_dir();
    std::fs::create_dir(home.path().join("copies")).expect("a directory");
    let server = serve(home.path());
    server.put("/v1/kv/k", "v").seq();
    let before = listing(home.path());
    let long = "n".repeat(300);
    let absolute = home.path().join("x");
    let names = [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "/",
        "/tmp/x",
        ".hidden",
        "a.b",
        "-r",
        "a b",
        "a\0",
        "a\nb",
        "é",
        "火曜日",
        "x.unfinished",
        "%2e%2e%2fx",
        &long,
        absolute.to_str().expect("UTF-8"),
    ];
    for name in names {
        let refused = create(&server, name);
        assert_eq!(refused.status, 400, "{name:?}");
        assert_eq!(refused.problem(), "rejected", "{name:?}");
    }
    for name in ["..", "%2e%2e", "..%2fdb", "%2Ftmp", "../db", "a/b", "%00", "%ff"] {
        let refused = server.request("DELETE", &format!("{PATH}/{name}"), &[], "");
        assert!((400..500).contains(&refused.status), "{name:?}: {}", refused.status);
    }
    let post = |body: &'static str| server.request("POST", PATH, &[], body).problem();
    assert_eq!(post("{}"), "missing-parameter");
    assert_eq!(post("{\"path\":\"x\"}"), "unknown-field");
    assert_eq!(listing(home.path()), before, "nothing was made or removed");
}

fn listing(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .expect("it is there")
        .chain(std::fs::read_dir(dir.join("copies")).expect("it is there"))
        .map(|entry| entry.expect("it is there").path().display().to_string())
        .collect();
    names.sort();
    names
}

#[test]
fn a_server_without_a_directory_says_so_and_one_that_is_missing_is_refused() {
    let server = TestServer::start();
    let refused = create(&server, "monday");
    assert_eq!((refused.status, &*refused.problem()), (501, "no-checkpoint-dir"));
    assert_eq!(server.get(PATH).problem(), "no-checkpoint-dir");

    let home = temp_dir();
    let options = ServerOptions::new().http(([127, 0, 0, 1], 0).into());
    let options = options.checkpoint_dir(home.path().join("missing"));
    let refused = Server::bind(options, open(&home.path().join("db"))).expect_err("no directory");
    assert!(refused.to_string().contains("missing"), "{refused}");
    // In the database's own directory none is made.
    std::fs::create_dir(home.path().join("db/copies")).expect("a directory");
    let options = ServerOptions::new().checkpoint_dir(home.path().join("db/copies"));
    let server = TestServer::with_options(open(&home.path().join("db")), options);
    assert_eq!(create(&server, "monday").problem(), "rejected");
}

#[test]
fn what_a_killed_server_left_goes_when_the_next_one_starts() {
    let home = temp_dir();
    let left = home.path().join("copies/monday.unfinished");
    std::fs::create_dir_all(&left).expect("a directory");
    std::fs::write(left.join("000001.sst"), "half").expect("a file");
    let server = serve(home.path());
    assert!(!left.exists());
    assert_eq!(server.get(PATH).json(), json!({ "checkpoints": [] }));
    assert_eq!(create(&server, "monday").status, 201);
}
