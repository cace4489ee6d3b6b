//! What may be deleted: pure rules over what was read.
//!
//! Two kinds of garbage, and each is stable: once true, it is true for ever, so a delete
//! that arrives late, twice, or from a collector that slept a week does no harm. Names that
//! an owner condemned are never named again; names of past epochs cannot be published any
//! more. Nothing that decides a race (`MANIFEST`, fences, numbers of registers) is garbage.

use crate::bucket::Listed;
use crate::codec::{CHUNK_HEADER_LEN, Manifest, Point};
use crate::ids::{Epoch, Place};
use crate::name::{JobId, ObjectName, SnapshotId};
use std::collections::BTreeSet;
use tanada_format::planted;

/// What a state reaches, of what can be collected. The caller gathers it from the state,
/// the retained snapshots and the holds, all of which are opaque here.
#[derive(Clone, Debug, Default)]
pub struct Reached {
    /// Tables of owners and of workers.
    pub tables: BTreeSet<ObjectName>,
    /// Snapshots.
    pub snapshots: BTreeSet<SnapshotId>,
    /// Jobs that are listed: whatever their workers upload is reached.
    pub jobs: BTreeSet<JobId>,
}

impl Reached {
    /// With the snapshots and jobs that `MANIFEST` itself lists; tables are to be added.
    pub fn by(manifest: &Manifest) -> Reached {
        let base = match &manifest.base {
            crate::codec::Base::Snapshot(id) => Some(*id),
            crate::codec::Base::Inline(_) => None,
        };
        let held = manifest.holds.iter().filter_map(|hold| hold.snapshot);
        let kept = manifest.retained.iter().map(|kept| kept.snapshot);
        Reached {
            tables: BTreeSet::new(),
            snapshots: base.into_iter().chain(held).chain(kept).collect(),
            jobs: manifest.jobs.iter().copied().collect(),
        }
    }
}

/// Why an object is garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A chunk below the floor and below the recorded end of its epoch.
    BelowFloor,
    /// Of a past epoch, and nothing names it: it can never be published any more.
    Orphan,
}

/// Whether an object of the log of this length may be deleted, by a `MANIFEST` however old.
///
/// Fences are at recorded ends, never below them; and of an epoch that is not listed, objects
/// that have a payload are named alone, which no fence has. So no fence is ever named.
pub fn log_is_garbage(manifest: &Manifest, place: Place, len: u64) -> bool {
    if place >= manifest.floor.place {
        return false;
    }
    // In the floor's own epoch everything below the floor lies below the end.
    if place.epoch == manifest.floor.place.epoch {
        return true;
    }
    match manifest.epoch_of_chain(place.epoch).map(|entry| entry.end) {
        // The floor is where an owner had closed all epochs below its own.
        None => len > CHUNK_HEADER_LEN as u64 || planted!(fences_of_unlisted_epochs_collected),
        Some(None) => false,
        Some(Some(end)) => match planted!(fenced_writer_acks_after_gc) {
            true => place.index <= end.place.index,
            false => place.index < end.place.index,
        },
    }
}

/// The places of the log that may be deleted, lowest first, of epochs that the chain lists.
/// Some may be gone already.
pub fn log_garbage(manifest: &Manifest) -> impl Iterator<Item = Place> {
    let floor = manifest.floor.place;
    let through_fence = u64::from(planted!(fenced_writer_acks_after_gc));
    let ends: Vec<(Epoch, u64)> = manifest
        .chain
        .iter()
        .filter_map(|entry| {
            let index = match entry.epoch {
                epoch if epoch == floor.epoch => floor.index,
                epoch if epoch < floor.epoch => entry.end?.place.index + through_fence,
                _ => return None,
            };
            Some((entry.epoch, index))
        })
        .collect();
    ends.into_iter().flat_map(|(epoch, end)| (0..end).map(move |index| Place { epoch, index }))
}

