//! A JSON value as events carry it: order of keys kept, short texts inline, integers exact.
//!
//! Upstream's fields may hold any JSON type ("as is" in the field tables), so the typed event keeps `Value` where the
//! sender decides the type. Reading never fails here; limits and refusals belong to `decode`.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use smol_str::SmolStr;
use std::borrow::Cow;
use std::fmt;

/// Short immutable text: up to 23 bytes without an allocation, cheap to clone.
pub type Text = SmolStr;

/// Rough bytes that a text holds outside of itself.
pub(crate) fn text_bytes(text: &Text) -> usize {
    if text.is_heap_allocated() { text.len() + 16 } else { 0 }
}

/// A JSON value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// `null`, and also "absent" in the fields of an event.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer that fits `i64`.
    Int(i64),
    /// An integer above `i64::MAX`.
    UInt(u64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(Text),
    /// An array.
    List(Vec<Value>),
    /// An object, keys in the order sent.
    Object(Vec<(Text, Value)>),
}

impl Value {
    /// Text without an allocation.
    pub const fn literal(text: &'static str) -> Value {
        Value::Text(SmolStr::new_static(text))
    }

    /// Rough bytes held outside of the value itself, for the bound of queues.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Value::Text(text) => text_bytes(text),
            Value::List(list) => list.iter().map(|value| size_of::<Value>() + value.heap_bytes()).sum(),
            Value::Object(fields) => fields.iter().map(|(key, value)| size_of::<(Text, Value)>() + key.len() + value.heap_bytes()).sum(),
            _ => 0,
        }
    }

    /// True for `Null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Python's truth of a value: `null`, `false`, `0`, `""`, `[]`, `{}` are false.
    pub fn is_truthy(&self) -> bool {
        match self {
            Value::Null => false,
            Value::Bool(b) => *b,
            Value::Int(n) => *n != 0,
            Value::UInt(n) => *n != 0,
            Value::Float(f) => *f != 0.0,
            Value::Text(t) => !t.is_empty(),
            Value::List(l) => !l.is_empty(),
            Value::Object(o) => !o.is_empty(),
        }
    }

    /// What Elasticsearch documents leave out: `null`, `[]`, `{}`.
    pub fn is_empty_in_document(&self) -> bool {
        match self {
            Value::Null => true,
            Value::List(l) => l.is_empty(),
            Value::Object(o) => o.is_empty(),
            _ => false,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(t) => Some(t),
            _ => None,
        }
    }

    /// The integer, if it is one that fits.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// The last value under `key`, if this is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Object(fields) => fields.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The value at a path of keys.
    pub fn path(&self, keys: &[&str]) -> Option<&Value> {
        keys.iter().try_fold(self, |value, key| value.get(key))
    }

    /// The value at a path of keys, to change it.
    pub fn path_mut(&mut self, keys: &[&str]) -> Option<&mut Value> {
        keys.iter().try_fold(self, |value, key| match value {
            Value::Object(fields) => fields.iter_mut().rev().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        })
    }

    /// Sets `key` in an object; a `Null` becomes an object first. Other kinds are left alone and `false` comes back.
    pub fn set(&mut self, key: &str, value: Value) -> bool {
        if self.is_null() {
            *self = Value::Object(Vec::new());
        }
        let Value::Object(fields) = self else { return false };
        match fields.iter_mut().rev().find(|(k, _)| k == key) {
            Some((_, slot)) => *slot = value,
            None => fields.push((SmolStr::new(key), value)),
        }
        true
    }

    /// Removes `key` from an object and gives what was there.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let Value::Object(fields) = self else { return None };
        let at = fields.iter().position(|(k, _)| k == key)?;
        Some(fields.remove(at).1)
    }

    /// The form in which rules read a field as text: texts as they are, everything else as JSON text.
    pub fn to_rule_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Value::Null => None,
            Value::Text(t) => Some(Cow::Borrowed(t)),
            other => Some(Cow::Owned(other.to_json())),
        }
    }

    /// Compact JSON text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads any JSON text, with none of the limits of `decode`: for texts that this process wrote itself.
    pub fn from_json(text: &[u8]) -> Result<Value, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_slice(text);
        let value = ValueSeed::unlimited().deserialize(&mut reader)?;
        reader.end()?;
        Ok(value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(SmolStr::new(text))
    }
}
impl From<Text> for Value {
    fn from(text: Text) -> Value {
        Value::Text(text)
    }
}
impl From<i64> for Value {
    fn from(n: i64) -> Value {
        Value::Int(n)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::Int(n) => serializer.serialize_i64(*n),
            Value::UInt(n) => serializer.serialize_u64(*n),
            Value::Float(f) => serializer.serialize_f64(*f),
            Value::Text(t) => serializer.serialize_str(t),
            Value::List(list) => {
                let mut seq = serializer.serialize_seq(Some(list.len()))?;
                for value in list {
                    seq.serialize_element(value)?;
                }
                seq.end()
            }
            Value::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (key, value) in fields {
                    map.serialize_entry(key.as_str(), value)?;
                }
                map.end()
            }
        }
    }
}

