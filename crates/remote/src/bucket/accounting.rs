//! What requests were for, how they ended, how long they took, and what they cost.
//!
//! Counted for each cause and operation, without locks: a reader may see one request
//! counted and its bytes not yet.

use crate::store::{Class, Operation};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Why a request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Chunks of the log, and fences.
    Wal,
    /// Tables of a flush, and the swap that publishes them.
    Flush,
    /// Jobs, their inputs and outputs.
    Compaction,
    /// Blocks that are not on the local disk.
    ColdRead,
    /// Looking whether something has changed.
    Polling,
    /// Listing and deleting what nobody needs.
    Collection,
    /// Opening: probe, manifest, replay; restoring, verifying.
    Opening,
}

impl Cause {
    /// How many there are.
    pub const COUNT: usize = 7;

    /// All, in the order of their numbers.
    pub const ALL: [Cause; Cause::COUNT] = [
        Cause::Wal,
        Cause::Flush,
        Cause::Compaction,
        Cause::ColdRead,
        Cause::Polling,
        Cause::Collection,
        Cause::Opening,
    ];

    /// The word for it in statistics.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Wal => "wal",
            Cause::Flush => "flush",
            Cause::Compaction => "compaction",
            Cause::ColdRead => "cold_read",
            Cause::Polling => "polling",
            Cause::Collection => "collection",
            Cause::Opening => "opening",
        }
    }
}

/// What a request costs, in billionths of a dollar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prices {
    /// A PUT, a POST, or a page of a listing.
    pub put_nanodollars: u64,
    /// A GET or a HEAD.
    pub get_nanodollars: u64,
    /// A mebibyte that is read: nothing within a region.
    pub read_mib_nanodollars: u64,
}

impl Default for Prices {
    /// S3 Standard within its region, list prices of 2026: $0.005 a thousand PUT or LIST,
    /// $0.0004 a thousand GET; deletes are free.
    fn default() -> Prices {
        Prices { put_nanodollars: 5_000, get_nanodollars: 400, read_mib_nanodollars: 0 }
    }
}

/// Slots of latency: slot `i` counts answers that took less than `2^i` milliseconds, and not
/// less than half of that; the last one all others.
pub const LATENCIES: usize = 18;

/// Sums of one cause and operation since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Requests that were sent, each try counted.
    pub requests: u64,
    /// How many of them failed, by class.
    pub failures: [u64; Class::COUNT],
    /// Bytes of bodies that were sent.
    pub bytes_sent: u64,
    /// Bytes of bodies that were received.
    pub bytes_received: u64,
    /// Sum of the times from sending to the answer.
    pub latency_ns: u64,
    /// How many took how long; see [`LATENCIES`].
    pub latencies: [u64; LATENCIES],
}

impl Usage {
    /// Of one operation.
    pub fn cost_nanodollars(&self, operation: Operation, prices: &Prices) -> u64 {
        let each = match operation {
            Operation::Get | Operation::Head => prices.get_nanodollars,
            Operation::Delete => 0,
            _ => prices.put_nanodollars,
        };
        let read =
            (u128::from(self.bytes_received) * u128::from(prices.read_mib_nanodollars)) >> 20;
        self.requests.saturating_mul(each).saturating_add(u64::try_from(read).unwrap_or(u64::MAX))
    }

    /// A time that at most this share of the requests took longer than: the upper end of its
    /// slot, so up to twice the true one. `None` without requests.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let all: u64 = self.latencies.iter().sum();
        let mut left = ((all as f64) * share).ceil().max(1.0) as u64;
        for (slot, count) in self.latencies.iter().enumerate() {
            left = left.saturating_sub(*count);
            if left == 0 && all > 0 {
                return Some(Duration::from_millis(1 << slot));
            }
        }
        None
    }
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    failures: [AtomicU64; Class::COUNT],
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
    latency_ns: AtomicU64,
    latencies: [AtomicU64; LATENCIES],
}

/// How one request went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) cause: Cause,
    pub(crate) operation: Operation,
    pub(crate) failed: Option<Class>,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) took: Duration,
    /// More than one for a listing.
    pub(crate) requests: u64,
}

