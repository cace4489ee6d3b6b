//! `tanada load`: many records from a file or standard input.
//!
//! Records go in batches, each acknowledged before it is counted, so that what
//! was reported as loaded is loaded, however the command ends.

use crate::failure::{Failure, Result};
use crate::input::{BadInput, Format, Header, lines};
use crate::place::{Durability, Place, Space};
use crate::record::{DEFAULT_KEYSPACE, Line, Record};
use crate::target::{Missing, Target};
use crate::terminal::{Form, Output, Shade};
use crate::units::{count, size};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tanada::vfs::real::{input_size, open_input};

/// A batch is written when it has so many records …
const BATCH_RECORDS: usize = 1000;
/// … or so many bytes.
const BATCH_BYTES: usize = 1 << 20;

const EXAMPLES: &str = "\
Examples:
  tanada load users.ndjson
  tanada load prices.csv                       columns key and value
  tanada load people.csv --key-column id --value-column name --ignore-column note
  tanada load pairs.csv --no-header            two columns, key and value
  tanada load backup.ndjson.gz                 gzip and Zstandard are read as they are
  generate | tanada load - --format tsv
  tanada load big.ndjson --durability memory   faster; synced once at the end
  tanada dump --data old | tanada load - --data new
  tanada load users.ndjson --url http://127.0.0.1:7878

