//! Python's numbers: `int()` and the shortest text of a float.

use crate::value::Value;
use std::fmt::Write;

/// The value if it is an exact integer or a boolean.
pub(super) fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Bool(b) => Some(i128::from(*b)),
        Value::Int(n) => Some(i128::from(*n)),
        Value::UInt(n) => Some(i128::from(*n)),
        _ => None,
    }
}

/// Any number or boolean as a float.
pub(super) fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Float(f) => Some(*f),
        other => integer(other).map(|n| n as f64),
    }
}

/// `int(value)`, held at the bounds of `i64`; `None` where Python raises.
pub fn to_int(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(b) => Some(i64::from(*b)),
        Value::Int(n) => Some(*n),
        Value::UInt(_) => Some(i64::MAX),
        // A cast from float cuts toward zero and holds at the bounds, as wanted.
        Value::Float(f) => f.is_finite().then_some(*f as i64),
        Value::Text(text) => parse_int(text),
        _ => None,
    }
}

/// `int(text)`: blanks around it, a sign, digits of any script, single underscores between digits. Held at the bounds
/// of `i64`; `None` where Python raises.
pub fn parse_int(text: &str) -> Option<i64> {
    let text = text.trim_matches(is_space);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut sum: i64 = 0;
    let mut after_digit = false;
    for c in digits.chars() {
        if c == '_' && after_digit {
            after_digit = false;
            continue;
        }
        let digit = digit(c)?;
        sum = sum.saturating_mul(10);
        sum = if negative { sum.saturating_sub(digit) } else { sum.saturating_add(digit) };
        after_digit = true;
    }
    after_digit.then_some(sum)
}

/// What Python takes as a blank: the separators 0x1c to 0x1f are some, unlike in Rust.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The zeros of the scripts that have decimal digits (Unicode category Nd), without ASCII.
const ZEROS: [u32; 65] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946,
    0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0,
    0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50, 0x1d7ce,
    0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];

fn digit(c: char) -> Option<i64> {
    if c.is_ascii() {
        return c.to_digit(10).map(i64::from);
    }
    let code = c as u32;
    let zero = ZEROS.iter().rev().find(|zero| **zero <= code)?;
    (code - zero < 10).then(|| i64::from(code - zero))
}

/// `repr(f)`: shortest digits, `1.0`, `1e+16`, `1e-05`.
pub fn repr_float(f: f64) -> String {
    shortest(f, 2)
}

/// The shortest digits that read back as `f`; an exponent below -4 or from 16 on is written, with at least
/// `exponent_digits` digits.
pub(super) fn shortest(f: f64, exponent_digits: usize) -> String {
    if !f.is_finite() {
        return if f.is_nan() {
            "nan"
        } else if f > 0.0 {
            "inf"
        } else {
            "-inf"
        }
        .to_owned();
    }
    let mut text = String::with_capacity(24);
    // Writing to a String cannot fail.
    let _ = write!(text, "{f:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..16).contains(&exponent) {
        return format!("{f:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:0exponent_digits$}", exponent.unsigned_abs())
}
