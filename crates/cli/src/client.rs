//! A server as seen from the command line: the few requests that verbs need.

use crate::failure::{Failure, Result};
use crate::record::{Encoding, Expiry, Record, decode_base64, encode_base64, parse_time};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::{Deserialize, Deserializer};
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

/// A value as the server tells it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) value: Vec<u8>,
    pub(crate) version: u64,
    pub(crate) expires_at_ms: Option<u64>,
}

/// One page of a scan.
#[derive(Deserialize)]
pub(crate) struct Page {
    items: Vec<Item>,
    cursor: Option<String>,
}

/// One line of a streamed scan.
#[derive(Deserialize)]
#[serde(untagged)]
enum Streamed {
    Problem { problem: Value },
    Item(Item),
}

#[derive(Deserialize)]
struct Item {
    key: Option<String>,
    key64: Option<String>,
    #[serde(default)]
    value: String,
    encoding: Option<Encoding>,
    /// Outer `None`: the server did not say.
    #[serde(default, deserialize_with = "said")]
    expires_at: Option<Option<String>>,
}

/// Tells a member that is null from one that is missing.
fn said<'de, D: Deserializer<'de>>(
    from: D,
) -> std::result::Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(from).map(Some)
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

    /// The value at `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        let mut response = self.post("/get", &key_json(key))?;
        if response.status() == 404 {
            return Ok(None);
        }
        let answer = self.json(&mut response)?;
        let text = answer["value"].as_str().unwrap_or_default();
        let value = match answer["encoding"].as_str() {
            Some("base64") => decode_base64(text).map_err(Failure::new)?,
            _ => text.as_bytes().to_vec(),
        };
        let expires_at = answer["expires_at"].as_str();
        Ok(Some(Found {
            value,
            version: answer["version"].as_u64().unwrap_or_default(),
            expires_at_ms: expires_at.map(parse_time).transpose().map_err(Failure::new)?,
        }))
    }

    /// The path of a read, as the server tells it; for an absent key too.
    pub(crate) fn explain(&self, key: &[u8]) -> Result<Value> {
        let mut body = key_json(key);
        body["explain"] = true.into();
        let mut response = self.post("/get", &body)?;
        let status = response.status();
        let answer = self.body(&mut response)?;
        if status.is_success() || (status == 404 && answer.get("explain").is_some()) {
            Ok(answer)
        } else {
            Err(problem(status.as_u16(), &answer))
        }
    }

    /// Writes one record; of any size that the server takes.
    pub(crate) fn put(
        &self,
        record: &Record,
        durability: Option<&str>,
        now_ms: u64,
    ) -> Result<u64> {
        let mut response = if record.key.len() > LONG_KEY_BYTES {
            let mut body = put_json(record, now_ms);
            set_durability(&mut body, durability);
            self.post("/put", &body)?
        } else {
            // Raw: a large value is not blown up by base64.
            let key64 = encode_base64(&record.key);
            let mut request = self.agent.put(format!("{}/v1/kv/", self.base)).query("key64", key64);
            if let Some(seconds) = ttl_seconds(record.expiry, now_ms) {
                request = request.query("ttl", seconds.to_string());
            }
            if let Some(durability) = durability {
                request = request.query("durability", durability);
            }
            self.told(request.send(&record.value[..]))?
        };
        Ok(self.json(&mut response)?["seq"].as_u64().unwrap_or_default())
    }

    /// Deletes a key, there or not.
    pub(crate) fn delete(&self, key: &[u8], durability: Option<&str>) -> Result<u64> {
        let mut body = key_json(key);
        set_durability(&mut body, durability);
        let mut response = self.post("/delete", &body)?;
        Ok(self.json(&mut response)?["seq"].as_u64().unwrap_or_default())
    }

    /// Writes all records or none.
    pub(crate) fn write(
        &self,
        records: &[Record],
        durability: Option<&str>,
        now_ms: u64,
    ) -> Result<()> {
        if let [record] = records {
            return self.put(record, durability, now_ms).map(|_| ());
        }
        let ops: Vec<Value> = records
            .iter()
            .map(|record| {
                let mut op = put_json(record, now_ms);
                op["op"] = "put".into();
                op
            })
            .collect();
        let mut body = json!({ "ops": ops });
        set_durability(&mut body, durability);
        let mut response = self.post("/v1/batch", &body)?;
        self.json(&mut response).map(|_| ())
    }

    /// A page of a scan; `query` as the server takes it, without `?`.
    pub(crate) fn scan(&self, query: &str, cursor: Option<&str>) -> Result<Page> {
        let mut url = format!("{}/v1/kv?{query}", self.base);
        if let Some(cursor) = cursor {
            url.push_str(&format!("&cursor={}", percent_encode(cursor.as_bytes(), PLAIN)));
        }
        let mut response = self.told(self.agent.get(&url).call())?;
        let answer = self.json(&mut response)?;
        serde_json::from_value(answer)
            .map_err(|e| Failure::new(format!("{} sent a page that is none: {e}", self.base)))
    }

    /// Hands every record to `visit`, as of one moment.
    pub(crate) fn stream(&self, visit: &mut dyn FnMut(Record) -> Result<()>) -> Result<()> {
        let request = self.agent.get(format!("{}/v1/kv", self.base));
        let mut response = self.told(request.header("Accept", "application/x-ndjson").call())?;
        if !response.status().is_success() {
            return self.json(&mut response).map(|_| ());
        }
        let body = BufReader::with_capacity(256 << 10, response.body_mut().as_reader());
        for line in body.lines() {
            let broken = |what: &dyn fmt::Display| {
                Failure::new(format!(
                    "the server's answer broke off ({what}); what was written so far is incomplete"
                ))
            };
            let line = line.map_err(|e| broken(&e))?;
            let told: Streamed = serde_json::from_str(&line).map_err(|e| broken(&e))?;
            match told {
                Streamed::Problem { problem } => {
                    return Err(broken(&problem["detail"].as_str().unwrap_or("no reason given")));
                }
                Streamed::Item(item) => {
                    let told_expiry = item.expires_at.is_some();
                    let mut record = item.into_record()?;
                    if !told_expiry && let Some(found) = self.get(&record.key)? {
                        // Only a read of the key tells when it expires.
                        record.expiry = found.expires_at_ms.map_or(Expiry::Never, Expiry::At);
                    }
                    visit(record)?;
                }
            }
        }
        Ok(())
    }

    /// Merges tables, and waits for it.
    pub(crate) fn compact(&self, start: Option<&[u8]>, end: Option<&[u8]>) -> Result<Value> {
        let mut url = format!("{}/compact?wait=true", self.base);
        for (name, bound) in [("start", start), ("end", end)] {
            if let Some(bound) = bound {
                url.push_str(&bound_parameter(name, bound));
            }
        }
        let mut response = self.told(self.agent.post(&url).send_empty())?;
        let mut job = self.json(&mut response)?;
        match job["problem"]["detail"].as_str() {
            Some(detail) => Err(Failure::new(format!("the compaction failed: {detail}"))),
            None => Ok(job["summary"].take()),
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

    fn post(&self, path: &str, body: &Value) -> Result<Response<Body>> {
        let request = self.agent.post(format!("{}{path}", self.base));
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

    /// The answer's JSON, or the problem that it tells.
    fn json(&self, response: &mut Response<Body>) -> Result<Value> {
        let status = response.status();
        let answer = self.body(response)?;
        if status.is_success() { Ok(answer) } else { Err(problem(status.as_u16(), &answer)) }
    }
}

impl Page {
    /// Its records, and the cursor of the next page.
    pub(crate) fn into_records(self) -> Result<(Vec<Record>, Option<String>)> {
        let records = self.items.into_iter().map(Item::into_record).collect::<Result<_>>()?;
        Ok((records, self.cursor))
    }
}

impl Item {
    fn into_record(self) -> Result<Record> {
        let key = match (self.key, self.key64) {
            (Some(key), _) => key.into_bytes(),
            (None, Some(key64)) => decode_base64(&key64).map_err(Failure::new)?,
            (None, None) => return Err(Failure::new("the server sent an item without a key")),
        };
        let value = match self.encoding {
            Some(Encoding::Base64) => decode_base64(&self.value).map_err(Failure::new)?,
            _ => self.value.into_bytes(),
        };
        let expiry = match self.expires_at.flatten() {
            Some(at) => Expiry::At(parse_time(&at).map_err(Failure::new)?),
            None => Expiry::Never,
        };
        Ok(Record { key, value, expiry })
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
fn put_json(record: &Record, now_ms: u64) -> Value {
    let mut put = key_json(&record.key);
    match std::str::from_utf8(&record.value) {
        Ok(text) => put["value"] = text.into(),
        Err(_) => {
            put["value"] = encode_base64(&record.value).into();
            put["encoding"] = "base64".into();
        }
    }
    if let Some(seconds) = ttl_seconds(record.expiry, now_ms) {
        put["ttl"] = seconds.into();
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

/// Seconds from now; a moment that is past becomes the shortest there is.
fn ttl_seconds(expiry: Expiry, now_ms: u64) -> Option<f64> {
    match expiry {
        Expiry::Never => None,
        Expiry::In(ms) => Some(ms as f64 / 1e3),
        Expiry::At(at) => Some(at.saturating_sub(now_ms).max(1) as f64 / 1e3),
    }
}
