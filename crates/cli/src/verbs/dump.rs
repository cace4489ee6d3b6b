//! `tanada dump`: everything, in the form that `load` reads back byte for byte.

use crate::failure::Result;
use crate::place::{Place, Space};
use crate::target::Target;
use crate::terminal::Output;
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  tanada dump > backup.ndjson
  tanada dump | gzip > backup.ndjson.gz        tanada load reads it as it is
  tanada dump --keyspace users > users.ndjson
  tanada dump --url http://127.0.0.1:7878 | tanada load - --data copy";

/// Write all records of all keyspaces as lines of JSON
///
/// One line a record: {\"key\",\"value\",\"version\"}, with \"key64\" or
/// \"encoding\":\"base64\" for what is not UTF-8, \"expires_at\" for keys that expire,
/// and \"keyspace\" for all but the default one; a line {\"keyspace\"} begins each of
/// those. `tanada load` reads it back byte for byte. All of it is of one moment, a
/// server's too.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Dump {
    /// This keyspace alone [default: all]
    #[command(flatten)]
    space: Space,

    #[command(flatten)]
    place: Place,
}

impl Dump {
    pub(crate) fn run(self) -> Result<()> {
        let target = Target::open_to_read(&self.place)?;
        let mut output = Output::new(true);
        target.dump(self.space.keyspace.as_deref(), &mut |line| output.line(&line.to_json()))?;
        output.finish()?;
        target.close()
    }
}
