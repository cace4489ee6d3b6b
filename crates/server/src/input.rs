//! What a client says about one key, checked: key, value, time to live, durability.
//!
//! Whatever passes here is accepted by the engine, so that no single request
//! can spoil the commit group it is merged into.

use crate::encoding::{Encoding, from_base64, from_rfc3339};
use crate::problem::{Kind, Problem, Result};
use crate::query;
use bytes::Bytes;
use serde::Deserialize;
use std::borrow::Cow;
use std::time::Duration;
use tanada::{Durability, MAX_EXPIRES_AT_MS, MAX_KEY_LEN, PutOptions};

/// Longest time to live, in seconds: one that begins now may not be so long.
const MAX_TTL_S: f64 = (MAX_EXPIRES_AT_MS / 1000) as f64;

/// A string that borrows from the body where it holds no escape.
#[derive(Debug, Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Text<'_> {
    /// The bytes, without a copy where they lie in `body`.
    pub(crate) fn into_bytes(self, body: &Bytes) -> Bytes {
        match self.0 {
            Cow::Borrowed(text) => body.slice_ref(text.as_bytes()),
            Cow::Owned(text) => Bytes::from(text),
        }
    }
}

fn text_from_base64(name: &str, text: &Text<'_>) -> Result<Vec<u8>> {
    from_base64(text.0.as_bytes()).map_err(|e| Problem::not_base64(name, &e))
}

/// How much a write must survive, as written by clients.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DurabilityName {
    Memory,
    Buffered,
    Synced,
}

impl From<DurabilityName> for Durability {
    fn from(name: DurabilityName) -> Durability {
        match name {
            DurabilityName::Memory => Durability::Memory,
            DurabilityName::Buffered => Durability::Buffered,
            DurabilityName::Synced => Durability::Synced,
        }
    }
}

/// `POST /put`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutBody<'a> {
    #[serde(borrow)]
    pub(crate) key: Option<Text<'a>>,
    pub(crate) key64: Option<Text<'a>>,
    pub(crate) value: Option<Text<'a>>,
    pub(crate) encoding: Option<Encoding>,
    pub(crate) ttl: Option<f64>,
    pub(crate) expires_at: Option<Text<'a>>,
    pub(crate) durability: Option<DurabilityName>,
}

/// `POST /v1/keyspaces` and `POST /v1/admin/checkpoints`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NameBody<'a> {
    #[serde(borrow)]
    pub(crate) name: Option<Text<'a>>,
}

/// `POST /get`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetBody<'a> {
    #[serde(borrow)]
    pub(crate) key: Option<Text<'a>>,
    pub(crate) key64: Option<Text<'a>>,
    pub(crate) explain: Option<bool>,
}

/// `POST /delete`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteBody<'a> {
    #[serde(borrow)]
    pub(crate) key: Option<Text<'a>>,
    pub(crate) key64: Option<Text<'a>>,
    pub(crate) durability: Option<DurabilityName>,
}

/// Reads a body as JSON, whatever its `Content-Type`: `curl -d` says "form".
pub(crate) fn json<'b, T: Deserialize<'b>>(body: &'b Bytes) -> Result<T> {
    let text = std::str::from_utf8(body).map_err(|e| {
        Problem::new(
            Kind::NotUtf8,
            format!(
                "the body is not UTF-8 (byte {}); send such bytes as base64, with \"encoding\":\"base64\" or \"key64\"",
                e.valid_up_to()
            ),
        )
    })?;
    if text.trim_ascii().is_empty() {
        return Err(Problem::missing(
            "the body",
            "send a JSON object, or the same fields as query parameters",
        ));
    }
    // Derived readers would take a list for the fields in order.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Problem::new(
            Kind::InvalidJson,
            "the body is not a JSON object; send one object in UTF-8",
        ));
    }
    serde_json::from_str(text).map_err(|e| {
        let message = e.to_string();
        if message.starts_with("unknown field") {
            Problem::new(
                Kind::UnknownField,
                format!("{message}; check its spelling, or leave it out"),
            )
        } else if message.starts_with("missing field") {
            Problem::new(Kind::MissingParameter, format!("{message}; add it"))
        } else if e.is_data() {
            Problem::invalid(format!("{message}; correct that field"))
        } else {
            Problem::new(Kind::InvalidJson, format!("{message}; send one JSON object in UTF-8"))
        }
    })
}

/// The key of a JSON body, from `key` or `key64`.
pub(crate) fn key_of(
    key: Option<Text<'_>>,
    key64: Option<Text<'_>>,
    body: &Bytes,
) -> Result<Bytes> {
    match (key, key64) {
        (Some(key), None) => checked_key(key.into_bytes(body)),
        (None, Some(key64)) => checked_key(text_from_base64("key64", &key64)?.into()),
        (None, None) => Err(Problem::missing("key", "name the key, in base64 with key64")),
        (Some(_), Some(_)) => Err(Problem::invalid("key and key64 are both given; give one")),
    }
}

