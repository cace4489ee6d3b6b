//! Every argument and every flag of every verb does what it says: not only that it is taken.
//!
//! One table: verb, option, effect, and a check of that effect. It is complete by
//! construction: `--help` of each verb is read, and an option without a row fails, and so
//! does a row that no verb offers any more.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // real files and processes

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use support::{Said, Server, on_directory, run, skip, with_input};

struct Row {
    verb: &'static str,
    options: &'static [&'static str],
    /// What a user sees of it.
    effect: &'static str,
    check: fn(&str),
}

const fn row(
    verb: &'static str,
    options: &'static [&'static str],
    effect: &'static str,
    check: fn(&str),
) -> Row {
    Row { verb, options, effect, check }
}

const DATA: &str = "that directory is worked on, and no other";
const URL: &str = "that server is worked on";
const MEMORY: &str = "that is the budget: too little of it is refused";
const KEYSPACE: &str = "keys of that keyspace alone";
const JSON: &str = "JSON on a terminal too";
const BASE64: &str = "keys are what the base64 says";
const DURABILITY: &str = "a server syncs for it, or does not, whatever it does otherwise";
const KEY: &str = "that key is meant, and no other";

const ROWS: &[Row] = &[
    row("serve", &["--data"], DATA, serve_data),
    row("serve", &["--http"], "it listens there", serve_http),
    row("serve", &["--checkpoint-dir"], "checkpoints are made there", serve_checkpoints),
    row("serve", &["--memory"], "that is the budget in the statistics", serve_memory),
    row("serve", &["--durability"], "writes that do not say are synced, or not", serve_durability),
    row("put", &["<KEY>", "[VALUE]"], KEY, put_key_value),
    row("put", &["--base64"], BASE64, put_base64),
    row("put", &["--ttl"], "it expires that much later", put_ttl),
    row("put", &["--if-absent"], "a key that is there stays as it is", put_if_absent),
    row("put", &["--if-version"], "a key of another version stays as it is", put_if_version),
    row("put", &["--durability"], DURABILITY, durability),
    row("get", &["<KEY>"], KEY, get_key),
    row("get", &["--base64"], BASE64, get_base64),
    row("get", &["--explain"], "the tiers that were asked", get_explain),
    row("get", &["--raw"], "the bytes and nothing else", get_raw),
    row("delete", &["<KEY>"], KEY, delete_key),
    row("delete", &["--base64"], BASE64, delete_base64),
    row("delete", &["--if-version"], "a key of another version stays there", delete_if_version),
    row("delete", &["--durability"], DURABILITY, durability),
    row("scan", &["--prefix"], "keys that begin so", scan_prefix),
    row("scan", &["--start"], "keys from there on", scan_start),
    row("scan", &["--end"], "keys before that", scan_end),
    row("scan", &["--limit"], "so many", scan_limit),
    row("scan", &["--reverse"], "from the last", scan_reverse),
    row("scan", &["--keys-only"], "no values", scan_keys_only),
    row("scan", &["--base64"], "bounds are what the base64 says", scan_base64),
    row("load", &["<FILE>"], "its records are there", load_file),
    row("load", &["--format"], "it is read as that", load_format),
    row("load", &["--no-header"], "the first line is a record", load_no_header),
    row(
        "load",
        &["--key-column", "--value-column", "--ignore-column"],
        "columns by these names",
        load_columns,
    ),
    row("load", &["--durability"], DURABILITY, load_durability),
    row("compact", &["--start"], "what lies before stays", compact_start),
    row("compact", &["--end"], "what lies behind stays", compact_end),
    row("compact", &["--base64"], "bounds are what the base64 says", compact_base64),
    row("checkpoint create", &["<DIR>"], "a database is there", checkpoint_dir),
    row("checkpoint list", &["--url"], "those of that server", checkpoint_list),
    row("checkpoint delete", &["<NAME>", "--url"], "that one is gone", checkpoint_delete),
    row("clock", &["--trust"], "the latest time is noted", clock_trust),
    row("repair", &["<SOURCE>", "<TARGET>"], "what was there is here", repair),
];

