//! Every public method of the engine has its place in the differential test, or a reason
//! why not.
//!
//! The methods are read from the engine's source, for every type that its `lib.rs` exports;
//! the places are the strings of `crates/differential/src/methods.rs`, each `Type::method`.
//! The test itself fails for a method that is named there and not called.

use super::{Finding, is_test_path};
use crate::source::Source;
use crate::tree::Tree;
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

pub(crate) const RULE: &str = "differential";

const LIB: &str = "crates/engine/src/lib.rs";
const ENGINE: &str = "crates/engine/src/";
const PLACES: &str = "crates/differential/src/methods.rs";

/// Finds methods without a place, and places of methods that are gone.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(exported) = tree.text(LIB).and_then(|text| Source::parse(text).ok()) else {
        return Vec::new();
    };
    let exported: BTreeSet<String> = exported.exports.into_iter().map(|(name, _)| name).collect();
    let mut methods = BTreeMap::new();
    for (path, text) in tree.select(ENGINE, ".rs") {
        let Ok(tokens) = TokenStream::from_str(text) else { continue };
        if is_test_path(path) {
            continue;
        }
        for (method, line) in public_methods(&tokens) {
            let of = method.split("::").next().unwrap_or_default();
            if exported.contains(of) {
                methods.entry(method).or_insert((path.to_string(), line));
            }
        }
    }
    let places = tree.text(PLACES).map(places).unwrap_or_default();
    let mut findings = Vec::new();
    for (method, (file, line)) in &methods {
        if !places.contains_key(method) {
            let what = format!(
                "{method} has no place in the differential test; call it there and name it in \
                 METHODS of {PLACES}, or say in LEFT_OUT why not"
            );
            findings.push(Finding { file: file.clone(), line: *line, rule: RULE, what });
        }
    }
    for (method, line) in places {
        if !methods.contains_key(&method) {
            let what = format!("{method} is no public method of the engine any more");
            findings.push(Finding { file: PLACES.to_owned(), line, rule: RULE, what });
        }
    }
    findings
}

/// Public functions of `impl Type { … }`, as `Type::function`, each with its line.
fn public_methods(tokens: &TokenStream) -> Vec<(String, usize)> {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut methods = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if !matches!(token, TokenTree::Ident(word) if word == "impl") {
            continue;
        }
        let Some(body) = (at..tokens.len()).find(|&i| is_body(&tokens[i])) else { continue };
        let TokenTree::Group(group) = &tokens[body] else { continue };
        if let Some(name) = implemented(&tokens[at + 1..body]) {
            let found = functions(&group.stream());
            methods.extend(found.into_iter().map(|(f, line)| (format!("{name}::{f}"), line)));
        }
    }
    methods
}

fn is_body(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

/// The type in the head of an `impl`; `None` for that of a trait.
fn implemented(head: &[TokenTree]) -> Option<String> {
    let (mut depth, mut name) = (0, None);
    for token in head {
        match token {
            TokenTree::Punct(p) if p.as_char() == '<' => depth += 1,
            TokenTree::Punct(p) if p.as_char() == '>' => depth -= 1,
            TokenTree::Ident(word) if depth == 0 && word == "for" => return None,
            TokenTree::Ident(word) if depth == 0 && word == "where" => break,
            TokenTree::Ident(word) if depth == 0 => name = Some(word.to_string()),
            _ => {}
        }
    }
    name
}

/// `pub fn name`, with the words that may stand between.
fn functions(body: &TokenStream) -> Vec<(String, usize)> {
    let tokens: Vec<TokenTree> = body.clone().into_iter().collect();
    let word = |at: usize| match tokens.get(at) {
        Some(TokenTree::Ident(word)) => word.to_string(),
        _ => String::new(),
    };
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        if word(at) != "pub" {
            continue;
        }
        let mut next = at + 1;
        while matches!(word(next).as_str(), "const" | "async" | "unsafe") {
            next += 1;
        }
        if let (true, Some(TokenTree::Ident(name))) = (word(next) == "fn", tokens.get(next + 1)) {
            found.push((name.to_string(), name.span().start().line));
        }
    }
    found
}

/// The strings `Type::method` of the file, each with its line.
fn places(text: &str) -> BTreeMap<String, usize> {
    let mut places = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for name in code.split('"').skip(1).step_by(2) {
            let is_path = name
                .split_once("::")
                .is_some_and(|(of, method)| !of.is_empty() && !method.is_empty())
                && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | ':'));
            if is_path {
                places.insert(name.to_owned(), at + 1);
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    const DB: &str = "impl Db { pub fn put(&self) {} pub(crate) fn core(&self) {} fn own() {} }\n\
                      impl<T: Ord> Db { #[inline] pub const fn get<K>(k: K) -> u8 { 0 } }\n\
                      impl Drop for Db { fn drop(&mut self) {} }\n\
                      impl Inner { pub fn hidden() {} }";

    fn findings(places: &str) -> Vec<(String, usize)> {
        let tree = Tree::of(&[
            (LIB, "pub use api::db::Db;"),
            ("crates/engine/src/api/db.rs", DB),
            (PLACES, places),
        ]);
        check(&tree).into_iter().map(|f| (f.what, f.line)).collect()
    }

    #[test]
    fn a_method_without_a_place_is_found_and_so_is_a_place_without_a_method() {
        assert!(findings("[\"Db::put\"]; [(\"Db::get\", \"not compared: why\")]").is_empty());
        let found = findings("[\n\"Db::put\",\n\"Db::gone\"]");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].0.starts_with("Db::get has no place") && found[0].1 == 2, "{found:?}");
        assert!(found[1].0.starts_with("Db::gone is no public") && found[1].1 == 3, "{found:?}");
    }
}
