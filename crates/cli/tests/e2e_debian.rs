//! Real input from one end to the other: the Debian package index goes in
//! through the command line and through concurrent HTTP clients, the server is
//! killed in the middle, and everything that was acknowledged is there again.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

mod support;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{Server, on_directory, skip, tanada};

/// Concurrent HTTP clients.
const CLIENTS: usize = 8;

/// Package name to its stanza; where a name comes twice the last one wins.
type Index = BTreeMap<String, Vec<u8>>;

/// `apt-cache dumpavail`, or `None` when this machine has no package index.
fn debian_index() -> Option<Index> {
    let output = Command::new("apt-cache").arg("dumpavail").output().ok()?;
    let mut index = Index::new();
    let text = output.stdout;
    let mut rest = &text[..];
    while !rest.is_empty() {
        let end = rest.windows(2).position(|two| two == b"\n\n").map_or(rest.len(), |at| at + 1);
        let stanza = &rest[..end];
        rest = rest[end..].trim_ascii_start();
        let name = stanza.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"Package: "));
        if let Some(name) = name {
            index.insert(String::from_utf8(name.to_vec()).ok()?, stanza.to_vec());
        }
    }
    (index.len() > 10_000).then_some(index)
}

/// A part of the index as a file that `tanada load` reads.
fn write_ndjson(path: &Path, part: &[(&String, &Vec<u8>)]) {
    let mut lines = String::new();
    for (key, value) in part {
        let value = std::str::from_utf8(value).expect("stanzas are UTF-8");
        lines.push_str(&json!({ "key": key, "value": value }).to_string());
        lines.push('\n');
    }
    fs::write(path, lines).unwrap();
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

fn key_url(server: &Server, key: &str) -> String {
    format!("{}/v1/kv/{}", server.url, utf8_percent_encode(key, NON_ALPHANUMERIC))
}

/// Puts `part` from many clients at once, until done or the server is gone;
/// `after` hears the number of each acknowledgement. Answers what was acknowledged.
fn put_concurrently<'a>(
    server: &Server,
    part: &[(&'a String, &'a Vec<u8>)],
    after: impl Fn(usize) + Sync,
) -> Vec<(&'a String, &'a Vec<u8>)> {
    let acknowledged = Mutex::new(Vec::new());
    let count = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (acknowledged, count, after) = (&acknowledged, &count, &after);
            scope.spawn(move || {
                let agent = agent();
                for (key, value) in part.iter().skip(client).step_by(CLIENTS) {
                    match agent.put(key_url(server, key)).send(&value[..]) {
                        Ok(response) if response.status().is_success() => {
                            acknowledged.lock().unwrap().push((*key, *value));
                            after(count.fetch_add(1, Ordering::SeqCst) + 1);
                        }
                        Ok(response) => panic!("{key}: {}", response.status()),
                        // The server has been killed: the rest stays with us.
                        Err(_) => return,
                    }
                }
            });
        }
    });
    acknowledged.into_inner().unwrap()
}

/// Reads `part` back from many clients at once, every byte.
fn read_back(server: &Server, part: &[(&String, &Vec<u8>)]) {
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let agent = agent();
                for (key, value) in part.iter().skip(client).step_by(CLIENTS) {
                    let mut response = agent.get(key_url(server, key)).call().unwrap();
                    assert_eq!(response.status(), 200, "{key} was acknowledged and is not there");
                    let bytes = response.body_mut().read_to_vec().unwrap();
                    assert!(bytes == **value, "{key} came back different");
                }
            });
        }
    });
}

fn default_keyspace(stats: &Value) -> &Value {
    stats["keyspaces"].as_array().unwrap().iter().find(|k| k["name"] == "default").unwrap()
}

fn sum(levels: &Value, member: &str) -> u64 {
    levels.as_array().unwrap().iter().map(|level| level[member].as_u64().unwrap()).sum()
}

