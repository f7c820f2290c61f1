//! The row that says how far the state is, written twice; and the open alerts as that row counts them.

use super::checksum::{Sum, damaged, of_alert};
use crate::event_segments::EventPlace;
use alertmill_core::event::Status;
use alertmill_core::ports::AlertWrite;
use rusqlite::{Connection, Row, params};
use std::collections::HashMap;

/// The row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PositionRow {
    pub ordinal: u64,
    pub received_at_ms: i64,
    pub started_at_ms: i64,
    pub end: EventPlace,
    pub next_due_ms: Option<i64>,
    pub open_alerts: u64,
    pub open_sum: i64,
}

const TABLES: [&str; 2] = ["position", "position_copy"];
const COLUMNS: &str = "ordinal, received_at_ms, started_at_ms, event_segment, event_offset, next_due_ms, open_alerts, open_sum, sum";

impl PositionRow {
    fn sum(&self) -> i64 {
        // The version too: what another version wrote is not taken for damage of this one's.
        let times = Sum::default().uint(super::SCHEMA_VERSION.into()).uint(self.ordinal).int(self.received_at_ms).int(self.started_at_ms);
        let end = times.uint(self.end.segment.into()).uint(self.end.offset.into()).option(self.next_due_ms);
        end.uint(self.open_alerts).int(self.open_sum).stored()
    }
}

/// Writes both.
pub(super) fn write(connection: &Connection, row: &PositionRow) -> rusqlite::Result<()> {
    for table in TABLES {
        let mut write =
            connection.prepare_cached(&format!("INSERT OR REPLACE INTO {table} (one, {COLUMNS}) VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"))?;
        write.execute(params![
            row.ordinal,
            row.received_at_ms,
            row.started_at_ms,
            row.end.segment,
            row.end.offset,
            row.next_due_ms,
            row.open_alerts,
            row.open_sum,
            row.sum()
        ])?;
    }
    Ok(())
}

/// Reads the first; damage of it is an error.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<PositionRow> {
    read_from(connection, TABLES[0])
}

/// Reads both, which must be the same.
pub(super) fn read_both(connection: &Connection) -> rusqlite::Result<PositionRow> {
    let (row, copy) = (read_from(connection, TABLES[0])?, read_from(connection, TABLES[1])?);
    if row == copy { Ok(row) } else { Err(damaged(format!("position {} differs from its copy {}", row.ordinal, copy.ordinal))) }
}

/// Whichever can be read; the later one of two.
pub(super) fn salvage(connection: &Connection) -> Option<PositionRow> {
    TABLES.iter().filter_map(|table| read_from(connection, table).ok()).max_by_key(|row| row.ordinal)
}

fn read_from(connection: &Connection, table: &str) -> rusqlite::Result<PositionRow> {
    let row = |row: &Row<'_>| {
        let found = PositionRow {
            ordinal: row.get(0)?,
            received_at_ms: row.get(1)?,
            started_at_ms: row.get(2)?,
            end: EventPlace { segment: row.get(3)?, offset: row.get(4)? },
            next_due_ms: row.get(5)?,
            open_alerts: row.get(6)?,
            open_sum: row.get(7)?,
        };
        if row.get::<_, i64>(8)? == found.sum() { Ok(found) } else { Err(damaged(table.to_string())) }
    };
    let mut one = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM {table}"))?;
    match one.query_row([], row) {
        Err(rusqlite::Error::QueryReturnedNoRows) => Err(damaged(format!("{table}, which is not there,"))),
        other => other,
    }
}

/// The open alerts and the checksums of their rows, as the last commit left them.
#[derive(Debug, Default)]
pub(super) struct OpenAlerts {
    sums: HashMap<u64, i64>,
    total: i64,
}

impl OpenAlerts {
    /// An open alert that is there.
    pub fn add(&mut self, seq: u64, sum: i64) {
        self.total = self.total.wrapping_add(sum).wrapping_sub(self.sums.insert(seq, sum).unwrap_or(0));
    }

    /// A row of `alerts` as it is read, if it is open.
    pub fn add_row(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        if row.get::<_, u8>(3)? == super::status_number(Status::Abnormal) {
            self.add(row.get(0)?, row.get(15)?);
        }
        Ok(())
    }

    /// What is wrong where these are not the open alerts that were written.
    pub fn differs_from(&self, row: &PositionRow) -> Option<String> {
        let (count, total) = self.counted();
        let written = row.open_alerts;
        ((count, total) != (written, row.open_sum)).then(|| format!("alerts: rows are gone or older than the position: {count} open, {written} were written"))
    }

    /// How many there are, and their sums added up.
    pub fn counted(&self) -> (u64, i64) {
        (self.sums.len() as u64, self.total)
    }

    /// As [`counted`](Self::counted) once these are written.
    pub fn after(&self, alerts: &[AlertWrite]) -> (u64, i64) {
        let (mut count, mut total) = self.counted();
        for alert in alerts {
            if let Some(before) = self.sums.get(&alert.seq) {
                (count, total) = (count - 1, total.wrapping_sub(*before));
            }
            if alert.status == Status::Abnormal {
                (count, total) = (count + 1, total.wrapping_add(of_alert(alert)));
            }
        }
        (count, total)
    }

    /// These are written.
    pub fn apply(&mut self, alerts: &[AlertWrite]) {
        for alert in alerts {
            if let Some(before) = self.sums.remove(&alert.seq) {
                self.total = self.total.wrapping_sub(before);
            }
            if alert.status == Status::Abnormal {
                self.add(alert.seq, of_alert(alert));
            }
        }
    }
}
