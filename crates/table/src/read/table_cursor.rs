//! Walks one table, in both directions, borrowing from its blocks.

use crate::cache::slots::prefetch_behind;
use crate::damage::Damage;
use crate::data::data_block::DataBlock;
use crate::data::key_buffer::KeyBuffer;
use crate::get::{CacheUse, GetContext};
use crate::memory::block::{Block, Kind};
use crate::read::read_ahead::ReadAhead;
use crate::read::table::{Bare, Table};
use crate::{Cursor, Error, Value};
use std::sync::Arc;
use tanada_format::{EntryRef, SeqNo, ValueKind, compare_internal};

/// How a [`TableCursor`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorOptions {
    /// Whether blocks that had to be read stay in the cache.
    pub cache: CacheUse,
    /// Most bytes read at once when the cursor walks on through blocks that are
    /// not in memory. What is read at once grows from one block to this.
    pub read_ahead_bytes: u32,
}

impl CursorOptions {
    /// For a user's scan: fills the cache, reads up to 64 KiB at once.
    pub fn scan() -> CursorOptions {
        CursorOptions { cache: CacheUse::Fill, read_ahead_bytes: 64 << 10 }
    }

    /// For reading a whole table once: past the cache, 512 KiB at once.
    pub fn compaction() -> CursorOptions {
        CursorOptions { cache: CacheUse::Bypass, read_ahead_bytes: 512 << 10 }
    }
}

impl Default for CursorOptions {
    fn default() -> CursorOptions {
        CursorOptions::scan()
    }
}

/// So many entries before a block's end the next block's lines are asked for.
const ASK_AHEAD: usize = 8;

/// A position in one table.
///
/// A step copies the part of the key that differs from its block's prefix, and
/// nothing else: values are borrowed from the block.
///
/// 1. When `valid`, `block` is data block `(part, number)`, `count` its number
///    of entries, and `key`, `entry` are its entry `slot`.
/// 2. When `block` is there, `key` begins with its prefix.
/// 3. `unread` stands in the place of a `block` of one entry.
pub struct TableCursor {
    table: Arc<Table>,
    options: CursorOptions,
    ahead: ReadAhead,
    /// The index partition of `block`.
    index: Option<Block>,
    part: usize,
    /// The data block's number within its partition.
    number: usize,
    /// Between [`Cursor::aim`] and [`Cursor::seek_aimed`]: the block to seek in.
    aimed: usize,
    block: Option<Block>,
    count: usize,
    slot: usize,
    valid: bool,
    show: Show,
    key: KeyBuffer,
    entry: Rest,
    /// Whether the values of long blocks are read by [`Cursor::load`] alone.
    on_demand: bool,
    /// When the value of the present entry has not been read: its expiry. Then there is
    /// no `block`, and `entry` says of the expiry what no entry has.
    unread: Option<u64>,
    /// The key last shown, while older versions of it are passed over.
    passed: Vec<u8>,
    /// As [`Cursor::take_newer`].
    newer: bool,
}

/// Which versions a walk forward shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    All,
    /// Of each key the newest version not newer than this.
    At(SeqNo),
}

/// An entry without its key.
#[derive(Clone, Copy)]
struct Rest {
    seqno: SeqNo,
    kind: ValueKind,
    expires_at_ms: u64,
    value_at: u32,
    value_len: u32,
}

impl TableCursor {
    /// A cursor beside the table; seek first. Takes no memory before that.
    pub fn new(table: Arc<Table>, options: CursorOptions) -> TableCursor {
        TableCursor {
            table,
            ahead: ReadAhead::new(options.read_ahead_bytes, options.cache),
            on_demand: false,
            unread: None,
            options,
            index: None,
            part: 0,
            number: 0,
            aimed: 0,
            block: None,
            count: 0,
            slot: 0,
            valid: false,
            show: Show::All,
            key: KeyBuffer::default(),
            passed: Vec::new(),
            newer: false,
            entry: Rest {
                seqno: SeqNo::ZERO,
                kind: ValueKind::Delete,
                expires_at_ms: 0,
                value_at: 0,
                value_len: 0,
            },
        }
    }

    /// Shows, walking forward, of each key only the newest version not newer
    /// than `seqno`. Free where the table holds one version of each key, and
    /// none that is newer. Walking backward still shows all versions, so a
    /// walk that turns round must seek.
    pub fn visible_at(mut self, seqno: SeqNo) -> TableCursor {
        let told = self.table.properties();
        let all_show = told.keys == told.entries && told.max_seqno <= seqno;
        self.show = if all_show { Show::All } else { Show::At(seqno) };
        self.valid = false;
        self
    }