/// Marks in the text of a serde error which refusal it stands for; `decode` reads them back.
pub(crate) const MARK_DEPTH: &str = "alertmill:depth";
pub(crate) const MARK_DUPLICATE: &str = "alertmill:duplicate-key";
pub(crate) const MARK_SIZE: &str = "alertmill:size";

/// Reads a `Value` with a bound on depth and on the number of entries, refusing duplicate keys when `strict`.
#[derive(Clone, Copy)]
pub(crate) struct ValueSeed {
    /// Containers that may still be opened.
    pub depth_left: u32,
    /// Entries that one container may hold.
    pub entries_max: usize,
    /// Refuse an object with the same key twice; otherwise the last one wins, as in Python.
    pub strict: bool,
}

impl ValueSeed {
    pub(crate) const fn unlimited() -> ValueSeed {
        ValueSeed { depth_left: 120, entries_max: usize::MAX, strict: false }
    }

    pub(crate) fn deeper<E: serde::de::Error>(self) -> Result<ValueSeed, E> {
        match self.depth_left {
            0 => Err(E::custom(MARK_DEPTH)),
            n => Ok(ValueSeed { depth_left: n - 1, ..self }),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Bool(b))
    }
    fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
        Ok(Value::Int(n))
    }
    fn visit_u64<E>(self, n: u64) -> Result<Value, E> {
        Ok(i64::try_from(n).map_or(Value::UInt(n), Value::Int))
    }
    fn visit_f64<E>(self, f: f64) -> Result<Value, E> {
        Ok(Value::Float(f))
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(SmolStr::new(text)))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(inner)? {
            if list.len() >= self.entries_max {
                return Err(A::Error::custom(MARK_SIZE));
            }
            list.push(value);
        }
        Ok(Value::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut fields: Vec<(Text, Value)> = Vec::new();
        // Looking back through the fields is quick while there are few; then a set takes over, so that a hostile
        // object with many keys costs no square.
        let mut seen: Option<std::collections::HashSet<Text>> = None;
        while let Some(key) = map.next_key_seed(KeySeed)? {
            if fields.len() >= self.entries_max {
                return Err(A::Error::custom(MARK_SIZE));
            }
            let repeated = match &mut seen {
                Some(set) => !set.insert(key.clone()),
                None => fields.iter().any(|(k, _)| *k == key),
            };
            if repeated && self.strict {
                return Err(A::Error::custom(MARK_DUPLICATE));
            }
            let value = map.next_value_seed(inner)?;
            let earlier = if repeated { fields.iter_mut().find(|(k, _)| *k == key) } else { None };
            match earlier {
                Some((_, slot)) => *slot = value,
                None => fields.push((key, value)),
            }
            if seen.is_none() && fields.len() == 32 {
                seen = Some(fields.iter().map(|(k, _)| k.clone()).collect());
            }
        }
        Ok(Value::Object(fields))
    }
}

/// Reads an object's key without an intermediate `String`.
pub(crate) struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Text;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Text, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Text;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(SmolStr::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_exact_integers() {
        let text = br#"{"b":9007199254740993,"a":[1,-2,1.5,null,true,"x"],"u":18446744073709551615}"#;
        let value = Value::from_json(text).unwrap();
        assert_eq!(value.to_json().as_bytes(), text);
        assert_eq!(value.get("u"), Some(&Value::UInt(u64::MAX)));
    }

    #[test]
    fn repeated_keys_take_the_last_value_when_not_strict() {
        let value = Value::from_json(br#"{"a":1,"b":2,"a":3}"#).unwrap();
        assert_eq!(value.to_json(), r#"{"a":3,"b":2}"#);
    }
}
