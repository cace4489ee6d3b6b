//! A server as seen from the command line: the few requests that verbs need.

use crate::condition::Condition;
use crate::failure::{Failure, Result};
use crate::record::{Expiry, Line, Record, encode_base64, format_time};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::fmt;
use std::io::{BufRead, BufReader};
use std::time::Duration;
use ureq::http::Response;
use ureq::{Agent, Body};

/// Longest answer that is taken into memory: one value of the largest size.
const MAX_ANSWER_BYTES: u64 = (tanada::MAX_VALUE_LEN + (1 << 20)) as u64;

/// A URI has room for a key of this length, however it is written there.
const LONG_KEY_BYTES: usize = 8 << 10;

/// What may stand in a query as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A connection to a server; kept alive between requests.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    base: String,
}

/// A keyspace of a server; the verbs go there.
#[derive(Debug)]
pub(crate) struct ServerKeyspace<'c> {
    client: &'c Client,
    /// What stands before the verb in a path: nothing for the default keyspace.
    path: String,
}

/// One page of a scan.
#[derive(Deserialize)]
pub(crate) struct Page {
    items: Vec<Box<RawValue>>,
    cursor: Option<String>,
}

/// The last line of a stream that broke off.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Broken {
    problem: Value,
}

impl Client {
    /// A client of the server at `url`. Nothing is sent yet.
    pub(crate) fn new(url: &str) -> Result<Client> {
        if !url.starts_with("http://") {
            return Err(Failure::new(format!(
                "'{url}' is no address of a server; write it as http://127.0.0.1:7878"
            )));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .build();
        Ok(Client { agent: config.into(), base: url.trim_end_matches('/').to_string() })
    }

    /// The keyspace of this name, or the default one. Nothing is asked yet.
    pub(crate) fn keyspace(&self, name: Option<&str>) -> ServerKeyspace<'_> {
        let path = name.map_or_else(String::new, |name| {
            format!("/v1/ks/{}", percent_encode(name.as_bytes(), PLAIN))
        });
        ServerKeyspace { client: self, path }
    }

    /// Creates a keyspace, if it is not there.
    pub(crate) fn create_keyspace(&self, name: &str) -> Result<()> {
        let mut response = self.post("/v1/keyspaces", &json!({ "name": name }))?;
        self.json(&mut response).map(|_| ())
    }

