//! `Range: bytes=…`: a part of a value.

use hyper::HeaderMap;
use hyper::header::{HeaderValue, IF_RANGE, RANGE};
use std::ops::Range;

/// Which part of a value to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it: no range, or one we need not understand (RFC 9110, 14.2).
    Whole,
    /// This part; not empty.
    Bytes(Range<usize>),
    /// The range lies outside.
    Outside,
}

/// The part that the headers ask of a value of `length` bytes with this ETag.
///
/// Several ranges at once are answered by the whole value, as is a range for
/// another version (`If-Range`).
pub(crate) fn requested(headers: &HeaderMap, length: usize, tag: &HeaderValue) -> Part {
    let Some(range) = headers.get(RANGE).and_then(|value| value.to_str().ok()) else {
        return Part::Whole;
    };
    if headers.get(IF_RANGE).is_some_and(|wanted| wanted != tag) {
        return Part::Whole;
    }
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|r| r.split_once('-')) else {
        return Part::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // More digits than fit: past the end of anything.
        digits.then(|| text.parse::<usize>().unwrap_or(usize::MAX))
    };
    let part = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Some(first), None) if last.is_empty() => first..length,
        (None, Some(suffix)) if first.is_empty() => length.saturating_sub(suffix)..length,
        _ => return Part::Whole,
    };
    if part.start < part.end { Part::Bytes(part) } else { Part::Outside }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: HeaderValue = HeaderValue::from_static("\"9f3c5a7e1b2d4680-7\"");
    const OTHER: HeaderValue = HeaderValue::from_static("\"9f3c5a7e1b2d4680-8\"");

    fn part(range: &'static str, length: usize) -> Part {
        requested(&HeaderMap::from_iter([(RANGE, HeaderValue::from_static(range))]), length, &TAG)
    }

    #[test]
    fn ranges_are_cut_to_the_value() {
        let cases = [
            ("bytes=0-3", Part::Bytes(0..4)),
            ("bytes=2-", Part::Bytes(2..10)),
            ("bytes=-3", Part::Bytes(7..10)),
            ("bytes=-99", Part::Bytes(0..10)),
            ("bytes=8-99999999999999999999999", Part::Bytes(8..10)),
            ("bytes=9-9", Part::Bytes(9..10)),
            ("bytes=10-", Part::Outside),
            ("bytes=-0", Part::Outside),
            ("bytes=3-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("lines=0-3", Part::Whole),
        ];
        for (range, expected) in cases {
            assert_eq!(part(range, 10), expected, "{range}");
        }
        assert_eq!(part("bytes=0-", 0), Part::Outside);
        assert_eq!(requested(&HeaderMap::new(), 10, &TAG), Part::Whole);
    }

    #[test]
    fn a_range_for_another_version_gets_the_whole_value() {
        let mut headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=0-3"))]);
        headers.insert(IF_RANGE, TAG);
        assert_eq!(requested(&headers, 10, &TAG), Part::Bytes(0..4));
        assert_eq!(requested(&headers, 10, &OTHER), Part::Whole);
    }
}
