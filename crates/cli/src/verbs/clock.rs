//! `tanada clock`: the time that is believed, and the word of a person that the clock is
//! right.

use crate::failure::{Failure, Result};
use crate::place::Place;
use crate::record::format_time;
use crate::target::{Missing, Target};
use crate::terminal::{Form, Output, Shade};
use crate::units::nanoseconds;
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  tanada clock --url http://localhost:7878
  date && tanada clock --trust --url http://localhost:7878

Exit code: 0 when the clock is believed, 1 when it is not.";

/// Show by which time keys expire, or say that the clock is right
///
/// A clock that is set further ahead than elapsed time allows is not believed: a wrong
/// one would let keys expire that are still wanted. Time goes on without it until it is
/// set right. Where it was right, as on a virtual machine that was stopped for hours,
/// --trust says so. An opening believes the clock, so on a directory this is rarely needed.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Clock {
    /// The clock is right now: believe it
    #[arg(long)]
    trust: bool,

    /// Answer in JSON even on a terminal
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    place: Place,
}

impl Clock {
    pub(crate) fn run(self) -> Result<()> {
        let target = Target::open(&self.place, Missing::Refuse)?;
        let clock = target.clock(self.trust)?;
        target.close()?;
        let ms = |name: &str| clock[name].as_u64().unwrap_or_default();
        let state = clock["state"].as_str().unwrap_or_default();
        let mut output = Output::new(self.json);
        if output.form() == Form::Json {
            output.line(&clock.to_string())?;
        } else {
            output.line(&format!("the clock says  {}", format_time(ms("wall_ms"))))?;
            output.line(&format!("believed        {}", format_time(ms("believed_ms"))))?;
            output.line(&format!("removed up to   {}", format_time(ms("removable_ms"))))?;
            let shade = if state == "believed" { Shade::Good } else { Shade::Bad };
            let state = output.shade(shade, state);
            output.line(&format!("the clock is    {state}"))?;
        }
        output.finish()?;
        if state == "believed" {
            return Ok(());
        }
        let held = nanoseconds(ms("held_for_ms") * 1_000_000);
        Err(Failure::new(format!(
            "the clock is {state}, and has not been believed for {held}: keys expire by {}",
            format_time(ms("believed_ms"))
        ))
        .then("set the clock right; or, if it is right, say so with `tanada clock --trust`"))
    }
}
