//! `tanada scan`: keys and values in order.

use crate::failure::Result;
use crate::place::{Place, Space, argument};
use crate::target::{Missing, Scan as Range, Target};
use crate::terminal::{Form, Output, Shade, readable};
use crate::units::count;
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  tanada scan --prefix user: --limit 20
  tanada scan --start a --end m              from a (included) to m (not included)
  tanada scan --reverse --limit 1            the last key
  tanada scan --keys-only | wc -l            one line of JSON a key when not on a terminal
  tanada scan --url http://127.0.0.1:7878";

/// Show keys and values in order
///
/// On a terminal a table with shortened values; otherwise, or with --json, one
/// line of JSON a record, whole, with its version and expiry, in the form that `tanada
/// load` reads.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Scan {
    /// Only keys that begin with this
    #[arg(long, value_name = "KEY")]
    prefix: Option<String>,

    /// Only keys from this one on
    #[arg(long, value_name = "KEY")]
    start: Option<String>,

    /// Only keys before this one
    #[arg(long, value_name = "KEY")]
    end: Option<String>,

    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,

    /// From the last key to the first
    #[arg(long)]
    reverse: bool,

    /// Keys without values
    #[arg(long)]
    keys_only: bool,

    /// --prefix, --start and --end are base64
    #[arg(long)]
    base64: bool,

    /// Answer in JSON even on a terminal
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    space: Space,

    #[command(flatten)]
    place: Place,
}

impl Scan {
    pub(crate) fn run(self) -> Result<()> {
        let bound = |name: &str, text: &Option<String>| {
            text.as_deref().map(|text| argument(name, text, self.base64)).transpose()
        };
        let range = Range {
            prefix: bound("--prefix", &self.prefix)?,
            start: bound("--start", &self.start)?,
            end: bound("--end", &self.end)?,
            limit: self.limit,
            reverse: self.reverse,
            keys_only: self.keys_only,
        };
        let target = Target::open_to_read(&self.place)?;
        let mut output = Output::new(self.json);
        let mut seen = 0;
        target.space(&self.space, Missing::Refuse)?.scan(&range, &mut |record| {
            seen += 1;
            match (output.form(), self.keys_only) {
                (Form::Json, true) => output.line(&record.key_to_json()),
                (Form::Json, false) => output.line(&record.to_json()),
                (Form::Human, true) => output.line(&readable(&record.key, 200)),
                (Form::Human, false) => {
                    let key = readable(&record.key, 40);
                    let space = " ".repeat(40usize.saturating_sub(key.chars().count()));
                    let value = output.shade(Shade::Quiet, &readable(&record.value, 60));
                    output.line(&format!("{key}{space}  {value}"))
                }
            }
        })?;
        if output.form() == Form::Human {
            let line = output.shade(Shade::Title, &format!("{} keys", count(seen)));
            output.line(&line)?;
        }
        output.finish()?;
        target.close()
    }
}
