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
//! The rooms, in reading order: `options`, `encoding`, `json`, `reply` and
//! `problem` (what a client is told), `query`, `etag` and `input` (what it
//! says), `memory` (what requests take of the budget), `body` (reading it within bounds), `write_queue` and `committer` (all
//! writes), `pool` (reads that may touch the disk), `jobs`, `clients` (who is
//! connected), `app` (what every handler shares), `guard`, `routes`,
//! `connection` and `server`.

mod options;
mod encoding;
mod json;
mod reply;
mod problem;
mod query;
mod etag;
mod input;
mod memory;
mod body;
mod write_queue;
mod committer;
mod pool;
mod jobs;
mod clients;
mod app;
mod space;
mod guard;
mod routes;
mod connection;
mod server;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;

pub use options::{Limits, ServerError, ServerOptions};
pub use server::{BoundServer, Server, shutdown_signal};
