//! One adapter an engine: the same durability (log written to the kernel, no
//! sync), the same compression (LZ4), the same cache budget.

use std::error::Error;
use std::path::Path;

pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// What the workloads ask of an engine.
pub trait Engine: Sync {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()>;
    /// Calls `check` with the value, when there is one.
    fn get(&self, key: &[u8], check: &mut dyn FnMut(&[u8])) -> Outcome<()>;
    /// Walks all entries in order.
    fn scan(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()>;
    /// Waits until what was written is in tables.
    fn settle(&self) -> Outcome<()>;
    /// Settings and counters worth printing.
    fn describe(&self) -> String;
}

pub const NAMES: [&str; 3] = ["tanada", "rocksdb", "fjall"];

pub fn open(name: &str, dir: &Path, memory: u64) -> Outcome<Box<dyn Engine>> {
    Ok(match name {
        "tanada" => Box::new(Tanada::open(dir, memory)?),
        "rocksdb" => Box::new(Rocks::open(dir, memory)?),
        "fjall" => Box::new(Fjall::open(dir, memory)?),
        other => return Err(format!("no engine {other}; there are {NAMES:?}").into()),
    })
}

pub struct Tanada(pub tanada::Db);

impl Tanada {
    pub fn open(dir: &Path, memory: u64) -> Outcome<Tanada> {
        let db = tanada::Db::builder(dir)
            .memory(memory)
            .durability(tanada::Durability::Buffered)
            .open()?;
        Ok(Tanada(db))
    }
}

impl Engine for Tanada {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.0.put(key, value)?;
        Ok(())
    }
    fn get(&self, key: &[u8], check: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        if let Some(value) = self.0.get(key)? {
            check(&value);
        }
        Ok(())
    }
    fn scan(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        let mut cursor = self.0.cursor();
        cursor.seek_first()?;
        while let Some((key, value)) = cursor.entry() {
            each(key, value);
            cursor.next()?;
        }
        Ok(())
    }
    fn settle(&self) -> Outcome<()> {
        self.0.flush()?;
        Ok(())
    }
    fn describe(&self) -> String {
        let s = self.0.stats();
        format!(
            "memory {} MiB; write amplification {:.2}; paced {} ms, stopped {} ms; levels {:?}",
            s.memory.budget_bytes >> 20,
            s.amplification.write,
            s.stalls.paced_ns / 1_000_000,
            s.stalls.stopped_ns / 1_000_000,
            s.keyspaces[0].levels.iter().map(|l| (l.runs, l.tables)).collect::<Vec<_>>(),
        )
    }
}

/// Tuned as its wiki's "Setup Options and Basic Tuning" advises: memtables of
/// a quarter of the budget in all, the rest block cache, Bloom filters of 10
/// bits, index and filter blocks in the cache, dynamic level sizes, two jobs.
struct Rocks(rocksdb::DB, u64);

impl Rocks {
    fn open(dir: &Path, memory: u64) -> Outcome<Rocks> {
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        options.set_write_buffer_size((memory / 8) as usize);
        options.set_max_write_buffer_number(3);
        options.set_max_background_jobs(2);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_bytes_per_sync(1 << 20);
        let mut table = rocksdb::BlockBasedOptions::default();
        let cache = (memory - 2 * (memory / 8)) as usize;
        table.set_block_cache(&rocksdb::Cache::new_lru_cache(cache));
        table.set_bloom_filter(10.0, false);
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_format_version(6);
        table.set_data_block_index_type(rocksdb::DataBlockIndexType::BinaryAndHash);
        options.set_block_based_table_factory(&table);
        Ok(Rocks(rocksdb::DB::open(&options, dir)?, memory))
    }
}

impl Engine for Rocks {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        Ok(self.0.put(key, value)?)
    }
    fn get(&self, key: &[u8], check: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        if let Some(value) = self.0.get_pinned(key)? {
            check(&value);
        }
        Ok(())
    }
    fn scan(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        let mut iter = self.0.raw_iterator();
        iter.seek_to_first();
        while let Some((key, value)) = iter.item() {
            each(key, value);
            iter.next();
        }
        Ok(iter.status()?)
    }
    fn settle(&self) -> Outcome<()> {
        Ok(self.0.flush()?)
    }
    fn describe(&self) -> String {
        format!("budget {} MiB: write buffers 2 x 1/8, block cache 3/4", self.1 >> 20)
    }
}

struct Fjall {
    _db: fjall::Database,
    items: fjall::Keyspace,
    memory: u64,
}

impl Fjall {
    fn open(dir: &Path, memory: u64) -> Outcome<Fjall> {
        let db = fjall::Database::builder(dir).cache_size(memory * 3 / 4).open()?;
        let items = db.keyspace("items", || {
            fjall::KeyspaceCreateOptions::default().max_memtable_size(memory / 8)
        })?;
        Ok(Fjall { _db: db, items, memory })
    }
}

impl Engine for Fjall {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        Ok(self.items.insert(key, value)?)
    }
    fn get(&self, key: &[u8], check: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        if let Some(value) = self.items.get(key)? {
            check(&value);
        }
        Ok(())
    }
    fn scan(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        for guard in self.items.iter() {
            let (key, value) = guard.into_inner()?;
            each(&key, &value);
        }
        Ok(())
    }
    fn settle(&self) -> Outcome<()> {
        Ok(self.items.rotate_memtable_and_wait()?)
    }
    fn describe(&self) -> String {
        format!("budget {} MiB: memtable 1/8, cache 3/4, the rest its defaults", self.memory >> 20)
    }
}
