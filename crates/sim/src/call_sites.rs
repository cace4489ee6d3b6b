//! The places in the engine's source that call the file system: found in the source,
//! and found again for a call that is being made.
//!
//! A site is a file, a function, and which call of that name it is there. No line
//! numbers: they would be stale with the next change. Lines serve only while a run
//! lasts, to find the place in the source from the stack of a call.

use std::backtrace::Backtrace;
use std::fmt;
use std::path::Path;
use tanada_vfs::fault::Op;
use tanada_vfs::{Env, FileSystem};

/// Where the engine's source lies, from the repository's root.
const ROOTS: [&str; 2] = ["crates/engine/src", "crates/table/src"];

/// Methods of a `FileSystem`, which is called `fs` wherever it is held, and the name
/// by which a call is known: `exists` asks for the length, and a file whose descriptor
/// may be closed is opened like any other.
const OF_FILE_SYSTEMS: [(&str, &str); 19] = [
    ("create_dir_all", "create_dir_all"),
    ("create_dir", "create_dir"),
    ("read_dir", "read_dir"),
    ("create", "create"),
    ("open_append", "open_append"),
    ("open", "open"),
    ("open_closable", "open"),
    ("create_log", "create_log"),
    ("rename", "rename"),
    ("remove", "remove"),
    ("remove_dir", "remove_dir"),
    ("hard_link", "hard_link"),
    ("sync_dir", "sync_dir"),
    ("sync_dir_once", "sync_dir"),
    ("canonical", "canonical"),
    ("len", "len"),
    ("exists", "len"),
    ("lock", "lock"),
    ("free_space", "free_space"),
];

/// Methods of open files that can fail.
const OF_FILES: [&str; 4] = ["append", "sync", "read_exact_at", "warm"];

/// Methods of open files that vectors have too: of what is called a file alone.
const OF_NAMED_FILES: [&str; 2] = ["reserve", "truncate"];

/// Calls of these names on these things are none to a file: the log's writer, the
/// manifest and its records have methods of the same names, and call the file in them.
const NO_FILES: [(&str, &str); 6] = [
    ("self", "append"),
    ("log", "append"),
    ("manifest", "append"),
    ("wal", "append"),
    ("self", "sync"),
    ("wal", "sync"),
];

/// A function that ends with such a call may be gone from the stack when the call is
/// made, and its caller too where two of its calls were made one. Then the stack shows
/// the function named second, and the calls that end the one named third are meant.
const ENDS_WITH_A_CALL: [(&str, &str, &str); 2] = [
    ("crates/engine/src/wal/writer.rs", "append", "write_parts"),
    ("crates/engine/src/wal/writer.rs", "mark", "write_parts"),
];

/// A place that calls the file system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// The file, from `crates/`.
    pub file: String,
    /// The function.
    pub function: String,
    /// What is called.
    pub call: &'static str,
    /// Which of the calls of that name in that function, from 1.
    pub nth: usize,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Site { file, function, call, nth } = self;
        write!(f, "{file} {function} {call} {nth}")
    }
}

/// All sites of the source as it lies there.
#[derive(Debug)]
pub struct Source {
    files: Vec<File>,
}

#[derive(Debug)]
struct File {
    name: String,
    functions: Vec<Function>,
    /// With their lines.
    sites: Vec<(Site, usize)>,
}

#[derive(Debug)]
struct Function {
    name: String,
    first: usize,
    last: usize,
}

impl Source {
    /// Reads the source of the engine and of its tables, tests left out.
    ///
    /// # Panics
    /// When it is not there, or a file system goes by another name than `fs`.
    pub fn read() -> Source {
        let fs = Env::real().fs;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut texts = Vec::new();
        for dir in ROOTS {
            read_dir(&*fs, &root.join(dir), dir, &mut texts);
        }
        let tests: Vec<String> =
            texts.iter().flat_map(|(name, text)| tests_of(name, text)).collect();
        let is_test = |name: &str| {
            tests
                .iter()
                .any(|test| name == format!("{test}.rs") || name.starts_with(&format!("{test}/")))
        };
        texts.retain(|(name, _)| !is_test(name));
        let files = texts.into_iter().map(|(name, text)| File::parse(name, &text)).collect();
        Source { files }
    }

    /// Every site.
    pub fn sites(&self) -> impl Iterator<Item = &Site> {
        self.files.iter().flat_map(|file| file.sites.iter().map(|(site, _)| site))
    }

