//! `tanada repair`: saves what can be saved of a damaged database.

use crate::failure::{Failure, Result};
use crate::terminal::{Form, Output, Shade, readable};
use crate::units::{count, size};
use clap::Args;
use std::path::PathBuf;
use tanada::vfs::Env;
use tanada::{LostPart, RepairReport};

/// So much of a key is shown to a person.
const KEY_CHARS: usize = 40;

const EXAMPLES: &str = "\
Examples:
  tanada repair data saved
  tanada repair /var/lib/tanada /var/lib/tanada.saved --json > repaired.json

The directory to be repaired is only read, and must not be in use. Look at what
the new one holds, run `tanada verify` on it, and only then put it into the
place of the old one.

Exit code: 0 when nothing is lost, 1 when something is.";

/// Save what can be saved of a damaged database into a new one
///
/// Lists what is lost: of tables which keys, of logs which writes. Keys of which
/// a newer value may be lost are left out: an older one is never put in its place.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Repair {
    /// The damaged database's directory; nothing is written to it
    #[arg(value_name = "SOURCE")]
    from: PathBuf,

    /// The new database's directory; empty or not there
    #[arg(value_name = "TARGET")]
    to: PathBuf,

    /// Answer in JSON even on a terminal
    #[arg(long)]
    json: bool,
}

impl Repair {
    pub(crate) fn run(self) -> Result<()> {
        let report = tanada::repair(&Env::real(), &self.from, &self.to)?;
        let mut output = Output::new(self.json);
        if output.form() == Form::Json {
            let json = serde_json::to_string(&report)
                .map_err(|e| Failure::new(format!("cannot write the report: {e}")))?;
            output.line(&json)?;
        } else {
            show(&mut output, &report)?;
        }
        output.finish()?;
        if report.lost.is_empty() && report.doubtful == 0 {
            return Ok(());
        }
        Err(Failure::new(format!(
            "{} part(s) are lost, and {} key(s) were left out because their newest value may be",
            report.lost.len(),
            report.doubtful
        ))
        .then(format!("what could be saved is in {}", self.to.display())))
    }
}

fn show(output: &mut Output, report: &RepairReport) -> Result<()> {
    let whole = report.files.iter().filter(|file| file.whole).count();
    let bytes = report.files.iter().map(|file| file.bytes).sum();
    output.line(&format!(
        "{} tables and logs read, {}; {} of them whole",
        count(report.files.len() as u64),
        size(bytes),
        count(whole as u64)
    ))?;
    for (keyspace, keys) in &report.keys {
        output.line(&format!("{} keys saved in keyspace {keyspace:?}", count(*keys)))?;
    }
    for what in &report.damage {
        output.line(&format!("damaged: {what}"))?;
    }
    for what in &report.assumed {
        output.line(&format!("assumed: {what}"))?;
    }
    for part in &report.lost {
        let line = output.shade(Shade::Bad, &lost(part));
        output.line(&line)?;
    }
    for key in &report.doubtful_keys {
        output.line(&format!("left out: {key}"))?;
    }
    if report.lost.is_empty() {
        let well = output.shade(Shade::Good, "nothing is lost");
        output.line(&well)?;
    }
    Ok(())
}

/// One lost part as a line.
fn lost(part: &LostPart) -> String {
    let mut text = format!("lost: {} at offset {}, {} bytes", part.file, part.offset, part.bytes);
    if let Some(entries) = part.entries {
        text += &format!(", {} entries", count(entries));
    }
    if let Some(keyspace) = &part.keyspace {
        text += &format!(" of keyspace {keyspace:?}");
    }
    let key = |key: &Option<Vec<u8>>| {
        key.as_ref().map_or("…".to_owned(), |key| readable(key, KEY_CHARS))
    };
    if part.from_key.is_some() || part.to_key.is_some() {
        text += &format!(", keys {} to {}", key(&part.from_key), key(&part.to_key));
    }
    if let (Some(first), Some(last)) = (part.first_seqno, part.last_seqno) {
        text += &format!(", writes {first} to {last}");
    }
    format!("{text}: {}", part.what)
}