/// All counters of a bucket.
#[derive(Debug, Default)]
pub struct Accounting([[Counters; Operation::COUNT]; Cause::COUNT]);

impl Accounting {
    // Each counter is a sum of its own, read for statistics alone: no order between them.
    pub(crate) fn note(&self, sent: Sent) {
        let counters = &self.0[sent.cause as usize][sent.operation as usize];
        counters.requests.fetch_add(sent.requests, Relaxed);
        if let Some(class) = sent.failed {
            counters.failures[class as usize].fetch_add(1, Relaxed);
        }
        counters.bytes_sent.fetch_add(sent.bytes_sent, Relaxed);
        counters.bytes_received.fetch_add(sent.bytes_received, Relaxed);
        let ns = u64::try_from(sent.took.as_nanos()).unwrap_or(u64::MAX);
        counters.latency_ns.fetch_add(ns, Relaxed);
        let ms = u64::try_from(sent.took.as_millis()).unwrap_or(u64::MAX);
        let slot = (u64::BITS - ms.leading_zeros()) as usize;
        counters.latencies[slot.min(LATENCIES - 1)].fetch_add(1, Relaxed);
    }

    /// Sums of one cause and operation.
    pub fn usage(&self, cause: Cause, operation: Operation) -> Usage {
        let counters = &self.0[cause as usize][operation as usize];
        Usage {
            requests: counters.requests.load(Relaxed),
            failures: std::array::from_fn(|i| counters.failures[i].load(Relaxed)),
            bytes_sent: counters.bytes_sent.load(Relaxed),
            bytes_received: counters.bytes_received.load(Relaxed),
            latency_ns: counters.latency_ns.load(Relaxed),
            latencies: std::array::from_fn(|i| counters.latencies[i].load(Relaxed)),
        }
    }

    /// What all requests of a cause have cost so far, in billionths of a dollar.
    pub fn cost_nanodollars(&self, cause: Cause, prices: &Prices) -> u64 {
        Operation::ALL
            .iter()
            .map(|operation| self.usage(cause, *operation).cost_nanodollars(*operation, prices))
            .fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(operation: Operation, took_ms: u64) -> Sent {
        Sent {
            cause: Cause::Wal,
            operation,
            failed: None,
            bytes_sent: 10,
            bytes_received: 1 << 20,
            took: Duration::from_millis(took_ms),
            requests: 1,
        }
    }

    #[test]
    fn money_is_requests_at_the_table_s_prices() {
        let accounting = Accounting::default();
        (0..1000).for_each(|_| accounting.note(sent(Operation::Create, 30)));
        (0..1000).for_each(|_| accounting.note(sent(Operation::Get, 20)));
        accounting.note(sent(Operation::Delete, 20));
        let list = Prices::default();
        assert_eq!(accounting.cost_nanodollars(Cause::Wal, &list), 5_000_000 + 400_000);
        assert_eq!(accounting.cost_nanodollars(Cause::Flush, &list), 0);
        let abroad = Prices { read_mib_nanodollars: 87_890, ..list };
        let read = 2001 * 87_890;
        assert_eq!(accounting.cost_nanodollars(Cause::Wal, &abroad), 5_400_000 + read);
    }

    #[test]
    fn quantiles_are_the_upper_ends_of_their_slots() {
        let accounting = Accounting::default();
        (0..98).for_each(|_| accounting.note(sent(Operation::Get, 20)));
        accounting.note(sent(Operation::Get, 100));
        accounting.note(sent(Operation::Get, u64::MAX / 1_000_001));
        let usage = accounting.usage(Cause::Wal, Operation::Get);
        assert_eq!(usage.quantile(0.5), Some(Duration::from_millis(32)));
        assert_eq!(usage.quantile(0.99), Some(Duration::from_millis(128)));
        assert_eq!(Usage::default().quantile(0.5), None);
    }

    #[test]
    fn numbers_of_causes_are_their_places() {
        assert!(Cause::ALL.iter().enumerate().all(|(i, cause)| *cause as usize == i));
    }
}