    /// Hands everything to `visit`, or all of one keyspace, as of one moment.
    pub(crate) fn dump(
        &self,
        keyspace: Option<&str>,
        visit: &mut dyn FnMut(Line) -> Result<()>,
    ) -> Result<()> {
        let query = keyspace.map_or_else(String::new, |name| {
            format!("?keyspace={}", percent_encode(name.as_bytes(), PLAIN))
        });
        let request = self.agent.get(format!("{}/v1/dump{query}", self.base));
        let mut response = self.told(request.call())?;
        if !response.status().is_success() {
            return self.json(&mut response).map(|_| ());
        }
        let broken = |what: &dyn fmt::Display| {
            Failure::new(format!(
                "the server's answer broke off ({what}); what was written so far is incomplete"
            ))
        };
        let mut body = BufReader::with_capacity(256 << 10, response.body_mut().as_reader());
        let mut line = Vec::new();
        loop {
            line.clear();
            match body.read_until(b'\n', &mut line) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(e) => return Err(broken(&e)),
            }
            match Line::from_json(&line) {
                Ok(said) => visit(said)?,
                Err(what) => match serde_json::from_slice::<Broken>(&line) {
                    Ok(Broken { problem }) => {
                        let detail = problem["detail"].as_str().unwrap_or("no reason given");
                        return Err(broken(&detail));
                    }
                    Err(_) => return Err(broken(&what)),
                },
            }
        }
    }

    /// The server's statistics.
    pub(crate) fn stats(&self) -> Result<Value> {
        let mut response = self.told(self.agent.get(format!("{}/stats", self.base)).call())?;
        self.json(&mut response)
    }

    /// Reads and checks every byte of the database.
    pub(crate) fn verify(&self) -> Result<Value> {
        let url = format!("{}/v1/admin/verify", self.base);
        let mut response = self.told(self.agent.post(&url).send_empty())?;
        self.json(&mut response)
    }

    /// What is known of the server's clock; first that it is right, if `trust` says so.
    pub(crate) fn clock(&self, trust: bool) -> Result<Value> {
        let url = format!("{}/v1/admin/clock", self.base);
        let answer = match trust {
            true => self.agent.post(&url).send_empty(),
            false => self.agent.get(&url).call(),
        };
        let mut response = self.told(answer)?;
        self.json(&mut response)
    }

    /// Has a checkpoint made.
    pub(crate) fn create_checkpoint(&self, name: &str) -> Result<Value> {
        let mut response = self.post("/v1/admin/checkpoints", &json!({ "name": name }))?;
        self.json(&mut response)
    }

    /// The server's checkpoints.
    pub(crate) fn checkpoints(&self) -> Result<Value> {
        let url = format!("{}/v1/admin/checkpoints", self.base);
        let mut response = self.told(self.agent.get(url).call())?;
        self.json(&mut response)
    }

    /// Removes one of them.
    pub(crate) fn delete_checkpoint(&self, name: &str) -> Result<()> {
        let name = percent_encode(name.as_bytes(), PLAIN);
        let url = format!("{}/v1/admin/checkpoints/{name}", self.base);
        let mut response = self.told(self.agent.delete(url).call())?;
        self.json(&mut response).map(drop)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Response<Body>> {
        self.post_to(&format!("{}{path}", self.base), body)
    }

    fn post_to(&self, url: &str, body: &Value) -> Result<Response<Body>> {
        let request = self.agent.post(url);
        self.told(request.header("Content-Type", "application/json").send(body.to_string()))
    }

    fn told(
        &self,
        answer: std::result::Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>> {
        answer.map_err(|e| self.failure(&e))
    }

    fn failure(&self, e: &ureq::Error) -> Failure {
        match e {
            ureq::Error::BodyExceedsLimit(limit) => {
                Failure::new(format!("the answer is longer than {limit} bytes"))
            }
            _ => Failure::new(format!(
                "no answer from {}: {e}; check the address, and that the server runs (tanada serve)",
                self.base
            )),
        }
    }

    fn body(&self, response: &mut Response<Body>) -> Result<Value> {
        let answer = self.raw_body(response)?;
        Ok(serde_json::from_str(answer.get()).expect("it is JSON"))
    }

    /// The answer, which is JSON, as it was sent.
    fn raw_body(&self, response: &mut Response<Body>) -> Result<Box<RawValue>> {
        let status = response.status();
        let bytes = response
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER_BYTES)
            .read_to_vec()
            .map_err(|e| self.failure(&e))?;
        serde_json::from_slice(&bytes).map_err(|_| {
            Failure::new(format!(
                "{} answered {status} and no JSON; is it a Tanada server?",
                self.base
            ))
        })
    }

    /// A record as the server writes it everywhere.
    fn record(&self, text: &str) -> Result<Record> {
        Record::from_item(text.as_bytes()).map_err(|what| {
            Failure::new(format!("{} sent a record that is none: {what}", self.base))
        })
    }

    /// The answer's JSON, or the problem that it tells.
    fn json(&self, response: &mut Response<Body>) -> Result<Value> {
        let status = response.status();
        let answer = self.body(response)?;
        if status.is_success() { Ok(answer) } else { Err(problem(status.as_u16(), &answer)) }
    }
}

