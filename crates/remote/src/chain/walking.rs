//! Walking the log of one epoch, place by place, and checking that each object follows from
//! the one before it.
//!
//! Reads go ahead in windows; what they find is taken in order. Opening closes what it finds
//! open (see `closing`); verifying only looks.

use super::error::ChainError;
use crate::bucket::Bucket;
use crate::codec::{Kind, LogObject, Piece, Point};
use crate::ids::{Epoch, Nonce, ObjectHash, Place};
use crate::name::ObjectName;
use crate::store::Object;
use bytes::Bytes;
use futures_util::future::join_all;
use std::collections::VecDeque;
use tanada_format::{DatabaseId, LogPosition};

/// Places that are asked for at once.
pub const WINDOW: usize = 16;

/// What lies at the next place.
#[derive(Debug)]
pub(super) enum Step {
    Chunk(Box<LogObject>),
    Fence,
    Nothing,
}

/// A walk through the log of one epoch.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    bucket: &'a Bucket,
    database: DatabaseId,
    /// Whose chunks the epoch has: as it is known, or as the first one says.
    owner: Option<Nonce>,
    /// Where its fence is, if that is known: nothing is asked for behind it.
    last: Option<u64>,
    /// Where the walk is: the next place, and the position and the hash before it.
    pub(super) at: Point,
    /// What was read ahead, from `at` on.
    ahead: VecDeque<Option<Object>>,
    window: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        bucket: &'a Bucket,
        database: DatabaseId,
        owner: Option<Nonce>,
        at: Point,
        window: usize,
    ) -> Walk<'a> {
        let (ahead, window) = (VecDeque::new(), window.max(1));
        Walk { bucket, database, owner, last: None, at, ahead, window }
    }

    /// The same, when the epoch's fence is known to be at this index.
    pub(super) fn up_to(mut self, last: Option<u64>) -> Walk<'a> {
        self.last = last;
        self
    }

    /// Looks at the place where the walk is, and goes on behind it unless nothing is there.
    /// One GET a place.
    pub(super) async fn step(&mut self) -> Result<Step, ChainError> {
        if self.ahead.is_empty() {
            let (bucket, Place { epoch, index }) = (self.bucket, self.at.place);
            let known = self.last.map_or(u64::MAX, |last| last.saturating_sub(index) + 1);
            let count = known.min(self.window as u64);
            let indexes = (0..count).map_while(|n| index.checked_add(n));
            let reads = indexes.map(|index| async move {
                bucket.get(&ObjectName::Log(Place { epoch, index })).await
            });
            self.ahead = join_all(reads).await.into_iter().collect::<Result<_, _>>()?;
        }
        match self.ahead.pop_front().flatten() {
            Some(object) => self.take(&object.bytes),
            None => {
                // Whatever was read ahead is behind a hole, or older than the answer to come.
                self.ahead.clear();
                Ok(Step::Nothing)
            }
        }
    }

    /// Takes the object of the place where the walk is.
    pub(super) fn take(&mut self, bytes: &Bytes) -> Result<Step, ChainError> {
        let place = self.at.place;
        let path = || self.bucket.path(&ObjectName::Log(place));
        let broken = |what: String| ChainError::Broken { object: path(), what };
        let object = LogObject::decode_at(bytes, self.database, place)
            .map_err(|why| ChainError::Unreadable { object: path(), why })?;
        if object.previous != self.at.hash {
            return Err(broken(format!(
                "the object before it has hash {}, and it names {}",
                self.at.hash, object.previous
            )));
        }
        let begin = match &object.kind {
            Kind::Chunk(piece) => piece.position,
            Kind::Fence(position) => *position,
        };
        if begin != self.at.position {
            return Err(broken(format!(
                "the log before it ends at {}, and it begins at {}",
                self.at.position.0, begin.0
            )));
        }
        if let Kind::Chunk(_) = &object.kind {
            let owner = *self.owner.get_or_insert(object.writer);
            if object.writer != owner {
                let what = format!("the epoch is {owner}'s, and {} wrote it", object.writer);
                return Err(broken(what));
            }
        }
        let hash = ObjectHash::of(bytes);
        let next = Place { epoch: place.epoch, index: place.index + 1 };
        let position = match &object.kind {
            Kind::Chunk(piece) => piece.end(),
            Kind::Fence(position) => *position,
        };
        self.at = Point { place: next, position, hash };
        Ok(match object.kind {
            Kind::Chunk(_) => Step::Chunk(Box::new(object)),
            Kind::Fence(_) => Step::Fence,
        })
    }
}

/// Where the next epoch begins, when the fence at the end of this one was walked over.
pub(super) fn next_epoch(behind_fence: &Point) -> Point {
    let epoch = Epoch(behind_fence.place.epoch.0 + 1);
    Point { place: Place { epoch, index: 0 }, ..*behind_fence }
}

/// A chunk of the log, as whoever replays it sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Where it lay.
    pub place: Place,
    /// What it holds.
    pub piece: Piece,
    /// The point behind it.
    pub behind: Point,
}

impl Replayed {
    pub(super) fn of(object: LogObject, behind: Point) -> Option<Replayed> {
        match object.kind {
            Kind::Chunk(piece) => Some(Replayed { place: object.place, piece, behind }),
            Kind::Fence(_) => None,
        }
    }
}

/// Where in the chain a new database begins: nothing is before it.
pub(super) fn beginning(position: LogPosition) -> Point {
    let place = Place { epoch: Epoch(1), index: 0 };
    Point { place, position, hash: ObjectHash::START }
}
