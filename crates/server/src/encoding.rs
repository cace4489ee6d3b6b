//! How bytes travel as text: UTF-8 as it is, all else as base64; and times as RFC 3339.

pub(crate) use base64::DecodeError;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use std::time::UNIX_EPOCH;
use tanada::{MAX_EXPIRES_AT_MS, UnixMillis};

/// How a value is written in JSON and in query parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    #[default]
    Utf8,
    Base64,
}

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);
const URL_SAFE: GeneralPurpose =
    GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING.with_encode_padding(false));

/// Decodes either alphabet, with or without padding.
pub(crate) fn from_base64(text: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let url_safe = text.iter().any(|&b| b == b'-' || b == b'_');
    let engine = if url_safe { &URL_SAFE } else { &STANDARD };
    engine.decode(text)
}

/// Appends standard base64 with padding.
pub(crate) fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    STANDARD
        .encode_slice(bytes, &mut out[start..])
        .expect("the slice has the size of the encoding");
}

/// Base64 for URLs, without padding.
pub(crate) fn to_url_base64(bytes: &[u8]) -> String {
    URL_SAFE.encode(bytes)
}

/// Milliseconds since 1970 of an RFC 3339 time in UTC; `None` when it is none.
pub(crate) fn from_rfc3339(text: &str) -> Option<UnixMillis> {
    let since_1970 = humantime::parse_rfc3339(text).ok()?.duration_since(UNIX_EPOCH);
    // What lies before it has expired, as its first moment has.
    Some(UnixMillis(u64::try_from(since_1970.unwrap_or_default().as_millis()).ok()?))
}

/// Milliseconds since 1970 as `2026-01-02T03:04:05.678Z`. Times after the year 9999,
/// which RFC 3339 cannot write, and which are no longer taken, become its last moment.
///
/// The calendar arithmetic counts years from March, as in Howard Hinnant,
/// "chrono-compatible low-level date algorithms", so that the leap day is last.
pub(crate) fn rfc3339(ms: u64) -> String {
    let ms = ms.min(MAX_EXPIRES_AT_MS);
    let (days, ms_of_day) = (ms / 86_400_000, ms % 86_400_000);
    let days = days + 719_468; // from 0000-03-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (seconds, millis) = (ms_of_day / 1000, ms_of_day % 1000);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_in_both_alphabets_with_and_without_padding() {
        for text in ["+/8=", "+/8", "-_8=", "-_8"] {
            assert_eq!(from_base64(text.as_bytes()).expect(text), [0xfb, 0xff]);
        }
        assert!(from_base64(b"a").is_err());
        assert!(from_base64("é".as_bytes()).is_err());
    }

    #[test]
    fn pushed_base64_reads_back() {
        for length in 0..9 {
            let bytes: Vec<u8> = (250u8..=255).cycle().take(length).collect();
            let mut text = b"x".to_vec();
            push_base64(&mut text, &bytes);
            assert_eq!(from_base64(&text[1..]).expect("our own encoding"), bytes);
        }
    }

    #[test]
    fn times_are_written_as_rfc_3339() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_767_323_045_678, "2026-01-02T03:04:05.678Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (MAX_EXPIRES_AT_MS, "9999-12-31T23:59:59.999Z"),
        ];
        for (ms, text) in cases {
            assert_eq!(rfc3339(ms), text);
            assert_eq!(from_rfc3339(text), Some(UnixMillis(ms)));
        }
        assert_eq!(rfc3339(u64::MAX), rfc3339(MAX_EXPIRES_AT_MS));
        for bad in ["", "soon", "2026-01-02", "10000-01-01T00:00:00Z", "2026-13-01T00:00:00Z"] {
            assert_eq!(from_rfc3339(bad), None, "{bad}");
        }
    }
}
