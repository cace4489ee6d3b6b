//! A program that is not built for it carries no switch: the names of the faults
//! are not in it. So that this can fail, the same look at what is built with the
//! switches must find every one of them.

use super::programs::{Programs, TARGET, flags};
use super::table::faults;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What chooses a fault: not in a release either.
const VARIABLE: &str = "TANADA_PLANTED";

/// Builds the release both ways and looks; says what it found.
pub(crate) fn check_release(root: &Path) -> bool {
    println!("building two releases, without and with the switches: some minutes the first time");
    let release = |target, flags| {
        program(root, target, &["--release"], flags).map(|dir| vec![dir.join("release/tanada")])
    };
    compare("release", release("target", None), release(TARGET, Some(&flags())))
}

/// Looks at the ordinary build, and at the test programs with the switches.
pub(crate) fn check_ordinary(root: &Path, programs: &Programs) -> bool {
    let ordinary = program(root, "target", &[], None).map(|dir| vec![dir.join("debug/tanada")]);
    compare("program", ordinary, Ok(programs.paths().map(Path::to_path_buf).collect()))
}

/// Says which names are in the programs without and with the switches, and
/// answers whether that is none and all.
fn compare(
    what: &str,
    without: Result<Vec<PathBuf>, String>,
    with: Result<Vec<PathBuf>, String>,
) -> bool {
    let names: Vec<&str> = faults()
        .map(|fault| fault.name)
        .chain(crate::concurrency::races().map(|race| race.name))
        .chain([VARIABLE])
        .collect();
    let look = |paths: Result<Vec<PathBuf>, String>| -> Result<Vec<&str>, String> {
        paths?.iter().map(|path| found_in(path, &names)).collect::<Result<Vec<_>, _>>().map(
            |found| names.iter().copied().filter(|name| found.concat().contains(name)).collect(),
        )
    };
    let (without, with) = match (look(without), look(with)) {
        (Ok(without), Ok(with)) => (without, with),
        (Err(e), _) | (_, Err(e)) => {
            eprintln!("error: {e}");
            return false;
        }
    };
    let missed: Vec<&&str> = names.iter().filter(|name| !with.contains(name)).collect();
    println!(
        "{what} without the switches: {} of {} names in it {without:?}",
        without.len(),
        names.len()
    );
    println!(
        "{what} with the switches: {} of {} names in it, missed {missed:?}",
        with.len(),
        names.len()
    );
    without.is_empty() && missed.is_empty()
}

/// Builds the program and answers in which directory of targets it lies.
fn program(
    root: &Path,
    target: &str,
    profile: &[&str],
    flags: Option<&str>,
) -> Result<PathBuf, String> {
    let mut command = Command::new("cargo");
    command.args(["build", "--package", "tanada-cli"]).args(profile).current_dir(root);
    let target = root.join(target);
    command.env("CARGO_TARGET_DIR", &target);
    if let Some(flags) = flags {
        command.env("RUSTFLAGS", flags);
    }
    match command.status() {
        Ok(status) if status.success() => Ok(target),
        Ok(status) => Err(format!("cargo build ended with {status}")),
        Err(e) => Err(format!("cannot run cargo: {e}")),
    }
}

fn found_in<'n>(path: &Path, names: &[&'n str]) -> Result<Vec<&'n str>, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    Ok(find(&bytes, names))
}

/// Which of the names are somewhere in `bytes`. One pass.
fn find<'n>(bytes: &[u8], names: &[&'n str]) -> Vec<&'n str> {
    let mut by_first: Vec<Vec<&'n str>> = vec![Vec::new(); 256];
    for name in names {
        by_first[usize::from(name.as_bytes()[0])].push(name);
    }
    let mut found = Vec::new();
    for (at, &byte) in bytes.iter().enumerate() {
        by_first[usize::from(byte)].retain(|name| {
            let here = bytes[at..].starts_with(name.as_bytes());
            if here {
                found.push(*name);
            }
            !here
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_wherever_they_stand_and_only_whole() {
        let names = ["fsync_lies", "fsync_lies_twice", "other"];
        assert_eq!(find(b"\0\x01xfsync_liesother", &names), ["fsync_lies", "other"]);
        assert_eq!(find(b"fsync_lie othe", &names), Vec::<&str>::new());
        assert_eq!(find(b"otherother", &names), ["other"]);
    }
}
