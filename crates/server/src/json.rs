//! Small JSON answers written by hand: the hot path allocates one buffer and walks no tree.

use crate::encoding::{push_base64, rfc3339};
use std::io::Write;
use tanada::UnixMillis;

/// Appends `text` as a JSON string.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text).expect("a vector takes all bytes");
    }
}

/// Appends `"key":"…"`, or `"key64":"…"` when it is not UTF-8.
pub(crate) fn push_key(out: &mut Vec<u8>, key: &[u8]) {
    match std::str::from_utf8(key) {
        Ok(text) => {
            out.extend_from_slice(b"\"key\":");
            push_string(out, text);
        }
        Err(_) => {
            out.extend_from_slice(b"\"key64\":\"");
            push_base64(out, key);
            out.push(b'"');
        }
    }
}

/// Appends `"value":"…","encoding":"utf8"`, or base64 when it is not UTF-8.
pub(crate) fn push_value(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(b"\"value\":");
    match std::str::from_utf8(value) {
        Ok(text) => {
            push_string(out, text);
            out.extend_from_slice(b",\"encoding\":\"utf8\"");
        }
        Err(_) => {
            out.push(b'"');
            push_base64(out, value);
            out.extend_from_slice(b"\",\"encoding\":\"base64\"");
        }
    }
}

/// Most bytes that [`push_key`] and [`push_value`] append. Costs a walk over both.
pub(crate) fn entry_len(key: &[u8], value: &[u8]) -> usize {
    64 + text_len(key) + text_len(value)
}

/// Length of `bytes` as a JSON string, or in base64.
pub(crate) fn text_len(bytes: &[u8]) -> usize {
    if std::str::from_utf8(bytes).is_err() {
        return bytes.len().div_ceil(3) * 4;
    }
    let escaped = |byte: &u8| match byte {
        b'"' | b'\\' | 0x08 | 0x09 | 0x0a | 0x0c | 0x0d => 2,
        0..0x20 => 6,
        _ => 1,
    };
    bytes.iter().map(escaped).sum()
}

/// `{"key":…,"value":…,"encoding":…,"version":…,"expires_at":…}`
pub(crate) fn record(
    key: &[u8],
    value: &[u8],
    version: u64,
    expires_at: Option<UnixMillis>,
) -> Vec<u8> {
    // Known exactly where it is much, for a buffer that grows takes twice as much.
    let length = match key.len() + value.len() {
        small @ ..4096 => small + 112,
        _ => entry_len(key, value) + STAMP_BYTES,
    };
    let mut out = Vec::with_capacity(length);
    out.push(b'{');
    push_key(&mut out, key);
    out.push(b',');
    push_value(&mut out, value);
    push_stamp(&mut out, version, expires_at);
    out.extend_from_slice(b"}\n");
    out
}

/// Most bytes that [`push_stamp`] appends, with room to spare.
pub(crate) const STAMP_BYTES: usize = 80;

/// Appends `,"version":…,"expires_at":…`.
pub(crate) fn push_stamp(out: &mut Vec<u8>, version: u64, expires_at: Option<UnixMillis>) {
    out.extend_from_slice(b",\"version\":");
    push_number(out, version);
    out.extend_from_slice(b",\"expires_at\":");
    match expires_at {
        Some(UnixMillis(ms)) => push_string(out, &rfc3339(ms)),
        None => out.extend_from_slice(b"null"),
    }
}

/// `{"ok":true,"seq":…}`
pub(crate) fn written(seq: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(40);
    out.extend_from_slice(b"{\"ok\":true,\"seq\":");
    push_number(&mut out, seq);
    out.extend_from_slice(b"}\n");
    out
}

/// Appends a number in digits.
pub(crate) fn push_number(out: &mut Vec<u8>, number: u64) {
    write!(out, "{number}").expect("a vector takes all bytes");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parsed(text: &[u8]) -> Value {
        serde_json::from_slice(text).expect("our own JSON")
    }

    #[test]
    fn records_are_json_whatever_the_bytes() {
        assert_eq!(
            parsed(&record("a\"\\\n棚".as_bytes(), b"v", 7, Some(UnixMillis(0)))),
            json!({"key": "a\"\\\n棚", "value": "v", "encoding": "utf8", "version": 7,
                   "expires_at": "1970-01-01T00:00:00.000Z"})
        );
        assert_eq!(
            parsed(&record(b"\xff", b"\xfb\xff", 1, None)),
            json!({"key64": "/w==", "value": "+/8=", "encoding": "base64", "version": 1, "expires_at": null})
        );
    }

    #[test]
    fn writes_answer_with_their_number() {
        assert_eq!(parsed(&written(12)), json!({"ok": true, "seq": 12}));
    }
}
