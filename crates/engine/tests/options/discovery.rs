//! Which options there are, read from the engine's source.
//!
//! A type that says how something is done is one of which a method takes `self` by value, as
//! each method of a builder does; and [`BY_REFERENCE`]. Public types are those that `lib.rs`
//! exports. The source is formatted, so a line tells what it begins.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Types that are put together by `&mut self`.
const BY_REFERENCE: &[&str] = &["Batch"];

/// What the source says.
#[derive(Default)]
struct Source {
    /// Signatures of public methods, by type and name.
    methods: BTreeMap<(String, String), String>,
    /// Variants of public enums.
    variants: BTreeMap<String, Vec<String>>,
    /// Public fields of public structs.
    fields: Vec<(String, String)>,
    /// What implements `KeyRange`.
    ranges: Vec<String>,
}

/// Every option, as `Type::method`, `Enum::Variant` or `KeyRange for Type`.
pub(crate) fn options() -> BTreeSet<String> {
    let exported = words(&exports());
    let source = Source::read();
    let of_exported = |(of, _): &&(String, String)| exported.contains(of);
    let takes_itself = |signature: &str| {
        ["(self)", "(self,", "(mut self)", "(mut self,"].iter().any(|s| signature.contains(s))
    };
    let by_value = source.methods.iter().filter(|(_, signature)| takes_itself(signature));
    let by_value = by_value.map(|(method, _)| method).filter(of_exported).map(|(of, _)| &**of);
    let types: BTreeSet<&str> = by_value.chain(BY_REFERENCE.iter().copied()).collect();

    let mut found = BTreeSet::new();
    for ((of, method), signature) in &source.methods {
        if !types.contains(&**of) {
            continue;
        }
        found.insert(format!("{of}::{method}"));
        let parameters = words(signature.split("->").next().unwrap_or_default());
        for (name, variants) in &source.variants {
            if exported.contains(name) && parameters.contains(name) {
                found.extend(variants.iter().map(|variant| format!("{name}::{variant}")));
            }
        }
    }
    for (of, field) in &source.fields {
        let has_method = found.contains(&format!("{of}::{field}"));
        assert!(has_method || !types.contains(&**of), "{of}.{field} has no method of its name");
    }
    found.extend(source.ranges.iter().map(|range| format!("KeyRange for {range}")));
    found
}

/// What `lib.rs` exports.
fn exports() -> String {
    let lib = include_str!("../../src/lib.rs");
    let exports: Vec<&str> =
        lib.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next()).collect();
    exports.join(" ")
}

fn words(text: &str) -> BTreeSet<String> {
    let is_other = |c: char| !c.is_alphanumeric() && c != '_';
    text.split(is_other).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// The type of an `impl` that is of no trait.
fn implemented(line: &str) -> Option<&str> {
    let head = line.strip_prefix("impl")?;
    if head.contains(" for ") {
        return None;
    }
    let head = if head.starts_with('<') { head.split_once("> ")?.1 } else { head.trim_start() };
    Some(first_word(head))
}

/// Which item a line belongs to.
enum Inside {
    Nothing,
    Impl(String),
    Enum(String),
    Struct(String),
}

impl Source {
    fn read() -> Source {
        let mut source = Source::default();
        let mut open = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        while let Some(path) = open.pop() {
            if path.is_dir() {
                let entries = std::fs::read_dir(&path).expect("the source is here");
                open.extend(entries.map(|entry| entry.expect("it is readable").path()));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                source.read_file(&std::fs::read_to_string(&path).expect("the source is here"));
            }
        }
        source
    }

    fn read_file(&mut self, text: &str) {
        let mut inside = Inside::Nothing;
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(name) = line.strip_prefix("pub enum ") {
                inside = Inside::Enum(first_word(name).to_owned());
            } else if let Some(name) = line.strip_prefix("pub struct ") {
                inside = Inside::Struct(first_word(name).to_owned());
            } else if line.starts_with("impl") {
                let of = implemented(line).map(str::to_owned);
                inside = of.map_or(Inside::Nothing, Inside::Impl);
                let range = line.split_once("KeyRange for ").map(|(_, range)| range);
                self.ranges.extend(range.map(|range| range.trim_end_matches(" {").to_owned()));
            } else if line == "}" {
                inside = Inside::Nothing;
            }
            let Some(item) = line.strip_prefix("    ") else { continue };
            match &inside {
                Inside::Impl(of) => {
                    let function = item.strip_prefix("pub fn ");
                    let function = function.or_else(|| item.strip_prefix("pub const fn "));
                    let Some(function) = function else { continue };
                    let mut signature = function.trim().to_owned();
                    while !signature.contains('{') {
                        let more = lines.next().expect("a body comes behind a signature").trim();
                        let space = if signature.ends_with('(') { "" } else { " " };
                        signature = format!("{signature}{space}{more}");
                    }
                    let name = (of.clone(), first_word(function).to_owned());
                    self.methods.insert(name, signature);
                }
                Inside::Enum(of) if item.starts_with(|c: char| c.is_ascii_uppercase()) => {
                    let variants = self.variants.entry(of.clone()).or_default();
                    variants.push(first_word(item).to_owned());
                }
                Inside::Struct(of) => {
                    let field = item.strip_prefix("pub ").and_then(|f| f.split_once(':'));
                    self.fields.extend(field.map(|(name, _)| (of.clone(), name.to_owned())));
                }
                Inside::Enum(_) | Inside::Nothing => {}
            }
        }
    }
}
