//! The owned, double-ended iterator.

use super::bounded::Cursor;
use super::bounds::Bounds;
use super::visible::VisibleCursor;
use crate::read::hold::Hold;
use crate::types::error::Result;
use std::sync::Arc;
use tanada_table::Value;

/// Keys and values in order, from either end, of one moment.
///
/// Each item copies its key, and shares its value with the block it lies in, as
/// a get does; [`Cursor`] copies nothing. After an error the iterator ends. What it
/// holds until dropped is said at [`Cursor`].
pub struct Iter {
    hold: Arc<Hold>,
    bounds: Arc<Bounds>,
    /// Each end has its cursor, made when that end is first asked.
    front: Option<Cursor>,
    back: Option<Cursor>,
    done: bool,
}

/// The two ends of the hold.
const FRONT: usize = 0;
const BACK: usize = 1;

impl Iter {
    pub(crate) fn new(hold: Hold, bounds: Bounds) -> Iter {
        Iter {
            hold: Arc::new(hold),
            bounds: Arc::new(bounds),
            front: None,
            back: None,
            done: false,
        }
    }

    /// The newest write that it sees.
    #[cfg(all(test, shuttle))]
    pub(crate) fn seqno(&self) -> tanada_format::SeqNo {
        self.hold.seqno
    }

    fn cursor(&self, end: usize) -> Cursor {
        Cursor::new(VisibleCursor::new(Arc::clone(&self.hold), end, Arc::clone(&self.bounds)))
    }

    /// Moves the front on; whether it stands on a key before the back's.
    fn advance(&mut self) -> Result<bool> {
        self.hold.reading.health.owner.check()?;
        // The other end, too, holds no MemTable that has been flushed.
        if let Some(back) = &mut self.back {
            back.let_go();
        }
        match &mut self.front {
            Some(front) => front.next()?,
            None => {
                let mut front = self.cursor(FRONT);
                front.seek_first()?;
                self.front = Some(front);
            }
        }
        Ok(self.is_apart(self.front.as_ref().and_then(Cursor::key)))
    }

    fn advance_back(&mut self) -> Result<bool> {
        self.hold.reading.health.owner.check()?;
        if let Some(front) = &mut self.front {
            front.let_go();
        }
        match &mut self.back {
            Some(back) => back.prev()?,
            None => {
                let mut back = self.cursor(BACK);
                back.seek_last()?;
                self.back = Some(back);
            }
        }
        Ok(self.is_apart(self.back.as_ref().and_then(Cursor::key)))
    }

    /// Whether an end that has just moved to `moved` has not met the other.
    fn is_apart(&self, moved: Option<&[u8]>) -> bool {
        moved.is_some()
            && match (&self.front, &self.back) {
                // Both stand on keys that have been handed out, or on the one
                // just reached: they must not touch.
                (Some(front), Some(back)) => front.key() < back.key(),
                _ => true,
            }
    }

    /// The front's next key, as `of` makes it.
    pub(super) fn next_as<T>(
        &mut self,
        of: impl FnOnce(&Cursor) -> Result<Option<T>>,
    ) -> Option<Result<T>> {
        if self.done {
            return None;
        }
        let moved = self.advance();
        self.item(moved, FRONT, of)
    }

    /// The back's next key, as `of` makes it.
    pub(super) fn next_back_as<T>(
        &mut self,
        of: impl FnOnce(&Cursor) -> Result<Option<T>>,
    ) -> Option<Result<T>> {
        if self.done {
            return None;
        }
        let moved = self.advance_back();
        self.item(moved, BACK, of)
    }

    fn item<T>(
        &mut self,
        moved: Result<bool>,
        end: usize,
        of: impl FnOnce(&Cursor) -> Result<Option<T>>,
    ) -> Option<Result<T>> {
        match moved {
            Ok(true) => {
                let cursor = if end == FRONT { &self.front } else { &self.back };
                let item = of(cursor.as_ref()?).transpose();
                self.done = matches!(item, Some(Err(_)));
                item
            }
            Ok(false) => {
                self.done = true;
                None
            }
            Err(e) => {
                self.done = true;
                Some(Err(e))
            }
        }
    }
}

fn pair(cursor: &Cursor) -> Result<Option<(Value, Value)>> {
    let Some(key) = cursor.key() else { return Ok(None) };
    Ok(cursor.value()?.map(|value| (Value::from(key), value)))
}

impl Iterator for Iter {
    type Item = Result<(Value, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_as(pair)
    }
}

impl DoubleEndedIterator for Iter {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.next_back_as(pair)
    }
}

impl std::iter::FusedIterator for Iter {}

impl std::fmt::Debug for Iter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iter").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}
