//! Versions of rules that can be activated: those that were uploaded, or found in the rules folder, and not removed since.

use super::checksum::{self, checked};
use super::read::{EmbeddedReader, storable};
use crate::durable::StoreError;
use alertmill_core::ports::VersionWrite;
use alertmill_core::version_change::{VersionAction, VersionChange};
use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Row, params};

const COLUMNS: &str = "ordinal, received_at_ms, name, digest, content, sum";

/// Writes what came and went in a commit, in its order.
pub(super) fn write(connection: &Connection, writes: &[VersionWrite]) -> rusqlite::Result<()> {
    for VersionWrite { ordinal, received_at_ms, change } in writes {
        let (name, digest) = (change.name.as_str(), change.digest.as_str());
        // One that comes again is the newest.
        connection.prepare_cached("DELETE FROM rule_versions WHERE name = ?1 AND digest = ?2")?.execute([name, digest])?;
        if change.action == VersionAction::Uploaded {
            let content = serde_json::to_string(change).unwrap_or_default();
            let sum = checksum::of_rule_version(*ordinal, *received_at_ms, name, digest, &content);
            let mut insert = connection.prepare_cached(&format!("INSERT INTO rule_versions ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"))?;
            insert.execute(params![ordinal, received_at_ms, name, digest, content, sum])?;
        }
    }
    Ok(())
}

impl EmbeddedReader {
    /// Versions of a rule, or of all, newest first; `before` is the last ordinal of the page before.
    pub fn rule_versions(&self, name: Option<&str>, before: Option<u64>, limit: usize) -> Result<Vec<VersionWrite>, StoreError> {
        self.read("list rule versions", |connection| {
            let of_name = if name.is_some() { "name = ?1" } else { "?1 IS NULL" };
            let mut list =
                connection.prepare_cached(&format!("SELECT {COLUMNS} FROM rule_versions WHERE {of_name} AND ordinal < ?2 ORDER BY ordinal DESC LIMIT ?3"))?;
            list.query_map(params![name, storable(before.unwrap_or(u64::MAX)), limit], version)?.collect()
        })
    }

    /// One version of a rule, by its digest.
    pub fn rule_version(&self, name: &str, digest: &str) -> Result<Option<VersionWrite>, StoreError> {
        self.read("read a rule version", |connection| {
            let mut one = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM rule_versions WHERE name = ?1 AND digest = ?2"))?;
            one.query_row([name, digest], version).optional()
        })
    }
}

fn version(row: &Row<'_>) -> rusqlite::Result<VersionWrite> {
    check_row(row)?;
    let content = row.get_ref(4)?.as_str()?;
    let change: VersionChange = serde_json::from_str(content).map_err(|error| Error::FromSqlConversionFailure(4, Type::Text, Box::new(error)))?;
    Ok(VersionWrite { ordinal: row.get(0)?, received_at_ms: row.get(1)?, change })
}

/// Looks at a row of [`COLUMNS`].
pub(super) fn check_row(row: &Row<'_>) -> rusqlite::Result<()> {
    let text = |i: usize| row.get_ref(i)?.as_str().map_err(Error::from);
    let sum = checksum::of_rule_version(row.get(0)?, row.get(1)?, text(2)?, text(3)?, text(4)?);
    let ordinal: u64 = row.get(0)?;
    checked((), sum == row.get::<_, i64>(5)?, || format!("the rule version of record {ordinal}"))
}
