//! `MANIFEST`: who owns the database, where its log begins and ends, and its state.
//!
//! An envelope with the magic `TANADABM` and these fields; numbers are `u64` unless said
//! otherwise. The state itself is opaque here: the base and the edits are in the encoding of
//! `docs/format/manifest.md`.
//!
//! | field | content | meaning |
//! |---|---|---|
//! | 1 | epoch, edit, owner's edit: 3 × u64 | how many owners there were; how many versions; the last one of the owner's own |
//! | 2 | 16 bytes | nonce of the owner |
//! | 3 | 16 bytes | nonce of who wrote this version |
//! | 4 | 0 to 255 bytes of UTF-8 | host of the owner |
//! | 5 | u64 | when the owner opened, milliseconds since 1970 |
//! | 6 | u8 | 0: live; 1: dropped, and the name is never used again |
//! | 7 | point | the replay point |
//! | 8 | point | the floor |
//! | 9 * | fields | an epoch of the chain: 1, 2, 3 of the next table |
//! | 10 | bytes | the base, inline |
//! | 11 | epoch, edit: 2 × u64 | the base is this snapshot |
//! | 12 * | bytes | an edit since the base |
//! | 13 * | epoch, number: 2 × u64 | a job |
//! | 14 * | fields | a hold: 1 to 5 of the last table |
//! | 15 * | epoch, edit, position, time: 4 × u64 | a retained snapshot |
//! | 16 * | epoch, number: 2 × u64 | a dead list |
//!
//! A point is 56 bytes: epoch, index and position, each `u64`, and the hash of the object
//! before it in the chain. Either 10 or 11 stands. Fields of an epoch of the chain:
//!
//! | field | content | meaning |
//! |---|---|---|
//! | 1 | u64 | the epoch |
//! | 2 | 16 bytes | nonce of its owner |
//! | 3 | point | its end: the place of the fence; not there while it is open |
//!
//! Fields of a hold:
//!
//! | field | content | meaning |
//! |---|---|---|
//! | 1 | u8 | 1: a checkpoint; 2: a lease; 3: a clone |
//! | 2 | 16 bytes | whose: names it |
//! | 3 | u64 | the edit whose objects it holds |
//! | 4 | epoch, edit: 2 × u64 | the snapshot that it holds, if it holds one |
//! | 5 | 0 to 255 bytes of UTF-8 | what people call it |

use super::damage::Unreadable;
use super::envelope::{self, ENVELOPE_LEN, Kind};
use super::fields::{Field, Reader, Writer, needed, once};
use crate::ids::{Epoch, Nonce, ObjectHash, Place};
use crate::name::{JobId, SnapshotId};
use tanada_format::{DatabaseId, LogPosition};

/// Longest `MANIFEST`, in bytes.
pub const MAX_MANIFEST_LEN: usize = 256 << 10;
/// Most entries of each list in it: epochs of the chain, jobs, holds, snapshots, dead lists.
pub const MAX_LISTED: usize = 2048;
/// Longest text in it, in bytes.
pub const MAX_TEXT_LEN: usize = 255;

const KIND: Kind = Kind { magic: b"TANADABM", most: MAX_MANIFEST_LEN, what: "a MANIFEST" };

/// A point in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Point {
    /// The next place behind it.
    pub place: Place,
    /// Where in the stream of the log.
    pub position: LogPosition,
    /// Of the object before it; [`ObjectHash::START`] when there is none.
    pub hash: ObjectHash,
}

/// An epoch of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainEpoch {
    /// Which.
    pub epoch: Epoch,
    /// Its owner.
    pub nonce: Nonce,
    /// The place of its fence, or `None` while it is open. The position and the hash are
    /// those before the fence.
    pub end: Option<Point>,
}

/// Whether the database is still one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It is.
    Live,
    /// It was dropped. The object stays, so that nobody creates the database again under a
    /// name that a writer who sleeps still knows.
    Dropped,
}

/// Where the state begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Here.
    Inline(Vec<u8>),
    /// In an object of its own.
    Snapshot(SnapshotId),
}

/// What kind of hold it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldKind {
    /// A checkpoint.
    Checkpoint,
    /// A follower's lease.
    Lease,
    /// A clone.
    Clone,
}

/// Somebody who needs objects that the present state may no longer name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// What kind.
    pub kind: HoldKind,
    /// Whose.
    pub id: Nonce,
    /// The edit whose objects it holds.
    pub edit: u64,
    /// The snapshot that it holds, if it holds one.
    pub snapshot: Option<SnapshotId>,
    /// What people call it, at most [`MAX_TEXT_LEN`] bytes.
    pub label: String,
}

