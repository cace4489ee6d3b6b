//! `tanada dump`: everything, in the form that `load` reads back byte for byte.

use crate::failure::Result;
use crate::place::Place;
use crate::target::{Missing, Target};
use crate::terminal::Output;
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  tanada dump > backup.ndjson
  tanada dump | gzip > backup.ndjson.gz
  tanada dump --url http://127.0.0.1:7878 | tanada load - --data copy";

/// Write all records as lines of JSON
///
/// One line a record: {\"key\",\"value\"}, with \"key64\" or \"encoding\":\"base64\" for
/// what is not UTF-8, and \"expires_at\" for keys that expire. `tanada load` reads
/// it back byte for byte. All of it is of one moment, a server's too.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Dump {
    #[command(flatten)]
    place: Place,
}

impl Dump {
    pub(crate) fn run(self) -> Result<()> {
        let target = Target::open(&self.place, Missing::Refuse)?;
        let mut output = Output::new(true);
        target.everything(&mut |record| output.line(&record.to_json()))?;
        output.finish()?;
        target.close()
    }
}
