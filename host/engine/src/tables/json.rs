//! A list of JSON objects, or one object a line. Columns are the members of all of them; one that an object does not have, or has
//! as null, is an empty cell. Numbers stay as they are written.

use super::csv::head;
use super::rows::Rows;
use super::{COLUMNS_MAX, TableFormat, TableLimits, TableRefusal, invalid};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fmt;

/// Rows of a text that looks like JSON. It is read twice: the first object need not have every column.
pub(super) fn rows(text: &str, key: Option<&str>, format: TableFormat, limits: TableLimits) -> Result<Rows, TableRefusal> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    let mut objects = 0;
    each_object(text, format, &mut |_, members| {
        objects += 1;
        if objects > limits.rows_max {
            return Err(TableRefusal::TooLarge(format!("it has more than {} rows (rows_max)", limits.rows_max)));
        }
        for (name, _) in members {
            if !names.contains(name.as_ref()) {
                names.insert(name.to_string());
            }
        }
        if names.len() > COLUMNS_MAX { Err(invalid(format!("its objects have more than {COLUMNS_MAX} members"))) } else { Ok(()) }
    })?;
    if objects == 0 {
        return Err(invalid("it has no object, so no columns"));
    }
    let columns: Vec<String> = names.into_iter().collect();
    let place = if format == TableFormat::Json { "object" } else { "line" };
    let mut rows = Rows::new(columns.clone(), key, limits, place)?;
    let at: HashMap<&str, usize> = columns.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    let mut cells: Vec<Option<Cow<'_, str>>> = vec![None; columns.len()];
    each_object(text, format, &mut |number, members| {
        for (name, value) in members {
            let says = |why: &str| invalid(format!("{place} {number}: member `{}` {why}", head(&name.escape_debug().to_string())));
            let value = cell(value.get()).map_err(|why| says(&why))?;
            let Some(free) = at.get(name.as_ref()).map(|at| &mut cells[*at]).filter(|cell| cell.is_none()) else {
                return Err(says("is there twice"));
            };
            *free = Some(value);
        }
        for cell in &mut cells {
            rows.cell(cell.take().as_deref().unwrap_or(""))?;
        }
        rows.end_row(number)
    })?;
    Ok(rows)
}

/// A value as a cell: texts as they mean, null as nothing, numbers as they are written, lists and objects as JSON.
fn cell(raw: &str) -> Result<Cow<'_, str>, String> {
    let unreadable = |e: serde_json::Error| format!("cannot be read: {e}");
    match raw.as_bytes().first() {
        Some(b'"') if raw.contains('\\') => serde_json::from_str(raw).map(Cow::Owned).map_err(unreadable),
        Some(b'"') => Ok(Cow::Borrowed(&raw[1..raw.len() - 1])),
        Some(b'n') => Ok(Cow::Borrowed("")),
        Some(b'[' | b'{') => serde_json::from_str::<serde_json::Value>(raw).map(|value| Cow::Owned(value.to_string())).map_err(unreadable),
        _ => Ok(Cow::Borrowed(raw)),
    }
}

type Member<'t> = (Cow<'t, str>, &'t RawValue);
type Visit<'v, 't> = &'v mut dyn FnMut(usize, &[Member<'t>]) -> Result<(), TableRefusal>;

/// Calls `visit` with the number of each object, or of its line, and its members.
fn each_object<'t>(text: &'t str, format: TableFormat, visit: Visit<'_, 't>) -> Result<(), TableRefusal> {
    let mut members = Vec::new();
    if format == TableFormat::Json {
        let mut refused = None;
        let mut json = serde_json::Deserializer::from_str(text);
        let list = List { members: &mut members, visit, refused: &mut refused };
        let read = json.deserialize_seq(list).and_then(|()| json.end());
        return refused.map_or_else(|| read.map_err(|e| invalid(format!("wanted is a list of objects: {e}"))), Err);
    }
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mut json = serde_json::Deserializer::from_str(line);
        let read = Object(&mut members).deserialize(&mut json).and_then(|()| json.end());
        read.map_err(|e| invalid(format!("line {}: wanted is one object a line: {e}", i + 1)))?;
        visit(i + 1, &members)?;
    }
    Ok(())
}

struct List<'v, 't> {
    members: &'v mut Vec<Member<'t>>,
    visit: Visit<'v, 't>,
    /// What `visit` said, which no error of the reader can carry.
    refused: &'v mut Option<TableRefusal>,
}

impl<'t> Visitor<'t> for List<'_, 't> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut list: A) -> Result<(), A::Error> {
        let mut number = 0;
        while list.next_element_seed(Object(self.members))?.is_some() {
            number += 1;
            if let Err(why) = (self.visit)(number, self.members) {
                *self.refused = Some(why);
                return Err(A::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

/// Reads one object's members into the list.
struct Object<'v, 't>(&'v mut Vec<Member<'t>>);

impl<'t> DeserializeSeed<'t> for Object<'_, 't> {
    type Value = ();

    fn deserialize<D: Deserializer<'t>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'t> Visitor<'t> for Object<'_, 't> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut object: A) -> Result<(), A::Error> {
        self.0.clear();
        while let Some(Name(name)) = object.next_key()? {
            if self.0.len() == COLUMNS_MAX {
                return Err(A::Error::custom(format!("an object has more than {COLUMNS_MAX} members")));
            }
            self.0.push((name, object.next_value()?));
        }
        Ok(())
    }
}

/// A member's name, copied only where it has escapes.
#[derive(serde::Deserialize)]
struct Name<'t>(#[serde(borrow)] Cow<'t, str>);
