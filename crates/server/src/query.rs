//! Query parameters: split, percent-decoded, none unknown, none twice.

use crate::encoding::from_base64;
use crate::problem::{Kind, Problem, Result};
use percent_encoding::percent_decode;
use std::borrow::Cow;

/// The values of the parameters `names`, in that order. Nothing is copied but
/// what holds an escape. A parameter that is not named, or comes twice, is an
/// error: a misspelt `tll=60` must not make a key that never expires.
pub(crate) fn parse<'q, const N: usize>(
    query: Option<&'q str>,
    names: [&'static str; N],
) -> Result<[Option<Cow<'q, [u8]>>; N]> {
    let mut values = [const { None }; N];
    for pair in query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name);
        let Some(at) = names.iter().position(|n| n.as_bytes() == &*name) else {
            let name = String::from_utf8_lossy(&name).into_owned();
            return Err(Problem::new(
                Kind::UnknownField,
                format!("there is no parameter {name:?} here; use {}", names.join(", ")),
            ));
        };
        if values[at].is_some() {
            return Err(Problem::invalid(format!("{} is given twice; give it once", names[at])));
        }
        values[at] = Some(decode(value));
    }
    Ok(values)
}

/// `+` is a space here, as forms and browsers write it; `%2B` is a plus.
fn decode(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|b| b == b'%' || b == b'+') {
        return Cow::Borrowed(text.as_bytes());
    }
    let spaced: Vec<u8> = text.bytes().map(|b| if b == b'+' { b' ' } else { b }).collect();
    Cow::Owned(percent_decode(&spaced).collect())
}

/// A key in a path: percent-decoded, any bytes, slashes as they are.
pub(crate) fn decode_path(path: &str) -> Cow<'_, [u8]> {
    percent_decode(path.as_bytes()).into()
}

/// A parameter that must be UTF-8.
pub(crate) fn text<'v>(name: &str, value: &'v [u8]) -> Result<&'v str> {
    std::str::from_utf8(value).map_err(|e| {
        Problem::new(
            Kind::NotUtf8,
            format!(
                "{name} is not UTF-8 (byte {}); send the bytes as base64 ({})",
                e.valid_up_to(),
                base64_hint(name)
            ),
        )
    })
}

/// How to send this parameter as base64.
pub(crate) fn base64_hint(name: &str) -> &'static str {
    match name {
        "key" => "key64 instead of key",
        _ => "with encoding=base64",
    }
}

/// `true` or `false`; absent is false, and a bare name is true.
pub(crate) fn flag(name: &str, value: Option<Cow<'_, [u8]>>) -> Result<bool> {
    match value.as_deref() {
        None | Some(b"false" | b"0") => Ok(false),
        Some(b"true" | b"1" | b"") => Ok(true),
        Some(_) => Err(Problem::invalid(format!("{name} must be true or false"))),
    }
}

/// Base64 of a parameter, whose `+` may have been taken for a space.
pub(crate) fn base64(name: &str, value: &[u8]) -> Result<Vec<u8>> {
    let pluses: Cow<'_, [u8]> = if value.contains(&b' ') {
        value.iter().map(|&b| if b == b' ' { b'+' } else { b }).collect()
    } else {
        value.into()
    };
    from_base64(&pluses).map_err(|e| Problem::not_base64(name, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_by_name_and_decoded() {
        let [key, value, ttl] =
            parse(Some("value=a+b%2Bc%FF&key=%E6%A3%9A"), ["key", "value", "ttl"]).expect("valid");
        assert_eq!(key.as_deref(), Some("棚".as_bytes()));
        assert_eq!(value.as_deref(), Some(&b"a b+c\xff"[..]));
        assert_eq!(ttl, None);
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused() {
        let unknown = parse(Some("tll=60"), ["key", "ttl"]).expect_err("misspelt");
        assert_eq!(unknown.kind(), Kind::UnknownField);
        let twice = parse(Some("key=a&key=b"), ["key"]).expect_err("twice");
        assert_eq!(twice.kind(), Kind::InvalidParameter);
    }

    #[test]
    fn a_plus_in_base64_survives_the_query() {
        let [key64] = parse(Some("key64=+/8="), ["key64"]).expect("valid");
        assert_eq!(base64("key64", &key64.expect("given")).expect("base64"), [0xfb, 0xff]);
    }

    #[test]
    fn flags_know_three_forms() {
        let [wait] = parse(Some("wait"), ["wait"]).expect("valid");
        assert!(flag("wait", wait).expect("bare"));
        assert!(!flag("wait", None).expect("absent"));
        assert!(flag("wait", Some(Cow::Borrowed(b"maybe"))).is_err());
    }
}
