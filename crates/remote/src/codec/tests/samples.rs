//! One object of each kind, with something in every field.

use super::super::*;
use crate::ids::{Epoch, Nonce, ObjectHash, Place};
use crate::name::{JobId, ObjectName, SnapshotId};
use bytes::Bytes;
use tanada_format::{DatabaseId, LogId, LogPosition, SeqNo};

pub(super) const DATABASE: DatabaseId = DatabaseId(*b"a tanada bucket!");

fn nonce(n: u8) -> Nonce {
    Nonce([n; 16])
}

fn point(epoch: u64, index: u64, position: u64) -> Point {
    let place = Place { epoch: Epoch(epoch), index };
    Point { place, position: LogPosition(position), hash: ObjectHash::of(&position.to_le_bytes()) }
}

pub(super) fn snapshot_id() -> SnapshotId {
    SnapshotId { epoch: Epoch(4), edit: 55 }
}

pub(super) fn manifest() -> Manifest {
    Manifest {
        database: DATABASE,
        epoch: Epoch(7),
        edit: 1000,
        owner_edit: 999,
        nonce: nonce(7),
        writer: nonce(17),
        host: "host-7.example".into(),
        opened_ms: 1_796_000_000_000,
        life: Life::Live,
        replay: point(5, 9, 9000),
        floor: point(4, 2, 2000),
        chain: vec![
            ChainEpoch { epoch: Epoch(4), nonce: nonce(4), end: Some(point(4, 3, 3000)) },
            ChainEpoch { epoch: Epoch(5), nonce: nonce(5), end: Some(point(5, 9, 9000)) },
            ChainEpoch { epoch: Epoch(7), nonce: nonce(7), end: None },
        ],
        base: Base::Inline(b"a base in the encoding of the disk's manifest".to_vec()),
        edits: vec![b"an edit".to_vec(), Vec::new(), b"another".to_vec()],
        jobs: vec![JobId { epoch: Epoch(7), number: 1 }, JobId { epoch: Epoch(5), number: 2 }],
        holds: vec![
            Hold {
                kind: HoldKind::Checkpoint,
                id: nonce(31),
                edit: 700,
                snapshot: Some(snapshot_id()),
                label: "before the move".into(),
            },
            Hold {
                kind: HoldKind::Lease,
                id: nonce(32),
                edit: 999,
                snapshot: None,
                label: String::new(),
            },
            Hold {
                kind: HoldKind::Clone,
                id: nonce(33),
                edit: 800,
                snapshot: None,
                label: "s3://other/prefix".into(),
            },
        ],
        retained: vec![Retained {
            snapshot: snapshot_id(),
            position: LogPosition(2000),
            wall_ms: 1_795_990_000_000,
        }],
        dead: vec![(Epoch(5), 3), (Epoch(7), 1)],
    }
}

pub(super) fn chunk() -> LogObject {
    LogObject {
        database: DATABASE,
        place: Place { epoch: Epoch(7), index: 2 },
        writer: nonce(7),
        writer_epoch: Epoch(7),
        previous: ObjectHash::of(b"the chunk before"),
        wall_ms: 1_796_000_001_000,
        kind: Kind::Chunk(Piece {
            log: LogId(12),
            offset: 4096,
            position: LogPosition(9100),
            first: SeqNo(501),
            last: SeqNo(509),
            bytes: Bytes::from_static(b"bytes of a log file as they are"),
        }),
    }
}

pub(super) fn fence() -> LogObject {
    LogObject {
        database: DATABASE,
        place: Place { epoch: Epoch(5), index: 9 },
        writer: nonce(7),
        writer_epoch: Epoch(7),
        previous: ObjectHash::of(b"the last chunk"),
        wall_ms: 1_796_000_000_500,
        kind: Kind::Fence(LogPosition(9000)),
    }
}

pub(super) fn dead_list() -> DeadList {
    let job = JobId { epoch: Epoch(5), number: 2 };
    DeadList {
        database: DATABASE,
        epoch: Epoch(7),
        number: 1,
        edit: 998,
        wall_ms: 1_796_000_002_000,
        names: vec![
            ObjectName::Table { epoch: Epoch(5), number: 77 },
            ObjectName::JobOutput { job, attempt: 1, number: 3 },
            ObjectName::Snapshot(snapshot_id()),
        ],
    }
}

pub(super) fn lease() -> Lease {
    Lease {
        database: DATABASE,
        nonce: nonce(32),
        state: LeaseState::Held,
        edit: 999,
        place: Place { epoch: Epoch(7), index: 1 },
        beat: 41,
        host: "follower-2.example".into(),
    }
}

pub(super) fn job() -> Job {
    Job {
        database: DATABASE,
        id: JobId { epoch: Epoch(5), number: 2 },
        state: JobState::Claimed,
        plan: b"a plan in the engine's encoding".to_vec(),
        attempt: 2,
        beat: 9,
        worker: Some(nonce(61)),
        outputs: vec![
            Output {
                attempt: 1,
                number: 1,
                len: 64 << 20,
                hash: ObjectHash::of(b"first output"),
                meta: b"metadata".to_vec(),
            },
            Output {
                attempt: 2,
                number: 1,
                len: 3 << 20,
                hash: ObjectHash::of(b"second output"),
                meta: Vec::new(),
            },
        ],
        last_key: Some(b"user:9999".to_vec()),
    }
}
