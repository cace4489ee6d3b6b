//! What fuzzers call: each part of a table, and a whole one, from any bytes.
//!
//! Compiled for fuzzers (feature `fuzzing`, see `fuzz/`) and for tests, which run
//! the committed corpora. Each function panics when a rule is broken, and else
//! says nothing.

use crate::data::data_block::DataBlock;
use crate::data::key_buffer::KeyBuffer;
use crate::filter::{self, Filter};
use crate::index::{Partition, Top};
use crate::{BlockCache, Cursor, CursorOptions, Error, GetContext, Table, TableCursor, salvage};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tanada_format::{DatabaseId, Origin, SeqNo, TableId, hash_key};
use tanada_vfs::ReadFile;

/// The table that [`table`] takes its bytes for.
const ID: TableId = TableId(7);
const DATABASE: DatabaseId = DatabaseId(*b"rice terrace 01.");

/// A data block. Every entry that can be read lies in the block, and so does
/// whatever a search leads to.
pub fn data_block(data: &[u8]) {
    let Ok(block) = DataBlock::parse(data) else { return };
    let mut key = KeyBuffer::default();
    key.set_prefix(block.prefix());
    for i in 0..block.count().min(10_000) {
        let Ok(slot) = block.slot(i) else { continue };
        block.write_key(i, &slot, &mut key);
        assert!(slot.value_at as usize + slot.value.len() <= data.len(), "values lie inside");
        if let Ok(at) = block.lower_bound(&key, slot.seqno) {
            assert!(at <= block.count(), "a search ends in the block or behind it");
        }
        let _ = block.get(&key, slot.seqno);
    }
    let _ = (block.lower_bound(b"", SeqNo::MAX), block.get(&[0xff; 40], SeqNo::ZERO));
}

/// An index partition, and the same bytes as a top index.
pub fn index(data: &[u8]) {
    if let Ok(partition) = Partition::parse(data) {
        let fences = partition.fences();
        let mut end = None;
        for i in 0..partition.count() {
            let handle = partition.handle(i);
            assert!(end.is_none_or(|end| end == handle.offset), "blocks lie one behind the other");
            end = Some(handle.end());
            assert!(fences.part(&fences.key(i), fences.seqno(i)) < partition.count());
        }
        assert!(end.is_none_or(|end| end == partition.end()));
    }
    let limit = 1 << 40;
    if let Ok(top) = Top::parse(data, limit) {
        for (i, part) in top.partitions().iter().enumerate() {
            assert!(part.index.end() <= limit && part.filter.end() <= limit);
            assert!(top.fences().part(&top.fences().key(i), SeqNo::MAX) < top.partitions().len());
        }
    }
}

/// A filter: read from these bytes, and written for keys cut out of them, each of
/// which it must contain. The first byte is the space a key gets, in eighths of a
/// bit; of each key a byte is its length, and then come its bytes.
pub fn filter(data: &[u8]) {
    if let Ok(filter) = Filter::parse(data) {
        for key in data.chunks(5).take(200) {
            let _ = filter.may_contain(hash_key(key));
        }
    }
    let Some((&space, mut rest)) = data.split_first() else { return };
    let mut hashes = Vec::new();
    while let Some((&len, after)) = rest.split_first() {
        let (key, after) = after.split_at(usize::from(len % 32).min(after.len()));
        hashes.push(hash_key(key));
        rest = after;
    }
    let bits_per_key = f64::from(space.max(1)) / 8.0;
    let written = filter::build(&hashes, bits_per_key, filter::probes_for(bits_per_key));
    let filter = Filter::parse(&written).expect("it has just been written");
    assert!(hashes.iter().all(|&hash| filter.may_contain(hash)), "a key is not contained");
}

/// A whole table: opened, read in every way, verified, and salvaged. What
/// verifies reads without an error, and what is salvaged of it is all of it.
pub fn table(data: &[u8]) {
    let file = Arc::new(Bytes(data.to_vec()));
    let cache = BlockCache::new(1 << 20);
    let mut saved = 0u64;
    let salvaged = salvage::<Error>(&*file, Origin::local(DATABASE, ID), |_| {
        saved += 1;
        Ok(())
    });
    let Ok(table) = Table::open(file, Origin::local(DATABASE, ID), &cache) else { return };
    let table = Arc::new(table);
    let verified = table.verify();
    let mut cursor = TableCursor::new(table.clone(), CursorOptions::scan());
    let mut walked = cursor.seek_first();
    let mut entries = 0u64;
    while walked.is_ok() && cursor.valid() && entries < 100_000 {
        let (key, seqno) = (cursor.entry().key.to_vec(), cursor.entry().seqno);
        let found = table.get(&key, hash_key(&key), seqno, &GetContext::default());
        if verified.is_ok() {
            assert_eq!(found.expect("it verifies").map(|found| found.seqno), Some(seqno));
        }
        entries += 1;
        walked = cursor.next();
    }
    let _ = (cursor.seek(b"m", SeqNo::MAX), cursor.seek_before(b"m"), cursor.seek_last());
    if let Ok(report) = verified {
        assert!(walked.is_ok() && report.entries == entries, "what verifies can be read");
        assert!(salvaged.is_ok_and(|s| s.gaps.is_empty()) && saved == entries);
    }
}

