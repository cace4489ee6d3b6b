//! What fuzzers call: everything that a client says, from any bytes.
//!
//! Compiled for fuzzers (feature `fuzzing`, see `fuzz/`) and for tests, which run
//! the committed corpus. Panics when a rule is broken, and else says nothing.

use crate::encoding::{from_base64, push_base64};
use crate::etag::{conditions, etag};
use crate::input::{DeleteBody, GetBody, PutBody, json, key_of};
use crate::query;
use crate::routes::batch::{self, MAX_OPS};
use crate::routes::range::{self, Part};
use crate::routes::scan::{PARAMETERS, cursor_behind};
use crate::routes::walk::Scan;
use crate::write_queue::Action;
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use tanada::Lineage;

/// How many kinds of input there are.
const KINDS: u8 = 10;

/// Bodies, queries, paths, headers. The first byte says which.
pub fn http_input(data: &[u8]) {
    let Some((which, rest)) = data.split_first() else { return };
    let body = Bytes::copy_from_slice(rest);
    match which % KINDS {
        0 => {
            if let Ok(put) = json::<PutBody<'_>>(&body)
                && let Ok(key) = key_of(put.key, put.key64, &body)
            {
                assert!((1..=tanada::MAX_KEY_LEN).contains(&key.len()), "a key within its bounds");
            }
        }
        1 => drop(json::<GetBody<'_>>(&body).map(|get| key_of(get.key, get.key64, &body).is_ok())),
        2 => drop(json::<DeleteBody<'_>>(&body).is_ok()),
        3 => {
            let text = String::from_utf8_lossy(rest);
            let _ = query::parse(Some(&text), ["key", "key64", "ttl", "limit"]);
        }
        4 => drop(query::decode_path(&String::from_utf8_lossy(rest)).len()),
        5 => {
            if let Ok(value) = HeaderValue::from_bytes(rest) {
                let mut headers = HeaderMap::new();
                headers.append(IF_MATCH, value.clone());
                headers.append(IF_NONE_MATCH, value);
                let _ = conditions(&headers, Lineage::default());
            }
        }
        6 => {
            let mut text = Vec::new();
            push_base64(&mut text, rest);
            assert_eq!(from_base64(&text).as_deref(), Ok(rest), "what is written reads back");
            let _ = from_base64(rest);
        }
        7 => batch(&body),
        8 => scan(rest),
        _ => part(rest),
    }
}

/// The body of a batch. What is taken of it keeps all bounds, so that it cannot
/// spoil the commit group that it is merged into.
fn batch(body: &Bytes) {
    const MAX_VALUE_BYTES: usize = 40;
    let Ok((ops, _)) = batch::parse(body, MAX_VALUE_BYTES) else { return };
    assert!((1..=MAX_OPS).contains(&ops.len()), "as many operations as there may be");
    for op in ops {
        assert!((1..=tanada::MAX_KEY_LEN).contains(&op.key.len()), "a key within its bounds");
        match op.action {
            Action::Put { value, options } => {
                assert!(value.len() <= MAX_VALUE_BYTES, "a value within its bounds");
                assert!(
                    options.ttl.is_none_or(|ttl| ttl.as_millis() > 0),
                    "the engine counts in them"
                );
            }
            Action::Delete => {}
            Action::Check => assert!(!op.conditions.is_empty(), "a check asks something"),
        }
    }
}

/// The query of a scan; behind a zero byte the last key of a page. Its cursor is
/// taken where the key lies in the range, and then leads behind that key.
fn scan(data: &[u8]) {
    let (text, last) = split_at_zero(data);
    let text = String::from_utf8_lossy(text);
    let Ok(scan) = Scan::parse(Some(&text)) else { return };
    let [.., cursor, _, _] = query::parse(Some(&text), PARAMETERS).expect("as just before");
    let goes_on = format!("{text}&cursor={}", cursor_behind(scan.direction, last));
    let goes_on = Scan::parse(Some(&goes_on));
    assert_eq!(goes_on.is_ok(), cursor.is_none() && scan.contains(last), "{text:?} {last:?}");
    if let Ok(rest) = goes_on {
        assert!(!rest.contains(last), "no key comes twice");
        for key in [b"", data, text.as_bytes()] {
            assert!(scan.contains(key) || !rest.contains(key), "a page leaves the range");
        }
    }
}

/// The length of a value, a `Range` and, behind a zero byte, an `If-Range`. The
/// part to send lies in the value.
fn part(data: &[u8]) {
    let Some((&length, rest)) = data.split_first() else { return };
    let (range, if_range) = split_at_zero(rest);
    let mut headers = HeaderMap::new();
    headers.extend(HeaderValue::from_bytes(range).map(|value| (RANGE, value)));
    if !if_range.is_empty() {
        headers.extend(HeaderValue::from_bytes(if_range).map(|value| (IF_RANGE, value)));
    }
    let length = usize::from(length);
    if let Part::Bytes(part) = range::requested(&headers, length, &etag(Lineage::default(), 7)) {
        assert!(part.start < part.end && part.end <= length, "{part:?} of {length}");
    }
}

/// What lies before the first zero byte, and what behind it.
fn split_at_zero(data: &[u8]) -> (&[u8], &[u8]) {
    let at = data.iter().position(|&b| b == 0).unwrap_or(data.len());
    (&data[..at], data.get(at + 1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use tanada::vfs::Env;

    fn corpus() -> Vec<Vec<u8>> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/http_input");
        let fs = Env::real().fs;
        let read = |name: &str| {
            let file = fs.open(&dir.join(name)).expect("it is listed");
            let mut bytes = vec![0; file.len() as usize];
            file.read_exact_at(&mut bytes, 0).expect("so many bytes");
            bytes
        };
        let names = fs.read_dir(&dir).expect("the corpus is committed");
        names.iter().map(|entry| read(&entry.name)).collect()
    }

    /// Every input of the corpus, taken for each kind, and each with a byte changed
    /// and cut.
    #[test]
    fn the_corpus_of_http_inputs_breaks_no_rule() {
        let inputs = corpus();
        for kind in 0..KINDS {
            assert!(inputs.iter().any(|input| input[0] == kind), "no input of kind {kind}");
        }
        for input in inputs {
            for kind in 0..KINDS {
                let mut bytes = input.clone();
                bytes[0] = kind;
                http_input(&bytes);
                for at in 1..input.len() {
                    for flip in [0x01, 0x80, 0xff] {
                        let mut changed = bytes.clone();
                        changed[at] ^= flip;
                        http_input(&changed);
                    }
                    http_input(&bytes[..at]);
                }
            }
        }
    }
}
