//! Every bad input on the command line gets one clear message that says what
//! to do, an exit code that is not 0, and loses nothing.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

mod support;

use serde_json::Value;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Said, Server, is_root, on_directory, run, skip, tanada, with_input};

/// A database with some keys in tables and some in the log.
fn database(home: &Path) -> PathBuf {
    let data = home.join("data");
    with_input(&data, &["load", "-", "--format", "tsv", "--no-header"], &rows(0..2000)).ok();
    on_directory(&data, &["compact"]).ok();
    with_input(&data, &["load", "-", "--format", "tsv", "--no-header"], &rows(1500..3000)).ok();
    data
}

fn rows(numbers: std::ops::Range<u32>) -> Vec<u8> {
    let row = |i| format!("key{i:05}\tvalue {i} {}\n", i * 7919 % 104_729);
    numbers.map(row).collect::<String>().into_bytes()
}

/// The files of a database whose names satisfy `wanted`, sorted.
fn files(data: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| wanted(path.file_name().unwrap().to_str().unwrap()))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no such file in {}", data.display());
    found
}

/// Flips one byte of a file.
fn damage(file: &Path, offset: u64) {
    let mut bytes = fs::read(file).unwrap();
    bytes[offset as usize] ^= 0x40;
    fs::write(file, bytes).unwrap();
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn keys_and_values_out_of_bounds_are_refused_before_anything_is_done() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    on_directory(&data, &["put", "", "v"]).refused(1, &["key is empty", "1 to 65536"]);
    on_directory(&data, &["get", ""]).refused(1, &["key is empty"]);
    let long = "k".repeat(65_537);
    on_directory(&data, &["put", &long, "v"]).refused(1, &["65537", "1 to 65536"]);
    on_directory(&data, &["put", "--base64", "not base64!", "dg=="]).refused(1, &["KEY", "base64"]);
    on_directory(&data, &["put", "--base64", "aw==", "*"]).refused(1, &["VALUE", "base64"]);
    assert!(!data.exists(), "no database was made for a call that was refused");

    // The longest key there is, and the empty value, are fine.
    on_directory(&data, &["put", &long[1..], ""]).ok();
    assert_eq!(on_directory(&data, &["get", &long[1..], "--raw"]).ok().out, "");
}

#[test]
fn a_value_over_the_limit_is_refused_by_database_and_server() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    // A sparse file of 1 GiB and one byte costs no disk.
    let large = home.path().join("large");
    fs::File::create(&large).unwrap().set_len((1 << 30) + 1).unwrap();
    let said: Said = tanada()
        .args(["put", "k", "--data"])
        .arg(&data)
        .stdin(fs::File::open(&large).unwrap())
        .output()
        .unwrap()
        .into();
    said.refused(1, &["1073741825", "at most 1073741824"]);
    assert!(!data.exists());

    let server = Server::start(&data, &[]);
    fs::File::create(&large).unwrap().set_len((64 << 20) + 1).unwrap();
    let said: Said = tanada()
        .args(["put", "k", "--url", &server.url])
        .stdin(fs::File::open(&large).unwrap())
        .output()
        .unwrap()
        .into();
    said.refused(1, &[]);
    server.tanada(&["get", "k"]).refused(1, &["no key"]);
}

#[test]
fn wrong_usage_is_told_with_exit_code_2() {
    run(&["fetch"]).refused(2, &["fetch"]);
    run(&["put"]).refused(2, &["KEY"]);
    run(&["get", "k", "--explian"]).refused(2, &["--explain"]);
    run(&["serve", "--memory", "12 parsecs"]).refused(2, &["parsecs", "256MiB"]);
    run(&["serve", "--http", "localhost"]).refused(2, &["--http"]);
    run(&["put", "k", "v", "--ttl", "0"]).refused(2, &["--ttl"]);
    run(&["put", "k", "v", "--if-version", "soon"]).refused(2, &["--if-version"]);
    run(&["put", "k", "v", "--if-absent", "--if-version", "1"])
        .refused(2, &["--if-absent", "--if-version"]);
    run(&["get", "k", "--data", "d", "--url", "http://127.0.0.1:1"]).refused(2, &["--url"]);
    run(&["scan", "--limit=-1"]).refused(2, &["--limit"]);
    let not_utf8 = {
        use std::os::unix::ffi::OsStrExt;
        std::ffi::OsStr::from_bytes(b"\xff").to_owned()
    };
    let said: Said = tanada().args(["get".into(), not_utf8]).output().unwrap().into();
    said.refused(2, &["UTF-8", "--base64"]);
}

