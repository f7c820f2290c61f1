//! Whether a database is what was written: its structure by SQLite's own check, every row by its checksum, and what has none by
//! what has one.

use super::audit;
use super::checksum::{self, ALERT_COLUMNS, LetterParts};
use super::outbox;
use super::position::{self, OpenAlerts};
use super::rule_versions;
use super::unsummed;
use crate::durable::StoreError;
use rusqlite::{Connection, Row};
use std::path::Path;

/// What is wrong; empty when nothing is. Each entry names table and row, or what SQLite says of a page. At most
/// [`FINDINGS_MAX`] of each table, and how many more there are.
pub(super) fn check(connection: &Connection) -> Vec<String> {
    let mut findings = structure(connection);
    let (mut open, mut wrong_alerts) = (OpenAlerts::default(), 0);
    for table in &TABLES {
        let mut wrong = 0;
        scan(connection, table, |found| {
            let looked = found.and_then(|row| {
                (table.check)(row)?;
                if table.name == ALERTS { open.add_row(row) } else { Ok(()) }
            });
            if let Err(why) = looked {
                wrong += 1;
                if wrong <= FINDINGS_MAX {
                    findings.push(format!("{}: {why}", table.name));
                }
            }
        });
        if wrong > FINDINGS_MAX {
            findings.push(format!("{}: {} more rows have a wrong checksum", table.name, wrong - FINDINGS_MAX));
        }
        if table.name == ALERTS {
            wrong_alerts = wrong;
        }
    }
    match position::read_both(connection) {
        Err(error) => findings.push(error.to_string()),
        // Rows that are whole, and older than the position.
        Ok(row) if wrong_alerts == 0 => findings.extend(open.differs_from(&row)),
        Ok(_) => {}
    }
    findings.extend(unsummed::check(connection));
    findings
}

/// Findings of one table that are named; a table that is nothing but damage has no more to tell.
pub(super) const FINDINGS_MAX: usize = 100;

/// The file as SQLite sees it: pages, order of keys, and whether indexes and tables say the same.
fn structure(connection: &Connection) -> Vec<String> {
    let lines = |connection: &Connection| -> rusqlite::Result<Vec<String>> {
        let mut check = connection.prepare(&format!("PRAGMA integrity_check({FINDINGS_MAX})"))?;
        check.query_map([], |row| row.get(0))?.collect()
    };
    match lines(connection) {
        Ok(lines) => lines.into_iter().filter(|line| line != "ok").map(|line| line.replace('\n', "; ")).collect(),
        Err(error) => vec![format!("the check of its structure ended early: {error}")],
    }
}

