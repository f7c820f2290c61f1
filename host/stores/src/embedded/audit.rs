//! Who changed the rules: entries in a chain of hashes. Checksums tell what a disk has spoiled; the chain tells what somebody
//! changed later who knew of checksums. It cannot tell a chain that was written anew from its beginning.

use super::checksum::{self, checked};
use super::read::{EmbeddedReader, storable};
use super::{EmbeddedStore, noted_error};
use crate::durable::StoreError;
use alertmill_core::audit::{AUDIT_BEGIN, AuditEntry, AuditHash};
use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Row, params};

const COLUMNS: &str = "ordinal, at_ms, object, content, before, hash, sum";

/// An entry, with the hash before it and its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// What was done.
    pub entry: AuditEntry,
    /// Hash of the entry before it.
    pub before: AuditHash,
    /// Its own.
    pub hash: AuditHash,
}

/// What a look at the whole chain found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditCheck {
    /// Entries that were looked at.
    pub entries: u64,
    /// Ordinal of the first one that is kept; what retention removed before it cannot be looked at.
    pub first: Option<u64>,
    /// Ordinal and hash of the last one: whoever has noted them elsewhere sees that nothing before was written anew.
    pub last: Option<(u64, AuditHash)>,
    /// The first entry that is not what was written, or not behind the one that was before it, and why.
    pub broken: Option<(u64, String)>,
}

/// Writes the entries of a commit behind those that are there.
pub(super) fn write(connection: &Connection, entries: &[AuditEntry]) -> rusqlite::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut last = connection.prepare_cached("SELECT hash FROM audit ORDER BY ordinal DESC LIMIT 1")?;
    let mut before: AuditHash = last.query_row([], |row| row.get(0)).optional()?.unwrap_or(AUDIT_BEGIN);
    let mut insert = connection.prepare_cached(&format!("INSERT INTO audit ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"))?;
    for entry in entries {
        let (content, hash) = (serde_json::to_string(entry).unwrap_or_default(), entry.hash(&before));
        let sum = checksum::of_audit(entry.ordinal, entry.at_ms, &entry.object, &content, &before, &hash);
        insert.execute(params![entry.ordinal, entry.at_ms, entry.object.as_str(), content, before, hash, sum])?;
        before = hash;
    }
    Ok(())
}

impl EmbeddedReader {
    /// Entries, of one rule or table or all, newest first; `before` is the last ordinal of the page before.
    pub fn audit(&self, object: Option<&str>, before: Option<u64>, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        self.read("list who changed the rules", |connection| {
            let of_object = if object.is_some() { "object = ?1" } else { "?1 IS NULL" };
            let mut list =
                connection.prepare_cached(&format!("SELECT {COLUMNS} FROM audit WHERE {of_object} AND ordinal < ?2 ORDER BY ordinal DESC LIMIT ?3"))?;
            list.query_map(params![object, storable(before.unwrap_or(u64::MAX)), limit], checked_entry)?.collect()
        })
    }

    /// Looks at every entry of the chain.
    pub fn check_audit(&self) -> Result<AuditCheck, StoreError> {
        self.read("check who changed the rules", |connection| {
            let mut all = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM audit ORDER BY ordinal"))?;
            let mut rows = all.query([])?;
            let mut check = AuditCheck::default();
            while let Some(row) = rows.next()? {
                let ordinal: u64 = row.get(0)?;
                check.entries += 1;
                check.first.get_or_insert(ordinal);
                let why = match entry(row) {
                    Err(error) => Some(error.to_string()),
                    Ok(found) if check.last.is_some_and(|(_, hash)| hash != found.before) => Some("the entry before it is another one, or gone".to_owned()),
                    Ok(found) if found.entry.hash(&found.before) != found.hash || found.entry.ordinal != ordinal => Some("it was changed".to_owned()),
                    Ok(found) => {
                        check.last = Some((ordinal, found.hash));
                        None
                    }
                };
                if let Some(why) = why {
                    check.broken = Some((ordinal, why));
                    break;
                }
            }
            Ok(check)
        })
    }
}

impl EmbeddedStore {
    /// Forgets entries from before a time (milliseconds); the newest one stays, for the next to go on from. Gives the number
    /// removed.
    pub fn retire_audit(&mut self, before_ms: i64) -> Result<usize, StoreError> {
        let remove = || {
            let old = "DELETE FROM audit WHERE at_ms < ?1 AND ordinal < (SELECT max(ordinal) FROM audit)";
            self.connection.prepare_cached(old)?.execute([before_ms])
        };
        remove().map_err(noted_error("forget who changed the rules", &self.path))
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    let content = row.get_ref(3)?.as_str()?;
    let entry: AuditEntry = serde_json::from_str(content).map_err(|error| Error::FromSqlConversionFailure(3, Type::Text, Box::new(error)))?;
    Ok(AuditRow { entry, before: row.get(4)?, hash: row.get(5)? })
}

fn checked_entry(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    check_row(row)?;
    entry(row)
}

/// Looks at a row of [`COLUMNS`].
pub(super) fn check_row(row: &Row<'_>) -> rusqlite::Result<()> {
    let text = |i: usize| row.get_ref(i)?.as_str().map_err(Error::from);
    let blob = |i: usize| row.get_ref(i)?.as_blob().map_err(Error::from);
    let ordinal: u64 = row.get(0)?;
    let sum = checksum::of_audit(ordinal, row.get(1)?, text(2)?, text(3)?, blob(4)?, blob(5)?);
    checked((), sum == row.get::<_, i64>(6)?, || format!("the audit of record {ordinal}"))
}
