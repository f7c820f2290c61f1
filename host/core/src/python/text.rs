//! Python's texts of values: `str()`, `repr()` inside lists and objects, and JSON as upstream's serialiser writes it.

use super::number::{repr_float, shortest};
use crate::value::{Text, Value};
use std::borrow::Cow;
use std::fmt::Write;

/// `str(value)`.
pub fn text_of(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Int(n) => n.to_string().into(),
        Value::UInt(n) => n.to_string().into(),
        Value::Float(f) => repr_float(*f).into(),
        Value::Text(text) => text.as_str().into(),
        Value::List(_) | Value::Object(_) => {
            let mut out = String::new();
            repr(value, &mut out);
            out.into()
        }
    }
}

fn repr(value: &Value, out: &mut String) {
    match value {
        Value::Text(text) => repr_text(text, out),
        Value::List(list) => {
            out.push('[');
            for (i, element) in list.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { ", " });
                repr(element, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (i, (key, element)) in fields.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { ", " });
                repr_text(key, out);
                out.push_str(": ");
                repr(element, out);
            }
            out.push('}');
        }
        scalar => out.push_str(&text_of(scalar)),
    }
}

fn repr_text(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            // Writing to a String cannot fail.
            c => {
                let _ = match c as u32 {
                    code @ 0..=0xff => write!(out, "\\x{code:02x}"),
                    code @ 0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    code => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

/// Rust escapes the same categories in debug texts as Python does in `repr`; a combining mark at the start of a text is
/// the exception, so the character is put second.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    let mut pair = [b'a', 0, 0, 0, 0];
    let len = c.encode_utf8(&mut pair[1..]).len();
    std::str::from_utf8(&pair[..=len]).is_ok_and(|pair| pair.escape_debug().count() == 2)
}

/// JSON text as upstream writes objects inside of tag values: no blanks, non-ASCII as `\uXXXX`, slashes as they are.
pub fn ujson(value: &Value) -> Text {
    let mut out = String::new();
    write_json(value, &mut out);
    Text::from(out)
}

fn write_json(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        // An exponent has no leading zero here, unlike in `repr`.
        Value::Float(f) => out.push_str(&shortest(*f, 1)),
        Value::Text(text) => write_json_text(text, out),
        Value::List(list) => {
            out.push('[');
            for (i, element) in list.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                write_json(element, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (i, (key, element)) in fields.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                write_json_text(key, out);
                out.push(':');
                write_json(element, out);
            }
            out.push('}');
        }
        integer => out.push_str(&text_of(integer)),
    }
}

fn write_json_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='\u{7f}' => out.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

/// `text.upper() == wanted`, where `wanted` is ASCII.
pub fn upper_is(text: &str, wanted: &str) -> bool {
    text.eq_ignore_ascii_case(wanted) || (!text.is_ascii() && text.to_uppercase() == wanted)
}

/// `text.lower() == wanted`, where `wanted` is ASCII.
pub fn lower_is(text: &str, wanted: &str) -> bool {
    text.eq_ignore_ascii_case(wanted) || (!text.is_ascii() && text.to_lowercase() == wanted)
}
