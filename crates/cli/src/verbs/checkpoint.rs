//! `tanada checkpoint`: the whole database at one moment, as a database of its own.

use crate::client::Client;
use crate::failure::Result;
use crate::place::Place;
use crate::target::{Missing, Target};
use crate::terminal::{Form, Output, Shade};
use crate::units::{count, nanoseconds, size};
use clap::{Args, Subcommand};

const EXAMPLES: &str = "\
Examples:
  tanada checkpoint create /backup/monday
  tanada checkpoint create monday --url http://127.0.0.1:7878
  tanada checkpoint list --url http://127.0.0.1:7878
  tanada checkpoint delete monday --url http://127.0.0.1:7878

A checkpoint is a directory that every verb opens with --data:
  tanada verify --data /backup/monday

docs/guide/backup.md tells how to back up and restore.";

/// Make copies of the whole database at one moment, while it is used
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Checkpoint {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    Create(Create),
    List(List),
    Delete(Delete),
}

/// Make a checkpoint: tables are linked, or copied to another file system
#[derive(Args, Debug)]
struct Create {
    /// A new directory; with --url a name, below the server's --checkpoint-dir
    #[arg(value_name = "DIR")]
    place: String,

    /// Answer in JSON even on a terminal
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    database: Place,
}

/// List the checkpoints of a server
#[derive(Args, Debug)]
struct List {
    /// Answer in JSON even on a terminal
    #[arg(long)]
    json: bool,

    /// The server's address, such as http://127.0.0.1:7878
    #[arg(long, value_name = "URL")]
    url: String,
}

/// Delete a checkpoint of a server
#[derive(Args, Debug)]
struct Delete {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,

    /// The server's address, such as http://127.0.0.1:7878
    #[arg(long, value_name = "URL")]
    url: String,
}

impl Checkpoint {
    pub(crate) fn run(self) -> Result<()> {
        match self.action {
            Action::Create(create) => create.run(),
            Action::List(list) => list.run(),
            Action::Delete(delete) => Client::new(&delete.url)?.delete_checkpoint(&delete.name),
        }
    }
}

impl Create {
    fn run(self) -> Result<()> {
        let target = Target::open(&self.database, Missing::Refuse)?;
        let summary = target.checkpoint(&self.place)?;
        target.close()?;
        let mut output = Output::new(self.json);
        if output.form() == Form::Json {
            output.line(&summary.to_string())?;
            return output.finish();
        }
        let number = |name: &str| summary[name].as_u64().unwrap_or_default();
        let text = format!(
            "{} tables linked ({}), {} copied, {} written, up to write {}, {}",
            count(number("tables").saturating_sub(number("copied_tables"))),
            size(number("linked_bytes")),
            count(number("copied_tables")),
            size(number("written_bytes")),
            count(number("seqno")),
            nanoseconds(number("duration_ms") * 1_000_000)
        );
        let text = output.shade(Shade::Good, &text);
        output.line(&text)?;
        output.finish()
    }
}

impl List {
    fn run(self) -> Result<()> {
        let listed = Client::new(&self.url)?.checkpoints()?;
        let mut output = Output::new(self.json);
        if output.form() == Form::Json {
            output.line(&listed.to_string())?;
            return output.finish();
        }
        let entries = listed["checkpoints"].as_array().map(Vec::as_slice).unwrap_or_default();
        let row = |entry: &serde_json::Value| {
            let bytes = entry["bytes"].as_u64().unwrap_or_default();
            vec![entry["name"].as_str().unwrap_or_default().to_owned(), size(bytes)]
        };
        let rows: Vec<_> = entries.iter().map(row).collect();
        output.table(&["checkpoint", "size"], &rows)?;
        output.finish()
    }
}