#[test]
fn a_budget_that_is_too_small_is_told() {
    let home = tempfile::tempdir().unwrap();
    on_directory(
        &home.path().join("data"),
        &["serve", "--http", "127.0.0.1:0", "--memory", "1MiB"],
    )
    .refused(1, &["16"]);
}

#[test]
fn a_bad_line_is_named_and_all_before_it_is_loaded() {
    let home = tempfile::tempdir().unwrap();
    let cases: [(&str, &[u8], &[&str]); 8] = [
        ("ndjson", b"{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"b\"\n", &["-:2", "EOF"]),
        ("ndjson", b"{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"b\"}\n", &["-:2", "value"]),
        (
            "ndjson",
            b"{\"key\":\"a\",\"value\":\"1\"}\n\n{\"kye\":\"b\",\"value\":\"\"}\n",
            &["-:3", "kye"],
        ),
        (
            "ndjson",
            b"{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"\",\"value\":\"\"}\n",
            &["-:2", "empty"],
        ),
        (
            "ndjson",
            b"{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"\xff\",\"value\":\"\"}\n",
            &["-:2", "UTF-8", "base64"],
        ),
        ("csv", b"key,value\na,1\nb\n", &["-:3", "columns"]),
        ("csv", b"key,value\na,1\n\xff,2\n", &["-:3", "UTF-8", "base64"]),
        ("tsv", b"key\tvalue\tttl\na\t1\t\nb\t2\tsoon\n", &["-:3", "ttl"]),
    ];
    for (i, (format, input, words)) in cases.into_iter().enumerate() {
        let data = home.path().join(i.to_string());
        let said = with_input(&data, &["load", "-", "--format", format, "--json"], input);
        assert_eq!(said.json()["loaded"], 1, "{said:?}");
        said.refused(1, words).err.contains("1 records before it are loaded");
        assert_eq!(on_directory(&data, &["get", "a"]).ok().out, "1\n");
    }
    let data = home.path().join("never");
    on_directory(&data, &["load", "missing.csv"]).refused(1, &["missing.csv"]);
    on_directory(&data, &["load", "x.txt"]).refused(1, &["x.txt", "--format"]);
    assert!(!data.exists());
}

#[test]
fn a_dump_loads_back_byte_for_byte() {
    let home = tempfile::tempdir().unwrap();
    let (data, copy) = (home.path().join("data"), home.path().join("copy"));
    on_directory(&data, &["put", "--base64", "/wD+", "gAAN"]).ok();
    on_directory(&data, &["put", "棚田\n", "\u{1}\"\\,\t"]).ok();
    on_directory(&data, &["put", "expires", "later", "--ttl", "7d"]).ok();
    let dump = on_directory(&data, &["dump"]).ok().out;
    assert_eq!(dump.lines().count(), 3);
    with_input(&copy, &["load", "-"], dump.as_bytes()).ok();
    // Versions are of the database that they were written to.
    let without_versions = |text: &str| -> Vec<Value> {
        let mut lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &mut lines {
            assert!(line["version"].take().is_u64(), "{line}");
        }
        lines
    };
    let expected = without_versions(&dump);
    assert!(expected[0]["expires_at"].is_string(), "{expected:?}");
    assert_eq!(without_versions(&on_directory(&copy, &["dump"]).ok().out), expected);

    // The same through a server.
    let server = Server::start(&copy, &[]);
    assert_eq!(without_versions(&server.tanada(&["dump"]).ok().out), expected);
    assert_eq!(server.tanada(&["get", "--base64", "/wD+", "--json"]).ok().json()["value"], "gAAN");
}

#[test]
fn a_hundred_commands_do_not_leave_a_hundred_logs() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    for i in 0..50 {
        on_directory(&data, &["put", &format!("key{i:02}"), "v"]).ok();
        on_directory(&data, &["get", &format!("key{i:02}")]).ok();
    }
    assert!(files(&data, |name| name.ends_with(".log")).len() <= 10);
    assert_eq!(on_directory(&data, &["scan", "--keys-only"]).ok().out.lines().count(), 50);
}

