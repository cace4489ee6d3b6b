//! One text that holds many mutants: a function's body becomes a choice between a
//! copy for each of its mutants and what was there.
//!
//! ```text
//! { match crate::mutant::chosen() {
//! 17 => { copy in which something is changed }
//! _ => { what was there }
//! } }
//! ```

use super::list::{Mutant, Place, Span};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::ops::Range;
use std::str::FromStr;

/// Variable that chooses the mutant in a build that holds many.
pub(super) const CHOICE: &str = "TANADA_MUTANT";

/// A file with its mutants in it.
pub(super) struct Switched {
    pub(super) text: String,
    /// First and last line of each mutant's copy, with the mutant's number.
    pub(super) copies: Vec<(usize, usize, usize)>,
}

/// A function's body and the mutants in it, as numbers and places in the slice.
struct Body {
    bytes: Range<usize>,
    mutants: Vec<usize>,
}

/// Puts `mutants` of one file into it, under the numbers given with them.
pub(super) fn switch(text: &str, mutants: &[(usize, &Mutant)]) -> Result<Switched, String> {
    let mut switched = Switched { text: String::new(), copies: Vec::new() };
    let mut from = 0;
    for body in bodies(text, mutants)? {
        switched.text.push_str(&text[from..body.bytes.start]);
        switched.text.push_str("{ match crate::mutant::chosen() {\n");
        for &at in &body.mutants {
            let (number, mutant) = mutants[at];
            let first = lines(&switched.text);
            let span = bytes_of(text, mutant.span);
            switched.text.push_str(&format!("{number} => "));
            switched.text.push_str(&text[body.bytes.start..span.start]);
            switched.text.push_str(&mutant.replacement);
            switched.text.push_str(&text[span.end..body.bytes.end]);
            switched.copies.push((first, lines(&switched.text), number));
            switched.text.push('\n');
        }
        switched.text.push_str("_ => ");
        switched.text.push_str(&text[body.bytes.clone()]);
        switched.text.push_str("\n} }");
        from = body.bytes.end;
    }
    switched.text.push_str(&text[from..]);
    Ok(switched)
}

/// The file with nothing but one mutant's change.
pub(super) fn apply(text: &str, mutant: &Mutant) -> String {
    let span = bytes_of(text, mutant.span);
    format!("{}{}{}", &text[..span.start], mutant.replacement, &text[span.end..])
}

/// Whether a mutant can be one of several in a build: it lies in the body of a
/// function that is not `const`, and whose type is the same in each copy.
pub(super) fn can_be_switched(text: &str, mutant: &Mutant) -> bool {
    let Some(function) = mutant.function else { return false };
    let Ok(body) = body_of(text, function) else { return false };
    let span = bytes_of(text, mutant.span);
    let head = &text[bytes_of(text, function).start..body.start];
    let opaque = head.split_once("->").is_some_and(|(_, answer)| answer.contains("impl "));
    span.start >= body.start && span.end <= body.end && !head.contains("const fn") && !opaque
}

/// What the switched file asks for the number.
pub(super) fn chooser() -> String {
    format!(
        "\npub(crate) mod mutant {{
    pub(crate) fn chosen() -> usize {{
        static CHOSEN: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
        let read = || std::env::var(\"{CHOICE}\").ok().and_then(|n| n.parse().ok());
        *CHOSEN.get_or_init(|| read().unwrap_or(0))
    }}
}}\n"
    )
}

/// Bodies in the order of the text; one inside another counts to the outer one.
fn bodies(text: &str, mutants: &[(usize, &Mutant)]) -> Result<Vec<Body>, String> {
    let mut found = Vec::new();
    for (at, (_, mutant)) in mutants.iter().enumerate() {
        let function = mutant.function.ok_or("a mutant outside of functions")?;
        found.push((body_of(text, function)?, at));
    }
    // The outer of two that begin at different places begins first.
    found.sort_by_key(|(bytes, at)| (bytes.start, std::cmp::Reverse(bytes.end), *at));
    let mut bodies: Vec<Body> = Vec::new();
    for (bytes, at) in found {
        match bodies.last_mut() {
            Some(last) if bytes.end <= last.bytes.end => last.mutants.push(at),
            _ => bodies.push(Body { bytes, mutants: vec![at] }),
        }
    }
    Ok(bodies)
}

