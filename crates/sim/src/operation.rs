//! One call of the public API, as data.
//!
//! Operations name things by number (the third snapshot, the second keyspace),
//! and the runner takes the number modulo what there is: so every sequence of
//! operations has a meaning, and one that is cut or shortened still has.

use std::fmt;
use std::ops::Bound;
use tanada::{Compression, Durability};

/// A key.
pub type Key = Vec<u8>;
/// A range of keys; its ends may be the wrong way round.
pub type Range = (Bound<Key>, Bound<Key>);

/// A value, by the recipe that makes its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ValueSpec {
    /// Length in bytes.
    pub len: usize,
    /// Decides the bytes.
    pub stamp: u64,
    /// Whether its bytes compress well.
    pub plain: bool,
}

impl ValueSpec {
    /// Its bytes.
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![b'v'; self.len];
        let mut dice = tanada_vfs::memory::Dice::new(self.stamp);
        let random = if self.plain { self.len.min(8) } else { self.len };
        for chunk in bytes[..random].chunks_mut(8) {
            chunk.copy_from_slice(&dice.next_u64().to_le_bytes()[..chunk.len()]);
        }
        bytes
    }
}

impl fmt::Debug for ValueSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B #{}", self.len, self.stamp)
    }
}

/// One write of a batch.
#[derive(Clone, Debug)]
pub struct Write {
    /// The keyspace.
    pub space: usize,
    /// The key.
    pub key: Key,
    /// The new value; `None` deletes.
    pub value: Option<ValueSpec>,
    /// Milliseconds to live.
    pub ttl_ms: Option<u64>,
}

/// What a condition asks of a key. Versions are those that the key has when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// No value.
    Absent,
    /// Any value.
    Present,
    /// The version that it has.
    Current,
    /// Another version than it has.
    Other,
    /// One of two, of which it has one.
    OneOf,
    /// Not that one, which it has not.
    NoneOf,
    /// What is there: its version, or none.
    What,
}

impl Asks {
    /// All of them.
    pub const ALL: [Asks; 7] = [
        Asks::Absent,
        Asks::Present,
        Asks::Current,
        Asks::Other,
        Asks::OneOf,
        Asks::NoneOf,
        Asks::What,
    ];
}

/// A condition of a batch.
#[derive(Clone, Debug)]
pub struct Question {
    /// The keyspace.
    pub space: usize,
    /// The key.
    pub key: Key,
    /// What must hold of it.
    pub asks: Asks,
}

/// Which end of an iterator is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `next`.
    Front,
    /// `next_back`.
    Back,
}

/// How a whole scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the first key to the last.
    Forward,
    /// From the last key to the first.
    Backward,
    /// From either end, as the bits of this number say, again and again.
    Mixed(u64),
}

/// What a scan covers.
#[derive(Clone, Debug)]
pub enum Cover {
    /// Every key.
    All,
    /// A range.
    Range(Range),
    /// All keys that start with this.
    Prefix(Key),
}

/// One move of a cursor.
#[derive(Clone, Debug)]
pub enum Move {
    /// `seek_first`.
    First,
    /// `seek_last`.
    Last,
    /// `seek`.
    Seek(Key),
    /// `seek_for_prev`.
    SeekForPrev(Key),
    /// `next`.
    Next,
    /// `prev`.
    Prev,
}

/// Where somebody begins to follow the changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the oldest change there is.
    Oldest,
    /// With the next commit.
    Now,
    /// Behind a write; its number modulo those there are.
    Write(u64),
}

/// How the database goes down before it is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// `close` is called.
    Close,
    /// The last handle is dropped.
    Drop,
    /// The process dies.
    Kill,
    /// The power is cut; the seed says what is left.
    PowerCut(u64),
}

/// A call that must be refused, with nothing done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A key without bytes is put.
    EmptyKey,
    /// A key over the limit is read.
    LongKey,
    /// A time to live of nothing.
    NoTtl,
    /// A batch of which one write is faulty.
    FaultyBatch,
    /// A keyspace without a name.
    NoName,
    /// A second opening of what is open.
    OpenTwice,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 6] = [
        Refusal::EmptyKey,
        Refusal::LongKey,
        Refusal::NoTtl,
        Refusal::FaultyBatch,
        Refusal::NoName,
        Refusal::OpenTwice,
    ];
}

/// One step of a run.
#[derive(Clone, Debug)]
pub enum Operation {
    /// `put`, `put_with` or `delete` at the database's durability.
    WriteOne(Write),
    /// `write_with`.
    WriteBatch(Vec<Write>, Durability),
    /// `write_with` of a batch with conditions.
    WriteIf(Vec<Question>, Vec<Write>, Durability),
    /// `get`, `contains`, `get_record` and `try_get_record`.
    Get(usize, Key),
    /// `explain`.
    Explain(usize, Key),
    /// A call that must be refused.
    Refused(usize, Refusal),
    /// `stats`, and the names of all keyspaces.
    Stats,
    /// `multi_get`.
    MultiGet(usize, Vec<Key>),
    /// `get_in` of a snapshot: snapshot, keyspace, key.
    GetAt(usize, usize, Key),
    /// A whole scan, now or at a snapshot.
    Scan {
        /// The keyspace.
        space: usize,
        /// The snapshot, if one is asked.
        snapshot: Option<usize>,
        /// Which keys.
        cover: Cover,
        /// Which way.
        direction: Direction,
    },
    /// Begins a scan that later steps go on with.
    OpenIter(usize, Cover),
    /// Goes on with a begun scan.
    StepIter(usize, Vec<End>),
    /// Opens a cursor, over a snapshot if there is one and this says so.
    OpenCursor(usize, Option<usize>),
    /// Moves an open cursor.
    MoveCursor(usize, Vec<Move>),
    /// `snapshot`.
    TakeSnapshot,
    /// Drops a snapshot.
    DropSnapshot(usize),
    /// `flush`, of one keyspace or of all.
    Flush(Option<usize>),
    /// `compact`.
    Compact(usize, Range),
    /// `keyspace`.
    CreateKeyspace(usize, Compression),
    /// Moves the clock on by milliseconds.
    Advance(u64),
    /// Sets the wall clock back by milliseconds.
    SetBack(u64),
    /// Sets the wall clock forward by milliseconds.
    SetForward(u64),
    /// Sets the wall clock right.
    SetRight,
    /// Goes down and opens again, with this durability from then on.
    Reopen(Exit, Durability),
    /// `verify`: nothing may be damaged.
    Verify,
    /// `changes`, from where it was or from there, and so many groups of it.
    Follow(Option<Begin>, usize),
    /// `checkpoint`: what it holds is this moment, now and after whatever comes.
    Checkpoint,
}
