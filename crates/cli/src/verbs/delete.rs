//! `tanada delete`: deletes one key.

use super::put::written;
use crate::failure::Result;
use crate::place::{Durability, Place, Space, key_argument};
use crate::target::{Missing, Target};
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  tanada delete greeting
  tanada delete --base64 /wA=
  tanada delete greeting --url http://127.0.0.1:7878";

/// Delete one key
///
/// Succeeds whether the key was there or not: afterwards it is not.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Delete {
    /// The key
    key: String,

    /// KEY is base64
    #[arg(long)]
    base64: bool,

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
        let target = Target::open(&self.place, Missing::Refuse)?.durability(self.durability);
        let seq = target.space(&self.space, Missing::Refuse)?.delete(&key)?;
        target.close()?;
        written(seq, self.json)
    }
}
