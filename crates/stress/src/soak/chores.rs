//! What clients do in keyspaces of their own while nothing torments the server.

use super::shadow::{Shadow, Write};
use crate::client::{Client, Reply};
use crate::contents::insist;
use crate::failure::{Failure, Result};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use tanada_vfs::Env;
use tanada_vfs::memory::Dice;

const RECORDS: &str = "records";
const QUEUE: &str = "queue";
const LARGE: &str = "large";
const COUNTERS: &str = "counters";

/// Keys that records draw from, and how they begin: their first digit is a range of its own.
const KEYS: u64 = 8_000;
/// Elements that stay in the queue.
const ALIVE: u64 = 300;
/// Large values, each overwritten again and again; the smallest budget takes 3 MiB at once.
const LARGE_VALUES: u64 = 6;
const LARGE_BYTES: u64 = 2 << 20;
/// Keyspaces that come one after the other: they cannot be dropped yet.
const MANY: u64 = 60;
const COUNTED: u64 = 4;
const THREADS: u64 = 4;
const INCREMENTS: u64 = 40;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chore {
    /// Puts and deletes of small values, some of which live for seconds, some for a year.
    Records,
    /// Increments of a few counters by several threads, each if nobody else was faster.
    Counters,
    /// Elements are pushed behind the last, and taken from the first.
    Queue,
    /// All keys of a range are deleted.
    Range,
    /// Large values are overwritten.
    Large,
    /// A few keyspaces more.
    Keyspaces,
}

impl Chore {
    pub(super) const ALL: [Chore; 6] = [
        Chore::Records,
        Chore::Counters,
        Chore::Queue,
        Chore::Range,
        Chore::Large,
        Chore::Keyspaces,
    ];

    /// How the table at the end calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Chore::Records => "chores: records with and without a time to live",
            Chore::Counters => "chores: counters",
            Chore::Queue => "chores: queue",
            Chore::Range => "chores: ranges deleted",
            Chore::Large => "chores: large values",
            Chore::Keyspaces => "chores: keyspaces",
        }
    }
}

/// What a chore needs.
pub(super) struct Chores<'c> {
    pub(super) env: &'c Env,
    pub(super) url: &'c str,
    pub(super) client: &'c Client,
    pub(super) shadow: &'c mut Shadow,
    pub(super) dice: &'c mut Dice,
    /// Whether what lives for seconds may be put: its clock is right.
    pub(super) brief: bool,
}

