//! A dump is one moment of all keyspaces, and a load of it gives the same database:
//! keys, values, expiries, keyspaces. Every verb tells the same of a record.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

mod support;
#[path = "../../vfs/tests/house/patience.rs"]
mod patience;

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use support::{Said, Server, on_directory, tanada, with_input};

/// What a dump says of one record, but for its version.
type Contents = BTreeMap<(String, String), (String, Option<String>)>;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// Records by keyspace and key, and the keyspaces.
fn contents(dump: &str) -> (Contents, BTreeSet<String>) {
    let (mut contents, mut keyspaces) = (Contents::new(), BTreeSet::new());
    for line in lines(dump) {
        let text = |name: &str| line[name].as_str().map(str::to_owned);
        let keyspace = text("keyspace").unwrap_or_else(|| "default".into());
        keyspaces.insert(keyspace.clone());
        let Some(key) = text("key").or_else(|| text("key64")) else { continue };
        let value = text("value").unwrap() + &text("encoding").unwrap_or_default();
        let before = contents.insert((keyspace, key), (value, text("expires_at")));
        assert_eq!(before, None, "a key comes once: {line}");
    }
    (contents, keyspaces)
}

/// Runs `tanada ARGS --url URL` with this standard input.
fn to_server(server: &Server, args: &[&str], input: &[u8]) -> Said {
    let mut child = tanada()
        .args(args)
        .args(["--url", &server.url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().unwrap().into()
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

fn answer(method: &str, url: &str, body: &Value) -> (u16, Value) {
    let request = ureq::http::Request::builder().method(method).uri(url);
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut response = agent().run(request.body(body).unwrap()).unwrap();
    let status = response.status().as_u16();
    let body = response.body_mut().read_to_string().unwrap();
    (status, serde_json::from_str(&body).unwrap_or_default())
}

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Some of everything: any bytes, several keyspaces, an empty one, expiries.
fn sample(data: &Path) {
    let put = |args: &[&str]| {
        on_directory(data, &[&["put"], args].concat()).ok();
    };
    put(&["--base64", "/wD+", "gAAN"]);
    put(&["棚田\n", "\u{1}\"\\,\t"]);
    put(&["empty", ""]);
    put(&["expires", "later", "--ttl", "7d"]);
    put(&["k", "in users", "--keyspace", "users"]);
    put(&["--base64", "AA==", "/w==", "--keyspace", "users", "--ttl", "36500d"]);
    put(&["k", "v", "--keyspace", "a/b \"鍵\"?&%"]);
    put(&["gone", "v", "--keyspace", "empty one"]);
    on_directory(data, &["delete", "gone", "--keyspace", "empty one"]).ok();
}

#[test]
fn a_load_of_a_dump_gives_a_database_that_compares_equal_by_directory_and_by_server() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    sample(&at("data"));
    let dump = on_directory(&at("data"), &["dump"]).ok().out;
    let (records, keyspaces) = contents(&dump);
    assert_eq!(records.len(), 7);
    assert_eq!(keyspaces.len(), 4, "{keyspaces:?}");

    // By each way out, and each way in.
    with_input(&at("directory"), &["load", "-"], dump.as_bytes()).ok();
    let again = on_directory(&at("directory"), &["dump"]).ok().out;
    assert_eq!(contents(&again), contents(&dump), "directory to directory");
    let from = Server::start(&at("data"), &[]);
    let served = from.tanada(&["dump"]).ok().out;
    assert_eq!(served, dump, "the same lines, versions too");
    let to = Server::start(&at("served"), &[]);
    to_server(&to, &["load", "-"], served.as_bytes()).ok();
    assert_eq!(contents(&to.tanada(&["dump"]).ok().out), contents(&dump), "server to server");

    // One keyspace alone.
    let users = from.tanada(&["dump", "--keyspace", "users"]).ok().out;
    let of_users = lines(&dump).into_iter().filter(|line| line["keyspace"] == "users");
    assert!(lines(&users).into_iter().eq(of_users), "{users}");
    to_server(&to, &["load", "-", "--keyspace", "other"], users.as_bytes())
        .refused(1, &["-:1", "'users'", "'other'"]);
    drop(from);
    assert_eq!(on_directory(&at("data"), &["dump", "--keyspace", "users"]).ok().out, users);
    let missing = on_directory(&at("data"), &["dump", "--keyspace", "userz"]);
    missing.refused(1, &["'userz'", "'users'"]);
}

#[test]
fn every_verb_tells_the_same_of_a_record() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    sample(&data);
    // As one: what is not said is the default.
    let whole = |mut line: Value, keyspace: &str| {
        let object = line.as_object_mut().unwrap();
        object.entry("encoding").or_insert(json!("utf8"));
        object.entry("expires_at").or_insert(Value::Null);
        object.entry("keyspace").or_insert(json!(keyspace));
        line
    };
    let fields = |line: &Value| -> BTreeSet<String> {
        line.as_object().unwrap().keys().filter(|name| *name != "key64").cloned().collect()
    };
    let wanted: BTreeSet<String> =
        ["key", "value", "encoding", "version", "expires_at", "keyspace"].map(String::from).into();
    for keyspace in ["default", "users"] {
        let space = ["--keyspace", keyspace];
        let all = |said: Said| -> Vec<Value> {
            let all = lines(&said.ok().out).into_iter();
            // The line that names the keyspace is no record.
            let records = all.filter(|line| line.get("value").is_some());
            records.map(|line| whole(line, keyspace)).collect()
        };
        let expected = all(on_directory(&data, &[&["scan"], &space[..]].concat()));
        assert!(expected.iter().any(|line| line["expires_at"].is_string()), "{expected:?}");
        assert!(expected.iter().all(|line| line["version"].is_u64()), "{expected:?}");
        for line in expected.iter().filter(|line| line.get("key").is_some()) {
            assert_eq!(fields(line), wanted);
        }
        assert_eq!(all(on_directory(&data, &[&["dump"], &space[..]].concat())), expected);
        let keys: Vec<String> = expected
            .iter()
            .map(|line| match &line["key64"] {
                Value::String(key64) => key64.clone(),
                _ => encoded(line["key"].as_str().unwrap()),
            })
            .collect();
        let get = |key: &String| -> Vec<String> {
            ["get", "--base64", "--json", key, "--keyspace", keyspace].map(String::from).into()
        };
        for (key, line) in keys.iter().zip(&expected) {
            let args = get(key);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            assert_eq!(all(on_directory(&data, &args)), std::slice::from_ref(line));
        }

        let server = Server::start(&data, &[]);
        assert_eq!(all(server.tanada(&[&["scan"], &space[..]].concat())), expected);
        assert_eq!(all(server.tanada(&[&["dump"], &space[..]].concat())), expected);
        for (key, line) in keys.iter().zip(&expected) {
            let args = get(key);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            assert_eq!(all(server.tanada(&args)), std::slice::from_ref(line));
        }
        // The requests themselves: pages, streams, gets in JSON and in bytes.
        let paths: &[&str] = match keyspace {
            "default" => &["/v1", "/v1/ks/default"],
            _ => &["/v1/ks/users"],
        };
        for path in paths {
            let url = format!("{}{path}/kv", server.url);
            let page = answer("GET", &url, &Value::Null).1;
            let items = page["items"].as_array().unwrap().iter().cloned();
            let items: Vec<Value> = items.map(|item| whole(item, keyspace)).collect();
            assert_eq!(items, expected);
            let mut stream =
                agent().get(&url).header("Accept", "application/x-ndjson").call().unwrap();
            let stream = lines(&stream.body_mut().read_to_string().unwrap());
            let stream: Vec<Value> = stream.into_iter().map(|item| whole(item, keyspace)).collect();
            assert_eq!(stream, expected);
            for (key, line) in keys.iter().zip(&expected) {
                let found = agent().get(&url).query("key64", key).call().unwrap();
                let header = |name: &str| {
                    found.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
                };
                // Behind the lineage, which no line tells.
                let etag = header("etag").expect("there is one");
                let (lineage, version) = etag.split_once('-').expect("it has two parts");
                assert_eq!(version, format!("{}\"", line["version"]));
                assert!(lineage.len() == 17 && lineage.starts_with('"'), "{etag}");
                let expires_at = line["expires_at"].as_str().map(str::to_owned);
                assert_eq!(header("tanada-expires-at"), expires_at);
            }
        }
        let url = match keyspace {
            "default" => format!("{}/get", server.url),
            _ => format!("{}/v1/ks/users/get", server.url),
        };
        for (key, line) in keys.iter().zip(&expected) {
            let (status, found) = answer("POST", &url, &json!({ "key64": key }));
            assert_eq!((status, whole(found, keyspace)), (200, line.clone()));
        }
    }
}

/// Base64 of text, as the command line takes it.
fn encoded(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn a_scan_piped_into_load_keeps_expiries_and_keyspaces() {
    let home = tempfile::tempdir().unwrap();
    let (data, copy) = (home.path().join("data"), home.path().join("copy"));
    sample(&data);
    let server = Server::start(&data, &[]);
    for keyspace in ["default", "users"] {
        let scan = server.tanada(&["scan", "--keyspace", keyspace]).ok().out;
        with_input(&copy, &["load", "-"], scan.as_bytes()).ok();
    }
    let (found, _) = contents(&on_directory(&copy, &["dump"]).ok().out);
    let (mut expected, _) = contents(&server.tanada(&["dump"]).ok().out);
    expected.retain(|(keyspace, _), _| keyspace == "default" || keyspace == "users");
    assert_eq!(found, expected);
}

#[test]
fn a_dump_beside_writers_is_one_moment_of_all_keyspaces_and_loads_equal() {
    const KEYS: usize = 40;
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(&home.path().join("data"), &[]);
    for name in ["first", "second", "short"] {
        let made = answer("POST", &format!("{}/v1/keyspaces", server.url), &json!({"name": name}));
        assert_eq!((made.0, &made.1["created"]), (201, &json!(true)));
    }
    // Enough beside it that a dump takes its time.
    let filler: String = (0..20_000)
        .map(|i| format!("{{\"key\":\"filler{i:06}\",\"value\":\"{}\"}}\n", "x".repeat(200)))
        .collect();
    to_server(&server, &["load", "-", "--durability", "memory"], filler.as_bytes()).ok();

    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let url = server.url.clone();
    let dumps: Vec<String> = std::thread::scope(|scope| {
        // All keys of a keyspace change together, `first` before `second`; what is short
        // lives for some milliseconds.
        scope.spawn(|| {
            for round in 1.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                for keyspace in ["first", "second"] {
                    let ops: Vec<Value> = (0..KEYS)
                        .map(|key| {
                            json!({"op": "put", "key": format!("k{key}"), "value": round.to_string(), "ttl": 86_400.0})
                        })
                        .collect();
                    let body = json!({"ops": ops, "durability": "memory"});
                    let url = format!("{url}/v1/ks/{keyspace}/batch");
                    assert_eq!(answer("POST", &url, &body).0, 200);
                }
                let op = json!({"op": "put", "key": format!("s{round}"), "value": "", "ttl": 0.02});
                let body = json!({"ops": [op], "durability": "memory"});
                assert_eq!(answer("POST", &format!("{url}/v1/ks/short/batch"), &body).0, 200);
                rounds.store(round, Ordering::Relaxed);
            }
        });
        let _stop = patience::SetAtEnd(&stop);
        (0..4).map(|_| server.tanada(&["dump"]).ok().out).collect()
    });
    assert!(rounds.load(Ordering::Relaxed) > 0);
    for dump in &dumps {
        let round_of = |keyspace: &str| -> Option<u64> {
            let of = lines(dump).into_iter().filter(|line| line["keyspace"] == keyspace);
            let of: Vec<Value> = of.filter(|line| line.get("value").is_some()).collect();
            let rounds: BTreeSet<&str> =
                of.iter().map(|line| line["value"].as_str().unwrap()).collect();
            assert!(rounds.len() <= 1, "{keyspace} is of several moments: {rounds:?}");
            assert!(of.is_empty() || of.len() == KEYS);
            let expiries: BTreeSet<&str> =
                of.iter().map(|line| line["expires_at"].as_str().expect("as written")).collect();
            assert!(expiries.len() <= 1, "an expiry of another write: {expiries:?}");
            rounds.first().map(|round| round.parse().unwrap())
        };
        let first = round_of("first").unwrap_or(0);
        let second = round_of("second").unwrap_or(0);
        assert!(first == second || first == second + 1, "{first} and {second}");
    }

    // What of it has not expired by now is in every copy of it.
    let dump = dumps.last().unwrap();
    let (mut expected, keyspaces) = contents(dump);
    expected.retain(|(keyspace, _), _| keyspace != "short");
    let copy = home.path().join("copy");
    with_input(&copy, &["load", "-", "--durability", "memory"], dump.as_bytes()).ok();
    let to = Server::start(&home.path().join("served"), &[]);
    to_server(&to, &["load", "-", "--durability", "memory"], dump.as_bytes()).ok();
    for copy in [on_directory(&copy, &["dump"]), to.tanada(&["dump"])] {
        let (mut found, found_keyspaces) = contents(&copy.ok().out);
        found.retain(|(keyspace, _), (_, expires_at)| {
            assert!(keyspace != "short" || expires_at.is_some(), "it must not live for ever");
            keyspace != "short"
        });
        assert_eq!(found_keyspaces, keyspaces);
        assert!(found == expected, "{} and {} records", found.len(), expected.len());
    }
}

/// 59,009 of 60,000 expiring keys were written without `expires_at` into a pipe whose
/// reader waited: each key's expiry was read once more, behind its end.
#[test]
fn what_expires_while_a_dump_is_being_read_keeps_its_expiry() {
    const KEYS: usize = 3000;
    let home = tempfile::tempdir().unwrap();
    // A machine that is too slow for one time to live tries a longer one.
    for (i, seconds) in [2.0f64, 10.0, 60.0].into_iter().enumerate() {
        let data = home.path().join(i.to_string());
        let end_ms = wall_ms() + (seconds * 1e3) as u64;
        let rows: String = (0..KEYS)
            .map(|key| {
                let value = "v".repeat(200);
                format!("{{\"key\":\"k{key:05}\",\"value\":\"{value}\",\"ttl\":{seconds}}}\n")
            })
            .collect();
        with_input(&data, &["load", "-"], rows.as_bytes()).ok();
        for url in [false, true] {
            let server = url.then(|| Server::start(&data, &[]));
            let mut command = tanada();
            command.arg("dump").stdout(Stdio::piped());
            match &server {
                Some(server) => command.args(["--url", &server.url]),
                None => command.arg("--data").arg(&data),
            };
            let mut child = command.spawn().unwrap();
            let mut out = BufReader::with_capacity(1, child.stdout.take().unwrap());
            let mut first = String::new();
            out.read_line(&mut first).unwrap();
            if first.is_empty() || wall_ms() > end_ms {
                child.wait().unwrap();
                continue; // expired before it began
            }
            // Over a megabyte does not fit into the pipe: the dump waits for us.
            if !url {
                while wall_ms() <= end_ms + 1000 {
                    std::thread::yield_now();
                }
            }
            let mut rest = String::new();
            out.read_to_string(&mut rest).unwrap();
            assert!(child.wait().unwrap().success());
            let all = lines(&(first + &rest));
            assert_eq!(all.len(), KEYS);
            assert!(all.iter().all(|line| line["expires_at"].is_string()));
            if !url {
                return;
            }
        }
    }
    panic!("no dump began within a minute of the load");
}

#[test]
fn a_key_that_would_expire_behind_the_year_9999_is_refused_at_every_entrance() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let server = Server::start(&data, &[]);
    // 9,000 years: less than the largest number, and too late all the same.
    let years = 9000.0 * 365.25 * 86_400.0;
    let (days, late) = (format!("{}d", 9000 * 366), "10000-01-01T00:00:00Z");
    let word = "9999-12-31";
    server.tanada(&["put", "k", "v", "--ttl", &days]).refused(1, &[word]);
    on_directory(&home.path().join("other"), &["put", "k", "v", "--ttl", &days])
        .refused(1, &[word]);
    let refused = |method: &str, path: &str, body: Value| {
        let (status, problem) = answer(method, &format!("{}{path}", server.url), &body);
        assert_eq!(status, 400, "{path}: {problem}");
        assert_eq!(problem["type"], "urn:tanada:problem:invalid-parameter", "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("9999"), "{problem}");
    };
    for ttl in [years, 1e12, 1e300] {
        refused("POST", "/put", json!({"key": "k", "value": "v", "ttl": ttl}));
        refused("POST", &format!("/put?key=k&value=v&ttl={ttl}"), Value::Null);
        refused("PUT", &format!("/v1/kv/k?ttl={ttl}"), Value::Null);
        refused("PUT", &format!("/v1/ks/default/kv/k?ttl={ttl}"), Value::Null);
        let op = json!({"op": "put", "key": "k", "value": "v", "ttl": ttl});
        refused("POST", "/v1/batch", json!({ "ops": [op] }));
    }
    refused("PUT", &format!("/v1/kv/k?expires_at={late}"), Value::Null);
    refused("POST", "/put", json!({"key": "k", "value": "v", "expires_at": late}));
    let inputs = [
        ("ndjson", format!("{{\"key\":\"k\",\"value\":\"v\",\"ttl\":{years}}}\n"), "-:1", word),
        ("csv", format!("key,value,ttl\nk,v,{years}\n"), "-:2", word),
        ("csv", format!("key,value,expires_at\nk,v,{late}\n"), "-:2", "time"),
        (
            "ndjson",
            format!("{{\"key\":\"k\",\"value\":\"v\",\"expires_at\":\"{late}\"}}\n"),
            "-:1",
            "time",
        ),
    ];
    for (format, input, line, word) in inputs {
        let args = ["load", "-", "--format", format];
        to_server(&server, &args, input.as_bytes()).refused(1, &[line, word]);
        with_input(&home.path().join("other"), &args, input.as_bytes()).refused(1, &[line, word]);
    }
    assert_eq!(server.tanada(&["scan"]).ok().out, "");

    // The last moment there is goes in, out, and in again.
    let last = "9999-12-31T23:59:59.999Z";
    let put = answer("PUT", &format!("{}/v1/kv/k?expires_at={last}", server.url), &Value::Null);
    assert_eq!(put.0, 200);
    let dump = server.tanada(&["dump"]).ok().out;
    assert!(dump.contains(last), "{dump}");
    with_input(&home.path().join("copy"), &["load", "-"], dump.as_bytes()).ok();
    let copy = on_directory(&home.path().join("copy"), &["dump"]).ok().out;
    assert_eq!(contents(&copy), contents(&dump));
}

#[test]
fn a_table_that_is_not_understood_to_its_last_cell_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let cases: [(&[&str], &str, &[&str]); 9] = [
        (&[], "a,1\nb,2\n", &["-:1", "'a'", "--no-header"]),
        (&[], "id,name\n1,Ann\n", &["-:1", "'id'", "--key-column"]),
        (&[], "key,value,note\na,1,x\n", &["-:1", "'note'", "--ignore-column"]),
        (&["--no-header"], "hamlet,to be, or not\n", &["-:1", "3 cells"]),
        (&["--no-header"], "a,\"1\n", &["-:1", "never closed"]),
        (&["--key-column", "id"], "id,value,rest\n1,2,3\n", &["-:1", "'rest'"]),
        (&["--ignore-column", "rest"], "key,value\n1,2\n", &["-:1", "'rest'"]),
        (&["--format", "ndjson", "--no-header"], "{}", &["--no-header"]),
        (&["--no-header", "--key-column", "id"], "1,2\n", &["--key-column"]),
    ];
    for (options, input, words) in cases {
        let mut args = vec!["load", "-"];
        if !options.contains(&"--format") {
            args.extend(["--format", "csv"]);
        }
        args.extend(options);
        let said = with_input(&data, &args, input.as_bytes());
        let code = said.code.unwrap();
        assert_ne!(code, 0);
        said.refused(code, words);
        if data.exists() {
            assert_eq!(on_directory(&data, &["scan"]).ok().out, "", "{args:?}");
        }
    }
    let args = ["load", "-", "--format", "csv", "--key-column", "id", "--value-column", "name"];
    let args = [&args[..], &["--ignore-column", "note"]].concat();
    with_input(&data, &args, b"note,id,name\nx,7,Ann\n").ok();
    assert_eq!(on_directory(&data, &["get", "7"]).ok().out, "Ann\n");
    let table = b"key,value,keyspace,expires_at\na,1,users,2100-01-01T00:00:00Z\nb,2,,\n";
    with_input(&data, &["load", "-", "--format", "csv"], table).ok();
    let users = on_directory(&data, &["get", "a", "--keyspace", "users", "--json"]).ok().json();
    assert_eq!(users["expires_at"], "2100-01-01T00:00:00.000Z");
    assert_eq!(on_directory(&data, &["get", "b"]).ok().out, "2\n");
}

