//! Which calls fail, and how.

use super::{Call, Fate};
use rustix::io::Errno;
use std::fmt;
use std::sync::Arc;

/// The disk failed.
pub const EIO: i32 = Errno::IO.raw_os_error();
/// The disk is full.
pub const ENOSPC: i32 = Errno::NOSPC.raw_os_error();
/// Too many open files.
pub const EMFILE: i32 = Errno::MFILE.raw_os_error();
/// The other name would lie on another file system.
pub const EXDEV: i32 = Errno::XDEV.raw_os_error();
/// A file has as many names as its file system lets it have.
pub const EMLINK: i32 = Errno::MLINK.raw_os_error();
/// Not allowed.
pub const EPERM: i32 = Errno::PERM.raw_os_error();
/// The file system does not know how.
pub const EOPNOTSUPP: i32 = Errno::OPNOTSUPP.raw_os_error();
/// The file system turned read-only.
pub const EROFS: i32 = Errno::ROFS.raw_os_error();

/// The calls of a file system and its handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // named like the methods
pub enum Op {
    CreateDirAll,
    CreateDir,
    ReadDir,
    Create,
    OpenAppend,
    Open,
    CreateLog,
    Rename,
    Remove,
    RemoveDir,
    HardLink,
    SyncDir,
    Canonical,
    Len,
    Lock,
    FreeSpace,
    /// Of a written file.
    Append,
    /// Of a written file.
    Sync,
    /// Of a written file.
    Reserve,
    /// Of a written file.
    Truncate,
    Read,
    LogAppend,
    /// Through the log or one of its syncers.
    LogSync,
    LogWarm,
}

impl Op {
    /// Whether the call changes what a crash could leave; a crash between two
    /// other calls is the same as one before both.
    pub fn changes(self) -> bool {
        match self {
            Op::CreateDirAll
            | Op::CreateDir
            | Op::Create
            | Op::CreateLog
            | Op::Rename
            | Op::Remove
            | Op::RemoveDir
            | Op::HardLink
            | Op::SyncDir
            | Op::Lock
            | Op::Append
            | Op::Sync
            | Op::Truncate
            | Op::LogAppend
            | Op::LogSync => true,
            Op::ReadDir
            | Op::OpenAppend
            | Op::Open
            | Op::Canonical
            | Op::Len
            | Op::FreeSpace
            | Op::Read
            | Op::Reserve
            | Op::LogWarm => false,
        }
    }

    pub(super) fn verb(self) -> &'static str {
        match self {
            Op::CreateDirAll | Op::CreateDir => "create directory",
            Op::ReadDir => "list",
            Op::Create | Op::CreateLog => "create",
            Op::OpenAppend | Op::Open => "open",
            Op::Rename => "rename to",
            Op::Remove => "remove",
            Op::RemoveDir => "remove directory",
            Op::HardLink => "link",
            Op::SyncDir => "sync directory",
            Op::Len | Op::Canonical => "look at",
            Op::Lock => "lock",
            Op::FreeSpace => "ask the free space of",
            Op::Append | Op::LogAppend => "write to",
            Op::Sync | Op::LogSync => "sync",
            Op::Reserve => "reserve space for",
            Op::Truncate => "truncate",
            Op::Read => "read",
            Op::LogWarm => "warm",
        }
    }
}

type Predicate = Arc<dyn Fn(&Call) -> bool + Send + Sync>;

/// Makes calls fail. Without narrowing: every call, for ever.
#[derive(Clone)]
pub struct Rule {
    fate: Fate,
    ops: Vec<Op>,
    suffix: Option<String>,
    predicate: Option<Predicate>,
    /// The first matching call to fail, from 1.
    first: u64,
    /// How many matching calls fail.
    count: u64,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("fate", &self.fate)
            .field("ops", &self.ops)
            .field("suffix", &self.suffix)
            .field("first", &self.first)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl Rule {
    fn of(fate: Fate) -> Rule {
        Rule { fate, ops: Vec::new(), suffix: None, predicate: None, first: 1, count: u64::MAX }
    }

    /// The call does nothing and gives this error number, such as [`EIO`].
    pub fn fail(errno: i32) -> Rule {
        Rule::of(Fate::Fail(errno))
    }

    /// Of an append, `bytes` bytes are written, then it gives this error; the
    /// handle takes no more appends. Any other call does nothing and fails.
    pub fn short_write(bytes: usize, errno: i32) -> Rule {
        Rule::of(Fate::Short { bytes, errno })
    }

    /// The call is done and gives this error all the same: an error means
    /// *unknown*, not *not done*.
    pub fn apply_and_fail(errno: i32) -> Rule {
        Rule::of(Fate::ApplyAndFail(errno))
    }

    /// Only calls of this kind; when said again, of this kind too.
    pub fn on(mut self, op: Op) -> Rule {
        self.ops.push(op);
        self
    }

    /// Only calls on paths that end so.
    pub fn path_suffix(mut self, suffix: impl Into<String>) -> Rule {
        self.suffix = Some(suffix.into());
        self
    }

    /// Only calls for which this is true.
    pub fn matching(mut self, predicate: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Rule {
        self.predicate = Some(Arc::new(predicate));
        self
    }

    /// Only the `n`th of the matching calls from now on, counted from 1.
    pub fn nth(self, n: u64) -> Rule {
        self.from_nth(n).times(1)
    }

    /// Only from the `n`th of the matching calls on, counted from 1.
    pub fn from_nth(mut self, n: u64) -> Rule {
        self.first = n;
        self
    }

    /// Only so many times.
    pub fn times(mut self, count: u64) -> Rule {
        self.count = count;
        self
    }

    fn matches(&self, call: &Call) -> bool {
        (self.ops.is_empty() || self.ops.contains(&call.op))
            && self.suffix.as_ref().is_none_or(|s| call.path.to_string_lossy().ends_with(&**s))
            && self.predicate.as_ref().is_none_or(|predicate| predicate(call))
    }
}

/// A rule with the count of the calls that matched it.
#[derive(Debug)]
pub(super) struct Armed {
    rule: Rule,
    met: u64,
}

impl Armed {
    pub(super) fn new(rule: Rule) -> Armed {
        Armed { rule, met: 0 }
    }

    /// Counts the call when it matches, and says what shall happen to it.
    pub(super) fn meet(&mut self, call: &Call) -> Option<Fate> {
        if !self.rule.matches(call) {
            return None;
        }
        self.met += 1;
        let due = self.met.checked_sub(self.rule.first)? < self.rule.count;
        due.then_some(self.rule.fate)
    }
}