#[test]
fn a_missing_or_foreign_directory_is_no_database_and_stays_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let missing = home.path().join("missing");
    for verb in [
        &["get", "k"][..],
        &["scan"],
        &["stats"],
        &["dump"],
        &["compact"],
        &["verify"],
        &["delete", "k"],
        &["delete", "k", "--if-version", "1"],
        &["put", "k", "v", "--if-version", "1"],
    ] {
        let said = on_directory(&missing, verb).refused(1, &["missing", "not a Tanada database"]);
        assert!(!missing.exists(), "{verb:?} made a directory: {said:?}");
    }
    let foreign = home.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), "years of work").unwrap();
    on_directory(&foreign, &["put", "k", "v"]).refused(1, &["foreign", "not a Tanada database"]);
    on_directory(&foreign, &["serve", "--http", "127.0.0.1:0"])
        .refused(1, &["not a Tanada database"]);
    assert_eq!(files(&foreign, |_| true).len(), 1, "nothing was added");

    let file = foreign.join("thesis.tex");
    on_directory(&file, &["put", "k", "v"]).refused(1, &["thesis.tex"]);
    assert_eq!(fs::read_to_string(file).unwrap(), "years of work");
}

#[test]
fn a_directory_in_use_names_the_process_and_a_way_out() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let server = Server::start(&data, &[]);
    let pid = server.pid().to_string();
    on_directory(&data, &["put", "k", "v"]).refused(1, &[&pid, "--url"]);
    on_directory(&data, &["serve", "--http", "127.0.0.1:0"]).refused(1, &[&pid]);
    // As the message says: the server does it.
    server.tanada(&["put", "k", "v"]).ok();
    assert_eq!(server.tanada(&["get", "k"]).ok().out, "v\n");
    assert_eq!(server.terminate().code(), Some(0));
    assert_eq!(on_directory(&data, &["get", "k"]).ok().out, "v\n");
}

#[test]
fn a_busy_or_open_port_is_refused_and_the_database_stays_closed() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    on_directory(&data, &["serve", "--http", &address]).refused(1, &[&address, "in use", "--http"]);
    on_directory(&data, &["serve", "--http", "0.0.0.0:0"]).refused(1, &["authentication"]);
    // The directory is free again.
    on_directory(&data, &["put", "k", "v"]).ok();
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    run(&["get", "k", "--url", &url]).refused(1, &[&url, "tanada serve"]);
    run(&["stats", "--url", "127.0.0.1:7878"]).refused(1, &["http://"]);
}

#[test]
fn a_directory_without_permission_is_told() {
    let home = tempfile::tempdir().unwrap();
    let closed = home.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let data = closed.join("data");
    let said: Said = if is_root() {
        // Root may do everything, so the command runs as nobody.
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let binary = home.path().join("tanada");
        fs::copy(env!("CARGO_BIN_EXE_tanada"), &binary).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&binary)
            .args(["put", "k", "v", "--data"])
            .arg(&data)
            .current_dir("/")
            .output();
        match output {
            Ok(output) => output.into(),
            Err(e) => return skip(&format!("setpriv does not run: {e}")),
        }
    } else {
        on_directory(&data, &["put", "k", "v"])
    };
    said.refused(1, &["closed", "ermission denied", "--data"]);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(!data.exists());
}

#[test]
fn a_newer_format_asks_for_a_newer_tanada() {
    let home = tempfile::tempdir().unwrap();
    let data = database(home.path());
    let current = data.join("CURRENT");
    let text = fs::read_to_string(&current).unwrap();
    let body = text.trim_end().rsplit_once(' ').unwrap().0.replacen("tanada 1 ", "tanada 2 ", 1);
    fs::write(&current, format!("{body} {:08x}\n", crc32c(body.as_bytes()))).unwrap();
    on_directory(&data, &["get", "key00001"]).refused(1, &["CURRENT", "newer", "version is 2"]);
    // Nothing was touched: with the old word back it opens.
    fs::write(&current, text).unwrap();
    assert!(on_directory(&data, &["get", "key00001"]).ok().out.starts_with("value 1 "));
}

