//! Streams, dumps, pages, point reads and writes of every kind at once, on one database.
//!
//! One thread does what a seed decides, a step after the other, and keeps a model of the keys
//! that it alone writes: so it knows what each answer must be, though streams are read in
//! small pieces many writes later. Two threads write pairs of keys meanwhile, each pair in
//! one batch: of these a stream must show both or neither.
//!
//! What it would find: a stream that sees a write behind its moment, loses its version to a
//! flush or a compaction, or breaks off; a batch seen in part; a page that skips or repeats a
//! key where others are written or deleted; an answer from the other keyspace; a share of the
//! memory budget that a stream or a page keeps.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // real threads and sockets

mod support;
#[path = "scans_beside_writes/model.rs"]
mod model;
#[path = "scans_beside_writes/stream.rs"]
mod stream;
#[path = "scans_beside_writes/walk.rs"]
mod walk;

use model::{Entry, KEYS, Model, SPACES, key_of, path, text};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stream::{DUMP, FORMS, Stream};
use support::{Answer, TestServer, temp_dir};
use tanada::vfs::memory::Dice;
use tanada::{Db, Durability, KeyspaceOptions};
use tanada_server::Limits;
use walk::{GoesOn, Walk};

const BUDGET: u64 = 96 << 20;
/// What all claims together may take: those of large requests, and of large answers.
const CLAIMS: u64 = BUDGET / 8 + BUDGET / 4;
const SEEDS: u64 = 3;
const STEPS: u64 = 300;
const LARGE: usize = 400_000;
const MOST_STREAMS: usize = 4;
const MOST_WALKS: usize = 3;
/// Pairs of one writer, and how often it writes at most.
const PAIRS: u64 = 8;
const PAIR_WRITES: u64 = 1_500;

/// The thread that does what the seed decides.
struct World<'s> {
    server: &'s TestServer,
    db: &'s Db,
    dice: Dice,
    model: Model,
    streams: Vec<Stream>,
    walks: Vec<Walk>,
    /// Values written so far: each is another.
    values: u64,
}

