//! Tanada, as any user gets it: budget and durability are the only settings.

use crate::data::Key;
use crate::engine::{Accountant, Accounted, Durability, Engine, Opening, Outcome, Reader};
use tanada::{Batch, Cursor, Db};

struct Tanada(Db);

pub fn open(opening: &Opening) -> Outcome<Box<dyn Engine>> {
    let durability = match opening.durability {
        Durability::Kernel => tanada::Durability::Buffered,
        Durability::Device => tanada::Durability::Synced,
    };
    let db = Db::builder(&opening.dir).memory(opening.memory).durability(durability).open()?;
    Ok(Box::new(Tanada(db)))
}

impl Engine for Tanada {
    fn put(&self, key: &Key, value: &[u8]) -> Outcome<()> {
        self.0.put(key, value)?;
        Ok(())
    }

    fn delete(&self, key: &Key) -> Outcome<()> {
        self.0.delete(key)?;
        Ok(())
    }

    fn put_batch(&self, pairs: &[(Key, Vec<u8>)]) -> Outcome<()> {
        let mut batch = Batch::new();
        for (key, value) in pairs {
            batch.put(key, value);
        }
        self.0.write(batch)?;
        Ok(())
    }

    fn reader(&self) -> Outcome<Box<dyn Reader + '_>> {
        Ok(Box::new(TanadaReader { db: &self.0, cursor: None }))
    }

    fn flush(&self) -> Outcome<()> {
        Ok(self.0.flush()?)
    }

    fn settings(&self) -> Vec<String> {
        let stats = self.0.stats();
        vec![
            format!("memory {} MiB, in which all must fit", stats.memory.budget_bytes >> 20),
            format!("durability {:?}", stats.durability),
            "all else by default (LZ4)".into(),
        ]
    }

    fn counters(&self) -> String {
        let s = self.0.stats();
        format!(
            "memory used {} of {} MiB (memtables {}, rows {}, blocks {}, tables {}, jobs {}); \
             own write amplification {:.2}; paced {} ms, stopped {} ms; compacted {} MiB in {} \
             jobs, which waited {} ms for readers; (runs, tables) {:?}",
            s.memory.used_bytes >> 20,
            s.memory.budget_bytes >> 20,
            s.memory.memtable_bytes >> 20,
            s.memory.row_cache_bytes >> 20,
            s.memory.block_cache_bytes >> 20,
            s.memory.table_bytes >> 20,
            s.memory.job_bytes >> 20,
            s.amplification.write,
            s.stalls.paced_ns / 1_000_000,
            s.stalls.stopped_ns / 1_000_000,
            s.compaction.bytes_written >> 20,
            s.compaction.jobs,
            s.compaction.yielded_ns / 1_000_000,
            s.keyspaces[0].levels.iter().map(|l| (l.runs, l.tables)).collect::<Vec<_>>(),
        )
    }

    fn accountant(&self) -> Option<Accountant> {
        let db = self.0.clone();
        Some(Box::new(move || {
            let memory = db.stats().memory;
            Accounted {
                bytes: memory.used_bytes,
                parts: vec![
                    ("memtables", memory.memtable_bytes),
                    ("rows", memory.row_cache_bytes),
                    ("blocks", memory.block_cache_bytes),
                    ("tables", memory.table_bytes),
                    ("jobs", memory.job_bytes),
                    ("pool", memory.pooled_bytes),
                    ("queue", memory.queue_bytes),
                    ("readers", memory.reader_bytes),
                    ("blocks not listed (in none of these)", memory.block_cache_unlisted_bytes),
                ],
            }
        }))
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.0.close()?)
    }
}

struct TanadaReader<'a> {
    db: &'a Db,
    /// Made by the first scan of a moment and sought again by the next.
    cursor: Option<Cursor>,
}

impl Reader for TanadaReader<'_> {
    fn get(&mut self, key: &Key, see: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let value = self.db.get(key)?;
        if let Some(value) = &value {
            see(value);
        }
        Ok(value.is_some())
    }

    fn scan(&mut self, from: &Key, limit: u64, see: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<u64> {
        let cursor = self.cursor.get_or_insert_with(|| self.db.cursor());
        cursor.seek(from)?;
        let mut count = 0;
        while count < limit
            && let Some((key, value)) = cursor.entry()
        {
            see(key, value);
            count += 1;
            if count < limit {
                cursor.next()?;
            }
        }
        Ok(count)
    }

    fn refresh(&mut self) -> Outcome<()> {
        self.cursor = None;
        Ok(())
    }
}
