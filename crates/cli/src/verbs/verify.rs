//! `tanada verify`: reads and checks every byte.

use crate::failure::{Failure, Result};
use crate::place::Place;
use crate::target::Target;
use crate::terminal::{Form, Output, Shade};
use crate::units::{count, nanoseconds, size};
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  tanada verify
  tanada verify --data /var/lib/tanada --json

Exit code: 0 when all is well, 1 when anything is damaged.";

/// Said when the database does not even open.
const FIRST_DAMAGE: &str = "this is the first damage found: the database does not open with it, so the rest \
     was not looked at; `tanada repair SOURCE TARGET` reads past it and lists all that is lost";

/// Read and check every byte of every file
///
/// Damage is named by file and offset, and left as it is. A directory is opened
/// first, as by every verb: that recovers what the last process left in the logs,
/// may write it into tables, and begins a new log. A database that cannot be opened
/// names its first damage; `tanada repair` lists all of it. With --url nothing
/// is changed.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Verify {
    /// Answer in JSON even on a terminal
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    place: Place,
}

impl Verify {
    pub(crate) fn run(self) -> Result<()> {
        let target = Target::open_to_read(&self.place).map_err(|e| match e {
            Failure::Damage(_) => e.then(FIRST_DAMAGE),
            other => other,
        })?;
        let began = target.now_ns();
        let report = target.verify()?;
        let time = target.now_ns() - began;
        target.close()?;

        let damage: Vec<&str> = report["damage"]
            .as_array()
            .map(|all| all.iter().filter_map(|one| one.as_str()).collect())
            .unwrap_or_default();
        let mut output = Output::new(self.json);
        if output.form() == Form::Json {
            output.line(&report.to_string())?;
        } else {
            let number = |name: &str| report[name].as_u64().unwrap_or_default();
            let text = format!(
                "{} in {} tables ({} blocks, {} entries) and {} log records, {}",
                size(number("bytes")),
                count(number("tables")),
                count(number("blocks")),
                count(number("entries")),
                count(number("log_records")),
                nanoseconds(time)
            );
            output.line(&text)?;
            if damage.is_empty() {
                let well = output.shade(Shade::Good, "all is well");
                output.line(&well)?;
            }
            for one in &damage {
                let one = output.shade(Shade::Bad, one);
                output.line(&one)?;
            }
        }
        output.finish()?;
        if damage.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!(
            "{} place(s) are damaged, the first: {}",
            damage.len(),
            damage[0]
        ))
        .then("restore the named files from a copy, or save the rest with `tanada repair`; they were left as they are"))
    }
}
