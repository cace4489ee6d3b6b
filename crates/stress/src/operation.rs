//! What clients do, drawn from a seed: each operation is decided by the seed
//! and its stamp alone, so that a run that died can be judged by what its
//! journal says and the seed.

use crate::stamp::{Stamp, State};
use std::fmt;
use tanada::Durability;

/// Keys that are put, deleted and read one by one.
pub(crate) const REGISTERS: u32 = 40;

/// Groups of keys that are only ever written together.
pub(crate) const GROUPS: u32 = 5;

/// Keys of a group.
pub(crate) const MEMBERS: u32 = 4;

/// Accounts of the bank.
pub(crate) const ACCOUNTS: u32 = 8;

/// What each account holds at first.
pub(crate) const DEPOSIT: u64 = 1000;

/// Registers from here on are ballast: each is written once.
const BALLAST: u32 = 1_000_000;

/// Operations of one client in one life that may write ballast.
const BALLAST_EACH: u32 = 1_000_000;

/// What is written and read as one: a register, and what behaves like one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Subject {
    /// One key.
    Register(u32),
    /// All keys of a group: they change together, so together they are one register.
    Group(u32),
    /// One account of the bank.
    Account(u32),
}

impl Subject {
    /// How many writes one write of it is.
    pub(crate) fn writes(self) -> u64 {
        match self {
            Subject::Group(_) => u64::from(MEMBERS),
            Subject::Register(_) | Subject::Account(_) => 1,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Register(register) => f.write_str(&register_key(*register)),
            Subject::Group(group) => write!(f, "{}*", group_prefix(*group)),
            Subject::Account(account) => f.write_str(&account_key(*account)),
        }
    }
}

/// Begins the keys of all registers.
pub(crate) const REGISTER_PREFIX: &str = "r/";

/// Begins the keys of all groups.
pub(crate) const GROUPS_PREFIX: &str = "g/";

/// Begins the keys of all accounts.
pub(crate) const ACCOUNT_PREFIX: &str = "a/";

/// A register's key.
pub(crate) fn register_key(register: u32) -> String {
    format!("{REGISTER_PREFIX}{register:010}")
}

/// Begins the keys of one group.
pub(crate) fn group_prefix(group: u32) -> String {
    format!("{GROUPS_PREFIX}{group:02}/")
}

/// The key of one member of a group.
pub(crate) fn member_key(group: u32, member: u32) -> String {
    format!("{}{member:02}", group_prefix(group))
}

/// An account's key.
pub(crate) fn account_key(account: u32) -> String {
    format!("{ACCOUNT_PREFIX}{account:02}")
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Sets a register.
    Put { register: u32, size_bytes: usize },
    /// Empties a register.
    Delete { register: u32 },
    /// Reads a register.
    Get { register: u32 },
    /// Sets all members of a group, in one batch.
    Batch { group: u32, size_bytes: usize },
    /// Reads all members of a group, in one scan.
    ReadGroup { group: u32 },
    /// Reads one member.
    GetMember { group: u32, member: u32 },
    /// Moves money: reads two accounts, writes both if neither has changed.
    Transfer { from: u32, to: u32, amount: u64 },
    /// Reads all accounts in one scan, and adds them up.
    Audit,
    /// Asks for a compaction, and does not wait for it.
    Compact,
}

/// An operation and what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) action: Action,
    /// Overrides the server's.
    pub(crate) durability: Option<Durability>,
}

/// What is done how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix {
    /// Operations, of a thousand, that put a large value to a key of its own.
    pub(crate) ballast_permille: u64,
    /// Writes, of a thousand, that ask for a durability of their own.
    pub(crate) override_permille: u64,
}

impl Mix {
    /// Of everything something, no ballast.
    pub(crate) const EVERYTHING: Mix = Mix { ballast_permille: 0, override_permille: 250 };
    /// As above, all writes as durable as the server has it.
    pub(crate) const PLAIN: Mix = Mix { ballast_permille: 0, override_permille: 0 };
    /// Fills a disk.
    pub(crate) const FILLING: Mix = Mix { ballast_permille: 500, override_permille: 0 };
}

