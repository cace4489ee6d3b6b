//! All that a database holds, read back through its server or embedded, each
//! value checked to the last byte.

use crate::client::{Client, Reply, is_overload};
use crate::failure::{Failure, Result};
use crate::history::{Contents, Held};
use crate::operation::{
    ACCOUNT_PREFIX, GROUPS_PREFIX, MEMBERS, REGISTER_PREFIX, Subject, group_prefix,
};
use crate::stamp::{Stamp, of_account};
use crate::workload::{audited, state_of_group};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;
use tanada_vfs::Env;

/// Tries of a request that a healthy server puts off, one every 50 ms.
const TRIES: u32 = 1200;

/// Reads everything: in one scan, and key by key.
///
/// # Errors
/// Broken when anything is there that nobody wrote, when a batch or a transfer
/// is there by half, or when scan and gets disagree.
pub(crate) fn read_all(env: &Env, url: &str) -> Result<Contents> {
    let client = Client::new(url);
    let seqnos = done("the statistics", client.seqnos())?;
    let scanned = insist(env, "a scan of everything", || client.scan(""))?;
    let mut versions = BTreeMap::new();
    for (key, value) in &scanned {
        match insist(env, key, || client.get(key))? {
            Some(found) if found.value == *value => {
                versions.insert(key.as_str(), found.version);
            }
            Some(found) => {
                return Err(Failure::broken(format!(
                    "{key}: a scan finds {:.40}…, a get {:.40}…",
                    value, found.value
                )));
            }
            None => {
                return Err(Failure::broken(format!("{key}: a scan finds it, a get does not")));
            }
        }
    }
    let version = |key: &str| versions.get(key).copied().unwrap_or_default();
    contents(seqnos, &scanned, version).map_err(Failure::broken)
}

/// What these keys and values are.
fn contents(
    (seqno, next_seqno): (u64, u64),
    scanned: &[(String, String)],
    version: impl Fn(&str) -> u64,
) -> std::result::Result<Contents, String> {
    let mut contents = Contents { seqno, next_seqno, ..Contents::default() };
    let mut groups: BTreeMap<u32, Vec<(String, String)>> = BTreeMap::new();
    let mut accounts = Vec::new();
    for (key, value) in scanned {
        let foreign = || format!("{key} is a key that nobody wrote");
        if let Some(number) = key.strip_prefix(REGISTER_PREFIX) {
            let register = number.parse().map_err(|_| foreign())?;
            let stamp = Stamp::of(value).map_err(|why| format!("{key}: {why}"))?;
            let held = Held { stamp, version: version(key) };
            contents.subjects.insert(Subject::Register(register), held);
        } else if let Some(rest) = key.strip_prefix(GROUPS_PREFIX) {
            let group = rest.split('/').next().and_then(|n| n.parse().ok()).ok_or_else(foreign)?;
            if !key.starts_with(&group_prefix(group)) {
                return Err(foreign());
            }
            groups.entry(group).or_default().push((key.clone(), value.clone()));
        } else if key.starts_with(ACCOUNT_PREFIX) {
            of_account(value).map_err(|why| format!("{key}: {why}"))?;
            accounts.push((key.clone(), value.clone()));
        } else {
            return Err(foreign());
        }
    }
    for (group, members) in &groups {
        let Some(stamp) = state_of_group(*group, members)? else { continue };
        let versions: Vec<u64> = members.iter().map(|(key, _)| version(key)).collect();
        let follow = versions.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        if !follow || versions.len() != MEMBERS as usize {
            return Err(format!(
                "the versions of group {group} are not of one batch: {versions:?}"
            ));
        }
        let last = versions.last().copied().unwrap_or_default();
        contents.subjects.insert(Subject::Group(*group), Held { stamp, version: last });
    }
    if !accounts.is_empty() {
        for (account, stamp) in audited(&accounts)? {
            let version = version(&accounts[account as usize].0);
            contents.subjects.insert(Subject::Account(account), Held { stamp, version });
        }
    }
    Ok(contents)
}

/// The accounts of an embedded database, added up in one snapshot while others
/// might write.
///
/// # Errors
/// Broken when they are not what they always were.
pub(crate) fn audit_snapshot(snapshot: &tanada::Snapshot) -> Result<()> {
    let mut found = Vec::new();
    for entry in snapshot.prefix(ACCOUNT_PREFIX) {
        let (key, value) = entry.map_err(|e| Failure::broken(format!("a snapshot: {e}")))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        found.push((text(&key), text(&value)));
    }
    audited(&found).map(drop).map_err(Failure::broken)
}

/// What a healthy server must answer.
///
/// # Errors
/// Broken when it does not.
pub(crate) fn done<T: Debug>(what: &str, reply: Reply<T>) -> Result<T> {
    match reply {
        Reply::Done(done) => Ok(done),
        reply => Err(Failure::broken(format!("{what} is not answered: {reply:?}"))),
    }
}

/// Asks until it is answered by something other than "not now".
///
/// # Errors
/// Broken when it never is, or is refused otherwise.
pub(crate) fn insist<T>(env: &Env, what: &str, mut ask: impl FnMut() -> Reply<T>) -> Result<T> {
    for _ in 0..TRIES {
        match ask() {
            Reply::Refused(problem) if is_overload(&problem) => {
                env.clock.sleep(Duration::from_millis(50));
            }
            Reply::Done(done) => return Ok(done),
            Reply::Refused(problem) => {
                return Err(Failure::broken(format!("{what} is refused: {problem}")));
            }
            Reply::Lost(why) | Reply::Hung(why) => {
                return Err(Failure::broken(format!("{what} is not answered: {why}")));
            }
        }
    }
    Err(Failure::broken(format!("{what} is put off for a minute")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{ACCOUNTS, DEPOSIT, account_key, member_key, register_key};
    use crate::stamp::account_value;

    const BY: Stamp = Stamp { life: 1, client: 0, n: 7 };

    fn whole() -> Vec<(String, String)> {
        let mut all = vec![(register_key(3), BY.value(99))];
        all.extend((0..MEMBERS).map(|member| (member_key(2, member), BY.value(50))));
        all.extend((0..ACCOUNTS).map(|a| (account_key(a), account_value(DEPOSIT, BY))));
        all
    }

    fn numbered(all: &[(String, String)]) -> std::result::Result<Contents, String> {
        contents((50, 51), all, |key| all.iter().position(|(k, _)| k == key).unwrap() as u64)
    }

    #[test]
    fn what_was_written_is_understood() {
        let contents = numbered(&whole()).unwrap();
        assert_eq!(contents.subjects.len(), 2 + ACCOUNTS as usize);
        assert_eq!(contents.state(Subject::Group(2)), Some(BY));
        assert_eq!(contents.subjects[&Subject::Group(2)].version, u64::from(MEMBERS));
    }

    #[test]
    fn foreign_keys_damaged_values_and_mixed_batches_are_not() {
        let spoil = |at: usize, key: &str, value: &str| {
            let mut all = whole();
            all[at] = (key.to_owned(), value.to_owned());
            numbered(&all).is_err()
        };
        assert!(spoil(0, "x/1", &BY.value(99)));
        assert!(spoil(0, &register_key(3), &BY.value(99)[1..]));
        assert!(spoil(1, &member_key(2, 0), &BY.value(51)));
        assert!(spoil(5, &account_key(0), &account_value(DEPOSIT + 1, BY)));
        let all = whole();
        assert!(
            contents((50, 51), &all, |_| 9).is_err(),
            "versions of one batch follow one another"
        );
    }
}
