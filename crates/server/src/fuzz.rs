//! What fuzzers call: everything that a client says, from any bytes.
//!
//! Compiled for fuzzers (feature `fuzzing`, see `fuzz/`) and for tests, which run
//! inputs like those of the committed corpus.

use crate::encoding::{from_base64, push_base64};
use crate::etag::conditions;
use crate::input::{DeleteBody, GetBody, PutBody, json, key_of};
use crate::query;
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH};

/// Bodies, queries, paths, headers. The first byte says which.
pub fn http_input(data: &[u8]) {
    let Some((which, rest)) = data.split_first() else { return };
    let body = Bytes::copy_from_slice(rest);
    match which % 7 {
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
                let _ = conditions(&headers);
            }
        }
        _ => {
            let mut text = Vec::new();
            push_base64(&mut text, rest);
            assert_eq!(from_base64(&text).as_deref(), Ok(rest), "what is written reads back");
            let _ = from_base64(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_say_breaks_no_rule() {
        let inputs: [&[u8]; 8] = [
            br#"0{"key":"a","value":"b","ttl":1.5}"#,
            br#"0{"key64":"YQ==","value":"\u00e9","encoding":"utf8"}"#,
            br#"1{"key":"a","explain":true}"#,
            br#"2{"key":"a","durability":"synced"}"#,
            b"3key=%00a+b&limit=10&ttl=",
            b"4/v1/kv/%e6%a3%9a%ff",
            br#"5"12", W/"13", *"#,
            b"6any bytes \x00\xff",
        ];
        for input in inputs {
            for first in 0..7 {
                let mut bytes = input.to_vec();
                bytes[0] = first;
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
