//! The keys that one thread alone writes, as they must be; and keys as answers show them.

use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) const SPACES: [&str; 2] = ["default", "side"];
/// Keys of the model in each keyspace; every third of them stays as it is.
pub(crate) const KEYS: u64 = 120;

/// One key of the model.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) value: Arc<str>,
    pub(crate) version: u64,
    pub(crate) expires: bool,
}

/// The keys of each keyspace.
pub(crate) type Model = [BTreeMap<String, Entry>; 2];

/// A key as an answer shows it.
pub(crate) struct Seen {
    pub(crate) space: usize,
    pub(crate) key: String,
    /// `None` where only keys were asked for.
    pub(crate) value: Option<String>,
    pub(crate) version: u64,
    pub(crate) expires: bool,
}

impl Seen {
    pub(crate) fn of(item: &Value, space: usize) -> Seen {
        let key = item["key"].as_str().expect("a key").to_owned();
        let value = item["value"].as_str().map(str::to_owned);
        if let Some(value) = &value {
            assert!(belongs(space, &key, value), "{key} of {}: {value:.60}", SPACES[space]);
        }
        let version = item["version"].as_u64().expect("a version");
        Seen { space, key, value, version, expires: item["expires_at"].is_string() }
    }

    /// Whether the model has it so.
    pub(crate) fn is(&self, key: &str, entry: &Entry) -> bool {
        self.key == key
            && (self.version, self.expires) == (entry.version, entry.expires)
            && self.value.as_deref().is_none_or(|value| value == &*entry.value)
    }
}

pub(crate) fn key_of(n: u64) -> String {
    format!("k{n:03}")
}

/// Whether nobody changes this key.
pub(crate) fn is_still(key: &str) -> bool {
    key.strip_prefix('k').and_then(|n| n.parse::<u64>().ok()).is_some_and(|n| n.is_multiple_of(3))
}

pub(crate) fn path(space: usize, rest: &str) -> String {
    format!("/v1/ks/{}/{rest}", SPACES[space])
}

/// A value that tells whose it is, and of which write.
pub(crate) fn text(space: usize, id: &str, n: u64, len: usize) -> String {
    let filler = char::from(b'a' + (n % 26) as u8);
    let mut text = format!("{}/{id}#{n}#", SPACES[space]);
    text.extend(std::iter::repeat_n(filler, len));
    text
}

fn belongs(space: usize, key: &str, value: &str) -> bool {
    let id = key.strip_prefix("a-").or(key.strip_prefix("z-")).unwrap_or(key);
    value.starts_with(&format!("{}/{id}#", SPACES[space]))
}
