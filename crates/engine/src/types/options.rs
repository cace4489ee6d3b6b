//! The few options: of a database, of a keyspace, of one write.

use crate::types::record::UnixMillis;
use std::time::Duration;

/// How much a write must survive before it is acknowledged. At every level,
/// what survives a crash is a prefix of the commit order, and batches are whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum Durability {
    /// May be lost with the process. For bulk loads.
    Memory,
    /// In the kernel: survives a killed process, not a power cut.
    Buffered,
    /// On the device: survives a power cut. Concurrent writers share one sync.
    #[default]
    Synced,
}

/// How blocks of tables are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum Compression {
    /// Stored as they are.
    None,
    /// LZ4: fast, about half the size.
    #[default]
    Lz4,
    /// Zstandard: smaller, slower to write.
    Zstd,
}

impl From<Compression> for tanada_table::Compression {
    fn from(compression: Compression) -> tanada_table::Compression {
        match compression {
            Compression::None => tanada_table::Compression::None,
            Compression::Lz4 => tanada_table::Compression::Lz4,
            Compression::Zstd => tanada_table::Compression::Zstd,
        }
    }
}

/// Options of a keyspace; fixed when it is created, except where noted.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct KeyspaceOptions {
    /// Compression of new tables. May differ at each open: tables already
    /// written stay as they are until a compaction rewrites them. Default: what
    /// the keyspace was created with; LZ4 for one that is created now.
    pub compression: Option<Compression>,
}

impl KeyspaceOptions {
    /// The defaults.
    pub fn new() -> KeyspaceOptions {
        KeyspaceOptions::default()
    }

    /// Sets the compression of new tables.
    pub fn compression(mut self, compression: Compression) -> KeyspaceOptions {
        self.compression = Some(compression);
        self
    }
}

/// Options of one write.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct WriteOptions {
    /// Overrides the database's durability for this write.
    pub durability: Option<Durability>,
}

impl WriteOptions {
    /// The database's defaults.
    pub fn new() -> WriteOptions {
        WriteOptions::default()
    }

    /// What this write must survive before it is acknowledged.
    pub fn durability(mut self, durability: Durability) -> WriteOptions {
        self.durability = Some(durability);
        self
    }
}

/// Options of one put.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct PutOptions {
    /// The key counts as deleted this long after the put. Default: never.
    pub ttl: Option<Duration>,
    /// The key counts as deleted from this time on. Default: never.
    pub expires_at: Option<UnixMillis>,
}

impl PutOptions {
    /// The defaults.
    pub fn new() -> PutOptions {
        PutOptions::default()
    }

    /// Lets the key expire. At least a millisecond; the end is in the year 9999 at the latest.
    pub fn ttl(mut self, ttl: Duration) -> PutOptions {
        self.ttl = Some(ttl);
        self
    }

    /// Lets the key expire at a time, as [`crate::Record::expires_at`] tells it: in the
    /// year 9999 at the latest. One that is past hides older values
    /// of the key, and is not seen itself.
    pub fn expires_at(mut self, at: UnixMillis) -> PutOptions {
        self.expires_at = Some(at);
        self
    }
}
