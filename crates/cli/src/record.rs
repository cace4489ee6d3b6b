//! One key and its value on their way in or out, and their form as a line of
//! JSON, which `dump` and `scan` write and `load` reads:
//!
//! | member | |
//! |---|---|
//! | `key` | text |
//! | `key64` | instead of `key`: base64 of any bytes |
//! | `value` | text, or base64 of any bytes |
//! | `encoding` | of the value: `"utf8"` (default) or `"base64"` |
//! | `ttl` | seconds from now until the key expires; may have a fraction |
//! | `expires_at` | the moment itself, RFC 3339, as `dump` and the server write it |
//! | `keyspace` | where it belongs, if not in the default keyspace |
//! | `version` | of the database that it comes from; read, and not kept |
//!
//! A line of `keyspace` alone says that there is such a keyspace.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

/// The name of the keyspace that verbs use where none is named.
pub(crate) const DEFAULT_KEYSPACE: &str = "default";

const TOO_LATE: &str = "a key may expire by 9999-12-31T23:59:59.999Z at the latest; give less time, or none to keep the key for ever";

/// A key, its value, and what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) expiry: Expiry,
    /// Of the database that it was read from.
    pub(crate) version: Option<u64>,
    /// `None` where nothing is said: the default one.
    pub(crate) keyspace: Option<String>,
}

/// What a line of a dump says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Record(Record),
    /// There is a keyspace of this name.
    Keyspace(String),
}

/// When a key expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Expiry {
    #[default]
    Never,
    /// Milliseconds from now.
    In(u64),
    /// Milliseconds since 1970.
    At(u64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Incoming<'a> {
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key64: Option<Cow<'a, str>>,
    #[serde(borrow)]
    value: Option<Cow<'a, str>>,
    encoding: Option<Encoding>,
    ttl: Option<f64>,
    #[serde(borrow)]
    expires_at: Option<Cow<'a, str>>,
    keyspace: Option<Cow<'a, str>>,
    version: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    Utf8,
    Base64,
}

#[derive(Serialize)]
struct Outgoing<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<Encoding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keyspace: Option<&'a str>,
}

impl Line {
    /// Reads one line of JSON.
    pub(crate) fn from_json(line: &[u8]) -> Result<Line, String> {
        Line::read(line, None)
    }

    /// As [`Line::from_json`], with `default` for a value that is not there.
    fn read(line: &[u8], default: Option<&'static str>) -> Result<Line, String> {
        let text = std::str::from_utf8(line).map_err(|e| {
            format!("byte {} is not UTF-8; write such keys and values in base64, as \"key64\", and as \"value\" with \"encoding\":\"base64\"", e.valid_up_to() + 1)
        })?;
        let incoming: Incoming<'_> = serde_json::from_str(text).map_err(|e| {
            format!("{e}; a line is {{\"key\":\"…\",\"value\":\"…\"}}, with \"encoding\" and \"ttl\" if wanted")
        })?;
        let keyspace = incoming.keyspace.map(Cow::into_owned);
        if let Some(name) = &keyspace {
            check_keyspace(name)?;
        }
        let key = match (incoming.key, incoming.key64) {
            (Some(key), None) => key.into_owned().into_bytes(),
            (None, Some(key64)) => decode_base64(&key64)?,
            (None, None)
                if incoming.value.is_none()
                    && incoming.encoding.is_none()
                    && incoming.ttl.is_none()
                    && incoming.expires_at.is_none()
                    && incoming.version.is_none()
                    && keyspace.is_some() =>
            {
                return Ok(Line::Keyspace(keyspace.unwrap_or_default()));
            }
            (None, None) => return Err("there is no \"key\" (nor \"key64\", in base64)".into()),
            (Some(_), Some(_)) => {
                return Err("there is both \"key\" and \"key64\"; keep one".into());
            }
        };
        let Some(value) = incoming.value.or(default.map(Cow::Borrowed)) else {
            return Err("there is no \"value\" (it may be empty: \"\")".into());
        };
        let value = match incoming.encoding {
            Some(Encoding::Base64) => decode_base64(&value)?,
            _ => value.into_owned().into_bytes(),
        };
        let expiry = match (incoming.ttl, incoming.expires_at) {
            (Some(seconds), None) => Expiry::In(ttl_ms(seconds)?),
            (None, Some(at)) => Expiry::At(parse_time(&at)?),
            (None, None) => Expiry::Never,
            (Some(_), Some(_)) => {
                return Err("there is both \"ttl\" and \"expires_at\"; keep one".into());
            }
        };
        let record = Record { key, value, expiry, version: incoming.version, keyspace };
        record.checked().map(Line::Record)
    }

    /// As [`Line::from_json`] reads it, without the line end.
    pub(crate) fn to_json(&self) -> String {
        match self {
            Line::Record(record) => record.to_json(),
            Line::Keyspace(name) => serde_json::json!({ "keyspace": name }).to_string(),
        }
    }
}