    /// Reads the values of long entries when [`Cursor::load`] asks for them: of many
    /// cursors in a merge one stands on the entry that is wanted, and the values of the
    /// others are not held meanwhile. Such a value is read twice, for its checksum covers
    /// the key as well. What takes less than a 256th of itself when it is compressed is
    /// read at once all the same.
    pub fn on_demand(mut self) -> TableCursor {
        self.on_demand = true;
        self
    }

    /// The table walked.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    fn partitions(&self) -> usize {
        self.table.top().partitions().len()
    }

    /// Makes `index` the index of partition `part`.
    fn enter_partition(&mut self, part: usize) -> Result<(), Error> {
        if self.index.is_none() || self.part != part {
            self.index = None;
            self.block = None;
            self.unread = None;
            let context = GetContext { cache: self.options.cache, ..GetContext::default() };
            self.index = Some(self.table.index(part, &context)?);
            self.part = part;
        }
        Ok(())
    }

    fn blocks_in_partition(&self) -> usize {
        self.index.as_ref().map_or(0, |i| i.index().count())
    }

    /// Makes `block` the data block `number` of the present partition.
    fn enter_block(&mut self, number: usize) -> Result<(), Error> {
        if (self.block.is_some() || self.unread.is_some()) && self.number == number {
            return Ok(());
        }
        self.block = None;
        self.unread = None;
        let index = self.index.as_ref().expect("a partition is entered before its blocks");
        let in_table = self.table.partition_handle(self.part).first_block + number as u32;
        let block = match self.table.cached_data(in_table, self.options.cache) {
            Some(block) => block,
            None => {
                let handle = index.index().handle(number);
                if self.on_demand
                    && self.table.may_be_long(handle)
                    && !self.ahead.held(handle).is_some_and(|sealed| self.table.is_short(sealed))
                    && let Some(bare) = self.table.look_at_long(handle)?
                {
                    self.number = number;
                    self.look_at(&bare);
                    return Ok(());
                }
                let block = self.ahead.block(&self.table, handle, index.index().end())?;
                match self.options.cache {
                    CacheUse::Fill => self.table.admit(Kind::Data, in_table, block),
                    CacheUse::Bypass => block,
                }
            }
        };
        self.key.set_prefix(block.data().prefix());
        self.count = block.data().count();
        self.block = Some(block);
        self.number = number;
        Ok(())
    }

    /// Stands before the only entry of a long block, whose value it does not read.
    #[cold]
    fn look_at(&mut self, bare: &Bare) {
        self.key.set_prefix(&bare.key);
        self.count = 1;
        self.unread = Some(bare.expires_at_ms);
        let (seqno, kind) = (bare.seqno, bare.kind);
        // No entry expires so late: whoever asks whether this one is plain is told no.
        self.entry = Rest { seqno, kind, expires_at_ms: u64::MAX, value_at: 0, value_len: 0 };
    }

    /// Reads the block of the present entry.
    #[cold]
    fn read_unread(&mut self) -> Result<(), Error> {
        assert!(self.valid, "load() of a cursor that stands on no entry");
        self.valid = false;
        let index = self.index.as_ref().expect("a partition is entered before its blocks");
        let handle = index.index().handle(self.number);
        let number = self.table.partition_handle(self.part).first_block + self.number as u32;
        let context = GetContext { cache: self.options.cache, ..GetContext::default() };
        let block = self.table.block(Kind::Data, number, &context, handle)?;
        self.unread = None;
        self.key.set_prefix(block.data().prefix());
        self.count = block.data().count();
        self.block = Some(block);
        self.enter_slot(0)
    }

    /// Asks the processor for the block behind the present one.
    #[inline(never)]
    fn ask_for_next_block(&self) {
        if self.number + 1 < self.blocks_in_partition() {
            let first = self.table.partition_handle(self.part).first_block;
            self.table.prefetch_data(first + self.number as u32 + 1);
        }
    }

    /// Stands on entry `slot` of the present block.
    #[inline]
    fn enter_slot(&mut self, slot: usize) -> Result<(), Error> {
        let Some(block) = self.block.as_ref() else { return self.enter_unread(slot) };
        match Self::decode(&block.data(), slot, &mut self.key) {
            Ok(entry) => {
                self.entry = entry;
                self.slot = slot;
                self.valid = true;
                Ok(())
            }
            Err(damage) => Err(self.table.damaged(block.offset(), damage)),
        }
    }

    /// The same where the block has not been read.
    #[cold]
    fn enter_unread(&mut self, slot: usize) -> Result<(), Error> {
        assert!(self.unread.is_some() && slot == 0, "a block is entered before its entries");
        self.slot = 0;
        self.valid = true;
        Ok(())
    }

    #[inline]
    fn decode(block: &DataBlock<'_>, slot: usize, key: &mut KeyBuffer) -> Result<Rest, Damage> {
        let found = block.slot(slot)?;
        // The next entry begins where this one ends.
        prefetch_behind(block.bytes, found.value_at as usize + found.value.len());
        block.write_key(slot, &found, key);
        Ok(Rest {
            seqno: found.seqno,
            kind: found.kind,
            expires_at_ms: found.expires_at_ms,
            value_at: found.value_at,
            value_len: found.value.len() as u32,
        })
    }

    /// Stands on the first entry of the block behind the present one, if any.
    fn next_block(&mut self) -> Result<(), Error> {
        if self.number + 1 < self.blocks_in_partition() {
            self.enter_block(self.number + 1)?;
        } else if self.part + 1 < self.partitions() {
            self.enter_partition(self.part + 1)?;
            self.enter_block(0)?;
        } else {
            return Ok(());
        }
        self.enter_slot(0)
    }

    /// Stands on the last entry of the block before the present one, if any.
    fn prev_block(&mut self) -> Result<(), Error> {
        if self.number > 0 {
            self.enter_block(self.number - 1)?;
        } else if self.part > 0 {
            self.enter_partition(self.part - 1)?;
            self.enter_block(self.blocks_in_partition() - 1)?;
        } else {
            return Ok(());
        }
        self.enter_slot(self.count - 1)
    }

    /// Moves to the next entry, whatever it is. Stands on one.
    #[inline]
    fn step(&mut self) -> Result<(), Error> {
        self.valid = false;
        let next = self.slot + 1;
        if next + ASK_AHEAD == self.count {
            self.ask_for_next_block();
        }
        if next < self.count { self.enter_slot(next) } else { self.next_block() }
    }

    /// From an entry that shows to the next one that does.
    #[inline(never)]
    fn next_shown(&mut self, seqno: SeqNo) -> Result<(), Error> {
        self.passed.clear();
        self.passed.extend_from_slice(&self.key);
        self.step()?;
        while self.valid && (self.entry.seqno > seqno || *self.key == *self.passed) {
            self.newer |= self.entry.seqno > seqno;
            self.step()?;
        }
        Ok(())
    }

    /// From where a seek led to the first entry that shows.
    fn settle(&mut self) -> Result<(), Error> {
        if let Show::At(seqno) = self.show {
            while self.valid && self.entry.seqno > seqno {
                self.newer = true;
                self.step()?;
            }
        }
        Ok(())
    }

    /// Enters the partition where `(key, seqno)` belongs; the block in it.
    #[inline]
    fn locate(&mut self, key: &[u8], seqno: SeqNo) -> Result<usize, Error> {
        let part = self.table.top().fences().part(key, seqno);
        self.enter_partition(part)?;
        let index = self.index.as_ref().expect("it has just been entered");
        Ok(index.index().fences().part(key, seqno))
    }

    /// Enters block `number`, where `(key, seqno)` belongs; the index of the first
    /// entry at or after it there, which may be one behind the block's last.
    #[inline]
    fn find_in(&mut self, number: usize, key: &[u8], seqno: SeqNo) -> Result<usize, Error> {
        self.enter_block(number)?;
        let Some(block) = self.block.as_ref() else {
            let order = compare_internal((&self.key, self.entry.seqno), (key, seqno));
            return Ok(usize::from(order.is_lt()));
        };
        block
            .data()
            .lower_bound(key, seqno)
            .map_err(|damage| self.table.damaged(block.offset(), damage))
    }

    /// From the block `number`, where `(key, seqno)` belongs, to the first entry
    /// at or after it.
    #[inline]
    fn seek_from(&mut self, number: usize, key: &[u8], seqno: SeqNo) -> Result<(), Error> {
        let slot = self.find_in(number, key, seqno)?;
        if slot + ASK_AHEAD >= self.count {
            self.ask_for_next_block();
        }
        if slot < self.count {
            self.enter_slot(slot)?;
        } else {
            self.next_block()?;
        }
        self.settle()
    }

    /// Seeks forget the position first, so that an error leaves none.
    fn start_seek(&mut self) -> bool {
        self.valid = false;
        self.partitions() > 0
    }
}

