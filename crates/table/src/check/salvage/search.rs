//! Blocks found in bytes of which no index says where they begin.

use crate::seal::sealed::TRAILER_LEN;
use std::ops::Range;
use tanada_format::{BlockSalt, block_checksum};

/// Looks for sealed blocks in the bytes of a table.
pub(super) struct Search<'a> {
    bytes: &'a [u8],
    salt: BlockSalt,
    max_raw_len: usize,
    /// Bytes that may still be hashed: garbage must not take for ever.
    budget: u64,
    pub(super) gave_up: bool,
}

impl<'a> Search<'a> {
    pub(super) fn new(bytes: &'a [u8], salt: BlockSalt, max_raw_len: usize) -> Search<'a> {
        let budget = 64 * bytes.len() as u64 + (64 << 20);
        Search { bytes, salt, max_raw_len, budget, gave_up: false }
    }

    /// All blocks, in order.
    pub(super) fn blocks(&mut self) -> Vec<Range<usize>> {
        let mut blocks = Vec::new();
        let mut at = 0;
        while at + TRAILER_LEN < self.bytes.len() && !self.gave_up {
            // Nearly always a block begins where the last one ended.
            let next = self.block_at(at).or_else(|| self.block_behind(at));
            let Some(block) = next else { break };
            at = block.end;
            blocks.push(block);
        }
        blocks
    }

    /// The block that begins at `start`.
    pub(super) fn block_at(&mut self, start: usize) -> Option<Range<usize>> {
        let most = self.max_raw_len.saturating_add(TRAILER_LEN);
        let last = self.bytes.len().min(start.saturating_add(most));
        (start + TRAILER_LEN + 1..=last).map(|end| start..end).find(|block| self.passes(block))
    }

    /// The first block that begins behind `start`.
    pub(super) fn block_behind(&mut self, start: usize) -> Option<Range<usize>> {
        for end in start + TRAILER_LEN + 1..=self.bytes.len() {
            let Some((kind, raw_len)) = self.trailer(end) else { continue };
            let stored_end = end - TRAILER_LEN;
            let earliest = match kind {
                0 => stored_end.checked_sub(raw_len).filter(|&at| at >= start),
                _ => Some(stored_end.saturating_sub(raw_len).max(start)),
            };
            let Some(earliest) = earliest else { continue };
            let latest = if kind == 0 { earliest } else { stored_end - 1 };
            let found = (earliest..=latest).map(|at| at..end).find(|block| self.passes(block));
            if found.is_some() {
                return found;
            }
            if self.gave_up {
                return None;
            }
        }
        None
    }

    /// Compression and length that a trailer before `end` declares, if it may be one.
    fn trailer(&self, end: usize) -> Option<(u8, usize)> {
        let trailer = self.bytes[..end].last_chunk::<TRAILER_LEN>()?;
        let [a, b, c, d, kind, ..] = *trailer;
        let raw_len = u32::from_le_bytes([a, b, c, d]) as usize;
        (kind <= 2 && (1..=self.max_raw_len).contains(&raw_len)).then_some((kind, raw_len))
    }

    fn passes(&mut self, block: &Range<usize>) -> bool {
        let Some((kind, raw_len)) = self.trailer(block.end) else { return false };
        let stored = block.len() - TRAILER_LEN;
        if self.gave_up || (kind == 0) != (stored == raw_len) || stored > raw_len {
            return false;
        }
        let Some(budget) = self.budget.checked_sub(block.len() as u64) else {
            self.gave_up = true;
            return false;
        };
        self.budget = budget;
        let Some((covered, sum)) = self.bytes[block.clone()].split_last_chunk::<4>() else {
            return false;
        };
        block_checksum(self.salt, block.start as u64, covered) == u32::from_le_bytes(*sum)
    }
}
