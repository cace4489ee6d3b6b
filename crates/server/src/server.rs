//! Listening, accepting, and ending well.

use crate::app::App;
use crate::committer::{self, Database};
use crate::connection;
use crate::options::{ServerError, ServerOptions};
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tanada::vfs::Env;
use tanada::{CheckpointDir, Db};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

/// Connections at once that are told that there is no place for them.
const MAX_REFUSALS: usize = 64;

/// How often the sweeper looks.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How long a blocking thread may outlive the server.
const THREAD_GRACE: Duration = Duration::from_secs(5);

/// Serves a database over HTTP.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Takes the address; serves nothing yet.
    ///
    /// The server must be the only writer of `db` while it
    /// runs: conditional requests are exact among requests only.
    ///
    /// # Errors
    /// [`ServerError::NotLoopback`], [`ServerError::AddressInUse`] or [`ServerError::Bind`];
    /// [`ServerError::Engine`] when the directory for checkpoints cannot be used.
    pub fn bind(options: ServerOptions, db: Db) -> Result<BoundServer, ServerError> {
        let address = options.http;
        if !address.ip().is_loopback() {
            return Err(ServerError::NotLoopback(address));
        }
        let env = Env::real();
        let checkpoints = options.checkpoint_dir.as_ref();
        let checkpoints = checkpoints.map(|path| CheckpointDir::open(&env, path)).transpose()?;
        let fail = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ServerError::AddressInUse(address),
            _ => ServerError::Bind { address, source },
        };
        let listener = StdListener::bind(address).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let local_addr = listener.local_addr().map_err(fail)?;
        Ok(BoundServer { listener, local_addr, options, checkpoints, db })
    }
}

/// A server that has its address. Clients can connect, and are served once it runs.
#[derive(Debug)]
pub struct BoundServer {
    listener: StdListener,
    local_addr: SocketAddr,
    options: ServerOptions,
    checkpoints: Option<CheckpointDir>,
    db: Db,
}

impl BoundServer {
    /// The address, with the port that port 0 became.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until SIGTERM or SIGINT, on a runtime of its own. Blocks.
    ///
    /// # Errors
    /// [`ServerError::Runtime`], or [`ServerError::Engine`] when the database could not be closed well.
    pub fn serve(self) -> Result<(), ServerError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("tanada-http")
            .enable_all()
            .build()
            .map_err(ServerError::Runtime)?;
        let result = runtime.block_on(async {
            let stop = shutdown_signal().map_err(ServerError::Runtime)?;
            self.run_until(stop).await
        });
        runtime.shutdown_timeout(THREAD_GRACE);
        result
    }

    /// Serves until `shutdown` is ready, in the runtime it is called in (multi-threaded, with time and I/O).
    ///
    /// Then: no new connections; requests under way are answered, within
    /// [`crate::Limits::drain_timeout`]; all writes taken are committed; the
    /// database is synced and closed.
    ///
    /// # Errors
    /// [`ServerError::Runtime`], or [`ServerError::Engine`] when the database could not be closed well.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let listener = TcpListener::from_std(self.listener).map_err(ServerError::Runtime)?;
        let app = Arc::new(App::new(self.db, self.options.limits, self.checkpoints));
        // Should this future be dropped, nothing of it lives on.
        let _ends = Ends(Arc::clone(&app));
        let committer = tokio::task::spawn_blocking({
            let app = Arc::clone(&app);
            move || {
                let database = Database { db: app.db.clone(), keyspace: app.keyspace.clone() };
                committer::run(&app.writes, app.group, &database, &app.commits);
            }
        });
        let mut shutdown = pin!(shutdown);
        tokio::select! {
            () = accept(&app, &listener) => {}
            () = sweep(&app) => {}
            () = &mut shutdown => {}
        }
        drop(listener);
        app.draining.store(true, Ordering::Relaxed);
        drain(&app).await;
        app.writes.close();
        let committed = committer.await;
        let db = app.db.clone();
        let closed = tokio::task::spawn_blocking(move || db.close()).await;
        match (committed, closed) {
            (_, Ok(Err(e))) => Err(e.into()),
            (Ok(()), Ok(Ok(()))) => Ok(()),
            (Err(panic), _) | (_, Err(panic)) => Err(ServerError::Runtime(io::Error::other(panic))),
        }
    }
}

/// Ends everything that runs for a server.
struct Ends(Arc<App>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.writes.close();
        self.0.connections.cut();
    }
}

/// Ready at the first SIGTERM or SIGINT. Must be called inside a tokio runtime.
///
/// # Errors
/// When the signals cannot be listened to.
pub fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Accepts for ever.
async fn accept(app: &Arc<App>, listener: &TcpListener) {
    let places = Arc::new(Semaphore::new(app.limits.max_connections));
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // A client that left again at once, or no file descriptor: give the
            // others time to end rather than spin.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let entry = app.connections.begin();
            tokio::spawn(connection::serve(Arc::clone(app), entry, stream, place));
        } else {
            app.connections.count_refused();
            if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
                tokio::spawn(async move {
                    refuse(stream).await;
                    drop(permit);
                });
            }
        }
    }
}

/// Says that there is no place.
async fn refuse(mut stream: TcpStream) {
    const BODY: &str = "{\"type\":\"urn:tanada:problem:overloaded\",\"title\":\"The server is overloaded\",\"status\":503,\
                        \"detail\":\"too many connections are open; try again in a second, and keep fewer open\"}\n";
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    // Fits into the socket's empty buffer, so it does not wait.
    if stream.write_all(answer.as_bytes()).await.is_ok() {
        connection::linger(stream).await;
    }
}

async fn sweep(app: &App) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        app.connections.sweep(SWEEP_INTERVAL, app.limits.idle_timeout, app.limits.write_timeout);
    }
}

/// Lets requests end, then ends them.
async fn drain(app: &App) {
    app.connections.drain();
    // Slow readers are still cut off meanwhile.
    let ended = async {
        tokio::select! {
            () = app.connections.wait_for_none() => {}
            () = sweep(app) => {}
        }
    };
    if tokio::time::timeout(app.limits.drain_timeout, ended).await.is_err() {
        app.connections.cut();
        let _ = tokio::time::timeout(Duration::from_secs(1), app.connections.wait_for_none()).await;
    }
}