impl World<'_> {
    fn step(&mut self) {
        match self.dice.below(100) {
            0..6 => self.open_stream(),
            6..40 => self.read_piece(),
            40..58 => self.read_page(),
            58..66 => self.get(),
            66..76 => self.put(),
            76..82 => self.put_on_condition(),
            82..86 => self.delete(),
            86..91 => self.put_that_expires(),
            91..95 => self.write_batch(),
            95..97 => self.flush_or_compact(),
            _ => self.check_memory(),
        }
    }

    fn open_stream(&mut self) {
        if self.streams.len() == MOST_STREAMS {
            self.streams.remove(0).finish();
        }
        let form = FORMS[self.dice.below(FORMS.len() as u64) as usize];
        let stream = Stream::begin(self.server, form, &self.model);
        if form.target == "/v1/kv" {
            // What nobody changes in it is far more than the sockets take.
            let stats = self.server.get("/stats").json();
            assert!(stats["server"]["open_scans"].as_u64() >= Some(1), "its reader is slow");
        }
        self.streams.push(stream);
    }

    fn read_piece(&mut self) {
        let most = [100, 4 << 10, 64 << 10, 512 << 10][self.dice.below(4) as usize];
        if self.streams.is_empty() {
            return;
        }
        let which = self.dice.below(self.streams.len() as u64) as usize;
        self.streams[which].read_piece(most);
    }

    fn read_page(&mut self) {
        if self.walks.len() < MOST_WALKS {
            let walk = Walk {
                space: self.space(),
                reverse: self.dice.chance(500),
                limit: [1, 7, 25, 200][self.dice.below(4) as usize],
                goes_on: [GoesOn::ByCursor, GoesOn::ByLastKey][self.dice.below(2) as usize],
                last: None,
                still: Vec::new(),
            };
            self.walks.push(walk);
        }
        let which = self.dice.below(self.walks.len() as u64) as usize;
        if self.walks[which].read_page(self.server, &self.model) {
            self.walks.swap_remove(which).check_still();
        }
    }

    fn get(&mut self) {
        let (space, key) = (self.space(), key_of(self.dice.below(KEYS)));
        let answer = self.server.get(&path(space, &format!("kv/{key}")));
        match self.model[space].get(&key) {
            None => assert_eq!(answer.problem(), "key-not-found"),
            Some(entry) => {
                assert_eq!(answer.status, 200, "{key}: {answer:?}");
                assert!(answer.body == entry.value.as_bytes(), "{key} of {}", SPACES[space]);
                assert_eq!(answer.header("etag"), self.tag(entry.version));
            }
        }
    }

    fn put(&mut self) {
        let (space, key) = (self.space(), self.changing());
        let value = self.value(space, &key);
        let answer = self.send(space, &key, "", &[], &value);
        self.note(space, key, value, answer.seq(), false);
    }

    fn put_on_condition(&mut self) {
        let (space, key) = (self.space(), self.changing());
        let version = self.model[space].get(&key).map(|entry| entry.version);
        let (name, tag, holds) = match (version, self.dice.below(3)) {
            (Some(version), 0) => ("if-match", self.tag(version), true),
            (Some(version), 1) => ("if-match", self.tag(version + 1_000_000), false),
            (Some(_), _) => ("if-none-match", "*".to_owned(), false),
            (None, 0) => ("if-match", "*".to_owned(), false),
            (None, _) => ("if-none-match", "*".to_owned(), true),
        };
        let value = self.value(space, &key);
        let answer = self.send(space, &key, "", &[(name, &tag)], &value);
        if holds {
            self.note(space, key, value, answer.seq(), false);
        } else {
            assert_eq!(answer.problem(), "precondition-failed", "{key}: {name}: {tag}");
        }
    }

    fn delete(&mut self) {
        let (space, key) = (self.space(), self.changing());
        let target = path(space, &format!("kv/{key}?durability=memory"));
        self.server.request("DELETE", &target, &[], "").seq();
        self.model[space].remove(&key);
    }

    fn put_that_expires(&mut self) {
        let (space, key) = (self.space(), self.changing());
        let value = self.value(space, &key);
        match self.dice.below(3) {
            0 => {
                let answer = self.send(space, &key, "&ttl=3600", &[], &value);
                self.note(space, key, value, answer.seq(), true);
            }
            1 => {
                // Past already: it hides what was there.
                let past = "&expires_at=2020-01-01T00:00:00Z";
                self.send(space, &key, past, &[], &value).seq();
                self.model[space].remove(&key);
            }
            _ => {
                // It goes while streams and pages pass: they may show it or not.
                let key = format!("f-{}", self.values);
                let value = text(space, &key, self.values, 8);
                self.send(space, &key, "&ttl=0.02", &[], &value).seq();
            }
        }
    }

    fn write_batch(&mut self) {
        let (space, n) = (self.space(), 3 * self.dice.below(KEYS / 3 - 1));
        let [put, deleted, expiring] = [1, 2, 4].map(|further| key_of(n + further));
        let (value, other) = (self.value(space, &put), self.value(space, &expiring));
        let condition = match self.model[space].get(&put) {
            Some(entry) => ("if_version", json!(entry.version)),
            None => ("if_absent", json!(true)),
        };
        let mut ops = json!([
            {"op": "put", "key": put, "value": value},
            {"op": "delete", "key": deleted},
            {"op": "put", "key": expiring, "value": other, "ttl": 3600},
        ]);
        ops[0][condition.0] = condition.1;
        let body = json!({"ops": ops, "durability": "memory"}).to_string();
        let answer = self.server.post(&path(space, "batch"), body);
        let last = answer.seq();
        self.note(space, put, value, last - 2, false);
        self.model[space].remove(&deleted);
        self.note(space, expiring, other, last, true);
    }

    fn flush_or_compact(&mut self) {
        let space = self.space();
        if self.dice.chance(500) {
            self.db.flush().expect("there is room");
        } else {
            let answer = self.server.post(&path(space, "compact?wait=true"), "");
            assert_eq!(answer.json()["state"], "done", "{answer:?}");
        }
    }

    fn check_memory(&self) {
        let stats = self.server.get("/stats").json();
        let of = |part: &str| stats["memory"][part].as_u64().expect("a number");
        assert!(of("used_bytes") <= BUDGET, "{}", stats["memory"]);
        assert!(of("claimed_bytes") <= CLAIMS, "{}", stats["memory"]);
    }

    /// Reads everything to its end. Nothing is held afterwards.
    fn finish(&mut self) {
        for stream in std::mem::take(&mut self.streams) {
            stream.finish();
        }
        for walk in std::mem::take(&mut self.walks) {
            walk.finish(self.server, &self.model);
        }
        Stream::begin(self.server, DUMP, &self.model).finish();
        self.check_memory();
        let held = || {
            let stats = self.server.get("/stats").json();
            let (memory, server) = (&stats["memory"], &stats["server"]);
            [&memory["claimed_bytes"], &memory["readers"], &server["open_scans"]]
                .map(|number| number.as_u64().expect("a number"))
        };
        // The server learns in its own time that the last answers have been taken.
        let is_free = (0..20_000).any(|_| held() == [0, 0, 0]);
        assert!(is_free, "bytes claimed, readers, open scans: {:?}", held());
    }

    fn space(&mut self) -> usize {
        self.dice.below(SPACES.len() as u64) as usize
    }

    /// A key of the model that is no still one.
    fn changing(&mut self) -> String {
        key_of(3 * self.dice.below(KEYS / 3) + 1 + self.dice.below(2))
    }

    /// A value that nothing had before; every fifth is large.
    fn value(&mut self, space: usize, key: &str) -> String {
        self.values += 1;
        let len = if self.dice.chance(200) { LARGE } else { self.dice.below(40) as usize };
        text(space, key, self.values, len)
    }

    fn tag(&self, version: u64) -> String {
        format!("\"{}-{version}\"", self.db.lineage())
    }

    fn send(
        &self,
        space: usize,
        key: &str,
        options: &str,
        headers: &[(&str, &str)],
        value: &str,
    ) -> Answer {
        let target = path(space, &format!("kv/{key}?durability=memory{options}"));
        self.server.request("PUT", &target, headers, value)
    }

    fn note(&mut self, space: usize, key: String, value: String, version: u64, expires: bool) {
        self.model[space].insert(key, Entry { value: value.into(), version, expires });
    }
}

