//! Which tables are open: a bounded cache of what open tables keep in memory.
//!
//! An open table keeps its top index and a slot for each of its blocks. All together
//! may take half of the block cache; then SIEVE says which is closed. A closed table
//! is opened again when it is next asked: one or two small reads. What its blocks took
//! of the block cache goes with it.

use super::handle::TableHandle;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use tanada_table::{BlockCache, Limbo, Sieve, Table};
use tanada_vfs::sync::Mutex;
use tanada_vfs::sync::atomic::AtomicU64;
use tanada_vfs::sync::lock_free::yield_now;

/// So many tables stay open however small the cache is: a get looks into one of each
/// run, and would open each of them anew.
const LEAST: usize = 16;
/// Tables closed at once, before others get their turn.
const AT_ONCE: usize = 16;
/// Closed tables that may wait for readers; more, and who closes waits for them.
const LIMBO_TABLES: usize = if cfg!(shuttle) { 1 } else { 16 };

/// The open tables of one database.
///
/// Invariant: a table is listed exactly when its handle links to it, but for handles
/// that are being dropped.
pub(crate) struct OpenTables {
    cache: Arc<BlockCache>,
    /// Most tables, whatever their size.
    most: usize,
    /// Guards the list and every write to a handle's link. Taken under a handle's
    /// `opening`; nothing is taken under it, and no handle is dropped under it.
    order: Mutex<Order>,
    // Relaxed: each is a number of its own that orders nothing.
    opened: AtomicU64,
    closed: AtomicU64,
}

#[derive(Default)]
struct Order {
    list: Sieve<Weak<TableHandle>>,
    /// Where each handle's table is on the list. By address: a listed handle lives, or
    /// is being dropped and then takes itself off the list.
    places: HashMap<usize, u32>,
    listed_bytes: u64,
    /// Tables unlinked that a reader may still be looking at.
    limbo: Limbo<Arc<Table>>,
}

/// A moment of [`OpenTables`]. Counters run from its creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OpenTablesStats {
    /// Tables open.
    pub(crate) tables: u64,
    /// Openings, the first of each table included.
    pub(crate) opened: u64,
    /// Tables closed to make room.
    pub(crate) closed: u64,
}

impl OpenTables {
    /// None open. `most`: at most so many, beside what the cache allows.
    pub(crate) fn new(cache: Arc<BlockCache>, most: usize) -> OpenTables {
        let (opened, closed) = (AtomicU64::new(0), AtomicU64::new(0));
        OpenTables { cache, most, order: Mutex::new(Order::default()), opened, closed }
    }

    /// Lists a table that was just opened, and links its handle to it. Call
    /// [`OpenTables::shrink`] afterwards, without any lock.
    pub(super) fn add(&self, handle: &Weak<TableHandle>, table: &Arc<Table>) {
        let Some(held) = handle.upgrade() else { return };
        let bytes = table.resident_bytes();
        {
            let mut order = self.order.lock();
            held.link().fill(Arc::clone(table));
            let place = order.list.push(Weak::clone(handle), bytes);
            order.places.insert(address(&held), place);
            order.listed_bytes += bytes;
        }
        self.opened.fetch_add(1, Relaxed);
    }

    /// Takes a handle off the list that is being dropped.
    pub(super) fn remove(&self, handle: &TableHandle) {
        let mut order = self.order.lock();
        if let Some(place) = order.places.remove(&address(handle)) {
            let node = order.list.remove(place);
            order.listed_bytes -= node.cost_bytes;
        }
    }

    /// Closes tables until the rest fits.
    pub(super) fn shrink(&self) {
        loop {
            // Dropped when the lock is released: they may be the last of their handles.
            let (mut looked_at, mut evicted) = (Vec::new(), Vec::new());
            let (freed, must_wait) = {
                let mut order = self.order.lock();
                let order = &mut *order;
                while evicted.len() < AT_ONCE && self.is_too_much(order) {
                    let next = order.list.evict(|node| {
                        let handle = node.item.upgrade();
                        let visited = handle.as_ref().is_some_and(|h| h.take_visited());
                        looked_at.extend(handle);
                        visited
                    });
                    let Some(node) = next else { break };
                    order.listed_bytes -= node.cost_bytes;
                    order.places.remove(&(node.item.as_ptr() as usize));
                    let handle = node.item.upgrade();
                    if let Some(handle) = &handle {
                        handle.link().empty_into(&mut order.limbo);
                    }
                    evicted.push(handle);
                }
                // Without waiting: a reader may be about to take this lock.
                (order.limbo.collect(usize::MAX), order.limbo.must_wait(LIMBO_TABLES))
            };
            drop(freed);
            drop(looked_at);
            let gone = evicted.len();
            evicted.iter().flatten().for_each(|handle| handle.forget_if_dead());
            drop(evicted);
            self.closed.fetch_add(gone as u64, Relaxed);
            if must_wait {
                // Readers are done in microseconds, unless they are not running.
                yield_now();
            } else if gone < AT_ONCE {
                return;
            }
        }
    }

    fn is_too_much(&self, order: &Order) -> bool {
        let tables = order.list.len();
        let share = self.cache.capacity_bytes() / 2;
        tables > self.most || (tables > LEAST && order.listed_bytes > share)
    }

    /// Statistics.
    pub(crate) fn stats(&self) -> OpenTablesStats {
        OpenTablesStats {
            tables: self.order.lock().list.len() as u64,
            opened: self.opened.load(Relaxed),
            closed: self.closed.load(Relaxed),
        }
    }
}

fn address(handle: &TableHandle) -> usize {
    std::ptr::from_ref(handle) as usize
}

impl fmt::Debug for OpenTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpenTables").field(&self.stats()).finish()
    }
}
