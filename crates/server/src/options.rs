//! Where to listen, the bounds on what clients may take, and why starting can fail.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How to serve a database.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Address of the HTTP port. Default `127.0.0.1:7878`; port 0 takes a free one.
    pub http: SocketAddr,
    /// Where clients may have checkpoints made, each by its name; the directory must be
    /// there. Default: none, and such requests are refused.
    pub checkpoint_dir: Option<PathBuf>,
    /// Bounds. The defaults suit everyone but tests.
    pub limits: Limits,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 7878)),
            checkpoint_dir: None,
            limits: Limits::default(),
        }
    }
}

impl ServerOptions {
    /// The defaults.
    pub fn new() -> ServerOptions {
        ServerOptions::default()
    }

    /// Sets the address of the HTTP port.
    pub fn http(mut self, address: SocketAddr) -> ServerOptions {
        self.http = address;
        self
    }

    /// Lets clients have checkpoints made below `path`.
    pub fn checkpoint_dir(mut self, path: impl Into<PathBuf>) -> ServerOptions {
        self.checkpoint_dir = Some(path.into());
        self
    }

    /// Sets the bounds.
    pub fn limits(mut self, limits: Limits) -> ServerOptions {
        self.limits = limits;
        self
    }
}

/// What clients may take of the server, together and each.
///
/// Not offered on the command line: no workload wants other values so far.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections open at once; a further one is answered 503 and closed.
    /// Below the usual 1,024 file descriptors; tables take half of these at most.
    pub max_connections: usize,
    /// Longest request body.
    pub max_body_bytes: usize,
    /// Longest value of a put.
    pub max_value_bytes: usize,
    /// Memory that request bodies longer than 64 KiB may take together.
    pub max_buffered_bytes: usize,
    /// Writes that wait for the committer.
    pub max_queued_writes: usize,
    /// Bytes of keys and values that wait for the committer.
    pub max_queued_bytes: usize,
    /// Reads that may be at the disk at once.
    pub max_disk_reads: usize,
    /// Reads that may wait for their turn at the disk.
    pub max_waiting_reads: usize,
    /// Streamed scans open at once.
    pub max_scans: usize,
    /// A connection that sends no complete request head for so long is closed.
    pub idle_timeout: Duration,
    /// A client that takes nothing of its answer for so long is cut off.
    pub write_timeout: Duration,
    /// A request body must have arrived after so long, plus one second for each MiB.
    pub body_timeout: Duration,
    /// After the signal to stop, requests under way are waited for so long.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_connections: 512,
            max_body_bytes: 64 << 20,
            max_value_bytes: tanada::MAX_VALUE_LEN,
            max_buffered_bytes: 128 << 20,
            max_queued_writes: 4096,
            max_queued_bytes: 128 << 20,
            max_disk_reads: 32,
            max_waiting_reads: 1024,
            max_scans: 32,
            idle_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Why a server could not start or end well.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerError {
    /// The address is open to other machines, and there is neither authentication nor TLS.
    NotLoopback(SocketAddr),
    /// Another process listens there.
    AddressInUse(SocketAddr),
    /// The operating system refused the address.
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The runtime, its threads or its signal handlers could not be had.
    Runtime(io::Error),
    /// The directory for checkpoints is not there, or the database could not be synced or
    /// closed; the text says what is wrong.
    Engine(tanada::Error),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerError::NotLoopback(address) => write!(
                f,
                "refusing to listen on {address}: other machines could read and write everything, for there is no \
                 authentication and no TLS yet; use 127.0.0.1:{port} or [::1]:{port}, and a tunnel (ssh -L) from elsewhere",
                port = address.port()
            ),
            ServerError::AddressInUse(address) => write!(
                f,
                "{address} is in use by another process; stop it, or choose another port with --http {}:0 (any free one)",
                address.ip()
            ),
            ServerError::Bind { address, source } => {
                write!(
                    f,
                    "cannot listen on {address}: {source}; choose another address with --http"
                )
            }
            ServerError::Runtime(source) => {
                write!(
                    f,
                    "cannot start the server's threads: {source}; check the limits on processes and open files"
                )
            }
            ServerError::Engine(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for ServerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ServerError::Bind { source, .. } | ServerError::Runtime(source) => Some(source),
            ServerError::Engine(source) => Some(source),
            ServerError::NotLoopback(_) | ServerError::AddressInUse(_) => None,
        }
    }
}

impl From<tanada::Error> for ServerError {
    fn from(e: tanada::Error) -> ServerError {
        ServerError::Engine(e)
    }
}
