//! Runs rules on the author's machine, without a host: batches from rows, tables in memory.
//!
//! A unit test of one row needs none of this: make the row and the change by hand and call the rule. This is for whole
//! batches, and for `cases/*.json`.

use crate::Payload;
use crate::bindings::alertmill::rules::types::{Batch, Column, IntegerColumn, Tag, TextColumn};
use crate::lookup::Source;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
}

/// A row by the names of its fields.
pub type Fields = BTreeMap<String, Value>;
/// A table: key, then column, then value.
pub type Rows = BTreeMap<String, BTreeMap<String, String>>;

/// Fields that cross as integers (section "Fields" of the rule author's guide); all others are text.
const INTEGERS: &[&str] = &["severity", "time", "anomaly_time", "bk_ingest_time", "bk_clean_time", "create_time", "bk_biz_id", "received_at", "seed"];
/// Fields of alerts that do.
const ALERT_INTEGERS: &[&str] = &["begin_time", "latest_time", "first_anomaly_time", "event_count"];

/// Lowers rows as the host does: one column for each of `reads`.
pub fn batch(reads: &[&str], rows: &[Fields]) -> Batch {
    Batch { rows: rows.len() as u32, columns: reads.iter().map(|field| column(field, rows)).collect() }
}

fn column(field: &str, rows: &[Fields]) -> Column {
    if field == "tags" {
        return Column::Tags(rows.iter().map(all_tags).collect());
    }
    let missing = (0u32..).zip(rows).filter(|(_, row)| !row.contains_key(field)).map(|(row, _)| row).collect();
    let of_event = field.strip_prefix("event.").unwrap_or(field);
    if INTEGERS.contains(&of_event) || ALERT_INTEGERS.contains(&field) {
        let values = rows.iter().map(|row| match row.get(field) {
            Some(Value::Integer(value)) => *value,
            _ => 0,
        });
        return Column::Integer(IntegerColumn { values: values.collect(), missing });
    }
    let mut heap = Vec::new();
    let ends = rows.iter().map(|row| {
        match row.get(field) {
            Some(Value::Text(text)) => heap.extend_from_slice(text.as_bytes()),
            Some(Value::Integer(value)) => heap.extend_from_slice(value.to_string().as_bytes()),
            None => {}
        }
        heap.len() as u32
    });
    let ends = ends.collect();
    Column::Text(TextColumn { ends, missing, heap })
}

fn all_tags(row: &Fields) -> Vec<Tag> {
    let tags = row.iter().filter_map(|(field, value)| Some((field.strip_prefix("tags.")?, value)));
    tags.map(|(key, value)| match value {
        Value::Text(text) => Tag { key: key.to_string(), value: text.clone() },
        Value::Integer(value) => Tag { key: key.to_string(), value: value.to_string() },
    })
    .collect()
}

/// A payload of that source, with no content type and no header.
pub fn payload(source: &str, body: impl Into<Vec<u8>>) -> Payload {
    Payload { source: source.to_string(), content_type: String::new(), headers: Vec::new(), received_at_ms: 0, body: body.into() }
}

thread_local! {
    static TABLES: RefCell<BTreeMap<String, Rows>> = RefCell::default();
}

/// The tables that [`MemoryTable`] opens, for this test's thread.
pub fn set_tables(tables: BTreeMap<String, Rows>) {
    TABLES.with(|all| *all.borrow_mut() = tables);
}

/// A table of [`set_tables`]: `LookupHook::<Rule, MemoryTable>::new(config)`.
pub struct MemoryTable {
    rows: Rows,
    columns: Vec<String>,
}

impl Source for MemoryTable {
    fn open(name: &str, columns: &[&str]) -> Result<Self, String> {
        let rows = TABLES.with(|all| all.borrow().get(name).cloned()).ok_or(format!("no table {name}"))?;
        Ok(MemoryTable { rows, columns: columns.iter().map(|column| column.to_string()).collect() })
    }

    fn get_columns(&self, keys: &[&str]) -> Vec<TextColumn> {
        self.columns.iter().map(|column| self.column(column, keys)).collect()
    }
}

impl MemoryTable {
    fn column(&self, column: &str, keys: &[&str]) -> TextColumn {
        let mut heap = Vec::new();
        let ends = keys.iter().map(|key| {
            let value = self.rows.get(*key).and_then(|row| row.get(column));
            heap.extend_from_slice(value.map_or("", String::as_str).as_bytes());
            heap.len() as u32
        });
        let ends = ends.collect();
        let unknown = (0u32..).zip(keys).filter(|(_, key)| !self.rows.contains_key(**key));
        TextColumn { ends, missing: unknown.map(|(entry, _)| entry).collect(), heap }
    }
}
