//! Who owns the database, and what of its log counts.
//!
//! Opening raises the epoch, closes every open one and confirms; the owner then writes
//! chunks and edits until it is fenced; verifying shows that no two writers overlapped.

mod error;
mod walking;
mod closing;
mod owner;
mod opening;
mod writing;
mod verifying;

pub use closing::Replay;
pub use error::{ChainError, Fenced};
pub use opening::{Opener, Seen};
pub use owner::Owner;
pub use verifying::{VerifiedEpoch, verify};
pub use walking::{Replayed, WINDOW};
pub use writing::{LogWriter, MAX_IN_FLIGHT};