/// A snapshot that is kept for restoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retained {
    /// Which.
    pub snapshot: SnapshotId,
    /// The position of the log that it includes.
    pub position: LogPosition,
    /// When it was taken, milliseconds since 1970.
    pub wall_ms: u64,
}

/// The content of `MANIFEST`.
///
/// 1. `edit` is one more than in the version before, so no two versions have the same bytes.
/// 2. The chain's epochs ascend and end with `epoch`, whose end is open. The newest are
///    listed; of any other the fence says where it ends.
/// 3. The floor is not behind the replay point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Whose it is.
    pub database: DatabaseId,
    /// How many owners there were.
    pub epoch: Epoch,
    /// How many versions there were, this one counted.
    pub edit: u64,
    /// The last version that the owner wrote itself.
    pub owner_edit: u64,
    /// The owner.
    pub nonce: Nonce,
    /// Who wrote this version.
    pub writer: Nonce,
    /// Where the owner runs, at most [`MAX_TEXT_LEN`] bytes.
    pub host: String,
    /// When the owner opened, milliseconds since 1970.
    pub opened_ms: u64,
    /// Whether it is live.
    pub life: Life,
    /// Everything before it is in the tables.
    pub replay: Point,
    /// Nobody needs the log before it.
    pub floor: Point,
    /// The newest epochs.
    pub chain: Vec<ChainEpoch>,
    /// Where the state begins.
    pub base: Base,
    /// What has changed since.
    pub edits: Vec<Vec<u8>>,
    /// Jobs that were posted.
    pub jobs: Vec<JobId>,
    /// Holds.
    pub holds: Vec<Hold>,
    /// Snapshots that are kept for restoring.
    pub retained: Vec<Retained>,
    /// Dead lists whose names are not all gone yet: epoch and number.
    pub dead: Vec<(Epoch, u64)>,
}

/// A state that cannot be written: it is larger than it may be, or breaks an invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwritable(pub &'static str);

impl std::fmt::Display for Unwritable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it cannot be written: {}", self.0)
    }
}

impl std::error::Error for Unwritable {}

impl Manifest {
    /// The bytes of this state.
    ///
    /// # Errors
    ///
    /// It is larger than its bounds, or breaks an invariant.
    pub fn encode(&self) -> Result<Vec<u8>, Unwritable> {
        self.check().map_err(Unwritable)?;
        let mut w = Writer::default();
        w.u64s(1, [self.epoch.0, self.edit, self.owner_edit]);
        w.field(2, &self.nonce.0).field(3, &self.writer.0).field(4, self.host.as_bytes());
        w.u64(5, self.opened_ms).field(6, &[u8::from(self.life == Life::Dropped)]);
        w.field(7, &encode_point(&self.replay)).field(8, &encode_point(&self.floor));
        for epoch in &self.chain {
            let mut inner = Writer::default();
            inner.u64(1, epoch.epoch.0).field(2, &epoch.nonce.0);
            if let Some(end) = &epoch.end {
                inner.field(3, &encode_point(end));
            }
            w.field(9, &inner.finish());
        }
        match &self.base {
            Base::Inline(bytes) => w.field(10, bytes),
            Base::Snapshot(id) => w.u64s(11, [id.epoch.0, id.edit]),
        };
        for edit in &self.edits {
            w.field(12, edit);
        }
        for job in &self.jobs {
            w.u64s(13, [job.epoch.0, job.number]);
        }
        for hold in &self.holds {
            let mut inner = Writer::default();
            let kind = match hold.kind {
                HoldKind::Checkpoint => 1,
                HoldKind::Lease => 2,
                HoldKind::Clone => 3,
            };
            inner.field(1, &[kind]).field(2, &hold.id.0).u64(3, hold.edit);
            if let Some(id) = hold.snapshot {
                inner.u64s(4, [id.epoch.0, id.edit]);
            }
            inner.field(5, hold.label.as_bytes());
            w.field(14, &inner.finish());
        }
        for kept in &self.retained {
            let id = kept.snapshot;
            w.u64s(15, [id.epoch.0, id.edit, kept.position.0, kept.wall_ms]);
        }
        for (epoch, number) in &self.dead {
            w.u64s(16, [epoch.0, *number]);
        }
        envelope::wrap(KIND, self.database, 0, &w.finish())
            .ok_or(Unwritable("the state is larger than a MANIFEST may be"))
    }

