//! A copy of the state at one commit, made while commits go on.

use super::{check, fence, log_behind_database, open_as_it_is, outbox, position, sqlite_error};
use crate::durable::StoreError;
use crate::event_segments::EventPlace;
use rusqlite::Connection;
use std::fs::File;
use std::path::Path;

/// What was copied.
pub(crate) struct StateCopy {
    pub position: u64,
    pub received_at_ms: i64,
    pub events_end: EventPlace,
    pub alerts: u64,
    pub open_alerts: u64,
    /// What is wrong with it.
    pub findings: Vec<String>,
}

/// Writes the state at `from` into a new file, synced, and looks at every row of it.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<StateCopy, StoreError> {
    // Opening would make a database where there is none.
    from.metadata().map_err(StoreError::io("look at", from))?;
    let without_log = fence::position_without_log(from);
    // The source of a folder at rest may be damaged: it stays as it is.
    let source = open_as_it_is(from).map_err(sqlite_error("open", from))?;
    let copy = || -> rusqlite::Result<()> {
        source.busy_timeout(std::time::Duration::from_secs(5))?;
        source.execute("VACUUM INTO ?1", [to.to_string_lossy()]).map(drop)
    };
    copy().map_err(sqlite_error("copy", from))?;
    let copied = Connection::open(to).map_err(sqlite_error("open", to))?;
    outbox::wait_again(&copied).map_err(sqlite_error("let alerts wait for services in the copy of", from))?;
    File::open(to).and_then(|file| file.sync_all()).map_err(StoreError::io("sync", to))?;
    let mut findings = check::check(&copied);
    findings.extend(log_behind_database(without_log, &copied));
    let row = match position::read_both(&copied) {
        Ok(row) => row,
        Err(error) => return Err(sqlite_error("read the copy of", from)(error)),
    };
    let count = |sql: &str| copied.query_row(sql, [], |row| row.get::<_, u64>(0)).map_err(sqlite_error("count alerts in the copy of", from));
    let (alerts, open_alerts) = (count("SELECT count(*) FROM alerts NOT INDEXED")?, count("SELECT count(*) FROM alerts NOT INDEXED WHERE status = 0")?);
    Ok(StateCopy { position: row.ordinal, received_at_ms: row.received_at_ms, events_end: row.end, alerts, open_alerts, findings })
}
