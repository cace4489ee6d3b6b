//! The options of the server itself, and its bounds: each field has its effect checked here,
//! or by a test that this names.

use crate::support::{TestServer, temp_dir};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use tanada::Db;
use tanada_server::{Limits, Server, ServerOptions};

/// Fields of [`Limits`] and who checks what they do: `file test`, or a check below.
const FIELDS: &[(&str, &str)] = &[
    ("max_connections", "bad_input"),
    ("max_body_bytes", "bad_input"),
    ("max_value_bytes", "bad_input"),
    ("idle_timeout", "bad_input"),
    ("write_timeout", "bad_input"),
    ("body_timeout", "bad_input"),
    ("drain_timeout", "lifecycle"),
    ("max_buffered_bytes", "options"),
    ("max_queued_writes", "write_queue"),
    ("max_queued_bytes", "write_queue"),
    ("max_scans", "options"),
    ("max_disk_reads", "options"),
    ("max_waiting_reads", "options"),
];

fn refused_as_too_busy(limits: Limits, method: &str, target: &str, body: &[u8]) {
    let usual = TestServer::start();
    usual.put("/v1/kv/k", "v").seq();
    let answer = usual.request(method, target, &[], body);
    assert_eq!(answer.status, 200, "with the usual bounds: {answer:?}");
    let bounded = TestServer::with_limits(limits);
    let answer = bounded.request(method, target, &[], body);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(!answer.problem().is_empty());
}

#[test]
fn each_bound_bounds() {
    let usual = Limits::default;
    let bounds = [
        (Limits { max_scans: 0, ..usual() }, "GET", "/v1/dump", &b""[..]),
        (Limits { max_disk_reads: 0, max_waiting_reads: 0, ..usual() }, "GET", "/stats", b""),
    ];
    for (limits, method, target, body) in bounds {
        refused_as_too_busy(limits, method, target, body);
    }
}

#[test]
fn bodies_take_no_more_together_than_they_may() {
    let head = "PUT /v1/kv/a HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 90000\r\n\r\n";
    for (max_buffered_bytes, status) in [(100_000, 503), (1_000_000, 200)] {
        let server = TestServer::with_limits(Limits { max_buffered_bytes, ..Limits::default() });
        let mut first = server.connect();
        first.write_all(head.as_bytes()).expect("sent");
        first.read_exact(&mut [0; 25]).expect("the server reads the body");
        let second = server.put("/v1/kv/b", vec![b'v'; 90_000]);
        assert_eq!(second.status, status, "with {max_buffered_bytes}: {second:?}");
    }
}

#[test]
fn each_option_of_the_server_has_its_effect() {
    let dir = temp_dir();
    let db = Db::open(dir.path().join("db")).expect("a database");
    let address = ([127, 0, 0, 1], 0).into();
    let options = ServerOptions::new().http(address);
    let server = Server::bind(options.clone(), db).expect("a free port");
    assert!(TcpStream::connect(server.local_addr()).is_ok(), "it listens where it was told");
    assert_eq!(server.local_addr().ip(), std::net::IpAddr::from([127, 0, 0, 1]));
    drop(server);

    let checkpoints = dir.path().join("checkpoints");
    std::fs::create_dir_all(&checkpoints).expect("a new name");
    let db = Db::open(dir.path().join("db")).expect("a database");
    let server = TestServer::with_options(db, options.checkpoint_dir(&checkpoints));
    assert!(server.post("/v1/admin/checkpoints?name=one", "").status < 300);
    assert!(checkpoints.join("one").is_dir());
}

#[test]
fn every_bound_and_every_option_of_the_server_has_its_check() {
    let source = include_str!("../../src/options.rs");
    let part = |head: &str| source.split(head).nth(1).and_then(|s| s.split("\n}").next());
    let limits = part("pub struct Limits {").expect("it is there");
    let fields: BTreeSet<&str> = limits
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next())
        .collect();
    assert_eq!(fields, FIELDS.iter().map(|(field, _)| *field).collect());
    let methods = part("impl ServerOptions {").expect("it is there").matches("(mut self").count();
    assert_eq!(methods, 3, "http, checkpoint_dir and limits have checks above");
    for (field, file) in FIELDS {
        if *file == "write_queue" {
            // One that waits alone is never refused, so that no request can show it: the
            // queue's own test does, of the bounds that it is given here.
            let given = include_str!("../../src/app.rs").contains(&format!("limits.{field}"));
            let queue = include_str!("../../src/write_queue.rs");
            assert!(given && queue.contains("fn groups_are_bounded_and_keep_the_order"));
            continue;
        }
        let text = match *file {
            "bad_input" => include_str!("../bad_input.rs"),
            "lifecycle" => include_str!("../lifecycle.rs"),
            _ => include_str!("limits.rs"),
        };
        let sets = [format!("{field}:"), format!("{{ {field},")];
        assert!(sets.iter().any(|set| text.contains(set)), "{file} does not set {field}");
    }
}
