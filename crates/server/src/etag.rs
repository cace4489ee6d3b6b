//! Versions as ETags, and the conditions of the engine that headers ask for: `If-Match: *`
//! is `Present`, `If-None-Match: *` is `Absent`, and ETags are `VersionIn` and `VersionNotIn`.
//!
//! A key's version is the sequence number of its last write, which is given once in a
//! lineage: so the ETag has both, and is strong. What was restored from a dump, or copied
//! and written to since, has another lineage; a tag of the one never matches in the other.

use crate::problem::{Problem, Result};
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use tanada::{Condition, Lineage, SeqNo};

/// `"9f3c5a7e1b2d4680-12"`: lineage and version.
pub(crate) fn etag(lineage: Lineage, version: u64) -> HeaderValue {
    let text = format!("\"{lineage}-{version}\"");
    HeaderValue::try_from(text).expect("digits, a hyphen and quotes are visible ASCII")
}

/// The version that this opaque tag names, if it is one of ours.
fn version_of(tag: &[u8], lineage: Lineage) -> Option<u64> {
    let tag = std::str::from_utf8(tag).ok()?;
    let version: u64 = tag.strip_prefix(&format!("{lineage}-"))?.parse().ok()?;
    // As it was written, to the letter: a tag is compared, not understood.
    (tag.len() == format!("{lineage}-{version}").len()).then_some(version)
}

/// The condition of `If-Match` and of `If-None-Match`, in the order in which RFC 9110 asks them.
pub(crate) fn conditions(
    headers: &HeaderMap,
    lineage: Lineage,
) -> Result<(Option<Condition>, Option<Condition>)> {
    let if_match = match list(headers, &IF_MATCH, Weak::Ignored, lineage)? {
        None => None,
        Some(Tags::Any) => Some(Condition::Present),
        Some(Tags::These(versions)) => Some(Condition::VersionIn(versions)),
    };
    let if_none_match = match list(headers, &IF_NONE_MATCH, Weak::Compared, lineage)? {
        None => None,
        Some(Tags::Any) => Some(Condition::Absent),
        Some(Tags::These(versions)) => Some(Condition::VersionNotIn(versions)),
    };
    Ok((if_match, if_none_match))
}

enum Tags {
    Any,
    These(Vec<SeqNo>),
}

/// Whether a weak tag can match a strong one: yes for `If-None-Match`, no for `If-Match`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weak {
    Compared,
    Ignored,
}

fn list(
    headers: &HeaderMap,
    name: &HeaderName,
    weak: Weak,
    lineage: Lineage,
) -> Result<Option<Tags>> {
    if !headers.contains_key(name) {
        return Ok(None);
    }
    let bad = || {
        Problem::invalid(format!(
            "{name} must be * or the ETag of an earlier answer in its quotes, such as \"9f3c5a7e1b2d4680-12\"; more than one with commas between"
        ))
    };
    let (mut versions, mut tags) = (Vec::new(), 0);
    for value in headers.get_all(name) {
        let mut rest = value.as_bytes();
        while let Some(tag) = next_tag(&mut rest).map_err(|Malformed| bad())? {
            let Tag::Entity { is_weak, opaque } = tag else { return Ok(Some(Tags::Any)) };
            tags += 1;
            // What another lineage or another server gave out matches nothing here.
            if !(is_weak && weak == Weak::Ignored) {
                versions.extend(version_of(opaque, lineage).map(SeqNo));
            }
        }
    }
    if tags == 0 { Err(bad()) } else { Ok(Some(Tags::These(versions))) }
}

/// One element of a list of tags.
enum Tag<'a> {
    Any,
    Entity { is_weak: bool, opaque: &'a [u8] },
}

struct Malformed;

