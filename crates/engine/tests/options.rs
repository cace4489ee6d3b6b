//! Every option of the engine does what it says: not only that it is taken.
//!
//! One table: option, effect, and a check of that effect. An option is a public method of a
//! type that says how something is done (see `discovery` for which types these are), a
//! variant of an enum that such a method takes, or a form of range. It is complete by
//! construction: what the engine's source has without a row fails, and so does a row of what
//! is not there any more.
#![allow(clippy::unwrap_used)] // of outcomes that must not fail
#![allow(clippy::disallowed_methods)] // the source is read

#[path = "options/discovery.rs"]
mod discovery;
#[path = "options/database.rs"]
mod database;
#[path = "options/writes.rs"]
mod writes;
#[path = "options/batches.rs"]
mod batches;
#[path = "options/walks.rs"]
mod walks;
#[path = "options/changes.rs"]
mod changes;

use std::collections::BTreeSet;
use tanada::vfs::MemoryMachine;
use tanada::{Builder, Db, Keyspace, KeyspaceOptions};

/// One option.
struct Row {
    option: &'static str,
    /// What a caller sees of it.
    effect: &'static str,
    check: fn(),
}

const fn row(option: &'static str, effect: &'static str, check: fn()) -> Row {
    Row { option, effect, check }
}

const ROWS: &[Row] = &[
    row("Builder::memory", "that much is shared out, and bounds a batch", database::memory),
    row("Builder::durability", "what a write survives that does not say", database::durability),
    row("Builder::compression", "of new tables of the default keyspace", database::compression),
    row("Builder::threads", "so many threads work", database::threads),
    row("Builder::create_if_missing", "one that is not there is refused", database::create),
    row("Builder::read_only", "nothing is created, and writes are refused", database::read_only),
    row("Builder::writer_epoch", "an earlier one is refused later", database::writer_epoch),
    row("Builder::compactor", "it is handed compactions", database::compactor),
    row("Builder::env", "it lies on that machine", database::env),
    row("Builder::tuning", "sizes that only simulations set", database::tuning),
    row("Builder::scheduler", "work is done when a simulation says so", database::scheduler),
    row("Builder::open", "what was written is there, for one at a time", database::open),
    row("KeyspaceOptions::new", "the compression it was created with", database::keyspace_new),
    row("KeyspaceOptions::compression", "of new tables", database::keyspace_compression),
    row("Compression::None", "bytes as they are", database::none),
    row("Compression::Lz4", "fewer bytes", database::lz4),
    row("Compression::Zstd", "fewest bytes", database::zstd),
    row("WriteOptions::new", "the database's durability", writes::write_new),
    row("WriteOptions::durability", "another one for this write", writes::write_durability),
    row("Durability::Memory", "no sync, and a power cut may take it", writes::in_memory),
    row("Durability::Buffered", "outlives the process, not a power cut", writes::buffered),
    row("Durability::Synced", "a sync, and it outlives a power cut", writes::synced),
    row("PutOptions::new", "the key stays", writes::put_new),
    row("PutOptions::ttl", "the key is gone so long after", writes::ttl),
    row("PutOptions::expires_at", "the key is gone from that time on", writes::expires_at),
    row("Batch::new", "nothing is in it", batches::new),
    row("Batch::put", "the key has that value", batches::put),
    row("Batch::put_with", "with its options", batches::put_with),
    row("Batch::put_in", "in that keyspace", batches::put_in),
    row("Batch::put_in_with", "in that keyspace, with its options", batches::put_in_with),
    row("Batch::delete", "the key is gone", batches::delete),
    row("Batch::delete_in", "the key is gone from that keyspace", batches::delete_in),
    row("Batch::put_if_version", "only if that is its version", batches::put_if_version),
    row("Batch::check_version", "all only if that is its version", batches::check_version),
    row("Batch::check_absent", "all only if it has no value", batches::check_absent),
    row("Batch::check", "all only if the condition holds", batches::check),
    row("Batch::check_in", "of a key of that keyspace", batches::check_in),
    row("Batch::len", "how many writes there are", batches::len),
    row("Batch::is_empty", "whether there are none", batches::is_empty),
    row("Batch::size_bytes", "what they take in the log", batches::size_bytes),
    row("Batch::clear", "nothing is in it any more", batches::clear),
    row("Condition::Absent", "no value", batches::absent),
    row("Condition::Present", "any value", batches::present),
    row("Condition::Version", "a value of that version", batches::version),
    row("Condition::VersionIn", "a value of one of them", batches::version_in),
    row("Condition::VersionNotIn", "no value of one of them", batches::version_not_in),
    row("Iter::records", "with versions and expiries", walks::records),
    row("Iter::keys", "keys, and no value is copied", walks::keys),
    row("Changes::named", "statistics call it so", changes::named),
    row("Changes::next", "what was committed since, once", changes::next),
    row("Changes::wait", "there is more, or there will be none", changes::wait),
    row("Changes::position", "another stream goes on there", changes::position),
    row("ChangeHold::position", "changes from there on are kept", changes::hold_position),
    row("ChangeHold::named", "statistics call it so", changes::hold_named),
    row("ChangeHold::move_to", "what lies before may go", changes::hold_move_to),
    row("KeyRange for RangeFull", "all", walks::full),
    row("KeyRange for Range<K>", "without the end", walks::range),
    row("KeyRange for RangeInclusive<K>", "with the end", walks::inclusive),
    row("KeyRange for RangeFrom<K>", "from there on", walks::from),
    row("KeyRange for RangeTo<K>", "up to there, without it", walks::to),
    row("KeyRange for RangeToInclusive<K>", "up to there, with it", walks::to_inclusive),
    row("KeyRange for (Bound<K>, Bound<K>)", "each end as it says", walks::bounds),
];

