//! Groups of which some members have conditions, on keys that others of the same group
//! write: each member is decided behind those before it, and for itself.

use super::{Contents, Draw, FAILURES, Failure, Fill, Member, Rig, SPACES, Write};
use crate::{Condition, Conflict, Durability, SeqNo};

/// What is asked of a key. Its version is known when the member's turn comes, which is
/// when nobody else could have been told it yet.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) space: usize,
    pub(super) key: Vec<u8>,
    pub(super) asks: Asks,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Asks {
    Absent,
    Present,
    /// The version that the key has.
    Current,
    /// The one before it in number, mostly another key's.
    Stale,
    CurrentOrOthers,
    NoneOfThese,
    Other,
}

const ASKS: [Asks; 7] = [
    Asks::Absent,
    Asks::Present,
    Asks::Current,
    Asks::Stale,
    Asks::CurrentOrOthers,
    Asks::NoneOfThese,
    Asks::Other,
];

impl Question {
    /// As a condition on a key of this version, and whether it holds: found out here
    /// without the engine's help.
    fn put(&self, version: Option<u64>) -> (Condition, bool) {
        let known = version.unwrap_or(1);
        let (stale, current) = (SeqNo(known - 1), SeqNo(known));
        let present = version.is_some();
        match self.asks {
            Asks::Absent => (Condition::Absent, !present),
            Asks::Present => (Condition::Present, present),
            Asks::Current => (Condition::Version(current), present),
            Asks::Stale => (Condition::Version(stale), false),
            Asks::CurrentOrOthers => (Condition::VersionIn(vec![stale, current]), present),
            Asks::NoneOfThese => (Condition::VersionNotIn(vec![stale, current]), !present),
            Asks::Other => (Condition::VersionNotIn(vec![stale]), true),
        }
    }
}

/// What becomes of a member in its turn.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) conditions: Vec<(usize, Vec<u8>, Condition)>,
    /// Those that do not hold: which, and what the key is instead.
    pub(super) failed: Vec<(usize, Vec<u8>, Option<SeqNo>)>,
}

impl Expected {
    pub(super) fn of(member: &Member, contents: &Contents) -> Expected {
        let mut expected = Expected { conditions: Vec::new(), failed: Vec::new() };
        for (index, question) in member.conditions.iter().enumerate() {
            let Question { space, key, .. } = question;
            let version = contents.get(&(*space, key.clone())).map(|(_, version)| *version);
            let (condition, holds) = question.put(version);
            expected.conditions.push((*space, key.clone(), condition));
            if !holds {
                expected.failed.push((index, key.clone(), version.map(SeqNo)));
            }
        }
        expected
    }

    pub(super) fn assert_holds(&self) {
        assert!(self.failed.is_empty(), "written though a condition does not hold: {self:?}");
    }

    pub(super) fn assert_is(&self, conflict: &Conflict) {
        let told: Vec<_> =
            conflict.failed.iter().map(|f| (f.index, f.key.to_vec(), f.version)).collect();
        assert_eq!(told, self.failed, "{:?}", self.conditions);
    }
}

impl Draw {
    fn question(&mut self) -> Question {
        let key = self.keys[self.dice.below(self.keys.len() as u64) as usize].clone();
        let space = self.dice.below(SPACES.len() as u64) as usize;
        Question { space, key, asks: ASKS[self.dice.below(ASKS.len() as u64) as usize] }
    }

    /// Some members with conditions that mostly hold, some without.
    fn conditional_member(&mut self) -> Member {
        let mut member = self.member();
        let questions = match self.dice.below(10) {
            0..=3 => 0,
            4..=8 => 1 + self.dice.below(2),
            _ => 10 + self.dice.below(40),
        };
        member.conditions = (0..questions).map(|_| self.question()).collect();
        member
    }
}

#[test]
fn members_with_conditions_are_decided_one_by_one_behind_those_before_them() {
    let (mut refused, mut written) = (0, 0);
    for seed in 0..120 {
        println!("seed {seed}");
        let mut draw = Draw::new(seed, 20 << 10);
        let mut rig = Rig::new(seed);
        for _ in 0..1 + draw.dice.below(5) {
            let count = 1 + draw.dice.below(6);
            let members: Vec<_> = (0..count).map(|_| draw.conditional_member()).collect();
            let failure = draw.dice.chance(150).then(|| draw.failure());
            rig.commit(&members, failure);
            if rig.failed {
                break;
            }
        }
        for expected in rig.expected.iter().filter(|expected| !expected.conditions.is_empty()) {
            *(if expected.failed.is_empty() { &mut written } else { &mut refused }) += 1;
        }
        rig.end();
    }
    assert!(refused > 100 && written > 100, "{refused} refused, {written} written");
}

/// Every group of a plain member, a conditional one and a third, in which the conditions
/// are about what the first one has or has not written, with every failure.
#[test]
fn every_small_group_with_a_condition_is_decided_member_by_member() {
    let write = |key: &str, stamp: Option<u32>| Write {
        space: 0,
        key: key.into(),
        value: stamp.map(|stamp| Fill::new(9, stamp)),
    };
    let question = |asks| Question { space: 0, key: "shared".into(), asks };
    let member = |conditions, writes, durability| Member { conditions, writes, durability };
    let firsts = [
        vec![write("shared", Some(1))],
        vec![write("shared", Some(1)), write("shared", None)],
        vec![write("other", Some(1))],
    ];
    let durabilities = [Durability::Buffered, Durability::Synced];
    for (first, asks) in firsts.iter().flat_map(|first| ASKS.map(|asks| (first, asks))) {
        for (shared, durability) in
            [None, Some(7)].into_iter().flat_map(|shared| durabilities.map(|d| (shared, d)))
        {
            // Nothing at all, a write of what was asked for, and several.
            for second in [
                vec![],
                vec![write("shared", Some(2))],
                vec![write("second", Some(2)), write("shared", None), write("second", Some(3))],
            ] {
                let failures = [None, Some(Failure::Sync), Some(FAILURES[0])];
                for failure in failures {
                    let mut rig = Rig::new(1);
                    if let Some(stamp) = shared {
                        let before = vec![write("shared", Some(stamp))];
                        rig.commit(&[member(vec![], before, Durability::Memory)], None);
                    }
                    let group = [
                        member(vec![], first.clone(), Durability::Memory),
                        member(vec![question(asks)], second.clone(), durability),
                        member(vec![], vec![write("third", Some(4))], Durability::Buffered),
                        member(vec![question(Asks::Current)], vec![], Durability::Buffered),
                    ];
                    println!("{group:?} behind {shared:?}, {failure:?}");
                    rig.commit(&group, failure);
                    rig.end();
                }
            }
        }
    }
}
