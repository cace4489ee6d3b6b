//! Commit groups whose members differ in everything: what they ask to survive, how
//! many writes they have and in which keyspaces, how long they are; with a call that
//! fails, and the power cut before each change of the disk.
//!
//! A group is made by hand, without threads: its followers are put into the queue as
//! [`Core::submit`] would, then the leader commits and takes them in. So the same
//! members are the same group in every run.
//!
//! The rule is the same whatever is drawn: every acknowledged member holds what its
//! own durability promises, none is there in part, what is there is a prefix of the
//! commit order, every write has its own sequence number, and each member is told its
//! own. A member whose conditions do not hold in its turn is told so and writes nothing.

mod conditions;

use crate::core::Core;
use crate::core::queue::{Turn, Waiter};
use crate::types::error::Result;
use crate::{Batch, Db, Durability, Error, Keyspace, KeyspaceOptions};
use conditions::{Expected, Question};
use std::collections::BTreeMap;
use std::sync::Arc;
use tanada_format::{SeqNo, awkward_keys};
use tanada_vfs::MemoryMachine;
use tanada_vfs::fault::{EIO, ENOSPC, Faults, Op, Rule};
use tanada_vfs::memory::Dice;
use tanada_vfs::sync::Mutex;

const SPACES: [&str; 3] = ["default", "second", "third"];
const DURABILITIES: [Durability; 3] =
    [Durability::Memory, Durability::Buffered, Durability::Synced];
const POWER_CUTS: u64 = 2;

/// A value by its length and the number that fills it, 0 where that has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fill {
    len: usize,
    stamp: u32,
}

impl Fill {
    fn new(len: usize, stamp: u32) -> Fill {
        Fill { len, stamp: if len < 4 { 0 } else { stamp } }
    }

    fn bytes(self) -> Vec<u8> {
        let mut bytes = self.stamp.to_le_bytes().repeat(self.len.div_ceil(4));
        bytes.truncate(self.len);
        bytes
    }
}

#[derive(Clone, Debug)]
struct Write {
    space: usize,
    key: Vec<u8>,
    /// `None` deletes.
    value: Option<Fill>,
}

/// What one writer wants.
#[derive(Clone, Debug)]
struct Member {
    conditions: Vec<Question>,
    writes: Vec<Write>,
    durability: Durability,
}

impl Member {
    fn is_empty(&self) -> bool {
        self.conditions.is_empty() && self.writes.is_empty()
    }
}

/// The call that fails while a group is committed.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Append(i32),
    ShortAppend(usize),
    Sync,
    /// It is done, and said to have failed.
    DoneSync,
}

const FAILURES: [Failure; 5] = [
    Failure::Append(EIO),
    Failure::Append(ENOSPC),
    Failure::ShortAppend(40),
    Failure::Sync,
    Failure::DoneSync,
];

impl Failure {
    fn rule(self) -> Rule {
        let rule = match self {
            Failure::Append(errno) => Rule::fail(errno).on(Op::LogAppend),
            Failure::ShortAppend(bytes) => Rule::short_write(bytes, EIO).on(Op::LogAppend),
            Failure::Sync => Rule::fail(EIO).on(Op::LogSync),
            Failure::DoneSync => Rule::apply_and_fail(EIO).on(Op::LogSync),
        };
        rule.nth(1)
    }
}

/// By keyspace and key: what a reader sees, with its sequence number.
type Contents = BTreeMap<(usize, Vec<u8>), (Fill, u64)>;

/// What a successor of this machine may find.
struct Cut {
    machine: MemoryMachine,
    what: String,
    /// Members that must be there, and those that may be.
    promised: usize,
    begun: usize,
}

/// How many members, from the first, …
#[derive(Default)]
struct Told {
    /// … have been given to a commit,
    begun: usize,
    /// … have been promised to survive a kill,
    buffered: usize,
    /// … and a power cut.
    synced: usize,
    cuts: Vec<Cut>,
}

