//! Checkpoints, dumps and loads, and short lives by the command line.

use super::shadow::Shadow;
use crate::client::Client;
use crate::contents::insist;
use crate::disks::tool;
use crate::failure::{Failure, Result};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tanada_vfs::Env;
use tanada_vfs::memory::Dice;

/// The keyspace of short lives.
pub(super) const SHORT: &str = "short";

/// The command line, and where copies are made.
pub(super) struct Copies {
    pub(super) binary: String,
    /// On the disk of the database, for checkpoints: their tables are links.
    pub(super) checkpoints: PathBuf,
    /// Elsewhere.
    pub(super) elsewhere: PathBuf,
    pub(super) made: u32,
}

impl Copies {
    /// Makes a checkpoint of a server to which nobody writes, verifies it, opens it, and
    /// compares all that is in it; writes to it; and removes it.
    ///
    /// # Errors
    /// Broken.
    pub(super) fn checkpoint(&mut self, env: &Env, client: &Client, url: &str) -> Result<()> {
        self.made += 1;
        let name = format!("checkpoint-{}", self.made);
        let body = json!({ "name": name });
        insist(env, "a checkpoint", || client.post("/v1/admin/checkpoints", &body))?;
        let place = self.checkpoints.join(&name).display().to_string();
        self.command(&["verify", "--json", "--data", &place])?;
        let (there, here) = (self.dump(&["--data", &place])?, self.dump(&["--url", url])?);
        same("a checkpoint", &there, &here, &this_year(env))?;
        self.command(&["put", "written", "behind", "--data", &place])?;
        let restored = self.command(&["get", "written", "--data", &place])?;
        if restored.trim_end() != "behind" {
            return Err(Failure::broken(format!("a checkpoint takes no writes: {restored}")));
        }
        let path = format!("/v1/admin/checkpoints/{name}");
        insist(env, "the end of a checkpoint", || client.remove(&path))?;
        Ok(())
    }

    /// Dumps a server to which nobody writes, loads that into a new database, and compares
    /// the dumps of both.
    ///
    /// # Errors
    /// Broken.
    pub(super) fn dump_and_load(&mut self, env: &Env, url: &str) -> Result<()> {
        self.made += 1;
        let file = self.elsewhere.join(format!("dump-{}.ndjson", self.made));
        let place = self.elsewhere.join(format!("loaded-{}", self.made));
        let (file_text, place_text) = (file.display().to_string(), place.display().to_string());
        let text = self.dump_text(&["--url", url])?;
        let mut written = env.fs.create(&file)?;
        written.append(text.as_bytes())?;
        written.sync()?;
        self.command(&["load", &file_text, "--data", &place_text])?;
        let loaded = self.dump(&["--data", &place_text])?;
        same("a dump that was loaded", &loaded, &records(&text)?, &this_year(env))?;
        env.fs.remove(&file)?;
        tool("rm", &["-r", &place_text]).map(drop)
    }

    /// Some short lives: each opens the database, writes or reads once, and ends.
    ///
    /// # Errors
    /// Broken.
    pub(super) fn short_lives(
        &self,
        data: &Path,
        shadow: &mut Shadow,
        dice: &mut Dice,
    ) -> Result<u64> {
        let place = data.display().to_string();
        let lives = 3 + dice.below(6);
        for _ in 0..lives {
            let key = format!("key{}", dice.below(30));
            let common = ["--keyspace", SHORT, "--data", &place];
            match dice.below(4) {
                0 if shadow.of(SHORT).is_some() => {
                    self.command(&[&["delete", &key][..], &common].concat())?;
                    shadow.forget(SHORT, &key);
                }
                _ => {
                    let value = super::chores::text(dice, 300);
                    self.command(&[&["put", &key, &value][..], &common].concat())?;
                    shadow.note(SHORT, key, value);
                }
            }
        }
        Ok(lives)
    }

    fn command(&self, words: &[&str]) -> Result<String> {
        let name = words.first().copied().unwrap_or_default();
        tool(&self.binary, words).map_err(|e| Failure::broken(format!("tanada {name}: {e}")))
    }