    /// The site that makes this call, from the stack on which it is made; `before` is
    /// that of the call before it. Costs a millisecond.
    ///
    /// # Errors
    /// With the place on the stack, where the source has no such call.
    pub fn caller(&self, op: Op, before: Option<&Site>) -> Result<Site, String> {
        let stack = Backtrace::force_capture().to_string();
        let Some((name, line)) = innermost(&stack) else {
            return Err(format!("{op:?}, by nobody in {ROOTS:?}"));
        };
        let found = self.at(&name, line, op);
        let found = found.or_else(|| self.behind_end(&name, line, op, before));
        // A read whose file has lost its descriptor opens it again: it is the read's.
        let reopened = || self.at(&name, line, Op::Read).filter(|_| op == Op::Open);
        let found = found.or_else(reopened);
        found.ok_or_else(|| format!("{op:?} at {name}:{line}"))
    }

    /// The call that ends a function which is gone from the stack: one that was at its
    /// last call but two has come to the next, any other has begun with its last.
    fn behind_end(&self, name: &str, line: usize, op: Op, before: Option<&Site>) -> Option<Site> {
        let file = self.files.iter().find(|file| file.name == name)?;
        let shown = &file.function_at(line)?.name;
        let (.., gone) = ENDS_WITH_A_CALL.iter().find(|(f, s, _)| *f == name && s == shown)?;
        let sites = file.sites.iter().map(|(site, _)| site);
        let its = |site: &&Site| site.function == *gone && site.call == call_of(op);
        let mut last = sites.filter(its).rev();
        let (last, earlier) = (last.next()?, last.next());
        match earlier {
            Some(one) if before.is_some_and(|b| its(&b) && b.nth + 1 == one.nth) => Some(one),
            _ => Some(last),
        }
        .cloned()
    }

    /// The site of this call that the compiler notes at this line: the one it names, or
    /// the next, where an expression goes over several lines.
    fn at(&self, name: &str, line: usize, op: Op) -> Option<Site> {
        let file = self.files.iter().find(|file| file.name == name)?;
        let function = file.function_at(line)?;
        let mut sites = file.sites.iter().filter(|(site, at)| {
            site.call == call_of(op) && (function.first..=function.last).contains(at)
        });
        let last = sites.clone().next_back();
        sites.find(|(_, at)| *at >= line).or(last).map(|(site, _)| site.clone())
    }
}

/// By which name a call of this kind stands in the source.
fn call_of(op: Op) -> &'static str {
    match op {
        Op::CreateDirAll => "create_dir_all",
        Op::CreateDir => "create_dir",
        Op::ReadDir => "read_dir",
        Op::Create => "create",
        Op::OpenAppend => "open_append",
        Op::Open => "open",
        Op::CreateLog => "create_log",
        Op::Rename => "rename",
        Op::Remove => "remove",
        Op::RemoveDir => "remove_dir",
        Op::Canonical => "canonical",
        Op::HardLink => "hard_link",
        Op::SyncDir => "sync_dir",
        Op::Len => "len",
        Op::Lock => "lock",
        Op::FreeSpace => "free_space",
        Op::Append | Op::LogAppend => "append",
        Op::Sync | Op::LogSync => "sync",
        Op::Reserve => "reserve",
        Op::Truncate => "truncate",
        Op::Read => "read_exact_at",
        Op::LogWarm => "warm",
    }
}

/// The innermost frame of a printed stack that lies in the engine: file and line.
fn innermost(stack: &str) -> Option<(String, usize)> {
    stack.lines().find_map(|line| {
        let place = line.trim().strip_prefix("at ")?;
        let from = ROOTS.iter().find_map(|root| place.find(&format!("{root}/")))?;
        let mut parts = place[from..].split(':');
        Some((parts.next()?.to_owned(), parts.next()?.parse().ok()?))
    })
}

fn read_dir(fs: &dyn FileSystem, dir: &Path, name: &str, texts: &mut Vec<(String, String)>) {
    for entry in fs.read_dir(dir).expect("the engine's source is there") {
        let (path, name) = (dir.join(&entry.name), format!("{name}/{}", entry.name));
        if entry.is_dir {
            read_dir(fs, &path, &name, texts);
        } else if name.ends_with(".rs") {
            texts.push((name, read_text(fs, &path)));
        }
    }
}

fn read_text(fs: &dyn FileSystem, path: &Path) -> String {
    let file = fs.open(path).expect("it has just been listed");
    let mut bytes = vec![0; file.len() as usize];
    file.read_exact_at(&mut bytes, 0).expect("it is as long as it says");
    String::from_utf8(bytes).expect("source is text")
}

