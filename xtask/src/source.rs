//! One Rust file as the rules see it: the paths it names, the modules it
//! declares, the names it re-exports, and where `unsafe` stands.
//!
//! Works on tokens, not on text, so that comments and strings never count, and
//! not on a syntax tree, so that what stands inside macro calls does count.
//! Items under `#[cfg(test)]` or `#[test]` are left out.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::str::FromStr;

/// A path of names such as `crate::wal::Writer`, as it stands in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedPath {
    /// Its names; a glob import ends in `*`.
    pub(crate) segments: Vec<String>,
    /// Line, from 1.
    pub(crate) line: usize,
    /// Inline modules around it, which `super` has to climb first.
    pub(crate) depth: usize,
}

/// A `mod name;` in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModuleDeclaration {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// Under `#[cfg(test)]`: its file holds tests only.
    pub(crate) test: bool,
}

/// What the rules want to know of a file.
#[derive(Debug, Default, Clone)]
pub(crate) struct Source {
    pub(crate) paths: Vec<NamedPath>,
    pub(crate) modules: Vec<ModuleDeclaration>,
    /// `pub use a::b::C` and `pub(crate) use …`: the exported name and the path behind it.
    pub(crate) exports: Vec<(String, Vec<String>)>,
    /// Lines on which the word `unsafe` stands.
    pub(crate) unsafe_lines: Vec<usize>,
    /// Macros that are called by one name, and where.
    macros: Vec<(String, usize)>,
    /// The whole file is under `#![cfg(test)]`.
    pub(crate) test_only: bool,
}

impl Source {
    /// Reads a file's tokens. `Err` with the line when it is not Rust.
    pub(crate) fn parse(text: &str) -> Result<Source, usize> {
        let stream = TokenStream::from_str(text).map_err(|e| e.span().start().line)?;
        let mut source = Source::default();
        source.walk(&stream.into_iter().collect::<Vec<_>>(), 0, true);
        Ok(source)
    }

    /// Lines on which the macro `name` is called.
    pub(crate) fn macro_lines(&self, name: &str) -> impl Iterator<Item = usize> {
        self.macros.iter().filter(move |(called, _)| called == name).map(|&(_, line)| line)
    }

    fn walk(&mut self, tokens: &[TokenTree], depth: usize, at_file_level: bool) {
        let mut i = 0;
        let mut exported = false;
        while i < tokens.len() {
            match &tokens[i] {
                TokenTree::Punct(p) if p.as_char() == '#' => {
                    let inner = is_punct(tokens.get(i + 1), '!');
                    let at = if inner { i + 2 } else { i + 1 };
                    let Some(TokenTree::Group(attribute)) = tokens.get(at) else {
                        i += 1;
                        continue;
                    };
                    i = at + 1;
                    if !is_test_attribute(&attribute.stream()) {
                        continue;
                    }
                    if inner {
                        self.test_only |= at_file_level;
                        return;
                    }
                    let end = end_of_item(tokens, i);
                    self.note_test_module(&tokens[i..end]);
                    i = end;
                }
                TokenTree::Ident(word) => {
                    let word_text = word.to_string();
                    match word_text.as_str() {
                        "unsafe" => {
                            self.unsafe_lines.push(word.span().start().line);
                            i += 1;
                        }
                        "pub" => {
                            exported = true;
                            i += 1;
                            // `pub(crate)`, `pub(super)`: the parenthesis is no path of interest.
                            if matches!(tokens.get(i), Some(TokenTree::Group(g)) if g.delimiter() == Delimiter::Parenthesis)
                            {
                                i += 1;
                            }
                            continue;
                        }
                        "use" => i = self.read_use(tokens, i + 1, depth, exported),
                        "mod" => i = self.read_mod(tokens, i, depth),
                        _ => i = self.read_path(tokens, i, depth),
                    }
                    exported = false;
                }
                TokenTree::Group(group) => {
                    self.walk(&group.stream().into_iter().collect::<Vec<_>>(), depth, false);
                    i += 1;
                }
                _ => i += 1,
            }
        }
    }

    /// `mod name;` is a declaration; `mod name { … }` is walked one level deeper.
    fn read_mod(&mut self, tokens: &[TokenTree], at: usize, depth: usize) -> usize {
        let Some(TokenTree::Ident(name)) = tokens.get(at + 1) else { return at + 1 };
        match tokens.get(at + 2) {
            Some(TokenTree::Group(body)) => {
                self.walk(&body.stream().into_iter().collect::<Vec<_>>(), depth + 1, false);
                at + 3
            }
            _ => {
                let line = name.span().start().line;
                self.modules.push(ModuleDeclaration { name: name.to_string(), line, test: false });
                at + 2
            }
        }
    }

    /// A skipped item that is `mod name;` declares a file of tests.
    fn note_test_module(&mut self, item: &[TokenTree]) {
        for pair in item.windows(2) {
            if let [TokenTree::Ident(word), TokenTree::Ident(name)] = pair
                && word == "mod"
            {
                let line = name.span().start().line;
                self.modules.push(ModuleDeclaration { name: name.to_string(), line, test: true });
                return;
            }
        }
    }

    fn read_path(&mut self, tokens: &[TokenTree], at: usize, depth: usize) -> usize {
        let mut segments = Vec::new();
        let mut i = at;
        let mut line = 0;
        while let Some(TokenTree::Ident(name)) = tokens.get(i) {
            if segments.is_empty() {
                line = name.span().start().line;
            }
            segments.push(name.to_string());
            i += 1;
            // `a::b` goes on; `a::<T>` and `a:` end the path.
            if is_colons(tokens, i) && matches!(tokens.get(i + 2), Some(TokenTree::Ident(_))) {
                i += 2;
            } else {
                break;
            }
        }
        if segments.len() == 1 && is_punct(tokens.get(i), '!') {
            self.macros.push((segments[0].clone(), line));
        }
        if segments.len() > 1 {
            self.paths.push(NamedPath { segments, line, depth });
        }
        i
    }