/// A file in memory.
#[derive(Debug)]
struct Bytes(Vec<u8>);

impl ReadFile for Bytes {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = self.0.get(from..).and_then(|rest| rest.get(..buf.len()));
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn path(&self) -> &Path {
        Path::new("000007.sst")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compression, TableBuilder, TableOptions};
    use tanada_format::BlockSalt;
    use tanada_format::{EntryRef, ValueKind};
    use tanada_vfs::Env;

    /// The committed corpus of a target.
    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let fs = Env::real().fs;
        let names = fs.read_dir(&dir).unwrap();
        let read = |name: &str| {
            let file = fs.open(&dir.join(name)).unwrap();
            let mut bytes = vec![0; file.len() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        let inputs: Vec<_> = names.iter().map(|entry| read(&entry.name)).collect();
        assert!(!inputs.is_empty(), "{target} has a corpus");
        inputs
    }

    /// Every input of the corpus, and each with a byte changed and cut.
    fn run(target: &str, body: fn(&[u8])) {
        for input in corpus(target) {
            body(&input);
            for at in (0..input.len()).step_by(1 + input.len() / 500) {
                let mut bytes = input.clone();
                for flip in [0x01, 0x80, 0xff] {
                    bytes[at] = input[at] ^ flip;
                    body(&bytes);
                }
                body(&input[..at]);
            }
        }
    }

    #[test]
    fn the_corpus_of_data_blocks_breaks_no_rule() {
        run("data_block", data_block);
    }

    #[test]
    fn the_corpus_of_indexes_breaks_no_rule() {
        run("index", index);
    }

    #[test]
    fn the_corpus_of_filters_breaks_no_rule() {
        run("filter", filter);
    }

    #[test]
    fn the_corpus_of_tables_breaks_no_rule() {
        run("table", table);
    }

    /// The parts of small tables, as the first inputs of the corpora.
    #[test]
    fn the_corpora_begin_with_what_is_written_today() {
        for (name, compression) in
            [("none", Compression::None), ("lz4", Compression::Lz4), ("zstd", Compression::Zstd)]
        {
            let env = Env::memory(1);
            let path = Path::new("/000007.sst");
            let mut options = TableOptions::new(ID, DATABASE);
            (options.compression, options.block_size) = (compression, 300);
            let mut builder = TableBuilder::new(env.fs.create(path).unwrap(), path, options);
            for i in 0..60u64 {
                let (key, value) = (format!("user:{:04}", i / 3), format!("value {i} ").repeat(3));
                let kind = if i % 7 == 0 { ValueKind::Delete } else { ValueKind::Put };
                let value = if i % 7 == 0 { &[][..] } else { value.as_bytes() };
                let (seqno, expires_at_ms) = (SeqNo(900 - i), (i % 5) * 1000);
                let key = key.as_bytes();
                builder.add(EntryRef { key, seqno, kind, expires_at_ms, value }).unwrap();
            }
            builder.finish().unwrap();
            let file = env.fs.open(path).unwrap();
            let mut bytes = vec![0; file.len() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            let opened =
                crate::read::table::Opened::read(&*file, Origin::local(DATABASE, ID)).unwrap();
            let raw = |handle: crate::index::Handle| {
                let sealed = &bytes[handle.offset as usize..handle.end() as usize];
                crate::seal::sealed::open_alone(
                    sealed.to_vec(),
                    BlockSalt::of_id(ID),
                    handle.offset,
                    1 << 20,
                )
                .unwrap()
            };
            let part = opened.top.partitions()[0];
            let partition = Partition::parse(&raw(part.index)).unwrap();
            keep("table", name, &bytes);
            keep("data_block", name, &raw(partition.handle(1)));
            keep("index", name, &raw(part.index));
            keep("index", &format!("top-{name}"), &raw(opened.properties.top_handle().unwrap()));
            keep("filter", name, &raw(part.filter));
        }
    }

    /// Compares with the corpus, or writes it with `TANADA_WRITE_GOLDEN=1`.
    fn keep(target: &str, name: &str, bytes: &[u8]) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let fs = Env::real().fs;
        if std::env::var_os("TANADA_WRITE_GOLDEN").is_some() {
            fs.create_dir_all(&dir).unwrap();
            let path = dir.join(name);
            if fs.exists(&path).unwrap() {
                fs.remove(&path).unwrap();
            }
            fs.create(&path).unwrap().append(bytes).unwrap();
        }
        let inputs = corpus(target);
        assert!(
            inputs.iter().any(|input| input == bytes),
            "{target}/{name} is written differently"
        );
    }
}