#[test]
fn the_debian_index_survives_a_kill_in_the_middle_and_reads_back_byte_for_byte() {
    let Some(index) = debian_index() else {
        return skip("no Debian package index here (apt-get update, as root, fetches it)");
    };
    eprintln!("index: {} packages", index.len());
    let all: Vec<(&String, &Vec<u8>)> = index.iter().collect();
    // Interleaved, so that every way of loading covers the whole range of keys.
    let part =
        |n: usize| -> Vec<(&String, &Vec<u8>)> { all.iter().skip(n).step_by(4).copied().collect() };
    let (by_directory, by_url) = (part(0), part(1));
    let by_clients: Vec<_> = part(2).into_iter().chain(part(3)).collect();

    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let file = home.path().join("part.ndjson");

    // The command line, on the directory.
    write_ndjson(&file, &by_directory);
    let said = on_directory(&data, &["load", file.to_str().unwrap(), "--json"]).ok();
    assert_eq!(said.json()["loaded"], by_directory.len());
    eprintln!("loaded on the directory: {}", said.out.trim());

    // The command line through the server, and concurrent clients, all at once; killed in the middle.
    let server = Server::start(&data, &["--memory", "64MiB"]);
    write_ndjson(&file, &by_url);
    let (enough, loader) = (by_clients.len() / 2, Mutex::new(None));
    let acknowledged = put_concurrently(&server, &by_clients, |n| {
        if n == enough - 300 {
            // So late that the server is killed while it loads.
            let mut command = tanada();
            command.args(["load", file.to_str().unwrap(), "--json", "--url", &server.url]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            *loader.lock().unwrap() = Some(command.spawn().unwrap());
        }
        if n == enough {
            let pid = rustix::process::Pid::from_raw(server.pid() as i32).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    });
    let loader = loader.into_inner().unwrap().expect("started before the kill");
    let loader: support::Said = loader.wait_with_output().unwrap().into();
    let loaded = loader.json()["loaded"].as_u64().unwrap() as usize;
    if loaded < by_url.len() {
        assert_eq!(loader.code, Some(1), "{loader:?}");
    }
    server.kill();
    assert!(acknowledged.len() >= enough);
    eprintln!(
        "killed: {} acknowledged to clients, {loaded} to the command line",
        acknowledged.len()
    );

    // Everything acknowledged is there, byte for byte.
    let server = Server::start(&data, &["--memory", "64MiB"]);
    read_back(&server, &by_directory);
    read_back(&server, &by_url[..loaded]);
    read_back(&server, &acknowledged);
    eprintln!("after the kill: every acknowledged record is there");

    // The rest; what was loaded before is loaded again, which changes nothing.
    let said = server.tanada(&["load", file.to_str().unwrap(), "--json"]).ok();
    assert_eq!(said.json()["loaded"], by_url.len());
    let put = put_concurrently(&server, &by_clients, |_| ());
    assert_eq!(put.len(), by_clients.len());

    // Compact, then every key and a thousand absent ones.
    let summary = server.tanada(&["compact", "--json"]).ok().json();
    eprintln!("compacted: {summary}");
    let before = server.stats();
    read_back(&server, &all);
    let agent = agent();
    for i in 0..1000 {
        let absent = format!("{}~absent", all[i * all.len() / 1000].0);
        let response = agent.get(key_url(&server, &absent)).call().unwrap();
        assert_eq!(response.status(), 404, "{absent} was never put");
    }

    // A full scan is the sorted input.
    let dump = server.tanada(&["dump"]).ok();
    let mut lines = dump.out.lines();
    for (key, value) in &index {
        let line: Value =
            serde_json::from_str(lines.next().expect("the scan ended early")).unwrap();
        assert_eq!(line["key"], **key);
        assert!(line["value"].as_str().unwrap().as_bytes() == value, "{key} was scanned different");
    }
    assert_eq!(lines.next(), None, "the scan went on behind the last key");

    statistics_tell_the_truth(&before, &server.stats(), &index);

    // SIGTERM ends well, and the files are sound.
    assert_eq!(server.terminate().code(), Some(0));
    let report = on_directory(&data, &["verify", "--json"]).ok().json();
    assert_eq!(report["damage"], json!([]));
    assert!(report["entries"].as_u64().unwrap() >= index.len() as u64, "{report}");
    let said = on_directory(&data, &["get", all[0].0, "--raw"]).ok();
    assert!(said.out.as_bytes() == all[0].1);
}

/// `before` was taken after compaction, `after` when every key and a thousand
/// absent ones had been read, and everything had been scanned.
fn statistics_tell_the_truth(before: &Value, after: &Value, index: &Index) {
    let keyspace = default_keyspace(before);
    let levels = &keyspace["levels"];
    let keys = index.len() as u64;
    assert_eq!(keyspace["memtable_entries"], 0, "compaction begins with the MemTables");
    assert_eq!(keyspace["table_entries"], keys, "one version of every key is left");
    assert_eq!(sum(levels, "entries"), keys);
    assert_eq!(sum(levels, "tombstones"), 0);
    assert_eq!(sum(levels, "bytes"), keyspace["table_bytes"].as_u64().unwrap());
    assert!(sum(levels, "tables") > 0);
    let with_tables = levels.as_array().unwrap().iter().filter(|l| l["tables"] != 0).count();
    assert_eq!(with_tables, 1, "all tables are on the last level: {levels}");

    let counted = |path: &str| {
        let at = |stats: &Value| {
            stats.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path}"))
        };
        at(after) - at(before)
    };
    assert!(counted("/operations/gets") >= keys + 1000);
    assert!(counted("/operations/gets_found") >= keys);
    assert!(counted("/operations/scans") >= 1);

    // Every absent key lies within the range of some table, so its filter was asked.
    let (negatives, false_positives) =
        (counted("/filter/negatives"), counted("/filter/false_positives"));
    assert!(counted("/filter/true_positives") > 0);
    assert!(negatives + false_positives >= 990, "{negatives} + {false_positives}");
    let rate = |name: &str| after["filter"][name].as_f64().unwrap();
    let measured = rate("measured_false_positive_rate");
    let theoretical = rate("theoretical_false_positive_rate");
    assert!(theoretical > 0.0 && theoretical < 0.05, "{theoretical}");
    assert!(measured <= theoretical * 3.0 + 0.01, "measured {measured}, promised {theoretical}");
    assert!(rate("bits_per_key") >= 4.0);

    for cache in ["row_cache", "block_cache"] {
        let cache = &after[cache];
        let (hits, misses) = (cache["hits"].as_f64().unwrap(), cache["misses"].as_f64().unwrap());
        assert!(hits + misses > 0.0, "{cache}");
        assert!(
            (cache["hit_ratio"].as_f64().unwrap() - hits / (hits + misses)).abs() < 1e-6,
            "{cache}"
        );
        let used = cache["used_bytes"].as_u64().unwrap();
        assert!(used <= cache["capacity_bytes"].as_u64().unwrap(), "{cache}");
    }
    let memory = &after["memory"];
    assert_eq!(memory["budget_bytes"], 64 << 20);
    assert!(memory["used_bytes"].as_u64() <= memory["budget_bytes"].as_u64(), "{memory}");
}
