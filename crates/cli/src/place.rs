//! The arguments that all verbs share: which database, and how keys are written.

use crate::failure::{Failure, Result};
use crate::record::{check_keyspace, decode_base64};
use crate::units::parse_size;
use clap::Args;
use std::path::PathBuf;

/// Which database: a directory on this machine, or a server.
#[derive(Args, Debug)]
pub(crate) struct Place {
    /// The database's directory; no other process may hold it
    #[arg(long, value_name = "DIR", default_value = "./data", help_heading = "Database")]
    pub(crate) data: PathBuf,

    /// A server's address instead, such as http://127.0.0.1:7878
    #[arg(long, value_name = "URL", conflicts_with = "data", help_heading = "Database")]
    pub(crate) url: Option<String>,

    /// Memory budget while the directory is open: 512MiB, 4g; a value takes up to 3/16 of it [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, conflicts_with = "url", help_heading = "Database")]
    pub(crate) memory: Option<u64>,
}

/// Which keyspace of it.
#[derive(Args, Debug)]
pub(crate) struct Space {
    /// The keyspace [default: default]
    #[arg(long, value_name = "NAME", value_parser = keyspace_name, help_heading = "Database")]
    pub(crate) keyspace: Option<String>,
}

fn keyspace_name(text: &str) -> std::result::Result<String, String> {
    check_keyspace(text).map(|()| text.to_owned())
}

/// How much a write must survive before it counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Durability {
    /// May be lost with the process; for bulk loads
    Memory,
    /// In the kernel: survives a killed process, not a power cut
    Buffered,
    /// On the device: survives a power cut
    Synced,
}

impl From<Durability> for tanada::Durability {
    fn from(durability: Durability) -> tanada::Durability {
        match durability {
            Durability::Memory => tanada::Durability::Memory,
            Durability::Buffered => tanada::Durability::Buffered,
            Durability::Synced => tanada::Durability::Synced,
        }
    }
}

impl Durability {
    /// As the server's `durability` parameter writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Durability::Memory => "memory",
            Durability::Buffered => "buffered",
            Durability::Synced => "synced",
        }
    }
}

/// The bytes that an argument stands for.
pub(crate) fn argument(name: &str, text: &str, base64: bool) -> Result<Vec<u8>> {
    if base64 {
        decode_base64(text).map_err(|e| Failure::new(e).before(name))
    } else {
        Ok(text.as_bytes().to_vec())
    }
}

/// A key argument, within the bounds of a key.
pub(crate) fn key_argument(text: &str, base64: bool) -> Result<Vec<u8>> {
    let key = argument("KEY", text, base64)?;
    match key.len() {
        0 => Err(Failure::new("the key is empty; a key has 1 to 65536 bytes")),
        n if n > tanada::MAX_KEY_LEN => Err(Failure::new(format!(
            "the key has {n} bytes; a key has 1 to {}",
            tanada::MAX_KEY_LEN
        ))),
        _ => Ok(key),
    }
}
