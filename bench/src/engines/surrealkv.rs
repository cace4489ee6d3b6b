//! SurrealKV: an LSM tree with an asynchronous commit.

use crate::data::Key;
use crate::engine::{Durability, Engine, Opening, Outcome, Reader};
use surrealkv::{LSMIterator, Mode, Transaction, Tree, TreeBuilder};
use tokio::runtime::Runtime;

struct Surreal {
    tree: Tree,
    runtime: Runtime,
    durability: surrealkv::Durability,
    settings: Vec<String>,
}

pub fn open(opening: &Opening) -> Outcome<Box<dyn Engine>> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let tree = {
        let _inside = runtime.enter();
        TreeBuilder::new()
            .with_path(opening.dir.clone())
            .with_block_cache_capacity(opening.memory)
            .build()?
    };
    let durability = match opening.durability {
        Durability::Kernel => surrealkv::Durability::Eventual,
        Durability::Device => surrealkv::Durability::Immediate,
    };
    let settings = vec![
        format!("block cache {} MiB", opening.memory >> 20),
        format!("Durability::{durability:?}; a transaction a write or batch"),
        "all else by default: memtable 100 MB, blocks of 64 KiB, no value log, no compression (it \
         has Snappy and zstd)"
            .into(),
    ];
    Ok(Box::new(Surreal { tree, runtime, durability, settings }))
}

impl Surreal {
    fn write(&self, write: impl FnOnce(&mut Transaction) -> Outcome<()>) -> Outcome<()> {
        let mut transaction = self.tree.begin_with_mode(Mode::WriteOnly)?;
        transaction.set_durability(self.durability);
        write(&mut transaction)?;
        Ok(self.runtime.block_on(transaction.commit())?)
    }
}

impl Engine for Surreal {
    fn put(&self, key: &Key, value: &[u8]) -> Outcome<()> {
        self.write(|transaction| Ok(transaction.set(key, value)?))
    }

    fn delete(&self, key: &Key) -> Outcome<()> {
        self.write(|transaction| Ok(transaction.delete(key)?))
    }

    fn put_batch(&self, pairs: &[(Key, Vec<u8>)]) -> Outcome<()> {
        self.write(|transaction| {
            for (key, value) in pairs {
                transaction.set(key, &value[..])?;
            }
            Ok(())
        })
    }

    fn reader(&self) -> Outcome<Box<dyn Reader + '_>> {
        Ok(Box::new(SurrealReader { tree: &self.tree, transaction: None }))
    }

    fn flush(&self) -> Outcome<()> {
        // It has no verb that flushes the memtable.
        Ok(self.tree.flush_wal(true)?)
    }

    fn settings(&self) -> Vec<String> {
        self.settings.clone()
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.runtime.block_on(self.tree.close())?)
    }
}

struct SurrealReader<'a> {
    tree: &'a Tree,
    transaction: Option<Transaction>,
}

impl SurrealReader<'_> {
    fn transaction(&mut self) -> Outcome<&Transaction> {
        if self.transaction.is_none() {
            self.transaction = Some(self.tree.begin_with_mode(Mode::ReadOnly)?);
        }
        Ok(self.transaction.as_ref().expect("just begun"))
    }
}

impl Reader for SurrealReader<'_> {
    fn get(&mut self, key: &Key, see: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let value = self.transaction()?.get(key)?;
        if let Some(value) = &value {
            see(value);
        }
        Ok(value.is_some())
    }

    fn scan(&mut self, from: &Key, limit: u64, see: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<u64> {
        let mut entries = self.transaction()?.scan(&from[..]..)?;
        let mut valid = entries.seek_first()?;
        let mut count = 0;
        while valid && count < limit {
            see(entries.key().user_key(), &entries.value_ref()?);
            count += 1;
            if count < limit {
                valid = entries.next()?;
            }
        }
        Ok(count)
    }

    fn refresh(&mut self) -> Outcome<()> {
        self.transaction = None;
        Ok(())
    }
}
