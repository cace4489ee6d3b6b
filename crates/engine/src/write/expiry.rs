//! When a put expires: what a caller may ask for, checked.
//!
//! RFC 3339 writes years of four digits. A later time could be stored, and never be said
//! again by the server, a dump or a load: so none is taken.

use crate::types::options::PutOptions;
use crate::types::record::UnixMillis;
use std::time::Duration;

/// The latest time at which a key may expire, in milliseconds since 1970:
/// 9999-12-31T23:59:59.999Z.
pub const MAX_EXPIRES_AT_MS: u64 = 253_402_300_799_999;

/// When a put expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    Never,
    /// Milliseconds behind the moment of the write.
    In(u64),
    /// Milliseconds since 1970.
    At(u64),
}

impl Expiry {
    /// What `options` ask for.
    ///
    /// # Errors
    /// What is wrong with it.
    #[inline]
    pub(crate) fn of(options: &PutOptions) -> Result<Expiry, String> {
        match (options.ttl, options.expires_at) {
            (None, None) => Ok(Expiry::Never),
            (Some(ttl), None) => in_time(ttl),
            // What is past has expired; 0 would be for ever.
            (None, Some(UnixMillis(ms))) if ms <= MAX_EXPIRES_AT_MS => Ok(Expiry::At(ms.max(1))),
            (None, Some(_)) => Err(too_late()),
            (Some(_), Some(_)) => {
                Err("a put has both a ttl and a time at which it expires; give one".to_owned())
            }
        }
    }
}

fn in_time(ttl: Duration) -> Result<Expiry, String> {
    if ttl < Duration::from_millis(1) {
        return Err(format!(
            "a ttl is at least 1 ms, not {ttl:?}; leave it out to keep the key for ever"
        ));
    }
    match u64::try_from(ttl.as_millis()) {
        Ok(ms) if ms <= MAX_EXPIRES_AT_MS => Ok(Expiry::In(ms)),
        _ => Err(too_late()),
    }
}

/// The end of a time to live that begins now, in milliseconds since 1970.
///
/// # Errors
/// When it is later than a key may expire.
pub(crate) fn end_of(now_ms: u64, ttl_ms: u64) -> Result<u64, String> {
    let end = now_ms.saturating_add(ttl_ms);
    if end > MAX_EXPIRES_AT_MS { Err(too_late()) } else { Ok(end) }
}

fn too_late() -> String {
    "a key may expire by 9999-12-31T23:59:59.999Z at the latest; give less time, or none to keep the key for ever"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_taken_to_the_last_millisecond_of_the_year_9999_and_no_later() {
        let at = |ms| Expiry::of(&PutOptions::new().expires_at(UnixMillis(ms)));
        assert_eq!(at(MAX_EXPIRES_AT_MS), Ok(Expiry::At(MAX_EXPIRES_AT_MS)));
        assert!(at(MAX_EXPIRES_AT_MS + 1).unwrap_err().contains("9999-12-31"));
        assert_eq!(at(0), Ok(Expiry::At(1)), "past, and not for ever");
        assert_eq!(end_of(MAX_EXPIRES_AT_MS - 5, 5), Ok(MAX_EXPIRES_AT_MS));
        assert!(end_of(MAX_EXPIRES_AT_MS - 5, 6).is_err());
        assert!(Expiry::of(&PutOptions::new().ttl(Duration::MAX)).is_err());
        let both = PutOptions::new().ttl(Duration::from_secs(1)).expires_at(UnixMillis(1));
        assert!(Expiry::of(&both).unwrap_err().contains("both"));
    }
}