/// Whether a listed object of this length is garbage. `manifest` was read *before* the listing, and
/// `reached` is all that it reaches.
///
/// Orphans of the present epoch are their owner's alone, who knows its uploads in flight:
/// none is named here.
pub fn listed_is_garbage(
    manifest: &Manifest,
    reached: &Reached,
    name: &ObjectName,
    len: u64,
) -> Option<Reason> {
    let is_past = |epoch: Epoch| {
        epoch < manifest.epoch || planted!(uploaded_table_collected_before_published)
    };
    let is_reached = reached.tables.contains(name);
    match name {
        ObjectName::Log(place) => {
            log_is_garbage(manifest, *place, len).then_some(Reason::BelowFloor)
        }
        ObjectName::Table { epoch, .. } => {
            (is_past(*epoch) && !is_reached).then_some(Reason::Orphan)
        }
        ObjectName::JobOutput { job, .. } => {
            let is_listed = reached.jobs.contains(job) && !planted!(gc_deletes_live_table);
            (is_past(job.epoch) && !is_reached && !is_listed).then_some(Reason::Orphan)
        }
        ObjectName::Snapshot(id) => {
            (is_past(id.epoch) && !reached.snapshots.contains(id)).then_some(Reason::Orphan)
        }
        ObjectName::DeadList { epoch, number } => {
            let is_listed = manifest.dead.contains(&(*epoch, *number));
            (is_past(*epoch) && !is_listed).then_some(Reason::Orphan)
        }
        // What decides a race is never garbage; jobs and leases are their own to end.
        ObjectName::Register(_)
        | ObjectName::RegisterVersion(..)
        | ObjectName::RegisterHint(_)
        | ObjectName::Heat
        | ObjectName::Probe(_) => None,
    }
}

/// Moves the replay point and the floor; neither goes back. `replay` is a point that the
/// owner has acknowledged, with everything before it in the tables.
pub fn advance(manifest: &mut Manifest, replay: Point, floor: Point) {
    if replay.place > manifest.replay.place {
        manifest.replay = replay;
    }
    if floor.place > manifest.floor.place && floor.place <= manifest.replay.place {
        manifest.floor = floor;
    }
}

