//! Calls that fail, as a plan has them.

use crate::choices::Choices;
use crate::runner::PATH;
use crate::targets::{SECTOR_BYTES, is_manifest, names_of_tables, sector};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use tanada_vfs::MemoryMachine;
use tanada_vfs::fault::{Call, EIO, EMFILE, ENOSPC, Op, Rule};

/// Calls of a kind that fail.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The kind.
    pub op: Op,
    /// Which of that kind.
    pub target: Target,
    /// How.
    pub way: Way,
    /// Which one, from 1.
    pub nth: u64,
    /// Whether all after it fail as well.
    pub lasting: bool,
}

/// Which calls of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All of them.
    Any,
    /// Those on a manifest.
    Manifest,
    /// Syncs of the directory behind one of a table: those of jobs.
    NamesOfTables,
    /// Reads of one sector of one table of those that there are, both by number of 65,536.
    Sector {
        /// Of the tables, as their names are sorted.
        table: u64,
        /// Of the file's bytes.
        place: u64,
    },
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
        if dice.chance(250) {
            return if dice.chance(500) { Fault::full_manifest(dice) } else { Fault::names(dice) };
        }
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
        let (nth, lasting) = (1 + dice.below(8), dice.chance(300));
        Fault { op, target: Target::Any, way, nth, lasting }
    }

    /// The disk is full when an edit is appended to the manifest, once or from then on.
    pub fn full_manifest(dice: &mut impl Choices) -> Fault {
        let way = if dice.chance(500) { Way::Short } else { Way::Refused(ENOSPC) };
        let (nth, lasting) = (1 + dice.below(4), dice.chance(500));
        Fault { op: Op::Append, target: Target::Manifest, way, nth, lasting }
    }

    /// A job's sync of the directory fails, whether it was done or not.
    pub fn names(dice: &mut impl Choices) -> Fault {
        let way = if dice.chance(300) { Way::DoneAndFailed } else { Way::Refused(EIO) };
        let nth = 1 + dice.below(3);
        Fault { op: Op::SyncDir, target: Target::NamesOfTables, way, nth, lasting: false }
    }

    /// A sector of a table cannot be read from now on.
    pub fn sector(dice: &mut impl Choices) -> Fault {
        let target = Target::Sector { table: dice.below(1 << 16), place: dice.below(1 << 16) };
        Fault { op: Op::Read, target, way: Way::Refused(EIO), nth: 1, lasting: true }
    }

    /// The rule that makes it so on this machine; `struck` is called when a call fails by it.
    /// `None` where it is for a table and there is none.
    pub fn rule(
        &self,
        machine: &MemoryMachine,
        struck: impl Fn() + Send + Sync + 'static,
    ) -> Option<Rule> {
        let rule = match self.way {
            Way::Refused(errno) => Rule::fail(errno),
            Way::DoneAndFailed => Rule::apply_and_fail(EIO),
            Way::Short => Rule::short_write(7, ENOSPC),
        };
        let reserves = self.finds_no_room() && self.op == Op::Append;
        let op = self.op;
        let is_op = move |call: &Call| call.op == op || (reserves && call.op == Op::Reserve);
        let is_meant: Box<dyn Fn(&Call) -> bool + Send + Sync> = match self.target {
            Target::Any => Box::new(is_op),
            Target::Manifest => Box::new(move |call| is_op(call) && is_manifest(call)),
            Target::NamesOfTables => Box::new(names_of_tables()),
            Target::Sector { table, place } => {
                let (file, len) = nth_table(machine, table)?;
                let at = (len * place) >> 16;
                Box::new(sector(file, at - at % SECTOR_BYTES))
            }
        };
        let Fault { nth, lasting, .. } = *self;
        let met = AtomicU64::new(0);
        Some(rule.matching(move |call| {
            if !is_meant(call) {
                return false;
            }
            // Relaxed: there is one thread.
            let number = 1 + met.fetch_add(1, Ordering::Relaxed);
            let fails = number == nth || (lasting && number > nth);
            if fails {
                struck();
            }
            fails
        }))
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

/// A table of the database, and how long its file is.
fn nth_table(machine: &MemoryMachine, number: u64) -> Option<(PathBuf, u64)> {
    let fs = machine.env().fs;
    let names = fs.read_dir(Path::new(PATH)).ok()?.into_iter().map(|entry| entry.name);
    let mut tables: Vec<_> = names.filter(|name| name.ends_with(".sst")).collect();
    tables.sort_unstable();
    let number = number.checked_rem(tables.len() as u64)?;
    let path = Path::new(PATH).join(&tables[number as usize]);
    let len = fs.len(&path).ok()?;
    Some((path, len))
}
