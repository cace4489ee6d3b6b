//! Names for numbers, so that the compiler keeps them apart.

use std::fmt;

/// Position of a write in the one commit order of a database.
///
/// The first write has number 1; 0 means "before every write". Only the low 56
/// bits are used, so that a kind fits beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqNo(pub u64);

impl SeqNo {
    /// Before every write.
    pub const ZERO: SeqNo = SeqNo(0);
    /// After every write: reads with it see all there is.
    pub const MAX: SeqNo = SeqNo((1 << 56) - 1);

    /// The number `n` places later.
    pub fn plus(self, n: u64) -> SeqNo {
        debug_assert!(self.0 + n <= Self::MAX.0);
        SeqNo(self.0 + n)
    }
}

impl fmt::Display for SeqNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one table file (`000042.sst`) for the life of a database; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u64);

/// Names one log file (`000042.log`) for the life of a database; never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub u64);

/// A byte position in the endless stream that all logs of a database form together.
///
/// Each log's header names the position of its first record, so that positions
/// order records across files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition(pub u64);

/// Names a keyspace inside a database; never used twice. 0 is the default keyspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyspaceId(pub u32);

impl KeyspaceId {
    /// The keyspace that `Db`'s own verbs use.
    pub const DEFAULT: KeyspaceId = KeyspaceId(0);
}

/// A level of the tree: 0 receives flushes, higher ones are older and larger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(pub u8);

impl Level {
    /// This level as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The level below (older).
    pub fn next(self) -> Level {
        Level(self.0 + 1)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "L{}", self.0)
    }
}

/// 128 random bits chosen when a database is created; every file carries them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabaseId(pub [u8; 16]);

impl fmt::Display for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// Which opening of a database wrote something, where another machine may have opened it
/// since: a database that follows a bucket raises its epoch at each opening. 0 in a database
/// that has only ever been in its directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriterEpoch(pub u64);

impl fmt::Display for WriterEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a table comes from, for ever: wherever it lies, and whoever names it by whatever
/// id. No two tables have one origin. A table's id alone does not say so: when a disk is
/// lost, ids that it had given out may be given again, in a later epoch; and databases that
/// share tables have ids of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The database that wrote it.
    pub database: DatabaseId,
    /// The epoch in which it was written.
    pub epoch: WriterEpoch,
    /// The id that it was written with.
    pub table: TableId,
}

impl Origin {
    /// Of a table of a database that has only ever been in its directory.
    pub fn local(database: DatabaseId, table: TableId) -> Origin {
        Origin { database, epoch: WriterEpoch(0), table }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { database, epoch, table } = self;
        match epoch {
            WriterEpoch(0) => write!(f, "table {table} of database {database}"),
            _ => write!(f, "table {table} of epoch {epoch} of database {database}"),
        }
    }
}

/// 64 random bits that name whose sequence numbers a database hands out: two databases with
/// one lineage never give one number to different writes. A copy that goes on by itself has
/// another than what it was copied from, though both have one [`DatabaseId`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lineage(pub [u8; 8]);

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

macro_rules! file_number_display {
    ($($id:ident)*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:06}", self.0)
            }
        }
    )*};
}
file_number_display!(TableId LogId);
