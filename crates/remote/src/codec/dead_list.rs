//! A dead list: names that left the state, and when.
//!
//! An envelope with the magic `TANADADL` and these fields:
//!
//! | field | content | meaning |
//! |---|---|---|
//! | 1 | epoch, number, edit, time: 4 × u64 | the list's own name; the edit that took them out; milliseconds since 1970 |
//! | 2 * | 1 to 128 bytes | a name, as below the database's prefix |

use super::damage::Unreadable;
use super::envelope::{self, ENVELOPE_LEN, Kind};
use super::fields::{Reader, Writer, needed, once};
use super::manifest::Unwritable;
use crate::ids::Epoch;
use crate::name::ObjectName;
use tanada_format::DatabaseId;

/// Most names in one list: whoever has more writes several.
pub const MAX_DEAD: usize = 8192;
const MAX_NAME_LEN: usize = 128;
const KIND: Kind = Kind { magic: b"TANADADL", most: 1 << 20, what: "a dead list" };

/// Names that one edit took out of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadList {
    /// Whose they are.
    pub database: DatabaseId,
    /// Of the owner who wrote it.
    pub epoch: Epoch,
    /// Given once in that epoch.
    pub number: u64,
    /// The edit that took them out.
    pub edit: u64,
    /// When, milliseconds since 1970.
    pub wall_ms: u64,
    /// Tables and snapshots.
    pub names: Vec<ObjectName>,
}

impl DeadList {
    /// Its bytes.
    ///
    /// # Errors
    ///
    /// It has more names than it may have.
    pub fn encode(&self) -> Result<Vec<u8>, Unwritable> {
        if self.names.len() > MAX_DEAD {
            return Err(Unwritable("a dead list has more names than it may have"));
        }
        if !self.names.iter().all(may_die) {
            return Err(Unwritable("a dead list names what is never collected so"));
        }
        let mut w = Writer::default();
        w.u64s(1, [self.epoch.0, self.number, self.edit, self.wall_ms]);
        for name in &self.names {
            w.field(2, name.to_string().as_bytes());
        }
        envelope::wrap(KIND, self.database, 0, &w.finish())
            .ok_or(Unwritable("a dead list is longer than it may be"))
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// Damage, or what a newer version wrote.
    pub fn decode(bytes: &[u8]) -> Result<DeadList, Unreadable> {
        let (database, body) = envelope::unwrap(KIND, bytes)?;
        let mut reader = Reader::new(body, ENVELOPE_LEN);
        let (mut numbers, mut names) = (None, Vec::new());
        while let Some(field) = reader.next()? {
            match field.number {
                1 => once(&mut numbers, &field, field.u64s::<4>()?)?,
                2 if names.len() == MAX_DEAD => {
                    return Err(field.damaged("it has more names than it may have"));
                }
                2 => {
                    let name = ObjectName::parse(&field.text(MAX_NAME_LEN)?).filter(may_die);
                    names.push(name.ok_or_else(|| field.damaged("no name that is collected so"))?);
                }
                _ => field.unknown()?,
            }
        }
        let what = "it does not say when its names left";
        let [epoch, number, edit, wall_ms] = needed(numbers, ENVELOPE_LEN, what)?;
        Ok(DeadList { database, epoch: Epoch(epoch), number, edit, wall_ms, names })
    }
}

/// Only tables and snapshots are collected by dead lists: never what decides a race.
fn may_die(name: &ObjectName) -> bool {
    matches!(
        name,
        ObjectName::Table { .. } | ObjectName::JobOutput { .. } | ObjectName::Snapshot(_)
    )
}
