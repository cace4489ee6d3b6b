//! A span of dead keys, and a walk that may become one.

use tanada_format::{KeyspaceId, SeqNo, planted};

/// Which way a scan walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To larger keys.
    Up,
    /// To smaller keys.
    Down,
}

/// One end of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) key: Vec<u8>,
    /// Whether `key` itself is dead, too.
    pub(crate) inside: bool,
}

impl Edge {
    /// At a dead key.
    pub(crate) fn at(key: &[u8]) -> Edge {
        Edge { key: key.to_vec(), inside: true }
    }

    /// Right beside a key that may live.
    fn beside(key: &[u8]) -> Edge {
        Edge { key: key.to_vec(), inside: false }
    }

    /// The first place of a span that starts here.
    pub(super) fn as_start(&self) -> Place<'_> {
        Place { key: &self.key, side: if self.inside { 0 } else { 1 } }
    }

    /// The last place of a span that ends here.
    pub(super) fn as_end(&self) -> Place<'_> {
        Place { key: &self.key, side: if self.inside { 0 } else { -1 } }
    }
}

/// A place in the order of keys: at one, or right beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place<'k> {
    key: &'k [u8],
    /// -1 right before the key, 0 at it, 1 right behind it.
    side: i8,
}

impl<'k> Place<'k> {
    pub(super) fn at(key: &'k [u8]) -> Place<'k> {
        Place { key, side: 0 }
    }

    pub(super) fn right_behind(key: &'k [u8]) -> Place<'k> {
        Place { key, side: 1 }
    }
}

/// Who sees that something is dead: whoever reads at this number or a later one, and judges
/// expiry by this time or a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Since {
    pub(crate) seqno: SeqNo,
    /// Wall-clock milliseconds; 0 where nothing is dead because it expired.
    pub(crate) now_ms: u64,
}

impl Since {
    /// Who sees both.
    pub(crate) fn and(self, other: Since) -> Since {
        Since { seqno: self.seqno.max(other.seqno), now_ms: self.now_ms.max(other.now_ms) }
    }
}

/// A part of a span that saves fewer entries goes: a scan steps over as many by itself.
const WORTH_KEEPING: u64 = 4;

/// Keys among which nothing lives.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) keyspace: KeyspaceId,
    pub(super) start: Edge,
    pub(super) end: Edge,
    pub(super) since: Since,
    /// Who reads at this number or a later one sees something that has been put there;
    /// [`SeqNo::MAX`] where nothing has, for mostly a span is cut at a put.
    pub(super) before: SeqNo,
    /// Entries that it saves, about.
    pub(super) entries: u64,
    /// When it was last used, in uses of its shard.
    pub(super) used: u64,
}

impl Span {
    /// What it takes.
    pub(super) fn bytes(&self) -> u64 {
        (size_of::<Span>() + self.start.key.len() + self.end.key.len()) as u64
    }

    /// Whether `key` of this keyspace is in it.
    pub(super) fn is_over(&self, keyspace: KeyspaceId, key: &[u8]) -> bool {
        let place = Place::at(key);
        self.keyspace == keyspace && self.start.as_start() <= place && place <= self.end.as_end()
    }

    /// Whether some key may be in both.
    pub(super) fn overlaps(&self, other: &Span) -> bool {
        self.keyspace == other.keyspace
            && self.start.as_start() <= other.end.as_end()
            && other.start.as_start() <= self.end.as_end()
    }

    /// Grows over `other`, which it overlaps.
    pub(super) fn take_in(&mut self, other: &Span) {
        if other.start.as_start() < self.start.as_start() {
            self.start = other.start.clone();
        }
        if other.end.as_end() > self.end.as_end() {
            self.end = other.end.clone();
        }
        self.since = self.since.and(other.since);
        self.entries += other.entries;
    }

    /// What is left in front of `key`, which is in it, and behind it. Each half saves half
    /// as much, as far as anybody knows; what saves next to nothing goes.
    pub(super) fn without(mut self, key: &[u8]) -> [Option<Span>; 2] {
        self.entries /= 2;
        if self.entries < WORTH_KEEPING {
            return [None, None];
        }
        let has_front = *self.start.key < *key;
        let front = has_front.then(|| Span { end: Edge::beside(key), ..self.clone() });
        let has_back = *key < *self.end.key;
        let back = has_back.then(|| Span { start: Edge::beside(key), ..self });
        [front, back]
    }

    /// Whether who reads `at` that moment sees that all of it is dead.
    pub(super) fn is_seen_at(&self, at: Since) -> bool {
        let late_enough = self.since.seqno <= at.seqno || planted!(dead_span_of_a_later_moment);
        late_enough && at.seqno < self.before && self.since.now_ms <= at.now_ms
    }

    /// The end at which a scan leaves it.
    pub(super) fn far(&self, way: Way) -> &Edge {
        match way {
            Way::Up => &self.end,
            Way::Down => &self.start,
        }
    }

    /// The end at which a scan enters it.
    pub(super) fn near(&self, way: Way) -> &Edge {
        match way {
            Way::Up => &self.start,
            Way::Down => &self.end,
        }
    }
}

/// A scan on its way through dead keys.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) id: u64,
    pub(super) keyspace: KeyspaceId,
    pub(super) way: Way,
    /// Where it, or the span that it goes on from, begins.
    pub(super) from: Edge,
    /// The nearest put in its way since it was listed.
    pub(super) nearest: Option<Vec<u8>>,
}

impl Walk {
    /// Something is put in this keyspace: perhaps in the way.
    pub(super) fn note_put(&mut self, keyspace: KeyspaceId, key: &[u8]) {
        let nearest = self.nearest.as_deref();
        let (ahead, nearer) = match self.way {
            Way::Up => (*self.from.key <= *key, nearest.is_none_or(|n| *key < *n)),
            Way::Down => (*key <= *self.from.key, nearest.is_none_or(|n| *n < *key)),
        };
        if self.keyspace == keyspace && ahead && nearer {
            self.nearest = Some(key.to_vec());
        }
    }

    /// What it has made known, up to `last` or to the nearest put: nothing, where that came
    /// right at its beginning.
    pub(super) fn into_span(self, last: &Edge, entries: u64, since: Since) -> Option<Span> {
        let Walk { keyspace, way, from, nearest, .. } = self;
        let in_the_way = |put: &&Vec<u8>| match way {
            Way::Up => **put <= last.key,
            Way::Down => **put >= last.key,
        };
        let last = match nearest.as_ref().filter(in_the_way) {
            Some(put) => Edge::beside(put),
            None => last.clone(),
        };
        let (start, end) = match way {
            Way::Up => (from, last),
            Way::Down => (last, from),
        };
        let is_something = start.as_start() <= end.as_end();
        let before = SeqNo::MAX;
        let span = Span { keyspace, start, end, since, before, entries, used: 0 };
        is_something.then_some(span)
    }
}
