//! A copy of the repository, with mutants in it, and its builds.

use super::list::Mutant;
use super::outcome::Outcome;
use super::switch;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a build with mutants in it is forgiven: an overflow that the compiler sees ends the
/// process when it is run, which is what a test has to notice.
const LINTS: &str = "#![allow(arithmetic_overflow, unconditional_panic)]\n";

/// The copy under `target/mutants/`.
pub(super) struct Tree {
    root: PathBuf,
    /// Of the repository.
    origin: PathBuf,
    /// For builds, lists of tests, and what tests write.
    pub(super) work: PathBuf,
}

impl Tree {
    /// Copies what git knows of, as it stands in the working tree.
    pub(super) fn new(origin: &Path) -> Result<Tree, String> {
        let work = origin.join("target/mutants");
        let tree = Tree { root: work.join("tree"), origin: origin.to_owned(), work };
        let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(origin).output();
        let listed = listed.map_err(|e| format!("cannot start git: {e}"))?;
        for name in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|n| !n.is_empty()) {
            if let Ok(bytes) = std::fs::read(origin.join(name)) {
                tree.write(Path::new(name), &bytes)?;
            }
        }
        Ok(tree)
    }

    /// Writes only what changes, so that only that is built again.
    fn write(&self, name: &Path, bytes: &[u8]) -> Result<(), String> {
        let path = self.root.join(name);
        if std::fs::read(&path).is_ok_and(|old| old == bytes) {
            return Ok(());
        }
        let parent = path.parent().expect("a file in the tree has a parent");
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, bytes))
            .map_err(|e| format!("{}: {e}", path.display()))
    }

    fn original(&self, name: &Path) -> Result<String, String> {
        let path = self.origin.join(name);
        std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Builds all mutants that can be switched. Answers which do not compile, and
    /// which have to be built alone.
    pub(super) fn build_all(
        &self,
        mutants: &[Mutant],
    ) -> Result<(Vec<Option<Outcome>>, BTreeSet<usize>), String> {
        let mut alone = BTreeSet::new();
        for (i, mutant) in mutants.iter().enumerate() {
            if !switch::can_be_switched(&self.original(&mutant.file)?, mutant) {
                alone.insert(i);
            }
        }
        let mut outcomes: Vec<Option<Outcome>> = mutants.iter().map(|_| None).collect();
        loop {
            let wrong =
                self.write_and_check(mutants, |i| !alone.contains(&i) && outcomes[i].is_none())?;
            if wrong.is_empty() {
                break;
            }
            for i in wrong {
                outcomes[i] = Some(Outcome::Unviable);
            }
        }
        self.build()?;
        Ok((outcomes, alone))
    }

    /// Writes these mutants and compiles. Answers those that do not.
    fn write_and_check(
        &self,
        mutants: &[Mutant],
        chosen: impl Fn(usize) -> bool,
    ) -> Result<BTreeSet<usize>, String> {
        let mut files: BTreeMap<&Path, Vec<(usize, &Mutant)>> = BTreeMap::new();
        for (i, mutant) in mutants.iter().enumerate() {
            let of_file = files.entry(&mutant.file).or_default();
            if chosen(i) {
                of_file.push((i + 1, mutant));
            }
        }
        let mut copies = BTreeMap::new();
        for (file, mutants) in files {
            let switched = switch::switch(&self.original(file)?, &mutants)?;
            self.write(file, switched.text.as_bytes())?;
            copies.insert(file.to_owned(), switched.copies);
        }
        let lib = Path::new("crates/engine/src/lib.rs");
        let whole = [LINTS, &self.original(lib)?, &switch::chooser()].concat();
        self.write(lib, whole.as_bytes())?;

        let check = ["check", "--package", "tanada", "--lib", "--message-format", "json"];
        let output = self.cargo(&check).output().map_err(|e| format!("cannot start cargo: {e}"))?;
        let mut wrong = BTreeSet::new();
        for (file, line, message) in errors(&output.stdout) {
            let copy = copies.get(Path::new(&file)).and_then(|copies| {
                copies.iter().find(|&&(first, last, _)| (first..=last).contains(&line))
            });
            match copy {
                Some((_, _, number)) => drop(wrong.insert(number - 1)),
                None => return Err(format!("outside of any mutant, {file}:{line}: {message}")),
            }
        }
        if wrong.is_empty() && !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(wrong)
    }

    /// Builds one mutant and no other. False when it does not compile.
    pub(super) fn build_one(&self, mutant: &Mutant) -> Result<bool, String> {
        for name in self.engine_files()? {
            self.write(&name, self.original(&name)?.as_bytes())?;
        }
        let changed = switch::apply(&self.original(&mutant.file)?, mutant);
        self.write(&mutant.file, changed.as_bytes())?;
        // A build, not a check: that does not see all panics which refuse to compile.
        let library = self.cargo(&["build", "--package", "tanada", "--lib", "--quiet"]).output();
        if !library.is_ok_and(|output| output.status.success()) {
            return Ok(false);
        }
        self.build()?;
        Ok(true)
    }

    fn engine_files(&self) -> Result<Vec<PathBuf>, String> {
        let list = Command::new("git")
            .args(["ls-files", "crates/engine/src"])
            .current_dir(&self.origin)
            .output()
            .map_err(|e| format!("cannot start git: {e}"))?;
        Ok(String::from_utf8_lossy(&list.stdout).lines().map(PathBuf::from).collect())
    }

    /// Builds the tests of the engine and the simulation, and notes where they lie.
    fn build(&self) -> Result<(), String> {
        self.output(&["build", "--package", "tanada-sim", "--bin", "tanada-sim"])?;
        let packages = ["--package", "tanada", "--package", "tanada-sim"];
        let form = ["--list-type", "binaries-only", "--message-format", "json"];
        let tests = self.output(&[&["nextest", "list"], &packages[..], &form].concat())?;
        let metadata = self.output(&["metadata", "--format-version", "1"])?;
        for (name, bytes) in [("binaries.json", tests), ("metadata.json", metadata)] {
            let path = self.work.join(name);
            std::fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        Ok(())
    }

    /// What cargo prints; an error when it fails.
    fn output(&self, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let output = self.cargo(arguments).output();
        let output = output.map_err(|e| format!("cannot start cargo: {e}"))?;
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Where the copy lies.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The program that lives simulated lives.
    pub(super) fn simulation(&self) -> PathBuf {
        self.work.join("build/debug/tanada-sim")
    }

    /// Cargo in the copy, with builds of its own.
    pub(super) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut cargo = Command::new("cargo");
        cargo
            .args(arguments)
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", self.work.join("build"));
        cargo
    }
}

/// File, line and message of each error that the compiler told of.
fn errors(messages: &[u8]) -> Vec<(String, usize, String)> {
    let mut errors = Vec::new();
    for line in String::from_utf8_lossy(messages).lines() {
        let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
        let message = &value["message"];
        if message["level"] != "error" {
            continue;
        }
        let spans = message["spans"].as_array().map(Vec::as_slice).unwrap_or_default();
        for span in spans.iter().filter(|s| s["is_primary"] == true) {
            let file = span["file_name"].as_str().unwrap_or_default().to_owned();
            let line = span["line_start"].as_u64().unwrap_or_default() as usize;
            errors.push((file, line, message["message"].to_string()));
        }
    }
    errors
}
