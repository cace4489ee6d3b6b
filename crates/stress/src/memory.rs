//! `memory`: the real server with 256 MiB, under load and with large values, judged by
//! what the system says it has resident. Needs no root.
//!
//! The load is that of readers, writers of batches and streams at once; then values that
//! are nearly as long as the budget allows, with readers that want all of them.

use crate::failure::{Failure, Result};
use crate::rig::Rig;
use crate::server::{Launch, Server, Settings, Started, Surroundings};
use parking_lot::Mutex;
use serde_json::json;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tanada::Durability;
use tanada_vfs::memory::Dice;
use tanada_vfs::{Env, JoinHandle, Priority};
use ureq::Agent;

const BUDGET_MIB: u64 = 256;

/// What the process may have beside the budget: code, stacks, the allocator's rest.
pub(crate) const BESIDE_MIB: u64 = 64;

const READERS: u64 = 3;
const WRITERS: u64 = 2;
const STREAMS: u64 = 4;

const LARGE_VALUES: u64 = 6;
const LARGE_READERS: u64 = 4;
const LARGE_BYTES: usize = 50_000_000;

/// Reads of large values by each reader.
const LARGE_READS: u64 = 12;

/// Tries of a large value that is refused for want of memory.
const TRIES: u32 = 1000;

/// Keys that readers and writers draw from.
const KEYS: u64 = 400_000;
const BATCH: u64 = 500;
const VALUE_BYTES: usize = 400;

/// A load of `count` seconds, and one of large values.
///
/// # Errors
/// Broken when more was resident than the budget and what may lie beside it.
pub(crate) fn run(rig: &mut Rig) -> Result<()> {
    let launch = Launch {
        binary: rig.options.server.clone(),
        data: rig.dir().join("data"),
        settings: Settings { memory_mib: BUDGET_MIB, durability: Durability::Buffered },
        kill_after_writes: None,
        surroundings: Surroundings::default(),
    };
    let mut server = match Server::start(&rig.env, &launch)? {
        Started::Serving(server) => server,
        Started::Refused(why) => return Err(Failure::broken(why)),
        Started::KilledOpening => return Err(Failure::trouble("killed though nobody asked")),
    };
    let load = Load::new(rig, &server);
    let stop_ns = rig.env.clock.monotonic_ns() + u64::from(rig.options.count) * 1_000_000_000;
    let env = rig.env.clone();
    let begin = |count: u64, name: &str, one: fn(&Load, u64)| -> Result<Vec<_>> {
        (0..count)
            .map(|number| {
                let load = Arc::clone(&load);
                let body = Box::new(move || one(&load, number));
                Ok(env.threads.spawn(name, Priority::Soon, body)?)
            })
            .collect()
    };
    let mut tasks = begin(WRITERS, "writer", write_batches)?;
    tasks.extend(begin(READERS, "reader", read_keys)?);
    tasks.extend(begin(STREAMS, "stream", read_streams)?);
    while env.clock.monotonic_ns() < stop_ns {
        env.clock.sleep(std::time::Duration::from_secs(1));
        rig.advance();
    }
    load.stop.store(true, Ordering::Relaxed);
    join(tasks)?;
    let peak_load = server.resident_kib("VmHWM:")?;
    report("under load", &server, &load)?;

    for number in 0..LARGE_VALUES {
        put_large(&load, number)?;
    }
    let tasks = begin(LARGE_READERS, "large", read_large)?;
    join(tasks)?;
    let peak = server.resident_kib("VmHWM:")?;
    report("with large values", &server, &load)?;
    rig.count("acknowledged batches", load.batches.load(Ordering::Relaxed));
    rig.count("reads", load.reads.load(Ordering::Relaxed));
    rig.count("streams", load.streams.load(Ordering::Relaxed));
    rig.count("large reads", load.large_reads.load(Ordering::Relaxed));
    rig.count("refused", load.refused.load(Ordering::Relaxed));
    rig.count("peak MiB under load", peak_load >> 10);
    rig.count("peak MiB", peak >> 10);
    server.kill()?;
    if let Some(why) = load.failed.lock().take() {
        return Err(Failure::broken(why));
    }
    if load.batches.load(Ordering::Relaxed) == 0 || load.large_reads.load(Ordering::Relaxed) == 0 {
        return Err(Failure::broken("nothing was done: all of it was refused"));
    }
    let most = BUDGET_MIB + BESIDE_MIB;
    if peak >> 10 > most {
        return Err(Failure::broken(format!(
            "{} MiB were resident under load and {} MiB at all, with a budget of {BUDGET_MIB} MiB: at most {most} MiB",
            peak_load >> 10,
            peak >> 10
        )));
    }
    Ok(())
}

/// Waits for all clients.
fn join(tasks: Vec<Option<JoinHandle>>) -> Result<()> {
    for task in tasks.into_iter().flatten() {
        task.join().map_err(|_| Failure::trouble("a client panicked"))?;
    }
    Ok(())
}

/// What the clients share.
struct Load {
    agent: Agent,
    base: String,
    seed: u64,
    stop: AtomicBool,
    // Counters that are read when all clients have ended: relaxed.
    batches: AtomicU64,
    reads: AtomicU64,
    streams: AtomicU64,
    large_reads: AtomicU64,
    refused: AtomicU64,
    /// The first answer that no server under load gives.
    failed: Mutex<Option<String>>,
    env: Env,
}

