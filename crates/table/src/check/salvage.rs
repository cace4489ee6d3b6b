//! Reads what can still be read of a damaged table, and says where the gaps are.
//!
//! Each block has a checksum of its own, bound to the table's id and to its
//! place, so a block that passes is what was written, whatever has become of
//! the rest. Where the index is gone too, blocks are found by trying at which
//! places a checksum passes; that needs nothing but the id in the file's name.
//!
//! Nothing is guessed: an entry is handed out only from a block whose checksum
//! passes and whose entries follow those before it in order.

use crate::Error;
use crate::damage::Damage;
use crate::data::data_block::DataBlock;
use crate::data::key_buffer::KeyBuffer;
use crate::filter::KeptFilter;
use crate::index::{Handle, Partition, Top};
use crate::meta::footer::{FOOTER_LEN, Footer};
use crate::meta::properties::TableProperties;
use crate::seal::sealed::{self, MAX_RAW_LEN, TRAILER_LEN};
use std::cmp::Ordering;
use std::ops::{Bound, Range};
use tanada_format::{
    Corruption, DatabaseId, EntryRef, MAX_KEY_LEN, SeqNo, TableId, block_checksum,
    compare_internal, hash_key,
};
use tanada_vfs::ReadFile;

/// A file longer than this whose index is gone is not searched for blocks.
const MAX_SEARCHED: u64 = 2 << 30;

/// What [`salvage`] found beside the entries.
#[derive(Default)]
pub struct Salvage {
    /// What the table said of itself, if that can still be read.
    pub properties: Option<TableProperties>,
    /// Entries handed out.
    pub entries: u64,
    /// Everything else that the data blocks may have held. Empty: nothing is lost.
    pub gaps: Vec<Gap>,
    /// What is damaged beside data blocks, or had to be assumed; one sentence each.
    pub notes: Vec<String>,
}

/// A part of a table that cannot be read.
pub struct Gap {
    /// Where in the file.
    pub bytes: Range<u64>,
    /// What is wrong there.
    pub what: String,
    /// No lost key lies before this.
    pub from: Bound<Vec<u8>>,
    /// No lost key lies behind this.
    pub to: Bound<Vec<u8>>,
    /// Filters of all keys that may be lost; none: nothing is known.
    filters: Vec<KeptFilter>,
}

impl Gap {
    /// A gap between two keys of which nothing else is known.
    pub fn unknown(
        bytes: Range<u64>,
        what: String,
        from: Bound<Vec<u8>>,
        to: Bound<Vec<u8>>,
    ) -> Gap {
        Gap { bytes, what, from, to, filters: Vec::new() }
    }

    /// Whether a version of `key` may have been lost here. `false` is certain;
    /// where a filter is left, `true` is wrong for one key in a hundred.
    pub fn may_hold(&self, key: &[u8]) -> bool {
        let behind = match &self.from {
            Bound::Unbounded => true,
            Bound::Included(from) => key >= &from[..],
            Bound::Excluded(from) => key > &from[..],
        };
        let before = match &self.to {
            Bound::Unbounded => true,
            Bound::Included(to) => key <= &to[..],
            Bound::Excluded(to) => key < &to[..],
        };
        let known = |hash| self.filters.iter().any(|filter| filter.may_contain(hash));
        behind && before && (self.filters.is_empty() || known(hash_key(key)))
    }
}

