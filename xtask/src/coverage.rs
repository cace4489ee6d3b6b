//! `cargo xtask coverage`: which lines of the log, the manifest, recovery and
//! compaction the tests of the engine and the simulation reach.
//!
//! The compiler counts (`-Cinstrument-coverage`), LLVM's tools add up, and this
//! prints a table. Lines of tests do not count, nor do planted bugs, which an
//! ordinary build has not got. A line that is reached is not yet checked: that is
//! what mutants are for.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// Of each module's lines, so many in a hundred.
const GOAL: f64 = 95.0;

/// Where builds that count lie, and what they counted.
const TARGET: &str = "target/coverage";

/// Modules, and the files and directories that they are.
const MODULES: &[(&str, &[&str])] = &[
    ("wal", &["crates/engine/src/wal/"]),
    ("manifest", &["crates/engine/src/tree/manifest/"]),
    ("recovery", &["crates/engine/src/opening/recovery.rs"]),
    (
        "compaction",
        &["crates/engine/src/tree/compaction/", "crates/engine/src/background/compact.rs"],
    ),
];

/// All tests of both, but three quarters of the simulated lives and the minutes in
/// which every byte of a database is changed: more of the same.
const TESTS: &[&str] = &["--package", "tanada", "--package", "tanada-sim", "--lib", "--tests"];
const SKIPPED: &[&str] =
    &["second_quarter", "third_quarter", "last_quarter", "every_changed_byte_of_a_database"];

/// How often a line was reached, by its number.
type Lines = BTreeMap<usize, u64>;

