//! Checksums of rows. SQLite has none of its own: a bit that the disk turned inside a row would be read as if it had been
//! written. Each row that answers anything carries the CRC of all its columns, key included, and whoever reads it looks.
//!
//! A row of `alerts` or `dead_letters` carries two in one number: that of what lists show in the low half, that of the
//! document or item in the high half, so that a list need not read documents.

use alertmill_core::ports::AlertWrite;
use rusqlite::{Error, ErrorCode, Row, ffi};

/// The CRC of columns, one after the other; texts and blobs with their lengths, so that nothing can move between two.
#[derive(Clone, Copy, Default)]
pub(super) struct Sum(u32);

impl Sum {
    pub fn int(self, value: i64) -> Sum {
        Sum(crc32c::crc32c_append(self.0, &value.to_le_bytes()))
    }

    /// Counters and ordinals; one that SQLite cannot hold is refused there.
    pub fn uint(self, value: u64) -> Sum {
        self.int(value as i64)
    }

    pub fn option(self, value: Option<i64>) -> Sum {
        match value {
            Some(value) => self.int(1).int(value),
            None => self.int(0),
        }
    }

    pub fn bytes(self, bytes: &[u8]) -> Sum {
        Sum(crc32c::crc32c_append(self.int(bytes.len() as i64).0, bytes))
    }

    /// As a row holds it.
    pub fn stored(self) -> i64 {
        i64::from(self.0)
    }

    /// This one for what lists show, `content` for the rest, as a row holds both.
    pub fn with(self, content: Sum) -> i64 {
        (u64::from(content.0) << 32 | u64::from(self.0)) as i64
    }

    /// Whether this is what a row holds for what lists show.
    pub fn is_shown(self, stored: i64) -> bool {
        stored as u32 == self.0
    }

    /// Whether this is what a row holds for its document or item.
    pub fn is_content(self, stored: i64) -> bool {
        (stored as u64 >> 32) as u32 == self.0
    }
}

/// Both checksums of an alert's row.
pub(super) fn of_alert(alert: &AlertWrite) -> i64 {
    let shown = Sum::default()
        .uint(alert.seq)
        .bytes(alert.id.as_bytes())
        .bytes(alert.tenant.as_bytes())
        .uint(super::status_number(alert.status).into())
        .uint(alert.severity.into())
        .bytes(alert.alert_name.as_bytes())
        .bytes(&alert.fingerprint.0)
        .int(alert.create_time)
        .int(alert.begin_time)
        .int(alert.latest_time)
        .option(alert.end_time)
        .uint(alert.event_count)
        .uint(alert.revision)
        .uint(alert.rule_generation)
        .bytes(&alert.state);
    shown.with(document_sum(alert.seq, alert.revision, &alert.document))
}

fn document_sum(seq: u64, revision: u64, document: &[u8]) -> Sum {
    Sum::default().uint(seq).uint(revision).bytes(document)
}

/// Columns of an alert in the order of [`check_alert`]; the document comes behind them where it is wanted.
pub(super) const ALERT_COLUMNS: &str = "seq, id, tenant, status, severity, alert_name, fingerprint, create_time, begin_time, latest_time, \
                                        end_time, event_count, revision, rule_generation, state, sum";

/// Looks at a row that begins with [`ALERT_COLUMNS`] and goes on with the document, or with NULL where it was not read.
pub(super) fn check_alert(row: &Row<'_>) -> rusqlite::Result<()> {
    let seq: i64 = row.get(0)?;
    let mut shown = Sum::default().int(seq);
    let bytes = |i: usize| row.get_ref(i)?.as_bytes().map_err(rusqlite::Error::from);
    shown = shown.bytes(bytes(1)?).bytes(bytes(2)?).int(row.get(3)?).int(row.get(4)?).bytes(bytes(5)?).bytes(bytes(6)?);
    shown = shown.int(row.get(7)?).int(row.get(8)?).int(row.get(9)?).option(row.get(10)?);
    shown = shown.int(row.get(11)?).int(row.get(12)?).int(row.get(13)?).bytes(bytes(14)?);
    let stored: i64 = row.get(15)?;
    let is_whole = shown.is_shown(stored)
        && match row.get_ref(16)? {
            rusqlite::types::ValueRef::Null => true,
            document => {
                let document = document.as_bytes().map_err(rusqlite::Error::from)?;
                document_sum(seq as u64, row.get(12)?, document).is_content(stored)
            }
        };
    if is_whole { Ok(()) } else { Err(damaged(format!("alert {seq}"))) }
}

