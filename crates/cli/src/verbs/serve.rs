//! `tanada serve`: the database as a server.

use crate::failure::{Failure, Result};
use crate::place::Durability;
use crate::terminal::{Output, Shade};
use crate::units::{count, parse_size, size};
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;
use tanada::Db;
use tanada_server::{Server, ServerOptions};

const EXAMPLES: &str = "\
Examples:
  tanada serve
  tanada serve --data /var/lib/tanada --memory 4GiB
  tanada serve --checkpoint-dir /backup       POST /v1/admin/checkpoints makes copies there
  tanada serve --http 127.0.0.1:0             any free port; the first lines say which

Then, in another terminal:
  curl -X POST 'http://127.0.0.1:7878/put?key=hello&value=world'
  curl 'http://127.0.0.1:7878/get?key=hello'

SIGTERM or Ctrl-C stops it: no new requests are taken, those under way are
finished, everything is synced, and the exit code is 0.";

/// Serve a database over HTTP
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {
    /// The database's directory, created when missing; no other process may hold it
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data: PathBuf,

    /// Address of the HTTP port; on loopback, for there is no authentication yet
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7878")]
    http: SocketAddr,

    /// Lets clients have checkpoints made in this directory, which must be there: POST /v1/admin/checkpoints
    #[arg(long, value_name = "DIR")]
    checkpoint_dir: Option<PathBuf>,

    /// Hard budget for MemTables, caches, indexes, filters and buffers: 512MiB, 4g [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,

    /// What a write must survive before it is acknowledged, unless its request says otherwise
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "synced")]
    durability: Durability,
}

impl Serve {
    pub(crate) fn run(self) -> Result<()> {
        let mut builder = Db::builder(&self.data).durability(self.durability.into());
        if let Some(memory) = self.memory {
            builder = builder.memory(memory);
        }
        let db = builder.open()?;
        let stats = db.stats();
        let mut options = ServerOptions::new().http(self.http);
        if let Some(checkpoints) = &self.checkpoint_dir {
            options = options.checkpoint_dir(checkpoints);
        }
        let server = Server::bind(options, db).map_err(failure)?;
        self.welcome(&stats, server.local_addr())?;
        server.serve().map_err(failure)?;
        let mut output = Output::plain(false);
        output.line("stopped: requests under way are answered, everything is synced")?;
        output.finish()
    }

    /// The first screen: where everything is, and what to try.
    fn welcome(&self, stats: &tanada::Stats, address: SocketAddr) -> Result<()> {
        let entries: u64 =
            stats.keyspaces.iter().map(|k| k.table_entries + k.memtable_entries).sum();
        let tables: u64 =
            stats.keyspaces.iter().flat_map(|k| &k.levels).map(|level| level.tables).sum();
        let content = match entries {
            0 => "empty".to_string(),
            n => format!("{} entries, {} tables", count(n), count(tables)),
        };
        let promise = match self.durability {
            Durability::Memory => "memory: a write may be lost with the process",
            Durability::Buffered => "buffered: a write survives a killed process, not a power cut",
            Durability::Synced => "synced: a write survives a power cut",
        };
        let mut output = Output::plain(false);
        let name = output.shade(Shade::Title, concat!("tanada ", env!("CARGO_PKG_VERSION")));
        output.line(&name)?;
        let path = std::path::absolute(&stats.path).unwrap_or_else(|_| stats.path.clone());
        output.line(&format!("  data        {} ({content})", path.display()))?;
        output.line(&format!("  http        http://{address}"))?;
        output.line(&format!("  memory      {}", size(stats.memory.budget_bytes)))?;
        output.line(&format!("  durability  {promise}"))?;
        if let Some(checkpoints) = &self.checkpoint_dir {
            output.line(&format!("  checkpoints {}", checkpoints.display()))?;
        }
        output.line("")?;
        output.line("try it:")?;
        output.line(&format!("  curl -X POST 'http://{address}/put?key=hello&value=world'"))?;
        output.line(&format!("  curl 'http://{address}/get?key=hello&explain=true'"))?;
        output.line(&format!("  curl -H 'Accept: text/plain' 'http://{address}/stats'"))?;
        output.line("")?;
        let stop = output.shade(Shade::Quiet, "Ctrl-C stops it, with everything synced");
        output.line(&stop)?;
        output.finish()
    }
}

fn failure(e: tanada_server::ServerError) -> Failure {
    match e {
        tanada_server::ServerError::Engine(e) => e.into(),
        e => Failure::new(e.to_string()),
    }
}
