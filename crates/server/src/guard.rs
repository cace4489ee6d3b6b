//! Keeps web pages out: a browser on this machine reaches loopback, and so does every page in it.
//!
//! There is no authentication on loopback, and bodies are read as JSON whatever
//! their type. Without this a page could delete keys by a plain form (cross-site
//! request forgery), or read them under a name of its own that resolves to
//! 127.0.0.1 (DNS rebinding). Programs send no `Origin`, and name the machine
//! as they reached it.

use crate::problem::{Kind, Problem, Result};
use hyper::header::{HOST, HeaderMap, ORIGIN};
use std::net::IpAddr;

/// Refuses requests that a web page of another site makes.
pub(crate) fn check(headers: &HeaderMap) -> Result<()> {
    let host = headers.get(HOST);
    if let Some(host) = host
        && !is_local(host.as_bytes())
    {
        return Err(Problem::new(
            Kind::ForeignHost,
            "the Host header names neither localhost nor a loopback address; use http://127.0.0.1 or http://localhost",
        )
        .closing());
    }
    if let Some(origin) = headers.get(ORIGIN) {
        let own = host.is_some_and(|host| {
            origin.as_bytes().strip_prefix(b"http://") == Some(host.as_bytes())
        });
        if !own {
            return Err(Problem::new(
                Kind::ForeignOrigin,
                "web pages of other sites may not use this server; send the request without Origin, from a program",
            )
            .closing());
        }
    }
    Ok(())
}

/// Whether `host[:port]` is this machine over loopback.
fn is_local(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let name = match host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        Some((v6, _port)) => v6,
        None => host.split_once(':').map_or(host, |(name, _port)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn kind(headers: &[(hyper::header::HeaderName, &'static str)]) -> Option<Kind> {
        let headers =
            headers.iter().map(|(n, v)| (n.clone(), HeaderValue::from_static(v))).collect();
        check(&headers).err().map(|p| p.kind())
    }

    #[test]
    fn programs_pass_and_foreign_pages_do_not() {
        for host in ["127.0.0.1:7878", "localhost:7878", "LOCALHOST", "[::1]:7878", "127.1.2.3"] {
            assert_eq!(kind(&[(HOST, host)]), None, "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:7878", "[::2]", ""] {
            assert_eq!(kind(&[(HOST, host)]), Some(Kind::ForeignHost), "{host}");
        }
        let own = [(HOST, "localhost:7878"), (ORIGIN, "http://localhost:7878")];
        assert_eq!(kind(&own), None);
        for origin in ["https://evil.example", "null", "http://localhost:9999"] {
            let foreign = [(HOST, "localhost:7878"), (ORIGIN, origin)];
            assert_eq!(kind(&foreign), Some(Kind::ForeignOrigin), "{origin}");
        }
    }
}
