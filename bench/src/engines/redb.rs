//! redb: a copy-on-write B-tree in one file.

use crate::data::{KEY_BYTES, Key};
use crate::engine::{Durability, Engine, Opening, Outcome, Reader};
use redb::{Database, ReadOnlyTable, ReadableDatabase, TableDefinition, WriteTransaction};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const ITEMS: TableDefinition<'_, &[u8; KEY_BYTES], &[u8]> = TableDefinition::new("items");

struct Redb {
    db: Database,
    durability: Durability,
    commits: AtomicU64,
    settings: Vec<String>,
}

/// Pages that commits of `Durability::None` free come back with the next
/// durable one only: without any, the file grows by every write.
const COMMITS_A_SYNC: u64 = 10_000;

pub fn open(opening: &Opening) -> Outcome<Box<dyn Engine>> {
    let db = Database::builder()
        .set_cache_size(opening.memory as usize)
        .create(opening.dir.join("items.redb"))?;
    let transaction = db.begin_write()?;
    transaction.open_table(ITEMS)?;
    transaction.commit()?;
    let settings = vec![
        format!("cache_size {} MiB", opening.memory >> 20),
        match opening.durability {
            Durability::Kernel => format!(
                "Durability::None, and Immediate every {COMMITS_A_SYNC} commits: weaker than the \
                 others, a killed process loses what came after the last of them (it has nothing \
                 between the two)"
            ),
            Durability::Device => "Durability::Immediate".into(),
        },
        "no compression; a write transaction a write or batch; keys of fixed width".into(),
    ];
    Ok(Box::new(Redb { db, durability: opening.durability, commits: AtomicU64::new(0), settings }))
}

impl Redb {
    fn write(&self, write: impl FnOnce(&WriteTransaction) -> Outcome<()>) -> Outcome<()> {
        let mut transaction = self.db.begin_write()?;
        // Relaxed: a count on its own; write transactions come one by one anyway.
        let commits = self.commits.fetch_add(1, Relaxed);
        if self.durability == Durability::Kernel && commits % COMMITS_A_SYNC != 0 {
            transaction.set_durability(redb::Durability::None)?;
        }
        write(&transaction)?;
        Ok(transaction.commit()?)
    }
}

impl Engine for Redb {
    fn put(&self, key: &Key, value: &[u8]) -> Outcome<()> {
        self.write(|transaction| {
            transaction.open_table(ITEMS)?.insert(key, value)?;
            Ok(())
        })
    }

    fn delete(&self, key: &Key) -> Outcome<()> {
        self.write(|transaction| {
            transaction.open_table(ITEMS)?.remove(key)?;
            Ok(())
        })
    }

    fn put_batch(&self, pairs: &[(Key, Vec<u8>)]) -> Outcome<()> {
        self.write(|transaction| {
            let mut table = transaction.open_table(ITEMS)?;
            for (key, value) in pairs {
                table.insert(key, &value[..])?;
            }
            Ok(())
        })
    }

    fn reader(&self) -> Outcome<Box<dyn Reader + '_>> {
        Ok(Box::new(RedbReader { db: &self.db, table: None }))
    }

    fn flush(&self) -> Outcome<()> {
        Ok(self.db.begin_write()?.commit()?)
    }

    fn settings(&self) -> Vec<String> {
        self.settings.clone()
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.db.close()?)
    }
}

struct RedbReader<'a> {
    db: &'a Database,
    table: Option<ReadOnlyTable<&'static [u8; KEY_BYTES], &'static [u8]>>,
}

impl RedbReader<'_> {
    fn table(&mut self) -> Outcome<&ReadOnlyTable<&'static [u8; KEY_BYTES], &'static [u8]>> {
        if self.table.is_none() {
            self.table = Some(self.db.begin_read()?.open_table(ITEMS)?);
        }
        Ok(self.table.as_ref().expect("just opened"))
    }
}

impl Reader for RedbReader<'_> {
    fn get(&mut self, key: &Key, see: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let value = self.table()?.get(key)?;
        if let Some(value) = &value {
            see(value.value());
        }
        Ok(value.is_some())
    }

    fn scan(&mut self, from: &Key, limit: u64, see: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<u64> {
        let mut count = 0;
        for entry in self.table()?.range::<&Key>(from..)? {
            let (key, value) = entry?;
            see(key.value(), value.value());
            count += 1;
            if count == limit {
                break;
            }
        }
        Ok(count)
    }

    fn refresh(&mut self) -> Outcome<()> {
        self.table = None;
        Ok(())
    }
}