impl ServerKeyspace<'_> {
    /// The address of a verb on this keyspace, as written behind `/v1/ks/{name}/`.
    fn url(&self, verb: &str) -> String {
        let base = &self.client.base;
        match self.path.is_empty() {
            true if verb.starts_with("kv") || verb == "batch" => format!("{base}/v1/{verb}"),
            true => format!("{base}/{verb}"),
            false => format!("{base}{}/{verb}", self.path),
        }
    }

    fn post(&self, verb: &str, body: &Value) -> Result<Response<Body>> {
        self.client.post_to(&self.url(verb), body)
    }

    /// The value at `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Record>> {
        let mut response = self.post("get", &key_json(key))?;
        let status = response.status();
        let answer = self.client.raw_body(&mut response)?;
        if status.is_success() {
            return self.client.record(answer.get()).map(Some);
        }
        let answer: Value = serde_json::from_str(answer.get()).expect("it is JSON");
        match is_absent(&answer) {
            true => Ok(None),
            false => Err(problem(status.as_u16(), &answer)),
        }
    }

    /// The path of a read, as the server tells it; for an absent key too.
    pub(crate) fn explain(&self, key: &[u8]) -> Result<Value> {
        let mut body = key_json(key);
        body["explain"] = true.into();
        let mut response = self.post("get", &body)?;
        let status = response.status();
        let answer = self.client.body(&mut response)?;
        if status.is_success() || (is_absent(&answer) && answer.get("explain").is_some()) {
            Ok(answer)
        } else {
            Err(problem(status.as_u16(), &answer))
        }
    }

    /// Writes one record if `condition` holds of its key; without one, of any size that the
    /// server takes.
    pub(crate) fn put(
        &self,
        record: &Record,
        condition: Option<Condition>,
        durability: Option<&str>,
    ) -> Result<u64> {
        if let Some(condition) = condition {
            let mut op = put_json(record);
            op["op"] = "put".into();
            return self.write_if(&record.key, condition, op, durability);
        }
        let mut response = if record.key.len() > LONG_KEY_BYTES {
            let mut body = put_json(record);
            set_durability(&mut body, durability);
            self.post("put", &body)?
        } else {
            // Raw: a large value is not blown up by base64.
            let key64 = encode_base64(&record.key);
            let agent = &self.client.agent;
            let mut request = agent.put(self.url("kv/")).query("key64", key64);
            match record.expiry {
                Expiry::Never => {}
                Expiry::In(ms) => request = request.query("ttl", seconds(ms).to_string()),
                Expiry::At(ms) => request = request.query("expires_at", format_time(ms)),
            }
            if let Some(durability) = durability {
                request = request.query("durability", durability);
            }
            self.client.told(request.send(&record.value[..]))?
        };
        Ok(self.client.json(&mut response)?["seq"].as_u64().unwrap_or_default())
    }

    /// Deletes a key if `condition` holds of it; without one, there or not.
    pub(crate) fn delete(
        &self,
        key: &[u8],
        condition: Option<Condition>,
        durability: Option<&str>,
    ) -> Result<u64> {
        let mut body = key_json(key);
        if let Some(condition) = condition {
            body["op"] = "delete".into();
            return self.write_if(key, condition, body, durability);
        }
        set_durability(&mut body, durability);
        let mut response = self.post("delete", &body)?;
        Ok(self.client.json(&mut response)?["seq"].as_u64().unwrap_or_default())
    }

    /// Does `op` of `key` if `condition` holds of it.
    ///
    /// As a batch of one: its conditions are versions alone, where `If-Match` wants the
    /// lineage of the database too, and its keys may be as long as any.
    fn write_if(
        &self,
        key: &[u8],
        condition: Condition,
        mut op: Value,
        durability: Option<&str>,
    ) -> Result<u64> {
        match condition {
            Condition::Absent => op["if_absent"] = true.into(),
            Condition::Version(version) => op["if_version"] = version.into(),
        }
        let mut body = json!({ "ops": [op] });
        set_durability(&mut body, durability);
        let mut response = self.post("batch", &body)?;
        let status = response.status();
        let answer = self.client.body(&mut response)?;
        if status.is_success() {
            Ok(answer["seq"].as_u64().unwrap_or_default())
        } else if answer["type"] == "urn:tanada:problem:precondition-failed" {
            Err(condition.refused(key, answer["failed"][0]["version"].as_u64()))
        } else {
            Err(problem(status.as_u16(), &answer))
        }
    }

    /// Writes all records or none.
    pub(crate) fn write(&self, records: &[Record], durability: Option<&str>) -> Result<()> {
        if let [record] = records {
            return self.put(record, None, durability).map(|_| ());
        }
        let ops: Vec<Value> = records
            .iter()
            .map(|record| {
                let mut op = put_json(record);
                op["op"] = "put".into();
                op
            })
            .collect();
        let mut body = json!({ "ops": ops });
        set_durability(&mut body, durability);
        let mut response = self.post("batch", &body)?;
        self.client.json(&mut response).map(|_| ())
    }

    /// A page of a scan; `query` as the server takes it, without `?`.
    pub(crate) fn scan(
        &self,
        query: &str,
        cursor: Option<&str>,
    ) -> Result<(Vec<Record>, Option<String>)> {
        let mut url = format!("{}?{query}", self.url("kv"));
        if let Some(cursor) = cursor {
            url.push_str(&format!("&cursor={}", percent_encode(cursor.as_bytes(), PLAIN)));
        }
        let client = self.client;
        let mut response = client.told(client.agent.get(&url).call())?;
        let status = response.status();
        let answer = client.raw_body(&mut response)?;
        if !status.is_success() {
            let answer = serde_json::from_str(answer.get()).expect("it is JSON");
            return Err(problem(status.as_u16(), &answer));
        }
        let page: Page = serde_json::from_str(answer.get())
            .map_err(|e| Failure::new(format!("{} sent a page that is none: {e}", client.base)))?;
        let items = page.items.iter();
        let records = items.map(|item| client.record(item.get())).collect::<Result<_>>()?;
        Ok((records, page.cursor))
    }

    /// Merges tables, and waits for it.
    pub(crate) fn compact(&self, start: Option<&[u8]>, end: Option<&[u8]>) -> Result<Value> {
        let mut url = format!("{}?wait=true", self.url("compact"));
        for (name, bound) in [("start", start), ("end", end)] {
            if let Some(bound) = bound {
                url.push_str(&bound_parameter(name, bound));
            }
        }
        let mut response = self.client.told(self.client.agent.post(&url).send_empty())?;
        let mut job = self.client.json(&mut response)?;
        match job["problem"]["detail"].as_str() {
            Some(detail) => Err(Failure::new(format!("the compaction failed: {detail}"))),
            None => Ok(job["summary"].take()),
        }
    }
}