#[test]
fn compressed_input_is_told_by_its_first_bytes() {
    let home = tempfile::tempdir().unwrap();
    let text: String = (0..5000).map(|i| format!("k{i:05}\tvalue {i}\n")).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
    for (i, bytes) in [gzip.finish().unwrap(), zstd].into_iter().enumerate() {
        let data = home.path().join(i.to_string());
        let args = ["load", "-", "--format", "tsv", "--no-header", "--json"];
        assert_eq!(with_input(&data, &args, &bytes).ok().json()["loaded"], 5000);
        assert_eq!(on_directory(&data, &["get", "k04999"]).ok().out, "value 4999\n");
        // Cut off in the middle it is an error, not a shorter file.
        let cut = with_input(&data, &args, &bytes[..bytes.len() / 2]);
        cut.refused(1, &["cannot read on"]);
        let file = home.path().join(format!("{i}.tsv.gz"));
        std::fs::write(&file, &bytes).unwrap();
        on_directory(&data, &["load", file.to_str().unwrap(), "--no-header"]).ok();
    }
}

/// The error named what no option of the verb could give.
#[test]
fn a_value_that_needs_a_larger_budget_names_the_option_that_gives_it() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let server = Server::start(&at("data"), &["--memory", "512MiB"]);
    let value = at("value");
    std::fs::write(&value, "v".repeat(4 << 20)).unwrap();
    let said: Said = tanada()
        .args(["put", "large", "--url", &server.url])
        .stdin(std::fs::File::open(&value).unwrap())
        .output()
        .unwrap()
        .into();
    said.ok();
    let dump = server.tanada(&["dump"]).ok().out;
    let small = ["load", "-", "--memory", "16MiB"];
    let said = with_input(&at("copy"), &small, dump.as_bytes()).refused(1, &["say --memory"]);
    let named = said.err.split("--memory ").nth(1).unwrap().split(' ').next().unwrap();
    with_input(&at("copy"), &["load", "-", "--memory", named], dump.as_bytes()).ok();
    let copy = on_directory(&at("copy"), &["dump", "--memory", "64MiB"]).ok().out;
    assert!(contents(&copy) == contents(&dump));
    let both = ["get", "k", "--memory", "64MiB", "--url", &server.url];
    Said::from(Command::new(env!("CARGO_BIN_EXE_tanada")).args(both).output().unwrap())
        .refused(2, &["--memory"]);
}