impl Chores<'_> {
    /// Does one.
    ///
    /// # Errors
    /// Broken.
    pub(super) fn run(&mut self, chore: Chore) -> Result<()> {
        match chore {
            Chore::Records => self.records(),
            Chore::Counters => self.counters(),
            Chore::Queue => self.queue(),
            Chore::Range => self.range(),
            Chore::Large => self.large(),
            Chore::Keyspaces => self.keyspaces(),
        }
    }

    fn write(&mut self, name: &str, writes: &[Write]) -> Result<()> {
        self.shadow.keyspace(self.env, self.client, name)?;
        self.shadow.write(self.env, self.client, name, writes)
    }

    fn records(&mut self) -> Result<()> {
        let count = 500 + self.dice.below(3_000);
        let brief = self.brief;
        let dice = &mut *self.dice;
        let mut one = |_| {
            let key = record_key(dice.below(KEYS));
            let length = 50 + dice.below(700) as usize;
            match dice.below(10) {
                0 | 1 => Write::Delete { key },
                2 | 3 if brief => {
                    Write::Brief { key, value: text(dice, length), seconds: 1 + dice.below(8) }
                }
                // Beside those that live for seconds: so that no table is all of one kind.
                4 => Write::Year { key, value: text(dice, length) },
                _ => Write::Put { key, value: text(dice, length) },
            }
        };
        let writes: Vec<Write> = (0..count).map(&mut one).collect();
        self.write(RECORDS, &writes)
    }

    fn range(&mut self) -> Result<()> {
        let digit = self.dice.below(8);
        let (from, to) = (record_key(digit * 1000), record_key((digit + 1) * 1000));
        let known = self.shadow.of(RECORDS).into_iter().flatten();
        let in_range =
            known.filter(|(key, _)| (from.as_str()..to.as_str()).contains(&key.as_str()));
        let writes: Vec<Write> =
            in_range.map(|(key, _)| Write::Delete { key: key.clone() }).collect();
        self.write(RECORDS, &writes)
    }

    fn queue(&mut self) -> Result<()> {
        let first_free = match self.shadow.of(QUEUE).and_then(|q| q.keys().next_back()) {
            Some(last) => last.parse::<u64>().map_or(0, |last| last + 1),
            None => 0,
        };
        let pushed = 200 + self.dice.below(1_000);
        let push = |n| Write::Put { key: format!("{n:012}"), value: format!("element {n}") };
        let writes: Vec<Write> = (first_free..first_free + pushed).map(push).collect();
        self.write(QUEUE, &writes)?;
        // Each is looked for where the queue begins, and taken from there.
        while let Some(head) = self.queue_head()? {
            let queue = self.shadow.of(QUEUE);
            let first = queue.and_then(|queue| queue.keys().next()).cloned().unwrap_or_default();
            if head != first {
                return Err(Failure::broken(format!("the queue begins at {head}, not at {first}")));
            }
            let left = self.shadow.of(QUEUE).map_or(0, |queue| queue.len() as u64);
            if left <= ALIVE {
                break;
            }
            // Some at a time: each look costs a request.
            let taken = self.shadow.of(QUEUE).into_iter().flatten().take(50);
            let writes: Vec<Write> =
                taken.map(|(key, _)| Write::Delete { key: key.clone() }).collect();
            self.write(QUEUE, &writes)?;
        }
        Ok(())
    }

    fn queue_head(&self) -> Result<Option<String>> {
        let path = format!("/v1/ks/{QUEUE}/kv?limit=1&keys_only=true");
        let page = insist(self.env, "the head of a queue", || self.client.fetch(&path))?;
        Ok(page["items"][0]["key"].as_str().map(str::to_owned))
    }

    fn large(&mut self) -> Result<()> {
        self.shadow.keyspace(self.env, self.client, LARGE)?;
        for _ in 0..1 + self.dice.below(2) {
            let key = format!("large{}", self.dice.below(LARGE_VALUES));
            let length = LARGE_BYTES / 2 + self.dice.below(LARGE_BYTES / 2);
            let value = text(self.dice, length as usize);
            self.shadow.put_raw(self.env, self.client, LARGE, (key, value))?;
        }
        Ok(())
    }

    fn keyspaces(&mut self) -> Result<()> {
        for _ in 0..5 {
            let number = self.dice.below(MANY);
            let (key, value) = (format!("key{}", self.dice.below(20)), text(self.dice, 100));
            self.write(&format!("many-{number}"), &[Write::Put { key, value }])?;
        }
        Ok(())
    }

    /// Increments add up, whoever makes them.
    fn counters(&mut self) -> Result<()> {
        self.shadow.keyspace(self.env, self.client, COUNTERS)?;
        let before = self.counted()?;
        let added: Vec<AtomicU64> = (0..COUNTED).map(|_| AtomicU64::new(0)).collect();
        let failure = Mutex::new(None);
        let seeds: Vec<u64> = (0..THREADS).map(|_| self.dice.below(u64::MAX)).collect();
        let tasks = seeds.into_iter().map(|seed| {
            let (added, failure) = (&added, &failure);
            let (env, url) = (self.env, self.url);
            let task = move || {
                let (client, mut dice) = (Client::new(url), Dice::new(seed));
                for _ in 0..INCREMENTS {
                    let counter = dice.below(COUNTED);
                    match increment(env, &client, counter) {
                        // Relaxed: read when all threads have ended.
                        Ok(()) => drop(added[counter as usize].fetch_add(1, Ordering::Relaxed)),
                        Err(e) => {
                            failure.lock().get_or_insert(e);
                            return;
                        }
                    }
                }
            };
            Box::new(task) as Box<dyn FnOnce() + Send + '_>
        });
        self.env.threads.run_all(tasks.collect());
        if let Some(failure) = failure.into_inner() {
            return Err(failure);
        }
        let after = self.counted()?;
        for (counter, added) in added.iter().enumerate() {
            let (was, is) = (before[counter], after[counter]);
            let added = added.load(Ordering::Relaxed);
            if was + added != is {
                return Err(Failure::broken(format!(
                    "counter {counter} was {was}, {added} increments were acknowledged, and it is {is}"
                )));
            }
            if is > 0 {
                self.shadow.note(COUNTERS, counter_key(counter as u64), is.to_string());
            }
        }
        Ok(())
    }

    fn counted(&self) -> Result<Vec<u64>> {
        let read = |counter| Ok(look(self.env, self.client, counter)?.0);
        (0..COUNTED).map(read).collect()
    }
}

fn record_key(number: u64) -> String {
    format!("record{number:06}")
}

fn counter_key(counter: u64) -> String {
    format!("counter{counter}")
}

/// Text that does not compress to nothing.
pub(super) fn text(dice: &mut Dice, length: usize) -> String {
    let letter = |_| char::from(b'0' + dice.below(43) as u8);
    (0..length).map(letter).collect()
}

/// A counter and its version; 0 and none, where it is not there.
fn look(env: &Env, client: &Client, counter: u64) -> Result<(u64, Option<u64>)> {
    let path = format!("/v1/ks/{COUNTERS}/get?key={}", counter_key(counter));
    let ask = || match client.fetch(&path) {
        Reply::Refused(problem) if problem.kind == "key-not-found" => Reply::Done(Value::Null),
        reply => reply,
    };
    let found = insist(env, "a counter", ask)?;
    let count = found["value"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok((count, found["version"].as_u64()))
}

/// One increment, again until nobody was faster.
fn increment(env: &Env, client: &Client, counter: u64) -> Result<()> {
    for _ in 0..10_000 {
        let (count, version) = look(env, client, counter)?;
        let key = counter_key(counter);
        let mut op = json!({ "op": "put", "key": key, "value": (count + 1).to_string() });
        match version {
            Some(version) => op["if_version"] = version.into(),
            None => op["if_absent"] = true.into(),
        }
        let body = json!({ "ops": [op], "durability": "synced" });
        let path = format!("/v1/ks/{COUNTERS}/batch");
        let ask = || match client.post(&path, &body) {
            Reply::Done(_) => Reply::Done(true),
            Reply::Refused(problem) if problem.kind == "precondition-failed" => Reply::Done(false),
            Reply::Refused(problem) => Reply::Refused(problem),
            Reply::Lost(why) => Reply::Lost(why),
            Reply::Hung(why) => Reply::Hung(why),
        };
        if insist(env, "an increment", ask)? {
            return Ok(());
        }
    }
    Err(Failure::broken(format!("counter {counter}: ten thousand times somebody was faster")))
}