/// Takes the next tag of a list (RFC 9110, 8.8.3 and 5.6.1.2): inside its quotes a tag may
/// have commas.
fn next_tag<'a>(rest: &mut &'a [u8]) -> std::result::Result<Option<Tag<'a>>, Malformed> {
    while let [b' ' | b'\t' | b',', behind @ ..] = rest {
        *rest = behind;
    }
    let all = *rest;
    let (is_weak, quoted) = all.strip_prefix(b"W/").map_or((false, all), |behind| (true, behind));
    let (tag, behind) = match quoted {
        [] if !is_weak => return Ok(None),
        [b'*', behind @ ..] if !is_weak => (Tag::Any, behind),
        [b'"', inside @ ..] => {
            let end = inside.iter().position(|&b| b == b'"').ok_or(Malformed)?;
            let opaque = &inside[..end];
            if !opaque.iter().all(|&b| b == 0x21 || (0x23..=0x7e).contains(&b) || b >= 0x80) {
                return Err(Malformed);
            }
            (Tag::Entity { is_weak, opaque }, &inside[end + 1..])
        }
        // Some clients strip the quotes; what can only be one of ours is as clear.
        bare => {
            let end = bare.iter().position(|b| b" \t,".contains(b)).unwrap_or(bare.len());
            let opaque = &bare[..end];
            let (lineage, version) = opaque.split_at_checked(17).ok_or(Malformed)?;
            let is_ours = lineage[..16].iter().all(u8::is_ascii_hexdigit)
                && lineage[16] == b'-'
                && !version.is_empty()
                && version.iter().all(u8::is_ascii_digit);
            if !is_ours {
                return Err(Malformed);
            }
            (Tag::Entity { is_weak, opaque }, &bare[end..])
        }
    };
    // A comma or the end must follow.
    match behind.trim_ascii_start() {
        [] => *rest = &[],
        [b',', ..] => *rest = behind.trim_ascii_start(),
        _ => return Err(Malformed),
    }
    Ok(Some(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Lineage = Lineage([0x9f, 0x3c, 0x5a, 0x7e, 0x1b, 0x2d, 0x46, 0x80]);

    fn of(name: HeaderName, value: &'static str) -> Result<(Option<Condition>, Option<Condition>)> {
        conditions(&HeaderMap::from_iter([(name, HeaderValue::from_static(value))]), OURS)
    }

    #[test]
    fn etags_are_lineages_with_numbers_and_read_back() {
        for version in [0, 7, 10, 1_234_567_890, u64::MAX] {
            let tag = etag(OURS, version);
            assert_eq!(tag, format!("\"9f3c5a7e1b2d4680-{version}\"").as_str());
            let headers = HeaderMap::from_iter([(IF_MATCH, tag)]);
            let read = |lineage| conditions(&headers, lineage).expect("it is ours").0;
            assert_eq!(read(OURS), Some(Condition::VersionIn(vec![SeqNo(version)])));
            assert_eq!(read(Lineage([7; 8])), Some(Condition::VersionIn(vec![])), "of another");
        }
    }

    #[test]
    fn headers_become_conditions() {
        let numbers = |v: &[u64]| v.iter().copied().map(SeqNo).collect();
        let versions = |v: &[u64]| Some(Condition::VersionIn(numbers(v)));
        let not = |v: &[u64]| Some(Condition::VersionNotIn(numbers(v)));
        assert_eq!(of(IF_MATCH, "*").expect("any"), (Some(Condition::Present), None));
        assert_eq!(of(IF_NONE_MATCH, "*").expect("any"), (None, Some(Condition::Absent)));
        for (list, named) in [
            ("\"9f3c5a7e1b2d4680-1\"", &[1][..]),
            ("\"9f3c5a7e1b2d4680-1\", \"9f3c5a7e1b2d4680-22\"", &[1, 22]),
            (",\"9f3c5a7e1b2d4680-1\" ,, \"9f3c5a7e1b2d4680-22\",", &[1, 22]),
            ("W/\"9f3c5a7e1b2d4680-1\"", &[]),
            ("9f3c5a7e1b2d4680-12", &[12]),
            // Tags of others match nothing, whatever they look like.
            ("\"abc\"", &[]),
            ("\"12\"", &[]),
            ("\"\"", &[]),
            ("\"a,b\", \"9f3c5a7e1b2d4680-3\"", &[3]),
            ("\"9f3c5a7e1b2d4681-12\"", &[]),
            ("\"9F3C5A7E1B2D4680-12\"", &[]),
            ("\"9f3c5a7e1b2d4680-012\"", &[]),
            ("\"9f3c5a7e1b2d4680-+12\"", &[]),
            ("\"9f3c5a7e1b2d4680-99999999999999999999\"", &[]),
        ] {
            assert_eq!(of(IF_MATCH, list).expect(list), (versions(named), None), "{list}");
        }
        let weak = "W/\"9f3c5a7e1b2d4680-1\"";
        assert_eq!(of(IF_NONE_MATCH, weak).expect("weak"), (None, not(&[1])));
        for bad in
            ["abc", "", "12", ",", "\"abc", "abc\"", "\"a b\"", "\"a\"\"b\"", "W/", "W/*", "**"]
        {
            assert!(of(IF_MATCH, bad).is_err(), "{bad}");
        }
    }
}
