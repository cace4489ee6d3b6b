//! Checkpoints: each is its moment, whatever the database and the machine go through
//! afterwards; and whatever is done to one, the database is as it was.

use super::compare::check_value;
use super::{MEMORY_BYTES, Runner};
use crate::operation::Cover;
use crate::oracle::{CHECKPOINTS_DIR, Checkpoint, Moment};
use std::path::Path;
use tanada::{CheckpointDir, Db, Result};
use tanada_vfs::{Env, MemoryMachine};

/// Free space that a checkpoint needs to be opened and written to.
const ROOM_BYTES: u64 = 8 << 20;

/// A directory for checkpoints, that is there whatever happens.
pub(super) fn make_room(machine: &MemoryMachine) {
    let fs = machine.env().fs;
    let dir = Path::new(CHECKPOINTS_DIR);
    fs.create_dir_all(dir).and_then(|()| fs.sync_dir(Path::new("/"))).expect("a new name");
}

impl Runner {
    /// Makes a checkpoint, and looks at it as it is now and as a power cut leaves it.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        let (path, gone) = self.oracle.lock().begin_checkpoint();
        let moment = self.moment();
        if let Some(gone) = gone {
            remove(&self.machine, &gone);
        }
        let summary = self.db().checkpoint(&path)?;
        assert_eq!(summary.seqno, moment.seqno, "a checkpoint of another moment");
        let checkpoint = {
            let mut oracle = self.oracle.lock();
            let checkpoint = oracle.checkpoints.last_mut().expect("begun above");
            checkpoint.made = true;
            checkpoint.clone()
        };
        self.check_checkpoint(&checkpoint, &self.machine.crash(self.done));
        self.change_checkpoint(&checkpoint);
        Ok(())
    }

    /// Looks at the newest checkpoint that a life has left, and at what was left of one that
    /// was being made.
    pub(super) fn check_checkpoints(&self) {
        let names = on_bare_machine(&self.machine, |env| {
            // As a server does when it begins.
            CheckpointDir::open(env, CHECKPOINTS_DIR)?;
            Ok(env.fs.read_dir(Path::new(CHECKPOINTS_DIR))?)
        });
        for name in names {
            assert!(!name.name.contains('.'), "{} is left", name.name);
        }
        let newest = self.oracle.lock().checkpoints.last().cloned();
        if let Some(checkpoint) = newest {
            self.check_checkpoint(&checkpoint, &self.machine.kill());
        }
    }

    /// Opens a checkpoint on `machine`, a copy of the runner's own, and reads all of it.
    fn check_checkpoint(&self, checkpoint: &Checkpoint, machine: &MemoryMachine) {
        let env = machine.env();
        let path = Path::new(&checkpoint.path);
        // Removing what was left of one can leave a directory that holds nothing.
        let is_there = env.fs.exists(path).expect("the machine answers")
            && !env.fs.read_dir(path).expect("the machine answers").is_empty();
        if !is_there {
            assert!(!checkpoint.made, "the checkpoint {} is gone", checkpoint.path);
            return;
        }
        // Others may have changed it.
        if env.fs.exists(&Path::new(&checkpoint.path).join("LOCK")).expect("the machine answers") {
            return;
        }
        machine.set_disk_size(u64::MAX);
        machine.set_descriptor_limit(u64::MAX);
        machine.clock().set_wall_ms(self.time.now_ms(&self.machine));
        let db = match self.open_checkpoint(checkpoint, env) {
            Ok(db) => db,
            Err(e) => panic!("the checkpoint {} does not open: {e}", checkpoint.path),
        };
        assert_eq!(
            db.snapshot().seqno().0,
            checkpoint.seqno,
            "the newest write of {}",
            checkpoint.path
        );
        let moment = Moment { seqno: checkpoint.seqno, now_ms: db.now().0 };
        for (n, space) in checkpoint.truth.spaces.iter().enumerate() {
            let found = db.find_keyspace(&space.name).expect("it is open");
            assert!(
                found.is_some() || !space.created,
                "{} is not in {}",
                space.name,
                checkpoint.path
            );
            let Some(keyspace) = found else { continue };
            let mut entries = keyspace.iter().map(|entry| entry.expect("nothing is damaged"));
            for (key, value) in checkpoint.truth.scan(n, &Cover::All, moment) {
                let entry = entries.next();
                let found = entry.as_ref().filter(|(found, _)| **found == key[..]);
                check_value("checkpoint", key, found.map(|(_, value)| &value[..]), Some(value));
            }
            assert!(entries.next().is_none(), "{} has a key too many", checkpoint.path);
        }
        let damage = db.verify().expect("it can be read").damage;
        assert_eq!(damage, Vec::<String>::new());
    }

    /// Writes to the checkpoint on the runner's own machine, as another process would: what
    /// the database answers from here on must be as if nobody had. Every other one, so that
    /// the rest can be looked at again.
    fn change_checkpoint(&self, checkpoint: &Checkpoint) {
        let env = self.machine.env();
        let free = env.fs.free_space(Path::new("/")).unwrap_or(0);
        if checkpoint.seqno.is_multiple_of(2) || free < ROOM_BYTES {
            return;
        }
        on_bare_machine(&self.machine, |env| {
            let db = self.open_checkpoint(checkpoint, env.clone())?;
            for key in checkpoint.truth.spaces[0].keys.keys().take(20) {
                db.put(key, b"of the checkpoint")?;
            }
            db.compact(..)?;
            db.close()
        });
    }

    fn open_checkpoint(&self, checkpoint: &Checkpoint, env: Env) -> Result<Db> {
        let builder = Db::builder(&checkpoint.path).memory(MEMORY_BYTES).threads(1);
        builder.tuning(self.surroundings.tuning).create_if_missing(false).env(env).open()
    }
}

/// Removes a checkpoint from the bare machine.
fn remove(machine: &MemoryMachine, path: &str) {
    let name = path.rsplit('/').next().unwrap_or_default();
    on_bare_machine(machine, |env| CheckpointDir::open(env, CHECKPOINTS_DIR)?.remove(name));
}

/// Does something as another process would, which has as many descriptors as it needs.
fn on_bare_machine<T>(machine: &MemoryMachine, act: impl FnOnce(&Env) -> Result<T>) -> T {
    let env = machine.env();
    let limit = env.fs.descriptor_limit();
    machine.set_descriptor_limit(u64::MAX);
    let done = act(&env);
    machine.set_descriptor_limit(limit.unwrap_or(u64::MAX));
    match done {
        Ok(done) => done,
        Err(e) => panic!("nothing fails on the bare machine: {e}"),
    }
}