/// A table whose rows have checksums.
pub(super) struct Table {
    /// Its name.
    pub name: &'static str,
    /// The columns that are read, the key too.
    pub columns: &'static str,
    /// The order of the table itself, backwards but for the last column.
    pub backwards: &'static str,
    /// Whether a row is what was written.
    pub check: fn(&Row<'_>) -> rusqlite::Result<()>,
    /// Whether a state that is made from another one's rows has them. What waits for services is not taken: in a state that
    /// knows nothing of them everything waits.
    pub is_taken: bool,
}

pub(super) const ALERTS: &str = "alerts";

pub(super) const TABLES: [Table; 9] = [
    Table { name: ALERTS, columns: "", backwards: "seq", check: checksum::check_alert, is_taken: true },
    Table {
        name: "logs",
        columns: "seq, position, number, create_time, op_type, document, sum",
        backwards: "seq DESC, position DESC, number",
        check: check_log,
        is_taken: true,
    },
    Table { name: "alert_events", columns: "seq, position, refs, sum", backwards: "seq DESC, position", check: check_event_list, is_taken: true },
    Table {
        name: "dead_letters",
        columns: "ordinal, item_index, received_at_ms, tenant, source, code, detail, length(item), item, sum, id, arrival",
        backwards: "id",
        check: check_letter,
        is_taken: true,
    },
    Table { name: "ledger", columns: "scope, name, counter, value, sum", backwards: "scope DESC, name DESC, counter", check: check_ledger, is_taken: true },
    Table { name: "rule_sets", columns: "generation, ordinal, received_at_ms, content, sum", backwards: "generation", check: check_rule_set, is_taken: true },
    Table {
        name: "rule_versions",
        columns: "ordinal, received_at_ms, name, digest, content, sum",
        backwards: "ordinal",
        check: rule_versions::check_row,
        is_taken: true,
    },
    Table { name: "audit", columns: "ordinal, at_ms, object, content, before, hash, sum", backwards: "ordinal", check: audit::check_row, is_taken: true },
    Table { name: "shipping", columns: "name, a, b, sum", backwards: "name", check: check_shipping, is_taken: false },
];

impl Table {
    /// The columns that are read.
    pub fn columns(&self) -> String {
        if self.columns.is_empty() { format!("{ALERT_COLUMNS}, document") } else { self.columns.to_owned() }
    }
}

/// Gives every row of a table to `take`, and the error that ended the walk early, if one did.
fn scan(connection: &Connection, table: &Table, mut take: impl FnMut(rusqlite::Result<&Row<'_>>)) {
    let walk = |take: &mut dyn FnMut(rusqlite::Result<&Row<'_>>)| -> rusqlite::Result<()> {
        // In the order of the table itself, so that no index has a say.
        let mut rows = connection.prepare(&format!("SELECT {} FROM {} NOT INDEXED", table.columns(), table.name))?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            take(Ok(row));
        }
        Ok(())
    };
    if let Err(error) = walk(&mut take) {
        take(Err(error));
    }
}

fn text<'a>(row: &'a Row<'_>, i: usize) -> rusqlite::Result<&'a str> {
    Ok(row.get_ref(i)?.as_str()?)
}

fn blob<'a>(row: &'a Row<'_>, i: usize) -> rusqlite::Result<&'a [u8]> {
    Ok(row.get_ref(i)?.as_blob()?)
}

pub(super) fn check_log(row: &Row<'_>) -> rusqlite::Result<()> {
    let (seq, position, number): (i64, u64, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let sum = checksum::of_log(seq, position, number, row.get(3)?, text(row, 4)?, blob(row, 5)?);
    checksum::checked((), sum == row.get::<_, i64>(6)?, || format!("log {number} of alert {seq} at {position}"))
}

fn check_event_list(row: &Row<'_>) -> rusqlite::Result<()> {
    let (seq, position): (i64, u64) = (row.get(0)?, row.get(1)?);
    let sum = checksum::of_event_list(seq, position, blob(row, 2)?);
    checksum::checked((), sum == row.get::<_, i64>(3)?, || format!("the event list of alert {seq} at {position}"))
}

fn check_letter(row: &Row<'_>) -> rusqlite::Result<()> {
    let parts = LetterParts {
        ordinal: row.get(0)?,
        index: row.get(1)?,
        received_at_ms: row.get(2)?,
        tenant: text(row, 3)?,
        source: text(row, 4)?,
        code: text(row, 5)?,
        detail: text(row, 6)?,
        item_bytes: row.get(7)?,
        arrival: text(row, 11)?,
    };
    let sum: i64 = row.get(9)?;
    let is_whole = parts.shown().is_shown(sum) && parts.item(blob(row, 8)?).is_content(sum);
    checksum::checked((), is_whole, || format!("the dead letter of record {} item {}", parts.ordinal, parts.index))
}

pub(super) fn check_ledger(row: &Row<'_>) -> rusqlite::Result<()> {
    let (scope, name, counter) = (text(row, 0)?, text(row, 1)?, text(row, 2)?);
    let sum = checksum::of_ledger(scope, name, counter, row.get(3)?);
    checksum::checked((), sum == row.get::<_, i64>(4)?, || format!("counter {counter} of {scope} {name}"))
}

pub(super) fn check_rule_set(row: &Row<'_>) -> rusqlite::Result<()> {
    let generation: u64 = row.get(0)?;
    let sum = checksum::of_rule_set(generation, row.get(1)?, row.get(2)?, text(row, 3)?);
    checksum::checked((), sum == row.get::<_, i64>(4)?, || format!("rule-set generation {generation}"))
}

fn check_shipping(row: &Row<'_>) -> rusqlite::Result<()> {
    let name = text(row, 0)?;
    let sum = outbox::row_sum(name, row.get(1)?, row.get(2)?);
    checksum::checked((), sum == row.get::<_, i64>(3)?, || format!("shipping {name}"))
}

/// The error for a database with findings.
pub(super) fn damaged(path: &Path, findings: &[String]) -> StoreError {
    let more = findings.len().saturating_sub(5);
    let mut what = findings[..findings.len() - more].join("; ");
    if more > 0 {
        what.push_str(&format!("; and {more} more"));
    }
    StoreError::Damaged { path: path.to_path_buf(), what, remedy: super::DAMAGED_REMEDY }
}
