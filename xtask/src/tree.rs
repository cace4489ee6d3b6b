//! The repository's text files, in memory.
//!
//! Rules look at a [`Tree`] and nothing else, so that their tests can plant a
//! violation in three lines instead of a directory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// Path from the repository's root, with `/`, to content.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
    /// Files that are not text for us (pictures, locks): links may still name them.
    others: Vec<String>,
}

/// Directories that hold no source of ours, wherever they are.
const SKIPPED: &[&str] = &["target", ".git", "node_modules", "corpus"];

/// Where somebody who tries the server out has a database. A folder of that name in a
/// crate is source.
const SKIPPED_AT_THE_ROOT: &str = "data";

fn is_skipped(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    SKIPPED.contains(&name) || path == SKIPPED_AT_THE_ROOT
}

impl Tree {
    /// Reads all `.rs`, `.md` and `.toml` files below `root`.
    pub(crate) fn read(root: &Path) -> io::Result<Tree> {
        let mut tree = Tree::default();
        tree.read_dir(root, "")?;
        Ok(tree)
    }

    fn read_dir(&mut self, dir: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            if entry.file_type()?.is_dir() {
                if !is_skipped(&path) {
                    self.others.push(path.clone());
                    self.read_dir(&entry.path(), &format!("{path}/"))?;
                }
            } else if [".rs", ".md", ".toml"].iter().any(|end| name.ends_with(end)) {
                self.files.insert(path, fs::read_to_string(entry.path())?);
            } else {
                self.others.push(path);
            }
        }
        Ok(())
    }

    /// A tree of these files, for tests.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (path, text) in files {
            tree.files.insert(path.to_string(), text.to_string());
        }
        tree
    }

    /// Files whose path starts with `prefix` and ends with `suffix`, sorted.
    pub(crate) fn select<'a>(
        &'a self,
        prefix: &'a str,
        suffix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files
            .iter()
            .filter(move |(path, _)| path.starts_with(prefix) && path.ends_with(suffix))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The text of one file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether a file or a directory is there.
    pub(crate) fn exists(&self, path: &str) -> bool {
        path.is_empty()
            || self.files.contains_key(path)
            || self.others.iter().any(|other| other == path)
            || self
                .files
                .keys()
                .any(|file| file.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
    }

    /// Names of the directories below `crates/`, with `xtask` and `bench`, that hold a `Cargo.toml`.
    pub(crate) fn packages(&self) -> Vec<&str> {
        self.files.keys().filter_map(|path| path.strip_suffix("/Cargo.toml")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_is_read_whatever_its_folder_is_called_and_what_is_built_is_not() {
        for path in ["target", "fuzz/target", "fuzz/corpus", "data", ".git"] {
            assert!(is_skipped(path), "{path}");
        }
        for path in ["crates", "crates/table/src/data", "database"] {
            assert!(!is_skipped(path), "{path}");
        }
    }
}
