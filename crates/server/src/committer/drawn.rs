//! Drawn groups against a map: plain writes, conditional ones, checks and batches of
//! them all, of every durability, as they come at the same time from many clients.
//!
//! What a group answers and leaves must be what its requests, one after the other,
//! would have; and a power cut leaves what each was promised.

use super::*;
use bytes::Bytes;
use std::collections::BTreeMap;
use tanada::vfs::MemoryMachine;
use tanada::vfs::memory::Dice;
use tanada::{Condition, PutOptions, SeqNo};
use tokio::sync::oneshot;

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
const DURABILITIES: [Durability; 3] =
    [Durability::Memory, Durability::Buffered, Durability::Synced];
const GROUPS: u64 = 12;

/// Keys with their versions.
type Versions = BTreeMap<&'static str, u64>;

struct Drawn {
    dice: Dice,
    versions: Versions,
    seqno: u64,
}

fn database(machine: &MemoryMachine) -> Database {
    let db = Db::builder("/db").memory(16 << 20).env(machine.env()).open().unwrap();
    Database { keyspace: db.default_keyspace().clone(), db }
}

impl Drawn {
    fn op(&mut self) -> (&'static str, Op) {
        let key = KEYS[self.dice.below(KEYS.len() as u64) as usize];
        // A client names versions that somebody has been told, or guesses.
        let known = self.seqno + 1;
        let named = [self.dice.below(known), self.versions.get(key).copied().unwrap_or(0)];
        let named = named[self.dice.below(2) as usize..].iter().copied().map(SeqNo).collect();
        let condition = match self.dice.below(8) {
            0 => Some(Condition::Absent),
            1 => Some(Condition::Present),
            2 => Some(Condition::VersionIn(named)),
            3 => Some(Condition::VersionNotIn(named)),
            _ => None,
        };
        let action = match self.dice.below(6) {
            0 if condition.is_some() => Action::Check,
            0 | 1 => Action::Delete,
            _ => {
                let value = Bytes::from(vec![b'v'; self.dice.below(200) as usize]);
                Action::Put { value, options: PutOptions::new() }
            }
        };
        let conditions = condition.into_iter().collect();
        (key, Op { keyspace: None, key: Bytes::from_static(key.as_bytes()), action, conditions })
    }

    /// What the request must be told, done alone after those before it.
    fn judge(&mut self, ops: &[(&'static str, Op)]) -> Result<Committed, Vec<Failed>> {
        let mut failed = Vec::new();
        for (index, (key, op)) in ops.iter().enumerate() {
            let version = self.versions.get(key).copied();
            let holds = |condition: &Condition| match condition {
                Condition::Absent => version.is_none(),
                Condition::Present => version.is_some(),
                Condition::VersionIn(named) => version.is_some_and(|v| named.contains(&SeqNo(v))),
                Condition::VersionNotIn(named) => {
                    !version.is_some_and(|v| named.contains(&SeqNo(v)))
                }
                other => panic!("{other:?} is not drawn"),
            };
            if !op.conditions.iter().all(holds) {
                failed.push(Failed { index, version });
            }
        }
        if !failed.is_empty() {
            return Err(failed);
        }
        let first = self.seqno + 1;
        for (key, op) in ops.iter().filter(|(_, op)| !matches!(op.action, Action::Check)) {
            self.seqno += 1;
            match op.action {
                Action::Put { .. } => {
                    self.versions.insert(key, self.seqno);
                }
                _ => drop(self.versions.remove(key)),
            }
        }
        Ok(Committed { first, count: self.seqno + 1 - first })
    }
}

fn versions(database: &Database) -> Versions {
    let version = |key| match database.keyspace.get_record(key) {
        Ok(Some(record)) => Some(record.version.0),
        _ => None,
    };
    KEYS.into_iter().filter_map(|key| Some((key, version(key)?))).collect()
}

fn run(seed: u64) {
    let machine = MemoryMachine::new(seed);
    let database = database(&machine);
    let mut drawn = Drawn {
        dice: Dice::new(seed),
        versions: Versions::new(),
        seqno: database.db.snapshot().seqno().0,
    };
    // What is there behind each group; a group is one batch, whole or absent.
    let mut states = vec![Versions::new()];
    let mut synced = 0;
    for _ in 0..GROUPS {
        let (mut group, mut wanted) = (Vec::new(), Vec::new());
        let requests = 1 + drawn.dice.below(10);
        // All that they name was told before the first of them is judged.
        let mut all: Vec<(Vec<_>, Durability)> = Vec::new();
        for _ in 0..requests {
            let count = if drawn.dice.chance(600) { 1 } else { drawn.dice.below(6) };
            let durability = DURABILITIES[drawn.dice.below(3) as usize];
            all.push(((0..count).map(|_| drawn.op()).collect(), durability));
        }
        let mut asked = None;
        for (ops, durability) in all {
            let told = drawn.judge(&ops);
            if told.as_ref().is_ok_and(|told| told.count > 0) {
                asked = asked.max(Some(durability));
            }
            let mut ops: Vec<Op> = ops.into_iter().map(|(_, op)| op).collect();
            let ops = match ops.pop() {
                Some(op) if ops.is_empty() => Ops::One(op),
                last => Ops::Many(ops.into_iter().chain(last).collect()),
            };
            let (answer, receiver) = oneshot::channel();
            group.push(WriteRequest { ops, durability, share: None, answer });
            wanted.push((told, receiver));
        }
        commit(&mut group, &database);
        for (wanted, mut receiver) in wanted {
            match (receiver.try_recv().expect("answered"), wanted) {
                (Ok(told), Ok(wanted)) if wanted.count == 0 => assert_eq!(told.count, 0),
                (Ok(told), Ok(wanted)) => assert_eq!(told, wanted),
                (Err(WriteError::Conditions(failed)), Err(wanted)) => assert_eq!(failed, wanted),
                (told, wanted) => panic!("told {told:?}, and {wanted:?} is right"),
            }
        }
        assert_eq!(versions(&database), drawn.versions);
        states.push(drawn.versions.clone());
        if asked == Some(Durability::Synced) {
            synced = states.len() - 1;
        }
    }
    for cut in 0..3 {
        let left = versions(&self::database(&machine.crash(seed ^ cut)));
        assert!(states[synced..].contains(&left), "{left:?}, synced: {:?}", states[synced]);
    }
}

#[test]
fn drawn_groups_answer_and_leave_what_their_requests_would_one_by_one() {
    for seed in 0..200 {
        println!("seed {seed}");
        run(seed);
    }
}