/// Writes pairs until the other thread is done.
fn write_pairs(server: &TestServer, mut dice: Dice, writer: u64, done: &AtomicBool) {
    for n in 0..PAIR_WRITES {
        if done.load(Ordering::Acquire) {
            return;
        }
        let (space, pair) = (dice.below(2) as usize, dice.below(PAIRS));
        let id = format!("pair-{writer}-{pair}");
        let value = text(space, &id, n, if dice.chance(25) { 50_000 } else { 8 });
        let is_delete = dice.chance(100);
        let ops = ["a-", "z-"].map(|half| {
            let key = format!("{half}{id}");
            match is_delete {
                true => json!({"op": "delete", "key": key}),
                false => json!({"op": "put", "key": key, "value": value}),
            }
        });
        let body = json!({"ops": ops, "durability": "memory"}).to_string();
        server.post(&path(space, "batch"), body).seq();
    }
}

/// The keys as they are at first: a third of the default keyspace is large, and little of the
/// other.
fn fill(db: &Db) -> Model {
    let spaces = [
        db.default_keyspace().clone(),
        db.keyspace("side", KeyspaceOptions::new()).expect("a good name"),
    ];
    let mut model = Model::default();
    for (space, keyspace) in spaces.iter().enumerate() {
        for n in 0..KEYS {
            let is_large = if space == 0 { n % 6 < 2 } else { n.is_multiple_of(20) };
            let key = key_of(n);
            let value = text(space, &key, n, if is_large { LARGE } else { 20 });
            let version = keyspace.put(&key, &value).expect("there is room").0;
            let entry = Entry { value: value.into(), version, expires: false };
            model[space].insert(key, entry);
        }
    }
    model
}

/// Set when dropped: writers must not go on behind a failure.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Says how to run a seed again when a panic drops it.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!("TANADA_SEED={seed} cargo test -p tanada-server --test scans_beside_writes");
        }
    }
}

fn run(seed: u64) {
    let _replay = Replay(seed);
    let dir = temp_dir();
    let builder = Db::builder(dir.path()).memory(BUDGET).durability(Durability::Buffered);
    let db = builder.open().expect("a database");
    let model = fill(&db);
    if seed.is_multiple_of(2) {
        db.flush().expect("there is room");
    }
    // Longer than a stream may have to wait here for its next piece.
    let limits = Limits { write_timeout: Duration::from_secs(600), ..Limits::default() };
    let server = TestServer::over_db(db.clone(), limits);
    let (server, done) = (&server, &AtomicBool::new(false));
    let mut world = World {
        server,
        db: &db,
        dice: Dice::new(seed),
        model,
        streams: Vec::new(),
        walks: Vec::new(),
        values: KEYS,
    };
    std::thread::scope(|scope| {
        let _done = Done(done);
        for writer in 0..2 {
            let dice = Dice::new(seed + 1_000 * (writer + 1));
            scope.spawn(move || write_pairs(server, dice, writer, done));
        }
        (0..STEPS).for_each(|_| world.step());
        world.finish();
    });
}

#[test]
fn streams_pages_and_reads_beside_all_writes_show_what_was_there_at_their_moment() {
    match std::env::var("TANADA_SEED") {
        Ok(seed) => run(seed.parse().expect("TANADA_SEED is a number")),
        Err(_) => (1..=SEEDS).for_each(run),
    }
}
