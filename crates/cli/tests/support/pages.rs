//! Pages of the documentation, and the commands in them.

use super::Said;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where the pages think the server is.
pub(crate) const ADDRESS: &str = "http://127.0.0.1:7878";

pub(crate) fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)).unwrap()
}

/// The code blocks of a page in this language.
pub(crate) fn blocks(page: &str, language: &str) -> Vec<String> {
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
pub(crate) fn shell(home: &Path, script: &str) -> Said {
    let bin = Path::new(env!("CARGO_BIN_EXE_tanada")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["-e", "-o", "pipefail", "-c", script]).current_dir(home).env("PATH", path);
    bash.output().unwrap().into()
}

/// Whether `text` is `pattern`, in which `…` stands for anything.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
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
