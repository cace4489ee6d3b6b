//! Tables that leave the directory they were written in: their blocks are bound to where
//! they come from.

mod house;

use house::{Bytes, DATABASE, Entry, ID, bytes, options, write};
use std::sync::Arc;
use tanada_format::{DatabaseId, Origin, TableId, WriterEpoch, hash_key};
use tanada_table::{BlockCache, Error, GetContext, Table, TableOptions, epoch_of, salvage};
use tanada_vfs::Env;

fn origin(epoch: u64) -> Origin {
    Origin { epoch: WriterEpoch(epoch), ..Origin::local(DATABASE, ID) }
}

fn entries() -> Vec<Entry> {
    (0..300).map(|n| Entry::put(format!("key{n:04}"), 1 + n, format!("value {n}"))).collect()
}

fn of_epoch(epoch: u64) -> Vec<u8> {
    let env = Env::memory(1);
    let options = TableOptions { epoch: WriterEpoch(epoch), block_size: 512, ..options() };
    assert_eq!(write(&env, options, &entries()).origin, origin(epoch));
    bytes(&env)
}

fn open(bytes: Vec<u8>, origin: Origin) -> Result<Table, Error> {
    Table::open(Arc::new(Bytes(bytes)), origin, &BlockCache::new(1 << 20))
}

#[test]
fn a_table_of_any_epoch_reads_back_and_opens_as_no_other() {
    for epoch in [0, 1, 7, u64::MAX] {
        let bytes = of_epoch(epoch);
        let table = open(bytes.clone(), origin(epoch)).unwrap();
        table.verify().unwrap();
        let context = GetContext::default();
        for entry in entries() {
            let found = table.get(&entry.key, hash_key(&entry.key), entry.seqno, &context);
            assert_eq!(found.unwrap().unwrap().value, entry.value);
        }
        let others = [
            origin(epoch ^ 1),
            origin(epoch ^ (1 << 40)),
            Origin { table: TableId(8), ..origin(epoch) },
            Origin { database: DatabaseId([1; 16]), ..origin(epoch) },
        ];
        for other in others {
            let error = open(bytes.clone(), other).unwrap_err();
            assert!(matches!(error, Error::Corruption(_)), "{other}: {error}");
        }
    }
}

/// The disk is lost and the id is given again in a later epoch: a block of the table before,
/// kept by somebody who names blocks by id and offset, has the same length and place, and is
/// not taken for one of this table.
#[test]
fn a_block_of_the_same_id_and_place_in_another_epoch_does_not_pass() {
    let (before, after) = (of_epoch(3), of_epoch(4));
    let table = open(after.clone(), origin(4)).unwrap();
    let data = table.properties().data_bytes as usize;
    let mut mixed = after.clone();
    mixed[..data].copy_from_slice(&before[..data]);
    let table = open(mixed, origin(4)).unwrap();
    for entry in entries().iter().step_by(50) {
        let found =
            table.get(&entry.key, hash_key(&entry.key), entry.seqno, &GetContext::default());
        assert!(matches!(found, Err(Error::Corruption(_))), "{found:?}");
    }
}

/// Who does not know the feature would call every block damaged.
#[test]
fn a_table_that_is_bound_to_its_epoch_requires_a_feature() {
    let required = |bytes: &[u8]| {
        let at = bytes.len() - 88 + 32;
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    };
    assert_eq!(required(&of_epoch(0)), 0);
    assert_eq!(required(&of_epoch(1)), 2);
}

#[test]
fn what_is_left_of_a_damaged_table_of_an_epoch_is_salvaged() {
    let mut bytes = of_epoch(6);
    assert_eq!(epoch_of(&Bytes(bytes.clone())), Some(WriterEpoch(6)));
    bytes[700] ^= 1;
    let saved = |bytes: &[u8], origin| {
        let mut saved = 0;
        let file = Bytes(bytes.to_vec());
        let found = salvage::<Error>(&file, origin, |_| {
            saved += 1;
            Ok(())
        });
        assert_eq!(found.unwrap().entries, saved);
        saved
    };
    let by_index = saved(&bytes, origin(6));
    assert!((260..300).contains(&by_index), "{by_index}");
    // Without a footer: by the epoch that the caller knows.
    let end = bytes.len() - 20;
    bytes[end] ^= 1;
    assert!((260..300).contains(&saved(&bytes, origin(6))));
    assert_eq!(saved(&bytes, origin(5)), 0, "blocks of another epoch are none of its own");
}