impl Record {
    /// Reads an item of a scan, which may be one of keys alone.
    pub(crate) fn from_item(text: &[u8]) -> Result<Record, String> {
        match Line::read(text, Some(""))? {
            Line::Record(record) => Ok(record),
            Line::Keyspace(_) => Err("there is no \"key\"".into()),
        }
    }

    /// Refuses what the database would refuse, so that the line can be named.
    pub(crate) fn checked(self) -> Result<Record, String> {
        let (key, value) = (self.key.len(), self.value.len());
        if key == 0 {
            return Err("the key is empty; a key has 1 to 65536 bytes".into());
        }
        if key > tanada::MAX_KEY_LEN {
            return Err(format!("the key has {key} bytes; a key has 1 to {}", tanada::MAX_KEY_LEN));
        }
        if value > tanada::MAX_VALUE_LEN {
            return Err(format!(
                "the value has {value} bytes; a value has at most {}",
                tanada::MAX_VALUE_LEN
            ));
        }
        if let Expiry::In(ms) | Expiry::At(ms) = self.expiry
            && ms > tanada::MAX_EXPIRES_AT_MS
        {
            return Err(TOO_LATE.into());
        }
        Ok(self)
    }

    /// Refuses a time to live that, begun at `now_ms`, ends later than a key may expire.
    pub(crate) fn checked_at(self, now_ms: u64) -> Result<Record, String> {
        match self.expiry {
            Expiry::In(ms) if now_ms.saturating_add(ms) > tanada::MAX_EXPIRES_AT_MS => {
                Err(TOO_LATE.into())
            }
            _ => Ok(self),
        }
    }

    /// One line of JSON, without the line end. Base64 where a part is not UTF-8.
    pub(crate) fn to_json(&self) -> String {
        self.outgoing(Some(&self.value))
    }

    /// The same without the value.
    pub(crate) fn key_to_json(&self) -> String {
        self.outgoing(None)
    }

    fn outgoing(&self, value: Option<&[u8]>) -> String {
        let expires_at = match self.expiry {
            Expiry::At(at) => Some(format_time(at)),
            Expiry::Never | Expiry::In(_) => None,
        };
        let text = std::str::from_utf8(&self.key).ok();
        let value_text = value.map(std::str::from_utf8);
        let outgoing = Outgoing {
            key: text,
            key64: text.is_none().then(|| encode_base64(&self.key)),
            value: value_text.map(|text| match text {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => Cow::Owned(encode_base64(value.unwrap_or_default())),
            }),
            encoding: matches!(value_text, Some(Err(_))).then_some(Encoding::Base64),
            version: self.version,
            expires_at,
            keyspace: self.keyspace.as_deref(),
        };
        serde_json::to_string(&outgoing).expect("strings and numbers always have a JSON form")
    }
}

/// Says what is wrong with a keyspace's name.
pub(crate) fn check_keyspace(name: &str) -> Result<(), String> {
    match name.len() {
        1..=255 => Ok(()),
        n => Err(format!("a keyspace's name has 1 to 255 bytes, not {n}")),
    }
}

/// Standard base64 with padding.
pub(crate) fn decode_base64(text: &str) -> Result<Vec<u8>, String> {
    BASE64.decode(text.trim()).map_err(|e| format!("'{}' is not base64 ({e})", shorten(text)))
}

/// Standard base64 with padding.
pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Seconds to milliseconds, within what the database takes.
pub(crate) fn ttl_ms(seconds: f64) -> Result<u64, String> {
    let ms = (seconds * 1e3).round();
    // A number larger than all becomes the largest; NaN fails the comparison.
    if ms >= 1.0 && ms as u64 <= tanada::MAX_EXPIRES_AT_MS {
        Ok(ms as u64)
    } else if ms >= 1.0 {
        Err(format!("a ttl of {seconds} seconds: {TOO_LATE}"))
    } else {
        Err(format!("a ttl of {seconds} seconds; it must be at least 0.001"))
    }
}

