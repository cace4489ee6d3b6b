//! Numbers that take the place of what was known, lower ones too; and the last edit of a life,
//! which is not synced.

use super::super::codec::{Problem, decode, encode};
use super::*;
use crate::control::belief::DurableTime;
use tanada_format::Lineage;

fn known(n: u64) -> Edit {
    Edit {
        seqno_ceiling: Some(SeqNo(n)),
        time: Some(DurableTime { floor_ms: n, seen_ms: n + 1, evidence_ms: n + 2 }),
        lineage: Some(Lineage(n.to_be_bytes())),
        ..Edit::default()
    }
}

fn told(manifest: &Manifest) -> Edit {
    let state = manifest.state();
    Edit {
        seqno_ceiling: Some(state.seqno_ceiling),
        time: Some(state.time),
        lineage: state.lineage,
        ..Edit::default()
    }
}

#[test]
fn they_read_back_and_who_does_not_know_them_may_skip_them() {
    let bytes = encode(&known(7));
    assert_eq!(decode(&bytes), Ok(known(7)));
    // Tags of one byte, each with the bit that says so.
    assert_eq!((bytes[0], bytes[10], bytes[20]), (11 << 1 | 1, 13 << 1 | 1, 12 << 1 | 1));
    for len in 0..bytes.len() {
        assert_ne!(decode(&bytes[..len]), Ok(known(7)), "cut to {len}");
    }
    let no_time = [12 << 1 | 1, 0];
    let error = decode(&no_time).unwrap_err();
    assert!(matches!(error.problem, Problem::Damaged(what) if what.contains("the time")));
}

#[test]
fn a_later_one_counts_though_it_is_lower_and_a_refused_edit_leaves_them() {
    let machine = MemoryMachine::new(1);
    let mut manifest = create(&machine.env());
    assert_eq!((manifest.state().lineage, manifest.state().seqno_ceiling), (None, SeqNo::ZERO));
    for n in [9, 3, 5] {
        manifest.append(&known(n)).unwrap();
        assert_eq!(told(&manifest), known(n));
        manifest.append(&Edit::default()).unwrap();
        let refused = Edit { dropped: vec![KeyspaceId(9)], ..known(100) };
        assert!(matches!(manifest.append(&refused), Err(Error::InvalidArgument(_))));
        assert_eq!(told(&manifest), known(n), "as it was");
        assert_eq!(told(&open(&machine.env()).unwrap()), known(n));
    }
    manifest.rewrite_bytes = 0;
    for _ in 0..100 {
        manifest.append(&Edit::default()).unwrap();
    }
    assert_eq!(told(&open(&machine.env()).unwrap()), known(5), "in a new manifest");
}

#[test]
fn a_note_is_there_behind_a_kill_and_there_or_not_behind_a_power_cut() {
    let mut found = [0, 0];
    for seed in 0..100 {
        let machine = MemoryMachine::new(seed);
        let mut manifest = create(&machine.env());
        manifest.append(&known(9)).unwrap();
        manifest.note(&known(3));
        assert_eq!(told(&open(&machine.kill().env()).unwrap()), known(3));
        let left = told(&open(&machine.crash(seed).env()).unwrap());
        assert!(left == known(3) || left == known(9), "{left:?}");
        found[usize::from(left == known(3))] += 1;
    }
    assert!(found[0] > 10 && found[1] > 10, "{found:?}");
}
