//! Tags of an item (docs/semantics.md, Clean).

use super::CleanError;
use crate::event::Tag;
use crate::python::{text_of, ujson};
use crate::value::{Text, Value};

/// The tags of the field `tags`. Absent, an empty object and an empty text are no tags, as in Python's loop over them.
pub(super) fn tags(value: Value) -> Result<Vec<Tag>, CleanError> {
    match value {
        Value::List(list) => {
            let mut tags = Vec::with_capacity(list.len());
            for (index, value) in list.into_iter().enumerate() {
                tags.push(tag(index, value)?);
            }
            Ok(tags)
        }
        Value::Null => Ok(Vec::new()),
        Value::Object(fields) if fields.is_empty() => Ok(Vec::new()),
        Value::Text(text) if text.is_empty() => Ok(Vec::new()),
        _ => Err(CleanError::TagsNotList),
    }
}

fn tag(index: usize, value: Value) -> Result<Tag, CleanError> {
    let Value::Object(fields) = value else { return Err(CleanError::TagNotObject { index }) };
    let (mut key, mut value, mut display_key, mut display_value) = (None, None, None, None);
    for (name, field) in fields {
        match name.as_str() {
            "key" => key = Some(field),
            "value" => value = Some(field),
            "display_key" => display_key = Some(field),
            "display_value" => display_value = Some(field),
            _ => {}
        }
    }
    let key = match key.ok_or(CleanError::TagIncomplete { index, field: "key" })? {
        Value::Text(text) => text,
        other => Text::new(text_of(&other)),
    };
    let value = match value.ok_or(CleanError::TagIncomplete { index, field: "value" })? {
        object @ Value::Object(_) => Value::Text(ujson(&object)),
        Value::List(list) => Value::List(list.into_iter().map(element).collect()),
        scalar => scalar,
    };
    Ok(Tag { key, value, display_key, display_value })
}

fn element(value: Value) -> Value {
    match value {
        Value::Object(_) | Value::List(_) => Value::Text(ujson(&value)),
        scalar => scalar,
    }
}