/// CRC-32C, bit by bit: the test must not borrow the engine's own.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn a_damaged_table_names_file_and_offset_and_never_answers_not_found() {
    let home = tempfile::tempdir().unwrap();
    let data = database(home.path());
    let table = files(&data, |name| name.ends_with(".sst")).remove(0);
    let whole = fs::read(&table).unwrap();
    // In the first data block, where the first key lies.
    damage(&table, 64);
    let said =
        on_directory(&data, &["get", "key00000"]).refused(1, &[name(&table), "offset", "restore"]);
    assert!(!said.err.contains("no key"), "{said:?}");
    on_directory(&data, &["scan"]).refused(1, &[name(&table), "offset"]);
    let said = on_directory(&data, &["verify", "--json"])
        .refused(1, &[name(&table), "damaged", "restore"]);
    assert_eq!(said.json()["damage"].as_array().unwrap().len(), 1, "{said:?}");
    on_directory(&data, &["compact"]).refused(1, &[name(&table), "offset"]);
    // Other keys are still read, and with the file restored all is well.
    assert!(on_directory(&data, &["get", "key01999"]).ok().out.starts_with("value 1999 "));
    fs::write(&table, whole).unwrap();
    on_directory(&data, &["verify"]).ok();
    assert_eq!(on_directory(&data, &["scan", "--keys-only"]).ok().out.lines().count(), 3000);
}

#[test]
fn a_missing_table_is_named() {
    let home = tempfile::tempdir().unwrap();
    let data = database(home.path());
    let table = files(&data, |name| name.ends_with(".sst")).remove(0);
    let away = home.path().join("away");
    fs::rename(&table, &away).unwrap();
    on_directory(&data, &["scan"]).refused(1, &[name(&table), "restore"]);
    fs::rename(&away, &table).unwrap();
    on_directory(&data, &["verify"]).ok();
}

#[test]
fn a_damaged_log_names_file_and_offset_and_opens_no_further() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    // A server killed after synced writes leaves a log with whole records behind the damage.
    let server = Server::start(&data, &[]);
    for i in 0..20 {
        server.tanada(&["put", &format!("key{i}"), &"v".repeat(500)]).ok();
    }
    server.kill();
    let logs = files(&data, |name| name.ends_with(".log"));
    let log = logs.iter().max_by_key(|log| log.metadata().unwrap().len()).unwrap();
    let bytes = fs::read(log).unwrap();
    let middle =
        bytes.windows(4).position(|four| four == b"key5").expect("the record is in this log");
    let mut file = fs::OpenOptions::new().write(true).open(log).unwrap();
    file.seek(SeekFrom::Start(middle as u64)).unwrap();
    file.write_all(b"KEY").unwrap();
    drop(file);
    on_directory(&data, &["get", "key1"]).refused(1, &[name(log), "offset", "restore"]);
    on_directory(&data, &["put", "new", "v"]).refused(1, &[name(log), "offset"]);
    let said = on_directory(&data, &["verify"]);
    said.refused(1, &[name(log), "offset", "the first damage found", "`tanada repair"]);
    fs::write(log, bytes).unwrap();
    for i in 0..20 {
        on_directory(&data, &["get", &format!("key{i}")]).ok();
    }
}

/// `verify` promised to change nothing, though it opens the directory, and called
/// the damage that a database does not open with all that there is.
#[test]
fn verify_says_what_opening_does_and_repair_lists_what_verify_cannot_reach() {
    let help = run(&["verify", "--help"]).ok();
    let words = help.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(!words.to_lowercase().contains("changes nothing"), "{help:?}");
    for word in ["left as it is", "recovers what the last process left", "begins a new log"] {
        assert!(words.contains(word), "'{word}' is missing: {help:?}");
    }

    let home = tempfile::tempdir().unwrap();
    let data = database(home.path());
    on_directory(&data, &["put", "later", "in a later log"]).ok();
    let logs = files(&data, |name| name.ends_with(".log"));
    let holds_rows = |log: &&PathBuf| fs::read(log).unwrap().windows(8).any(|w| w == b"key02000");
    let log = logs.iter().find(holds_rows).expect("the second load is in a log");
    let table = files(&data, |name| name.ends_with(".sst")).remove(0);
    damage(log, 5000);
    damage(&table, 64);
    let damaged = [fs::read(log).unwrap(), fs::read(&table).unwrap()];
    let said = on_directory(&data, &["verify", "--json"])
        .refused(1, &[name(log), "the first damage found", "`tanada repair SOURCE TARGET`"]);
    assert!(!said.err.contains(name(&table)), "it was not looked at: {said:?}");
    assert_eq!(damaged, [fs::read(log).unwrap(), fs::read(&table).unwrap()], "left as it is");

    let saved = home.path().join("saved");
    let repaired = tanada().arg("repair").args([&data, &saved]).arg("--json").output().unwrap();
    let repaired = Said::from(repaired).refused(1, &[]);
    let lost = repaired.json()["lost"].to_string();
    assert!(lost.contains(name(log)) && lost.contains(name(&table)), "{lost}");
    on_directory(&saved, &["verify"]).ok();
}

