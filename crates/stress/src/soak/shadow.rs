//! What the soak has written to keyspaces of its own, kept outside of the disk that is
//! tormented: every write of it is synced and waited for, so all of it must be there, after
//! whatever happens.

use crate::client::Client;
use crate::contents::insist;
use crate::failure::{Failure, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::BufRead;
use tanada_vfs::Env;

/// What a record takes beside its key and its value, at most: in blocks, index and filter.
const BESIDE_BYTES: u64 = 32;

/// Operations of a batch: a large budget's and a small one's.
const BATCH: usize = 250;

/// A value expires no later than this behind the time it was told: the answer, and the steps
/// by which the engine follows its clock.
const LATE_MS: u64 = 3_000;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) value: String,
    /// When it has expired for certain, by the monotonic clock of this process.
    pub(super) gone_at_ms: Option<u64>,
}

/// All records of all keyspaces but the default one.
#[derive(Debug, Default)]
pub(super) struct Shadow {
    keyspaces: BTreeMap<String, BTreeMap<String, Expected>>,
}

/// One write.
#[derive(Clone, Debug)]
pub(super) enum Write {
    /// Lives until it is overwritten or deleted.
    Put {
        key: String,
        value: String,
    },
    /// Lives for some seconds.
    Brief {
        key: String,
        value: String,
        seconds: u64,
    },
    /// Lives for a year: longer than any run.
    Year {
        key: String,
        value: String,
    },
    Delete {
        key: String,
    },
}

impl Shadow {
    /// Makes sure that a keyspace is there.
    ///
    /// # Errors
    /// Broken.
    pub(super) fn keyspace(&mut self, env: &Env, client: &Client, name: &str) -> Result<()> {
        if !self.keyspaces.contains_key(name) {
            let body = json!({ "name": name });
            insist(env, "a new keyspace", || client.post("/v1/keyspaces", &body))?;
            self.keyspaces.insert(name.to_owned(), BTreeMap::new());
        }
        Ok(())
    }

    /// Writes all of these to a keyspace that is there, synced.
    ///
    /// # Errors
    /// Broken when a healthy server refuses one.
    pub(super) fn write(
        &mut self,
        env: &Env,
        client: &Client,
        name: &str,
        writes: &[Write],
    ) -> Result<()> {
        let path = format!("/v1/ks/{name}/batch");
        for part in writes.chunks(BATCH) {
            let ops: Vec<Value> = part.iter().map(Write::to_json).collect();
            let body = json!({ "ops": ops, "durability": "synced" });
            insist(env, "a batch", || client.post(&path, &body))?;
            let now_ms = env.clock.monotonic_ns() / 1_000_000;
            let records = self.keyspaces.entry(name.to_owned()).or_default();
            part.iter().for_each(|write| write.apply(records, now_ms));
        }
        Ok(())
    }

    /// Writes one value, as raw bytes.
    ///
    /// # Errors
    /// As [`Shadow::write`].
    pub(super) fn put_raw(
        &mut self,
        env: &Env,
        client: &Client,
        name: &str,
        (key, value): (String, String),
    ) -> Result<()> {
        let path = format!("/v1/ks/{name}/kv/{key}");
        insist(env, "a large value", || client.put_synced(&path, &value))?;
        self.note(name, key, value);
        Ok(())
    }

    /// Notes what has been written by other ways, without an expiry.
    pub(super) fn note(&mut self, name: &str, key: String, value: String) {
        let records = self.keyspaces.entry(name.to_owned()).or_default();
        records.insert(key, Expected { value, gone_at_ms: None });
    }

    /// Notes what has been deleted by other ways.
    pub(super) fn forget(&mut self, name: &str, key: &str) {
        self.keyspaces.get_mut(name).map(|records| records.remove(key));
    }

    /// The records of a keyspace.
    pub(super) fn of(&self, name: &str) -> Option<&BTreeMap<String, Expected>> {
        self.keyspaces.get(name)
    }

    /// Bytes of all that may live, with what a record takes beside them.
    pub(super) fn live_bytes(&self) -> u64 {
        let records = self.keyspaces.values().flatten();
        records.map(|(key, it)| (key.len() + it.value.len()) as u64 + BESIDE_BYTES).sum()
    }

    /// Records that are held.
    pub(super) fn len(&self) -> u64 {
        self.keyspaces.values().map(|records| records.len() as u64).sum()
    }

