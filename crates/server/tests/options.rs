//! Every option of every route does what it says: not only that it is taken.
//!
//! One table: route, option, effect, and a check of that effect. It is complete by
//! construction. The server is asked which paths, methods, parameters and fields it has (its
//! own answers to wrong ones name them), and its source for the headers that it reads; what
//! has no row fails, and so does a row that nobody offers any more. Each check runs on the
//! default keyspace and on another, where the route is there for both.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // real files and sockets

mod support;
#[path = "options/discovery.rs"]
mod discovery;
#[path = "options/form.rs"]
mod form;
#[path = "options/checks.rs"]
mod checks;
#[path = "options/limits.rs"]
mod limits;

use checks::*;
use form::Form::{self, *};
use form::World;
use std::collections::BTreeSet;

/// One option.
struct Row {
    form: Form,
    option: &'static str,
    /// What a client sees of it.
    effect: &'static str,
    check: fn(Form, Option<&'static str>),
}

const fn row(
    form: Form,
    option: &'static str,
    effect: &'static str,
    check: fn(Form, Option<&'static str>),
) -> Row {
    Row { form, option, effect, check }
}

const KEY: &str = "that key, and no other, is read or written";
const KEY64: &str = "the key is what the base64 says, any bytes";
const VALUE: &str = "that is what a read gives";
const ENCODING: &str = "base64 in, its bytes are stored";
const TTL: &str = "the key is gone so many seconds later";
const UNTIL: &str = "the key is gone from that time on";
const DURABILITY: &str = "a power cut may take what is less than synced, and nothing that is";
const IF_MATCH: &str = "done only with that version";
const IF_NONE_MATCH: &str = "done only without that version";
const EXPLAIN: &str = "the steps of the read are told";
const ACCEPT: &str = "the answer is of that type";
const NAME: &str = "it has that name";

const ROWS: &[Row] = &[
    row(PutQuery, "?key", KEY, key),
    row(PutQuery, "?key64", KEY64, key64),
    row(PutQuery, "?value", VALUE, value),
    row(PutQuery, "?encoding", ENCODING, encoding),
    row(PutQuery, "?ttl", TTL, ttl),
    row(PutQuery, "?expires_at", UNTIL, expires_at),
    row(PutQuery, "?durability", DURABILITY, durability),
    row(PutBody, "{key}", KEY, key),
    row(PutBody, "{key64}", KEY64, key64),
    row(PutBody, "{value}", VALUE, value),
    row(PutBody, "{encoding}", ENCODING, encoding),
    row(PutBody, "{ttl}", TTL, ttl),
    row(PutBody, "{expires_at}", UNTIL, expires_at),
    row(PutBody, "{durability}", DURABILITY, durability),
    row(DeleteQuery, "?key", KEY, key),
    row(DeleteQuery, "?key64", KEY64, key64),
    row(DeleteQuery, "?durability", DURABILITY, durability),
    row(DeleteBody, "{key}", KEY, key),
    row(DeleteBody, "{key64}", KEY64, key64),
    row(DeleteBody, "{durability}", DURABILITY, durability),
    row(GetQuery, "?key", KEY, key),
    row(GetQuery, "?key64", KEY64, key64),
    row(GetQuery, "?explain", EXPLAIN, explain),
    row(GetQuery, "Accept", ACCEPT, raw),
    row(GetPostQuery, "?key", KEY, key),
    row(GetPostQuery, "?key64", KEY64, key64),
    row(GetPostQuery, "?explain", EXPLAIN, explain),
    row(GetBody, "{key}", KEY, key),
    row(GetBody, "{key64}", KEY64, key64),
    row(GetBody, "{explain}", EXPLAIN, explain),
    row(GetBody, "Accept", ACCEPT, raw),
    row(KvGet, "?key64", KEY64, key64),
    row(KvGet, "If-Match", IF_MATCH, if_match),
    row(KvGet, "If-None-Match", IF_NONE_MATCH, if_none_match),
    row(KvGet, "Range", "that part of the value", range),
    row(KvGet, "If-Range", "the part of that version, the whole of another", if_range),
    row(KvPut, "?key64", KEY64, key64),
    row(KvPut, "?ttl", TTL, ttl),
    row(KvPut, "?expires_at", UNTIL, expires_at),
    row(KvPut, "?durability", DURABILITY, durability),
    row(KvPut, "If-Match", IF_MATCH, if_match),
    row(KvPut, "If-None-Match", IF_NONE_MATCH, if_none_match),
    row(KvDelete, "?key64", KEY64, key64),
    row(KvDelete, "?durability", DURABILITY, durability),
    row(KvDelete, "If-Match", IF_MATCH, if_match),
    row(KvDelete, "If-None-Match", IF_NONE_MATCH, if_none_match),
    row(Batch, "{ops}", "all of them are done, in order", ops),
    row(Batch, "{durability}", DURABILITY, durability),
    row(BatchOp, "{op}", "a put, a delete, or a question alone", op),
    row(BatchOp, "{key}", KEY, key),
    row(BatchOp, "{key64}", KEY64, key64),
    row(BatchOp, "{value}", VALUE, value),
    row(BatchOp, "{encoding}", ENCODING, encoding),
    row(BatchOp, "{ttl}", TTL, ttl),
    row(BatchOp, "{expires_at}", UNTIL, expires_at),
    row(BatchOp, "{if_version}", IF_MATCH, if_version),
    row(BatchOp, "{if_absent}", "done only without any version", if_absent),
    row(Scan, "?prefix", "keys that begin so", prefix),
    row(Scan, "?start", "keys from there on", start),
    row(Scan, "?end", "keys before that", end),
    row(Scan, "?limit", "so many keys", limit),
    row(Scan, "?cursor", "goes on behind the last page", cursor),
    row(Scan, "?reverse", "from the last key", reverse),
    row(Scan, "?keys_only", "no values", keys_only),
    row(Scan, "Accept", "one line a key, all of them", ndjson),
    row(Compact, "?wait", "answered when it is done", wait),
    row(Compact, "?start", "what lies before stays as it is", compact_start),
    row(Compact, "?end", "what lies behind stays as it is", compact_end),
    row(Stats, "Accept", ACCEPT, stats_text),
    row(Dump, "?keyspace", "that keyspace alone", dump_keyspace),
    row(NewKeyspaceQuery, "?name", NAME, keyspace_name),
    row(NewKeyspaceBody, "{name}", NAME, keyspace_name),
    row(CheckpointQuery, "?name", NAME, checkpoint_name),
    row(CheckpointBody, "{name}", NAME, checkpoint_name),
    row(Anything, "Host", "names of other machines are refused", host),
    row(Anything, "Origin", "pages of other sites are refused", origin),
];

fn named(row: &Row) -> String {
    format!("{} {}", row.form.route(), row.option)
}

#[test]
fn every_option_of_every_route_has_a_row_and_every_row_an_option() {
    let offered = discovery::options(&World::new(None));
    let rows: BTreeSet<String> = ROWS.iter().map(named).collect();
    assert_eq!(rows.len(), ROWS.len(), "two rows of one option");
    let without: Vec<_> = offered.difference(&rows).collect();
    assert!(without.is_empty(), "options without a row: {without:#?}");
    let gone: Vec<_> = rows.difference(&offered).collect();
    assert!(gone.is_empty(), "rows of options that are not offered: {gone:#?}");
    assert_eq!(discovery::options(&World::new(Some("side"))), offered, "of another keyspace");
}

#[test]
fn every_option_of_every_route_does_what_its_row_says() {
    for row in ROWS {
        let _named = Naming(row);
        (row.check)(row.form, None);
        if row.form.is_of_a_keyspace() {
            (row.check)(row.form, Some("side"));
        }
    }
}

/// Names the row when a panic drops it.
struct Naming<'r>(&'r Row);

impl Drop for Naming<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: {}", named(self.0), self.0.effect);
        }
    }
}
