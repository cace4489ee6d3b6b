//! `tanada put`: writes one key.

use crate::condition::Condition;
use crate::failure::{Failure, Result};
use crate::place::{Durability, Place, Space, argument, key_argument};
use crate::record::{Expiry, Record};
use crate::target::{Missing, Target};
use crate::terminal::{Form, Output, Shade};
use crate::units::parse_duration;
use clap::Args;
use std::io::{self, Read};
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  tanada put greeting hello
  tanada put session:7 token --ttl 30m
  tanada put photo < photo.jpg
  tanada put --base64 /wA= aGVsbG8=
  tanada put leader me --if-absent      one of many wins
  tanada put count 8 --if-version 12    only while it is what I read (get --json)
  tanada put greeting hello --url http://127.0.0.1:7878

Exit code: 0 when it is written, 3 when --if-absent or --if-version does not hold; then
nothing is changed. 1 on any other error.";

/// Write one key
///
/// Creates the database when the directory is missing or empty. When the
/// command succeeds the value is on the disk, unless --durability asks for less.
/// With --if-absent or --if-version no other write comes between the check and
/// the put.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Put {
    /// The key: 1 to 65536 bytes
    key: String,

    /// The value; without it, all of standard input
    value: Option<String>,

    /// KEY and VALUE are base64 (standard input is taken as it is)
    #[arg(long)]
    base64: bool,

    /// The key disappears after this long: 500ms, 30s, 5m, 12h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    ttl: Option<Duration>,

    /// Write only if the key has no value
    #[arg(long, conflicts_with = "if_version")]
    if_absent: bool,

    /// Write only if the key has this version: that of `get --json`, and the seq of its last put
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

impl Put {
    pub(crate) fn run(self) -> Result<()> {
        let key = key_argument(&self.key, self.base64)?;
        let value = match &self.value {
            Some(text) => argument("VALUE", text, self.base64)?,
            None => standard_input()?,
        };
        let ttl_ms = |ttl: Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let expiry = self.ttl.map_or(Expiry::Never, |ttl| Expiry::In(ttl_ms(ttl)));
        let record = Record { key, value, expiry, ..Record::default() };
        let record = record.checked().map_err(Failure::new)?;

        let condition = match self.if_version {
            Some(version) => Some(Condition::Version(version)),
            None => self.if_absent.then_some(Condition::Absent),
        };
        // A key that has a version is in a database and a keyspace that exist.
        let missing = match condition {
            Some(Condition::Version(_)) => Missing::Refuse,
            Some(Condition::Absent) | None => Missing::Create,
        };

        let target = Target::open(&self.place, missing)?.durability(self.durability);
        let seq = target.space(&self.space, missing)?.put(&record, condition)?;
        target.close()?;
        written(seq, self.json)
    }
}

/// Says that a write is done, as `put` and `delete` do.
pub(crate) fn written(seq: u64, json: bool) -> Result<()> {
    let mut output = Output::new(json);
    match output.form() {
        Form::Human => {
            let ok = output.shade(Shade::Good, "ok");
            output.line(&format!("{ok}, seq {seq}"))?;
        }
        Form::Json => output.line(&serde_json::json!({ "ok": true, "seq": seq }).to_string())?,
    }
    output.finish()
}

fn standard_input() -> Result<Vec<u8>> {
    let mut value = Vec::new();
    // One byte more than allowed, so that too much is told from just enough.
    let limit = tanada::MAX_VALUE_LEN as u64 + 1;
    io::stdin()
        .lock()
        .take(limit)
        .read_to_end(&mut value)
        .map_err(|e| Failure::new(format!("cannot read the value from standard input: {e}")))?;
    Ok(value)
}
