//! What changes no answer: flushes, compactions, reopenings; and what must hold the same
//! contents elsewhere: checkpoints and repaired databases.

use super::{Driver, Open};
use crate::call;
use crate::oracle::View;
use std::path::Path;
use tanada::{
    Builder, CheckpointDir, Db, Durability, Error, Iter, Keyspace, MemoryClaim, Result, repair,
};
use tanada_sim::operation::{Cover, Range};

impl Driver {
    pub(super) fn flush(&self, space: Option<usize>) -> Result<()> {
        match space {
            None => call!(Db::flush(self.db())),
            Some(space) => call!(Keyspace::flush(self.keyspace(self.space(space)))),
        }
    }

    pub(super) fn compact(&self, space: usize, range: &Range) -> Result<()> {
        let space = self.space(space);
        match self.shortcut(space) {
            Some(db) => call!(Db::compact(db, range.clone())).map(drop),
            None => call!(Keyspace::compact(self.keyspace(space), range.clone())).map(drop),
        }
    }

    pub(super) fn verify(&self) -> Result<()> {
        let report = call!(Db::verify(self.db()))?;
        assert_eq!(report.damage, Vec::<String>::new(), "damage");
        Ok(())
    }

    pub(super) fn trust_clock(&self) -> Result<()> {
        let clock = call!(Db::trust_clock(self.db()))?;
        assert_eq!(clock.wall_ms, self.machine.now_ms(), "the clock in the statistics");
        Ok(())
    }

    pub(super) fn claim(&self, bytes: u64) -> Result<()> {
        let before = call!(Db::stats(self.db())).memory.claimed_bytes;
        let mut claim = call!(Db::claim_memory(self.db(), bytes))?;
        call!(MemoryClaim::grow(&mut claim, bytes))?;
        assert_eq!(call!(MemoryClaim::bytes(&claim)), 2 * bytes, "bytes claimed");
        call!(MemoryClaim::shrink(&mut claim, bytes));
        let during = call!(Db::stats(self.db())).memory.claimed_bytes;
        assert_eq!(during, before + bytes, "bytes claimed of the database");
        drop(claim);
        assert_eq!(call!(Db::stats(self.db())).memory.claimed_bytes, before, "bytes given back");
        Ok(())
    }

    /// Ends the life of the handles, by a close or by dropping them.
    fn go_down(&mut self, closes: bool) -> Result<()> {
        let Some(Open { iters, cursors, snapshots, spaces, db }) = self.open.take() else {
            return Ok(());
        };
        drop((iters, cursors, snapshots));
        if !closes {
            return Ok(());
        }
        call!(Db::close(&db))?;
        call!(Db::close(&db))?;
        for space in spaces {
            match call!(Keyspace::get(&space, "k")) {
                Err(Error::Closed) => {}
                other => panic!("a closed database answers {other:?}"),
            }
        }
        Ok(())
    }

    pub(super) fn reopen(&mut self, closes: bool, durability: Durability) -> Result<()> {
        self.go_down(closes)?;
        self.settings.durability = durability;
        self.open();
        Ok(())
    }

    pub(super) fn checkpoint(&mut self) -> Result<()> {
        let env = self.machine.env();
        let place = self.machine.path("checkpoints");
        env.fs.create_dir_all(&place)?;
        let checkpoints = call!(CheckpointDir::open(&env, &place))?;
        assert_eq!(call!(CheckpointDir::path(&checkpoints)), place);
        let name = self.next_name("checkpoint");
        let path = call!(CheckpointDir::place(&checkpoints, &name))?;
        let view = self.view();
        let summary = call!(Db::checkpoint(self.db(), &path))?;
        assert_eq!(summary.seqno, self.newest, "a checkpoint's moment");
        assert_eq!(summary.keyspaces, self.names.len() as u64, "a checkpoint's keyspaces");
        let listed = call!(CheckpointDir::list(&checkpoints))?;
        assert!(listed.iter().any(|entry| entry.name == name), "{name} is not listed");
        self.check_elsewhere("a checkpoint", &path, &view)?;
        assert!(call!(CheckpointDir::remove(&checkpoints, &name))?, "{name} was removed");
        assert!(!call!(CheckpointDir::remove(&checkpoints, &name))?, "{name} is still there");
        Ok(())
    }

    pub(super) fn repair(&mut self) -> Result<()> {
        let view = self.view();
        self.go_down(true)?;
        let (env, path) = (self.machine.env(), self.machine.path(&self.made.to_string()));
        self.made += 1;
        let report = repair(&env, self.machine.path("db"), &path)?;
        assert!(report.lost.is_empty(), "lost: {:?}", report.lost);
        assert_eq!(report.doubtful, 0, "keys that a repair left out");
        self.check_elsewhere("a repaired database", &path, &view)?;
        for file in env.fs.read_dir(&path)? {
            env.fs.remove(&path.join(file.name))?;
        }
        env.fs.remove_dir(&path)?;
        self.open();
        Ok(())
    }

    fn next_name(&mut self, what: &str) -> String {
        self.made += 1;
        format!("{what}-{}", self.made)
    }

    /// Another database holds what `view` shows, records and all.
    fn check_elsewhere(&self, what: &str, path: &Path, view: &View) -> Result<()> {
        let builder = call!(Builder::env(call!(Db::builder(path)), self.machine.env()));
        let builder = call!(Builder::memory(builder, self.settings.memory_bytes));
        let db = call!(Builder::open(call!(Builder::create_if_missing(builder, false))))?;
        for (space, name) in self.names.iter().enumerate() {
            let keyspace = call!(Db::find_keyspace(&db, name))?;
            let Some(keyspace) = keyspace else {
                // A repair finds keyspaces by their tables and logs.
                assert!(view.scan(space, &Cover::All).next().is_none(), "{what}: {name} is gone");
                continue;
            };
            let mut records = call!(Iter::records(call!(Keyspace::iter(&keyspace))));
            for (key, entry) in view.scan(space, &Cover::All) {
                let record = records.next().transpose()?;
                let found = record.as_ref().map(super::reads::borrowed);
                super::compare::check_record(what, found, Some((&key, &entry)));
            }
            assert!(records.next().is_none(), "{what} has a key too many");
        }
        call!(Db::close(&db))
    }
}
