//! No sequence number is given to two writes, whatever is lost: blocks of three numbers, so
//! that nearly every batch needs the next, and power cuts, kills and closes between.

use parking_lot::Mutex;
use std::sync::Arc;
use tanada::{Compression, Durability, Tuning};
use tanada_sim::operation::{Exit, Operation, ValueSpec, Write};
use tanada_sim::oracle::Oracle;
use tanada_sim::runner::{Runner, Settings, Surroundings};
use tanada_vfs::MemoryMachine;
use tanada_vfs::memory::Dice;

fn write(dice: &mut Dice) -> Write {
    let value = Some(ValueSpec { len: 20, stamp: dice.next_u64(), plain: false });
    Write { space: 0, key: vec![b'k', dice.below(5) as u8], value, ttl_ms: None }
}

/// The oracle knows every number that was acknowledged, lost ones included.
#[test]
fn no_number_names_two_writes_whatever_is_lost() {
    let durabilities = [Durability::Memory, Durability::Buffered, Durability::Synced];
    let mut lost = 0;
    for seed in 0..60 {
        for durability in durabilities {
            let mut dice = Dice::new(seed);
            let oracle = Arc::new(Mutex::new(Oracle::new()));
            let settings = Settings { compression: Compression::None, durability };
            let mut runner = Runner::before_opening(MemoryMachine::new(seed), oracle, settings);
            let tuning = Tuning { seqno_block: Some(3), ..Tuning::default() };
            runner.surround(Surroundings { tuning, ..Surroundings::default() });
            runner.open(0).expect("it can be created");
            for _ in 0..10 {
                for _ in 0..dice.below(8) {
                    let writes = (0..1 + dice.below(4)).map(|_| write(&mut dice)).collect();
                    let operation = match dice.below(8) {
                        0 => Operation::Flush(None),
                        1 => Operation::WriteOne(write(&mut dice)),
                        _ => Operation::WriteBatch(writes, durability),
                    };
                    runner.apply(&operation).expect("nothing fails here");
                }
                let before = runner.oracle().lock().visible;
                let exit = match dice.below(6) {
                    0 => Exit::Close,
                    1 => Exit::Kill,
                    _ => Exit::PowerCut(dice.next_u64()),
                };
                runner.reopen(exit).expect("it opens");
                lost += u64::from(runner.oracle().lock().visible < before);
            }
        }
    }
    assert!(lost > 100, "only {lost} lives lost a write that was acknowledged");
}
