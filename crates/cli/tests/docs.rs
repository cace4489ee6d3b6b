//! The guide's commands are run as written: the README's first minute with the
//! answers it shows, and the tour from its first line to its last. The Japanese
//! pages hold the same commands; `cargo xtask tidy` sees to that.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

mod support;

use std::process::Command;
use support::pages::{ADDRESS, blocks, matches, page, shell};
use support::{Server, skip};

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
