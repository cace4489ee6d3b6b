//! One adapter an engine, each behind a cargo feature of its name.
//!
//! All get the same durability (the log in the kernel, no sync, unless the
//! workload asks), LZ4 where they have it, and the same budget. What else is
//! set follows the engine's own documentation, and the adapter says which.

#[cfg(feature = "fjall")]
mod fjall;
#[cfg(feature = "lmdb")]
mod lmdb;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "slatedb")]
mod slatedb;
#[cfg(feature = "sled")]
mod sled;
#[cfg(feature = "surrealkv")]
mod surrealkv;
mod tanada;

use crate::engine::{Engine, Opening, Outcome};

type Open = fn(&Opening) -> Outcome<Box<dyn Engine>>;

/// Name, and how to open it.
const ENGINES: &[(&str, Open)] = &[
    ("tanada", tanada::open),
    #[cfg(feature = "rocksdb")]
    ("rocksdb", rocksdb::open),
    #[cfg(feature = "fjall")]
    ("fjall", fjall::open),
    #[cfg(feature = "lmdb")]
    ("lmdb", lmdb::open),
    #[cfg(feature = "redb")]
    ("redb", redb::open),
    #[cfg(feature = "sled")]
    ("sled", sled::open),
    #[cfg(feature = "surrealkv")]
    ("surrealkv", surrealkv::open),
    #[cfg(feature = "slatedb")]
    ("slatedb", slatedb::open),
];

/// Names of all that were compiled in.
pub fn names() -> Vec<&'static str> {
    ENGINES.iter().map(|(name, _)| *name).collect()
}

/// Opens engine `name`, making its directory.
pub fn open(name: &str, opening: &Opening) -> Outcome<Box<dyn Engine>> {
    let (_, open) = ENGINES.iter().find(|(known, _)| *known == name).ok_or_else(|| {
        format!("no engine '{name}' in this build; there are {}", names().join(", "))
    })?;
    std::fs::create_dir_all(&opening.dir)?;
    open(opening)
}