/// The modules that this file declares for tests and fuzzing, without `.rs`.
fn tests_of(name: &str, text: &str) -> Vec<String> {
    let own = name.trim_end_matches(".rs");
    let parent = own.strip_suffix("/mod").or_else(|| own.strip_suffix("/lib")).unwrap_or(own);
    let lines: Vec<&str> = text.lines().collect();
    let declared = lines.windows(2).filter(|pair| is_for_tests(pair[0]));
    let named = declared.filter_map(|pair| {
        let name = pair[1].strip_suffix(';')?.split(' ').next_back()?;
        pair[1].contains("mod ").then(|| format!("{parent}/{name}"))
    });
    named.collect()
}

fn is_for_tests(line: &str) -> bool {
    ["#[cfg(test)]", "#[cfg(any(test", "#[cfg(all(test"].iter().any(|start| line.starts_with(start))
}

impl File {
    fn parse(name: String, text: &str) -> File {
        let text = without_tests_and_comments(text);
        for line in text.lines().filter(|line| line.contains("dyn FileSystem")) {
            assert!(line.contains("fs: "), "{name}: a file system must be called fs: {line}");
        }
        let mut file = File { name, functions: functions(&text), sites: Vec::new() };
        for (line, call) in calls(&text) {
            let (Some(function), short) = (file.function_at(line), file.name.as_str()) else {
                panic!("{}:{line} calls {call} outside of any function", file.name);
            };
            let here = |site: &Site| site.function == function.name && site.call == call;
            let before = file.sites.iter().filter(|(site, _)| here(site)).collect::<Vec<_>>();
            // Two on one line count as one: nothing tells them apart.
            if before.iter().any(|(_, at)| *at == line) {
                continue;
            }
            let short = short.strip_prefix("crates/").unwrap_or(short);
            let nth = before.len() + 1;
            let function = function.name.clone();
            file.sites.push((Site { file: short.to_owned(), function, call, nth }, line));
        }
        file
    }

    /// The innermost function around this line.
    fn function_at(&self, line: usize) -> Option<&Function> {
        let around = self.functions.iter().filter(|f| (f.first..=f.last).contains(&line));
        around.max_by_key(|f| f.first)
    }
}

fn without_tests_and_comments(text: &str) -> String {
    let mut out = String::new();
    let lines: Vec<&str> = text.lines().collect();
    for (n, line) in lines.iter().enumerate() {
        let opens_tests = |next: &&str| next.contains("mod ") && next.ends_with('{');
        if is_for_tests(line) && lines[n + 1..].iter().take(2).any(opens_tests) {
            break;
        }
        out.push_str(line.find("//").map_or(line, |at| &line[..at]));
        out.push('\n');
    }
    out
}

/// All functions, as the formatter lays them out: one ends with a brace that stands
/// where its first line begins.
fn functions(text: &str) -> Vec<Function> {
    let mut found: Vec<Function> = Vec::new();
    let mut open: Vec<(usize, usize)> = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let (n, indent) = (n + 1, line.len() - line.trim_start().len());
        if let Some(name) = function_name(line.trim_start()) {
            open.retain(|(at, _)| *at < indent);
            found.push(Function { name, first: n, last: n });
            if !line.ends_with('}') && !line.ends_with(';') {
                open.push((indent, found.len() - 1));
            }
        } else if line.trim() == "}"
            && let Some(at) = open.iter().position(|(at, _)| *at == indent)
        {
            found[open[at].1].last = n;
            open.truncate(at);
        }
    }
    found
}