/// The key of a query, from `key` or `key64`.
pub(crate) fn key_of_query(
    key: Option<Cow<'_, [u8]>>,
    key64: Option<Cow<'_, [u8]>>,
) -> Result<Bytes> {
    match (key, key64) {
        (Some(key), None) => {
            query::text("key", &key)?;
            checked_key(Bytes::from(key.into_owned()))
        }
        (None, Some(key64)) => checked_key(query::base64("key64", &key64)?.into()),
        (None, None) => {
            Err(Problem::missing("key", "name the key: ?key=…, in base64 with ?key64=…"))
        }
        (Some(_), Some(_)) => Err(Problem::invalid("key and key64 are both given; give one")),
    }
}

/// Refuses what is no key.
pub(crate) fn checked_key(key: Bytes) -> Result<Bytes> {
    match key.len() {
        0 => Err(Problem::new(Kind::EmptyKey, "a key has at least one byte; name the key")),
        1..=MAX_KEY_LEN => Ok(key),
        length => Err(Problem::new(
            Kind::KeyTooLong,
            format!(
                "the key has {length} bytes, the limit is {MAX_KEY_LEN}; use a hash of it as the key, and keep it in the value"
            ),
        )),
    }
}

/// Refuses a value over the limit.
pub(crate) fn checked_value(value: Bytes, max_bytes: usize) -> Result<Bytes> {
    if value.len() > max_bytes {
        return Err(Problem::new(
            Kind::ValueTooLarge,
            format!(
                "the value has {} bytes, the limit is {max_bytes}; split it over several keys",
                value.len()
            ),
        ));
    }
    Ok(value)
}

/// A value as written in JSON.
pub(crate) fn value_of(
    value: Option<Text<'_>>,
    encoding: Option<Encoding>,
    body: &Bytes,
) -> Result<Bytes> {
    let value =
        value.ok_or_else(|| Problem::missing("value", "give the value (it may be empty: \"\")"))?;
    match encoding.unwrap_or_default() {
        Encoding::Utf8 => Ok(value.into_bytes(body)),
        Encoding::Base64 => Ok(text_from_base64("value", &value)?.into()),
    }
}

/// A value as written in a query.
pub(crate) fn value_of_query(
    value: Option<Cow<'_, [u8]>>,
    encoding: Option<Cow<'_, [u8]>>,
) -> Result<Bytes> {
    let value = value
        .ok_or_else(|| Problem::missing("value", "give the value (it may be empty: value=)"))?;
    match encoding.as_deref() {
        None | Some(b"utf8") => {
            query::text("value", &value)?;
            Ok(Bytes::from(value.into_owned()))
        }
        Some(b"base64") => Ok(query::base64("value", &value)?.into()),
        Some(_) => Err(Problem::invalid("encoding must be utf8 or base64")),
    }
}

/// A time to live that ends too late.
pub(crate) fn ends_too_late() -> Problem {
    Problem::invalid(
        "a key may expire by 9999-12-31T23:59:59.999Z at the latest; give less time, or none for a key that stays",
    )
}

/// When a put expires, from `ttl` or `expires_at`.
pub(crate) fn put_options(ttl: Option<f64>, expires_at: Option<&Text<'_>>) -> Result<PutOptions> {
    options(ttl, expires_at.map(|text| &*text.0))
}

/// The same, as written in a query.
pub(crate) fn put_options_of_query(
    ttl: Option<Cow<'_, [u8]>>,
    expires_at: Option<Cow<'_, [u8]>>,
) -> Result<PutOptions> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).unwrap_or_default();
    let ttl = ttl.map(|ttl| text(&ttl).parse().unwrap_or(f64::NAN));
    // A plus, as in a time zone, would have become a space; only Z is taken.
    options(ttl, expires_at.map(|at| text(&at)).as_deref())
}

fn options(ttl: Option<f64>, expires_at: Option<&str>) -> Result<PutOptions> {
    match (ttl, expires_at) {
        (None, None) => Ok(PutOptions::new()),
        (Some(seconds), None) => Ok(PutOptions::new().ttl(ttl_of(seconds)?)),
        (None, Some(text)) => {
            let at = from_rfc3339(text).ok_or_else(|| {
                Problem::invalid(
                    "expires_at is a time in UTC, to the year 9999, such as 2026-01-02T03:04:05.678Z; leave it out for a key that stays",
                )
            })?;
            Ok(PutOptions::new().expires_at(at))
        }
        (Some(_), Some(_)) => Err(Problem::invalid("ttl and expires_at are both given; give one")),
    }
}

