//! A real server on a free port over a database in a temporary directory, and two
//! clients: a proper one, and raw bytes for what no proper client sends.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // real files, threads and sockets
#![allow(dead_code)] // each test binary uses its part

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;
use tanada::{Db, Durability};
use tanada_server::{Limits, Server, ServerError, ServerOptions};
pub(crate) use tempfile::TempDir;
use tokio::sync::oneshot;
use ureq::http::{HeaderMap, Request};

/// A directory that goes away with its test.
pub(crate) fn temp_dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// A running server.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), ServerError>>>,
    agent: ureq::Agent,
    _dir: Option<TempDir>,
}

/// One answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().expect("ASCII"))
    }

    /// The version that a write made.
    pub(crate) fn seq(&self) -> u64 {
        assert_eq!(self.status, 200, "{:?}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.json()["ok"], true);
        self.json()["seq"].as_u64().expect("a write has a number")
    }

    /// Checks that this is a whole problem, and gives the last word of its type.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        for member in ["title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| text.len() > 10), "{problem}");
        }
        let uri = problem["type"].as_str().expect("a type");
        uri.strip_prefix("urn:tanada:problem:").expect("our own type").to_string()
    }
}

impl TestServer {
    pub(crate) fn start() -> TestServer {
        TestServer::with_limits(Limits::default())
    }

    pub(crate) fn with_limits(limits: Limits) -> TestServer {
        let dir = temp_dir();
        let mut server = TestServer::over(dir.path(), limits);
        server._dir = Some(dir);
        server
    }

    pub(crate) fn over(path: &Path, limits: Limits) -> TestServer {
        let db = Db::builder(path).durability(Durability::Buffered).open().expect("a database");
        TestServer::over_db(db, limits)
    }

    pub(crate) fn over_db(db: Db, limits: Limits) -> TestServer {
        TestServer::with_options(db, ServerOptions::new().limits(limits))
    }

    pub(crate) fn with_options(db: Db, options: ServerOptions) -> TestServer {
        let options = options.http(([127, 0, 0, 1], 0).into());
        let server = Server::bind(options, db).expect("a free port");
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(server.run_until(async {
                let _ = stopped.await;
            }))
        });
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        TestServer {
            address,
            stop: Some(stop),
            thread: Some(thread),
            agent: ureq::Agent::new_with_config(config),
            _dir: None,
        }
    }

    /// Tells the server to stop, as SIGTERM does; does not wait.
    pub(crate) fn signal(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Stops the server and waits for its end.
    pub(crate) fn stop(&mut self) -> Result<(), ServerError> {
        self.signal();
        self.thread.take().expect("stopped once").join().expect("no panic")
    }

    pub(crate) fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let mut request =
            Request::builder().method(method).uri(format!("http://{}{target}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.as_ref();
        let response = if body.is_empty() && !matches!(method, "POST" | "PUT") {
            self.agent.run(request.body(()).expect("a request"))
        } else {
            self.agent.run(request.body(body).expect("a request"))
        };
        let mut response =
            response.unwrap_or_else(|e| panic!("{method} {target} was not answered: {e}"));
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.body_mut().read_to_vec().expect("a whole body"),
        }
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.request("GET", target, &[], "")
    }

    pub(crate) fn post(&self, target: &str, body: impl AsRef<[u8]>) -> Answer {
        self.request("POST", target, &[], body)
    }

    pub(crate) fn put(&self, target: &str, body: impl AsRef<[u8]>) -> Answer {
        self.request("PUT", target, &[], body)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the server listens");
        // Long beyond what any answer takes: a test that hangs must fail.
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream
    }

    /// Sends bytes, and reads until the server closes.
    pub(crate) fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect();
        // The server may have answered and closed before it took all of it.
        let _ = stream.write_all(bytes.as_ref());
        read_to_end(&mut stream)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.signal();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("no panic").expect("a good end");
            }
        }
    }
}

/// All that the server sends until it closes; a reset counts as the end.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(e) => {
                panic!("the server neither answered nor closed: {e}; so far {} bytes", bytes.len())
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
