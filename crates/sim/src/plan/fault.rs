//! Calls that fail, as a plan has them.

use crate::choices::Choices;
use tanada_vfs::fault::{EIO, EMFILE, ENOSPC, Op, Rule};

/// Calls of a kind that fail.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The kind.
    pub op: Op,
    /// How.
    pub way: Way,
    /// Which one, from 1.
    pub nth: u64,
    /// Whether all after it fail as well.
    pub lasting: bool,
}

/// How a call fails.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// Not done, with this error number.
    Refused(i32),
    /// Done, and an error all the same.
    DoneAndFailed,
    /// Of an append, the first bytes are written.
    Short,
}

impl Fault {
    /// Any of them.
    pub(super) fn draw(dice: &mut impl Choices) -> Fault {
        const OPS: [Op; 14] = [
            Op::LogAppend,
            Op::LogSync,
            Op::LogWarm,
            Op::Append,
            Op::Sync,
            Op::SyncDir,
            Op::Create,
            Op::CreateLog,
            Op::Rename,
            Op::Remove,
            Op::Read,
            Op::Open,
            Op::Len,
            Op::ReadDir,
        ];
        let op = OPS[dice.below(OPS.len() as u64) as usize];
        let way = match dice.below(6) {
            0 | 1 => Way::Refused(EIO),
            2 => Way::Refused(ENOSPC),
            3 => Way::Refused(EMFILE),
            4 if op.changes() => Way::DoneAndFailed,
            5 if matches!(op, Op::Append | Op::LogAppend) => Way::Short,
            _ => Way::Refused(EIO),
        };
        Fault { op, way, nth: 1 + dice.below(8), lasting: dice.chance(300) }
    }

    /// The rule that makes it so.
    pub fn rule(&self) -> Rule {
        let rule = match self.way {
            Way::Refused(errno) => Rule::fail(errno),
            Way::DoneAndFailed => Rule::apply_and_fail(EIO),
            Way::Short => Rule::short_write(7, ENOSPC),
        };
        let mut rule = rule.on(self.op);
        if self.finds_no_room() && self.op == Op::Append {
            rule = rule.on(Op::Reserve);
        }
        if self.lasting { rule.from_nth(self.nth) } else { rule.nth(self.nth) }
    }

    fn finds_no_room(&self) -> bool {
        matches!(self.way, Way::Refused(ENOSPC) | Way::Short)
    }

    /// Whether nobody may know what is on disk once a call has failed so. A call that does
    /// not change a byte or a name leaves no doubt, and one that finds no room has changed
    /// nothing, or nothing that cannot be taken back; but of a sync nobody knows, nor of a
    /// log, which is reserved ahead.
    pub fn leaves_unknown(&self) -> bool {
        match self.op {
            Op::Sync | Op::SyncDir | Op::LogSync | Op::LogAppend => true,
            Op::Append | Op::Rename => !self.finds_no_room(),
            _ => false,
        }
    }
}