    /// Reads a state.
    ///
    /// # Errors
    ///
    /// Damage, or what a newer version wrote.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, Unreadable> {
        let (database, body) = envelope::unwrap(KIND, bytes)?;
        let mut reader = Reader::new(body, ENVELOPE_LEN);
        let (mut numbers, mut nonce, mut writer, mut host) = (None, None, None, None);
        let (mut opened, mut life, mut replay, mut floor, mut base) =
            (None, None, None, None, None);
        let (mut chain, mut edits, mut jobs, mut holds) = (vec![], vec![], vec![], vec![]);
        let (mut retained, mut dead) = (vec![], vec![]);
        while let Some(field) = reader.next()? {
            match field.number {
                1 => once(&mut numbers, &field, field.u64s::<3>()?)?,
                2 => once(&mut nonce, &field, Nonce(field.array()?))?,
                3 => once(&mut writer, &field, Nonce(field.array()?))?,
                4 => once(&mut host, &field, field.text(MAX_TEXT_LEN)?)?,
                5 => once(&mut opened, &field, field.u64()?)?,
                6 => once(
                    &mut life,
                    &field,
                    match field.u8()? {
                        0 => Life::Live,
                        1 => Life::Dropped,
                        _ => return Err(field.damaged("neither live nor dropped")),
                    },
                )?,
                7 => once(&mut replay, &field, decode_point(&field)?)?,
                8 => once(&mut floor, &field, decode_point(&field)?)?,
                9 => push(&mut chain, &field, decode_epoch(&field)?)?,
                10 => once(&mut base, &field, Base::Inline(field.content.to_vec()))?,
                11 => {
                    let [epoch, edit] = field.u64s()?;
                    let id = SnapshotId { epoch: Epoch(epoch), edit };
                    once(&mut base, &field, Base::Snapshot(id))?;
                }
                // Bounded by the object's length.
                12 => edits.push(field.content.to_vec()),
                13 => {
                    let [epoch, number] = field.u64s()?;
                    push(&mut jobs, &field, JobId { epoch: Epoch(epoch), number })?;
                }
                14 => push(&mut holds, &field, decode_hold(&field)?)?,
                15 => {
                    let [epoch, edit, position, wall_ms] = field.u64s()?;
                    let snapshot = SnapshotId { epoch: Epoch(epoch), edit };
                    let position = LogPosition(position);
                    push(&mut retained, &field, Retained { snapshot, position, wall_ms })?;
                }
                16 => {
                    let [epoch, number] = field.u64s()?;
                    push(&mut dead, &field, (Epoch(epoch), number))?;
                }
                _ => field.unknown()?,
            }
        }
        let at = ENVELOPE_LEN;
        let [epoch, edit, owner_edit] = needed(numbers, at, "it has no epoch")?;
        let manifest = Manifest {
            database,
            epoch: Epoch(epoch),
            edit,
            owner_edit,
            nonce: needed(nonce, at, "it has no owner")?,
            writer: needed(writer, at, "it has no writer")?,
            host: needed(host, at, "it has no host")?,
            opened_ms: needed(opened, at, "it has no time of opening")?,
            life: needed(life, at, "it does not say whether it is live")?,
            replay: needed(replay, at, "it has no replay point")?,
            floor: needed(floor, at, "it has no floor")?,
            chain,
            base: needed(base, at, "it has no base")?,
            edits,
            jobs,
            holds,
            retained,
            dead,
        };
        manifest.check().map_err(|what| Unreadable::damaged(at, what))?;
        Ok(manifest)
    }

    /// The entry of an epoch in the chain.
    pub fn epoch_of_chain(&self, epoch: Epoch) -> Option<&ChainEpoch> {
        self.chain.iter().find(|entry| entry.epoch == epoch)
    }

    /// The invariants that stand on the type; the first one that is broken.
    fn check(&self) -> Result<(), &'static str> {
        let lists = [
            self.chain.len(),
            self.jobs.len(),
            self.holds.len(),
            self.retained.len(),
            self.dead.len(),
        ];
        let follows = |pair: &[ChainEpoch]| pair[0].epoch < pair[1].epoch;
        if lists.iter().any(|len| *len > MAX_LISTED) {
            return Err("a list is longer than it may be");
        }
        if self.host.len() > MAX_TEXT_LEN || self.holds.iter().any(|h| h.label.len() > MAX_TEXT_LEN)
        {
            return Err("a text is longer than it may be");
        }
        if self.epoch.0 == 0 || self.edit == 0 || self.owner_edit > self.edit {
            return Err("its numbers cannot be");
        }
        if !self.chain.windows(2).all(follows) {
            return Err("the chain is not in order");
        }
        let Some((last, before)) = self.chain.split_last() else {
            return Err("the chain is empty");
        };
        if last.epoch != self.epoch || last.nonce != self.nonce || last.end.is_some() {
            return Err("the chain does not end with the owner's open epoch");
        }
        let at_home =
            |entry: &ChainEpoch| entry.end.is_none_or(|end| end.place.epoch == entry.epoch);
        if !before.iter().all(at_home) {
            return Err("an epoch ends in another");
        }
        if self.floor.place > self.replay.place || self.floor.position > self.replay.position {
            return Err("the floor is behind the replay point");
        }
        if self.replay.place.epoch > self.epoch {
            return Err("the replay point is in an epoch that has not begun");
        }
        Ok(())
    }
}

