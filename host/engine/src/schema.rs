//! The schema that a module declares for its config, and whether a config fits it: before `init` sees one.
//!
//! A part of JSON Schema 2020-12: all that says which values are good without patterns or other documents. What is not
//! known here is refused with the module, so that nothing which looks like a check is none. `default` is an annotation:
//! `init` gets exactly what the operator wrote.

mod checking;
mod reading;

use serde_json::{Number, Value};
use std::collections::BTreeMap;

/// Of schemas within schemas, and of values within values with every reference followed.
const DEPTH_MAX: usize = 32;
/// Of a value, a key or a list of allowed values.
const SHOWN_CHARS_MAX: usize = 160;

/// A schema that can be checked whole.
#[derive(Debug)]
pub(crate) struct Schema {
    /// `None`: the module takes no config.
    root: Option<Node>,
    /// By the reference that names them: `#`, `#/$defs/NAME`.
    definitions: BTreeMap<String, Node>,
}

#[derive(Debug)]
enum Node {
    /// `true` or `false`.
    All(bool),
    Rules(Box<Rules>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

/// Least and most of a length or count.
#[derive(Debug, Default)]
struct Count {
    least: Option<u64>,
    most: Option<u64>,
}

#[derive(Debug, Default)]
struct Rules {
    types: Option<Vec<Type>>,
    allowed: Option<Vec<Value>>,
    refers: Option<String>,
    // Objects.
    properties: BTreeMap<String, Node>,
    required: Vec<String>,
    other_properties: Option<Node>,
    names: Option<Node>,
    members: Count,
    // Arrays.
    first_items: Vec<Node>,
    items: Option<Node>,
    entries: Count,
    unique: bool,
    // Texts.
    characters: Count,
    // Numbers.
    minimum: Option<Number>,
    maximum: Option<Number>,
    above: Option<Number>,
    below: Option<Number>,
    multiple_of: Option<u64>,
    // Schemas for the same value.
    all_of: Vec<Node>,
    any_of: Vec<Node>,
    one_of: Vec<Node>,
    not: Option<Node>,
    condition: Option<(Node, Node, Node)>,
}

impl Schema {
    fn named(&self, reference: &str) -> Option<&Node> {
        if reference == "#" { self.root.as_ref() } else { self.definitions.get(reference) }
    }
}

/// Keys that need no quotes in a path.
fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.len() <= 64 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-$".contains(&b))
}

/// A hostile text, quoted.
fn shown(text: &str) -> String {
    format!("\"{}\"", cut(text).escape_debug())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests;
