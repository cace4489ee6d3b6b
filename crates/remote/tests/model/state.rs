//! What there is at one moment: the bucket, the writers, and what is on its way.
//!
//! Small and flat, since there are millions. Epochs begin with 1; writers, chunks and tables
//! with 0. A set of writes is a bit each, `writer * CHUNKS + chunk`.

/// Writers at most, and with them epochs.
pub(crate) const WRITERS: usize = 3;
/// Chunks of one writer at most.
pub(crate) const CHUNKS: usize = 2;
/// Places of one epoch: one more than chunks, for the fence.
pub(crate) const PLACES: usize = CHUNKS + 1;
/// Where in `objects` the output of the job lies.
pub(crate) const OUTPUT: usize = WRITERS;

/// A set of writes.
pub(crate) type Writes = u8;

pub(crate) fn bit(writer: usize, chunk: usize) -> Writes {
    1 << (writer * CHUNKS + chunk)
}

/// What lies at a place of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) enum Held {
    #[default]
    Nothing,
    Chunk(u8),
    Fence(u8),
}

/// The content of `MANIFEST`, and its version: 0 before it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Root {
    pub(crate) version: u8,
    pub(crate) epoch: u8,
    /// By epoch: the owner plus 1.
    pub(crate) owners: [u8; WRITERS],
    /// The replay point, which is the floor too.
    pub(crate) replay: u8,
    pub(crate) index: u8,
    /// By epoch: where it ends, plus 1; 0 while it is open.
    pub(crate) ends: [u8; WRITERS],
    /// What is in its tables.
    pub(crate) covered: Writes,
    /// Tables that it names, and those that it named.
    pub(crate) tables: u8,
    pub(crate) dead: u8,
    /// The inputs of the job that it lists.
    pub(crate) job: u8,
}

impl Root {
    pub(crate) fn raised_by(self, writer: usize) -> Root {
        let mut root = Root { version: self.version, epoch: self.epoch + 1, ..self };
        root.owners[root.epoch as usize - 1] = writer as u8 + 1;
        root
    }

    pub(crate) fn is_owned_by(&self, writer: usize, epoch: u8) -> bool {
        self.epoch == epoch && epoch > 0 && self.owners[epoch as usize - 1] == writer as u8 + 1
    }
}

/// The bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Bucket {
    pub(crate) root: Root,
    pub(crate) log: [[Held; PLACES]; WRITERS],
    /// Tables by epoch, then the output of the job: who wrote it, plus 1.
    pub(crate) objects: [u8; WRITERS + 1],
    /// Numbers of manifests that are free again, in the variant in which that can be.
    pub(crate) freed: u32,
}

/// A request that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Request {
    Chunk { epoch: u8, index: u8, writer: u8 },
    Fence { epoch: u8, index: u8, writer: u8 },
    Table { at: u8, writer: u8 },
    Swap { writer: u8, from: u8, to: Root },
}

/// What a writer knows of a chunk of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) enum Known {
    #[default]
    Unsent,
    Stored,
    Unknown,
    /// Given up, in the variant in which the writer goes on behind it.
    Skipped,
    Taken,
}

/// Where a writer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) enum At {
    #[default]
    New,
    Raise,
    RaiseUnknown,
    Get,
    PlaceFence,
    Confirm,
    Open,
    PublishUnknown,
    Fenced,
    FencedOpen,
    /// In the variant in which the place is looked for before the raise.
    RaiseLate,
}

/// One opening of the database by one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Writer {
    pub(crate) at: At,
    /// The version of `MANIFEST` that it knows.
    pub(crate) version: u8,
    pub(crate) epoch: u8,
    /// Where its walk is.
    pub(crate) x: u8,
    pub(crate) i: u8,
    pub(crate) recovered: Writes,
    pub(crate) chunks: [Known; CHUNKS],
    /// Chunks in the table that it uploaded; -1: published.
    pub(crate) flush: i8,
    pub(crate) ends: [u8; WRITERS],
    /// What it swaps in when it raises.
    pub(crate) raise: Root,
}

impl Writer {
    pub(crate) fn has_opened(&self) -> bool {
        matches!(self.at, At::Open | At::PublishUnknown | At::FencedOpen)
    }
}

/// What a collector has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reading {
    pub(crate) root: Root,
    pub(crate) objects: [u8; WRITERS + 1],
}

/// Requests on their way at most: as many as answers may be unknown.
pub(crate) const LATE: usize = 2;

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) bucket: Bucket,
    pub(crate) writers: [Writer; WRITERS],
    /// Sorted, so that their order makes no states.
    pub(crate) late: [Option<Request>; LATE],
    pub(crate) reading: Option<Reading>,
    /// Answers that may still be unknown.
    pub(crate) unknown: u8,
    /// The worker: 0 idle, 1 uploaded, 2 done.
    pub(crate) worker: u8,
    /// Holds that somebody may still enter.
    pub(crate) holds: u8,
}