/// RFC 9457: what is wrong and what to do, in the server's words.
fn problem(status: u16, answer: &Value) -> Failure {
    let title = answer["title"].as_str().unwrap_or("the server refused");
    match answer["detail"].as_str() {
        Some(detail) => Failure::new(format!("{title} ({status}): {detail}")),
        None => Failure::new(format!("{title} ({status})")),
    }
}

/// `{"key":…}`, or `{"key64":…}` for what is not text.
fn key_json(key: &[u8]) -> Value {
    match std::str::from_utf8(key) {
        Ok(text) => json!({ "key": text }),
        Err(_) => json!({ "key64": encode_base64(key) }),
    }
}

/// The members of a put.
fn put_json(record: &Record) -> Value {
    let mut put = key_json(&record.key);
    match std::str::from_utf8(&record.value) {
        Ok(text) => put["value"] = text.into(),
        Err(_) => {
            put["value"] = encode_base64(&record.value).into();
            put["encoding"] = "base64".into();
        }
    }
    match record.expiry {
        Expiry::Never => {}
        Expiry::In(ms) => put["ttl"] = seconds(ms).into(),
        Expiry::At(ms) => put["expires_at"] = format_time(ms).into(),
    }
    put
}

fn set_durability(body: &mut Value, durability: Option<&str>) {
    if let Some(durability) = durability {
        body["durability"] = durability.into();
    }
}

/// `&name=…` for a bound of a range: any bytes.
pub(crate) fn bound_parameter(name: &str, bound: &[u8]) -> String {
    format!("&{name}={}", percent_encode(bound, PLAIN))
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}

/// Whether a problem says that the key is not there, and not that something else is not.
fn is_absent(answer: &Value) -> bool {
    answer["type"] == "urn:tanada:problem:key-not-found"
}
