//! `tanada delete`: deletes one key.

use super::put::written;
use crate::condition::Condition;
use crate::failure::Result;
use crate::place::{Durability, Place, Space, key_argument};
use crate::target::{Missing, Target};
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  tanada delete greeting
  tanada delete --base64 /wA=
  tanada delete leader --if-version 12    only while it is what I read (get --json)
  tanada delete greeting --url http://127.0.0.1:7878

Exit code: 0 when the key is gone, 3 when --if-version does not hold; then nothing is
changed. 1 on any other error.";

/// Delete one key
///
/// Succeeds whether the key was there or not: afterwards it is not. With
/// --if-version it must be there.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Delete {
    /// The key
    key: String,

    /// KEY is base64
    #[arg(long)]
    base64: bool,

    /// Delete only if the key has this version: that of `get --json`, and the seq of its last put
    #[arg(long, value_name = "N")]
    if_version: Option<u64>,

    /// What the write must survive before it counts as done [default: synced]
    #[arg(long, value_enum, value_name = "LEVEL")]
    durability: Option<Durability>,

    /// Answer in JSON even on a terminal
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    space: Space,

    #[command(flatten)]
    place: Place,
}

impl Delete {
    pub(crate) fn run(self) -> Result<()> {
        let key = key_argument(&self.key, self.base64)?;
        let condition = self.if_version.map(Condition::Version);
        let target = Target::open(&self.place, Missing::Refuse)?.durability(self.durability);
        let seq = target.space(&self.space, Missing::Refuse)?.delete(&key, condition)?;
        target.close()?;
        written(seq, self.json)
    }
}
