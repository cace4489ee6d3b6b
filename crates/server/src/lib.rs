//! Tanada over HTTP: one database behind a port on loopback.
//!
//! The server sits on the engine's public API alone and adds what a network
//! needs: parsing, bounds on everything a client may take, one committer that
//! merges concurrent writes into commit groups, and words that say what to do.
//! What each request means is in `docs/guide/http.md`.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tanada_server::{Server, ServerOptions};
//!
//! let db = tanada::Db::open("data")?;
//! let server = Server::bind(ServerOptions::default(), db)?;
//! println!("listening on http://{}", server.local_addr());
//! server.serve()?; // until SIGTERM or SIGINT
//! # Ok(())
//! # }
//! ```
//!
//! The rooms, in reading order: `options` and `problem` (words), `encoding`,
//! `query`, `etag`, `input` (what a client says), `reply` and `json` (what it
//! is told), `body` (reading it within bounds), `write_queue` and `committer`
//! (all writes), `pool` (all reads that may touch the disk), `jobs`, `app`
//! (what every handler shares), `routes`, `connection` and `server`.

mod app;
mod body;
mod committer;
mod connection;
mod encoding;
mod etag;
mod guard;
mod input;
mod jobs;
mod json;
mod options;
mod pool;
mod problem;
mod query;
mod reply;
mod routes;
mod server;
mod write_queue;

pub use options::{Limits, ServerError, ServerOptions};
pub use server::{BoundServer, Server, shutdown_signal};