/// An option, its effect, and the check of it for a verb.
type Shared = (&'static str, &'static str, fn(&str));

/// What all verbs that work on a database have, each checked by its own output.
const SHARED: &[Shared] = &[
    ("--data", DATA, data),
    ("--url", URL, url),
    ("--memory", MEMORY, memory),
    ("--keyspace", KEYSPACE, keyspace),
    ("--json", JSON, json),
];

/// Whether a word of the help is a flag: not one that a sentence names, with a comma behind.
fn is_flag(word: &str) -> bool {
    word.strip_prefix("--")
        .is_some_and(|name| name.chars().all(|c| c.is_alphanumeric() || c == '-'))
}

/// Options that a verb's `--help` names: `verb option`.
fn offered(verb: &str, found: &mut BTreeSet<String>) {
    let words: Vec<&str> = verb.split(' ').filter(|word| !word.is_empty()).collect();
    let help = run(&[&words[..], &["--help"]].concat()).ok().out;
    let mut section = "";
    for line in help.lines() {
        if line.is_empty() {
            continue;
        }
        if !line.starts_with(' ') {
            section = line.trim();
            continue;
        }
        let first = line.split_whitespace().next().unwrap_or_default();
        match section {
            "Commands:" if !line.starts_with("   ") && first != "help" => {
                offered(format!("{verb} {first}").trim(), found);
            }
            "Arguments:" if first.starts_with(['<', '[']) && line.starts_with("  ") => {
                let is_name =
                    first.trim_matches(['<', '>', '[', ']']).chars().all(char::is_uppercase);
                if is_name && first.ends_with(['>', ']']) {
                    found.insert(format!("{verb} {first}"));
                }
            }
            "Options:" | "Database:" if is_flag(first) => {
                found.insert(format!("{verb} {first}"));
            }
            _ => {}
        }
    }
}

#[test]
fn every_option_of_every_verb_has_a_row_and_every_row_an_option() {
    let mut offers = BTreeSet::new();
    offered("", &mut offers);
    assert!(offers.len() > 60, "the help is not understood: {offers:?}");
    let mut rows: BTreeSet<String> = ROWS
        .iter()
        .flat_map(|row| row.options.iter().map(move |option| format!("{} {option}", row.verb)))
        .collect();
    for offer in &offers {
        let option = offer.rsplit(' ').next().unwrap();
        if !rows.contains(offer) && SHARED.iter().any(|(shared, ..)| *shared == option) {
            rows.insert(offer.clone());
        }
    }
    let without: Vec<_> = offers.difference(&rows).collect();
    assert!(without.is_empty(), "options without a row: {without:#?}");
    let gone: Vec<_> = rows.difference(&offers).collect();
    assert!(gone.is_empty(), "rows of options that are not offered: {gone:#?}");
}

#[test]
fn every_option_of_every_verb_does_what_its_row_says() {
    for row in ROWS {
        let _naming = Naming(format!("{} {:?}: {}", row.verb, row.options, row.effect));
        (row.check)(row.verb);
    }
}

#[test]
fn every_option_that_verbs_share_does_what_its_row_says_in_each() {
    let mut offers = BTreeSet::new();
    offered("", &mut offers);
    for (option, effect, check) in SHARED {
        for offer in offers.iter().filter(|offer| offer.ends_with(&format!(" {option}"))) {
            let verb = offer.rsplit_once(' ').unwrap().0;
            if ROWS.iter().any(|row| row.verb == verb && row.options.contains(option)) {
                continue;
            }
            let _naming = Naming(format!("{offer}: {effect}"));
            check(verb);
        }
    }
}

/// Names the row when a panic drops it.
struct Naming(String);

