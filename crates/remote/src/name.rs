//! Names of objects: types, their one spelling, and the one parser.
//!
//! Every name lies below the prefix of the database, which stands nowhere here. Epochs and
//! numbers are 16 hexadecimal digits, nonces 32, lower case; any other spelling is not a
//! name of ours. Which object is written by whom stands in `docs/remote.md`.

use crate::ids::{Epoch, Nonce, Place};
use std::fmt;

/// A job: the epoch of the owner who posted it, and a number of that epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId {
    /// Of the owner who posted it.
    pub epoch: Epoch,
    /// Given once in that epoch.
    pub number: u64,
}

/// A snapshot of the state: the epoch and the edit at which it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    /// Of the owner who wrote it.
    pub epoch: Epoch,
    /// The edit that it includes, and none after it.
    pub edit: u64,
}

/// Something that many may change, by compare-and-swap alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegisterName {
    /// The state of the database: `MANIFEST`.
    Manifest,
    /// Progress of a job: `jobs/<epoch>-<n>`.
    Job(JobId),
    /// What a follower holds: `leases/<nonce>`.
    Lease(Nonce),
}

/// The name of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectName {
    /// A register that is one object.
    Register(RegisterName),
    /// Version `n` of a register of numbered objects: `<name>.<n>`.
    RegisterVersion(RegisterName, u64),
    /// Where to begin to look for its newest version: `<name>.hint`.
    RegisterHint(RegisterName),
    /// `manifest/<epoch>-<edit>`.
    Snapshot(SnapshotId),
    /// A chunk or a fence: `wal/<epoch>/<index>`.
    Log(Place),
    /// A table that an owner wrote: `tables/<epoch>-<n>`.
    Table {
        /// Of the owner who wrote it.
        epoch: Epoch,
        /// Given once in that epoch.
        number: u64,
    },
    /// A table that a worker wrote: `tables/<epoch>-j<job>-<attempt>-<n>`.
    JobOutput {
        /// The job whose output it is.
        job: JobId,
        /// Which claim of the job.
        attempt: u64,
        /// Given once in that attempt.
        number: u64,
    },
    /// Names that left the state: `dead/<epoch>-<n>`.
    DeadList {
        /// Of the owner who wrote it.
        epoch: Epoch,
        /// Given once in that epoch.
        number: u64,
    },
    /// The hottest blocks, advice only: `heat`.
    Heat,
    /// A test of the store: `probe/<nonce>`.
    Probe(Nonce),
}

/// Names of one kind begin with it, and no others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Folder {
    /// `wal/`
    Log,
    /// `wal/<epoch>/`
    LogEpoch(Epoch),
    /// `tables/`
    Tables,
    /// `manifest/`
    Snapshots,
    /// `jobs/`
    Jobs,
    /// `leases/`
    Leases,
    /// `dead/`
    DeadLists,
    /// `probe/`
    Probes,
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Folder::Log => write!(f, "wal/"),
            Folder::LogEpoch(epoch) => write!(f, "wal/{:016x}/", epoch.0),
            Folder::Tables => write!(f, "tables/"),
            Folder::Snapshots => write!(f, "manifest/"),
            Folder::Jobs => write!(f, "jobs/"),
            Folder::Leases => write!(f, "leases/"),
            Folder::DeadLists => write!(f, "dead/"),
            Folder::Probes => write!(f, "probe/"),
        }
    }
}

impl fmt::Display for RegisterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegisterName::Manifest => write!(f, "MANIFEST"),
            RegisterName::Job(job) => write!(f, "jobs/{:016x}-{:016x}", job.epoch.0, job.number),
            RegisterName::Lease(nonce) => write!(f, "leases/{nonce}"),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectName::Register(name) => write!(f, "{name}"),
            ObjectName::RegisterVersion(name, number) => write!(f, "{name}.{number:016x}"),
            ObjectName::RegisterHint(name) => write!(f, "{name}.hint"),
            ObjectName::Snapshot(id) => write!(f, "manifest/{:016x}-{:016x}", id.epoch.0, id.edit),
            ObjectName::Log(place) => write!(f, "{place}"),
            ObjectName::Table { epoch, number } => {
                write!(f, "tables/{:016x}-{number:016x}", epoch.0)
            }
            ObjectName::JobOutput { job, attempt, number } => write!(
                f,
                "tables/{:016x}-j{:016x}-{attempt:016x}-{number:016x}",
                job.epoch.0, job.number
            ),
            ObjectName::DeadList { epoch, number } => {
                write!(f, "dead/{:016x}-{number:016x}", epoch.0)
            }
            ObjectName::Heat => write!(f, "heat"),
            ObjectName::Probe(nonce) => write!(f, "probe/{nonce}"),
        }
    }
}

impl ObjectName {
    /// The object of that name, or `None` when the protocol gives no such name.
    pub fn parse(text: &str) -> Option<ObjectName> {
        if let Some(register) = parse_register(text) {
            return Some(ObjectName::Register(register));
        }
        if let Some((name, suffix)) = text.rsplit_once('.') {
            let register = parse_register(name)?;
            return match suffix {
                "hint" => Some(ObjectName::RegisterHint(register)),
                number => Some(ObjectName::RegisterVersion(register, parse_number(number)?)),
            };
        }
        match text.split_once('/') {
            None if text == "heat" => Some(ObjectName::Heat),
            None => None,
            Some(("wal", rest)) => {
                let (epoch, index) = rest.split_once('/')?;
                let (epoch, index) = (Epoch(parse_number(epoch)?), parse_number(index)?);
                Some(ObjectName::Log(Place { epoch, index }))
            }
            Some(("manifest", rest)) => {
                let (epoch, edit) = parse_pair(rest)?;
                Some(ObjectName::Snapshot(SnapshotId { epoch, edit }))
            }
            Some(("dead", rest)) => {
                let (epoch, number) = parse_pair(rest)?;
                Some(ObjectName::DeadList { epoch, number })
            }
            Some(("probe", rest)) => Some(ObjectName::Probe(parse_nonce(rest)?)),
            Some(("tables", rest)) => parse_table(rest),
            Some(_) => None,
        }
    }

