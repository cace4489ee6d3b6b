//! The restore drill: docs/guide/backup.md from its first command to its last, as written;
//! what it says is lost is lost, and comes back.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

mod support;
#[path = "../../vfs/tests/house/patience.rs"]
mod patience;

use std::path::Path;
use std::process::Command;
use support::pages::{ADDRESS, blocks, matches, page, shell};
use support::{Server, on_directory};

/// The words of a command, as a shell takes them: single quotes, no variables.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    for c in command.chars() {
        match c {
            '\'' => (quoted, any) = (!quoted, true),
            ' ' if !quoted => {
                if any {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => {
                word.push(c);
                any = true;
            }
        }
    }
    if any {
        words.push(word);
    }
    words
}

/// Sends what `curl` would, and answers what it would print.
fn curl(command: &str) -> String {
    let words = words(command);
    let (mut method, mut body, mut url) = ("GET", "", "");
    let mut rest = words.iter().map(String::as_str);
    assert_eq!(rest.next(), Some("curl"), "{command}");
    while let Some(word) = rest.next() {
        match word {
            "-s" => {}
            "-X" => method = rest.next().unwrap(),
            "-d" => body = rest.next().unwrap(),
            word if word.starts_with("http://") => url = word,
            other => panic!("{other} is not known here: {command}"),
        }
    }
    let config = ureq::Agent::config_builder().http_status_as_error(false).build();
    let agent: ureq::Agent = config.into();
    let request = ureq::http::Request::builder().method(method).uri(url).body(body.to_owned());
    let mut answer = agent.run(request.unwrap()).unwrap();
    answer.body_mut().read_to_string().unwrap()
}

fn get(data: &Path, key: &str) -> Option<String> {
    let said = on_directory(data, &["get", key]);
    (said.code == Some(0)).then(|| said.out.trim_end().to_owned())
}

#[test]
fn the_restore_drill_of_the_guide_loses_and_restores_what_it_says() {
    let guide = page("docs/guide/backup.md");
    let blocks_of_shell = blocks(&guide, "sh");
    let [make, check, lose, restore, serve, ask, nightly] = &blocks_of_shell[..] else {
        panic!("{} blocks", blocks_of_shell.len())
    };
    let home = tempfile::tempdir().unwrap();
    let (shop, monday) = (home.path().join("shop"), home.path().join("backup/monday"));
    shell(home.path(), make).ok();
    assert!(monday.join("CURRENT").exists());
    shell(home.path(), check).ok();
    shell(home.path(), lose);
    assert_eq!(get(&shop, "order:1"), None, "it is lost");
    let said = shell(home.path(), restore).ok();
    assert!(said.out.contains("two lamps"), "{}", said.out);
    assert_eq!(get(&shop, "order:2").as_deref(), Some("a chair"));
    assert_eq!(get(&monday, "order:1").as_deref(), Some("two lamps"), "it stays as it was");

    // The server, on a port of its own.
    assert!(serve.contains("tanada serve --data shop --checkpoint-dir backup"), "{serve}");
    let backup = home.path().join("backup");
    let server = Server::start(&shop, &["--checkpoint-dir", backup.to_str().unwrap()]);
    let said = shell(home.path(), &ask.replace(ADDRESS, &server.url)).ok();
    assert!(said.out.contains("tuesday"), "{}", said.out);
    let console = blocks(&guide, "console").concat();
    let mut lines = console.lines();
    let mut asked = 0;
    while let Some((line, shown)) = lines.next().zip(lines.next()) {
        let command = line.strip_prefix("$ ").unwrap_or_else(|| panic!("no command: {line}"));
        let said = curl(&command.replace(ADDRESS, &server.url));
        assert!(matches(shown, said.trim_end()), "{command}\nshown: {shown}\n said: {said}");
        asked += 1;
    }
    assert!(asked >= 5, "the guide asks the server {asked} times");

    // Eight earlier nights; the oldest go.
    for n in 1..=8 {
        let name = format!("2001-01-{n:02}");
        server.tanada(&["checkpoint", "create", &name]).ok();
    }
    shell(home.path(), &nightly.replace(ADDRESS, &server.url)).ok();
    let left = |name: &str| backup.join(name).exists();
    assert!(!left("2001-01-01") && !left("2001-01-02") && left("2001-01-03") && left("tuesday"));
    assert_eq!(server.terminate().code(), Some(0));
    // And back from the server's: what was written before it, and nothing later.
    let restored = shell(home.path(), "rm -r shop && cp -R backup/tuesday shop");
    restored.ok();
    assert_eq!(get(&shop, "order:3").as_deref(), Some("a table"));
}

