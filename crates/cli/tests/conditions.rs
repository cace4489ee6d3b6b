//! Read, change, write back, from a shell: with conditions no change is lost, whoever else
//! writes, and a write that is refused changes nothing.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

mod support;

use serde_json::Value;
use support::{Said, Server, on_directory};

/// A number and the version of its key, as read.
#[derive(Debug)]
struct Count {
    number: u64,
    version: String,
}

fn read(tanada: &dyn Fn(&[&str]) -> Said) -> Count {
    let record = tanada(&["get", "count", "--json"]).ok().json();
    Count {
        number: record["value"].as_str().unwrap().parse().unwrap(),
        version: record["version"].as_u64().unwrap().to_string(),
    }
}

/// Writes back one more than was read, if nobody has written since.
fn write_one_more(tanada: &dyn Fn(&[&str]) -> Said, seen: &Count) -> Said {
    let more = (seen.number + 1).to_string();
    tanada(&["put", "count", &more, "--if-version", &seen.version])
}

/// Every record with its version.
fn dump(tanada: &dyn Fn(&[&str]) -> Said) -> String {
    tanada(&["dump"]).ok().out
}

/// Two that increment in turn, each between the other's read and write.
fn two_that_interleave_lose_nothing(tanada: &dyn Fn(&[&str]) -> Said) {
    tanada(&["put", "count", "0", "--if-absent"]).ok();
    let begun = dump(tanada);
    tanada(&["put", "count", "0", "--if-absent"]).refused(3, &["'count' has version"]);
    assert_eq!(dump(tanada), begun);

    for _ in 0..3 {
        let (mine, theirs) = (read(tanada), read(tanada));
        write_one_more(tanada, &mine).ok();
        let before = dump(tanada);
        let now = format!("'count' has version {}", read(tanada).version);
        let wanted = format!("wants version {}", theirs.version);
        write_one_more(tanada, &theirs).refused(3, &[&now, &wanted, "nothing was changed"]);
        assert_eq!(dump(tanada), before, "a refused put changes nothing");
        tanada(&["delete", "count", "--if-version", &theirs.version]).refused(3, &[&now, &wanted]);
        assert_eq!(dump(tanada), before, "a refused delete changes nothing");
        // As the message says.
        write_one_more(tanada, &read(tanada)).ok();
    }
    assert_eq!(read(tanada).number, 6);
    tanada(&["delete", "count", "--if-version", &read(tanada).version]).ok();
    assert_eq!(dump(tanada), "");
}

#[test]
fn two_increments_that_interleave_lose_nothing_on_a_directory_and_over_a_server() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("directory");
    two_that_interleave_lose_nothing(&|args: &[&str]| on_directory(&data, args));
    let server = Server::start(&home.path().join("served"), &[]);
    two_that_interleave_lose_nothing(&|args: &[&str]| server.tanada(args));
}

#[test]
fn two_loops_that_increment_at_once_lose_nothing_and_one_of_two_creates() {
    const INCREMENTS: u64 = 15;
    /// Only a loop that never ends comes so far.
    const MOST_TRIES: u64 = 100 * INCREMENTS;
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(&home.path().join("data"), &[]);
    let tanada = |args: &[&str]| server.tanada(args);
    let increment = || {
        let first = tanada(&["put", "count", "0", "--if-absent"]);
        let mut refused = 0;
        for _ in 0..INCREMENTS {
            loop {
                let said = write_one_more(&tanada, &read(&tanada));
                if said.code == Some(0) {
                    break;
                }
                said.refused(3, &["nothing was changed"]);
                refused += 1;
                assert!(refused < MOST_TRIES, "no increment is written");
            }
        }
        (first, refused)
    };
    let (mine, theirs) = std::thread::scope(|scope| {
        let theirs = scope.spawn(increment);
        (increment(), theirs.join().unwrap())
    });
    let mut codes = [mine.0.code, theirs.0.code];
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(3)], "{mine:?} {theirs:?}");
    assert_eq!(read(&tanada).number, 2 * INCREMENTS);
    // One write for each increment and one to begin with: what was refused took no number.
    let stats: Value = server.stats();
    assert_eq!(stats["seqno"], 2 * INCREMENTS + 1, "{mine:?} {theirs:?}");
}
