//! `tanada get`: reads one key, and with `--explain` shows the way of the read.

use crate::failure::{Failure, Result};
use crate::place::{Place, Space, key_argument};
use crate::record::decode_base64;
use crate::target::{Missing, Target};
use crate::terminal::{Form, Output, Shade, readable};
use crate::units::nanoseconds;
use clap::Args;
use serde_json::Value;
use std::io::{self, IsTerminal};

const EXAMPLES: &str = "\
Examples:
  tanada get greeting
  tanada get greeting --explain     which tiers were asked, and what they said
  tanada get photo --raw > photo.jpg
  tanada get --base64 /wA= --json
  tanada get greeting --url http://127.0.0.1:7878

Exit code: 0 when the key is there, 1 when it is not.";

/// Read one key
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Get {
    /// The key
    key: String,

    /// KEY is base64
    #[arg(long)]
    base64: bool,

    /// Show every tier that the read asked, its answer, and the time it took
    #[arg(long, conflicts_with = "raw")]
    explain: bool,

    /// The value's bytes and nothing else: no line end, no escapes
    #[arg(long, conflicts_with = "json")]
    raw: bool,

    /// Answer in JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    space: Space,

    #[command(flatten)]
    place: Place,
}

impl Get {
    pub(crate) fn run(self) -> Result<()> {
        let key = key_argument(&self.key, self.base64)?;
        let target = Target::open_to_read(&self.place)?;
        if self.explain {
            let answer = target.space(&self.space, Missing::Refuse)?.explain(&key)?;
            explain(&answer, self.json)?;
            target.close()?;
            let found = answer["found"].as_bool().unwrap_or(answer.get("value").is_some());
            return if found { Ok(()) } else { Err(absent(&key)) };
        }
        let found = target.space(&self.space, Missing::Refuse)?.get(&key)?;
        target.close()?;
        let Some(found) = found else { return Err(absent(&key)) };

        let mut output = Output::plain(self.json);
        if self.raw {
            output.bytes(&found.value)?;
        } else if output.form() == Form::Json {
            output.line(&found.to_json())?;
        } else {
            print_value(&mut output, &found.value)?;
        }
        output.finish()
    }
}

fn absent(key: &[u8]) -> Failure {
    Failure::new(format!("there is no key '{}'", readable(key, 80)))
}

/// Text as it is; bytes that would upset a terminal are escaped there.
fn print_value(output: &mut Output, value: &[u8]) -> Result<()> {
    let upsetting =
        |text: &str| text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r'));
    let plain = std::str::from_utf8(value).is_ok_and(|text| !upsetting(text));
    if plain || !io::stdout().is_terminal() {
        output.bytes(value)?;
        output.bytes(b"\n")
    } else {
        output.line(&readable(value, 4096))?;
        let hint = output.shade(
            Shade::Quiet,
            &format!("({} bytes, not plain text; --raw or --json shows all)", value.len()),
        );
        output.line(&hint)
    }
}

/// The steps as a table, then the value.
fn explain(answer: &Value, json: bool) -> Result<()> {
    let mut output = Output::plain(json);
    if output.form() == Form::Json {
        output.line(&answer.to_string())?;
        return output.finish();
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().replace('_', " ");
    let explain = &answer["explain"];
    let rows: Vec<Vec<String>> = explain["steps"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .enumerate()
        .map(|(i, step)| {
            let time = step["time_ns"].as_u64().unwrap_or_default();
            vec![
                (i + 1).to_string(),
                text(&step["tier"]),
                step["name"].as_str().unwrap_or_default().to_string(),
                text(&step["outcome"]),
                nanoseconds(time),
            ]
        })
        .collect();
    output.table(&["step", "tier", "which", "answer", "time"], &rows)?;
    let total = nanoseconds(explain["total_ns"].as_u64().unwrap_or_default());
    let version = answer["version"].as_u64().map(|v| format!(", version {v}")).unwrap_or_default();
    let line = output.shade(Shade::Quiet, &format!("  {total} in all{version}"));
    output.line(&line)?;
    if let Some(text) = answer["value"].as_str() {
        let value = match answer["encoding"].as_str() {
            Some("base64") => decode_base64(text).map_err(Failure::new)?,
            _ => text.as_bytes().to_vec(),
        };
        let value = readable(&value, 200);
        output.line(&format!("\n{value}"))?;
    }
    output.finish()
}
