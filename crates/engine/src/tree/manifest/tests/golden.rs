//! Manifests written by versions before: every later one must read them. This one must
//! still write the last of them byte for byte.

use super::super::edit::EditNumber;
use super::*;
use tanada_format::{Origin, TableId, WriterEpoch};

/// Without numbers of edits, and without the lengths of tables' tails.
const FIRST: &[u8] = include_bytes!("../../../../tests/golden/MANIFEST-000001");

/// In an epoch, with a table that comes from elsewhere; written anew with
/// `TANADA_WRITE_GOLDEN=1`.
fn golden(now: &[u8]) -> Vec<u8> {
    let fs = Env::real().fs;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("tests/golden/numbered/MANIFEST-000002");
    if std::env::var_os("TANADA_WRITE_GOLDEN").is_some() {
        replace(&*fs, &path, now);
    }
    read_all(&*fs, &path)
}

fn written() -> (MemoryMachine, Manifest) {
    let machine = MemoryMachine::new(1);
    let mut manifest = create(&machine.env());
    let edit = flush(&mut manifest, ("apple", "cherry"));
    manifest.append(&edit).unwrap();
    let mut edit = flush(&mut manifest, ("banana", "date"));
    edit.created = vec![keyspace(1, "users")];
    manifest.append(&edit).unwrap();
    let edit = compact(&mut manifest);
    manifest.append(&edit).unwrap();
    (machine, manifest)
}

/// The same in an epoch, with a table that another database has written.
fn in_an_epoch() -> (MemoryMachine, Manifest) {
    let (machine, mut manifest) = written();
    manifest.begin_epoch(WriterEpoch(5)).unwrap();
    let mut edit = flush(&mut manifest, ("egg", "fig"));
    let meta = &mut edit.changed[0].tables.added[0].meta;
    let (database, table) = (DatabaseId(*b"another database"), TableId(3));
    meta.origin = Some(Box::new(Origin { database, epoch: WriterEpoch(2), table }));
    meta.tail_bytes = 9;
    manifest.append(&edit).unwrap();
    let edit = flush(&mut manifest, ("grape", "honey"));
    manifest.append(&edit).unwrap();
    (machine, manifest)
}

#[test]
fn the_present_format_is_written_byte_for_byte_and_read() {
    let (machine, manifest) = in_an_epoch();
    assert!(manifest.current.ends_with("MANIFEST-000002"));
    let bytes = read_all(&*machine.env().fs, &manifest.current);
    assert!(bytes == golden(&bytes), "a manifest is written differently now");
    let again = open(&machine.env()).unwrap();
    assert_eq!(snapshot(&again), snapshot(&manifest));
    assert_eq!((again.state().epoch, again.state().edit_number), (WriterEpoch(5), EditNumber(6)));
}

/// Its edits have no numbers: counting begins with the next.
#[test]
fn the_first_format_still_opens() {
    let (machine, manifest) = written();
    replace(&*machine.env().fs, &manifest.current, FIRST);
    let mut opened = open(&machine.env()).unwrap();
    assert_eq!(snapshot(&opened), Edit { number: None, ..snapshot(&manifest) });
    assert_eq!(opened.state().epoch, WriterEpoch(0));
    opened.append(&Edit::default()).unwrap();
    assert_eq!(opened.state().edit_number, EditNumber(1));
    drop(opened);
    assert_eq!(open(&machine.env()).unwrap().state().edit_number, EditNumber(1));
}