impl Drop for Naming {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

/// A database of its own with `k` = `value`, `z` = `last` and, in the keyspace `side`,
/// `k` = `aside`.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Home {
        let home = Home { dir: tempfile::tempdir().unwrap() };
        let lines = "{\"key\":\"k\",\"value\":\"value\"}\n{\"key\":\"z\",\"value\":\"last\"}\n\
                     {\"key\":\"k\",\"value\":\"aside\",\"keyspace\":\"side\"}\n";
        with_input(&home.data(), &["load", "-"], lines.as_bytes()).ok();
        home
    }

    fn empty() -> Home {
        Home { dir: tempfile::tempdir().unwrap() }
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Said {
        on_directory(&self.data(), args)
    }

    fn get(&self, key: &str) -> Option<String> {
        let said = self.run(&["get", key, "--raw"]);
        (said.code == Some(0)).then_some(said.out)
    }

    fn keys(&self, args: &[&str]) -> Vec<String> {
        let said = self.run(&[&["scan", "--keys-only"], args].concat()).ok();
        let key = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["key"].as_str().unwrap().to_owned()
        };
        said.out.lines().map(key).collect()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Arguments with which a verb succeeds on a [`Home`].
fn usual<'a>(verb: &'a str, home: &'a Home, file: &'a str) -> Vec<&'a str> {
    let mut args: Vec<&str> = verb.split(' ').collect();
    match verb {
        "put" => args.extend(["new", "made"]),
        "get" | "delete" => args.push("k"),
        "load" => args.push(file),
        "checkpoint create" => args.push(file),
        "repair" => panic!("it has no database to be told of: {:?}", home.dir),
        _ => {}
    }
    args
}

/// A file to load, or the name of a checkpoint to make.
fn file_for(verb: &str, home: &Home) -> String {
    match verb {
        "load" => {
            let file = home.path("more.ndjson");
            std::fs::write(&file, "{\"key\":\"new\",\"value\":\"made\"}\n").unwrap();
            text(&file).to_owned()
        }
        _ => text(&home.path("copy")).to_owned(),
    }
}

/// Whether a verb's effect or answer shows the contents of a [`Home`].
fn worked(verb: &str, home: &Home, said: &Said, ask: impl Fn(&[&str]) -> Said) {
    match verb {
        "put" | "load" => assert_eq!(ask(&["get", "new", "--raw"]).ok().out, "made"),
        "get" => assert_eq!(said.out, "value\n"),
        "delete" => drop(ask(&["get", "k"]).refused(1, &["no key"])),
        "scan" => assert_eq!(said.out.lines().count(), 2),
        "dump" => assert!(said.out.contains("aside"), "{said:?}"),
        "stats" => assert_eq!(said.json()["seqno"], 3),
        "compact" => assert!(said.json()["tables_after"].as_u64().unwrap() >= 1, "{said:?}"),
        "verify" => assert_eq!(said.json()["damage"], serde_json::json!([])),
        "clock" => assert_eq!(said.json()["state"], "believed"),
        "checkpoint create" => assert_eq!(said.json()["seqno"], 3),
        other => panic!("{other} has no check in {:?}", home.dir),
    }
}

fn data(verb: &str) {
    let (home, other) = (Home::new(), Home::empty());
    let file = file_for(verb, &home);
    let args = usual(verb, &home, &file);
    let said = home.run(&args).ok();
    worked(verb, &home, &said, |args| home.run(args));
    assert!(!other.data().exists(), "nothing happens elsewhere");
}

fn url(verb: &str) {
    let home = Home::new();
    let server = Server::start(&home.data(), &["--checkpoint-dir", text(home.dir.path())]);
    let file = match verb {
        "checkpoint create" => "copy".to_owned(),
        _ => file_for(verb, &home),
    };
    let said = server.tanada(&usual(verb, &home, &file)).ok();
    worked(verb, &home, &said, |args| server.tanada(args));
}

fn memory(verb: &str) {
    let home = Home::new();
    let file = file_for(verb, &home);
    let args = usual(verb, &home, &file);
    home.run(&[&args[..], &["--memory", "1MiB"]].concat()).refused(1, &["1048576", "16 MiB"]);
    let said = home.run(&[&args[..], &["--memory", "64MiB"]].concat()).ok();
    if verb == "stats" {
        assert_eq!(said.json()["memory"]["budget_bytes"], 64 << 20);
    }
}

