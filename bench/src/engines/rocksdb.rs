//! RocksDB, as its wiki's "Setup Options and Basic Tuning" advises.

use crate::data::Key;
use crate::engine::{Durability, Engine, Opening, Outcome, Reader};
use rocksdb::{BlockBasedOptions, Cache, DB, DBRawIterator, Options, WriteBatch, WriteOptions};

struct Rocks {
    db: DB,
    write: WriteOptions,
    settings: Vec<String>,
}

pub fn open(opening: &Opening) -> Outcome<Box<dyn Engine>> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compression_type(rocksdb::DBCompressionType::Lz4);
    options.increase_parallelism(2);
    options.set_bytes_per_sync(1 << 20);
    options.set_write_buffer_size(opening.memtable() as usize);
    options.set_max_write_buffer_number(3);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(opening.memory as usize));
    table.set_bloom_filter(10.0, false);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(6);
    table.set_data_block_index_type(rocksdb::DataBlockIndexType::BinaryAndHash);
    options.set_block_based_table_factory(&table);
    let mut write = WriteOptions::default();
    write.set_sync(opening.durability == Durability::Device);
    let settings = vec![
        format!("block cache (LRU) {} MiB", opening.memory >> 20),
        format!("write_buffer_size {} MiB, max_write_buffer_number 3", opening.memtable() >> 20),
        "LZ4; increase_parallelism(2), bytes_per_sync 1 MiB, level_compaction_dynamic_level_bytes \
         (default) (wiki: Setup Options and Basic Tuning)"
            .into(),
        "Bloom filter of 10 bits, cache_index_and_filter_blocks, \
         pin_l0_filter_and_index_blocks_in_cache (same page); blocks of 4 KiB (default)"
            .into(),
        "kDataBlockBinaryAndHash (wiki: Data Block Hash Index); pinned gets; one raw iterator a \
         reader, sought again"
            .into(),
        "compiled as its crate does by default, without SSE 4.2: its CRC32C is done in software, \
         a twentieth of fillseq"
            .into(),
        format!("WriteOptions::sync {}", opening.durability == Durability::Device),
    ];
    Ok(Box::new(Rocks { db: DB::open(&options, &opening.dir)?, write, settings }))
}

impl Engine for Rocks {
    fn put(&self, key: &Key, value: &[u8]) -> Outcome<()> {
        Ok(self.db.put_opt(key, value, &self.write)?)
    }

    fn delete(&self, key: &Key) -> Outcome<()> {
        Ok(self.db.delete_opt(key, &self.write)?)
    }

    fn put_batch(&self, pairs: &[(Key, Vec<u8>)]) -> Outcome<()> {
        let mut batch = WriteBatch::default();
        for (key, value) in pairs {
            batch.put(key, value);
        }
        Ok(self.db.write_opt(batch, &self.write)?)
    }

    fn reader(&self) -> Outcome<Box<dyn Reader + '_>> {
        Ok(Box::new(RocksReader { db: &self.db, iterator: None }))
    }

    fn flush(&self) -> Outcome<()> {
        Ok(self.db.flush()?)
    }

    fn settings(&self) -> Vec<String> {
        self.settings.clone()
    }

    fn counters(&self) -> String {
        self.db
            .property_value("rocksdb.levelstats")
            .ok()
            .flatten()
            .map(|levels| levels.lines().skip(2).collect::<Vec<_>>().join(" |"))
            .unwrap_or_default()
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(())
    }
}

struct RocksReader<'a> {
    db: &'a DB,
    iterator: Option<DBRawIterator<'a>>,
}

impl Reader for RocksReader<'_> {
    fn get(&mut self, key: &Key, see: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let value = self.db.get_pinned(key)?;
        if let Some(value) = &value {
            see(value);
        }
        Ok(value.is_some())
    }

    fn scan(&mut self, from: &Key, limit: u64, see: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<u64> {
        let iterator = self.iterator.get_or_insert_with(|| self.db.raw_iterator());
        iterator.seek(from);
        let mut count = 0;
        while count < limit
            && let Some((key, value)) = iterator.item()
        {
            see(key, value);
            count += 1;
            if count < limit {
                iterator.next();
            }
        }
        iterator.status()?;
        Ok(count)
    }

    fn refresh(&mut self) -> Outcome<()> {
        self.iterator = None;
        Ok(())
    }
}