#[test]
fn a_damaged_or_missing_manifest_is_named() {
    let home = tempfile::tempdir().unwrap();
    let data = database(home.path());
    let manifest = files(&data, |name| name.starts_with("MANIFEST")).remove(0);
    let whole = fs::read(&manifest).unwrap();
    damage(&manifest, 40);
    on_directory(&data, &["get", "key00001"]).refused(1, &[name(&manifest), "restore"]);
    on_directory(&data, &["verify"]).refused(1, &[name(&manifest), "the first damage found"]);
    fs::remove_file(&manifest).unwrap();
    on_directory(&data, &["get", "key00001"]).refused(1, &[name(&manifest), "restore"]);
    on_directory(&data, &["verify"]).refused(1, &[name(&manifest), "the first damage found"]);
    fs::write(&manifest, whole).unwrap();
    on_directory(&data, &["get", "key00001"]).ok();

    let current = data.join("CURRENT");
    let text = fs::read(&current).unwrap();
    fs::write(&current, "tanada 1 nonsense\n").unwrap();
    on_directory(&data, &["get", "key00001"]).refused(1, &["CURRENT"]);
    fs::write(&current, text).unwrap();
    on_directory(&data, &["get", "key00001"]).ok();
}

/// A file system of its own, small enough to fill; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Option<SmallDisk> {
        fs::create_dir(at).unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tanada-test"])
            .arg(at)
            .output()
            .ok()?;
        done.status.success().then(|| SmallDisk(at.to_path_buf()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_stops_writes_with_a_cure_and_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&home.path().join("disk"), "24m") else {
        return skip("a small disk cannot be mounted here (that needs root)");
    };
    let data = disk.0.join("data");
    // More than fits, and nothing that compresses well.
    let mut seed = 1u64;
    let mut rows = String::new();
    for i in 0..60_000 {
        let mut value = String::new();
        for _ in 0..32 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            value.push_str(&format!("{:016x}", seed));
        }
        rows.push_str(&format!("key{i:06}\t{value}\n"));
    }
    let said = with_input(
        &data,
        &["load", "-", "--format", "tsv", "--no-header", "--json"],
        rows.as_bytes(),
    );
    let loaded = said.json()["loaded"].as_u64().unwrap() as usize;
    let said = said.refused(1, &["records are loaded"]);
    let text = said.err.to_lowercase();
    assert!(text.contains("space") || text.contains("full") || text.contains("room"), "{said:?}");
    assert!(loaded > 1000, "{said:?}");

    // Everything that was reported as loaded is read, on the full disk.
    let dump = on_directory(&data, &["dump"]).ok();
    let mut lines = dump.out.lines();
    for row in rows.lines().take(loaded) {
        let (key, value) = row.split_once('\t').unwrap();
        let line: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert_eq!((line["key"].as_str(), line["value"].as_str()), (Some(key), Some(value)));
    }

    // With a larger disk the rest goes in.
    let larger =
        Command::new("mount").args(["-o", "remount,size=200m"]).arg(&disk.0).status().unwrap();
    assert!(larger.success());
    let said = with_input(
        &data,
        &["load", "-", "--format", "tsv", "--no-header", "--json"],
        rows.as_bytes(),
    )
    .ok();
    assert_eq!(said.json()["loaded"], 60_000);
    on_directory(&data, &["verify"]).ok();
}
