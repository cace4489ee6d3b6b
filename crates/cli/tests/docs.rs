//! The guide's commands are run as written: the README's first minute with the
//! answers it shows, and the tour from its first line to its last. The Japanese
//! pages hold the same commands; `cargo xtask tidy` sees to that.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use support::{Server, skip};

/// Where the pages think the server is.
const ADDRESS: &str = "http://127.0.0.1:7878";

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)).unwrap()
}

/// The code blocks of a page in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<Vec<&str>> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(after), None) if after == language => open = Some(Vec::new()),
            // A block in another language: its lines are kept, and thrown away at its end.
            (Some(_), None) => open = Some(vec!["\0"]),
            (Some(_), Some(lines)) => {
                if lines.first() != Some(&"\0") {
                    blocks.push(lines.join("\n"));
                }
                open = None;
            }
            (None, Some(lines)) => lines.push(line),
            (None, None) => {}
        }
    }
    blocks
}

/// A shell in `home` that finds the command under test first.
fn shell(home: &Path, script: &str) -> support::Said {
    let bin = Path::new(env!("CARGO_BIN_EXE_tanada")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["-e", "-o", "pipefail", "-c", script]).current_dir(home).env("PATH", path);
    bash.output().unwrap().into()
}

/// Whether `text` is `pattern`, in which `…` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let parts: Vec<&str> = pattern.split('…').collect();
    let Some(mut rest) = text.strip_prefix(parts[0]) else { return false };
    for part in &parts[1..] {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    // The last part must end the text, if it is not empty.
    parts.len() > 1 && parts.last().is_some_and(|last| last.is_empty() || text.ends_with(last))
        || rest.is_empty()
}

#[test]
fn the_readme_s_first_minute_answers_what_it_shows() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skip("curl is not installed");
    }
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(&home.path().join("data"), &[]);
    let readme = page("README.md");
    let minute = blocks(&readme, "console").concat();
    let mut lines = minute.lines().peekable();
    let mut commands = 0;
    while let Some(line) = lines.next() {
        let command = line.strip_prefix("$ ").unwrap_or_else(|| panic!("no command: {line}"));
        let mut shown = Vec::new();
        while let Some(answer) = lines.next_if(|next| !next.starts_with("$ ")) {
            shown.push(answer);
        }
        let said = shell(home.path(), &command.replace(ADDRESS, &server.url)).ok();
        let shown = shown.join("\n");
        assert!(
            matches(&shown, said.out.trim_end()),
            "{command}\nshown: {shown}\n said: {}",
            said.out
        );
        commands += 1;
    }
    assert!(commands >= 8, "the first minute has {commands} commands");
}

#[test]
fn every_command_of_the_tour_runs_as_written() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skip("curl is not installed");
    }
    let home = tempfile::tempdir().unwrap();
    let tour = page("docs/guide/tour.md");
    let blocks = blocks(&tour, "sh");
    let (first, rest) = blocks.split_first().unwrap();
    assert!(first.contains("tanada serve --data tour-data"), "{first}");
    let (last, steps) = rest.split_last().unwrap();
    let server = Server::start(&home.path().join("tour-data"), &[]);
    let said = shell(home.path(), &steps.join("\n").replace(ADDRESS, &server.url)).ok();
    assert!(said.out.contains("\n900\n"), "nine hundred terraces are left: {}", said.out);
    assert!(said.out.contains("never"), "a filter said never: {}", said.out);
    assert_eq!(server.terminate().code(), Some(0));
    shell(home.path(), last).ok();
}

#[test]
fn the_embedding_example_of_the_readme_is_the_one_that_is_compiled() {
    let readme = page("README.md");
    let shown = blocks(&readme, "rust").concat();
    let compiled = page("crates/cli/examples/embed.rs");
    let compiled = compiled.split_once("\n\n").unwrap().1;
    assert_eq!(shown.trim(), compiled.trim());
}

#[test]
fn an_ellipsis_stands_for_anything_and_nothing_else_does() {
    assert!(matches("{\"a\":…,\"b\":1}", "{\"a\":[2,3],\"b\":1}"));
    assert!(matches("…", ""));
    assert!(!matches("{\"a\":1}", "{\"a\":1} "));
    assert!(!matches("{\"a\":…}", "{\"b\":1}"));
    assert!(!matches("a…z", "a…zz!"));
}
