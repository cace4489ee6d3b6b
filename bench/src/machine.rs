//! What a run was made on and with: a JSON line of its own, first in its file.

use crate::engine::Outcome;
use serde_json::{Value, json};
use std::process::Command;

/// Names and texts, in the order in which the report prints them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Header(pub Vec<(String, String)>);

impl Header {
    /// Of this machine and this build.
    pub fn here(command: &str) -> Header {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or("unknown", |(_, value)| value.trim()).to_owned()
        };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let gib = memory.split(' ').next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0)
            / 1_048_576.0;
        let mut lines = vec![
            ("date", output("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
            ("commit", commit()),
            ("command", format!("`{command}`")),
            (
                "processor",
                format!("{}, {cores} cores", field(&read("/proc/cpuinfo"), "model name")),
            ),
            ("memory", format!("{gib:.1} GiB")),
            ("kernel", format!("Linux {}", read("/proc/sys/kernel/osrelease").trim())),
            ("compiler", output("rustc", &["--version"])),
        ];
        lines.extend(VERSIONS.iter().map(|(name, package)| (*name, version(package))));
        Header(lines.into_iter().map(|(name, text)| (name.to_owned(), text)).collect())
    }

    pub fn to_json(&self) -> String {
        let pairs: Vec<Value> = self.0.iter().map(|(name, text)| json!([name, text])).collect();
        json!({ "header": pairs }).to_string()
    }

    /// `None` when the line is not a header.
    pub fn from_json(line: &str) -> Option<Header> {
        let value: Value = serde_json::from_str(line).ok()?;
        let pairs = value.get("header")?.as_array()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        pairs
            .iter()
            .map(|pair| Some((text(&pair[0])?, text(&pair[1])?)))
            .collect::<Option<_>>()
            .map(Header)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }
}

/// The commit, and whether there is more than it in the working tree.
pub fn commit() -> String {
    let commit = output("git", &["rev-parse", "--short=10", "HEAD"]);
    let changed = output("git", &["status", "--porcelain", "--", ":!docs", ":!bench/results"]);
    if changed.is_empty() { commit } else { format!("{commit}+") }
}

const VERSIONS: &[(&str, &str)] = &[
    ("Tanada", "tanada"),
    ("RocksDB", "librocksdb-sys"),
    ("fjall", "fjall"),
    ("LMDB (heed)", "heed"),
    ("redb", "redb"),
    ("sled", "sled"),
    ("SurrealKV", "surrealkv"),
    ("SlateDB", "slatedb"),
];

/// From the lock file that this program was built with.
fn version(package: &str) -> String {
    const LOCK: &str = include_str!("../Cargo.lock");
    let name = format!("name = \"{package}\"");
    let line = LOCK.lines().skip_while(|line| *line != name).nth(1).unwrap_or_default();
    let version = line.trim_start_matches("version = ").trim_matches('"');
    // librocksdb-sys has RocksDB's own version behind a plus.
    version.split_once('+').map_or(version, |(_, own)| own).to_owned()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or(String::new(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

/// A header, or an error that says where it should be.
pub fn required(header: Option<Header>) -> Outcome<Header> {
    header.ok_or_else(|| "the first line of the results is not a header".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_names_every_version() {
        let header = Header::here("cargo xtask bench");
        assert_eq!(Header::from_json(&header.to_json()), Some(header.clone()));
        for (name, _) in VERSIONS {
            assert!(header.get(name).is_some_and(|version| !version.is_empty()), "{name}");
        }
        assert_eq!(Header::from_json("{\"run\":1}"), None);
    }
}
