//! What serde_json does not say: whether an unreadable item has a bad number, whether an integer lost digits, and where an
//! unreadable item ends. Only the rare path of a refused item comes here.

use super::code::{Code, Refusal, quoted};
use crate::item::ItemLimits;
use crate::value::{MARK_DEPTH, MARK_DUPLICATE, MARK_SIZE};
use std::ops::Range;

/// The refusal that stands for an error of `parse_item`.
pub(super) fn refusal(bytes: &[u8], error: &serde_json::Error) -> Refusal {
    let message = error.to_string();
    if message.starts_with(MARK_DEPTH) || message.starts_with("recursion limit exceeded") {
        let most = ItemLimits::STRICT.depth_max;
        return Refusal::whole(Code::Depth, format!("more than {most} objects and arrays inside each other"));
    }
    if message.starts_with(MARK_DUPLICATE) {
        return Refusal::whole(Code::DuplicateKey, format!("a key appears twice in one object{}", place(error)));
    }
    if message.starts_with(MARK_SIZE) {
        let most = ItemLimits::STRICT.entries_max;
        return Refusal::whole(Code::Size, format!("an object or array has more than {most} entries"));
    }
    if let Some(refusal) = bad_number(bytes) {
        return refusal;
    }
    if message.starts_with("number out of range") {
        return Refusal::whole(Code::Number, format!("a number is out of range{}", place(error)));
    }
    match error.classify() {
        serde_json::error::Category::Data => Refusal::whole(Code::Shape, "an event is a JSON object"),
        _ => Refusal::whole(Code::Syntax, format!("not JSON: {message}")),
    }
}

fn place(error: &serde_json::Error) -> String {
    format!(" at line {} column {}", error.line(), error.column())
}

/// The first scalar that is no JSON, if it was meant as a number: `+1`, `.5`, `01`, `0x10`, `1.`, `NaN`, `-Infinity`.
fn bad_number(bytes: &[u8]) -> Option<Refusal> {
    let token = Scalars { bytes, at: 0 }.find(|token| {
        let text = &bytes[token.clone()];
        !matches!(text, b"true" | b"false" | b"null") && !is_json_number(text)
    })?;
    let text = String::from_utf8_lossy(&bytes[token.clone()]);
    let meant = matches!(text.as_bytes()[0], b'+' | b'-' | b'.' | b'0'..=b'9') || matches!(&*text, "NaN" | "Infinity");
    meant.then(|| Refusal::whole(Code::Number, format!("{} at byte {} is no JSON number", quoted(&text), token.start)))
}

/// The first integer that fits neither `i64` nor `u64`: serde_json would have made a float of it and lost digits.
pub(super) fn inexact_integer(bytes: &[u8]) -> Option<Refusal> {
    let token = Scalars { bytes, at: 0 }.find(|token| {
        let text = &bytes[token.clone()];
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        let text = std::str::from_utf8(text).unwrap_or_default();
        !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) && text.parse::<i64>().is_err() && text.parse::<u64>().is_err()
    })?;
    let text = String::from_utf8_lossy(&bytes[token.clone()]);
    let detail = format!("the integer {} at byte {} does not fit 64 bits; send it as text", quoted(&text), token.start);
    Some(Refusal::whole(Code::Number, detail))
}

fn is_json_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
    let rest = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest[0] == b'0') {
        return false;
    }
    let mut rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let n = digits(fraction);
        if n == 0 {
            return false;
        }
        rest = &fraction[n..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-")).unwrap_or(exponent);
        let n = digits(exponent);
        if n == 0 {
            return false;
        }
        rest = &exponent[n..];
    }
    rest.is_empty()
}

/// Runs of `[0-9A-Za-z+.-]` outside strings, in order.
struct Scalars<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for Scalars<'_> {
    type Item = Range<usize>;
    fn next(&mut self) -> Option<Range<usize>> {
        let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        loop {
            match *self.bytes.get(self.at)? {
                b'"' => self.at = string_end(self.bytes, self.at)?,
                b if is_part(&b) => {
                    let start = self.at;
                    self.at += self.bytes[start..].iter().take_while(|b| is_part(b)).count();
                    return Some(start..self.at);
                }
                _ => self.at += 1,
            }
        }
    }
}

/// The end of the string that begins at `at`, behind its closing quote.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match *bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The end of the array element that begins at `at`, whatever is inside it; none if it does not end.
pub(super) fn element_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => string_end(bytes, at),
        b'{' | b'[' => {
            let (mut at, mut depth) = (at, 0usize);
            loop {
                match *bytes.get(at)? {
                    b'"' => {
                        at = string_end(bytes, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => {
            let n = bytes[at..].iter().take_while(|b| !matches!(b, b',' | b']' | b'}' | b'{' | b'[' | b'"')).count();
            (n > 0).then(|| at + bytes[at..at + n].trim_ascii_end().len())
        }
    }
}

/// The first byte at or after `at` that is no JSON white space.
pub(super) fn skip_space(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')).count()
}

/// The range without JSON white space at both ends.
pub(super) fn trim(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let start = skip_space(&bytes[..range.end], range.start);
    let trailing = bytes[start..range.end].iter().rev().take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')).count();
    start..range.end - trailing
}
