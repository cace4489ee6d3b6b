//! One client of a server: requests that are sent once and never again, and
//! answers that say what is known.

use serde_json::{Value, json};
use std::fmt;
use std::io::{BufRead, BufReader};
use std::time::Duration;
use tanada::Durability;
use ureq::http::Response;
use ureq::{Agent, Body};

/// No answer takes this long, a stalled write's neither, unless nobody will
/// ever give it.
const PATIENCE: Duration = Duration::from_secs(90);

/// Longest answer taken into memory: a page of a scan.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Reply<T> {
    /// It was done.
    Done(T),
    /// The server said why not.
    Refused(Problem),
    /// No answer came: the connection broke.
    Lost(String),
    /// No answer came, and the connection stood: the server hangs.
    Hung(String),
}

impl<T> Reply<T> {
    /// What `next` makes of it, when it was done.
    fn then<U>(self, next: impl FnOnce(T) -> Reply<U>) -> Reply<U> {
        match self {
            Reply::Done(done) => next(done),
            Reply::Refused(problem) => Reply::Refused(problem),
            Reply::Lost(why) => Reply::Lost(why),
            Reply::Hung(why) => Reply::Hung(why),
        }
    }
}

/// An error as the server tells it.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    /// Last word of its type, such as `read-only`.
    pub(crate) kind: String,
    pub(crate) detail: String,
}

impl Problem {
    /// Whether the server promises that the write did not happen.
    pub(crate) fn nothing_was_done(&self) -> bool {
        self.detail.contains("nothing was done")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.kind, self.detail)
    }
}

/// A refusal that says no more than "not now".
pub(crate) fn is_overload(problem: &Problem) -> bool {
    problem.kind == "overloaded"
}

/// A value and its version.
#[derive(Clone, Debug)]
pub(crate) struct Versioned {
    pub(crate) value: String,
    pub(crate) version: u64,
}

/// One write of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) key: String,
    pub(crate) value: String,
    /// Only if the key has this version still.
    pub(crate) if_version: Option<u64>,
}

/// Lines that are read as they are made.
pub(crate) type Lines = Box<dyn BufRead + Send>;

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    base: String,
}

type Told = Result<Response<Body>, ureq::Error>;