impl Cursor for TableCursor {
    #[inline]
    fn valid(&self) -> bool {
        self.valid
    }

    #[inline]
    fn key(&self) -> &[u8] {
        assert!(self.valid, "key() of a cursor that stands on no entry");
        &self.key
    }

    #[inline]
    fn is_plain(&self) -> bool {
        assert!(self.valid, "is_plain() of a cursor that stands on no entry");
        self.entry.kind == ValueKind::Put && self.entry.expires_at_ms == 0
    }

    #[inline]
    fn entry(&self) -> EntryRef<'_> {
        assert!(self.valid, "entry() of a cursor that stands on none");
        let block = self.block.as_ref().expect("a value is loaded before it is asked for");
        let e = &self.entry;
        EntryRef {
            key: &self.key,
            seqno: e.seqno,
            kind: e.kind,
            expires_at_ms: e.expires_at_ms,
            value: &block.data().bytes[e.value_at as usize..][..e.value_len as usize],
        }
    }

    fn bare_entry(&self) -> EntryRef<'_> {
        assert!(self.valid, "bare_entry() of a cursor that stands on none");
        let Rest { seqno, kind, expires_at_ms, .. } = self.entry;
        let expires_at_ms = self.unread.unwrap_or(expires_at_ms);
        match &self.block {
            Some(_) => self.entry(),
            None => EntryRef { key: &self.key, seqno, kind, expires_at_ms, value: &[] },
        }
    }

    #[inline]
    fn load(&mut self) -> Result<(), Error> {
        if self.unread.is_some() { self.read_unread() } else { Ok(()) }
    }

    fn take_newer(&mut self) -> bool {
        std::mem::take(&mut self.newer)
    }

    fn value(&self) -> Value {
        let e = &self.entry;
        if !self.valid || Value::fits_inline(e.value_len as usize) {
            return Value::from(self.entry().value);
        }
        let block = self.block.as_ref().expect("a valid cursor holds its block");
        Value::in_block(block.clone(), e.value_at, e.value_len)
    }

    fn seek_first(&mut self) -> Result<(), Error> {
        if self.start_seek() {
            self.enter_partition(0)?;
            self.enter_block(0)?;
            self.enter_slot(0)?;
        }
        self.settle()
    }

    fn seek_last(&mut self) -> Result<(), Error> {
        if self.start_seek() {
            self.enter_partition(self.partitions() - 1)?;
            self.enter_block(self.blocks_in_partition() - 1)?;
            self.enter_slot(self.count - 1)?;
        }
        Ok(())
    }

    fn seek(&mut self, key: &[u8], seqno: SeqNo) -> Result<(), Error> {
        if !self.start_seek() {
            return Ok(());
        }
        let number = self.locate(key, seqno)?;
        self.seek_from(number, key, seqno)
    }

    fn aim(&mut self, key: &[u8], seqno: SeqNo) -> Result<(), Error> {
        self.aimed = 0;
        if self.start_seek() {
            self.aimed = self.locate(key, seqno)?;
            let first = self.table.partition_handle(self.part).first_block;
            self.table.prefetch_data(first + self.aimed as u32);
        }
        Ok(())
    }

    fn seek_aimed(&mut self, key: &[u8], seqno: SeqNo) -> Result<(), Error> {
        if !self.start_seek() {
            return Ok(());
        }
        self.seek_from(self.aimed, key, seqno)
    }

    fn seek_before(&mut self, key: &[u8]) -> Result<(), Error> {
        if !self.start_seek() {
            return Ok(());
        }
        let number = self.locate(key, SeqNo::MAX)?;
        let slot = self.find_in(number, key, SeqNo::MAX)?;
        if slot > 0 { self.enter_slot(slot - 1) } else { self.prev_block() }
    }

    #[inline]
    fn next(&mut self) -> Result<(), Error> {
        assert!(self.valid, "next() of a cursor that stands on no entry");
        match self.show {
            Show::All => self.step(),
            Show::At(seqno) => self.next_shown(seqno),
        }
    }

    #[inline]
    fn prev(&mut self) -> Result<(), Error> {
        assert!(self.valid, "prev() of a cursor that stands on no entry");
        self.valid = false;
        if self.slot > 0 { self.enter_slot(self.slot - 1) } else { self.prev_block() }
    }
}
