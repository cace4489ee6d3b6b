//! `tanada compact`: merges tables now instead of when the engine sees fit.

use crate::failure::Result;
use crate::place::{Place, Space, argument};
use crate::target::{Missing, Target};
use crate::terminal::{Form, Output, Shade};
use crate::units::{count, nanoseconds, size};
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  tanada compact
  tanada compact --start user: --end user;
  tanada compact --url http://127.0.0.1:7878";

/// Merge tables, and give back the space of what is overwritten, deleted or expired
///
/// The engine does so by itself in the background; this does all of it now and
/// waits. Readers and writers go on meanwhile.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Compact {
    /// Only tables with keys from this one on
    #[arg(long, value_name = "KEY")]
    start: Option<String>,

    /// Only tables with keys before this one
    #[arg(long, value_name = "KEY")]
    end: Option<String>,

    /// --start and --end are base64
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

impl Compact {
    pub(crate) fn run(self) -> Result<()> {
        let bound = |name: &str, text: &Option<String>| {
            text.as_deref().map(|text| argument(name, text, self.base64)).transpose()
        };
        let (start, end) = (bound("--start", &self.start)?, bound("--end", &self.end)?);
        let target = Target::open(&self.place, Missing::Refuse)?;
        let began = target.now_ns();
        let space = target.space(&self.space, Missing::Refuse)?;
        let summary = space.compact(start.as_deref(), end.as_deref())?;
        drop(space);
        let time = target.now_ns() - began;
        target.close()?;

        let mut output = Output::new(self.json);
        if output.form() == Form::Json {
            output.line(&summary.to_string())?;
            return output.finish();
        }
        let number = |name: &str| summary[name].as_u64().unwrap_or_default();
        let (before, after) = (number("bytes_before"), number("bytes_after"));
        output.table(
            &["", "tables", "size"],
            &[
                vec!["before".into(), count(number("tables_before")), size(before)],
                vec!["after".into(), count(number("tables_after")), size(after)],
            ],
        )?;
        let text = format!(
            "{} entries dropped, {} given back, {} jobs, {}",
            count(number("entries_dropped")),
            size(before.saturating_sub(after)),
            count(number("jobs")),
            nanoseconds(time)
        );
        let text = output.shade(Shade::Good, &text);
        output.line(&text)?;
        output.finish()
    }
}