/// A database on a machine that is cut before each of its changes.
struct Rig {
    machine: MemoryMachine,
    faults: Faults,
    db: Db,
    spaces: [Keyspace; 3],
    /// What is there once so many members are.
    states: Vec<(Contents, SeqNo)>,
    /// Of each member.
    expected: Vec<Expected>,
    /// Members that were told that all is well, or what of their conditions does not hold.
    acknowledged: usize,
    told: Arc<Mutex<Told>>,
    failed: bool,
}

impl Core {
    /// A batch in the queue, as if its writer had come while another led.
    fn line_up_by_hand(&self, batch: &mut Batch, durability: Durability) -> Option<Arc<Waiter>> {
        let mut prepared = self.prepare(batch, Some(durability)).unwrap()?;
        Some(self.wait_in_line(&mut self.commit.queue.lock(), prepared.own()))
    }

    /// A batch at the head of a group, though it could be refused before.
    fn lead_by_hand(&self, batch: &mut Batch, durability: Durability) -> Result<SeqNo> {
        let prepared = self.prepare(batch, Some(durability))?.expect("it is not empty");
        let answer = self.submit(prepared);
        self.run_inline();
        answer
    }

    /// Goes on as that writer would: it has been answered by now, or it leads.
    fn come_out(&self, waiter: &Waiter) -> Result<SeqNo> {
        assert!(!matches!(*waiter.turn.lock(), Turn::Waiting), "nobody thinks of this writer");
        match waiter.wait() {
            Some(answer) => answer,
            None => self.lead(waiter.request.borrow()),
        }
    }
}

fn open(machine: &MemoryMachine, faults: &Faults) -> (Db, [Keyspace; 3]) {
    let builder = Db::builder("/db").memory(32 << 20).env(faults.env(&machine.env()));
    let db = builder.open().unwrap();
    let space = |name| match name {
        "default" => db.default_keyspace().clone(),
        name => db.keyspace(name, KeyspaceOptions::new()).unwrap(),
    };
    let spaces = SPACES.map(space);
    (db, spaces)
}

fn contents(spaces: &[Keyspace; 3]) -> Contents {
    let mut contents = Contents::new();
    for (space, keyspace) in spaces.iter().enumerate() {
        for entry in keyspace.iter() {
            let (key, value) = entry.unwrap();
            let record = keyspace.get_record(&key).unwrap().expect("the walk has it");
            assert_eq!(*record.value, *value);
            let stamp = value.first_chunk().map_or(0, |stamp| u32::from_le_bytes(*stamp));
            let fill = Fill::new(value.len(), stamp);
            assert_eq!(*value, *fill.bytes(), "a value is whole");
            contents.insert((space, key.to_vec()), (fill, record.version.0));
        }
    }
    contents
}

