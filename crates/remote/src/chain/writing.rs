//! Writing the log: chunks at the places of one's own epoch, several in flight,
//! acknowledged in order.
//!
//! A place is bound to its bytes at the first send. A chunk is acknowledged when it and all
//! before it are known to be stored, so that the fence of a later writer stands before any
//! acknowledgement that this one could still give.

use super::error::Fenced;
use super::owner::Owner;
use crate::bucket::{Bucket, Created, jittered, wait_after};
use crate::codec::{Kind, LogObject, Piece, Point};
use crate::ids::{Epoch, Nonce, ObjectHash, Place};
use crate::name::ObjectName;
use crate::store::Failure;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use parking_lot::Mutex;
use std::sync::Arc;
use tanada_format::{DatabaseId, planted};

/// Most chunks in flight: at 8 MiB each they take 128 MiB.
pub const MAX_IN_FLIGHT: usize = 16;

/// The log of an owner, from its first place on.
///
/// 1. `acknowledged` ≤ `next`; both only grow.
/// 2. Once `fenced` is set nothing is sent and nothing is acknowledged.
#[derive(Debug)]
pub struct LogWriter {
    bucket: Bucket,
    database: DatabaseId,
    epoch: Epoch,
    nonce: Nonce,
    next: Point,
    acknowledged: Point,
    in_flight: InFlight,
    width: usize,
    fenced: Option<Fenced>,
    trouble: Arc<Mutex<Option<Failure>>>,
}

type Stored = Result<Point, Fenced>;

