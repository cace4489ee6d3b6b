//! Reads what can still be read of a damaged table, and says where the gaps are.
//!
//! Each block has a checksum of its own, bound to the table's origin and to its
//! place, so a block that passes is what was written, whatever has become of
//! the rest. Where the index is gone too, blocks are found by trying at which
//! places a checksum passes; that needs nothing but the id in the file's name.
//!
//! Nothing is guessed: an entry is handed out only from a block whose checksum
//! passes and whose entries follow those before it in order.

mod parts;
mod search;

use crate::Error;
use crate::damage::Damage;
use crate::data::data_block::DataBlock;
use crate::data::key_buffer::KeyBuffer;
use crate::filter::KeptFilter;
use crate::index::{Handle, Partition, Top};
use crate::meta::properties::TableProperties;
use crate::seal::sealed::{self, MAX_RAW_LEN};
use parts::{Parts, footer, raw};
use search::Search;
use std::cmp::Ordering;
use std::ops::{Bound, Range};
use tanada_format::{
    BlockSalt, DatabaseId, EntryRef, MAX_KEY_LEN, Origin, SeqNo, WriterEpoch, compare_internal,
    hash_key,
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
    origin: Origin,
    mut visit: impl FnMut(EntryRef<'_>) -> Result<(), E>,
) -> Result<Salvage, E> {
    let mut found = Salvage::default();
    let mut parts = Parts::read(file, origin, &mut found.notes)?;
    let mut walk = Walk::default();
    match parts.indexes(file, &mut found.notes) {
        Some(indexes) => by_index(file, &parts, &indexes, &mut walk, &mut found, &mut visit)?,
        None => by_search(file, &mut parts, &mut walk, &mut found, &mut visit)?,
    }
    found.entries = walk.entries;
    found.properties = parts.properties;
    Ok(found)
}

/// The database that the table says it belongs to, if its footer is whole.
pub fn database_of(file: &dyn ReadFile) -> Option<DatabaseId> {
    footer(file).ok().map(|footer| footer.database)
}

/// The epoch in which the table says it was written, if its footer and its properties are
/// whole.
pub fn epoch_of(file: &dyn ReadFile) -> Option<WriterEpoch> {
    let footer = footer(file).ok()?;
    let raw = raw(file, BlockSalt::of_id(footer.table), footer.properties, MAX_RAW_LEN).ok()?;
    TableProperties::parse(&raw).ok().map(|properties| properties.epoch)
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
            let read = raw(file, parts.salt, handle, MAX_RAW_LEN);
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
            let filters = parts.filter(file, p).into_iter().collect();
            found.gaps.push(Gap { bytes, what, from, to, filters });
        }
    }
    Ok(())
}

/// An index is damaged: blocks are looked for, and what lies between two of
/// them is a gap between the keys on both sides.
fn by_search<E: From<Error>>(
    file: &dyn ReadFile,
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
    let salt = parts.salt;
    let mut search = Search::new(&bytes, salt, told.unwrap_or(MAX_RAW_LEN));
    let blocks = search.blocks();
    let open = |block: &Range<usize>| {
        let sealed = bytes[block.clone()].to_vec();
        sealed::open_alone(sealed, salt, block.start as u64, MAX_RAW_LEN)
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
    let mut filters = parts.filters(file);
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
