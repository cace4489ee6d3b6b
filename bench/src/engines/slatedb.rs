//! SlateDB on a local directory as its object store. It is made for remote
//! ones: read its figures as those of its code, not of what it is for.

use crate::data::Key;
use crate::engine::{Durability, Engine, Opening, Outcome, Reader};
use slatedb::config::{CompressionCodec, FlushOptions, FlushType, Settings};
use slatedb::db_cache::foyer::{FoyerCache, FoyerCacheOptions};
use slatedb::object_store::local::LocalFileSystem;
use slatedb::{Db, WriteBatch};
use std::sync::Arc;
use tokio::runtime::Runtime;

struct Slate {
    db: Db,
    runtime: Runtime,
    durability: Durability,
    settings: Vec<String>,
}

pub fn open(opening: &Opening) -> Outcome<Box<dyn Engine>> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let store = Arc::new(LocalFileSystem::new_with_prefix(&opening.dir)?);
    let cache = FoyerCache::new_with_opts(FoyerCacheOptions {
        max_capacity: opening.memory,
        ..FoyerCacheOptions::default()
    });
    let options =
        Settings { compression_codec: Some(CompressionCodec::Lz4), ..Settings::default() };
    let db = runtime.block_on(async {
        Db::builder("items", store)
            .with_settings(options)
            .with_db_cache(Arc::new(cache), 0)
            .build()
            .await
    })?;
    let settings = vec![
        format!("Foyer block cache {} MiB; LZ4; a runtime of 2 threads", opening.memory >> 20),
        match opening.durability {
            Durability::Kernel => "log on, not awaited, flushed every 100 ms (default): weaker \
                                   than the others, a killed process loses as much"
                .into(),
            Durability::Device => "await_durable() after each write, with the log flushed every \
                                   100 ms (default)"
                .into(),
        },
        "all else by default".into(),
    ];
    Ok(Box::new(Slate { db, runtime, durability: opening.durability, settings }))
}

impl Slate {
    fn written(
        &self,
        write: impl Future<Output = Result<slatedb::WriteHandle, slatedb::Error>>,
    ) -> Outcome<()> {
        self.runtime.block_on(async {
            let handle = write.await?;
            if self.durability == Durability::Device {
                handle.await_durable().await?;
            }
            Ok(())
        })
    }
}

impl Engine for Slate {
    fn put(&self, key: &Key, value: &[u8]) -> Outcome<()> {
        self.written(self.db.put(key, value))
    }

    fn delete(&self, key: &Key) -> Outcome<()> {
        self.written(self.db.delete(key))
    }

    fn put_batch(&self, pairs: &[(Key, Vec<u8>)]) -> Outcome<()> {
        let mut batch = WriteBatch::new();
        for (key, value) in pairs {
            batch.put(key, value);
        }
        self.written(self.db.write(batch))
    }

    fn reader(&self) -> Outcome<Box<dyn Reader + '_>> {
        Ok(Box::new(SlateReader(self)))
    }

    fn flush(&self) -> Outcome<()> {
        let options = FlushOptions { flush_type: FlushType::MemTable, ..Default::default() };
        Ok(self.runtime.block_on(self.db.flush_with_options(options))?)
    }

    fn settings(&self) -> Vec<String> {
        self.settings.clone()
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.runtime.block_on(self.db.close())?)
    }
}

struct SlateReader<'a>(&'a Slate);

impl Reader for SlateReader<'_> {
    fn get(&mut self, key: &Key, see: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let value = self.0.runtime.block_on(self.0.db.get(key))?;
        if let Some(value) = &value {
            see(value);
        }
        Ok(value.is_some())
    }

    fn scan(&mut self, from: &Key, limit: u64, see: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<u64> {
        self.0.runtime.block_on(async {
            let mut entries = self.0.db.scan(&from[..]..).await?;
            let mut count = 0;
            while count < limit
                && let Some(entry) = entries.next().await?
            {
                see(&entry.key, &entry.value);
                count += 1;
            }
            Ok(count)
        })
    }

    fn refresh(&mut self) -> Outcome<()> {
        Ok(())
    }
}