/// Seconds to live, fractions allowed.
fn ttl_of(seconds: f64) -> Result<Duration> {
    // The engine counts in milliseconds; NaN fails the comparison too.
    if seconds > MAX_TTL_S {
        return Err(ends_too_late());
    }
    if !(0.001..=MAX_TTL_S).contains(&seconds) {
        return Err(Problem::invalid(
            "ttl is a number of seconds, 0.001 or more; leave it out for a key that stays",
        ));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// A durability, as written in a query.
pub(crate) fn durability_of_query(durability: Option<Cow<'_, [u8]>>) -> Result<Option<Durability>> {
    match durability.as_deref() {
        None => Ok(None),
        Some(b"memory") => Ok(Some(Durability::Memory)),
        Some(b"buffered") => Ok(Some(Durability::Buffered)),
        Some(b"synced") => Ok(Some(Durability::Synced)),
        Some(_) => Err(Problem::invalid("durability must be memory, buffered or synced")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(body: &'static str) -> Result<(Bytes, Bytes)> {
        let body = Bytes::from_static(body.as_bytes());
        let put: PutBody<'_> = json(&body)?;
        put_options(put.ttl, put.expires_at.as_ref())?;
        Ok((key_of(put.key, put.key64, &body)?, value_of(put.value, put.encoding, &body)?))
    }

    #[test]
    fn a_put_is_read_with_escapes_base64_and_binary_keys() {
        let cases: [(&str, &[u8], &[u8]); 4] = [
            (r#"{"key":"a","value":"b"}"#, b"a", b"b"),
            (r#"{"key":"a\nb","value":"\u68da"}"#, b"a\nb", "棚".as_bytes()),
            (r#"{"key":"a","value":"+/8=","encoding":"base64"}"#, b"a", b"\xfb\xff"),
            (r#"{"key64":"-_8","value":"","ttl":1.5}"#, b"\xfb\xff", b""),
        ];
        for (body, key, value) in cases {
            let (k, v) = put(body).expect(body);
            assert_eq!((&k[..], &v[..]), (key, value), "{body}");
        }
    }

    #[test]
    fn plain_strings_are_not_copied() {
        let body = Bytes::from_static(br#"{"key":"a","value":"bc"}"#);
        let put: PutBody<'_> = json(&body).expect("valid");
        let value = put.value.expect("given").into_bytes(&body);
        assert!(body.as_ptr_range().contains(&value.as_ptr()));
    }

    #[test]
    fn bad_puts_are_told_apart() {
        let cases = [
            ("", Kind::MissingParameter),
            ("{", Kind::InvalidJson),
            ("[1,2", Kind::InvalidJson),
            ("{} {}", Kind::InvalidJson),
            (r#"{"key":"a\ud800","value":""}"#, Kind::InvalidJson),
            (r#"["a",null,"b"]"#, Kind::InvalidJson),
            ("{}", Kind::MissingParameter),
            (r#"{"key":"a"}"#, Kind::MissingParameter),
            (r#"{"value":"a"}"#, Kind::MissingParameter),
            (r#"{"key":"","value":"a"}"#, Kind::EmptyKey),
            (r#"{"key":"a","value":"b","tll":1}"#, Kind::UnknownField),
            (r#"{"key":"a","key":"b","value":"b"}"#, Kind::InvalidParameter),
            (r#"{"key":7,"value":"b"}"#, Kind::InvalidParameter),
            (r#"{"key":"a","key64":"YQ","value":"b"}"#, Kind::InvalidParameter),
            (r#"{"key":"a","value":"b","encoding":"hex"}"#, Kind::InvalidParameter),
            (r#"{"key":"a","value":"b?","encoding":"base64"}"#, Kind::InvalidBase64),
            (r#"{"key":"a","value":"b","ttl":0}"#, Kind::InvalidParameter),
            (r#"{"key":"a","value":"b","ttl":-1}"#, Kind::InvalidParameter),
            (r#"{"key":"a","value":"b","ttl":1e300}"#, Kind::InvalidParameter),
            (r#"{"key":"a","value":"b","ttl":"1h"}"#, Kind::InvalidParameter),
            (r#"{"key":"a","value":"b","expires_at":"soon"}"#, Kind::InvalidParameter),
            (
                r#"{"key":"a","value":"b","expires_at":"10000-01-01T00:00:00Z"}"#,
                Kind::InvalidParameter,
            ),
            (
                r#"{"key":"a","value":"b","ttl":1,"expires_at":"2030-01-01T00:00:00Z"}"#,
                Kind::InvalidParameter,
            ),
        ];
        for (body, kind) in cases {
            assert_eq!(put(body).expect_err(body).kind(), kind, "{body}");
        }
        let not_utf8 =
            json::<PutBody<'_>>(&Bytes::from_static(b"{\"key\":\"\xff\"}")).expect_err("bytes");
        assert_eq!(not_utf8.kind(), Kind::NotUtf8);
    }

    #[test]
    fn keys_and_values_over_their_limits_are_refused() {
        assert!(checked_key(Bytes::from(vec![b'k'; MAX_KEY_LEN])).is_ok());
        let long = checked_key(Bytes::from(vec![b'k'; MAX_KEY_LEN + 1])).expect_err("too long");
        assert_eq!(long.kind(), Kind::KeyTooLong);
        assert!(checked_value(Bytes::from_static(b"1234"), 4).is_ok());
        let large = checked_value(Bytes::from_static(b"12345"), 4).expect_err("too large");
        assert_eq!(large.kind(), Kind::ValueTooLarge);
    }
}