    /// The epoch that stands in the name. Only the owner of it, or a worker of a job that it
    /// posted, gives the name.
    pub fn epoch(&self) -> Option<Epoch> {
        match self {
            ObjectName::Snapshot(id) => Some(id.epoch),
            ObjectName::Log(place) => Some(place.epoch),
            ObjectName::Table { epoch, .. } | ObjectName::DeadList { epoch, .. } => Some(*epoch),
            ObjectName::JobOutput { job, .. } => Some(job.epoch),
            ObjectName::Register(name)
            | ObjectName::RegisterVersion(name, _)
            | ObjectName::RegisterHint(name) => match name {
                RegisterName::Job(job) => Some(job.epoch),
                RegisterName::Manifest | RegisterName::Lease(_) => None,
            },
            ObjectName::Heat | ObjectName::Probe(_) => None,
        }
    }
}

fn parse_register(text: &str) -> Option<RegisterName> {
    match text.split_once('/') {
        None => (text == "MANIFEST").then_some(RegisterName::Manifest),
        Some(("jobs", rest)) => {
            let (epoch, number) = parse_pair(rest)?;
            Some(RegisterName::Job(JobId { epoch, number }))
        }
        Some(("leases", rest)) => Some(RegisterName::Lease(parse_nonce(rest)?)),
        Some(_) => None,
    }
}

fn parse_table(text: &str) -> Option<ObjectName> {
    if let Some((epoch, number)) = parse_pair(text) {
        return Some(ObjectName::Table { epoch, number });
    }
    let mut parts = text.split('-');
    let epoch = Epoch(parse_number(parts.next()?)?);
    let job = JobId { epoch, number: parse_number(parts.next()?.strip_prefix('j')?)? };
    let (attempt, number) = (parse_number(parts.next()?)?, parse_number(parts.next()?)?);
    parts.next().is_none().then_some(ObjectName::JobOutput { job, attempt, number })
}

fn parse_pair(text: &str) -> Option<(Epoch, u64)> {
    let (epoch, number) = text.split_once('-')?;
    Some((Epoch(parse_number(epoch)?), parse_number(number)?))
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn parse_number(text: &str) -> Option<u64> {
    (text.len() == 16 && is_lower_hex(text)).then(|| u64::from_str_radix(text, 16).ok())?
}

fn parse_nonce(text: &str) -> Option<Nonce> {
    let is_nonce = text.len() == 32 && is_lower_hex(text);
    is_nonce.then(|| u128::from_str_radix(text, 16).ok())?.map(|n| Nonce(n.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_register() -> impl Strategy<Value = RegisterName> {
        prop_oneof![
            Just(RegisterName::Manifest),
            (any::<u64>(), any::<u64>())
                .prop_map(|(e, number)| RegisterName::Job(JobId { epoch: Epoch(e), number })),
            any::<[u8; 16]>().prop_map(|n| RegisterName::Lease(Nonce(n))),
        ]
    }

    fn any_name() -> impl Strategy<Value = ObjectName> {
        let epoch = || any::<u64>().prop_map(Epoch);
        prop_oneof![
            any_register().prop_map(ObjectName::Register),
            (any_register(), any::<u64>()).prop_map(|(r, n)| ObjectName::RegisterVersion(r, n)),
            any_register().prop_map(ObjectName::RegisterHint),
            (epoch(), any::<u64>())
                .prop_map(|(epoch, edit)| ObjectName::Snapshot(SnapshotId { epoch, edit })),
            (epoch(), any::<u64>())
                .prop_map(|(epoch, index)| ObjectName::Log(Place { epoch, index })),
            (epoch(), any::<u64>()).prop_map(|(epoch, number)| ObjectName::Table { epoch, number }),
            (epoch(), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(
                |(epoch, job, attempt, number)| ObjectName::JobOutput {
                    job: JobId { epoch, number: job },
                    attempt,
                    number
                }
            ),
            (epoch(), any::<u64>())
                .prop_map(|(epoch, number)| ObjectName::DeadList { epoch, number }),
            Just(ObjectName::Heat),
            any::<[u8; 16]>().prop_map(|n| ObjectName::Probe(Nonce(n))),
        ]
    }

    proptest! {
        #[test]
        fn every_name_is_read_back_as_itself(name in any_name()) {
            prop_assert_eq!(ObjectName::parse(&name.to_string()), Some(name));
        }

        #[test]
        fn a_name_has_one_spelling(text in "[-./0-9a-fA-Fj]{0,70}|(MANIFEST|wal/|tables/|jobs/)[-./0-9a-fj]{0,40}") {
            if let Some(name) = ObjectName::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }

    #[test]
    fn names_are_spelt_as_the_protocol_says() {
        let place = Place { epoch: Epoch(0x1f), index: 2 };
        assert_eq!(ObjectName::Log(place).to_string(), "wal/000000000000001f/0000000000000002");
        for wrong in [
            "",
            "manifest",
            "MANIFEST.1",
            "MANIFEST.000000000000000A",
            "wal/1/2",
            "heat.hint",
            "wal/000000000000001f/0000000000000002/",
            "wal/+00000000000001f/0000000000000002",
            "tables/000000000000001f-j0000000000000002-0000000000000002",
            "wal/../MANIFEST",
        ] {
            assert_eq!(ObjectName::parse(wrong), None, "{wrong:?}");
        }
    }
}
