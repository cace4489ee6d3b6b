//! A place in the log: the one cursor of all who follow what is written.
//!
//! The place alone would not do. After a restored backup or a lying disk the log may hold
//! other records there, and a copy of a database goes on with records of its own. So a
//! position names whose log it is (the lineage) and carries the chained checksum of all
//! records before it, by which it is found out whether they are the same ones.
//!
//! Text: three hexadecimal numbers of 16, 16 and 8 digits, as in
//! `6c1f0a6f0c8b3f11-0000000000000400-3e2a91d7`: lineage, place, checksum. No other
//! spelling is read.

use std::fmt;
use std::str::FromStr;
use tanada_format::{Lineage, LogPosition, SeqNo};

/// A place in the log of a database, between two commits. Keep it, as text for example, and
/// give it to [`crate::Db::changes`] to go on there, after a restart too: no change is
/// missed and none is repeated, or [`crate::Error::WindowGone`] says that this cannot be.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = tanada::Db::open(dir.path().join("db"))?;
/// # let changes = db.changes(tanada::Since::Now)?;
/// let position: tanada::Position = changes.position();
/// let text = position.to_string();
/// assert_eq!(text.parse::<tanada::Position>(), Ok(position));
/// # Ok::<(), tanada::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    pub(crate) lineage: Lineage,
    pub(crate) place: LogPosition,
    /// The chained checksum of all records before.
    pub(crate) chain: u32,
}

impl Position {
    /// How far from the beginning of the log it is, in bytes of records. Of two positions
    /// of one database the later one has more, and the difference is what lies between.
    pub fn log_bytes(&self) -> u64 {
        self.place.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}-{:08x}", self.lineage, self.place.0, self.chain)
    }
}

/// A text that is no [`Position`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPosition;

impl fmt::Display for BadPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a position is three hexadecimal numbers of 16, 16 and 8 digits with '-' between them, as it was printed")
    }
}

impl std::error::Error for BadPosition {}

impl FromStr for Position {
    type Err = BadPosition;

    fn from_str(text: &str) -> Result<Position, BadPosition> {
        let digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        let mut parts = text.split('-');
        let mut number = |digits: usize| {
            let part = parts.next().filter(|p| p.len() == digits && p.bytes().all(digit));
            part.and_then(|part| u64::from_str_radix(part, 16).ok()).ok_or(BadPosition)
        };
        let (lineage, place, chain) = (number(16)?, number(16)?, number(8)?);
        if parts.next().is_some() {
            return Err(BadPosition);
        }
        let chain = u32::try_from(chain).map_err(|_| BadPosition)?;
        let lineage = Lineage(lineage.to_be_bytes());
        Ok(Position { lineage, place: LogPosition(place), chain })
    }
}

/// Where a stream of changes begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Since {
    /// With the oldest commit that the log still has.
    Oldest,
    /// With the first commit that begins after the call.
    Now,
    /// With the first commit behind this position.
    Position(Position),
    /// With the first commit that has a later write than this one. Where others committed
    /// with it, that may hold earlier writes too: commits are not cut. An opening behind an
    /// unclean end leaves sequence numbers out; where the log begins behind such a gap, what
    /// was before it counts as gone. A position has neither weakness.
    Write(SeqNo),
}

impl From<Position> for Since {
    fn from(position: Position) -> Since {
        Since::Position(position)
    }
}

impl From<SeqNo> for Since {
    fn from(seqno: SeqNo) -> Since {
        Since::Write(seqno)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_back_from_its_text_and_no_other_text_is_one() {
        let position = Position {
            lineage: Lineage([1, 2, 3, 4, 5, 6, 7, 0xff]),
            place: LogPosition(u64::MAX),
            chain: 7,
        };
        let text = position.to_string();
        assert_eq!(text, "01020304050607ff-ffffffffffffffff-00000007");
        assert_eq!(text.parse(), Ok(position));
        for at in 0..text.len() {
            let (a, b) = text.split_at(at);
            for other in [a.to_owned(), format!("{a}+{}", &b[1..]), format!("{a}F{}", &b[1..])] {
                assert_eq!(other.parse::<Position>(), Err(BadPosition), "{other}");
            }
        }
        for other in [format!("{text}-"), format!("{text}0"), format!(" {text}")] {
            assert_eq!(other.parse::<Position>(), Err(BadPosition), "{other}");
        }
    }
}
