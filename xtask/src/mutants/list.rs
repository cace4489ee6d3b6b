//! The mutants that cargo-mutants finds.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A place in a text: line and column, both from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// From one place up to another, which is not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: Place,
    pub(super) end: Place,
}

/// One small change to one file.
#[derive(Debug, Clone)]
pub(super) struct Mutant {
    /// As `cargo mutants --list` has it: `FILE:LINE:COLUMN: what is changed`.
    pub(super) name: String,
    /// From the repository's root.
    pub(super) file: PathBuf,
    pub(super) span: Span,
    pub(super) replacement: String,
    /// The function that it lies in, if any.
    pub(super) function: Option<Span>,
}

/// All mutants that `.cargo/mutants.toml` lets through.
pub(super) fn list(root: &Path) -> Result<Vec<Mutant>, String> {
    let output = Command::new("cargo")
        .args(["mutants", "--list", "--json", "--package", "tanada"])
        .current_dir(root)
        .output()
        .map_err(|e| format!("cannot start cargo: {e}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "cargo mutants --list failed: {}\nIt comes with: cargo install --locked cargo-mutants",
            said.trim()
        ));
    }
    let all: Value =
        serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo mutants --list: {e}"))?;
    let all = all.as_array().ok_or("cargo mutants --list: not a list")?;
    all.iter().map(|m| mutant(m).ok_or_else(|| format!("a mutant without a field: {m}"))).collect()
}

fn mutant(value: &Value) -> Option<Mutant> {
    Some(Mutant {
        name: value["name"].as_str()?.to_owned(),
        file: value["file"].as_str()?.into(),
        span: span(&value["span"])?,
        replacement: value["replacement"].as_str()?.to_owned(),
        function: match &value["function"] {
            Value::Null => None,
            function => Some(span(&function["span"])?),
        },
    })
}

fn span(value: &Value) -> Option<Span> {
    let place = |value: &Value| {
        Some(Place {
            line: value["line"].as_u64()? as usize,
            column: value["column"].as_u64()? as usize,
        })
    };
    Some(Span { start: place(&value["start"])?, end: place(&value["end"])? })
}
