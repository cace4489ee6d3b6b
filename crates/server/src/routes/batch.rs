//! `POST /v1/batch`: several writes, all or none, on conditions.

use crate::app::App;
use crate::body::Received;
use crate::encoding::Encoding;
use crate::input::{DurabilityName, Text, checked_value, json, key_of, put_options, value_of};
use crate::problem::{Problem, Result};
use crate::query;
use crate::reply::{self, Reply};
use crate::space::Space;
use crate::write_queue::{Action, Op, Ops};
use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::sync::Arc;
use tanada::{Condition, Durability, SeqNo};

/// Most operations of one batch: parsed ones take more memory than their text.
pub(crate) const MAX_OPS: usize = 100_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchBody<'a> {
    #[serde(borrow)]
    ops: Option<BoundedOps<'a>>,
    durability: Option<DurabilityName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchOp<'a> {
    op: Verb,
    #[serde(borrow)]
    key: Option<Text<'a>>,
    key64: Option<Text<'a>>,
    value: Option<Text<'a>>,
    encoding: Option<Encoding>,
    ttl: Option<f64>,
    expires_at: Option<Text<'a>>,
    if_version: Option<u64>,
    if_absent: Option<bool>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Put,
    Delete,
    /// Only the condition is asked.
    Check,
}

/// A list that stops growing at [`MAX_OPS`].
struct BoundedOps<'a>(Vec<BatchOp<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for BoundedOps<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct ListVisitor;
        impl<'de> Visitor<'de> for ListVisitor {
            type Value = Vec<BatchOp<'de>>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of operations")
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> std::result::Result<Self::Value, A::Error> {
                let mut ops = Vec::new();
                while let Some(op) = list.next_element()? {
                    if ops.len() == MAX_OPS {
                        return Err(A::Error::custom(format_args!(
                            "more than {MAX_OPS} operations; split the batch"
                        )));
                    }
                    ops.push(op);
                }
                Ok(ops)
            }
        }
        deserializer.deserialize_seq(ListVisitor).map(BoundedOps)
    }
}

/// What a batch did.
#[derive(Serialize)]
struct Written {
    ok: bool,
    /// The last write's number; null when there were checks only.
    seq: Option<u64>,
    /// Each operation's number; null for a check.
    versions: Vec<Option<u64>>,
}

/// `POST /v1/batch`
pub(super) async fn write(
    app: &Arc<App>,
    space: Space,
    request: &mut Request<Incoming>,
) -> Result<Reply> {
    let [] = query::parse(request.uri().query(), [])?;
    let Received { bytes: body, share } = app.receive(request).await?;
    let (mut ops, durability) = parse(&body, app.limits.max_value_bytes)?;
    if let Some(keyspace) = space.into_named() {
        ops.iter_mut().for_each(|op| op.keyspace = Some(keyspace.clone()));
    }
    // What the operations have of it stays.
    drop(body);
    let is_write: Vec<bool> = ops.iter().map(|op| !matches!(op.action, Action::Check)).collect();
    let committed = app.write(Ops::Many(ops), share, durability).await?;
    let mut next = committed.first;
    let versions: Vec<Option<u64>> = is_write
        .into_iter()
        .map(|is_write| {
            is_write.then(|| {
                next += 1;
                next - 1
            })
        })
        .collect();
    Ok(reply::json_of(&Written { ok: true, seq: committed.last(), versions }))
}

/// The operations of a body, at least one, and what they must survive.
pub(crate) fn parse(body: &Bytes, max_value_bytes: usize) -> Result<(Vec<Op>, Option<Durability>)> {
    let batch: BatchBody<'_> = json(body)?;
    let ops = match batch.ops {
        Some(BoundedOps(ops)) if !ops.is_empty() => ops,
        _ => return Err(Problem::missing("ops", "give a list of at least one operation")),
    };
    let ops = ops
        .into_iter()
        .enumerate()
        .map(|(index, op)| to_op(op, body, max_value_bytes).map_err(|p| p.with("index", &index)))
        .collect::<Result<_>>()?;
    Ok((ops, batch.durability.map(Into::into)))
}