    fn dump_text(&self, of: &[&str]) -> Result<String> {
        self.command(&[&["dump"][..], of].concat())
    }

    fn dump(&self, of: &[&str]) -> Result<Records> {
        records(&self.dump_text(of)?)
    }
}

/// What a dump holds: by keyspace and key, value and expiry.
type Records = BTreeMap<(String, String), (String, String)>;

fn records(text: &str) -> Result<Records> {
    let mut records = Records::new();
    for line in text.lines() {
        let bad = |why: String| Failure::broken(format!("a line of a dump, {why}: {line:.200}"));
        let found: serde_json::Value =
            serde_json::from_str(line).map_err(|e| bad(e.to_string()))?;
        let Some(key) = found["key"].as_str() else {
            // It begins a keyspace, which may be empty.
            let name = found["keyspace"].as_str().ok_or_else(|| bad("without a key".into()))?;
            records.insert((name.to_owned(), String::new()), Default::default());
            continue;
        };
        let keyspace = found["keyspace"].as_str().unwrap_or("default").to_owned();
        let value = (found["value"].to_string(), found["expires_at"].to_string());
        if records.insert((keyspace, key.to_owned()), value).is_some() {
            return Err(bad("twice".into()));
        }
    }
    Ok(records)
}

/// The year of the machine's clock. What is put for seconds expires in it, and what is put
/// for a year does not.
fn this_year(env: &Env) -> String {
    const YEAR_MS: u64 = 31_556_952_000;
    (1970 + env.clock.wall_ms() / YEAR_MS).to_string()
}

/// Compares two dumps of different moments: what expires this year may be gone in one of them.
fn same(what: &str, one: &Records, other: &Records, year: &str) -> Result<()> {
    let may_be_gone =
        |(_, expires_at): &(String, String)| expires_at.trim_start_matches('"').starts_with(year);
    let lacks = |a: &Records, b: &Records| -> Vec<(String, String)> {
        let lacking = b.iter().filter(|(key, value)| !a.contains_key(*key) && !may_be_gone(value));
        lacking.map(|(key, _)| key.clone()).collect()
    };
    let differs = |(key, value): &(&(String, String), &(String, String))| {
        other.get(*key).is_some_and(|there| there != *value)
    };
    let others: Vec<_> = one.iter().filter(differs).map(|(key, _)| key.clone()).collect();
    let faults = [
        ("lacks", lacks(one, other)),
        ("has more than it should", lacks(other, one)),
        ("has other values", others),
    ];
    for (fault, keys) in faults {
        if let Some(key) = keys.first() {
            let (here, there) = (one.get(key), other.get(key));
            return Err(Failure::broken(format!(
                "{what} {fault}: {} keys, {key:?} first, of {} and {} records: {here:.300?} and {there:.300?}",
                keys.len(),
                one.len(),
                other.len()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_differ_by_values_expiries_keyspaces_and_what_is_missing() {
        let a = r#"{"key":"a","value":"1","version":4,"expires_at":null}"#;
        let b = r#"{"key":"b","value":"2","version":5,"expires_at":"2026-12-01T00:00:00.000Z"}"#;
        let told = |one: &[&str], other: &[&str]| {
            let of = |lines: &[&str]| records(&lines.join("\n")).unwrap();
            same("x", &of(one), &of(other), "2026")
        };
        told(&[a, b], &[a, b]).unwrap();
        told(&[a, b], &[&a.replace('4', "9"), b]).unwrap();
        told(&[a, b], &[a]).unwrap();
        told(&[a, r#"{"keyspace":"k"}"#], &[a]).unwrap_err();
        for changed in [a.replace('1', "9"), a.replace("null", "\"2027\"")] {
            told(&[a, b], &[&changed, b]).unwrap_err();
        }
        told(&[b], &[a, b]).unwrap_err();
        told(&[a, &b.replace("2026-12", "2027-01")], &[a]).unwrap_err();
        assert!(records(&[a, a].join("\n")).is_err());
    }
}
