//! sled 0.34, the newest release that is not a preview.

use crate::data::Key;
use crate::engine::{Durability, Engine, Opening, Outcome, Reader};
use sled::{Batch, Db, Mode};

struct Sled {
    db: Db,
    durability: Durability,
    settings: Vec<String>,
}

pub fn open(opening: &Opening) -> Outcome<Box<dyn Engine>> {
    let db = sled::Config::new()
        .path(&opening.dir)
        .cache_capacity(opening.memory)
        .mode(Mode::HighThroughput)
        .open()?;
    let settings = vec![
        format!("cache_capacity {} MiB, Mode::HighThroughput", opening.memory >> 20),
        "no compression (it has zstd only)".into(),
        match opening.durability {
            Durability::Kernel => "flush_every_ms 500 (default): weaker than the others, a killed \
                                   process loses up to half a second"
                .into(),
            Durability::Device => "flush() after each write".into(),
        },
    ];
    Ok(Box::new(Sled { db, durability: opening.durability, settings }))
}

impl Sled {
    fn written(&self) -> Outcome<()> {
        if self.durability == Durability::Device {
            self.db.flush()?;
        }
        Ok(())
    }
}

impl Engine for Sled {
    fn put(&self, key: &Key, value: &[u8]) -> Outcome<()> {
        self.db.insert(key, value)?;
        self.written()
    }

    fn delete(&self, key: &Key) -> Outcome<()> {
        self.db.remove(key)?;
        self.written()
    }

    fn put_batch(&self, pairs: &[(Key, Vec<u8>)]) -> Outcome<()> {
        let mut batch = Batch::default();
        for (key, value) in pairs {
            batch.insert(&key[..], &value[..]);
        }
        self.db.apply_batch(batch)?;
        self.written()
    }

    fn reader(&self) -> Outcome<Box<dyn Reader + '_>> {
        Ok(Box::new(SledReader(&self.db)))
    }

    fn flush(&self) -> Outcome<()> {
        self.db.flush()?;
        Ok(())
    }

    fn settings(&self) -> Vec<String> {
        self.settings.clone()
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.flush()
    }
}

struct SledReader<'a>(&'a Db);

impl Reader for SledReader<'_> {
    fn get(&mut self, key: &Key, see: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let value = self.0.get(key)?;
        if let Some(value) = &value {
            see(value);
        }
        Ok(value.is_some())
    }

    fn scan(&mut self, from: &Key, limit: u64, see: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<u64> {
        let mut count = 0;
        for entry in self.0.range(*from..) {
            let (key, value) = entry?;
            see(&key, &value);
            count += 1;
            if count == limit {
                break;
            }
        }
        Ok(count)
    }

    fn refresh(&mut self) -> Outcome<()> {
        Ok(())
    }
}
