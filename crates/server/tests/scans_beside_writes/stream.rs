//! NDJSON streams of scans and dumps, read in pieces and checked when they are whole.

use crate::model::{Entry, Model, SPACES, Seen};
use crate::support::TestServer;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

/// A request for a stream, and what of the model it must show.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    pub(crate) target: &'static str,
    spaces: &'static [usize],
    reverse: bool,
    keys_only: bool,
    from: &'static str,
    below: &'static str,
    limit: usize,
}

/// A form without any option.
const fn whole(target: &'static str, spaces: &'static [usize]) -> Form {
    let (from, below, limit) = ("", "~", usize::MAX);
    Form { target, spaces, reverse: false, keys_only: false, from, below, limit }
}

pub(crate) const DUMP: Form = whole("/v1/dump", &[0, 1]);

pub(crate) const FORMS: [Form; 8] = [
    whole("/v1/kv", &[0]),
    Form { reverse: true, ..whole("/v1/kv?reverse=true", &[0]) },
    Form { keys_only: true, ..whole("/v1/kv?keys_only=true", &[0]) },
    Form {
        from: "k020",
        below: "k110",
        limit: 50,
        ..whole("/v1/kv?start=k020&end=k110&limit=50", &[0])
    },
    Form { from: "k", below: "l", ..whole("/v1/ks/side/kv?prefix=k", &[1]) },
    whole("/v1/ks/side/kv", &[1]),
    whole("/v1/dump?keyspace=side", &[1]),
    DUMP,
];

impl Form {
    fn expected<'m>(&self, model: &'m Model) -> Vec<(usize, &'m String, &'m Entry)> {
        let of =
            move |space: usize| model[space].iter().map(move |(key, entry)| (space, key, entry));
        let all = self.spaces.iter().flat_map(|&space| of(space));
        let (from, below) = (self.from, self.below);
        let mut all: Vec<_> =
            all.filter(|(_, key, _)| key.as_str() >= from && key.as_str() < below).collect();
        if self.reverse {
            all.reverse();
        }
        all.truncate(self.limit);
        all
    }
}

const HEAD: &str = "HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                    accept: application/x-ndjson\r\n\r\n";

/// A stream that is being read.
pub(crate) struct Stream {
    form: Form,
    connection: TcpStream,
    /// As it was at the stream's moment.
    model: Model,
    read: Vec<u8>,
    ended: bool,
}

impl Stream {
    /// One whose moment is this one: it has begun when this returns.
    pub(crate) fn begin(server: &TestServer, form: Form, model: &Model) -> Stream {
        let mut connection = server.connect();
        let request = format!("GET {} {HEAD}", form.target);
        connection.write_all(request.as_bytes()).expect("sent");
        let (model, read) = (model.clone(), Vec::new());
        let mut stream = Stream { form, connection, model, read, ended: false };
        while !stream.ended && !stream.read.windows(6).any(|bytes| bytes == br#""key":"#) {
            stream.read_piece(1024);
        }
        stream
    }

    /// Reads what there is, `most` bytes at most; waits where there is nothing yet.
    pub(crate) fn read_piece(&mut self, most: usize) {
        if self.ended {
            return;
        }
        let mut piece = vec![0; most];
        let n = self.connection.read(&mut piece).expect("the stream goes on");
        self.read.extend_from_slice(&piece[..n]);
        self.ended = n == 0;
    }

    pub(crate) fn finish(mut self) {
        while !self.ended {
            self.read_piece(256 << 10);
        }
        let body = String::from_utf8(unchunked(&self.read)).expect("UTF-8");
        let is_dump = self.form.target.starts_with("/v1/dump");
        let mut seen: Vec<Seen> = Vec::new();
        for line in body.lines() {
            let line: Value = serde_json::from_str(line).expect("one object a line");
            let space = match line["keyspace"].as_str() {
                None if is_dump => 0,
                None => self.form.spaces[0],
                Some(name) => SPACES.iter().position(|space| *space == name).expect("a keyspace"),
            };
            assert!(self.form.spaces.contains(&space), "{}: {space}", self.form.target);
            if line.get("key").is_some() {
                seen.push(Seen::of(&line, space));
            }
        }
        self.check(&seen);
    }

    fn check(&self, seen: &[Seen]) {
        let Form { target, reverse, keys_only, .. } = self.form;
        for two in seen.windows(2) {
            let (a, b) = (&two[0], &two[1]);
            let in_order = if reverse { a.key > b.key } else { a.key < b.key };
            assert!(a.space < b.space || (a.space == b.space && in_order), "{target}: {}", b.key);
        }
        assert!(seen.iter().all(|s| s.value.is_none() == keys_only), "{target}");
        let of_model: Vec<&Seen> = seen.iter().filter(|s| s.key.starts_with('k')).collect();
        let expected = self.form.expected(&self.model);
        for (seen, (space, key, entry)) in of_model.iter().zip(&expected) {
            let (got, version) = (&seen.key, seen.version);
            assert_eq!(seen.space, *space, "{target}: {got} instead of {key}");
            assert!(
                seen.is(key, entry),
                "{target}: {got} of version {version} instead of {key} of {}",
                entry.version
            );
        }
        assert_eq!(of_model.len(), expected.len(), "{target}: keys");
        self.form.spaces.iter().for_each(|&space| check_pairs(seen, space, target));
    }
}

/// The second of each pair has the value of the first, and the next version.
fn check_pairs(seen: &[Seen], space: usize, target: &str) {
    let half = |prefix: &str, further: u64| -> BTreeMap<String, (u64, Option<String>)> {
        let of_space = seen.iter().filter(|s| s.space == space);
        let with_id = of_space.filter_map(|s| Some((s.key.strip_prefix(prefix)?.to_owned(), s)));
        with_id.map(|(id, s)| (id, (s.version + further, s.value.clone()))).collect()
    };
    let (first, second) = (half("a-", 1), half("z-", 0));
    assert!(first.keys().eq(second.keys()), "{target}: half a pair of {}", SPACES[space]);
    for (id, pair) in &first {
        assert!(second[id] == *pair, "{target}: two batches of {id} in {}", SPACES[space]);
    }
}

/// The body of a chunked answer that is whole.
fn unchunked(answer: &[u8]) -> Vec<u8> {
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a whole head");
    let text = String::from_utf8_lossy(&answer[..head]);
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    let (mut rest, mut body) = (&answer[head + 4..], Vec::new());
    loop {
        let broken = || String::from_utf8_lossy(&answer[answer.len().saturating_sub(200)..]);
        let Some(line) = rest.windows(2).position(|bytes| bytes == b"\r\n") else {
            panic!("the stream broke off: {}", broken());
        };
        let digits = std::str::from_utf8(&rest[..line]).expect("ASCII");
        let length = usize::from_str_radix(digits, 16).expect("the length of a chunk");
        let chunk = &rest[line + 2..];
        assert!(chunk.len() >= length + 2, "the stream broke off: {}", broken());
        body.extend_from_slice(&chunk[..length]);
        rest = &chunk[length + 2..];
        if length == 0 {
            assert!(rest.is_empty(), "nothing comes behind the end");
            return body;
        }
    }
}