fn keyspace(verb: &str) {
    let home = Home::new();
    let file = file_for(verb, &home);
    let args = usual(verb, &home, &file);
    let said = home.run(&[&args[..], &["--keyspace", "side"]].concat()).ok();
    let side = |key: &str| home.run(&["get", key, "--raw", "--keyspace", "side"]);
    match verb {
        "put" | "load" => {
            assert_eq!(side("new").ok().out, "made");
            assert_eq!(home.get("new"), None);
        }
        "get" => assert_eq!(said.out, "aside\n"),
        "delete" => {
            side("k").refused(1, &["no key"]);
            assert_eq!(home.get("k").as_deref(), Some("value"));
        }
        "scan" | "dump" => {
            assert!(said.out.contains("aside") && !said.out.contains("last"), "{said:?}");
        }
        "compact" => {
            let again = ["put", "k", "newer", "--keyspace", "side"];
            home.run(&again).ok();
            let dropped = |args: &[&str]| {
                let said = home.run(&[&["compact"], args].concat()).ok().json();
                said["entries_dropped"].as_u64().unwrap()
            };
            assert_eq!(dropped(&[]), 0, "nothing was overwritten in the default one");
            assert_eq!(dropped(&["--keyspace", "side"]), 1);
        }
        other => panic!("{other} has no check"),
    }
}

/// What a command says on a terminal; `None` where there can be none.
fn on_a_terminal(command: &str) -> Option<String> {
    let output = std::process::Command::new("script")
        .args(["-q", "-e", "-c", command, "/dev/null"])
        .env("NO_COLOR", "1")
        .output();
    match output {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(_) => {
            skip("no script(1) here, so no terminal");
            None
        }
    }
}

fn json(verb: &str) {
    for asked in [true, false] {
        let home = Home::new();
        let file = file_for(verb, &home);
        let server = (verb == "checkpoint list")
            .then(|| Server::start(&home.data(), &["--checkpoint-dir", text(home.dir.path())]));
        let (args, place) = match (&server, verb) {
            (Some(server), _) => (vec!["checkpoint", "list"], format!("--url {}", server.url)),
            (None, "repair") => (vec!["repair", "data", "saved"], String::new()),
            (None, _) => (usual(verb, &home, &file), "--data data".to_owned()),
        };
        let flag = if asked { "--json" } else { "" };
        let program = env!("CARGO_BIN_EXE_tanada");
        let command =
            format!("cd {} && {program} {} {place} {flag}", text(home.dir.path()), args.join(" "));
        let Some(said) = on_a_terminal(&command) else { return };
        let is_json = said.lines().rev().find(|line| !line.trim().is_empty()).is_some_and(|line| {
            // Behind a bar of progress, which is wiped.
            let object = line.find('{').map_or("", |at| line[at..].trim());
            serde_json::from_str::<Value>(object).is_ok_and(|value| value.is_object())
        });
        assert_eq!(is_json, asked, "{command}: {said}");
    }
}

fn serve_data(_: &str) {
    let home = Home::new();
    let server = Server::start(&home.data(), &[]);
    assert_eq!(server.tanada(&["get", "k", "--raw"]).ok().out, "value");
}

