//! What each option does, as a client sees it.

use crate::form::Form::{self, *};
use crate::form::World;
use crate::support::Answer;
use serde_json::{Value, json};
use tanada::{Db, Durability, UnixMillis};

type Space = Option<&'static str>;

/// Power cuts of so many kinds are tried.
const CUTS: u64 = 64;

fn done(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
}

/// The value in an answer of any read.
fn value_in(form: Form, answer: &Answer) -> String {
    done(answer);
    match form {
        KvGet => String::from_utf8_lossy(&answer.body).into_owned(),
        _ => answer.json()["value"].as_str().expect("text").to_owned(),
    }
}

fn names_the_key(form: Form, space: Space, option: (&str, Value), key: &[u8]) {
    let world = World::new(space);
    let other = b"another";
    world.put(key, "old");
    world.put(other, "other");
    let answer = world.ask(form, &[option]);
    if form.is_read() {
        assert_eq!(value_in(form, &answer), "old");
        return;
    }
    done(&answer);
    let left = if form.is_delete() { None } else { Some(b"v".to_vec()) };
    assert_eq!(world.get(key), left);
    assert_eq!(world.get(other).as_deref(), Some(&b"other"[..]));
    assert_eq!(world.keyspace.iter().count(), if form.is_delete() { 1 } else { 2 });
}

pub(crate) fn key(form: Form, space: Space) {
    names_the_key(form, space, ("key", json!("the key")), b"the key");
}

pub(crate) fn key64(form: Form, space: Space) {
    names_the_key(form, space, ("key64", json!("/wA=")), b"\xff\0");
}

pub(crate) fn value(form: Form, space: Space) {
    let world = World::new(space);
    done(&world.ask(form, &[("value", json!("of its own"))]));
    assert_eq!(world.get(b"k").as_deref(), Some(&b"of its own"[..]));
}

pub(crate) fn encoding(form: Form, space: Space) {
    let world = World::new(space);
    let value = || ("value", json!("YWI="));
    done(&world.ask(form, &[value(), ("encoding", json!("base64"))]));
    assert_eq!(world.get(b"k").as_deref(), Some(&b"ab"[..]));
    done(&world.ask(form, &[value(), ("encoding", json!("utf8"))]));
    assert_eq!(world.get(b"k").as_deref(), Some(&b"YWI="[..]));
}

fn expires_at_ms(world: &World) -> Option<u64> {
    let record = world.keyspace.get_record("k").expect("it is readable");
    record.expect("it is there").expires_at.map(|UnixMillis(ms)| ms)
}

pub(crate) fn ttl(form: Form, space: Space) {
    let world = World::new(space);
    let before = world.db.now().0;
    done(&world.ask(form, &[("ttl", json!(100.5))]));
    let expires = expires_at_ms(&world).expect("it expires");
    assert!((before..=world.db.now().0).contains(&(expires - 100_500)), "{expires}");
    done(&world.ask(form, &[]));
    assert_eq!(expires_at_ms(&world), None, "without it the key stays");
    done(&world.ask(form, &[("ttl", json!(1))]));
    world.machine.clock().advance(std::time::Duration::from_secs(2));
    assert_eq!(world.get(b"k"), None);
}

pub(crate) fn expires_at(form: Form, space: Space) {
    let world = World::new(space);
    done(&world.ask(form, &[("expires_at", json!("2030-01-02T03:04:05.678Z"))]));
    assert_eq!(expires_at_ms(&world), Some(1_893_553_445_678));
}

/// What is left of the key by each kind of power cut.
fn after_power_cuts(world: &World, space: Space) -> impl Iterator<Item = Option<Vec<u8>>> {
    let machine = world.machine.clone();
    (0..CUTS).map(move |seed| {
        let cut = machine.crash(seed);
        let db = Db::builder("/db").memory(64 << 20).threads(1).env(cut.env()).open();
        let db = db.expect("a power cut does no harm");
        let keyspace = db.find_keyspace(space.unwrap_or("default")).expect("it is open");
        let value = keyspace.expect("it was there").get("k").expect("it is readable");
        value.map(|value| value.to_vec())
    })
}