/// The braces in which the function's span ends.
fn body_of(text: &str, function: Span) -> Result<Range<usize>, String> {
    let stream = TokenStream::from_str(text).map_err(|e| format!("not Rust: {e}"))?;
    let start = braces_that_end(stream, function.end)
        .ok_or_else(|| format!("no function ends in line {}", function.end.line))?;
    Ok(offset(text, start)..offset(text, function.end))
}

fn braces_that_end(stream: TokenStream, end: Place) -> Option<Place> {
    stream.into_iter().find_map(|token| {
        let TokenTree::Group(group) = token else { return None };
        let place = |p: proc_macro2::LineColumn| Place { line: p.line, column: p.column + 1 };
        let (start, close) = (place(group.span_open().start()), place(group.span_close().end()));
        if close == end && group.delimiter() == Delimiter::Brace {
            return Some(start);
        }
        if start < end && end < close { braces_that_end(group.stream(), end) } else { None }
    })
}

fn bytes_of(text: &str, span: Span) -> Range<usize> {
    offset(text, span.start)..offset(text, span.end)
}

/// Byte at which a place begins.
fn offset(text: &str, place: Place) -> usize {
    let line: usize = text.split_inclusive('\n').take(place.line - 1).map(str::len).sum();
    let rest = &text[line..];
    line + rest.char_indices().nth(place.column - 1).map_or(rest.len(), |(at, _)| at)
}

/// Number of the line that a text ends in, from 1.
fn lines(text: &str) -> usize {
    text.matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "fn double(ä: u32) -> u32 {\n    ä + ä\n}\n\nconst fn one() -> u32 { 1 }\n";

    fn span(start: (usize, usize), end: (usize, usize)) -> Span {
        let place = |(line, column)| Place { line, column };
        Span { start: place(start), end: place(end) }
    }

    fn mutant(at: Span, function: Option<Span>, replacement: &str) -> Mutant {
        Mutant {
            name: String::new(),
            file: "lib.rs".into(),
            span: at,
            replacement: replacement.to_owned(),
            function,
        }
    }

    #[test]
    fn each_mutant_has_a_copy_of_its_body_and_the_rest_stays() {
        let double = Some(span((1, 1), (3, 2)));
        let minus = mutant(span((2, 7), (2, 8)), double, "-");
        let zero = mutant(span((2, 5), (2, 10)), double, "0");
        let switched = switch(TEXT, &[(4, &minus), (9, &zero)]).unwrap();
        assert_eq!(
            switched.text,
            "fn double(ä: u32) -> u32 { match crate::mutant::chosen() {\n4 => {\n    ä - ä\n}\n\
             9 => {\n    0\n}\n_ => {\n    ä + ä\n}\n} }\n\nconst fn one() -> u32 { 1 }\n"
        );
        assert_eq!(switched.copies, [(2, 4, 4), (5, 7, 9)]);
        assert!(apply(TEXT, &minus).contains("\n    ä - ä\n"));
    }

    #[test]
    fn what_is_const_or_outside_of_functions_is_built_alone() {
        let in_double = mutant(span((2, 7), (2, 8)), Some(span((1, 1), (3, 2))), "-");
        let in_const = mutant(span((5, 25), (5, 26)), Some(span((5, 1), (5, 28))), "0");
        assert!(can_be_switched(TEXT, &in_double));
        assert!(!can_be_switched(TEXT, &in_const));
        assert!(!can_be_switched(TEXT, &mutant(span((5, 25), (5, 26)), None, "0")));
    }
}