fn serve_http(_: &str) {
    let home = Home::new();
    // The support asks for a free port of this address, and reads which.
    let server = Server::start(&home.data(), &[]);
    let port: u16 = server.url.rsplit(':').next().unwrap().parse().unwrap();
    assert!(port != 7878 && std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let taken = Home::new();
    let address = format!("127.0.0.1:{port}");
    taken.run(&["serve", "--http", &address]).refused(1, &["in use", &address]);
}

fn serve_checkpoints(_: &str) {
    let home = Home::new();
    let server = Server::start(&home.data(), &["--checkpoint-dir", text(home.dir.path())]);
    server.tanada(&["checkpoint", "create", "monday"]).ok();
    assert!(home.path("monday").is_dir());
}

fn serve_memory(_: &str) {
    let home = Home::new();
    let server = Server::start(&home.data(), &["--memory", "48MiB"]);
    assert_eq!(server.stats()["memory"]["budget_bytes"], 48 << 20);
}

/// Syncs of the log that a server does for a command.
fn syncs(server: &Server, args: &[&str]) -> u64 {
    let count = || server.stats()["wal"]["syncs"].as_u64().unwrap();
    let before = count();
    server.tanada(args).ok();
    count() - before
}

fn serve_durability(_: &str) {
    let home = Home::new();
    for (level, expected) in [("synced", 1), ("buffered", 0), ("memory", 0)] {
        let server = Server::start(&home.data(), &["--durability", level]);
        assert_eq!(server.stats()["durability"], level);
        assert_eq!(syncs(&server, &["put", "k", level]), expected, "{level}");
    }
}

fn durability(verb: &str) {
    for (usual, asked, expected) in
        [("memory", "synced", 1), ("synced", "memory", 0), ("synced", "buffered", 0)]
    {
        let home = Home::new();
        let server = Server::start(&home.data(), &["--durability", usual]);
        let value: &[&str] = if verb == "put" { &["v"] } else { &[] };
        let args = [&[verb, "k"], value, &["--durability", asked]].concat();
        assert_eq!(syncs(&server, &args), expected, "{asked} instead of {usual}");
    }
}

/// Runs the command line on one database, in either way.
type Ask<'h> = dyn Fn(&[&str]) -> Said + 'h;

/// Checks a fresh [`Home`] by its directory, and another by a server.
fn by_each_way(check: fn(&Ask<'_>)) {
    let home = Home::new();
    check(&|args: &[&str]| home.run(args));
    let home = Home::new();
    let server = Server::start(&home.data(), &[]);
    check(&|args: &[&str]| server.tanada(args));
}

/// The version of a key, as a user learns it.
fn version(ask: &Ask<'_>, key: &str) -> String {
    ask(&["get", key, "--json"]).ok().json()["version"].as_u64().unwrap().to_string()
}

fn put_if_absent(_: &str) {
    by_each_way(|ask| {
        let raw = |args: &[&str]| ask(&[&["get", "--raw"], args].concat()).ok().out;
        let found = format!("the key 'k' has version {}", version(ask, "k"));
        ask(&["put", "k", "late", "--if-absent"])
            .refused(3, &[&found, "--if-absent", "nothing was changed", "read it again"]);
        assert_eq!(raw(&["k"]), "value");
        ask(&["put", "new", "first", "--if-absent"]).ok();
        ask(&["put", "new", "second", "--if-absent"]).refused(3, &["'new'"]);
        assert_eq!(raw(&["new"]), "first");
        ask(&["delete", "new"]).ok();
        ask(&["put", "new", "third", "--if-absent"]).ok();
        assert_eq!(raw(&["new"]), "third");

        // Of that keyspace alone; one that is not there is created.
        let side = ["--keyspace", "side"];
        ask(&[&["put", "k", "late", "--if-absent"], &side[..]].concat()).refused(3, &["'k'"]);
        assert_eq!(raw(&[&["k"], &side[..]].concat()), "aside");
        ask(&[&["put", "z", "early", "--if-absent"], &side[..]].concat()).ok();
        assert_eq!(raw(&[&["z"], &side[..]].concat()), "early");
        assert_eq!(raw(&["z"]), "last");
        ask(&["put", "k", "made", "--if-absent", "--keyspace", "fresh"]).ok();
        assert_eq!(raw(&["k", "--keyspace", "fresh"]), "made");

        // What the other flags say goes with it.
        let all = ["put", "--base64", "/wA=", "gAAN", "--if-absent", "--ttl", "2h"];
        ask(&[&all[..], &["--durability", "memory"]].concat()).ok();
        let record = ask(&["get", "--base64", "/wA=", "--json"]).ok().json();
        assert_eq!((&record["value"], &record["encoding"]), (&"gAAN".into(), &"base64".into()));
        assert!(record["expires_at"].is_string(), "{record}");
    });
}

fn put_if_version(_: &str) {
    by_each_way(|ask| {
        let (seen, other) = (version(ask, "k"), version(ask, "z"));
        let value = || ask(&["get", "k", "--raw"]).ok().out;
        let found = format!("the key 'k' has version {seen}");
        let wanted = format!("--if-version wants version {other}");
        ask(&["put", "k", "late", "--if-version", &other])
            .refused(3, &[&found, &wanted, "nothing was changed", "read it again"]);
        assert_eq!(value(), "value");
        let said = ask(&["put", "k", "newer", "--if-version", &seen]).ok();
        let made = version(ask, "k");
        assert_eq!(said.json()["seq"].to_string(), made, "a put answers the version it made");
        ask(&["put", "k", "late", "--if-version", &seen])
            .refused(3, &[&format!("has version {made}")]);
        assert_eq!(value(), "newer");
        ask(&["put", "absent", "late", "--if-version", &seen]).refused(3, &["'absent' is absent"]);
        ask(&["get", "absent"]).refused(1, &["no key"]);

        // Of that keyspace alone; one that is not there is not created.
        let side = ["--keyspace", "side"];
        ask(&[&["put", "k", "late", "--if-version", &made], &side[..]].concat())
            .refused(3, &["'k'"]);
        let aside = ask(&[&["get", "k", "--json"], &side[..]].concat()).ok().json();
        assert_eq!(aside["value"], "aside");
        let seen = aside["version"].to_string();
        ask(&[&["put", "k", "newer", "--if-version", &seen], &side[..]].concat()).ok();
        ask(&["put", "k", "v", "--if-version", "1", "--keyspace", "fresh"]).refused(1, &["fresh"]);
        ask(&["scan", "--keyspace", "fresh"]).refused(1, &["fresh"]);
    });
}

fn delete_if_version(_: &str) {
    by_each_way(|ask| {
        let (seen, other) = (version(ask, "k"), version(ask, "z"));
        let found = format!("the key 'k' has version {seen}");
        let wanted = format!("--if-version wants version {other}");
        ask(&["delete", "k", "--if-version", &other])
            .refused(3, &[&found, &wanted, "nothing was changed", "read it again"]);
        assert_eq!(version(ask, "k"), seen);
        ask(&["delete", "k", "--if-version", &seen, "--keyspace", "side"]).refused(3, &["'k'"]);
        ask(&["delete", "k", "--if-version", &seen, "--durability", "memory"]).ok();
        ask(&["get", "k"]).refused(1, &["no key"]);
        ask(&["delete", "k", "--if-version", &seen]).refused(3, &["'k' is absent"]);
        assert_eq!(ask(&["get", "k", "--raw", "--keyspace", "side"]).ok().out, "aside");
        ask(&["delete", "--base64", "eg==", "--if-version", &other]).ok();
        ask(&["get", "z"]).refused(1, &["no key"]);
    });
}

fn load_durability(_: &str) {
    let home = Home::new();
    let file = home.path("many.ndjson");
    let lines = (0..3_000).map(|n| format!("{{\"key\":\"{n}\",\"value\":\"v\"}}\n"));
    std::fs::write(&file, lines.collect::<String>()).unwrap();
    for (usual, asked, expected) in [("memory", "synced", 3), ("synced", "memory", 0)] {
        let server = Server::start(&home.data(), &["--durability", usual]);
        let args = ["load", text(&file), "--durability", asked];
        let count = syncs(&server, &args);
        match expected {
            0 => assert!(count <= 1, "{count} syncs, each batch with one"),
            least => assert!(count >= least, "{count} syncs of {least} batches"),
        }
    }
}

fn put_key_value(_: &str) {
    let home = Home::new();
    home.run(&["put", "k", "another"]).ok();
    assert_eq!(home.get("k").as_deref(), Some("another"));
    with_input(&home.data(), &["put", "n"], b"from standard input").ok();
    assert_eq!(home.get("n").as_deref(), Some("from standard input"));
    assert_eq!(home.keys(&[]), ["k", "n", "z"]);
}

fn put_base64(_: &str) {
    let home = Home::new();
    home.run(&["put", "--base64", "YQ==", "YmM="]).ok();
    assert_eq!(home.get("a").as_deref(), Some("bc"));
}

fn put_ttl(_: &str) {
    let home = Home::new();
    home.run(&["put", "k", "v", "--ttl", "2h"]).ok();
    let record = home.run(&["get", "k", "--json"]).ok().json();
    let clock = home.run(&["clock"]).ok().json();
    let told = record["expires_at"].as_str().unwrap().to_owned();
    let expires = humantime_ms(&told);
    let left = expires - clock["believed_ms"].as_u64().unwrap();
    assert!((3_600_000..=7_200_000).contains(&left), "{told}");
    home.run(&["put", "k", "v"]).ok();
    assert!(home.run(&["get", "k", "--json"]).ok().json()["expires_at"].is_null());
}

/// Milliseconds of a time as records have it: days by the civil calendar.
fn humantime_ms(text: &str) -> u64 {
    let numbers: Vec<u64> = text
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().unwrap())
        .collect();
    let (year, month, day) = (numbers[0], numbers[1], numbers[2]);
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let years: u64 = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum();
    let days = years + lengths[..month as usize - 1].iter().sum::<u64>() + day - 1;
    ((days * 24 + numbers[3]) * 3600 + numbers[4] * 60 + numbers[5]) * 1000
}

fn get_key(_: &str) {
    let home = Home::new();
    assert_eq!(home.run(&["get", "z"]).ok().out, "last\n");
    home.run(&["get", "y"]).refused(1, &["no key 'y'"]);
}

fn get_base64(_: &str) {
    let home = Home::new();
    assert_eq!(home.run(&["get", "--base64", "eg=="]).ok().out, "last\n");
}

fn get_explain(_: &str) {
    let home = Home::new();
    let said = home.run(&["get", "k", "--explain", "--json"]).ok().json();
    assert!(!said["explain"]["steps"].as_array().unwrap().is_empty(), "{said}");
    assert!(home.run(&["get", "k", "--json"]).ok().json().get("explain").is_none());
}

fn get_raw(_: &str) {
    let home = Home::new();
    assert_eq!(home.run(&["get", "k", "--raw"]).ok().out, "value");
    assert_eq!(home.run(&["get", "k"]).ok().out, "value\n");
}

fn delete_key(_: &str) {
    let home = Home::new();
    home.run(&["delete", "k"]).ok();
    assert_eq!(home.keys(&[]), ["z"]);
}

fn delete_base64(_: &str) {
    let home = Home::new();
    home.run(&["delete", "--base64", "eg=="]).ok();
    assert_eq!(home.keys(&[]), ["k"]);
}

fn scan_prefix(_: &str) {
    assert_eq!(Home::new().keys(&["--prefix", "z"]), ["z"]);
}

fn scan_start(_: &str) {
    assert_eq!(Home::new().keys(&["--start", "m"]), ["z"]);
}

fn scan_end(_: &str) {
    assert_eq!(Home::new().keys(&["--end", "m"]), ["k"]);
}

fn scan_limit(_: &str) {
    assert_eq!(Home::new().keys(&["--limit", "1"]), ["k"]);
}

fn scan_reverse(_: &str) {
    assert_eq!(Home::new().keys(&["--reverse"]), ["z", "k"]);
}

fn scan_keys_only(_: &str) {
    let home = Home::new();
    let has_values = |args: &[&str]| home.run(args).ok().out.contains("last");
    assert!(!has_values(&["scan", "--keys-only"]) && has_values(&["scan"]));
}

fn scan_base64(_: &str) {
    let home = Home::new();
    assert_eq!(home.keys(&["--base64", "--prefix", "eg=="]), ["z"]);
    assert_eq!(home.keys(&["--base64", "--start", "bQ=="]), ["z"]);
    assert_eq!(home.keys(&["--base64", "--end", "bQ=="]), ["k"]);
}

fn load_file(_: &str) {
    let home = Home::empty();
    std::fs::write(home.path("a.ndjson"), "{\"key\":\"a\",\"value\":\"1\"}\n").unwrap();
    home.run(&["load", text(&home.path("a.ndjson"))]).ok();
    assert_eq!(home.get("a").as_deref(), Some("1"));
}

fn load_format(_: &str) {
    let home = Home::empty();
    for (format, input) in [
        ("csv", "key,value\nc,\"1,2\"\n"),
        ("tsv", "key\tvalue\nt\t1,2\n"),
        ("ndjson", "{\"key\":\"n\",\"value\":\"1,2\"}\n"),
    ] {
        with_input(&home.data(), &["load", "-", "--format", format], input.as_bytes()).ok();
        assert_eq!(home.get(&format[..1]).as_deref(), Some("1,2"), "{format}");
    }
}

fn load_no_header(_: &str) {
    let home = Home::empty();
    let args = ["load", "-", "--format", "csv", "--no-header"];
    with_input(&home.data(), &args, b"key,value\nb,2\n").ok();
    assert_eq!(home.keys(&[]), ["b", "key"]);
}

fn load_columns(_: &str) {
    let home = Home::empty();
    let args = ["load", "-", "--format", "csv", "--key-column", "id", "--value-column", "name"];
    let args = [&args[..], &["--ignore-column", "note"]].concat();
    with_input(&home.data(), &args, b"note,id,name\nx,a,Ann\n").ok();
    assert_eq!(home.get("a").as_deref(), Some("Ann"));
    assert_eq!(home.keys(&[]), ["a"]);
}

/// Entries that a compaction of a part drops, of `a` overwritten once and `z` three times.
fn dropped(options: &[&str]) -> u64 {
    let home = Home::empty();
    for (key, times) in [("a", 2), ("z", 4)] {
        for n in 0..times {
            home.run(&["put", key, &n.to_string()]).ok();
            // A table of its own for each version: bounds that lie beside the key.
            home.run(&["compact", "--start", "m", "--end", "n"]).ok();
        }
    }
    let said = home.run(&[&["compact"], options].concat()).ok().json();
    said["entries_dropped"].as_u64().unwrap()
}

fn compact_start(_: &str) {
    let (part, all) = (dropped(&["--start", "m"]), dropped(&[]));
    assert!(part < all, "{part} of {all}");
}

fn compact_end(_: &str) {
    let (part, all) = (dropped(&["--end", "m"]), dropped(&[]));
    assert!(part < all, "{part} of {all}");
}

fn compact_base64(_: &str) {
    assert_eq!(dropped(&["--base64", "--start", "bQ=="]), dropped(&["--start", "m"]));
    assert_eq!(dropped(&["--base64", "--end", "bQ=="]), dropped(&["--end", "m"]));
}

fn checkpoint_dir(_: &str) {
    let home = Home::new();
    home.run(&["checkpoint", "create", text(&home.path("copy"))]).ok();
    assert_eq!(on_directory(&home.path("copy"), &["get", "z"]).ok().out, "last\n");
}

fn checkpoint_list(_: &str) {
    let home = Home::new();
    let server = Server::start(&home.data(), &["--checkpoint-dir", text(home.dir.path())]);
    server.tanada(&["checkpoint", "create", "monday"]).ok();
    let listed = server.tanada(&["checkpoint", "list"]).ok().json();
    let entries = listed["checkpoints"].as_array().unwrap();
    assert!(entries.iter().any(|entry| entry["name"] == "monday"), "{listed}");
}

fn checkpoint_delete(_: &str) {
    let home = Home::new();
    let server = Server::start(&home.data(), &["--checkpoint-dir", text(home.dir.path())]);
    for name in ["monday", "tuesday"] {
        server.tanada(&["checkpoint", "create", name]).ok();
    }
    server.tanada(&["checkpoint", "delete", "monday"]).ok();
    assert!(!home.path("monday").exists() && home.path("tuesday").exists());
}

fn clock_trust(_: &str) {
    let home = Home::new();
    let before = home.run(&["clock"]).ok().json();
    let after = home.run(&["clock", "--trust"]).ok().json();
    let removable = |clock: &Value| clock["removable_ms"].as_u64().unwrap();
    // What has expired by a clock that is trusted may be removed at once.
    assert!(removable(&after) > removable(&before), "{before} {after}");
    let behind = after["believed_ms"].as_u64().unwrap() - removable(&after);
    assert!(behind < 60_000, "{after}");
}

fn repair(_: &str) {
    let home = Home::new();
    run(&["repair", text(&home.data()), text(&home.path("saved"))]).ok();
    assert_eq!(on_directory(&home.path("saved"), &["get", "z"]).ok().out, "last\n");
    assert_eq!(home.get("z").as_deref(), Some("last"), "the source is as it was");
}