pub(crate) fn durability(form: Form, space: Space) {
    for (usual, asked, may_be_lost) in [
        (Durability::Synced, "memory", true),
        (Durability::Synced, "buffered", true),
        (Durability::Memory, "synced", false),
        (Durability::Buffered, "synced", false),
    ] {
        let world = World::with_durability(space, usual);
        world.put("k", "before");
        world.db.flush().expect("there is room");
        done(&world.ask(form, &[("durability", json!(asked))]));
        let wanted = if form.is_delete() { None } else { Some(b"v".to_vec()) };
        let lost = after_power_cuts(&world, space).any(|left| left != wanted);
        assert_eq!(lost, may_be_lost, "{asked} instead of {usual:?}");
    }
}

pub(crate) fn explain(form: Form, space: Space) {
    let world = World::new(space);
    world.put("k", "v");
    for (asked, told) in [(true, true), (false, false)] {
        let answer = world.ask(form, &[("explain", json!(asked))]);
        assert_eq!(answer.json()["explain"]["steps"].is_array(), told);
        assert_eq!(answer.json()["value"], "v");
    }
}

pub(crate) fn raw(form: Form, space: Space) {
    let world = World::new(space);
    world.put("k", "the bytes");
    let answer = world.ask(form, &[("Accept", json!("application/octet-stream"))]);
    assert_eq!(answer.body, b"the bytes");
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    assert_eq!(world.ask(form, &[]).header("content-type"), "application/json");
}

pub(crate) fn if_match(form: Form, space: Space) {
    let world = World::new(space);
    let version = world.put("k", "old");
    let (own, other) = (world.tag(version), world.tag(version + 1000));
    let refused = world.ask(form, &[("If-Match", json!(other))]);
    assert_eq!(refused.status, 412);
    assert_eq!(world.get(b"k").as_deref(), Some(&b"old"[..]), "nothing was done");
    done(&world.ask(form, &[("If-Match", json!(own))]));
    if !form.is_read() {
        assert_ne!(world.get(b"k").as_deref(), Some(&b"old"[..]));
    }
}

pub(crate) fn if_none_match(form: Form, space: Space) {
    let world = World::new(space);
    let version = world.put("k", "old");
    let (own, other) = (world.tag(version), world.tag(version + 1000));
    let refused = world.ask(form, &[("If-None-Match", json!(own))]);
    assert_eq!(refused.status, if form.is_read() { 304 } else { 412 });
    assert_eq!(world.get(b"k").as_deref(), Some(&b"old"[..]), "nothing was done");
    done(&world.ask(form, &[("If-None-Match", json!(other))]));
    if !form.is_read() {
        assert_ne!(world.get(b"k").as_deref(), Some(&b"old"[..]));
    }
}

pub(crate) fn range(form: Form, space: Space) {
    let world = World::new(space);
    world.put("k", "0123456789");
    let answer = world.ask(form, &[("Range", json!("bytes=2-4"))]);
    assert_eq!((answer.status, &answer.body[..]), (206, &b"234"[..]));
}

pub(crate) fn if_range(form: Form, space: Space) {
    let world = World::new(space);
    let version = world.put("k", "0123456789");
    for (tag, status, body) in
        [(world.tag(version), 206, "234"), (world.tag(version + 1), 200, "0123456789")]
    {
        let headers = [("Range", json!("bytes=2-4")), ("If-Range", json!(tag))];
        let answer = world.ask(form, &headers);
        assert_eq!((answer.status, &answer.body[..]), (status, body.as_bytes()));
    }
}

pub(crate) fn ops(form: Form, space: Space) {
    let world = World::new(space);
    let put = |key: &str, value: &str| json!({"op": "put", "key": key, "value": value});
    let ops = json!([put("a", "1"), put("b", "2"), put("a", "3")]);
    done(&world.ask(form, &[("ops", ops)]));
    assert_eq!(world.get(b"a").as_deref(), Some(&b"3"[..]));
    assert_eq!(world.get(b"b").as_deref(), Some(&b"2"[..]));
}