    fn read_use(&mut self, tokens: &[TokenTree], at: usize, depth: usize, exported: bool) -> usize {
        let end =
            (at..tokens.len()).find(|&i| is_punct(tokens.get(i), ';')).unwrap_or(tokens.len());
        let mut leaves = Vec::new();
        use_tree(&tokens[at..end], &[], &mut leaves);
        for leaf in leaves {
            if exported {
                self.exports.push((leaf.exported_as, leaf.segments.clone()));
            }
            self.paths.push(NamedPath { segments: leaf.segments, line: leaf.line, depth });
        }
        end
    }
}

struct UseLeaf {
    segments: Vec<String>,
    exported_as: String,
    line: usize,
}

/// Flattens `a::{b, c::{d as e, *}}` into its leaves.
fn use_tree(tokens: &[TokenTree], prefix: &[String], leaves: &mut Vec<UseLeaf>) {
    for part in tokens.split(|token| is_punct(Some(token), ',')) {
        let mut segments = prefix.to_vec();
        let mut alias = None;
        let mut line = 0;
        let mut nested = false;
        let mut i = 0;
        while i < part.len() {
            match &part[i] {
                TokenTree::Ident(word) if word == "as" => {
                    alias = part.get(i + 1).map(ToString::to_string);
                    break;
                }
                TokenTree::Ident(name) => {
                    line = name.span().start().line;
                    segments.push(name.to_string());
                }
                TokenTree::Group(group) => {
                    let inner: Vec<_> = group.stream().into_iter().collect();
                    use_tree(&inner, &segments, leaves);
                    nested = true;
                }
                TokenTree::Punct(p) if p.as_char() == '*' => {
                    line = p.span().start().line;
                    segments.push("*".into());
                }
                _ => {}
            }
            i += 1;
        }
        if nested || segments.len() == prefix.len() {
            continue;
        }
        // `use a::b::{self}` names b.
        if segments.len() > 1 && segments.last().is_some_and(|s| s == "self") {
            segments.pop();
        }
        let exported_as = alias.unwrap_or_else(|| segments.last().cloned().unwrap_or_default());
        leaves.push(UseLeaf { segments, exported_as, line });
    }
}

/// `#[test]`, `#[cfg(test)]`, `#[cfg(all(test, …))]`.
fn is_test_attribute(attribute: &TokenStream) -> bool {
    let text: String = attribute.to_string().split_whitespace().collect();
    text == "test" || text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

/// Where the item, statement or field that starts at `from` ends.
fn end_of_item(tokens: &[TokenTree], from: usize) -> usize {
    const ITEMS: &[&str] = &[
        "pub",
        "fn",
        "mod",
        "impl",
        "struct",
        "enum",
        "trait",
        "use",
        "const",
        "static",
        "type",
        "unsafe",
        "async",
        "extern",
        "macro_rules",
    ];
    let mut i = from;
    while is_punct(tokens.get(i), '#') {
        i += 2;
    }
    let item = matches!(tokens.get(i), Some(TokenTree::Ident(word))
        if ITEMS.contains(&word.to_string().as_str()));
    let is_use = tokens[i.min(tokens.len())..]
        .iter()
        .take(3)
        .any(|token| matches!(token, TokenTree::Ident(word) if word == "use"));
    while i < tokens.len() {
        match &tokens[i] {
            TokenTree::Punct(p) if p.as_char() == ';' => return i + 1,
            TokenTree::Punct(p) if p.as_char() == ',' && !item => return i + 1,
            TokenTree::Group(g) if g.delimiter() == Delimiter::Brace && !is_use => return i + 1,
            _ => i += 1,
        }
    }
    tokens.len()
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == wanted)
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        Source::parse(text).unwrap().paths.iter().map(|p| p.segments.join("::")).collect()
    }

    #[test]
    fn use_trees_are_flattened() {
        assert_eq!(
            paths("use crate::{a::A, b::{self, C as D, *}};"),
            ["crate::a::A", "crate::b", "crate::b::C", "crate::b::*"]
        );
    }

    #[test]
    fn paths_inside_macro_calls_count() {
        assert_eq!(paths("fn f() { println!(\"{}\", std::fs::read(x)); }"), ["std::fs::read"]);
    }

    #[test]
    fn comments_and_strings_do_not_count() {
        assert!(paths("/// std::fs::read\nfn f() { /* std::fs */ \"std::fs::read\"; }").is_empty());
    }

    #[test]
    fn items_under_cfg_test_do_not_count_and_what_follows_does() {
        let text = "#[cfg(test)] fn f<A, B>() { a::b(); } #[cfg(test)] mod tests; \
                    #[cfg(test)] use x::{y, z}; fn g() { c::d(); }";
        assert_eq!(paths(text), ["c::d"]);
        let source = Source::parse(text).unwrap();
        assert_eq!(source.modules.len(), 1);
        assert!(source.modules[0].test);
    }

    #[test]
    fn exports_know_their_name_and_line() {
        let source = Source::parse("\npub use time::Clock as C;\nuse a::B;").unwrap();
        assert_eq!(source.exports, [("C".to_string(), vec!["time".into(), "Clock".into()])]);
        assert_eq!(source.paths[0].line, 2);
    }

    #[test]
    fn unsafe_is_seen_with_its_line() {
        assert_eq!(Source::parse("fn f() {\n unsafe { g() } }").unwrap().unsafe_lines, [2]);
    }
}