fn function_name(mut line: &str) -> Option<String> {
    for word in ["pub ", "pub(crate) ", "pub(super) ", "const ", "async ", "unsafe "] {
        line = line.strip_prefix(word).unwrap_or(line);
    }
    let rest = line.strip_prefix("fn ")?;
    Some(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
}

/// Every call to a file system or an open file: its line, and what is called.
fn calls(text: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (dot, _) in text.match_indices('.') {
        let rest = &text[dot + 1..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        if !rest.starts_with('(') {
            continue;
        }
        let receiver = receiver(&text[..dot]);
        let of_fs = OF_FILE_SYSTEMS.iter().find(|(method, _)| receiver == "fs" && *method == name);
        let of_file = OF_FILES.iter().find(|method| **method == name);
        let of_file = of_file.filter(|_| !NO_FILES.contains(&(receiver, name)));
        let named = OF_NAMED_FILES.iter().find(|method| receiver == "file" && **method == name);
        let of_file = of_file.or(named);
        if let Some(call) = of_fs.map(|(_, call)| *call).or(of_file.copied()) {
            found.push((1 + text[..dot].matches('\n').count(), call));
        }
    }
    found
}

/// The last name before a dot: of a field, a variable, or a call.
fn receiver(before: &str) -> &str {
    let before = before.trim_end().trim_end_matches('?');
    let Some(inside) = before.strip_suffix(')') else { return last_name(before) };
    let mut depth = 1;
    for (at, c) in inside.char_indices().rev() {
        depth += match c {
            ')' => 1,
            '(' => -1,
            _ => 0,
        };
        if depth == 0 {
            let name = last_name(&inside[..at]);
            return if name.is_empty() { last_name(inside) } else { name };
        }
    }
    ""
}

fn last_name(text: &str) -> &str {
    let end = text.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_').len();
    &text[end..]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
impl Writer {
    fn begin(
        env: &Env,
    ) -> Result<()> {
        let f = || env.fs.create(p)?; // env.fs.remove(p)
        (**fs).open(p); keyspaces.remove(p); self.0.env.fs()
            .create(q);
        self.append(x);
    }

    fn end(&self) { self.file.append(x) }
}

#[cfg(test)]
mod tests {
    fn t() { fs.rename(a, b) }
}
";

    #[test]
    fn calls_to_files_are_found_with_their_functions_and_others_are_not() {
        let file = File::parse("crates/engine/src/w.rs".into(), TEXT);
        let found: Vec<String> = file.sites.iter().map(|(site, _)| site.to_string()).collect();
        let expected = ["begin create 1", "begin open 1", "begin create 2", "end append 1"];
        assert_eq!(found, expected.map(|site| format!("engine/src/w.rs {site}")));
    }

    #[test]
    fn a_call_is_found_by_the_line_it_begins_or_ends_on() {
        let source = Source { files: vec![File::parse("crates/engine/src/w.rs".into(), TEXT)] };
        let at = |line, op| source.at("crates/engine/src/w.rs", line, op).map(|site| site.nth);
        assert_eq!(at(5, Op::Create), Some(1));
        assert_eq!(at(6, Op::Create), Some(2));
        assert_eq!(at(7, Op::Create), Some(2));
        assert_eq!(at(11, Op::LogAppend), Some(1));
        assert_eq!(at(5, Op::Rename), None);
        assert_eq!(at(1, Op::Create), None);
    }

    #[test]
    fn calls_that_end_a_function_gone_from_the_stack_are_told_apart() {
        let text = "\
fn append() {
    write_parts()
}
fn write_parts() {
    file.append(a)
    file.append(b)
    file.append(c)
    file.append(d)
}
";
        let name = "crates/engine/src/wal/writer.rs";
        let source = Source { files: vec![File::parse(name.into(), text)] };
        let second = source.at(name, 6, Op::LogAppend).unwrap();
        let third = source.behind_end(name, 2, Op::LogAppend, Some(&second)).unwrap();
        assert_eq!((second.nth, third.nth), (2, 3));
        let nth = |before| source.behind_end(name, 2, Op::LogAppend, before).map(|site| site.nth);
        assert_eq!((nth(Some(&third)), nth(None)), (Some(4), Some(4)));
        assert_eq!(source.behind_end(name, 5, Op::LogAppend, None), None);
    }

    #[test]
    fn the_innermost_frame_of_the_engine_counts() {
        let stack = "   1: a\n             at ./crates/vfs/src/fault/mod.rs:9:1\n   2: b\n \
                     at /r/crates/table/src/table.rs:501:13\n   3: c\n  at ./crates/engine/src/db.rs:7:1";
        assert_eq!(innermost(stack), Some(("crates/table/src/table.rs".into(), 501)));
        assert_eq!(innermost("   1: a\n      at ./crates/sim/src/runner.rs:1:1"), None);
    }

    #[test]
    fn files_of_tests_are_known_by_their_declarations() {
        let text =
            "mod a;\n#[cfg(test)]\nmod tests;\n#[cfg(any(test, feature = \"f\"))]\npub mod fuzz;";
        assert_eq!(tests_of("x/src/lib.rs", text), ["x/src/tests", "x/src/fuzz"]);
        assert_eq!(tests_of("x/src/run.rs", text), ["x/src/run/tests", "x/src/run/fuzz"]);
    }
}