pub(crate) fn op(form: Form, space: Space) {
    let world = World::new(space);
    let put = [("op", json!("put")), ("value", json!("new"))];
    done(&world.ask(form, &put));
    assert_eq!(world.get(b"k").as_deref(), Some(&b"new"[..]));
    let check = |absent: bool| [("op", json!("check")), ("if_absent", json!(absent))];
    assert_eq!(world.ask(form, &check(true)).status, 412);
    assert_eq!(world.get(b"k").as_deref(), Some(&b"new"[..]), "a question writes nothing");
    done(&world.ask(form, &[("op", json!("delete"))]));
    assert_eq!(world.get(b"k"), None);
    done(&world.ask(form, &check(true)));
    assert_eq!(world.get(b"k"), None, "a question writes nothing");
}

pub(crate) fn if_version(form: Form, space: Space) {
    let world = World::new(space);
    let version = world.put("k", "old");
    assert_eq!(world.ask(form, &[("if_version", json!(version + 1))]).status, 412);
    assert_eq!(world.get(b"k").as_deref(), Some(&b"old"[..]), "nothing was done");
    done(&world.ask(form, &[("if_version", json!(version))]));
    assert_eq!(world.get(b"k").as_deref(), Some(&b"v"[..]));
}

pub(crate) fn if_absent(form: Form, space: Space) {
    let world = World::new(space);
    done(&world.ask(form, &[("if_absent", json!(true)), ("value", json!("first"))]));
    assert_eq!(world.ask(form, &[("if_absent", json!(true))]).status, 412);
    assert_eq!(world.get(b"k").as_deref(), Some(&b"first"[..]), "nothing was done");
}

/// A keyspace of `a`, `b1`, `b2`, `c`, and the keys that a scan with `options` shows.
fn scanned(form: Form, space: Space, options: &[(&str, Value)]) -> Vec<String> {
    let world = World::new(space);
    fill(&world);
    keys_of(&world.ask(form, options))
}

fn fill(world: &World) {
    for key in ["a", "b1", "b2", "c"] {
        world.put(key, "value");
    }
}

fn keys_of(answer: &Answer) -> Vec<String> {
    done(answer);
    let entries = answer.json()["items"].as_array().expect("a list").clone();
    entries.iter().map(|entry| entry["key"].as_str().expect("text").to_owned()).collect()
}

pub(crate) fn prefix(form: Form, space: Space) {
    assert_eq!(scanned(form, space, &[("prefix", json!("b"))]), ["b1", "b2"]);
    assert_eq!(scanned(form, space, &[]), ["a", "b1", "b2", "c"]);
}

pub(crate) fn start(form: Form, space: Space) {
    assert_eq!(scanned(form, space, &[("start", json!("b2"))]), ["b2", "c"]);
}

pub(crate) fn end(form: Form, space: Space) {
    assert_eq!(scanned(form, space, &[("end", json!("b2"))]), ["a", "b1"]);
}

pub(crate) fn limit(form: Form, space: Space) {
    assert_eq!(scanned(form, space, &[("limit", json!(3))]), ["a", "b1", "b2"]);
}

pub(crate) fn reverse(form: Form, space: Space) {
    assert_eq!(scanned(form, space, &[("reverse", json!(true))]), ["c", "b2", "b1", "a"]);
    assert_eq!(scanned(form, space, &[("reverse", json!(false))]), ["a", "b1", "b2", "c"]);
}

pub(crate) fn cursor(form: Form, space: Space) {
    let world = World::new(space);
    fill(&world);
    let first = world.ask(form, &[("limit", json!(2))]);
    assert_eq!(keys_of(&first), ["a", "b1"]);
    let cursor = first.json()["cursor"].clone();
    assert_eq!(keys_of(&world.ask(form, &[("cursor", cursor)])), ["b2", "c"]);
}

pub(crate) fn keys_only(form: Form, space: Space) {
    let world = World::new(space);
    fill(&world);
    for (asked, has_values) in [(true, false), (false, true)] {
        let answer = world.ask(form, &[("keys_only", json!(asked))]);
        assert_eq!(keys_of(&answer).len(), 4);
        assert_eq!(answer.json()["items"][0].get("value").is_some(), has_values);
    }
}

pub(crate) fn ndjson(form: Form, space: Space) {
    let world = World::new(space);
    for n in 0..300 {
        world.put(format!("{n:03}"), "value");
    }
    let answer = world.ask(form, &[("Accept", json!("application/x-ndjson"))]);
    done(&answer);
    let text = String::from_utf8(answer.body).expect("UTF-8");
    assert_eq!(text.lines().count(), 300);
    assert_eq!(keys_of(&world.ask(form, &[])).len(), 100, "a page otherwise");
}

