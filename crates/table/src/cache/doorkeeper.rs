//! Which blocks a full cache lets in: those that were missed not long ago.
//!
//! Where far more is read than fits, most blocks go before they are read again, and
//! each has pushed out another one; keeping them costs more than it saves. So a full
//! cache remembers what it has turned away, and takes a block at its second miss. As in
//! 2Q (Johnson, Shasha, VLDB'94), without an order: a memory of about as many misses as
//! the cache has blocks, each forgotten when another one falls on its place.

use std::sync::atomic::Ordering::Relaxed;
use tanada_format::TableId;
use tanada_vfs::sync::unchecked::AtomicU32;

/// Bytes of cache for one place: about a block.
const BYTES_A_PLACE: u64 = 4 << 10;
/// What the cache reckons for each of its blocks: places are rounded up to a power of two.
pub(crate) const BYTES_A_BLOCK: u64 = 2 * size_of::<AtomicU32>() as u64;
const PLACES: (usize, usize) = (1 << 8, 1 << 20);

/// Blocks turned away lately, by a mark each.
///
/// Relaxed: a mark that comes late or is lost makes the cache a little worse.
pub(crate) struct Doorkeeper {
    /// A power of two of them; 0: none.
    marks: Box<[AtomicU32]>,
}

impl Doorkeeper {
    /// Of a cache of about `capacity_bytes`, of which it takes one or two thousandths.
    pub(crate) fn new(capacity_bytes: u64) -> Doorkeeper {
        let (least, most) = PLACES;
        let places = ((capacity_bytes / BYTES_A_PLACE) as usize).clamp(least, most);
        let marks = (0..places.next_power_of_two()).map(|_| AtomicU32::new(0)).collect();
        Doorkeeper { marks }
    }

    /// Whether block `number` of `table`, which was just missed, was missed before, not
    /// long ago. Remembers that it was.
    pub(crate) fn knows(&self, table: TableId, number: u32) -> bool {
        let mixed = (table.0.rotate_left(32) ^ u64::from(number)).wrapping_mul(MIX);
        let mark = (mixed >> 32) as u32 | 1;
        let place = &self.marks[(mixed >> 12) as usize & (self.marks.len() - 1)];
        if place.load(Relaxed) == mark {
            return true;
        }
        place.store(mark, Relaxed);
        false
    }
}

/// Odd, and its bits are mixed: 2^64 over the golden ratio.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_known_at_its_second_miss_unless_much_was_missed_between() {
        let door = Doorkeeper::new(4 << 20);
        assert_eq!(door.marks.len(), 1 << 10);
        let mut known = 0;
        for number in 0..200 {
            known += u32::from(door.knows(TableId(7), number));
        }
        assert!(known <= 1, "{known} before they were missed");
        let again = (0..200).filter(|&n| door.knows(TableId(7), n)).count();
        assert!(again > 150, "{again} of 200 remembered");
        for number in 0..20_000 {
            door.knows(TableId(8), number);
        }
        let late = (0..200).filter(|&n| door.knows(TableId(7), n)).count();
        assert!(late < 10, "{late} of 200 remembered for too long");
    }
}
