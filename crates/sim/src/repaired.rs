//! The repair of a database that nothing is wrong with: everything comes out.

use crate::operation::Cover;
use crate::oracle::{Moment, Oracle};
use crate::runner::PATH;
use tanada::{Db, KeyspaceOptions, RepairReport, repair};
use tanada_vfs::{Clock, MemoryMachine};

/// Where the repaired database is put.
const SAVED: &str = "/saved";

/// Repairs the database on `machine`, whose every write would survive a kill, and
/// reads what was saved.
///
/// # Panics
/// When the report names damage, or anything is missing, wrong or too much.
pub(crate) fn everything_comes_out(machine: &MemoryMachine, oracle: &Oracle) {
    let report = match repair(&machine.env(), PATH, SAVED) {
        Ok(report) => report,
        Err(e) => panic!("it cannot be repaired: {e}"),
    };
    assert!(report.files.iter().all(|file| file.whole), "{report:?}");
    let nothing = RepairReport {
        files: report.files.clone(),
        keys: report.keys.clone(),
        ..RepairReport::default()
    };
    assert_eq!(report, nothing);
    let db = Db::builder(SAVED).memory(16 << 20).threads(1).env(machine.env());
    let db = db.create_if_missing(false).open().expect("what was saved opens");
    assert_eq!(db.verify().expect("it is open").damage, Vec::<String>::new());
    let moment = Moment { seqno: oracle.visible, now_ms: machine.clock().wall_ms() };
    for (n, space) in oracle.spaces.iter().enumerate().filter(|(_, space)| space.created) {
        let keyspace = match n {
            0 => db.default_keyspace().clone(),
            _ => db.keyspace(&space.name, KeyspaceOptions::new()).expect("it opens"),
        };
        let mut saved = keyspace.iter();
        for (key, value) in oracle.scan(n, &Cover::All, moment) {
            let found = saved.next().expect("as many keys").expect("it has been verified");
            assert!((&*found.0, &*found.1) == (&key[..], &value[..]), "{}", key.escape_ascii());
        }
        assert!(saved.next().is_none(), "more keys than there were in {}", space.name);
    }
}
