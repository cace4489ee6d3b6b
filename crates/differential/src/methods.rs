//! Every public method of the engine, and whether it was called.
//!
//! Three rules make this complete: `cargo xtask tidy` compares the two lists below with the
//! engine's source, so that a new method needs a line in one of them; [`call!`] calls the
//! very method whose name it counts; and the test fails when one of [`METHODS`] was not
//! called by any life.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// Methods whose answers are compared.
pub const METHODS: &[&str] = &[
    "Batch::check",
    "Batch::check_absent",
    "Batch::check_in",
    "Batch::check_version",
    "Batch::clear",
    "Batch::delete",
    "Batch::delete_in",
    "Batch::is_empty",
    "Batch::len",
    "Batch::new",
    "Batch::put",
    "Batch::put_if_version",
    "Batch::put_in",
    "Batch::put_in_with",
    "Batch::put_with",
    "Batch::size_bytes",
    "Builder::compactor",
    "Builder::compression",
    "Builder::create_if_missing",
    "Builder::durability",
    "Builder::env",
    "Builder::memory",
    "Builder::open",
    "Builder::threads",
    "Builder::tuning",
    "CheckpointDir::list",
    "CheckpointDir::open",
    "CheckpointDir::path",
    "CheckpointDir::place",
    "CheckpointDir::remove",
    "Condition::holds",
    "Cursor::entry",
    "Cursor::next",
    "Cursor::prev",
    "Cursor::record",
    "Cursor::seek",
    "Cursor::seek_first",
    "Cursor::seek_for_prev",
    "Cursor::seek_last",
    "Db::builder",
    "Db::checkpoint",
    "Db::claim_memory",
    "Db::close",
    "Db::compact",
    "Db::contains",
    "Db::cursor",
    "Db::default_keyspace",
    "Db::delete",
    "Db::explain",
    "Db::find_keyspace",
    "Db::flush",
    "Db::get",
    "Db::get_record",
    "Db::iter",
    "Db::keyspace",
    "Db::keyspaces",
    "Db::lineage",
    "Db::multi_get",
    "Db::now",
    "Db::prefix",
    "Db::put",
    "Db::put_with",
    "Db::range",
    "Db::snapshot",
    "Db::stats",
    "Db::step",
    "Db::trust_clock",
    "Db::verify",
    "Db::write",
    "Db::write_each",
    "Db::write_with",
    "Iter::keys",
    "Iter::records",
    "Keyspace::compact",
    "Keyspace::contains",
    "Keyspace::cursor",
    "Keyspace::delete",
    "Keyspace::explain",
    "Keyspace::flush",
    "Keyspace::get",
    "Keyspace::get_record",
    "Keyspace::iter",
    "Keyspace::multi_get",
    "Keyspace::name",
    "Keyspace::prefix",
    "Keyspace::put",
    "Keyspace::put_with",
    "Keyspace::range",
    "Keyspace::try_get_record",
    "KeyspaceOptions::compression",
    "KeyspaceOptions::new",
    "MemoryClaim::bytes",
    "MemoryClaim::grow",
    "MemoryClaim::shrink",
    "PutOptions::expires_at",
    "PutOptions::new",
    "PutOptions::ttl",
    "Snapshot::cursor",
    "Snapshot::cursor_in",
    "Snapshot::get",
    "Snapshot::get_in",
    "Snapshot::get_record",
    "Snapshot::get_record_in",
    "Snapshot::iter",
    "Snapshot::keyspaces",
    "Snapshot::multi_get",
    "Snapshot::multi_get_in",
    "Snapshot::prefix",
    "Snapshot::prefix_in",
    "Snapshot::range",
    "Snapshot::range_in",
    "Snapshot::seqno",
    "WriteOptions::durability",
    "WriteOptions::new",
];

const SYNCED: &str =
    "the other store has no log to follow; the simulation compares it with its own oracle";

/// Methods that are not, and why.
pub const LEFT_OUT: &[(&str, &str)] = &[
    ("ChangeHold::move_to", SYNCED),
    ("ChangeHold::named", SYNCED),
    ("ChangeHold::position", SYNCED),
    ("Changes::named", SYNCED),
    ("Changes::next", SYNCED),
    ("Changes::position", SYNCED),
    ("Changes::wait", SYNCED),
    ("CommitGroup::changes", SYNCED),
    ("CommitGroup::count", SYNCED),
    ("CommitGroup::first_seqno", SYNCED),
    ("CommitGroup::last_seqno", SYNCED),
    ("CommitGroup::position", SYNCED),
    ("Db::changes", SYNCED),
    ("Db::hold_changes", SYNCED),
    ("Position::log_bytes", SYNCED),
    ("Builder::scheduler", "who decides what the background does is the simulation's"),
    ("Builder::writer_epoch", "only a database that follows a bucket has more than one"),
    ("Builder::read_only", "its answers are those of a snapshot: crates/engine/tests/read_only.rs"),
    ("Db::open_read_only", "the builder with its defaults, as Db::open"),
    ("Db::open", "the builder with its defaults, and so on a clock that nobody holds"),
];

thread_local! {
    static CALLED: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Counts a call of `method` by this thread.
pub fn count(method: &'static str) {
    CALLED.with_borrow_mut(|called| *called.entry(method).or_default() += 1);
}

/// How often this thread has called each method so far.
pub fn called() -> BTreeMap<&'static str, u64> {
    CALLED.with_borrow(Clone::clone)
}

/// Calls a method by its path, and counts that: `call!(Db::put(db, key, value))`.
#[macro_export]
macro_rules! call {
    ($type:ident::$method:ident($($argument:expr),* $(,)?)) => {{
        $crate::methods::count(concat!(stringify!($type), "::", stringify!($method)));
        $type::$method($($argument),*)
    }};
}