impl Client {
    /// A client of the server at `base`, `http://127.0.0.1:PORT`.
    pub(crate) fn new(base: &str) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .proxy(None)
            .build();
        Client { agent: config.into(), base: base.to_owned() }
    }

    /// Sets a key; its version.
    pub(crate) fn put(&self, key: &str, value: &str, durability: Option<Durability>) -> Reply<u64> {
        let mut request = self.agent.put(self.kv(key));
        if let Some(durability) = durability {
            request = request.query("durability", name_of(durability));
        }
        seqno(answer(request.send(value)))
    }

    /// Deletes a key; the number of the deletion.
    pub(crate) fn delete(&self, key: &str, durability: Option<Durability>) -> Reply<u64> {
        let mut request = self.agent.delete(self.kv(key));
        if let Some(durability) = durability {
            request = request.query("durability", name_of(durability));
        }
        seqno(answer(request.call()))
    }

    /// Reads a key.
    pub(crate) fn get(&self, key: &str) -> Reply<Option<Versioned>> {
        let told = self.agent.get(format!("{}/get", self.base)).query("key", key).call();
        match answer(told) {
            Reply::Refused(problem) if problem.kind == "key-not-found" => Reply::Done(None),
            reply => {
                reply.then(|found| match (found["value"].as_str(), found["version"].as_u64()) {
                    (Some(value), Some(version)) => {
                        Reply::Done(Some(Versioned { value: value.to_owned(), version }))
                    }
                    _ => Reply::Lost(format!("an answer without value and version: {found}")),
                })
            }
        }
    }

    /// Writes all or nothing; the number of the last write.
    pub(crate) fn batch(&self, writes: &[Write], durability: Option<Durability>) -> Reply<u64> {
        let ops: Vec<Value> = writes
            .iter()
            .map(|write| {
                let mut op = json!({ "op": "put", "key": write.key, "value": write.value });
                if let Some(version) = write.if_version {
                    op["if_version"] = version.into();
                }
                op
            })
            .collect();
        let mut body = json!({ "ops": ops });
        if let Some(durability) = durability {
            body["durability"] = name_of(durability).into();
        }
        seqno(answer(self.agent.post(format!("{}/v1/batch", self.base)).send(body.to_string())))
    }

    /// All keys that begin with `prefix`, with their values. When they fit into
    /// one page, as of one moment.
    pub(crate) fn scan(&self, prefix: &str) -> Reply<Vec<(String, String)>> {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut request = self.agent.get(format!("{}/v1/kv", self.base));
            request = request.query("prefix", prefix).query("limit", "10000");
            if let Some(cursor) = &cursor {
                request = request.query("cursor", cursor);
            }
            let page = match answer(request.call()) {
                Reply::Done(page) => page,
                Reply::Refused(problem) => return Reply::Refused(problem),
                Reply::Lost(why) => return Reply::Lost(why),
                Reply::Hung(why) => return Reply::Hung(why),
            };
            let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            for item in items {
                match (item["key"].as_str(), item["value"].as_str()) {
                    (Some(key), Some(value)) => found.push((key.to_owned(), value.to_owned())),
                    _ => return Reply::Lost(format!("an item without key and value: {item}")),
                }
            }
            // Each page ends behind the one before, so that this ends.
            match page["cursor"].as_str() {
                Some(next) if !items.is_empty() => cursor = Some(next.to_owned()),
                _ => return Reply::Done(found),
            }
        }
    }

    /// The newest sequence number, and that of the next write.
    pub(crate) fn seqnos(&self) -> Reply<(u64, u64)> {
        answer(self.agent.get(format!("{}/stats", self.base)).call()).then(|stats| {
            match stats["seqno"].as_u64().zip(stats["next_seqno"].as_u64()) {
                Some(seqnos) => Reply::Done(seqnos),
                None => Reply::Lost("statistics without seqno".to_owned()),
            }
        })
    }

    /// Asks for a compaction of everything.
    pub(crate) fn compact(&self) -> Reply<()> {
        answer(self.agent.post(format!("{}/compact", self.base)).send_empty())
            .then(|_| Reply::Done(()))
    }

    /// Has every byte checked; the damage found.
    pub(crate) fn verify(&self) -> Reply<Vec<String>> {
        let told = self.agent.post(format!("{}/v1/admin/verify", self.base)).send_empty();
        answer(told).then(|report| {
            let damage = report["damage"].as_array().map(Vec::as_slice).unwrap_or_default();
            Reply::Done(damage.iter().map(Value::to_string).collect())
        })
    }

    /// What a path answers, which no method above asks for.
    pub(crate) fn fetch(&self, path: &str) -> Reply<Value> {
        answer(self.agent.get(format!("{}{path}", self.base)).call())
    }

    /// What a path answers to JSON.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply<Value> {
        answer(self.agent.post(format!("{}{path}", self.base)).send(body.to_string()))
    }

    /// Puts a text at a path, durable in a power cut.
    pub(crate) fn put_synced(&self, path: &str, text: &str) -> Reply<u64> {
        let request = self.agent.put(format!("{}{path}", self.base));
        seqno(answer(request.query("durability", name_of(Durability::Synced)).send(text)))
    }

    /// Removes what is at a path.
    pub(crate) fn remove(&self, path: &str) -> Reply<Value> {
        answer(self.agent.delete(format!("{}{path}", self.base)).call())
    }

    /// Whether reads and writes are taken, and what is said of it.
    pub(crate) fn is_ready(&self) -> (bool, String) {
        match self.agent.get(format!("{}/readyz", self.base)).call() {
            Ok(mut response) => {
                let text = response.body_mut().read_to_string().unwrap_or_default();
                (response.status().is_success(), text)
            }
            Err(e) => (false, e.to_string()),
        }
    }

    /// Begins to read records of one moment, as lines of JSON; the rest is made as fast as
    /// it is read.
    pub(crate) fn stream(&self, path: &str) -> Reply<Lines> {
        let request = self.agent.get(format!("{}{path}", self.base));
        match request.header("accept", "application/x-ndjson").call() {
            Ok(response) if response.status().is_success() => {
                Reply::Done(Box::new(BufReader::new(response.into_body().into_reader())))
            }
            told => answer(told).then(|said| Reply::Lost(said.to_string())),
        }
    }

    /// Keys here are letters, digits and slashes: nothing to escape.
    fn kv(&self, key: &str) -> String {
        format!("{}/v1/kv/{key}", self.base)
    }
}

/// As requests and the command line call it.
pub(crate) fn name_of(durability: Durability) -> &'static str {
    match durability {
        Durability::Memory => "memory",
        Durability::Buffered => "buffered",
        Durability::Synced => "synced",
    }
}

/// Reads an answer to its end.
fn answer(told: Told) -> Reply<Value> {
    let mut response = match told {
        Ok(response) => response,
        Err(e) => return unanswered(&e),
    };
    let status = response.status();
    let bytes = match response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec() {
        Ok(bytes) => bytes,
        Err(e) => return unanswered(&e),
    };
    // Half an answer is none: what it lacks might be the "not".
    let value: Value = match serde_json::from_slice(&bytes) {
        Ok(value) => value,
        Err(e) => return Reply::Lost(format!("status {status} without JSON: {e}")),
    };
    if status.is_success() {
        return Reply::Done(value);
    }
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let kind = text("type").rsplit(':').next().unwrap_or_default().to_owned();
    Reply::Refused(Problem { status: status.as_u16(), kind, detail: text("detail") })
}

fn unanswered(e: &ureq::Error) -> Reply<Value> {
    match e {
        ureq::Error::Timeout(_) => {
            Reply::Hung(format!("no answer within {} s ({e})", PATIENCE.as_secs()))
        }
        _ => Reply::Lost(e.to_string()),
    }
}

fn seqno(reply: Reply<Value>) -> Reply<u64> {
    reply.then(|written| match written["seq"].as_u64() {
        Some(seqno) => Reply::Done(seqno),
        None => Reply::Lost(format!("an acknowledgement without number: {written}")),
    })
}