fn push<T>(list: &mut Vec<T>, field: &Field<'_>, value: T) -> Result<(), Unreadable> {
    if list.len() >= MAX_LISTED {
        return Err(field.damaged("a list is longer than it may be"));
    }
    list.push(value);
    Ok(())
}

pub(super) const POINT_LEN: usize = 56;

pub(super) fn encode_point(point: &Point) -> [u8; POINT_LEN] {
    let mut bytes = [0; POINT_LEN];
    bytes[0..8].copy_from_slice(&point.place.epoch.0.to_le_bytes());
    bytes[8..16].copy_from_slice(&point.place.index.to_le_bytes());
    bytes[16..24].copy_from_slice(&point.position.0.to_le_bytes());
    bytes[24..56].copy_from_slice(&point.hash.0);
    bytes
}

pub(super) fn decode_point(field: &Field<'_>) -> Result<Point, Unreadable> {
    let bytes: [u8; POINT_LEN] = field.array()?;
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    Ok(Point {
        place: Place { epoch: Epoch(u64_at(0)), index: u64_at(8) },
        position: LogPosition(u64_at(16)),
        hash: ObjectHash(bytes[24..56].try_into().expect("32 bytes")),
    })
}

fn decode_epoch(field: &Field<'_>) -> Result<ChainEpoch, Unreadable> {
    let (mut epoch, mut nonce, mut end) = (None, None, None);
    let mut reader = field.fields();
    while let Some(inner) = reader.next()? {
        match inner.number {
            1 => once(&mut epoch, &inner, Epoch(inner.u64()?))?,
            2 => once(&mut nonce, &inner, Nonce(inner.array()?))?,
            3 => once(&mut end, &inner, decode_point(&inner)?)?,
            _ => inner.unknown()?,
        }
    }
    Ok(ChainEpoch {
        epoch: needed(epoch, field.offset, "an epoch of the chain has no number")?,
        nonce: needed(nonce, field.offset, "an epoch of the chain has no owner")?,
        end,
    })
}

fn decode_hold(field: &Field<'_>) -> Result<Hold, Unreadable> {
    let (mut kind, mut id, mut edit, mut snapshot, mut label) = (None, None, None, None, None);
    let mut reader = field.fields();
    while let Some(inner) = reader.next()? {
        match inner.number {
            1 => once(
                &mut kind,
                &inner,
                match inner.u8()? {
                    1 => HoldKind::Checkpoint,
                    2 => HoldKind::Lease,
                    3 => HoldKind::Clone,
                    other => {
                        return Err(Unreadable::Newer(format!("holds of kind {other}").into()));
                    }
                },
            )?,
            2 => once(&mut id, &inner, Nonce(inner.array()?))?,
            3 => once(&mut edit, &inner, inner.u64()?)?,
            4 => {
                let [epoch, edit] = inner.u64s()?;
                once(&mut snapshot, &inner, SnapshotId { epoch: Epoch(epoch), edit })?;
            }
            5 => once(&mut label, &inner, inner.text(MAX_TEXT_LEN)?)?,
            _ => inner.unknown()?,
        }
    }
    Ok(Hold {
        kind: needed(kind, field.offset, "a hold has no kind")?,
        id: needed(id, field.offset, "a hold has no owner")?,
        edit: needed(edit, field.offset, "a hold has no edit")?,
        snapshot,
        label: needed(label, field.offset, "a hold has no label")?,
    })
}
