//! Relative links in `*.md` lead to a file or directory, and their `#anchor`
//! to a heading. Links to other hosts are not followed.

use super::Finding;
use crate::tree::Tree;
use pulldown_cmark::{Event, Parser, Tag, TagEnd};
use std::collections::BTreeMap;

pub(crate) const RULE: &str = "dead-link";

/// Finds links that lead nowhere.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in tree.select("", ".md") {
        for (event, at) in Parser::new(text).into_offset_iter() {
            let target = match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => dest_url,
                _ => continue,
            };
            if let Some(what) = dead(tree, file, &target) {
                let line = text[..at.start].lines().count().max(1);
                // `lines` does not count the line that has just begun.
                let line = if text[..at.start].ends_with('\n') { line + 1 } else { line };
                findings.push(Finding { file: file.to_string(), line, rule: RULE, what });
            }
        }
    }
    findings
}

fn dead(tree: &Tree, file: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let place = if path.is_empty() { file.to_string() } else { join(file, path)? };
    if !tree.exists(&place) {
        return Some(format!("'{target}' leads to {place}, which is not there"));
    }
    if anchor.is_empty() {
        return None;
    }
    let text = tree.text(&place)?;
    let found = anchors(text).iter().any(|known| known == anchor);
    (!found).then(|| format!("'{target}': {place} has no heading #{anchor}"))
}

/// `path` as seen from the directory of `file`, without `.` and `..`.
fn join(file: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    if path.starts_with('/') {
        parts.clear();
    }
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The anchors that GitHub gives to a page's headings.
fn anchors(text: &str) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut anchors = Vec::new();
    let mut heading: Option<String> = None;
    for event in Parser::new(text) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(part) | Event::Code(part) => {
                if let Some(title) = &mut heading {
                    title.push_str(&part);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let slug = slug(&heading.take().unwrap_or_default());
                let times = seen.entry(slug.clone()).or_default();
                anchors.push(if *times == 0 { slug } else { format!("{slug}-{times}") });
                *times += 1;
            }
            _ => {}
        }
    }
    anchors
}

fn slug(title: &str) -> String {
    title
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_files_and_dead_anchors_are_found_with_their_lines() {
        let tree = Tree::of(&[
            (
                "README.md",
                "# A\n\n[ok](docs/x.md#b-c)\n[gone](docs/y.md)\n[no](docs/x.md#nope)\n[self](#z)\n",
            ),
            ("docs/x.md", "# B, C!\n[up](../README.md) [out](../../elsewhere.md)"),
        ]);
        let mut findings: Vec<_> = check(&tree).into_iter().map(|f| (f.file, f.line)).collect();
        findings.sort();
        assert_eq!(
            findings,
            [
                ("README.md".to_string(), 4),
                ("README.md".to_string(), 5),
                ("README.md".to_string(), 6)
            ]
        );
    }

    #[test]
    fn directories_other_hosts_and_code_pass() {
        let tree = Tree::of(&[(
            "docs/a.md",
            "[d](../docs) [h](https://example.org/x) `[c](gone.md)`\n\n```\n[c](gone.md)\n```\n",
        )]);
        assert_eq!(check(&tree), []);
    }

    #[test]
    fn anchors_count_repetitions_and_keep_other_scripts() {
        assert_eq!(anchors("# 書く\n## a `b`\n## a b\n"), ["書く", "a-b", "a-b-1"]);
    }
}