/// What a dead letter's row says beside its item.
pub(super) struct LetterParts<'a> {
    pub ordinal: u64,
    pub index: u32,
    pub received_at_ms: i64,
    pub tenant: &'a str,
    pub source: &'a str,
    pub code: &'a str,
    pub detail: &'a str,
    pub item_bytes: u64,
    pub arrival: &'a str,
}

impl LetterParts<'_> {
    pub fn shown(&self) -> Sum {
        let numbers = Sum::default().uint(self.ordinal).uint(self.index.into()).int(self.received_at_ms).uint(self.item_bytes);
        let texts = numbers.bytes(self.tenant.as_bytes()).bytes(self.source.as_bytes()).bytes(self.code.as_bytes()).bytes(self.detail.as_bytes());
        texts.bytes(self.arrival.as_bytes())
    }

    pub fn item(&self, item: &[u8]) -> Sum {
        Sum::default().uint(self.ordinal).uint(self.index.into()).bytes(item)
    }
}

pub(super) fn of_log(seq: i64, position: u64, number: u64, create_time: i64, op_type: &str, document: &[u8]) -> i64 {
    Sum::default().int(seq).uint(position).uint(number).int(create_time).bytes(op_type.as_bytes()).bytes(document).stored()
}

pub(super) fn of_event_list(seq: i64, position: u64, refs: &[u8]) -> i64 {
    Sum::default().int(seq).uint(position).bytes(refs).stored()
}

pub(super) fn of_ledger(scope: &str, name: &str, counter: &str, value: u64) -> i64 {
    Sum::default().bytes(scope.as_bytes()).bytes(name.as_bytes()).bytes(counter.as_bytes()).uint(value).stored()
}

pub(super) fn of_rule_set(generation: u64, ordinal: u64, received_at_ms: i64, content: &str) -> i64 {
    Sum::default().uint(generation).uint(ordinal).int(received_at_ms).bytes(content.as_bytes()).stored()
}

pub(super) fn of_rule_version(ordinal: u64, received_at_ms: i64, name: &str, digest: &str, content: &str) -> i64 {
    Sum::default().uint(ordinal).int(received_at_ms).bytes(name.as_bytes()).bytes(digest.as_bytes()).bytes(content.as_bytes()).stored()
}

pub(super) fn of_audit(ordinal: u64, at_ms: i64, object: &str, content: &str, before: &[u8], hash: &[u8]) -> i64 {
    Sum::default().uint(ordinal).int(at_ms).bytes(object.as_bytes()).bytes(content.as_bytes()).bytes(before).bytes(hash).stored()
}

/// Gives the value, or the error that names the row.
pub(super) fn checked<T>(value: T, is_whole: bool, row: impl FnOnce() -> String) -> rusqlite::Result<T> {
    if is_whole { Ok(value) } else { Err(damaged(row())) }
}

/// A row whose checksum is wrong, as an error of SQLite's own kind, so that everyone treats it as damage.
pub(super) fn damaged(row: String) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some(format!("the row of {row} has a wrong checksum")))
}

/// Whether a database answers like this only when it is damaged. A turned bit changes the type or the length of a value, or the
/// name of a table, before any checksum is looked at; a page on a sector that cannot be read is lost as well.
pub(super) fn is_damage(error: &Error) -> bool {
    if let Error::FromSqlConversionFailure(..) | Error::IntegralValueOutOfRange(..) | Error::InvalidColumnType(..) | Error::Utf8Error(..) = error {
        return true;
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => true,
        Some(ErrorCode::SystemIoFailure) => {
            let code = error.sqlite_error().map_or(0, |error| error.extended_code);
            [ffi::SQLITE_IOERR_READ, ffi::SQLITE_IOERR_SHORT_READ, ffi::SQLITE_IOERR_CORRUPTFS].contains(&code)
        }
        // All statements are constant: what they name is there, unless the schema is damaged.
        _ => error.to_string().starts_with("no such "),
    }
}