/// Takes epochs out of the chain whose chunks are all gone, by a listing of `wal/` that was
/// made after `manifest` was read. Only the owner does so, in an edit: a collector without
/// their ends leaves them alone. Their fences stay.
pub fn forget_collected(manifest: &mut Manifest, listing: &[Listed]) {
    let floor = manifest.floor.place.epoch;
    let mut full = BTreeSet::new();
    for listed in listing {
        let Some(ObjectName::Log(place)) = listed.name else { continue };
        let end = manifest.epoch_of_chain(place.epoch).and_then(|entry| entry.end);
        if end.is_some_and(|end| place.index < end.place.index) {
            full.insert(place.epoch);
        }
    }
    manifest
        .chain
        .retain(|entry| entry.epoch >= floor || entry.end.is_none() || full.contains(&entry.epoch));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Base, ChainEpoch, Life};
    use crate::ids::{Nonce, ObjectHash};
    use crate::name::RegisterName;
    use tanada_format::{DatabaseId, LogPosition};

    fn point(epoch: u64, index: u64) -> Point {
        let place = Place { epoch: Epoch(epoch), index };
        let position = LogPosition(epoch * 100 + index);
        Point { place, position, hash: ObjectHash::START }
    }

    /// Epoch 2 ended at 3, epoch 3 at 0, epoch 5 at 7; the owner has 6. The floor is 5/2.
    fn manifest() -> Manifest {
        let entry = |epoch, end: Option<u64>| ChainEpoch {
            epoch: Epoch(epoch),
            nonce: Nonce([epoch as u8; 16]),
            end: end.map(|index| point(epoch, index)),
        };
        Manifest {
            database: DatabaseId([1; 16]),
            epoch: Epoch(6),
            edit: 10,
            owner_edit: 10,
            nonce: Nonce([6; 16]),
            writer: Nonce([6; 16]),
            host: String::new(),
            opened_ms: 0,
            life: Life::Live,
            replay: point(5, 4),
            floor: point(5, 2),
            chain: vec![entry(2, Some(3)), entry(3, Some(0)), entry(5, Some(7)), entry(6, None)],
            base: Base::Snapshot(SnapshotId { epoch: Epoch(5), edit: 9 }),
            edits: Vec::new(),
            jobs: vec![JobId { epoch: Epoch(5), number: 1 }],
            holds: Vec::new(),
            retained: Vec::new(),
            dead: vec![(Epoch(5), 1)],
        }
    }

    fn garbage(name: ObjectName) -> Option<Reason> {
        let manifest = manifest();
        let mut reached = Reached::by(&manifest);
        reached.tables.insert(table(4, 1));
        listed_is_garbage(&manifest, &reached, &name, CHUNK_HEADER_LEN as u64)
    }

    fn table(epoch: u64, number: u64) -> ObjectName {
        ObjectName::Table { epoch: Epoch(epoch), number }
    }

    fn log(epoch: u64, index: u64) -> ObjectName {
        ObjectName::Log(Place { epoch: Epoch(epoch), index })
    }

    #[test]
    fn no_fence_is_ever_garbage() {
        for (epoch, end) in [(2, 3), (3, 0), (5, 7)] {
            assert_eq!(garbage(log(epoch, end)), None, "the fence of epoch {epoch}");
        }
        let all: Vec<_> = log_garbage(&manifest()).map(|p| (p.epoch.0, p.index)).collect();
        assert_eq!(all, [(2, 0), (2, 1), (2, 2), (5, 0), (5, 1)]);
        for (epoch, index) in all {
            assert_eq!(garbage(log(epoch, index)), Some(Reason::BelowFloor));
        }
        assert_eq!(garbage(log(5, 2)), None, "at the floor");
        assert_eq!(garbage(log(6, 0)), None, "the owner's");
        assert_eq!(garbage(log(4, 0)), None, "of an epoch that is not listed: it may be a fence");
        let longer = CHUNK_HEADER_LEN as u64 + 1;
        for (epoch, index) in [(4, 0), (1, 7), (4, 9)] {
            let place = Place { epoch: Epoch(epoch), index };
            assert!(log_is_garbage(&manifest(), place, longer), "a chunk of one that is not");
        }
        let owners = Place { epoch: Epoch(7), index: 0 };
        assert!(!log_is_garbage(&manifest(), owners, longer), "of an owner who came later");
        assert_eq!(garbage(log(2, 4)), None, "behind the end: nobody knows whose");
    }

    #[test]
    fn uploads_of_the_present_epoch_are_left_to_their_owner() {
        assert_eq!(garbage(table(6, 1)), None);
        assert_eq!(garbage(table(7, 1)), None, "of an owner who came after the reading");
        assert_eq!(garbage(table(5, 1)), Some(Reason::Orphan));
        let snapshot = |epoch, edit| ObjectName::Snapshot(SnapshotId { epoch: Epoch(epoch), edit });
        assert_eq!(garbage(snapshot(6, 10)), None);
        assert_eq!(garbage(snapshot(5, 8)), Some(Reason::Orphan));
    }

    /// A regression of others: a table that a reader, or a job under way, still needed was
    /// collected, since the present state did not name it.
    #[test]
    fn gc_deletes_live_table() {
        assert_eq!(garbage(table(4, 1)), None, "reached");
        let output = |epoch, number| ObjectName::JobOutput {
            job: JobId { epoch: Epoch(epoch), number },
            attempt: 1,
            number: 1,
        };
        assert_eq!(garbage(output(5, 1)), None, "of a job that is listed");
        assert_eq!(garbage(output(5, 2)), Some(Reason::Orphan));
        let snapshot = ObjectName::Snapshot(SnapshotId { epoch: Epoch(5), edit: 9 });
        assert_eq!(garbage(snapshot), None, "the base");
        let dead = |number| ObjectName::DeadList { epoch: Epoch(5), number };
        assert_eq!((garbage(dead(1)), garbage(dead(2))), (None, Some(Reason::Orphan)));
    }

    #[test]
    fn what_decides_a_race_is_never_garbage() {
        let job = RegisterName::Job(JobId { epoch: Epoch(1), number: 1 });
        for name in [
            ObjectName::Register(RegisterName::Manifest),
            ObjectName::RegisterVersion(RegisterName::Manifest, 1),
            ObjectName::RegisterHint(RegisterName::Manifest),
            ObjectName::Register(job),
        ] {
            assert_eq!(garbage(name), None, "{name}");
        }
    }

    #[test]
    fn the_replay_point_and_the_floor_never_go_back_and_never_cross() {
        let mut manifest = manifest();
        advance(&mut manifest, point(5, 3), point(5, 1));
        assert_eq!((manifest.replay, manifest.floor), (point(5, 4), point(5, 2)));
        advance(&mut manifest, point(6, 1), point(6, 2));
        assert_eq!((manifest.replay, manifest.floor), (point(6, 1), point(5, 2)));
        advance(&mut manifest, point(6, 3), point(6, 2));
        assert_eq!((manifest.replay, manifest.floor), (point(6, 3), point(6, 2)));
    }

    #[test]
    fn an_epoch_is_forgotten_once_its_chunks_are_gone_and_not_before() {
        let listed = |name| Listed {
            name: Some(name),
            meta: crate::store::Meta {
                path: String::new(),
                len: 256,
                version: crate::store::Version::default(),
            },
        };
        let mut manifest = manifest();
        forget_collected(&mut manifest, &[listed(log(2, 1)), listed(log(2, 3))]);
        let epochs: Vec<_> = manifest.chain.iter().map(|entry| entry.epoch.0).collect();
        assert_eq!(epochs, [2, 5, 6], "epoch 3 had none");
        forget_collected(&mut manifest, &[listed(log(2, 3)), listed(log(5, 0))]);
        let epochs: Vec<_> = manifest.chain.iter().map(|entry| entry.epoch.0).collect();
        assert_eq!(epochs, [5, 6], "the fence alone is left");
    }
}
