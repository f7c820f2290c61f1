//! Rules that change events or new alerts by what a table says.

use crate::When;
use crate::bindings::alertmill::rules::tables;
use crate::bindings::alertmill::rules::types::{Batch, Output, TextColumn};
use crate::columns::Missing;
use crate::enrich::{Results, refuse};
use crate::glue::lifecycle;
use crate::manifest::Hook;
use crate::patch::Change;
use crate::row::Row;
use std::borrow::Cow;
use std::cell::RefCell;

/// A rule that looks a key up in a table and changes the row by what it finds. All keys of a batch cross at once.
pub trait Lookup: Sized {
    /// What it reads, made by [`reads!`](crate::reads).
    type Row<'a>: Row<'a>;
    /// What it writes, made by [`writes!`](crate::writes).
    type Change: Change;
    /// Name of the table, as the operator configures it.
    const TABLE: &'static str;
    /// Rows that it is for; the host keeps all others to itself.
    const WHEN: &'static [When] = &[];
    /// JSON schema of the config; empty means that there is none.
    const CONFIG_SCHEMA: &'static str = "";

    /// Called once, with the JSON configured for the rule. `Err` is shown to the operator, and the version does not start.
    fn new(config: &str) -> Result<Self, String>;

    /// The table's columns that it wants, in the order in which [`Found`] numbers them. Called once.
    fn columns(&self) -> Vec<&str>;

    /// What to look up for this row; `None` looks nothing up.
    fn key<'a>(&'a self, row: &Self::Row<'a>) -> Option<Cow<'a, str>>;

    /// Called for each row with what was found, as [`Enrich::enrich`](crate::Enrich::enrich).
    fn enrich(&self, row: &Self::Row<'_>, found: Option<Found<'_>>, change: &mut Self::Change) -> Result<(), String>;
}

/// A row of a table.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    columns: &'a [TextColumn],
    entry: usize,
}

impl<'a> Found<'a> {
    /// The value of a column, by its place in [`Lookup::columns`]; empty if the table has none.
    #[inline]
    pub fn get(&self, column: usize) -> &'a str {
        let Some(column) = self.columns.get(column) else { return "" };
        let start = self.entry.checked_sub(1).map_or(0, |before| column.ends[before]);
        let bytes = &column.heap[start as usize..column.ends[self.entry] as usize];
        // SAFETY: as for the columns of a batch, the host lowers its own strings.
        unsafe { std::str::from_utf8_unchecked(bytes) }
    }
}

/// Where look-ups go: the host, or memory in tests.
pub trait Source: Sized {
    /// Opens a table for these columns.
    fn open(name: &str, columns: &[&str]) -> Result<Self, String>;
    /// One column for each of the opened ones, one entry for each key; a key that the table lacks is missing in each.
    fn get_columns(&self, keys: &[&str]) -> Vec<TextColumn>;
}

impl Source for tables::Table {
    fn open(name: &str, columns: &[&str]) -> Result<Self, String> {
        tables::Table::open(name, columns)
    }
    fn get_columns(&self, keys: &[&str]) -> Vec<TextColumn> {
        tables::Table::get_columns(self, keys)
    }
}

/// A [`Lookup`] rule behind its export.
pub struct LookupHook<R: Lookup, S = tables::Table> {
    rule: R,
    table: S,
    change: RefCell<R::Change>,
}

impl<R: Lookup, S: Source> LookupHook<R, S> {
    /// The rule with its config. A table that is missing shows here, when the version starts, and not at the first event.
    pub fn new(config: &str) -> Result<Self, String> {
        let rule = R::new(config)?;
        let table = S::open(R::TABLE, &rule.columns())?;
        Ok(LookupHook { rule, table, change: RefCell::default() })
    }

    /// Its part of the manifest.
    pub fn describe(hook: lifecycle::Hook) -> Hook {
        let mut hook = Hook::new(hook, R::Row::FIELDS, R::Change::FIELDS, R::WHEN, R::CONFIG_SCHEMA);
        hook.table = Some(R::TABLE);
        hook
    }

    /// Judges a batch: once through the rows for their keys, one crossing, once more for the answers.
    pub fn run(&self, batch: Batch) -> Output {
        match self.rows(&batch) {
            Ok(rows) => self.judge(&rows),
            Err(message) => refuse(batch.rows, &message),
        }
    }

    fn rows<'a>(&self, batch: &'a Batch) -> Result<Vec<R::Row<'a>>, String> {
        let mut columns = R::Row::open(&batch.columns)?;
        Ok((0..batch.rows).map(|row| R::Row::next(&mut columns, row)).collect())
    }

    fn judge<'a>(&'a self, rows: &[R::Row<'a>]) -> Output {
        let keys: Vec<Option<Cow<str>>> = rows.iter().map(|row| self.rule.key(row)).collect();
        let asked: Vec<&str> = keys.iter().flatten().map(Cow::as_ref).collect();
        let columns = if asked.is_empty() { Vec::new() } else { self.table.get_columns(&asked) };
        let mut unknown = Missing::new(columns.first().map_or(&[], |column| &column.missing));
        let mut entry = 0;
        let mut results = Results::new(rows.len() as u32, &self.change);
        for ((position, row), key) in rows.iter().enumerate().zip(&keys) {
            let mut found = None;
            if key.is_some() {
                found = (!unknown.contains(entry as u32)).then_some(Found { columns: &columns, entry });
                entry += 1;
            }
            results.add(position as u32, |change| self.rule.enrich(row, found, change));
        }
        results.finish()
    }
}
