//! Hands out sequence numbers that no write has ever had, whatever a power cut takes.
//!
//! A write below `Synced` may be seen, its number told, and be lost. So that no other ever
//! gets that number, they are taken from a block whose end is durable in the manifest
//! before the first of them is used, as table ids are. An opening goes on behind the block;
//! behind a clean end, which lowers it to what was used, nothing is left out.

use crate::core::config::Config;
use crate::tree::manifest::State;
use std::sync::atomic::Ordering;
use tanada_format::{SeqNo, planted};
use tanada_vfs::sync::atomic::AtomicU64;

/// Numbers reserved at once: one sync in so many writes, and 2^34 openings behind a kill
/// until none is left.
pub(crate) const BLOCK: u64 = 1 << 22;

/// When more numbers are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Before this write.
    Now,
    /// There are enough for this write and many more: not worth a wait.
    Soon,
}

/// How far numbers may be handed out.
pub(crate) struct Seqnos {
    /// The first that this opening hands out.
    pub(crate) first: SeqNo,
    /// Reserved at once.
    block: u64,
    /// Numbers from here on may not be handed out yet. Written and read by the commit
    /// leader alone, under the writer's lock: relaxed.
    ceiling: AtomicU64,
}

impl Seqnos {
    /// For a database whose newest write is `last`.
    pub(crate) fn open<T>(state: &State<T>, last: SeqNo, config: &Config) -> Seqnos {
        let block = config.simulation.seqno_block(BLOCK);
        let next = last.plus(1);
        let first = match state.seqno_ceiling {
            _ if planted!(seqnos_not_leaped) => next,
            // By an earlier version, which did not say how far it had come.
            SeqNo::ZERO if last > SeqNo::ZERO => next.plus(BLOCK),
            ceiling => ceiling.max(next),
        };
        let ceiling = AtomicU64::new(first.plus(block).0);
        Seqnos { first, block, ceiling }
    }

    /// What the manifest must say before a number is handed out.
    pub(crate) fn ceiling(&self) -> SeqNo {
        SeqNo(self.ceiling.load(Ordering::Relaxed))
    }

    /// The ceiling to be noted before, or soon behind, a write after which `next` is the
    /// first free number; `None` while half a block is left.
    pub(crate) fn wanted(&self, next: SeqNo) -> Option<(SeqNo, Need)> {
        let ceiling = self.ceiling();
        let need = match next {
            next if next > ceiling => Need::Now,
            next if next.0 + self.block / 2 > ceiling.0 => Need::Soon,
            _ => return None,
        };
        Some((next.plus(self.block), need))
    }

    /// The manifest durably says so.
    pub(crate) fn reserved(&self, ceiling: SeqNo) {
        self.ceiling.store(ceiling.0, Ordering::Relaxed);
    }
}
