//! The rules of the protocol, each of which can be left out.

/// A rule that is left out, and what happens instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Without {
    /// A fence that finds its place taken counts as placed; the place is not read again.
    ReadingAgain,
    /// An opening ends without the confirming swap.
    Confirming,
    /// An opener closes only the epoch before its own.
    ClosingAll,
    /// The free place is looked for before the epoch is raised, and not again.
    RaisingFirst,
    /// The collector takes fences too.
    KeepingFences,
    /// A chunk is acknowledged before those in front of it.
    Order,
    /// A chunk whose answer is lost counts as stored.
    DoubtingChunks,
    /// A chunk whose answer is lost counts as not stored: the writer goes on behind it.
    SendingAgain,
    /// A fence whose answer is lost counts as placed.
    DoubtingFences,
    /// A second try at a place carries more writes than the first.
    SameBytes,
    /// A place that is taken counts as one's own.
    ComparingNonces,
    /// An owner whose swap was lost sends its edit again without looking whose epoch it is.
    LookingBeforeRebasing,
    /// The collector takes each table that is not named, of the present epoch too.
    SparingThePresent,
    /// Names of tables are given again by later epochs, and deletes carry no condition.
    UniqueNames,
    /// Old numbers of `MANIFEST` are deleted, and can be created again.
    KeepingNumbers,
    /// `MANIFEST` is written without a condition.
    Swapping,
    /// The collector ignores the job that is listed.
    ReachingThroughJobs,
    /// The replay point moves over chunks, too, when an opening is confirmed.
    SparingChunks,
}

/// A configuration: how many of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) writers: usize,
    pub(crate) chunks: usize,
    pub(crate) unknown: u8,
    pub(crate) worker: bool,
    pub(crate) holds: u8,
}

pub(crate) const fn size(
    writers: usize,
    chunks: usize,
    unknown: u8,
    worker: bool,
    holds: u8,
) -> Size {
    Size { writers, chunks, unknown, worker, holds }
}

const USUAL: Size = size(3, 2, 1, false, 0);
const LITTLE: Size = size(3, 1, 0, false, 0);

/// Every variant, and the smallest configuration that shows what is wrong with it.
pub(crate) const VARIANTS: [(Without, Size); 18] = [
    (Without::ReadingAgain, USUAL),
    (Without::Confirming, LITTLE),
    (Without::ClosingAll, USUAL),
    (Without::RaisingFirst, USUAL),
    (Without::KeepingFences, LITTLE),
    (Without::Order, USUAL),
    (Without::DoubtingChunks, USUAL),
    (Without::SendingAgain, USUAL),
    (Without::DoubtingFences, USUAL),
    (Without::SameBytes, USUAL),
    (Without::ComparingNonces, USUAL),
    (Without::LookingBeforeRebasing, size(3, 1, 0, false, 1)),
    (Without::SparingThePresent, USUAL),
    (Without::UniqueNames, LITTLE),
    (Without::KeepingNumbers, USUAL),
    (Without::Swapping, USUAL),
    (Without::ReachingThroughJobs, size(3, 2, 0, true, 0)),
    (Without::SparingChunks, LITTLE),
];