impl Load {
    fn new(rig: &Rig, server: &Server) -> Arc<Load> {
        let config = Agent::config_builder().http_status_as_error(false).proxy(None).build();
        Arc::new(Load {
            agent: config.into(),
            base: server.url().to_owned(),
            seed: rig.options.seed,
            stop: AtomicBool::new(false),
            batches: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            large_reads: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed: Mutex::new(None),
            env: rig.env.clone(),
        })
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn dice(&self, number: u64) -> Dice {
        Dice::new(self.seed.wrapping_mul(1000).wrapping_add(number))
    }

    /// Counts an answer: in `done` what was done, and what was refused for now.
    fn count(&self, done: &AtomicU64, status: Result<u16, ureq::Error>) {
        match status {
            Ok(200 | 404) => done.fetch_add(1, Ordering::Relaxed),
            Ok(503) => {
                self.env.clock.sleep(std::time::Duration::from_millis(10));
                self.refused.fetch_add(1, Ordering::Relaxed)
            }
            other => {
                self.failed.lock().get_or_insert(format!("a server under load answers {other:?}"));
                0
            }
        };
    }

    /// Reads an answer to its end, in small pieces; its status and length.
    fn get(&self, target: &str, accept: &str) -> Result<(u16, u64), ureq::Error> {
        let url = format!("{}{target}", self.base);
        let answer = self.agent.get(url).header("accept", accept).call()?;
        let status = answer.status().as_u16();
        let mut body = answer.into_body().into_reader();
        let mut piece = vec![0; 64 << 10];
        let mut length = 0;
        loop {
            match body.read(&mut piece)? {
                0 => return Ok((status, length)),
                more => length += more as u64,
            }
        }
    }
}

fn key(number: u64) -> String {
    format!("key{number:08}")
}

/// Text that does not compress to nothing.
fn value(dice: &mut Dice, length: usize) -> String {
    let letter = |_| char::from(b'0' + dice.below(64) as u8);
    (0..length).map(letter).filter(|c| *c != '\\').collect()
}

fn write_batches(load: &Load, number: u64) {
    let mut dice = load.dice(number);
    while load.goes_on() {
        let ops: Vec<_> = (0..BATCH)
            .map(|_| json!({"op": "put", "key": key(dice.below(KEYS)), "value": value(&mut dice, VALUE_BYTES)}))
            .collect();
        let body = json!({ "ops": ops }).to_string();
        let told = load.agent.post(format!("{}/v1/batch", load.base)).send(body);
        load.count(&load.batches, told.map(|answer| answer.status().as_u16()));
    }
}

fn read_keys(load: &Load, number: u64) {
    let mut dice = load.dice(100 + number);
    while load.goes_on() {
        let told = load.get(&format!("/v1/kv/{}", key(dice.below(KEYS))), "*/*");
        load.count(&load.reads, told.map(|(status, _)| status));
    }
}

fn read_streams(load: &Load, number: u64) {
    let mut dice = load.dice(200 + number);
    while load.goes_on() {
        let target = format!("/v1/kv?start={}&limit=100000", key(dice.below(KEYS)));
        let told = load.get(&target, "application/x-ndjson");
        load.count(&load.streams, told.map(|(status, _)| status));
    }
}

fn put_large(load: &Load, number: u64) -> Result<()> {
    // Bytes that do not compress.
    let mut dice = load.dice(300 + number);
    let body: Vec<u8> =
        (0..LARGE_BYTES / 8).flat_map(|_| dice.below(u64::MAX).to_le_bytes()).collect();
    for _ in 0..TRIES {
        let told = load.agent.put(format!("{}/v1/kv/large{number}", load.base)).send(&body[..]);
        match told.map(|answer| answer.status().as_u16()) {
            Ok(200) => return Ok(()),
            // Closed before the body was sent: refused as well.
            Ok(503) | Err(ureq::Error::Io(_)) => {
                load.refused.fetch_add(1, Ordering::Relaxed);
                load.env.clock.sleep(std::time::Duration::from_millis(50));
            }
            other => return Err(Failure::broken(format!("a large value is answered {other:?}"))),
        }
    }
    Err(Failure::broken(format!("a value of {LARGE_BYTES} bytes was refused {TRIES} times")))
}

fn read_large(load: &Load, number: u64) {
    for round in 0..LARGE_READS {
        let target = format!("/v1/kv/large{}", (number + round) % LARGE_VALUES);
        let told = load.get(&target, "*/*");
        if let Ok((200, length)) = &told
            && *length != (LARGE_BYTES / 8 * 8) as u64
        {
            load.failed.lock().get_or_insert(format!("{target} has {length} bytes"));
        }
        load.count(&load.large_reads, told.map(|(status, _)| status));
    }
}

/// What the system says beside what the server says.
fn report(when: &str, server: &Server, load: &Load) -> Result<()> {
    let told = load.agent.get(format!("{}/stats", load.base)).call();
    let text = told.and_then(|mut answer| answer.body_mut().read_to_string());
    let text = text.map_err(|e| Failure::broken(format!("/stats: {e}")))?;
    let stats: serde_json::Value = serde_json::from_str(&text)
        .map_err(|e| Failure::broken(format!("/stats is no JSON: {e}")))?;
    let mib = |bytes: &serde_json::Value| bytes.as_u64().unwrap_or(0) >> 20;
    let memory = &stats["memory"];
    println!(
        "{when}: peak {} MiB, now {} MiB resident; /stats: {} MiB of {} used, {} claimed, {} resident",
        server.resident_kib("VmHWM:")? >> 10,
        server.resident_kib("VmRSS:")? >> 10,
        mib(&memory["used_bytes"]),
        mib(&memory["budget_bytes"]),
        mib(&memory["claimed_bytes"]),
        mib(&memory["resident_bytes"]),
    );
    Ok(())
}