fn to_op(op: BatchOp<'_>, body: &Bytes, max_value_bytes: usize) -> Result<Op> {
    let condition = match (op.if_version, op.if_absent) {
        (None, None) => None,
        (Some(version), None) => Some(Condition::Version(SeqNo(version))),
        (None, Some(true)) => Some(Condition::Absent),
        (None, Some(false)) => {
            return Err(Problem::invalid("if_absent can only be true; leave it out otherwise"));
        }
        (Some(_), Some(_)) => {
            return Err(Problem::invalid("if_version and if_absent are both given; give one"));
        }
    };
    let key = key_of(op.key, op.key64, body)?;
    let action = match op.op {
        Verb::Put => {
            let value = checked_value(value_of(op.value, op.encoding, body)?, max_value_bytes)?;
            Action::Put { value, options: put_options(op.ttl, op.expires_at.as_ref())? }
        }
        Verb::Delete | Verb::Check
            if op.value.is_some()
                || op.encoding.is_some()
                || op.ttl.is_some()
                || op.expires_at.is_some() =>
        {
            return Err(Problem::invalid(
                "value, encoding, ttl and expires_at belong to put; leave them out",
            ));
        }
        Verb::Delete => Action::Delete,
        Verb::Check if condition.is_none() => {
            return Err(Problem::missing("if_version or if_absent", "a check needs a condition"));
        }
        Verb::Check => Action::Check,
    };
    Ok(Op { keyspace: None, key, action, conditions: condition.into_iter().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Kind;

    fn ops(text: &'static str) -> Result<Vec<Op>> {
        parse(&Bytes::from_static(text.as_bytes()), 1000).map(|(ops, _)| ops)
    }

    #[test]
    fn a_batch_becomes_operations_with_conditions() {
        let ops = ops(r#"{"ops":[{"op":"put","key":"a","value":"1","ttl":2,"if_absent":true},
                       {"op":"delete","key64":"Yg"},{"op":"check","key":"c","if_version":7}]}"#)
        .expect("valid");
        assert_eq!(ops[0].conditions, [Condition::Absent]);
        assert!(
            matches!(&ops[0].action, Action::Put { options, value } if options.ttl.is_some() && value == "1")
        );
        assert!(matches!(ops[1].action, Action::Delete));
        assert_eq!(ops[1].key, "b");
        assert_eq!(ops[2].conditions, [Condition::Version(SeqNo(7))]);
    }

    #[test]
    fn bad_operations_are_refused() {
        let cases = [
            (r#"{"ops":[{"op":"increment","key":"a"}]}"#, Kind::InvalidParameter),
            (r#"{"ops":[{"key":"a"}]}"#, Kind::MissingParameter),
            (r#"{"ops":[{"op":"put","key":"a"}]}"#, Kind::MissingParameter),
            (r#"{"ops":[{"op":"delete","key":"a","value":"b"}]}"#, Kind::InvalidParameter),
            (r#"{"ops":[{"op":"check","key":"a"}]}"#, Kind::MissingParameter),
            (r#"{"ops":[{"op":"delete","key":"a","if_absent":false}]}"#, Kind::InvalidParameter),
            (
                r#"{"ops":[{"op":"delete","key":"a","if_absent":true,"if_version":1}]}"#,
                Kind::InvalidParameter,
            ),
            (r#"{"ops":[{"op":"delete","key":"a","if_match":1}]}"#, Kind::UnknownField),
            (r#"{"ops":[],"extra":1}"#, Kind::UnknownField),
            (r#"{"ops":7}"#, Kind::InvalidParameter),
            (r#"{"ops":[]}"#, Kind::MissingParameter),
            (r#"{"durability":"synced"}"#, Kind::MissingParameter),
        ];
        for (text, kind) in cases {
            assert_eq!(ops(text).expect_err(text).kind(), kind, "{text}");
        }
    }

    #[test]
    fn a_batch_of_too_many_operations_stops_being_read() {
        let text =
            format!("{{\"ops\":[{}7]}}", r#"{"op":"delete","key":"a"},"#.repeat(MAX_OPS + 1));
        let body = Bytes::from(text);
        let problem = parse(&body, 1000).expect_err("too many");
        assert!(problem.to_json().get().contains("split the batch"));
    }
}
