//! Looking keys up: filter, index partition and data block, from memory first.

use super::Table;
use crate::cache::FilterAnswer;
use crate::cache::slots::BlockRef;
use crate::epoch::{Pin, pin};
use crate::get::{CacheUse, Found, GetContext, InMemory, Missing};
use crate::memory::block::{Block, Kind};
use crate::{Error, Value};
use std::ops::Deref;
use tanada_format::SeqNo;

/// Blocks of one lookup that had to be read: the cache may not have kept them.
#[derive(Default)]
struct Own {
    filter: Option<Block>,
    index: Option<Block>,
}

/// A block in hand, for as long as a pin lives.
pub(super) enum Held<'p> {
    Cached(BlockRef<'p>),
    Own(&'p Block),
}

impl Deref for Held<'_> {
    type Target = Block;
    #[inline]
    fn deref(&self) -> &Block {
        match self {
            Held::Cached(block) => block,
            Held::Own(block) => block,
        }
    }
}

/// How far a lookup came.
enum Step {
    Absent,
    Found(Found),
    Missing(Missing),
}

impl Table {
    /// Whether the filter knows `key`, whose [`tanada_format::hash_key`] is
    /// `hash`: `false` means that no version of it is here. `true` when the
    /// table has no filter. Counts nothing.
    ///
    /// # Errors
    /// Those of reading the filter.
    pub fn may_contain(
        &self,
        key: &[u8],
        hash: u64,
        context: &GetContext<'_>,
    ) -> Result<bool, Error> {
        if self.top.partitions().is_empty() {
            return Ok(false);
        }
        let p = self.top.fences().part(key, SeqNo::MAX);
        // Versions of one key may go on in the partitions behind.
        let last = self.top.fences().part(key, SeqNo::ZERO);
        for p in p..=last {
            match self.filter(p, context)? {
                Some(filter) if !filter.filter().may_contain(hash) => {}
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    /// The newest version of `key` that is not newer than `seqno`. `hash` is
    /// the key's [`tanada_format::hash_key`].
    ///
    /// Cost when all is cached: that of [`Table::get_in_memory`].
    ///
    /// # Errors
    /// Those of reading blocks; [`Error::WouldBlock`] when the context forbids
    /// reading and a block is not in memory.
    pub fn get(
        &self,
        key: &[u8],
        hash: u64,
        seqno: SeqNo,
        context: &GetContext<'_>,
    ) -> Result<Option<Found>, Error> {
        // A pin made in the `match` itself would live through its arms.
        let step = self.step(key, hash, seqno, context, &Own::default(), &pin())?;
        match step {
            Step::Absent => Ok(None),
            Step::Found(found) => Ok(Some(found)),
            Step::Missing(missing) => self.get_from(missing, key, hash, seqno, context),
        }
    }

    /// As [`Table::get`], with all the same, from where [`Table::get_in_memory`] ended.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn get_from(
        &self,
        missing: Missing,
        key: &[u8],
        hash: u64,
        seqno: SeqNo,
        context: &GetContext<'_>,
    ) -> Result<Option<Found>, Error> {
        let (mut own, mut missing) = (Own::default(), missing);
        loop {
            // Under no pin.
            let block = self.read_missing(missing.kind, missing.number, context, missing.handle)?;
            match missing.kind {
                Kind::Filter => own.filter = Some(block),
                Kind::Index => own.index = Some(block),
                Kind::Data => {
                    context.note(|t| t.data_cached = Some(false));
                    return self.find_in(&block, missing.filtered, key, seqno, context, &pin());
                }
            }
            missing = match self.step(key, hash, seqno, context, &own, &pin())? {
                Step::Absent => return Ok(None),
                Step::Found(found) => return Ok(Some(found)),
                Step::Missing(missing) => missing,
            };
        }
    }

    /// As [`Table::get`] from memory alone, under a pin that may serve several tables.
    ///
    /// Cost when all is cached: one line of the filter; when that says "maybe",
    /// a search of the index partition and of one data block. No lock, no
    /// allocation, no counter that threads share, except the reference count of
    /// the block that the value is handed out from.
    ///
    /// # Errors
    /// Damage.
    #[inline]
    pub fn get_in_memory(
        &self,
        key: &[u8],
        hash: u64,
        seqno: SeqNo,
        pin: &Pin,
    ) -> Result<InMemory, Error> {
        const NONE: Own = Own { filter: None, index: None };
        Ok(match self.step(key, hash, seqno, &GetContext::default(), &NONE, pin)? {
            Step::Absent => InMemory::Absent,
            Step::Found(found) => InMemory::Found(found),
            Step::Missing(missing) => InMemory::Unknown(missing),
        })
    }

    /// Looks the key up in the blocks in memory and in `own`.
    #[inline(always)] // one caller is hot, and knows most arguments
    fn step(
        &self,
        key: &[u8],
        hash: u64,
        seqno: SeqNo,
        context: &GetContext<'_>,
        own: &Own,
        pin: &Pin,
    ) -> Result<Step, Error> {
        if self.top.partitions().is_empty() {
            return Ok(Step::Absent);
        }
        // The partition, and the block in it, that hold the answer if any does.
        let p = self.top.fences().part(key, seqno);
        let partition = &self.top.partitions()[p];
        // Blocks are needed in this order: before one was read, those before it were there.
        let had_filter = own.index.is_some();
        let number = self.filter_number(p);
        let mut filtered = false;
        if partition.filter.len != 0 {
            let Some(filter) =
                self.held(Kind::Filter, number, context, (&own.filter, had_filter), pin)
            else {
                return Ok(Step::Missing(Missing {
                    kind: Kind::Filter,
                    number,
                    handle: partition.filter,
                    filtered,
                }));
            };
            let maybe = filter.filter().may_contain(hash);
            context.note(|t| {
                t.filter_maybe = Some(maybe);
                t.filter_cached = Some(own.filter.is_none());
            });
            if !maybe {
                self.cache.count_filter(FilterAnswer::Negative, pin);
                return Ok(Step::Absent);
            }
            filtered = true;
        }
        let number = self.top.blocks() + p as u32;
        let Some(index) = self.held(Kind::Index, number, context, (&own.index, false), pin) else {
            let handle = partition.index;
            return Ok(Step::Missing(Missing { kind: Kind::Index, number, handle, filtered }));
        };
        context.note(|t| t.index_cached = Some(own.index.is_none()));
        let b = index.index().fences().part(key, seqno);
        let number = partition.first_block + b as u32;
        self.slots.prefetch(number);
        let Some(data) = self.held(Kind::Data, number, context, (&None, false), pin) else {
            let handle = index.index().handle(b);
            return Ok(Step::Missing(Missing { kind: Kind::Data, number, handle, filtered }));
        };
        context.note(|t| t.data_cached = Some(true));
        let found = self.find_in(&data, filtered, key, seqno, context, pin)?;
        Ok(found.map_or(Step::Absent, Step::Found))
    }

    /// Looks the key up in the one data block that may have it; `filtered` says that a
    /// filter said "maybe".
    #[inline(always)] // one caller is hot
    fn find_in(
        &self,
        data: &Block,
        filtered: bool,
        key: &[u8],
        seqno: SeqNo,
        context: &GetContext<'_>,
        pin: &Pin,
    ) -> Result<Option<Found>, Error> {
        context.note(|t| t.data_offset = Some(data.offset()));
        let found = match data.data().get(key, seqno) {
            Ok(None) => None,
            Ok(Some(slot)) => {
                let (seqno, kind, expires_at_ms) = (slot.seqno, slot.kind, slot.expires_at_ms);
                let value = if Value::fits_inline(slot.value.len()) {
                    Value::from(slot.value)
                } else {
                    let (at, len) = (slot.value_at, slot.value.len() as u32);
                    Value::in_block(data.clone(), at, len)
                };
                Some(Found { value, seqno, kind, expires_at_ms })
            }
            Err(damage) => return Err(self.damaged(data.offset(), damage)),
        };
        if filtered {
            let answer = match found {
                Some(_) => FilterAnswer::TruePositive,
                None => FilterAnswer::FalsePositive,
            };
            self.cache.count_filter(answer, pin);
        }
        context.note(|t| t.found = found.is_some());
        Ok(found)
    }

    /// A block that was read before, or that is in the cache: a hit, unless this
    /// lookup has counted it.
    #[inline(always)]
    pub(super) fn held<'p>(
        &'p self,
        kind: Kind,
        number: u32,
        context: &GetContext<'_>,
        (own, counted): (&'p Option<Block>, bool),
        pin: &'p Pin,
    ) -> Option<Held<'p>> {
        if let Some(block) = own {
            return Some(Held::Own(block));
        }
        let block = self.slots.get(number, pin)?;
        if context.cache == CacheUse::Fill && !counted {
            block.visit();
            self.cache.count_hit(kind, pin);
        }
        Some(Held::Cached(block))
    }
}