/// `2026-01-02T03:04:05.678Z` of milliseconds since 1970. Times after the year
/// 9999, which RFC 3339 cannot write, and which are no longer taken, become its last
/// moment.
pub(crate) fn format_time(ms: u64) -> String {
    let ms = ms.min(tanada::MAX_EXPIRES_AT_MS);
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

/// Milliseconds since 1970 of an RFC 3339 time.
pub(crate) fn parse_time(text: &str) -> Result<u64, String> {
    let time = humantime::parse_rfc3339(text).map_err(|e| {
        format!("'{}' is not a time ({e}); write it as 2026-01-02T03:04:05.678Z", shorten(text))
    })?;
    Ok(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64)
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= 40 {
        text.into()
    } else {
        text.chars().take(40).collect::<String>() + "…"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(key: &[u8], value: &[u8], expiry: Expiry) {
        for (version, keyspace) in [(None, None), (Some(7), Some("users \"鍵\"".to_owned()))] {
            let (key, value) = (key.to_vec(), value.to_vec());
            let record = Record { key, value, expiry, version, keyspace };
            let line = record.to_json();
            assert!(!line.contains('\n'));
            assert_eq!(Line::from_json(line.as_bytes()), Ok(Line::Record(record)), "{line}");
        }
        let line = Line::Keyspace("users \"鍵\"".into());
        assert_eq!(Line::from_json(line.to_json().as_bytes()), Ok(line));
    }

    #[test]
    fn every_byte_survives_the_way_through_json() {
        round_trip(b"k", b"v", Expiry::Never);
        round_trip("鍵\n\0\"".as_bytes(), "値\u{2028}".as_bytes(), Expiry::At(1_767_323_045_678));
        let all: Vec<u8> = (0..=255).collect();
        round_trip(&all, &all, Expiry::Never);
        round_trip(b"k", &[0xff], Expiry::Never);
        round_trip(&[0xff], b"", Expiry::Never);
    }

    #[test]
    fn bad_lines_say_what_is_wrong() {
        for (line, word) in [
            (&b"{"[..], "EOF"),
            (b"{\"key\":\"k\"}", "value"),
            (b"{\"value\":\"v\"}", "key64"),
            (b"{\"key\":\"k\",\"key64\":\"aw==\",\"value\":\"v\"}", "both"),
            (b"{\"key\":\"k\",\"value\":1}", "string"),
            (b"{\"key\":\"k\",\"value\":\"v\",\"tll\":1}", "tll"),
            (b"{\"key\":\"\",\"value\":\"v\"}", "empty"),
            (b"{\"key\":\"k\",\"value\":\"v\",\"ttl\":0}", "ttl"),
            (b"{\"key\":\"k\",\"value\":\"*\",\"encoding\":\"base64\"}", "base64"),
            (b"{\"key\":\"k\",\"value\":\"\xff\"}", "UTF-8"),
            (b"{\"key\":\"k\",\"value\":\"v\",\"value\":\"w\"}", "duplicate"),
            (b"{\"key\":\"k\",\"value\":\"v\"}{\"key\":\"l\",\"value\":\"v\"}", "trailing"),
            (b"{\"key\":\"k\",\"value\":\"v\",\"keyspace\":\"\"}", "keyspace"),
            (b"{\"keyspace\":\"s\",\"ttl\":1}", "key64"),
            (b"{\"key\":\"k\",\"value\":\"v\",\"ttl\":1e12}", "9999"),
            (b"{\"key\":\"k\",\"value\":\"v\",\"ttl\":1e300}", "9999"),
            (b"{\"key\":\"k\",\"value\":\"v\",\"expires_at\":\"12027-01-01T00:00:00Z\"}", "time"),
            (
                b"{\"key\":\"k\",\"value\":\"v\",\"ttl\":1,\"expires_at\":\"2030-01-01T00:00:00Z\"}",
                "both",
            ),
        ] {
            let error = Line::from_json(line).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_ttl_counts_seconds_and_may_have_a_fraction() {
        let line = Line::from_json(b"{\"key\":\"k\",\"value\":\"\",\"ttl\":1.5}").unwrap();
        let Line::Record(record) = line else { panic!("{line:?}") };
        assert_eq!(record.expiry, Expiry::In(1500));
    }
}
