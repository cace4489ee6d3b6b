//! fjall 3, as its README and the documentation of its builder advise.

use crate::data::Key;
use crate::engine::{Durability, Engine, Opening, Outcome, Reader};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

struct Fjall {
    db: Database,
    items: Keyspace,
    durability: Durability,
    settings: Vec<String>,
}

pub fn open(opening: &Opening) -> Outcome<Box<dyn Engine>> {
    let db = Database::builder(&opening.dir).cache_size(opening.memory).open()?;
    let memtable = opening.memtable();
    let items =
        db.keyspace("items", || KeyspaceCreateOptions::default().max_memtable_size(memtable))?;
    let settings = vec![
        format!(
            "cache_size {} MiB (its builder: 20 to 25 % of memory, more where all fits)",
            opening.memory >> 20
        ),
        format!("max_memtable_size {} MiB", memtable >> 20),
        "all else by default: LZ4, blocks of 4 KiB, journal to the kernel".into(),
        match opening.durability {
            Durability::Kernel => "no persist()".into(),
            Durability::Device => "persist(SyncData) after each write".into(),
        },
    ];
    Ok(Box::new(Fjall { db, items, durability: opening.durability, settings }))
}

impl Fjall {
    fn persist(&self) -> Outcome<()> {
        if self.durability == Durability::Device {
            self.db.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }
}

impl Engine for Fjall {
    fn put(&self, key: &Key, value: &[u8]) -> Outcome<()> {
        self.items.insert(&key[..], value)?;
        self.persist()
    }

    fn delete(&self, key: &Key) -> Outcome<()> {
        self.items.remove(&key[..])?;
        self.persist()
    }

    fn put_batch(&self, pairs: &[(Key, Vec<u8>)]) -> Outcome<()> {
        let mut batch = self.db.batch();
        for (key, value) in pairs {
            batch.insert(&self.items, &key[..], &value[..]);
        }
        batch.commit()?;
        self.persist()
    }

    fn reader(&self) -> Outcome<Box<dyn Reader + '_>> {
        Ok(Box::new(FjallReader(&self.items)))
    }

    fn flush(&self) -> Outcome<()> {
        Ok(self.items.rotate_memtable_and_wait()?)
    }

    fn settings(&self) -> Vec<String> {
        self.settings.clone()
    }

    fn counters(&self) -> String {
        format!(
            "{} tables, {} compactions, {} journals",
            self.items.table_count(),
            self.db.compactions_completed(),
            self.db.journal_count()
        )
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(())
    }
}

struct FjallReader<'a>(&'a Keyspace);

impl Reader for FjallReader<'_> {
    fn get(&mut self, key: &Key, see: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let value = self.0.get(key)?;
        if let Some(value) = &value {
            see(value);
        }
        Ok(value.is_some())
    }

    fn scan(&mut self, from: &Key, limit: u64, see: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<u64> {
        // Its iterators cannot be sought again: a range an operation.
        let mut count = 0;
        for guard in self.0.range(*from..) {
            let (key, value) = guard.into_inner()?;
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