    /// Compares all keyspaces with what the server tells, and lets go of what has expired.
    ///
    /// # Errors
    /// Broken when a record is missing, is another, or is there though it should not.
    pub(super) fn check(&mut self, env: &Env, client: &Client) -> Result<()> {
        for (name, records) in &mut self.keyspaces {
            let path = format!("/v1/ks/{name}/kv");
            let from_ms = env.clock.monotonic_ns() / 1_000_000;
            let lines = insist(env, "a stream", || client.stream(&path))?;
            compare(name, records, lines, from_ms)?;
            records.retain(|_, it| it.gone_at_ms.is_none_or(|at_ms| at_ms > from_ms));
        }
        Ok(())
    }
}

/// Compares a stream of one moment, which is no earlier than `from_ms`, with what must be in
/// it.
///
/// # Errors
/// Broken.
pub(super) fn compare(
    name: &str,
    records: &BTreeMap<String, Expected>,
    lines: impl BufRead,
    from_ms: u64,
) -> Result<()> {
    let broken = |what: String| Failure::broken(format!("keyspace {name}: {what}"));
    let mut expected = records.iter().peekable();
    for line in lines.lines() {
        let line = line.map_err(|e| broken(format!("a stream breaks off: {e}")))?;
        let found: Value = serde_json::from_str(&line)
            .map_err(|e| broken(format!("a line that is no JSON, {e}: {line:.80}")))?;
        let (Some(key), Some(value)) = (found["key"].as_str(), found["value"].as_str()) else {
            return Err(broken(format!("a line without key and value: {line:.200}")));
        };
        while let Some((missing, it)) = expected.next_if(|(known, _)| known.as_str() < key) {
            may_be_missing(missing, it).map_err(broken)?;
        }
        match expected.next_if(|(known, _)| known.as_str() == key) {
            Some((_, it)) if it.gone_at_ms.is_some_and(|at_ms| at_ms <= from_ms) => {
                return Err(broken(format!("{key} has not expired")));
            }
            Some((_, it)) if it.value == value => {}
            Some((_, it)) => {
                return Err(broken(format!("{key} is {value:.40}, not {:.40}", it.value)));
            }
            None => return Err(broken(format!("{key} is there, and nobody wrote it"))),
        }
    }
    for (missing, it) in expected {
        may_be_missing(missing, it).map_err(broken)?;
    }
    Ok(())
}

/// What expires within seconds may have: the clock may have been set ahead a little.
fn may_be_missing(key: &str, it: &Expected) -> Result<(), String> {
    match it.gone_at_ms {
        Some(_) => Ok(()),
        None => Err(format!("{key} was acknowledged, and is not there")),
    }
}

impl Write {
    fn to_json(&self) -> Value {
        match self {
            Write::Put { key, value } => json!({ "op": "put", "key": key, "value": value }),
            Write::Brief { key, value, seconds } => {
                json!({ "op": "put", "key": key, "value": value, "ttl": seconds })
            }
            Write::Year { key, value } => {
                json!({ "op": "put", "key": key, "value": value, "ttl": 365 * 86_400 })
            }
            Write::Delete { key } => json!({ "op": "delete", "key": key }),
        }
    }

    fn apply(&self, records: &mut BTreeMap<String, Expected>, now_ms: u64) {
        let (key, value, gone_at_ms) = match self {
            Write::Put { key, value } | Write::Year { key, value } => (key, value, None),
            Write::Brief { key, value, seconds } => {
                (key, value, Some(now_ms + 1000 * seconds + LATE_MS))
            }
            Write::Delete { key } => {
                records.remove(key);
                return;
            }
        };
        records.insert(key.clone(), Expected { value: value.clone(), gone_at_ms });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &str, from_ms: u64) -> Result<()> {
        let mut records = BTreeMap::new();
        Write::Put { key: "a".into(), value: "1".into() }.apply(&mut records, 0);
        Write::Brief { key: "b".into(), value: "2".into(), seconds: 1 }.apply(&mut records, 0);
        Write::Put { key: "c".into(), value: "3".into() }.apply(&mut records, 0);
        compare("ks", &records, lines.as_bytes(), from_ms)
    }

    #[test]
    fn what_is_missing_or_another_or_nobodys_or_has_not_expired_is_found() {
        let (a, b, c) = (
            r#"{"key":"a","value":"1"}"#,
            r#"{"key":"b","value":"2"}"#,
            r#"{"key":"c","value":"3"}"#,
        );
        told(&[a, b, c].join("\n"), 0).unwrap();
        told(&[a, c].join("\n"), 0).unwrap();
        told(&[a, c].join("\n"), 9_000).unwrap();
        for bad in [&[a, b, c][..], &[b, c], &[a], &[a, r#"{"key":"bb","value":""}"#, c]] {
            assert!(told(&bad.join("\n"), 9_000).is_err(), "{bad:?}");
        }
        assert!(told(&[a, r#"{"key":"c","value":"4"}"#].join("\n"), 0).is_err());
    }
}