/// The first entry that one has and the other has not.
fn difference(found: &Contents, wanted: &Contents) -> String {
    let of = |which: &str, entries: &Contents, others: &Contents| {
        let (at, what) = entries.iter().find(|(at, what)| others.get(*at) != Some(*what))?;
        let key = at.1[..at.1.len().min(40)].escape_ascii();
        Some(format!("{which}: {key} ({} bytes) in {}: {what:?}", at.1.len(), SPACES[at.0]))
    };
    let parts = [of("found", found, wanted), of("wanted", wanted, found)];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

impl Rig {
    fn new(seed: u64) -> Rig {
        let machine = MemoryMachine::new(seed);
        let faults = Faults::over_memory(&machine);
        let (db, spaces) = open(&machine, &faults);
        let first = db.write(Batch::new()).unwrap();
        let told = Arc::new(Mutex::new(Told::default()));
        let (seen, at) = (Arc::clone(&told), machine.clone());
        faults.before_each_change(move |n, call| {
            let mut told = seen.lock();
            let (begun, synced, buffered) = (told.begun, told.synced, told.buffered);
            for cut in 0..POWER_CUTS {
                let machine = at.crash(seed ^ n << 8 ^ cut);
                let what = format!("power cut {cut} before {call}");
                told.cuts.push(Cut { machine, what, promised: synced, begun });
            }
            let what = format!("killed before {call}");
            told.cuts.push(Cut { machine: at.kill(), what, promised: buffered, begun });
        });
        let (states, expected) = (vec![(Contents::new(), first)], Vec::new());
        Rig { machine, faults, db, spaces, states, expected, acknowledged: 0, told, failed: false }
    }

    fn batch(&self, member: &Member, expected: &Expected) -> Batch {
        let mut batch = Batch::new();
        for (space, key, condition) in &expected.conditions {
            batch.check_in(&self.spaces[*space], key, condition.clone());
        }
        for Write { space, key, value } in &member.writes {
            match value {
                Some(fill) => batch.put_in(&self.spaces[*space], key, fill.bytes()),
                None => batch.delete_in(&self.spaces[*space], key),
            }
        }
        batch
    }

    /// Commits these members as one group, if it can hold them all. The first leads.
    fn commit(&mut self, members: &[Member], failure: Option<Failure>) {
        let core = Arc::clone(self.db.default_keyspace().core());
        for empty in members.iter().filter(|member| member.is_empty()) {
            let visible = core.commit(&mut Batch::new(), Some(empty.durability));
            assert_eq!(visible.ok(), (!self.failed).then(|| self.states[self.acknowledged].1));
        }
        let members: Vec<_> = members.iter().filter(|member| !member.is_empty()).collect();
        let Some((leader, followers)) = members.split_first() else { return };
        let first = self.expected.len();
        members.iter().for_each(|member| self.expect(member));
        let expected = self.expected[first..].to_vec();
        self.told.lock().begun += members.len();
        if let Some(failure) = failure {
            self.faults.add(failure.rule());
        }
        let line_up = |(m, expected): (&&Member, &Expected)| {
            core.line_up_by_hand(&mut self.batch(m, expected), m.durability).expect("not empty")
        };
        let line: Vec<_> = followers.iter().zip(&expected[1..]).map(line_up).collect();
        let before = self.acknowledged;
        let mut batch = self.batch(leader, &expected[0]);
        self.answered(leader, core.lead_by_hand(&mut batch, leader.durability));
        for (member, waiter) in followers.iter().zip(line) {
            self.answered(member, core.come_out(&waiter));
        }
        self.faults.clear();

        let written = members
            .iter()
            .zip(&expected)
            .filter(|(member, expected)| expected.failed.is_empty() && !member.writes.is_empty());
        let syncs = written.clone().any(|(member, _)| member.durability == Durability::Synced);
        let failure = failure.filter(|_| written.count() > 0);
        match failure {
            Some(Failure::Append(_) | Failure::ShortAppend(_)) => {
                assert_eq!(self.acknowledged, before, "nothing was appended");
            }
            Some(Failure::Sync | Failure::DoneSync) => {
                assert_eq!(self.failed, syncs, "who asks for a sync hears of its failure");
            }
            None => assert!(!self.failed),
        }
        let queue = core.commit.queue.lock();
        assert!(!queue.led && queue.pending.is_empty() && queue.bytes == 0);
        drop(queue);
        let (visible, wanted) = (contents(&self.spaces), &self.states[self.acknowledged].0);
        assert!(visible == *wanted, "visible: {}", difference(&visible, wanted));
        let cuts = std::mem::take(&mut self.told.lock().cuts);
        cuts.into_iter().for_each(|cut| self.check(&cut));
    }

    /// What is there once this member is, too.
    fn expect(&mut self, member: &Member) {
        let (mut contents, mut seqno) = self.states.last().cloned().expect("the first is empty");
        let expected = Expected::of(member, &contents);
        let writes = if expected.failed.is_empty() { &member.writes[..] } else { &[] };
        self.expected.push(expected);
        for Write { space, key, value } in writes {
            seqno = seqno.plus(1);
            match value {
                Some(fill) => contents.insert((*space, key.clone()), (*fill, seqno.0)),
                None => contents.remove(&(*space, key.clone())),
            };
        }
        self.states.push((contents, seqno));
    }

    /// The next member in line has its answer.
    fn answered(&mut self, member: &Member, answer: Result<SeqNo>) {
        match answer {
            Ok(last) => {
                assert!(!self.failed, "behind a failure nothing is acknowledged");
                self.expected[self.acknowledged].assert_holds();
                self.acknowledged += 1;
                assert_eq!(last, self.states[self.acknowledged].1, "its own sequence number");
                if member.writes.is_empty() {
                    return; // nothing is promised
                }
                let mut told = self.told.lock();
                if member.durability >= Durability::Buffered {
                    told.buffered = self.acknowledged;
                }
                if member.durability == Durability::Synced {
                    told.synced = self.acknowledged;
                }
            }
            Err(Error::Conflict(conflict)) => {
                assert!(!self.failed, "what it rests on may be lost");
                self.expected[self.acknowledged].assert_is(&conflict);
                self.acknowledged += 1;
            }
            Err(Error::Poisoned { .. }) => self.failed = true,
            Err(e) => panic!("a failed log poisons the database: {e}"),
        }
    }

    /// A successor finds a prefix of the members with all that was promised, and goes on
    /// behind it.
    fn check(&self, cut: &Cut) {
        let (db, spaces) = open(&cut.machine, &Faults::over_memory(&cut.machine));
        let found = contents(&spaces);
        let Cut { what, promised, begun, .. } = cut;
        let is_one = self.states[*promised..=*begun].iter().any(|(state, _)| *state == found);
        assert!(
            is_one,
            "{what}: not the first {promised} to {begun} members: {}",
            difference(&found, &self.states[*begun].0)
        );
        let last = found.values().map(|(_, seqno)| *seqno).max().unwrap_or(0);
        assert!(db.put("and then", "").unwrap().0 > last, "{what}: a number given twice");
    }

    /// The machine is cut at rest.
    fn end(self) {
        let told = self.told.lock();
        let (begun, synced, buffered) = (told.begun, told.synced, told.buffered);
        drop(told);
        for seed in 0..2 * POWER_CUTS {
            let what = format!("power cut {seed} at the end");
            self.check(&Cut { machine: self.machine.crash(seed), what, promised: synced, begun });
        }
        let what = "killed at the end".to_owned();
        self.check(&Cut { machine: self.machine.kill(), what, promised: buffered, begun });
        self.faults.remove_hook();
    }
}

/// Draws members.
struct Draw {
    dice: Dice,
    keys: Vec<Vec<u8>>,
    /// Bytes of the longest values.
    large: u64,
    stamp: u32,
}

impl Draw {
    fn new(seed: u64, large: u64) -> Draw {
        let mut dice = Dice::new(seed);
        let mut keys = awkward_keys::pool(&mut |bound| dice.below(bound), 6);
        // So few that members write the same ones.
        let apart = dice.below(keys.len() as u64) as usize;
        keys.rotate_left(apart);
        keys.truncate(6);
        Draw { dice, keys, large, stamp: 0 }
    }

    fn write(&mut self, spaces: u64) -> Write {
        let space = self.dice.below(spaces) as usize;
        let key = self.keys[self.dice.below(self.keys.len() as u64) as usize].clone();
        self.stamp += 1;
        let len = match self.dice.below(40) {
            0 => self.dice.below(self.large),
            1..=3 => self.dice.below(9_000),
            4..=8 => 0,
            _ => self.dice.below(100),
        };
        let fill = Fill::new(len as usize, self.stamp);
        Write { space, key, value: (!self.dice.chance(200)).then_some(fill) }
    }

    fn member(&mut self) -> Member {
        let writes = match self.dice.below(10) {
            0 => 0,
            1..=4 => 1,
            5..=8 => 2 + self.dice.below(6),
            _ => 40 + self.dice.below(200),
        };
        let spaces = 1 + self.dice.below(3);
        let (conditions, durability) = (Vec::new(), self.durability());
        let mut member = Member { conditions, writes: Vec::new(), durability };
        let mut bytes = 0;
        while member.writes.len() < writes as usize && bytes < 2 * self.large {
            let write = self.write(spaces);
            bytes += write.value.map_or(0, |fill| fill.len as u64);
            member.writes.push(write);
        }
        member
    }

    fn durability(&mut self) -> Durability {
        DURABILITIES[self.dice.below(3) as usize]
    }

    fn failure(&mut self) -> Failure {
        // A log that cannot be begun is no failed log, and large groups begin logs.
        let from = if self.large > 1 << 20 { 3 } else { 0 };
        FAILURES[from + self.dice.below((FAILURES.len() - from) as u64) as usize]
    }
}

fn run(seed: u64, large: u64) {
    let mut draw = Draw::new(seed, large);
    let mut rig = Rig::new(seed);
    for _ in 0..1 + draw.dice.below(4) {
        let members: Vec<_> = (0..1 + draw.dice.below(6)).map(|_| draw.member()).collect();
        let failure = draw.dice.chance(250).then(|| draw.failure());
        rig.commit(&members, failure);
        if rig.failed {
            break;
        }
    }
    rig.end();
}

/// The leader of a group asked for no sync, so none of its group got one: a follower
/// was told that it is safe, and a power cut took it.
#[test]
fn groups_of_members_that_differ_keep_what_each_was_promised() {
    for seed in 0..100 {
        println!("seed {seed}");
        run(seed, 80 << 10);
    }
}

/// Where members are about as large as a group may be, some of them are the next one.
#[test]
fn members_as_large_as_a_group_are_whole_or_absent() {
    for seed in 0..12 {
        println!("seed {seed}");
        run(seed, 3 << 19);
    }
}

/// Every group of two members of three shapes, and of three that all write, with every
/// failure.
#[test]
fn every_small_group_keeps_what_each_member_was_promised() {
    let write = |space, key: &str, stamp: Option<u32>| {
        let value = stamp.map(|stamp| Fill::new(9, stamp));
        Write { space, key: key.into(), value }
    };
    // What another member puts or deletes as well, and what nobody else writes.
    let shapes = |n: u32| {
        let own = format!("member {n}");
        [
            vec![write(0, "all", Some(n))],
            vec![write(1, &own, Some(n)), write(0, "all", None), write(0, &own, Some(n))],
            vec![],
        ]
    };
    let members = |n: u32| {
        let of = move |writes: Vec<Write>| {
            DURABILITIES.map(|durability| Member {
                conditions: Vec::new(),
                writes: writes.clone(),
                durability,
            })
        };
        shapes(n).into_iter().flat_map(of).collect::<Vec<_>>()
    };
    let mut groups: Vec<Vec<Member>> = Vec::new();
    for first in members(1) {
        groups.extend(members(2).into_iter().map(|second| vec![first.clone(), second]));
    }
    for (first, second) in groups.clone().into_iter().map(|pair| (pair[0].clone(), pair[1].clone()))
    {
        if (first.writes.len(), second.writes.len()) == (1, 3) {
            let third = members(3).into_iter().take(DURABILITIES.len());
            groups.extend(third.map(|third| vec![first.clone(), second.clone(), third]));
        }
    }
    for group in groups {
        for failure in std::iter::once(None).chain(FAILURES.map(Some)) {
            println!("{group:?} {failure:?}");
            let mut rig = Rig::new(1);
            // What is there before must be there behind it, whatever it asked for.
            let before = vec![write(0, "before", Some(7)), write(2, "all", Some(7))];
            let durability = Durability::Memory;
            let before = Member { conditions: Vec::new(), writes: before, durability };
            rig.commit(&[before], None);
            rig.commit(&group, failure);
            rig.end();
        }
    }
}