/// The operation that `stamp` does in the run of `seed`.
pub(crate) fn planned(seed: u64, stamp: Stamp, mix: Mix) -> Planned {
    let mut dice = stamp.dice(seed);
    let durability = dice.chance(mix.override_permille).then(|| match dice.below(3) {
        0 => Durability::Memory,
        1 => Durability::Buffered,
        _ => Durability::Synced,
    });
    if dice.chance(mix.ballast_permille) {
        let own = stamp.client.wrapping_mul(BALLAST_EACH).wrapping_add(stamp.n % BALLAST_EACH);
        let register = BALLAST.wrapping_add(own);
        let size_bytes = 16_384 + dice.below(65_536) as usize;
        return Planned { action: Action::Put { register, size_bytes }, durability };
    }
    let register = dice.below(u64::from(REGISTERS)) as u32;
    let group = dice.below(u64::from(GROUPS)) as u32;
    let size_bytes = match dice.below(100) {
        0..60 => 20 + dice.below(200),
        60..90 => 200 + dice.below(3_896),
        90..99 => 4_096 + dice.below(12_288),
        // Several pieces of a log, and large enough to be shared instead of copied.
        _ => 65_536 + dice.below(131_072),
    } as usize;
    let action = match dice.below(1000) {
        0..350 => Action::Put { register, size_bytes },
        350..430 => Action::Delete { register },
        430..640 => Action::Get { register },
        640..750 => Action::Batch { group, size_bytes: size_bytes.min(16_384) },
        750..810 => Action::ReadGroup { group },
        810..850 => Action::GetMember { group, member: dice.below(u64::from(MEMBERS)) as u32 },
        850..945 => {
            let from = dice.below(u64::from(ACCOUNTS)) as u32;
            let step = 1 + dice.below(u64::from(ACCOUNTS) - 1) as u32;
            let amount = 1 + dice.below(DEPOSIT / 4);
            Action::Transfer { from, to: (from + step) % ACCOUNTS, amount }
        }
        945..997 => Action::Audit,
        _ => Action::Compact,
    };
    Planned { action, durability }
}

impl Action {
    /// What it writes, when it writes, and to what state.
    pub(crate) fn writes(&self, by: Stamp) -> Vec<(Subject, State)> {
        match *self {
            Action::Put { register, .. } => vec![(Subject::Register(register), Some(by))],
            Action::Delete { register } => vec![(Subject::Register(register), None)],
            Action::Batch { group, .. } => vec![(Subject::Group(group), Some(by))],
            Action::Transfer { from, to, .. } => {
                vec![(Subject::Account(from), Some(by)), (Subject::Account(to), Some(by))]
            }
            Action::Get { .. }
            | Action::ReadGroup { .. }
            | Action::GetMember { .. }
            | Action::Audit
            | Action::Compact => Vec::new(),
        }
    }

    /// As [`Action::writes`], each with its sequence number when the whole was
    /// acknowledged with `last`: the writes of a batch follow one another.
    pub(crate) fn numbered(&self, by: Stamp, last: u64) -> Vec<(Subject, State, u64)> {
        let writes = self.writes(by);
        let mut left: u64 = writes.iter().map(|(subject, _)| subject.writes()).sum();
        writes
            .into_iter()
            .map(|(subject, to)| {
                left -= subject.writes();
                (subject, to, last.saturating_sub(left))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_and_the_stamp_decide_all() {
        let all = |seed| {
            (0..200)
                .map(|n| planned(seed, Stamp { life: 1, client: 2, n }, Mix::EVERYTHING))
                .collect::<Vec<_>>()
        };
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
    }

    #[test]
    fn every_action_is_drawn_and_stays_within_its_bounds() {
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..20_000 {
            let stamp = Stamp { life: 0, client: 0, n };
            let action = planned(9, stamp, Mix::EVERYTHING).action;
            seen.insert(format!("{action:?}").split(' ').next().map(str::to_owned));
            match action {
                Action::Put { register, .. } | Action::Delete { register } => {
                    assert!(register < REGISTERS);
                }
                Action::Transfer { from, to, amount } => {
                    assert!(from < ACCOUNTS && to < ACCOUNTS && from != to && amount > 0);
                }
                _ => {}
            }
        }
        assert_eq!(seen.len(), 9, "{seen:?}");
    }

    #[test]
    fn the_writes_of_a_batch_have_numbers_that_follow_one_another() {
        let by = Stamp { life: 1, client: 1, n: 1 };
        let transfer = Action::Transfer { from: 2, to: 5, amount: 1 };
        let numbers: Vec<u64> = transfer.numbered(by, 10).iter().map(|w| w.2).collect();
        assert_eq!(numbers, [9, 10]);
        let batch = Action::Batch { group: 1, size_bytes: 10 };
        assert_eq!(batch.numbered(by, 10), [(Subject::Group(1), Some(by), 10)]);
        assert_eq!(Action::Audit.numbered(by, 10), []);
    }

    #[test]
    fn ballast_never_meets_another_key() {
        let mut keys = std::collections::BTreeSet::new();
        for client in 0..8 {
            for n in 0..500 {
                let stamp = Stamp { life: 1, client, n };
                let action = planned(5, stamp, Mix { ballast_permille: 1000, ..Mix::PLAIN }).action;
                let Action::Put { register, .. } = action else { panic!("{action:?}") };
                assert!(register >= BALLAST && keys.insert(register));
            }
        }
    }
}
