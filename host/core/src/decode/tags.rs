//! Tags: a list of `{key, value, display_key?, display_value?}`, or the shorthand `{"key": value, ...}`.

use super::code::{Code, Refusal, quoted};
use super::coerce::TEXT_BYTES_MAX;
use crate::fields::{TAGS_MAX, check_tag_key};
use crate::value::{Text, Value};

/// The list form of whatever form was sent.
pub(super) fn tags(value: Value) -> Result<Value, Refusal> {
    let tags = match value {
        Value::List(tags) => tags.into_iter().enumerate().map(|(i, tag)| listed(i, tag)).collect::<Result<Vec<_>, _>>()?,
        Value::Object(map) => map.into_iter().map(|(key, value)| mapped(key, value)).collect::<Result<Vec<_>, _>>()?,
        _ => return Err(Refusal::new(Code::Tags, "/tags", "tags is a list of {\"key\": ..., \"value\": ...} or an object")),
    };
    if tags.len() > TAGS_MAX {
        return Err(Refusal::new(Code::Size, "/tags", format!("{} tags, at most {TAGS_MAX}", tags.len())));
    }
    Ok(Value::List(tags))
}

fn listed(i: usize, tag: Value) -> Result<Value, Refusal> {
    let refuse = |code, part: &str, why: String| Refusal::new(code, format!("/tags/{i}{part}"), why);
    let Value::Object(parts) = &tag else {
        return Err(refuse(Code::Tags, "", "a tag is an object with `key` and `value`".to_owned()));
    };
    let (mut has_key, mut has_value) = (false, false);
    for (name, part) in parts {
        match name.as_str() {
            "key" => {
                let Some(key) = part.as_text() else {
                    return Err(refuse(Code::TagKey, "/key", "a tag key is a text".to_owned()));
                };
                check_tag_key(key).map_err(|why| refuse(Code::TagKey, "/key", format!("{}: {why}", quoted(key))))?;
                has_key = true;
            }
            "value" | "display_key" | "display_value" => {
                check_size(part).map_err(|why| refuse(Code::Size, &format!("/{name}"), why))?;
                has_value |= name == "value";
            }
            other => return Err(refuse(Code::Tags, "", format!("{} is no part of a tag; extra facts go to `extra_info`", quoted(other)))),
        }
    }
    match (has_key, has_value) {
        (true, true) => Ok(tag),
        (false, _) => Err(refuse(Code::Tags, "", "the tag has no `key`".to_owned())),
        (true, false) => Err(refuse(Code::Tags, "", "the tag has no `value`".to_owned())),
    }
}

fn mapped(key: Text, value: Value) -> Result<Value, Refusal> {
    let refuse = |code, why: String| Refusal::new(code, "/tags", why);
    check_tag_key(&key).map_err(|why| refuse(Code::TagKey, format!("{}: {why}", quoted(&key))))?;
    check_size(&value).map_err(|why| refuse(Code::Size, format!("{}: {why}", quoted(&key))))?;
    Ok(Value::Object(vec![(Text::new_static("key"), Value::Text(key)), (Text::new_static("value"), value)]))
}

/// A value counts in the form in which rules and documents see it: text as it is, anything else as JSON.
fn check_size(value: &Value) -> Result<(), String> {
    let bytes = match value {
        Value::Text(text) => text.len(),
        Value::List(_) | Value::Object(_) => value.to_json().len(),
        _ => 0,
    };
    if bytes > TEXT_BYTES_MAX { Err(format!("the value has {bytes} bytes, at most {TEXT_BYTES_MAX}")) } else { Ok(()) }
}
