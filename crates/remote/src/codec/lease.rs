//! A lease: what a follower needs, and that it is alive.
//!
//! An envelope with the magic `TANADALE` and these fields:
//!
//! | field | content | meaning |
//! |---|---|---|
//! | 1 | 16 bytes | nonce of the follower, as in the name |
//! | 2 | u8 | 1: held; 2: revoked, and never held again |
//! | 3 | edit, epoch, index, beat: 4 × u64 | the edit whose objects it needs; the place of the log from which on it reads; how often it was renewed |
//! | 4 | 0 to 255 bytes of UTF-8 | host of the follower |

use super::damage::Unreadable;
use super::envelope::{self, ENVELOPE_LEN, Kind};
use super::fields::{Reader, Writer, needed, once};
use super::manifest::{MAX_TEXT_LEN, Unwritable};
use crate::ids::{Epoch, Nonce, Place};
use tanada_format::DatabaseId;

const KIND: Kind = Kind { magic: b"TANADALE", most: 1024, what: "a lease" };

/// Whether a lease holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// It does.
    Held,
    /// An owner took it back, since its beat stood still.
    Revoked,
}

/// What a follower holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Whose database it is.
    pub database: DatabaseId,
    /// The follower.
    pub nonce: Nonce,
    /// Whether it holds.
    pub state: LeaseState,
    /// The edit whose objects it needs. Only grows.
    pub edit: u64,
    /// From where on it reads the log. Only grows.
    pub place: Place,
    /// Grows with each renewal: whoever watches it needs no clock of the follower's.
    pub beat: u64,
    /// Where the follower runs, at most [`MAX_TEXT_LEN`] bytes.
    pub host: String,
}

impl Lease {
    /// Its bytes.
    ///
    /// # Errors
    ///
    /// The host's name is longer than it may be.
    pub fn encode(&self) -> Result<Vec<u8>, Unwritable> {
        if self.host.len() > MAX_TEXT_LEN {
            return Err(Unwritable("a text is longer than it may be"));
        }
        let state = match self.state {
            LeaseState::Held => 1,
            LeaseState::Revoked => 2,
        };
        let mut w = Writer::default();
        w.field(1, &self.nonce.0).field(2, &[state]);
        w.u64s(3, [self.edit, self.place.epoch.0, self.place.index, self.beat]);
        w.field(4, self.host.as_bytes());
        envelope::wrap(KIND, self.database, 0, &w.finish())
            .ok_or(Unwritable("a lease is longer than it may be"))
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// Damage, or what a newer version wrote.
    pub fn decode(bytes: &[u8]) -> Result<Lease, Unreadable> {
        let (database, body) = envelope::unwrap(KIND, bytes)?;
        let mut reader = Reader::new(body, ENVELOPE_LEN);
        let (mut nonce, mut state, mut numbers, mut host) = (None, None, None, None);
        while let Some(field) = reader.next()? {
            match field.number {
                1 => once(&mut nonce, &field, Nonce(field.array()?))?,
                2 => once(
                    &mut state,
                    &field,
                    match field.u8()? {
                        1 => LeaseState::Held,
                        2 => LeaseState::Revoked,
                        _ => return Err(field.damaged("neither held nor revoked")),
                    },
                )?,
                3 => once(&mut numbers, &field, field.u64s::<4>()?)?,
                4 => once(&mut host, &field, field.text(MAX_TEXT_LEN)?)?,
                _ => field.unknown()?,
            }
        }
        let at = ENVELOPE_LEN;
        let [edit, epoch, index, beat] = needed(numbers, at, "it does not say what it holds")?;
        Ok(Lease {
            database,
            nonce: needed(nonce, at, "it has no follower")?,
            state: needed(state, at, "it does not say whether it holds")?,
            edit,
            place: Place { epoch: Epoch(epoch), index },
            beat,
            host: needed(host, at, "it has no host")?,
        })
    }
}