/// Chunks on their way: answered in order.
#[derive(Debug)]
enum InFlight {
    Ordered(FuturesOrdered<BoxFuture<'static, Stored>>),
    /// Only for a fault.
    AsTheyCome(FuturesUnordered<BoxFuture<'static, Stored>>),
}

impl InFlight {
    fn none() -> InFlight {
        match planted!(chunks_acknowledged_as_they_come) {
            true => InFlight::AsTheyCome(FuturesUnordered::new()),
            false => InFlight::Ordered(FuturesOrdered::new()),
        }
    }

    fn len(&self) -> usize {
        match self {
            InFlight::Ordered(futures) => futures.len(),
            InFlight::AsTheyCome(futures) => futures.len(),
        }
    }

    fn push(&mut self, future: BoxFuture<'static, Stored>) {
        match self {
            InFlight::Ordered(futures) => futures.push_back(future),
            InFlight::AsTheyCome(futures) => futures.push(future),
        }
    }

    async fn next(&mut self) -> Option<Stored> {
        match self {
            InFlight::Ordered(futures) => futures.next().await,
            InFlight::AsTheyCome(futures) => futures.next().await,
        }
    }
}

impl LogWriter {
    /// Of this owner; nothing was written yet.
    pub fn new(owner: &Owner) -> LogWriter {
        LogWriter {
            bucket: owner.bucket.clone(),
            database: owner.manifest.database,
            epoch: owner.epoch,
            nonce: owner.nonce,
            next: owner.begin,
            acknowledged: owner.begin,
            in_flight: InFlight::none(),
            width: 1,
            fenced: None,
            trouble: Arc::default(),
        }
    }

    /// How many chunks may be in flight, 1 to [`MAX_IN_FLIGHT`].
    pub fn set_width(&mut self, width: usize) {
        self.width = width.clamp(1, MAX_IN_FLIGHT);
    }

    /// Whether the next chunk can be sent at once.
    pub fn has_room(&self) -> bool {
        self.fenced.is_none() && self.in_flight.len() < self.width
    }

    /// Where the next chunk begins.
    pub fn next(&self) -> &Point {
        &self.next
    }

    /// Everything before it is stored, and every later writer will find it.
    pub fn acknowledged(&self) -> &Point {
        &self.acknowledged
    }

    /// What keeps chunks from being stored at the moment, for people.
    pub fn trouble(&self) -> Option<Failure> {
        self.trouble.lock().clone()
    }

    /// Who fenced this writer, if anybody has.
    pub fn fenced(&self) -> Option<&Fenced> {
        self.fenced.as_ref()
    }

    /// Gives a piece the next place. It is sent when [`LogWriter::acknowledge`] is polled.
    /// Copies the bytes once, and hashes them.
    ///
    /// # Errors
    ///
    /// [`Fenced`].
    ///
    /// # Panics
    ///
    /// There is no room, or the piece does not begin where the last one ended: its caller
    /// lost or doubled a part of the log.
    pub fn send(&mut self, piece: Piece, wall_ms: u64) -> Result<Place, Fenced> {
        if let Some(fenced) = &self.fenced {
            return Err(fenced.clone());
        }
        assert!(self.has_room(), "a chunk is sent when there is room for it");
        assert_eq!(piece.position, self.next.position, "the log has no gap and no overlap");
        let place = self.next.place;
        let position = piece.end();
        let object = LogObject {
            database: self.database,
            place,
            writer: self.nonce,
            writer_epoch: self.epoch,
            previous: self.next.hash,
            wall_ms,
            kind: Kind::Chunk(piece),
        };
        let bytes = object.encode();
        let behind = Place { epoch: place.epoch, index: place.index + 1 };
        self.next = Point { place: behind, position, hash: ObjectHash::of(&bytes) };
        let (bucket, behind) = (self.bucket.clone(), self.next);
        let (epoch, trouble) = (self.epoch, self.trouble.clone());
        self.in_flight.push(Box::pin(async move {
            store(&bucket, place, bytes, epoch, &trouble).await.map(|()| behind)
        }));
        Ok(place)
    }

    /// Waits for the next acknowledgement: everything before the point is stored. `None`
    /// when nothing is in flight.
    ///
    /// It tries until there is an answer, however long the store is away. Dropping the
    /// future loses nothing; dropping the writer leaves what was in flight unknown.
    ///
    /// # Errors
    ///
    /// [`Fenced`], for ever from then on: what was in flight has an unknown outcome.
    pub async fn acknowledge(&mut self) -> Result<Option<Point>, Fenced> {
        if let Some(fenced) = &self.fenced {
            return Err(fenced.clone());
        }
        match self.in_flight.next().await {
            None => Ok(None),
            Some(Ok(behind)) => {
                let is_further = behind.place > self.acknowledged.place;
                if is_further {
                    self.acknowledged = behind;
                }
                debug_assert!(is_further || planted!(chunks_acknowledged_as_they_come));
                Ok(Some(behind))
            }
            Some(Err(fenced)) => {
                self.fenced = Some(fenced.clone());
                // Nothing more is sent: what waited is given up.
                self.in_flight = InFlight::none();
                Err(fenced)
            }
        }
    }
}

/// Stores one chunk, trying until it is there, or until something else is.
async fn store(
    bucket: &Bucket,
    place: Place,
    bytes: Bytes,
    mine: Epoch,
    trouble: &Mutex<Option<Failure>>,
) -> Result<(), Fenced> {
    let mut failed = 0;
    loop {
        match bucket.create_exactly(&ObjectName::Log(place), bytes.clone()).await {
            Ok(Created::Mine(_)) => {
                *trouble.lock() = None;
                return Ok(());
            }
            Ok(Created::Taken(_)) if planted!(a_taken_place_counts_as_ones_own) => return Ok(()),
            Ok(Created::Taken(object)) => {
                let by = LogObject::decode(&object.bytes).map_or(Epoch(0), |o| o.writer_epoch);
                return Err(Fenced { mine, by, host: String::new() });
            }
            // Even a refusal: the store may be repaired, and nothing else can be sent here.
            Err(failure) => {
                *trouble.lock() = Some(failure);
                failed += 1;
                let wait = wait_after(&bucket.tries(), failed);
                let wait = jittered(wait, bucket.random());
                bucket.timer().sleep(wait).await;
            }
        }
    }
}