A line of NDJSON: {\"key\":\"k\",\"value\":\"v\"}
  \"ttl\": 60               seconds until the key expires
  \"expires_at\": \"2026-01-02T03:04:05Z\"   the moment itself
  \"encoding\": \"base64\"   the value is base64; \"key64\" instead of \"key\" for keys
  \"keyspace\": \"users\"    where it belongs; created when missing
A CSV or TSV header names the columns: key (or key64) and value, and if wanted
encoding, ttl, expires_at, keyspace.";

/// Load records from NDJSON, CSV or TSV
///
/// Creates the database when the directory is missing or empty, and keyspaces
/// that a line names. Input that is gzip or Zstandard is decompressed. A line that
/// is not understood to its last byte, with every column, stops the load and is
/// named; all lines before it are loaded, and loading the corrected file once
/// more is harmless.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Load {
    /// The file, or - for standard input
    file: PathBuf,

    /// Form of the input [default: by the file's extension; ndjson for -]
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// The first line of CSV or TSV is a record: a key and a value
    #[arg(long, conflicts_with_all = ["key_column", "value_column", "ignore_column"])]
    no_header: bool,

    /// The column of keys, if its name is not key
    #[arg(long, value_name = "NAME")]
    key_column: Option<String>,

    /// The column of values, if its name is not value
    #[arg(long, value_name = "NAME")]
    value_column: Option<String>,

    /// A column to leave out; may be given several times
    #[arg(long, value_name = "NAME")]
    ignore_column: Vec<String>,

    /// What a batch must survive before it is counted [default: synced]
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

/// What has been acknowledged.
#[derive(Debug, Default)]
struct Loaded {
    records: u64,
    /// Bytes of keys and values.
    bytes: u64,
}

impl Load {
    pub(crate) fn run(self) -> Result<()> {
        let format = match self.format.or_else(|| Format::of(&self.file)) {
            Some(format) => format,
            None => {
                return Err(Failure::new(format!(
                    "the name {} does not tell its form; say --format ndjson, csv or tsv",
                    self.file.display()
                )));
            }
        };
        let header = Header {
            none: self.no_header,
            key: self.key_column.clone(),
            value: self.value_column.clone(),
            ignored: self.ignore_column.clone(),
        };
        if format == Format::Ndjson && header != Header::default() {
            return Err(Failure::new(
                "NDJSON has no columns; leave out --no-header and the names of columns, or say --format csv",
            ));
        }
        let source = open_input(&self.file)
            .map_err(|e| Failure::new(format!("{e}; check the name and the permissions")))?;
        let target = Target::open(&self.place, Missing::Create)?.durability(self.durability);
        let read = Arc::new(AtomicU64::new(0));
        let bar = bar(input_size(&self.file));
        let began = target.now_ns();

        let mut loaded = Loaded::default();
        let source = lines(source, format, &header, target.wall_ms(), Arc::clone(&read));
        let space = self.space.keyspace.as_deref();
        let end = load(&target, space, source, &mut loaded, &mut |loaded| {
            // Relaxed: a number on a screen, ordered with nothing.
            bar.set_position(read.load(Ordering::Relaxed));
            bar.set_message(count(loaded.records));
        });
        bar.finish_and_clear();
        let seconds = (target.now_ns() - began) as f64 / 1e9;
        // What is acknowledged at less than `synced` becomes so here.
        let closed = target.close();

        self.report(&loaded, seconds)?;
        match end {
            Ok(()) => closed,
            Err(End::BadInput(bad)) => Err(Failure::new(format!(
                "{}:{}: {}",
                self.file.display(),
                bad.line,
                bad.what
            ))
            .then(format!(
                "{} records before it are loaded; correct the line and load again, twice is harmless",
                count(loaded.records)
            ))),
            Err(End::Refused(e)) => Err(e.then(format!(
                "{} records are loaded; load again when this is put right, twice is harmless",
                count(loaded.records)
            ))),
        }
    }

    fn report(&self, loaded: &Loaded, seconds: f64) -> Result<()> {
        let rate = loaded.records as f64 / seconds.max(1e-9);
        let mut output = Output::new(self.json);
        match output.form() {
            Form::Json => {
                let answer = serde_json::json!({
                    "loaded": loaded.records,
                    "bytes": loaded.bytes,
                    "seconds": seconds,
                    "records_per_second": rate.round(),
                });
                output.line(&answer.to_string())?;
            }
            Form::Human => {
                let text =
                    output.shade(Shade::Good, &format!("loaded {} records", count(loaded.records)));
                let rate = count(rate.round() as u64);
                output.line(&format!(
                    "{text}, {}, in {seconds:.1} s ({rate} a second)",
                    size(loaded.bytes)
                ))?;
            }
        }
        output.finish()
    }
}

/// Why a load ended before its input.
enum End {
    BadInput(BadInput),
    Refused(Failure),
}

fn load(
    target: &Target,
    space: Option<&str>,
    source: impl Iterator<Item = std::result::Result<(u64, Line), BadInput>>,
    loaded: &mut Loaded,
    progress: &mut dyn FnMut(&Loaded),
) -> std::result::Result<(), End> {
    let mut batch = Batch::default();
    let mut end = Ok(());
    let mut write = |batch: &mut Batch| {
        if batch.records.is_empty() {
            return Ok(());
        }
        let space = target.keyspace(batch.keyspace.as_deref(), Missing::Create);
        space.and_then(|space| space.write(&batch.records)).map_err(End::Refused)?;
        loaded.records += batch.records.len() as u64;
        loaded.bytes += batch.bytes as u64;
        batch.records.clear();
        batch.bytes = 0;
        progress(loaded);
        Ok(())
    };
    for next in source {
        match next.and_then(|(line, said)| in_space(said, space, line)) {
            Ok(Line::Record(record)) => {
                let bytes = record.key.len() + record.value.len();
                // A large record goes alone: a server takes it as raw bytes then.
                if bytes > BATCH_BYTES || record.keyspace != batch.keyspace {
                    write(&mut batch)?;
                    batch.keyspace.clone_from(&record.keyspace);
                }
                batch.bytes += bytes;
                batch.records.push(record);
            }
            Ok(Line::Keyspace(name)) => {
                target.keyspace(Some(&name), Missing::Create).map_err(End::Refused)?;
            }
            Err(bad) => {
                end = Err(End::BadInput(bad));
                break;
            }
        }
        if batch.records.len() >= BATCH_RECORDS || batch.bytes >= BATCH_BYTES {
            write(&mut batch)?;
        }
    }
    // Good lines before a bad one are loaded too.
    write(&mut batch)?;
    end
}

/// Records of one keyspace that are written together.
#[derive(Default)]
struct Batch {
    keyspace: Option<String>,
    records: Vec<Record>,
    /// Bytes of keys and values.
    bytes: usize,
}

/// What `said` means where the command line names a keyspace: that goes for lines that
/// name none, and contradicts those that name another.
fn in_space(said: Line, space: Option<&str>, line: u64) -> std::result::Result<Line, BadInput> {
    let named = match &said {
        Line::Record(record) => record.keyspace.as_deref(),
        Line::Keyspace(name) => Some(&**name),
    };
    if let (Some(space), Some(named)) = (space, named)
        && named != space
    {
        let what = format!(
            "it belongs in the keyspace '{named}', and --keyspace says '{space}'; leave one out"
        );
        return Err(BadInput { line, what });
    }
    let keyspace = named.or(space).filter(|name| *name != DEFAULT_KEYSPACE).map(str::to_owned);
    Ok(match said {
        Line::Record(record) => Line::Record(Record { keyspace, ..record }),
        named @ Line::Keyspace(_) => named,
    })
}

/// Bytes, rate and time left when the size is known; drawn on a terminal only.
fn bar(size_bytes: Option<u64>) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(size_bytes, target);
    let template = match size_bytes {
        Some(_) => {
            "{wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {msg} records, {eta} left"
        }
        None => "{spinner} {binary_bytes} {binary_bytes_per_sec}, {msg} records, {elapsed}",
    };
    bar.set_message("0");
    bar.with_style(ProgressStyle::with_template(template).expect("a template of ours"))
}