#[test]
fn a_server_that_is_killed_while_it_makes_checkpoints_leaves_none_in_part() {
    let home = tempfile::tempdir().unwrap();
    let (data, backup) = (home.path().join("data"), home.path().join("backup"));
    std::fs::create_dir(&backup).unwrap();
    let mut acknowledged = 0;
    for life in 0..4 {
        let server = Server::start(&data, &["--checkpoint-dir", backup.to_str().unwrap()]);
        server.tanada(&["put", "life", &life.to_string()]).ok();
        let url = server.url.clone();
        let asker = std::thread::spawn(move || {
            let mut made = Vec::new();
            for n in 0.. {
                let name = format!("life{life}-{n}");
                let body = format!("{{\"name\":\"{name}\"}}");
                match ureq::post(format!("{url}/v1/admin/checkpoints")).send(body) {
                    Ok(_) => made.push(name),
                    Err(_) => return made,
                }
            }
            made
        });
        let wanted = backup.join(format!("life{life}-{}", 2 + life));
        patience::until("a checkpoint is made", || wanted.exists());
        // Killed by its drop.
        drop(server);
        let made = asker.join().unwrap();
        acknowledged += made.len();
        for name in &made {
            assert!(backup.join(name).join("CURRENT").exists(), "{name} was acknowledged");
        }
    }
    assert!(acknowledged >= 4);
    let server = Server::start(&data, &["--checkpoint-dir", backup.to_str().unwrap()]);
    assert_eq!(server.terminate().code(), Some(0));
    let mut seen = 0;
    for entry in std::fs::read_dir(&backup).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(!name.ends_with(".unfinished"), "{name} is left");
        let life = name["life".len()..].split('-').next().unwrap().to_owned();
        assert_eq!(get(&entry.path(), "life"), Some(life), "{name}");
        on_directory(&entry.path(), &["verify"]).ok();
        seen += 1;
    }
    assert!(seen >= acknowledged);
}

#[test]
fn the_japanese_guide_has_the_same_commands() {
    let pages = [page("docs/guide/backup.md"), page("docs/guide/backup.ja.md")];
    for language in ["sh", "console", "text"] {
        let [english, japanese] = pages.each_ref().map(|page| blocks(page, language));
        assert_eq!(english, japanese);
    }
}

#[test]
fn the_words_of_a_command_are_those_of_a_shell() {
    assert_eq!(words("curl -d '{\"a\": 1}' http://x"), ["curl", "-d", "{\"a\": 1}", "http://x"]);
}

#[test]
fn a_checkpoint_of_a_directory_is_refused_as_the_engine_says() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    on_directory(&data, &["put", "k", "v"]).ok();
    let taken = home.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    std::fs::write(taken.join("mine"), "mine").unwrap();
    for bad in [taken.as_path(), &data, &data.join("copy"), &home.path().join("no/copy")] {
        let said = on_directory(&data, &["checkpoint", "create", bad.to_str().unwrap()]);
        assert_eq!(said.code, Some(1), "{}", bad.display());
        assert!(said.err.contains(bad.to_str().unwrap()), "{}", said.err);
    }
    // A relative path, from the directory above.
    let mut command = Command::new(env!("CARGO_BIN_EXE_tanada"));
    command.args(["checkpoint", "create", "copy", "--data", "data"]).current_dir(home.path());
    assert!(command.output().unwrap().status.success());
    assert_eq!(get(&home.path().join("copy"), "k").as_deref(), Some("v"));
    let none = support::run(&["checkpoint", "create", "x", "--data", "/nonexistent"]);
    assert_eq!(none.code, Some(1));
}
