//! What upstream's Python makes of a JSON value: its text, its integer, its hash. Byte for byte, because fingerprints
//! and uids under `bk-monitor` rest on it (docs/semantics.md, Identity).

mod md5;
mod number;
mod text;

pub use md5::{Md5Of, count_md5};
pub use number::{parse_int, repr_float, to_int};
pub use text::{lower_is, text_of, ujson, upper_is};

use crate::value::Value;

/// Python's `==`: numbers and booleans by value, everything else by kind and content.
pub fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Text(x), Value::Text(y)) => x == y,
        (Value::List(x), Value::List(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| equal(x, y)),
        (Value::Object(x), Value::Object(y)) => x.len() == y.len() && x.iter().all(|(k, v)| b.get(k).is_some_and(|w| equal(v, w))),
        _ => match (number::integer(a), number::integer(b)) {
            (Some(x), Some(y)) => x == y,
            _ => match (number::float(a), number::float(b)) {
                (Some(x), Some(y)) => x == y,
                (None, None) => a.is_null() && b.is_null(),
                _ => false,
            },
        },
    }
}

#[cfg(test)]
mod tests;