/// `[--missing]`: names the lines that no test reaches, too.
pub(crate) fn main(root: &Path, arguments: &[&str]) -> ExitCode {
    let missing = match arguments {
        [] => false,
        ["--missing"] => true,
        _ => {
            eprintln!("error: not understood\nUsage: cargo xtask coverage [--missing]");
            return ExitCode::from(2);
        }
    };
    match measure(root) {
        Ok(files) => report(root, &files, missing),
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Builds, runs, adds up: lines by path from the root.
fn measure(root: &Path) -> Result<BTreeMap<String, Lines>, String> {
    // What is missing is said before minutes of building.
    let tools = tools(root)?;
    let counts = root.join(TARGET).join("counts");
    let _ = std::fs::remove_dir_all(&counts);
    std::fs::create_dir_all(&counts).map_err(|e| format!("{}: {e}", counts.display()))?;

    println!("building the tests with counters");
    let mut build = cargo(root, &counts.join("build-%p.profraw"));
    build.args(["--no-run", "--message-format=json-render-diagnostics"]).stdout(Stdio::piped());
    let output = build.spawn().and_then(std::process::Child::wait_with_output);
    let output = output.map_err(|e| format!("cannot run cargo: {e}"))?;
    let told = String::from_utf8_lossy(&output.stdout);
    let programs: Vec<PathBuf> = told.lines().filter_map(test_program).collect();
    if !output.status.success() || programs.is_empty() {
        return Err("the tests are not built".to_owned());
    }

    let mut test = cargo(root, &counts.join("tests-%m.profraw"));
    test.args(["--quiet", "--no-fail-fast", "--"]);
    for name in SKIPPED {
        test.args(["--skip", name]);
    }
    if !test.status().is_ok_and(|status| status.success()) {
        return Err("tests fail: what they reach says nothing".to_owned());
    }

    let raw: Vec<PathBuf> = std::fs::read_dir(&counts)
        .map_err(|e| format!("{}: {e}", counts.display()))?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("tests-"))
        .map(|entry| entry.path())
        .collect();
    let merged = counts.join("all.profdata");
    let mut merge = Command::new(&tools.profdata);
    merge.args(["merge", "-sparse", "-o"]).arg(&merged).args(&raw);
    told_by(merge)?;
    let mut export = Command::new(&tools.cov);
    export.args(["export", "-format=lcov", "-instr-profile"]).arg(&merged);
    export.arg("-ignore-filename-regex=/(registry|rustc|rustlib)/").arg(&programs[0]);
    for program in &programs[1..] {
        export.arg("-object").arg(program);
    }
    Ok(parse(&told_by(export)?, root))
}

/// `cargo test` with counters that end in this file.
fn cargo(root: &Path, counts: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.arg("test").args(TESTS).args(["--target-dir", TARGET]).current_dir(root);
    cargo.env("RUSTFLAGS", "-Cinstrument-coverage").env("LLVM_PROFILE_FILE", counts);
    for name in ["TANADA_SEED", "TANADA_SEEDS"] {
        cargo.env_remove(name);
    }
    cargo
}

/// What a command prints, or what it complains of.
fn told_by(mut command: Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("cannot run {name}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Reads what the compiler has counted; must know its format.
struct Tools {
    profdata: PathBuf,
    cov: PathBuf,
}

/// Those that `LLVM_COV` and `LLVM_PROFDATA` name, or else those of the toolchain or
/// of the system, if they are not older than the compiler's own LLVM.
fn tools(root: &Path) -> Result<Tools, String> {
    let rustc = |arguments: &[&str]| {
        let mut rustc = Command::new("rustc");
        rustc.args(arguments).current_dir(root);
        told_by(rustc)
    };
    let version = rustc(&["-vV"])?;
    let field = |name: &str| version.lines().find_map(|line| line.strip_prefix(name));
    let host = field("host: ").ok_or("rustc does not say for which host it is")?;
    let wanted = field("LLVM version: ").and_then(major).ok_or("rustc does not name its LLVM")?;
    let sysroot = rustc(&["--print", "sysroot"])?;
    let own = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin");
    let pair = |profdata, cov| Tools { profdata, cov };
    let mut candidates = vec![pair(own.join("llvm-profdata"), own.join("llvm-cov"))];
    for suffix in [format!("-{wanted}"), format!("-{}", wanted + 1), String::new()] {
        let named = |name: &str| PathBuf::from(format!("{name}{suffix}"));
        candidates.push(pair(named("llvm-profdata"), named("llvm-cov")));
    }
    let told = |name| std::env::var_os(name).map(PathBuf::from);
    if let (Some(profdata), Some(cov)) = (told("LLVM_PROFDATA"), told("LLVM_COV")) {
        candidates = vec![pair(profdata, cov)];
    }
    let is_new_enough = |tools: &Tools| {
        let mut cov = Command::new(&tools.cov);
        cov.arg("--version");
        let told = told_by(cov).unwrap_or_default();
        let version = told.split("LLVM version ").nth(1).and_then(major);
        version.is_some_and(|version| version >= wanted)
    };
    candidates.into_iter().find(is_new_enough).ok_or_else(|| {
        format!(
            "missing: llvm-cov and llvm-profdata of LLVM {wanted} or later. Install them with\n    \
             rustup component add llvm-tools\nor, where the system has them: \
             apt-get install llvm-{wanted}\nor name them: LLVM_COV=PATH LLVM_PROFDATA=PATH"
        )
    })
}

/// The first number of a version.
fn major(version: &str) -> Option<u32> {
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The test program that a line of cargo's messages names.
fn test_program(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let is_test = message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
    is_test.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
}

/// Reads lcov: `SF:` names a file, `DA:` a line and how often it was reached.
fn parse(lcov: &str, root: &Path) -> BTreeMap<String, Lines> {
    let mut files: BTreeMap<String, Lines> = BTreeMap::new();
    let mut current = None;
    for line in lcov.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            let path = Path::new(path).strip_prefix(root).unwrap_or(Path::new(path));
            current = Some(files.entry(path.to_string_lossy().into_owned()).or_default());
        } else if let Some((number, count)) =
            line.strip_prefix("DA:").and_then(|pair| pair.split_once(','))
            && let (Some(lines), Ok(number), Ok(count)) =
                (current.as_mut(), number.parse(), count.parse::<u64>())
        {
            *lines.entry(number).or_default() += count;
        }
    }
    files
}

fn report(root: &Path, files: &BTreeMap<String, Lines>, missing: bool) -> ExitCode {
    let mut reached_goal = true;
    let mut gaps = Vec::new();
    println!("{:<12} {:>7} {:>9} {:>8}", "module", "lines", "reached", "%");
    for (module, places) in MODULES {
        let (mut all, mut reached) = (0, 0);
        for (path, lines) in files.iter().filter(|(path, _)| is_in(path, places)) {
            let text = std::fs::read_to_string(root.join(path)).unwrap_or_default();
            if is_test_file(root, path) {
                continue;
            }
            let left_out = left_out(&text);
            let counted =
                lines.iter().filter(|(n, _)| !left_out.iter().any(|range| range.contains(*n)));
            let (hit, gap): (Vec<_>, Vec<_>) = counted.partition(|(_, count)| **count > 0);
            all += hit.len() + gap.len();
            reached += hit.len();
            let text: Vec<&str> = text.lines().collect();
            gaps.extend(gap.into_iter().map(|(&n, _)| {
                format!("{path}:{n}: {}", text.get(n - 1).map_or("", |line| line.trim()))
            }));
        }
        // A module without lines was moved: this list is wrong then.
        let share = if all == 0 { 0.0 } else { 100.0 * reached as f64 / all as f64 };
        let verdict = if share >= GOAL { "" } else { "  below the goal" };
        println!("{module:<12} {all:>7} {reached:>9} {share:>8.1}{verdict}");
        reached_goal &= share >= GOAL;
    }
    println!("goal: {GOAL} % of each");
    if missing {
        println!("\nlines that no test reaches:");
        gaps.iter().for_each(|gap| println!("{gap}"));
    }
    if reached_goal { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether a path is one of these files, or below one of these directories.
fn is_in(path: &str, places: &[&str]) -> bool {
    let holds = |place: &&str| {
        if place.ends_with('/') { path.starts_with(*place) } else { path == *place }
    };
    places.iter().any(holds)
}

/// Whether the file, or a module above it, is declared for tests alone.
fn is_test_file(root: &Path, path: &str) -> bool {
    let mut module = Path::new(path).with_extension("");
    if module.file_name().is_some_and(|name| name == "mod") {
        module.pop();
    }
    while let (Some(name), Some(parent)) = (module.file_name(), module.parent()) {
        let name = name.to_string_lossy().into_owned();
        let declaring = [parent.join("mod.rs"), parent.with_extension("rs"), parent.join("lib.rs")];
        let mut texts =
            declaring.iter().filter_map(|file| std::fs::read_to_string(root.join(file)).ok());
        if texts.any(|text| declares_for_tests(&text, &name)) {
            return true;
        }
        module = parent.to_path_buf();
    }
    false
}

/// Whether `mod name;` stands under an attribute of tests.
fn declares_for_tests(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.windows(2).any(|pair| {
        let declared = pair[1].rsplit("mod ").next().and_then(|rest| rest.strip_suffix(';'));
        is_test_attribute(pair[0]) && declared == Some(name)
    })
}

fn is_test_attribute(line: &str) -> bool {
    line == "#[cfg(test)]" || line.starts_with("#[cfg(any(test,")
}

/// Lines of tests and of planted bugs. The text is as rustfmt leaves it: what a line
/// opens is closed by the next one that stands as far to the right.
fn left_out(text: &str) -> Vec<RangeInclusive<usize>> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let end_of = |opening: usize| {
        let depth = indent(lines[opening]);
        let closes = |line: &&str| indent(line) == depth && line.trim_start().starts_with('}');
        let behind = lines[opening + 1..].iter().position(closes);
        behind.map_or(lines.len(), |behind| opening + 1 + behind)
    };
    let mut ranges = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let text = line.trim();
        if is_test_attribute(text) {
            let item = (at + 1..lines.len()).find(|&n| !lines[n].trim().starts_with("#["));
            let item = item.unwrap_or(at);
            let is_one_line = lines[item].ends_with([';', ',', '}']);
            let end = if is_one_line { item } else { end_of(item) };
            ranges.push(at + 1..=end + 1);
        } else if text.contains("if planted!(") && text.ends_with('{') {
            // The condition itself is asked, and so is what stands behind the block.
            ranges.push(at + 2..=end_of(at));
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_tests_and_planted_bugs_are_left_out() {
        let text = "\
fn f() {
    if planted!(a) {
        wrong();
    }
    right();
}
#[cfg(test)]
use a::b;
fn g() {}
#[cfg(test)]
#[allow(x)]
mod tests {
    fn t() {
    }
}
fn h() {}";
        assert_eq!(left_out(text), [3..=3, 7..=8, 10..=15]);
        assert!(left_out("if !planted!(a) {\n    right();\n}").is_empty());
    }

    #[test]
    fn modules_for_tests_are_known_by_their_declaration() {
        let text =
            "mod a;\n#[cfg(test)]\nmod b;\n#[cfg(any(test, feature = \"x\"))]\npub(crate) mod c;";
        let known = ["a", "b", "c"].map(|name| declares_for_tests(text, name));
        assert_eq!(known, [false, true, true]);
    }

    #[test]
    fn a_line_that_two_programs_reach_counts_what_both_did() {
        let lcov = "SF:/r/a.rs\nDA:1,0\nDA:2,3\nend_of_record\nSF:/r/a.rs\nDA:1,4\n";
        let files = parse(lcov, Path::new("/r"));
        assert_eq!(files["a.rs"], Lines::from([(1, 4), (2, 3)]));
    }

    #[test]
    fn a_directory_holds_what_is_below_it_and_a_file_is_itself() {
        assert!(is_in("crates/a/wal/x.rs", &["crates/a/wal/"]));
        assert!(!is_in("crates/a/wal_x.rs", &["crates/a/wal/", "crates/a/wal.rs"]));
        assert_eq!((major("22.1.4"), major("x")), (Some(22), None));
    }
}
