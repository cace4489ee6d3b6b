//! Every kind of object: read back as it was, held by golden files, and never believed when
//! a bit is wrong.

mod golden;
mod samples;

use super::*;
use crate::ids::{Epoch, Nonce, ObjectHash, Place};
use bytes::Bytes;
use proptest::prelude::*;
use samples::*;
use tanada_format::{DatabaseId, LogPosition};

#[test]
fn a_state_of_every_part_is_read_back_as_it_was() {
    let manifest = manifest();
    assert_eq!(Manifest::decode(&manifest.encode().unwrap()), Ok(manifest.clone()));
    let snapshot = Manifest { base: Base::Snapshot(snapshot_id()), ..manifest };
    assert_eq!(Manifest::decode(&snapshot.encode().unwrap()), Ok(snapshot));
}

#[test]
fn no_two_versions_of_a_state_have_the_same_bytes() {
    let first = manifest();
    let second = Manifest { edit: first.edit + 1, ..first.clone() };
    assert_ne!(first.encode(), second.encode());
}

#[test]
fn a_state_that_breaks_an_invariant_is_neither_written_nor_read() {
    let good = manifest();
    let end = good.chain[0].end;
    let broken = [
        Manifest { epoch: Epoch(0), ..good.clone() },
        Manifest { owner_edit: good.edit + 1, ..good.clone() },
        Manifest { nonce: Nonce([9; 16]), ..good.clone() },
        Manifest { chain: Vec::new(), ..good.clone() },
        Manifest { chain: good.chain.iter().rev().copied().collect(), ..good.clone() },
        Manifest {
            chain: good.chain.iter().map(|e| ChainEpoch { end, ..*e }).collect(),
            ..good.clone()
        },
        Manifest { floor: good.replay, replay: good.floor, ..good.clone() },
        Manifest { host: "x".repeat(MAX_TEXT_LEN + 1), ..good.clone() },
        Manifest { dead: vec![(Epoch(1), 1); MAX_LISTED + 1], ..good.clone() },
        Manifest { base: Base::Inline(vec![0; MAX_MANIFEST_LEN]), ..good },
    ];
    for (i, manifest) in broken.iter().enumerate() {
        assert!(manifest.encode().is_err(), "broken state {i}");
    }
}

#[test]
fn a_chunk_and_a_fence_are_read_back_as_they_were() {
    for object in [chunk(), fence()] {
        let bytes = object.encode();
        assert_eq!(LogObject::decode(&bytes), Ok(object.clone()));
        assert_eq!(LogObject::decode_at(&bytes, object.database, object.place), Ok(object.clone()));
        let other = LogObject::decode_at(&bytes, DatabaseId([9; 16]), object.place);
        assert!(matches!(other, Err(Unreadable::Misplaced(_))), "{other:?}");
        let next = Place { index: object.place.index + 1, ..object.place };
        let other = LogObject::decode_at(&bytes, object.database, next);
        assert!(matches!(other, Err(Unreadable::Misplaced(_))), "{other:?}");
    }
    assert_eq!(fence().encode().len(), CHUNK_HEADER_LEN);
}

#[test]
fn the_other_objects_are_read_back_as_they_were() {
    let dead = dead_list();
    assert_eq!(DeadList::decode(&dead.encode().unwrap()), Ok(dead.clone()));
    let lease = lease();
    assert_eq!(Lease::decode(&lease.encode().unwrap()), Ok(lease));
    let job = job();
    assert_eq!(Job::decode(&job.encode().unwrap()), Ok(job.clone()));
    let free = Job { worker: None, outputs: vec![], last_key: None, state: JobState::Free, ..job };
    assert_eq!(Job::decode(&free.encode().unwrap()), Ok(free));
}

#[test]
fn a_dead_list_never_names_what_decides_a_race() {
    use crate::name::{ObjectName, RegisterName};
    for name in [
        ObjectName::Register(RegisterName::Manifest),
        ObjectName::Log(Place { epoch: Epoch(1), index: 0 }),
    ] {
        assert!(DeadList { names: vec![name], ..dead_list() }.encode().is_err(), "{name}");
    }
}

/// Every object of this version, by its name.
fn all() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("MANIFEST", manifest().encode().unwrap()),
        ("chunk", chunk().encode().to_vec()),
        ("fence", fence().encode().to_vec()),
        ("dead-list", dead_list().encode().unwrap()),
        ("lease", lease().encode().unwrap()),
        ("job", job().encode().unwrap()),
    ]
}

fn is_refused(name: &str, bytes: &[u8]) -> bool {
    match name {
        "MANIFEST" => Manifest::decode(bytes).is_err(),
        "dead-list" => DeadList::decode(bytes).is_err(),
        "lease" => Lease::decode(bytes).is_err(),
        "job" => Job::decode(bytes).is_err(),
        _ => LogObject::decode(&Bytes::copy_from_slice(bytes)).is_err(),
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    for (name, whole) in all() {
        assert!(!is_refused(name, &whole));
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(is_refused(name, &damaged), "{name}, bit {bit}");
        }
        for len in 0..whole.len() {
            assert!(is_refused(name, &whole[..len]), "{name}, cut at {len}");
        }
        let longer = [&whole[..], &[0]].concat();
        assert!(is_refused(name, &longer), "{name}, a byte longer");
    }
}

#[test]
fn a_newer_chunk_is_told_from_a_damaged_one() {
    let mut bytes = chunk().encode().to_vec();
    for (at, value) in [(8, 2u32), (12, 3), (160, 1)] {
        let mut newer = bytes.clone();
        newer[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let crc = tanada_format::crc32c(&newer[..252]);
        newer[252..256].copy_from_slice(&crc.to_le_bytes());
        let read = LogObject::decode(&newer.into());
        assert!(matches!(read, Err(Unreadable::Newer(_))), "byte {at}: {read:?}");
    }
    bytes[8] = 2;
    let read = LogObject::decode(&bytes.into());
    assert!(matches!(read, Err(Unreadable::Damaged { .. })), "{read:?}");
}

proptest! {
    #[test]
    fn any_point_is_read_back(epoch in 1u64.., index: u64, position: u64, hash: [u8; 32]) {
        let place = Place { epoch: Epoch(epoch), index };
        let point = Point { place, position: LogPosition(position), hash: ObjectHash(hash) };
        let base = manifest();
        let chain = vec![ChainEpoch { end: None, ..*base.chain.last().unwrap() }];
        let chain = chain.into_iter().map(|e| ChainEpoch { epoch: Epoch(epoch), ..e }).collect();
        let state =
            Manifest { epoch: Epoch(epoch), replay: point, floor: point, chain, ..base };
        prop_assert_eq!(Manifest::decode(&state.encode().unwrap()), Ok(state));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        crate::fuzz::bucket_objects(&bytes);
    }
}
