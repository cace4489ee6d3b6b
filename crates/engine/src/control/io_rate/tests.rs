//! How long a job waits, on a clock that moves only while it does.

use super::*;
use std::sync::atomic::AtomicU64 as Number;
use tanada_vfs::{Env, MemoryMachine};

const MIB: u64 = 1 << 20;

/// Merges ten times a MiB, after `reads` has been asked so often each time: answers the
/// milliseconds that it took, and what the statistics say.
fn merge_ten(reads: impl Fn(u64) -> Reads + Sync, is_over: bool) -> (u64, u64) {
    let (env, all, asked): (Env, _, _) =
        (MemoryMachine::new(1).env(), IoRate::default(), Number::new(0));
    let waits = Waits {
        clock: &*env.clock,
        reads: &|| reads(asked.fetch_add(1, Ordering::Relaxed)),
        is_over: &|| is_over,
    };
    let before = env.clock.monotonic_ns();
    let rate = JobRate::new(&all, waits);
    for _ in 0..10 {
        rate.hold(MIB);
    }
    let ns = env.clock.monotonic_ns() - before;
    assert_eq!(rate.waited_ns(), ns, "nothing else moves this clock");
    assert_eq!((all.waited_ns(), all.take_waited_ns(), all.take_waited_ns()), (ns, ns, 0));
    (ns / 1_000_000, all.held_bytes())
}

/// As long as somebody is at the disk.
fn always(asked: u64) -> Reads {
    Reads { begun: asked + 1, in_flight: 1 }
}

#[test]
fn bytes_are_merged_at_the_rate_while_readers_are_at_the_disk() {
    let (ms, held) = merge_ten(always, false);
    assert_eq!(ms, 10 * MIB * 1000 / RATE_BYTES);
    assert_eq!(held, 10 * MIB);
}

#[test]
fn nobody_waits_for_readers_that_are_not_there() {
    let nobody = |_| Reads { begun: 7, in_flight: 0 };
    assert_eq!(merge_ten(nobody, false), (0, 0));
}

#[test]
fn a_tree_that_is_behind_waits_for_nobody() {
    assert_eq!(merge_ten(always, true).0, 0);
}

#[test]
fn readers_that_find_their_blocks_in_memory_hold_it_up_for_some_looks_at_most() {
    // Each read has ended when it is looked for.
    let done = |asked| Reads { begun: asked + 1, in_flight: 0 };
    let (ms, _) = merge_ten(done, false);
    assert_eq!(ms, 10 * u64::from(LOOKS) * LOOK_NS / 1_000_000);
}

#[test]
fn a_reader_that_reads_again_and_again_is_not_forgotten_between_two_reads() {
    // Every other look falls between two.
    let often = |asked| Reads { begun: asked + 1, in_flight: asked % 2 };
    let (ms, _) = merge_ten(often, false);
    assert_eq!(ms, 10 * MIB * 1000 / RATE_BYTES);
}

#[test]
fn what_the_bytes_took_by_themselves_counts() {
    let (env, all): (Env, _) = (MemoryMachine::new(1).env(), IoRate::default());
    let waits = Waits { clock: &*env.clock, reads: &|| always(0), is_over: &|| false };
    let rate = JobRate::new(&all, waits);
    let cost = MIB * 1_000_000_000 / RATE_BYTES;
    env.clock.sleep(Duration::from_nanos(cost * 3 / 4));
    rate.hold(MIB);
    assert_eq!(all.waited_ns(), cost - cost * 3 / 4);
}
