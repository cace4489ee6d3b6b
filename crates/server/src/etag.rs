//! Versions as ETags, and the conditions that requests put on them.
//!
//! A key's version is the sequence number of its last write, so it is unique
//! for the life of the database, and its ETag is strong.

use crate::problem::{Problem, Result};
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};

/// What must hold of a key for a request to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// `If-None-Match: *`
    Absent,
    /// `If-Match: *`
    Present,
    /// `If-Match: "12"`
    VersionIn(Vec<u64>),
    /// `If-None-Match: "12"`
    VersionNotIn(Vec<u64>),
}

/// What a key is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Current {
    /// No such key.
    Absent,
    /// Present, with this version.
    Version(u64),
    /// Present, with a version that no one has been told yet.
    Fresh,
}

impl Condition {
    pub(crate) fn holds(&self, current: Current) -> bool {
        match (self, current) {
            (Condition::Absent, current) => current == Current::Absent,
            (Condition::Present, current) => current != Current::Absent,
            (Condition::VersionIn(versions), Current::Version(v)) => versions.contains(&v),
            (Condition::VersionIn(_), _) => false,
            (Condition::VersionNotIn(versions), Current::Version(v)) => !versions.contains(&v),
            (Condition::VersionNotIn(_), _) => true,
        }
    }
}

/// `"12"`.
pub(crate) fn etag(version: u64) -> HeaderValue {
    // 20 digits and two quotes are the most.
    let mut text = [b'"'; 22];
    let mut at = 21;
    let mut rest = version;
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    HeaderValue::from_bytes(&text[at - 1..]).expect("digits and quotes are visible ASCII")
}

/// The condition of `If-Match` and of `If-None-Match`, in the order in which RFC 9110 asks them.
pub(crate) fn conditions(headers: &HeaderMap) -> Result<(Option<Condition>, Option<Condition>)> {
    let if_match = match list(headers, &IF_MATCH, Weak::Ignored)? {
        None => None,
        Some(Tags::Any) => Some(Condition::Present),
        Some(Tags::These(versions)) => Some(Condition::VersionIn(versions)),
    };
    let if_none_match = match list(headers, &IF_NONE_MATCH, Weak::Compared)? {
        None => None,
        Some(Tags::Any) => Some(Condition::Absent),
        Some(Tags::These(versions)) => Some(Condition::VersionNotIn(versions)),
    };
    Ok((if_match, if_none_match))
}

enum Tags {
    Any,
    These(Vec<u64>),
}

/// Whether `W/"12"` can match `"12"`: yes for `If-None-Match`, no for `If-Match`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weak {
    Compared,
    Ignored,
}

fn list(headers: &HeaderMap, name: &HeaderName, weak: Weak) -> Result<Option<Tags>> {
    let mut versions = Vec::new();
    let mut seen = false;
    for value in headers.get_all(name) {
        seen = true;
        let bad = || {
            Problem::invalid(format!(
                "{name} must be * or the ETag of an earlier answer in its quotes, such as \"12\"; more than one with commas between"
            ))
        };
        for tag in value.to_str().map_err(|_| bad())?.split(',').map(str::trim) {
            if tag == "*" {
                return Ok(Some(Tags::Any));
            }
            let (is_weak, tag) = tag.strip_prefix("W/").map_or((false, tag), |t| (true, t));
            // Some clients strip the quotes; a bare number is as clear.
            let bare = tag.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(tag);
            if bare.is_empty() || (bare == tag && bare.parse::<u64>().is_err()) {
                return Err(bad());
            }
            // Another server's ETag matches nothing here.
            if let (false, Ok(version)) = (is_weak && weak == Weak::Ignored, bare.parse()) {
                versions.push(version);
            }
        }
    }
    Ok(seen.then_some(Tags::These(versions)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: HeaderName, value: &'static str) -> Result<(Option<Condition>, Option<Condition>)> {
        conditions(&HeaderMap::from_iter([(name, HeaderValue::from_static(value))]))
    }

    #[test]
    fn etags_are_quoted_numbers_and_read_back() {
        for version in [0, 7, 10, 1_234_567_890, u64::MAX] {
            assert_eq!(etag(version), format!("\"{version}\"").as_str());
        }
    }

    #[test]
    fn headers_become_conditions() {
        let versions = |v: &[u64]| Some(Condition::VersionIn(v.to_vec()));
        let not = |v: &[u64]| Some(Condition::VersionNotIn(v.to_vec()));
        assert_eq!(of(IF_MATCH, "*").expect("any"), (Some(Condition::Present), None));
        assert_eq!(of(IF_NONE_MATCH, "*").expect("any"), (None, Some(Condition::Absent)));
        assert_eq!(of(IF_MATCH, "\"1\", \"22\"").expect("list"), (versions(&[1, 22]), None));
        assert_eq!(of(IF_MATCH, "W/\"1\"").expect("weak"), (versions(&[]), None));
        assert_eq!(of(IF_NONE_MATCH, "W/\"1\"").expect("weak"), (None, not(&[1])));
        assert_eq!(of(IF_MATCH, "12").expect("bare"), (versions(&[12]), None));
        assert_eq!(of(IF_MATCH, "\"abc\"").expect("foreign"), (versions(&[]), None));
        assert!(of(IF_MATCH, "abc").is_err());
        assert!(of(IF_MATCH, "").is_err());
    }

    #[test]
    fn conditions_are_asked_of_what_is_there() {
        use Condition::*;
        use Current::*;
        let cases = [
            (Condition::Absent, [true, false, false]),
            (Present, [false, true, true]),
            (VersionIn(vec![5]), [false, true, false]),
            (VersionIn(vec![6]), [false, false, false]),
            (VersionNotIn(vec![5]), [true, false, true]),
        ];
        for (condition, expected) in cases {
            let got = [Current::Absent, Version(5), Fresh].map(|current| condition.holds(current));
            assert_eq!(got, expected, "{condition:?}");
        }
    }
}