/// Hands every entry that can be read to `visit`, in order. The file may hold
/// anything. Where the index is damaged, takes memory for the whole file.
///
/// # Errors
/// [`Error::Unsupported`] when a newer version wrote it, [`Error::Corruption`]
/// when it is another table or of another database; what `visit` answers.
pub fn salvage<E: From<Error>>(
    file: &dyn ReadFile,
    id: TableId,
    database: DatabaseId,
    mut visit: impl FnMut(EntryRef<'_>) -> Result<(), E>,
) -> Result<Salvage, E> {
    let mut found = Salvage::default();
    let mut parts = Parts::read(file, id, database, &mut found.notes)?;
    let mut walk = Walk::default();
    match parts.indexes(file, id, &mut found.notes) {
        Some(indexes) => by_index(file, id, &parts, &indexes, &mut walk, &mut found, &mut visit)?,
        None => by_search(file, id, &mut parts, &mut walk, &mut found, &mut visit)?,
    }
    found.entries = walk.entries;
    found.properties = parts.properties;
    Ok(found)
}

/// The database that the table says it belongs to, if its footer is whole.
pub fn database_of(file: &dyn ReadFile) -> Option<DatabaseId> {
    footer(file).ok().map(|footer| footer.database)
}

/// What is left of the parts behind the data blocks.
struct Parts {
    properties: Option<TableProperties>,
    top: Option<Top>,
    /// Blocks end before this.
    limit: u64,
}

impl Parts {
    fn read(
        file: &dyn ReadFile,
        id: TableId,
        database: DatabaseId,
        notes: &mut Vec<String>,
    ) -> Result<Parts, Error> {
        let mut parts = Parts { properties: None, top: None, limit: file.len() };
        let footer = match footer(file) {
            Ok(footer) => footer,
            Err(what) => {
                notes.push(format!("footer: {}", what.0));
                return Ok(parts);
            }
        };
        let at = file.len() - FOOTER_LEN as u64;
        if let Some(what) = footer.unsupported() {
            return Err(Error::Unsupported { file: file.path().to_path_buf(), what });
        }
        if footer.database != database || footer.table != id {
            let what = format!("it is table {} of database {}", footer.table, footer.database);
            return Err(Corruption::new(file.path(), at, what).into());
        }
        parts.limit = at;
        let properties = raw(file, id, footer.properties, MAX_RAW_LEN)
            .and_then(|raw| TableProperties::parse(&raw));
        let top = properties.as_ref().map_err(|_| None).and_then(|properties| {
            let handle = properties.top_handle().map_err(Some)?;
            raw(file, id, handle, MAX_RAW_LEN).and_then(|raw| Top::parse(&raw, at)).map_err(Some)
        });
        match top {
            Ok(top) => parts.top = Some(top),
            Err(Some(what)) => notes.push(format!("top index: {}", what.0)),
            Err(None) => {}
        }
        match properties {
            Ok(properties) => parts.properties = Some(properties),
            Err(what) => notes.push(format!("properties: {}", what.0)),
        }
        Ok(parts)
    }

    /// All index partitions, if none is damaged and they agree with the top index.
    fn indexes(
        &self,
        file: &dyn ReadFile,
        id: TableId,
        notes: &mut Vec<String>,
    ) -> Option<Vec<Partition>> {
        let (top, _) = (self.top.as_ref()?, self.properties.as_ref()?);
        let mut indexes = Vec::with_capacity(top.partitions().len());
        let mut at = 0;
        for handle in top.partitions() {
            let index = raw(file, id, handle.index, MAX_RAW_LEN).and_then(|raw| {
                let index = Partition::parse(&raw)?;
                let agrees = index.count() == handle.blocks as usize
                    && index.count() > 0
                    && index.handle(0).offset == at;
                if agrees { Ok(index) } else { Err("it and the top index disagree".into()) }
            });
            match index {
                Ok(index) => {
                    at = index.end();
                    indexes.push(index);
                }
                Err(what) => {
                    let offset = handle.index.offset;
                    notes.push(format!("index partition at offset {offset}: {}", what.0));
                    return None;
                }
            }
        }
        Some(indexes)
    }

    /// The filter of partition `p`; none: unknown.
    fn filter(&self, file: &dyn ReadFile, id: TableId, p: usize) -> Option<KeptFilter> {
        let handle = self.top.as_ref()?.partitions().get(p)?.filter;
        if handle.len == 0 {
            return None;
        }
        raw(file, id, handle, MAX_RAW_LEN).ok().and_then(KeptFilter::parse)
    }

    /// The filters of all partitions, or none of them.
    fn filters(&self, file: &dyn ReadFile, id: TableId) -> Vec<KeptFilter> {
        let count = self.top.as_ref().map_or(0, |top| top.partitions().len());
        let all: Option<Vec<KeptFilter>> = (0..count).map(|p| self.filter(file, id, p)).collect();
        all.unwrap_or_default()
    }

    fn first_key(&self) -> Bound<Vec<u8>> {
        let known = self.properties.as_ref().map(|p| p.min_key.clone());
        known.map_or(Bound::Unbounded, Bound::Included)
    }

    fn last_key(&self) -> Bound<Vec<u8>> {
        let known = self.properties.as_ref().map(|p| p.max_key.clone());
        known.map_or(Bound::Unbounded, Bound::Included)
    }
}

fn footer(file: &dyn ReadFile) -> Result<Footer, Damage> {
    let at = file.len().checked_sub(FOOTER_LEN as u64).ok_or("it is too short for one")?;
    let mut bytes = [0; FOOTER_LEN];
    file.read_exact_at(&mut bytes, at).map_err(|e| Damage::from(e.to_string()))?;
    let footer = Footer::parse(&bytes)?;
    if footer.file_len == file.len() {
        Ok(footer)
    } else {
        Err("it was written for a file of another length".into())
    }
}

/// A block, checked and decompressed. A disk that refuses to read it is damage too.
fn raw(file: &dyn ReadFile, id: TableId, handle: Handle, max: usize) -> Result<Vec<u8>, Damage> {
    if handle.end() > file.len() {
        return Err("a block ends behind the file's end".into());
    }
    let mut bytes = vec![0; handle.len as usize];
    file.read_exact_at(&mut bytes, handle.offset).map_err(|e| Damage::from(e.to_string()))?;
    sealed::open_alone(bytes, id, handle.offset, max)
}

/// The entries handed out so far.
#[derive(Default)]
struct Walk {
    key: Vec<u8>,
    seqno: SeqNo,
    entries: u64,
}

impl Walk {
    /// What follows is behind the last key, or an older version of it, which
    /// nobody misses.
    fn last(&self) -> Option<Bound<Vec<u8>>> {
        (self.entries > 0).then(|| Bound::Excluded(self.key.clone()))
    }

    /// Whether all entries of a block can be read and follow the last one, and
    /// the first key of them.
    fn check(&self, data: &DataBlock<'_>) -> Result<Vec<u8>, Damage> {
        let mut last: Option<(Vec<u8>, SeqNo)> =
            (self.entries > 0).then(|| (self.key.clone(), self.seqno));
        let mut first = Vec::new();
        let mut key = KeyBuffer::default();
        key.set_prefix(data.prefix());
        for i in 0..data.count() {
            let slot = data.slot(i)?;
            data.write_key(i, &slot, &mut key);
            if !(1..=MAX_KEY_LEN).contains(&key.len()) || slot.seqno > SeqNo::MAX {
                return Err("a key or a sequence number is out of bounds".into());
            }
            let here = (&key[..], slot.seqno);
            if let Some((key, seqno)) = &last
                && compare_internal((key, *seqno), here) != Ordering::Less
            {
                return Err("entries are out of order".into());
            }
            if i == 0 {
                first = key.to_vec();
            }
            last = Some((key.to_vec(), slot.seqno));
        }
        Ok(first)
    }

    /// Hands out the entries of a block that has been checked.
    fn visit<E: From<Error>>(
        &mut self,
        data: &DataBlock<'_>,
        visit: &mut impl FnMut(EntryRef<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut key = KeyBuffer::default();
        key.set_prefix(data.prefix());
        for i in 0..data.count() {
            let Ok(slot) = data.slot(i) else { unreachable!("`check` has read it") };
            data.write_key(i, &slot, &mut key);
            visit(EntryRef {
                key: &key,
                seqno: slot.seqno,
                kind: slot.kind,
                expires_at_ms: slot.expires_at_ms,
                value: slot.value,
            })?;
            self.seqno = slot.seqno;
            self.entries += 1;
        }
        self.key = key.to_vec();
        Ok(())
    }
}

/// All indexes are whole: each block that is not is one gap, between two fences.
fn by_index<E: From<Error>>(
    file: &dyn ReadFile,
    id: TableId,
    parts: &Parts,
    indexes: &[Partition],
    walk: &mut Walk,
    found: &mut Salvage,
    visit: &mut impl FnMut(EntryRef<'_>) -> Result<(), E>,
) -> Result<(), E> {
    for (p, index) in indexes.iter().enumerate() {
        for b in 0..index.count() {
            let handle = index.handle(b);
            let fences = index.fences();
            let read = raw(file, id, handle, MAX_RAW_LEN);
            let checked =
                read.as_ref().map_err(Damage::clone).and_then(|raw| DataBlock::parse(raw));
            let checked = checked.and_then(|data| walk.check(&data).map(|_| data));
            let what = match checked {
                Ok(data) => {
                    walk.visit(&data, visit)?;
                    continue;
                }
                Err(what) => what.0.into_owned(),
            };
            let from = match walk.last() {
                // The versions behind the last one are older.
                Some(Bound::Excluded(last)) if last == fences.key(b) => Bound::Excluded(last),
                _ if p == 0 && b == 0 => parts.first_key(),
                _ => Bound::Included(fences.key(b)),
            };
            let next = match indexes.get(p + 1) {
                _ if b + 1 < index.count() => Some((fences.key(b + 1), fences.seqno(b + 1))),
                Some(next) => Some((next.fences().key(0), next.fences().seqno(0))),
                None => None,
            };
            let to = match next {
                // It stands before all versions of its key.
                Some((key, SeqNo::MAX)) => Bound::Excluded(key),
                Some((key, _)) => Bound::Included(key),
                None => parts.last_key(),
            };
            let bytes = handle.offset..handle.end();
            let filters = parts.filter(file, id, p).into_iter().collect();
            found.gaps.push(Gap { bytes, what, from, to, filters });
        }
    }
    Ok(())
}

/// An index is damaged: blocks are looked for, and what lies between two of
/// them is a gap between the keys on both sides.
fn by_search<E: From<Error>>(
    file: &dyn ReadFile,
    id: TableId,
    parts: &mut Parts,
    walk: &mut Walk,
    found: &mut Salvage,
    visit: &mut impl FnMut(EntryRef<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let len = parts.limit;
    let mut bytes = vec![0; len.min(MAX_SEARCHED) as usize];
    let read = match len {
        0..=MAX_SEARCHED => file.read_exact_at(&mut bytes, 0).map_err(|e| e.to_string()),
        _ => Err("its index is damaged and it is too long to be searched".to_owned()),
    };
    if let Err(what) = read {
        found.gaps.push(Gap::unknown(0..len, what, parts.first_key(), parts.last_key()));
        return Ok(());
    }
    let told = parts.properties.as_ref().map(|p| p.max_block_len as usize);
    let mut search = Search::new(&bytes, id, told.unwrap_or(MAX_RAW_LEN));
    let blocks = search.blocks();
    let open = |block: &Range<usize>| {
        let sealed = bytes[block.clone()].to_vec();
        sealed::open_alone(sealed, id, block.start as u64, MAX_RAW_LEN)
    };
    if parts.properties.is_none() {
        // They lie last. Nothing else has all the tags.
        let last = blocks.iter().rev().take(2);
        parts.properties = last.filter_map(|b| TableProperties::parse(&open(b).ok()?).ok()).next();
    }
    let end = match parts.properties.as_ref() {
        Some(properties) => properties.data_bytes.min(len),
        None => match end_of_data(&blocks, &open, len) {
            Some(end) => end,
            None => {
                let what = "nothing says where its data blocks end: the first blocks whose \
                            entries are in order were taken for them";
                found.notes.push(what.into());
                len
            }
        },
    };
    let certain = end < len;
    let mut filters = parts.filters(file, id);
    if filters.is_empty() && certain && parts.top.is_none() {
        // Filters lie behind the data blocks, and before all that is no filter.
        let behind = blocks.iter().skip_while(|block| (block.start as u64) < end);
        let raws = behind.map_while(|block| open(block).ok());
        filters = raws.map_while(KeptFilter::parse).collect();
        let told = parts.properties.as_ref().map(|p| p.partitions as usize);
        if told.is_none_or(|told| told != filters.len()) {
            filters.clear();
        }
    }
    let filters_at = found.gaps.len();
    let mut at = 0u64;
    for block in &blocks {
        let (start, block_end) = (block.start as u64, block.end as u64);
        if start >= end {
            break;
        }
        let Ok(raw) = open(block) else { continue };
        let data = DataBlock::parse(&raw);
        let checked = data.and_then(|data| walk.check(&data).map(|first| (data, first)));
        let Ok((data, first)) = checked else {
            if certain {
                continue; // a gap, seen when the next block comes
            }
            break;
        };
        if start > at {
            let from = walk.last().unwrap_or_else(|| parts.first_key());
            let what = "no block of it passes its checksum".to_owned();
            found.gaps.push(Gap::unknown(at..start, what, from, Bound::Included(first)));
        }
        walk.visit(&data, visit)?;
        at = block_end;
    }
    let told = parts.properties.as_ref().map(|p| p.entries);
    if told != Some(walk.entries) && (at < end || !certain) {
        let from = walk.last().unwrap_or_else(|| parts.first_key());
        let what = "no block of it passes its checksum".to_owned();
        found.gaps.push(Gap::unknown(at..end, what, from, parts.last_key()));
    }
    if found.gaps.len() == filters_at + 1 {
        found.gaps[filters_at].filters = filters;
    }
    if search.gave_up {
        found.notes.push("not every place of it was searched for blocks".into());
    }
    Ok(())
}

/// Where the data blocks end, as a top index among the last blocks says: one
/// whose partitions are blocks that were found.
fn end_of_data(
    blocks: &[Range<usize>],
    open: &impl Fn(&Range<usize>) -> Result<Vec<u8>, Damage>,
    limit: u64,
) -> Option<u64> {
    blocks.iter().rev().take(4).find_map(|block| {
        let top = Top::parse(&open(block).ok()?, limit).ok()?;
        let first = top.partitions().first()?;
        let is_block = |handle: Handle| {
            blocks
                .iter()
                .any(|b| b.start as u64 == handle.offset && b.len() as u64 == u64::from(handle.len))
        };
        let indexes = top.partitions().iter().all(|p| is_block(p.index));
        let filtered = first.filter.len != 0;
        (indexes && (!filtered || is_block(first.filter))).then_some(if filtered {
            first.filter.offset
        } else {
            first.index.offset
        })
    })
}

/// Looks for sealed blocks in the bytes of a table.
struct Search<'a> {
    bytes: &'a [u8],
    id: TableId,
    max_raw_len: usize,
    /// Bytes that may still be hashed: garbage must not take for ever.
    budget: u64,
    gave_up: bool,
}

impl<'a> Search<'a> {
    fn new(bytes: &'a [u8], id: TableId, max_raw_len: usize) -> Search<'a> {
        let budget = 64 * bytes.len() as u64 + (64 << 20);
        Search { bytes, id, max_raw_len, budget, gave_up: false }
    }

    /// All blocks, in order.
    fn blocks(&mut self) -> Vec<Range<usize>> {
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
    fn block_at(&mut self, start: usize) -> Option<Range<usize>> {
        let most = self.max_raw_len.saturating_add(TRAILER_LEN);
        let last = self.bytes.len().min(start.saturating_add(most));
        (start + TRAILER_LEN + 1..=last).map(|end| start..end).find(|block| self.passes(block))
    }

    /// The first block that begins behind `start`.
    fn block_behind(&mut self, start: usize) -> Option<Range<usize>> {
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
        block_checksum(self.id, block.start as u64, covered) == u32::from_le_bytes(*sum)
    }
}