#[test]
fn every_option_of_the_engine_has_a_row_and_every_row_an_option() {
    let offered = discovery::options();
    let rows: BTreeSet<String> = ROWS.iter().map(|row| row.option.to_owned()).collect();
    assert_eq!(rows.len(), ROWS.len(), "two rows of one option");
    let without: Vec<_> = offered.difference(&rows).collect();
    assert!(without.is_empty(), "options without a row: {without:#?}");
    let gone: Vec<_> = rows.difference(&offered).collect();
    assert!(gone.is_empty(), "rows of options that are not there: {gone:#?}");
}

#[test]
fn every_option_of_the_engine_does_what_its_row_says() {
    for row in ROWS {
        let _named = Naming(row);
        (row.check)();
    }
}

/// Names the row when a panic drops it.
struct Naming<'r>(&'r Row);

impl Drop for Naming<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: {}", self.0.option, self.0.effect);
        }
    }
}

/// The least memory there may be.
const SMALL: u64 = 16 << 20;

fn builder(machine: &MemoryMachine) -> Builder {
    Db::builder("/db").memory(SMALL).threads(1).env(machine.env())
}

/// An empty database with a keyspace `side`.
struct World {
    machine: MemoryMachine,
    db: Db,
    side: Keyspace,
}

impl World {
    fn new() -> World {
        let machine = MemoryMachine::new(1);
        let db = builder(&machine).open().unwrap();
        let side = db.keyspace("side", KeyspaceOptions::new()).unwrap();
        World { machine, db, side }
    }

    /// What the default keyspace and the other one have of a key.
    fn get(&self, key: &str) -> [Option<String>; 2] {
        [self.db.default_keyspace(), &self.side].map(|keyspace| {
            let value = keyspace.get(key).unwrap();
            value.map(|value| String::from_utf8(value.to_vec()).unwrap())
        })
    }
}

/// What [`World::get`] answers.
fn found(default: Option<&str>, side: Option<&str>) -> [Option<String>; 2] {
    [default, side].map(|value| value.map(str::to_owned))
}
