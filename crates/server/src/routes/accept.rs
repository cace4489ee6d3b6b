//! What the client wants to get: the `Accept` header.

use hyper::HeaderMap;
use hyper::header::ACCEPT;

/// Whether the client asks for this media type by name.
pub(super) fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| {
            part.split(';').next().is_some_and(|t| t.trim().eq_ignore_ascii_case(media_type))
        })
}