pub(crate) fn wait(form: Form, space: Space) {
    let world = World::new(space);
    world.put("k", "v");
    assert_eq!(world.ask(form, &[]).status, 202);
    // A machine in memory has no threads that one compaction could wait for beside another.
    let world = World::new(space);
    world.put("k", "v");
    let answer = world.ask(form, &[("wait", json!(true))]);
    let told = answer.json();
    assert_eq!((answer.status, &told["state"]), (200, &json!("done")), "{told}");
}

/// Keys `a` and `z`, each overwritten, in tables of their own: which entries a compaction
/// of a part drops.
fn dropped(form: Form, space: Space, options: &[(&str, Value)]) -> u64 {
    let world = World::new(space);
    for key in ["a", "z"] {
        for n in 0..if key == "a" { 2 } else { 4 } {
            world.put(key, format!("value {n}"));
            // A version of its own table each time.
            world.keyspace.flush().expect("there is room");
        }
    }
    let mut all = vec![("wait", json!(true))];
    all.extend_from_slice(options);
    let answer = world.ask(form, &all);
    done(&answer);
    answer.json()["summary"]["entries_dropped"].as_u64().expect("a number")
}

pub(crate) fn compact_start(form: Form, space: Space) {
    assert_eq!(dropped(form, space, &[("start", json!("m"))]), 3, "those of z alone");
    assert_eq!(dropped(form, space, &[]), 4);
}

pub(crate) fn compact_end(form: Form, space: Space) {
    assert_eq!(dropped(form, space, &[("end", json!("m"))]), 1, "those of a alone");
}

pub(crate) fn stats_text(form: Form, space: Space) {
    let world = World::new(space);
    let text = world.ask(form, &[("Accept", json!("text/plain"))]);
    assert!(text.header("content-type").starts_with("text/plain"));
    assert!(String::from_utf8_lossy(&text.body).contains("L1 rows"));
    assert!(world.ask(form, &[]).json()["seqno"].is_u64());
}

pub(crate) fn dump_keyspace(form: Form, _: Space) {
    let world = World::new(Some("side"));
    world.put("k", "of side");
    world.db.put("k", "of default").expect("there is room");
    let dumped = |options: &[(&str, Value)]| {
        let answer = world.ask(form, options);
        done(&answer);
        String::from_utf8(answer.body).expect("UTF-8")
    };
    let (one, all) = (dumped(&[("keyspace", json!("side"))]), dumped(&[]));
    assert!(one.contains("of side") && !one.contains("of default"), "{one}");
    assert!(all.contains("of side") && all.contains("of default"), "{all}");
}

pub(crate) fn keyspace_name(form: Form, space: Space) {
    let world = World::new(space);
    assert_eq!(world.ask(form, &[("name", json!("its name"))]).status, 201);
    assert_eq!(world.db.keyspaces(), ["its name"]);
}

pub(crate) fn checkpoint_name(form: Form, space: Space) {
    let world = World::new(space);
    world.put("k", "v");
    let answer = world.ask(form, &[("name", json!("monday"))]);
    assert!(matches!(answer.status, 200 | 201), "{}", String::from_utf8_lossy(&answer.body));
    let env = world.machine.env();
    let there =
        Db::builder(world.checkpoints.path().join("monday")).memory(64 << 20).threads(1).env(env);
    let there = there.create_if_missing(false).open().expect("it is a database");
    assert_eq!(there.get("k").expect("readable").as_deref(), Some(&b"v"[..]));
}

pub(crate) fn host(form: Form, space: Space) {
    let world = World::new(space);
    done(&world.ask(form, &[("Host", json!("localhost"))]));
    assert_eq!(world.ask(form, &[("Host", json!("example.org"))]).problem(), "foreign-host");
}

pub(crate) fn origin(form: Form, space: Space) {
    let world = World::new(space);
    let own = format!("http://{}", world.server.address);
    done(&world.ask(form, &[("Origin", json!(own))]));
    let foreign = world.ask(form, &[("Origin", json!("http://example.org"))]);
    assert_eq!(foreign.problem(), "foreign-origin");
}
