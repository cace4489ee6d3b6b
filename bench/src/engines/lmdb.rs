//! LMDB through heed: a B+tree in a mapped file, one writer at a time.

use crate::data::Key;
use crate::engine::{Durability, Engine, Opening, Outcome, Reader};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, RoTxn, WithTls};

struct Lmdb {
    env: Env<WithTls>,
    items: Database<'static, Bytes, Bytes>,
    settings: Vec<String>,
}

/// Address space, not disk: the file is sparse.
const MAP_BYTES: usize = 32 << 30;

pub fn open(opening: &Opening) -> Outcome<Box<dyn Engine>> {
    let (flags, say) = match opening.durability {
        Durability::Kernel => (
            EnvFlags::NO_SYNC | EnvFlags::WRITE_MAP,
            "MDB_NOSYNC, MDB_WRITEMAP: commits are in the kernel's page cache, and survive a \
             killed process (lmdb.h)",
        ),
        Durability::Device => (EnvFlags::empty(), "default flags: each commit is synced (lmdb.h)"),
    };
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES);
    // SAFETY: these flags weaken what survives a power cut, and nothing else;
    // no other process maps the file, and this one opens it once at a time.
    let env = unsafe { options.flags(flags).open(&opening.dir)? };
    let items = env
        .create_databases_and_commit(env.write_txn()?, |opener, transaction| {
            opener.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
        })?
        .unwrap_commit();
    let settings = vec![
        format!(
            "map of {} GiB; no cache of its own: the kernel's page cache, without bound",
            MAP_BYTES >> 30
        ),
        say.into(),
        "no compression; a write transaction a write or batch; a read transaction a workload, a \
         new one an operation where others write"
            .into(),
    ];
    Ok(Box::new(Lmdb { env, items, settings }))
}

impl Engine for Lmdb {
    fn put(&self, key: &Key, value: &[u8]) -> Outcome<()> {
        let mut transaction = self.env.write_txn()?;
        self.items.put(&mut transaction, key, value)?;
        Ok(transaction.commit()?)
    }

    fn delete(&self, key: &Key) -> Outcome<()> {
        let mut transaction = self.env.write_txn()?;
        self.items.delete(&mut transaction, key)?;
        Ok(transaction.commit()?)
    }

    fn put_batch(&self, pairs: &[(Key, Vec<u8>)]) -> Outcome<()> {
        let mut transaction = self.env.write_txn()?;
        for (key, value) in pairs {
            self.items.put(&mut transaction, key, value)?;
        }
        Ok(transaction.commit()?)
    }

    fn reader(&self) -> Outcome<Box<dyn Reader + '_>> {
        Ok(Box::new(LmdbReader { env: &self.env, items: self.items, transaction: None }))
    }

    fn flush(&self) -> Outcome<()> {
        Ok(self.env.force_sync()?)
    }

    fn settings(&self) -> Vec<String> {
        self.settings.clone()
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}

struct LmdbReader<'a> {
    env: &'a Env<WithTls>,
    items: Database<'static, Bytes, Bytes>,
    transaction: Option<RoTxn<'a, WithTls>>,
}

/// The transaction of the moment, begun when there is none.
macro_rules! moment {
    ($reader:expr) => {
        match &$reader.transaction {
            Some(transaction) => transaction,
            None => $reader.transaction.insert($reader.env.read_txn()?),
        }
    };
}

impl Reader for LmdbReader<'_> {
    fn get(&mut self, key: &Key, see: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let value = self.items.get(moment!(self), key)?;
        if let Some(value) = value {
            see(value);
        }
        Ok(value.is_some())
    }

    fn scan(&mut self, from: &Key, limit: u64, see: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<u64> {
        let range = (std::ops::Bound::Included(&from[..]), std::ops::Bound::Unbounded);
        let mut count = 0;
        for entry in self.items.range(moment!(self), &range)? {
            let (key, value) = entry?;
            see(key, value);
            count += 1;
            if count == limit {
                break;
            }
        }
        Ok(count)
    }

    fn refresh(&mut self) -> Outcome<()> {
        self.transaction = None;
        Ok(())
    }
}
