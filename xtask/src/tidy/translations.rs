//! A page and its translation say the same: `X.ja.md` has the headings of
//! `X.md` in number and depth, its tables row by row, and its code blocks, comments
//! apart, word for word. The README and every page of the guide have a translation.

use super::Finding;
use crate::tree::Tree;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

pub(crate) const RULE: &str = "translation";

#[derive(Debug, PartialEq)]
enum Part {
    Heading(usize),
    Code(String),
    /// A table of so many columns, with its header.
    Table(usize),
    Row,
}

/// Finds translations out of step, and pages without one.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in tree.select("", ".ja.md") {
        let original = file.replace(".ja.md", ".md");
        let Some(original_text) = tree.text(&original) else {
            findings.push(finding(file, 1, format!("{original} is not there")));
            continue;
        };
        let (ours, theirs) = (parts(text), parts(original_text));
        for i in 0..ours.len().max(theirs.len()) {
            let same = match (ours.get(i), theirs.get(i)) {
                (Some((_, a)), Some((_, b))) => a == b,
                _ => false,
            };
            if !same {
                let line = ours.get(i).map_or(text.lines().count(), |(line, _)| *line);
                let there = theirs.get(i).map_or("its end".into(), |(line, part)| {
                    format!("{} in line {line}", name(part))
                });
                let here = ours.get(i).map_or("the end", |(_, part)| name(part));
                let what = format!("{here} here does not match {original}: {there}");
                findings.push(finding(file, line, what));
                break;
            }
        }
    }
    for (file, _) in tree.select("", ".md") {
        let translation = file.replace(".md", ".ja.md");
        if is_for_users(file) && tree.text(&translation).is_none() {
            findings.push(finding(file, 1, format!("{translation} is not there")));
        }
    }
    findings
}

/// Whether the page is one of those in English that users read first.
fn is_for_users(file: &str) -> bool {
    file == "README.md" || (file.starts_with("docs/guide/") && !file.ends_with(".ja.md"))
}

fn name(part: &Part) -> &'static str {
    match part {
        Part::Heading(_) => "a heading",
        Part::Code(_) => "a code block",
        Part::Table(_) => "a table",
        Part::Row => "a row of a table",
    }
}

fn finding(file: &str, line: usize, what: String) -> Finding {
    Finding { file: file.to_string(), line, rule: RULE, what }
}

/// Headings, code blocks, tables and their rows in order, with their lines.
fn parts(text: &str) -> Vec<(usize, Part)> {
    let mut parts = Vec::new();
    let mut code: Option<String> = None;
    for (event, at) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
        let line = text[..at.start].matches('\n').count() + 1;
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                parts.push((line, Part::Heading(level as usize)));
            }
            Event::Start(Tag::Table(columns)) => parts.push((line, Part::Table(columns.len()))),
            Event::Start(Tag::TableRow) => parts.push((line, Part::Row)),
            Event::Start(Tag::CodeBlock(_)) => code = Some(String::new()),
            Event::Text(more) => {
                if let Some(code) = &mut code {
                    code.push_str(&more);
                }
            }
            Event::End(TagEnd::CodeBlock) => {
                let code = code.take().unwrap_or_default();
                parts.push((line, Part::Code(without_comments(&code))));
            }
            _ => {}
        }
    }
    parts
}

/// Comments may be translated; what is typed may not.
fn without_comments(code: &str) -> String {
    code.lines()
        .map(|line| {
            let end = [" # ", " // "].iter().filter_map(|mark| line.find(mark)).min();
            line[..end.unwrap_or(line.len())].trim_end()
        })
        .filter(|line| !line.trim_start().starts_with('#') || line.trim_start().starts_with("#["))
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_heading_and_a_changed_command_are_found() {
        let english = "# A\n\n```\nrun x # runs\n```\n\n## B\n";
        let with =
            |japanese| check(&Tree::of(&[("README.md", english), ("README.ja.md", japanese)]));
        assert_eq!(with("# あ\n\n```\nrun x # 走る\n```\n\n## い\n"), []);
        assert_eq!(with("# あ\n\n```\nrun x\n```\n").len(), 1);
        let changed = with("# あ\n\n```\nrun y\n```\n\n## い\n");
        assert_eq!((changed.len(), changed[0].line), (1, 3));
    }

    #[test]
    fn a_missing_row_and_a_missing_column_of_a_table_are_found() {
        let english = "# A\n\n| a | b |\n|---|---|\n| c | d |\n| e | f |\n";
        let with =
            |japanese| check(&Tree::of(&[("README.md", english), ("README.ja.md", japanese)]));
        assert_eq!(with("# あ\n\n| い | う |\n|---|---|\n| え | お |\n| か | き |\n"), []);
        assert_eq!(with("# あ\n\n| い | う |\n|---|---|\n| え | お |\n").len(), 1);
        let narrow = with("# あ\n\n| い |\n|---|\n| え |\n| か |\n");
        assert_eq!((narrow.len(), narrow[0].line), (1, 3));
    }

    #[test]
    fn a_readme_and_a_page_of_the_guide_without_their_translations_are_found() {
        assert_eq!(check(&Tree::of(&[("README.md", "# A\n")])).len(), 1);
        let guide = [("docs/guide/x.md", "# A\n"), ("docs/format/y.md", "# B\n")];
        let findings = check(&Tree::of(&guide));
        assert_eq!((findings.len(), findings[0].file.as_str()), (1, "docs/guide/x.md"));
    }
}
