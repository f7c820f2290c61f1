//! What the API reads: lists, single alerts, their events, ledger; logs and dead letters have files of their own. On
//! connections that cannot write; every statement has bound parameters only.

use super::checksum::{self, ALERT_COLUMNS, checked};
use super::event_list;
use super::rule_sets;
use super::{STATUSES, noted_error, sqlite_error, status_number};
use crate::durable::StoreError;
use crate::event_segments::{EventRead, EventReader};
use alertmill_core::event::{Fingerprint, Status};
use alertmill_core::ports::EventRole;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Reads the state; clones share a few connections. Each call blocks its thread shortly. What it reads of the database in one
/// transaction is one commit's state. Event documents are read after that, from their files: one that retention removed in
/// between reads as gone. A page of logs is read commit by commit, newest first; commits since its beginning do not show in it.
#[derive(Clone)]
pub struct EmbeddedReader {
    path: PathBuf,
    events: EventReader,
    idle: Arc<Mutex<Vec<Connection>>>,
}

const IDLE_CONNECTIONS_MAX: usize = 8;

/// Which alerts a list holds. Empty lists and `None` leave nothing out.
#[derive(Clone, Debug, Default)]
pub struct AlertFilter {
    /// Only this tenant's.
    pub tenant: Option<String>,
    /// Only in one of these statuses.
    pub status: Vec<Status>,
    /// Only of one of these severities, 1 to 3.
    pub severity: Vec<u8>,
    /// Seconds; only alerts that had not ended before.
    pub from_s: Option<i64>,
    /// Seconds; only alerts that had begun by then.
    pub to_s: Option<i64>,
}

/// An alert in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRow {
    /// `seq_id`, and the cursor of the list.
    pub seq: u64,
    /// `id` of the document.
    pub id: String,
    /// Tenant.
    pub tenant: String,
    /// Status.
    pub status: Status,
    /// 1 to 3.
    pub severity: u8,
    /// Name.
    pub alert_name: String,
    /// What it is about.
    pub fingerprint: Fingerprint,
    /// Seconds.
    pub create_time: i64,
    /// Seconds.
    pub begin_time: i64,
    /// Seconds.
    pub latest_time: i64,
    /// Seconds; only ended alerts have one.
    pub end_time: Option<i64>,
    /// Who acknowledged it, if somebody did.
    pub ack_operator: Option<String>,
    /// Distinct events.
    pub event_count: u64,
    /// Version of the document.
    pub revision: u64,
    /// Generation of its last folded event.
    pub rule_generation: u64,
    /// The document, JSON, if it was asked for.
    pub document: Option<Vec<u8>>,
}

/// One alert's documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAlert {
    /// Version of the document.
    pub revision: u64,
    /// JSON.
    pub document: Vec<u8>,
    /// What the fold keeps beside it.
    pub state: Vec<u8>,
}

/// One event of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertEvent {
    /// Cursor: the commit it came with, and its place in that commit's list.
    pub cursor: (u64, u32),
    /// What it did to the alert.
    pub role: EventRole,
    /// Its row, or that retention removed it, or that it is damaged.
    pub row: EventRead,
}

/// Alerts of one tenant, status and severity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertCount {
    /// Tenant.
    pub tenant: String,
    /// Status.
    pub status: Status,
    /// 1 to 3.
    pub severity: u8,
    /// How many.
    pub count: u64,
}

/// One counter of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// `source` or `rule`.
    pub scope: String,
    /// Name of the source or rule.
    pub name: String,
    /// Which counter.
    pub counter: String,
    /// Its value.
    pub value: u64,
}

/// A rule-set generation of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSetRow {
    /// Its number.
    pub generation: u64,
    /// Last ordinal of the commit that it came with.
    pub ordinal: u64,
    /// Milliseconds.
    pub received_at_ms: i64,
    /// `{rules:[{name, version, digest, config, options}], tables:[[name, digest]]}`.
    pub content: String,
}

/// How far the state is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Last committed ordinal.
    pub ordinal: u64,
    /// Its time, milliseconds.
    pub received_at_ms: i64,
    /// When the next time-out is due, milliseconds.
    pub next_due_ms: Option<i64>,
}

/// Only the document knows it; a page of the largest size reads a thousand of them.
const ACK_OPERATOR: &str = "CASE WHEN json_extract(CAST(document AS TEXT), '$.is_ack') THEN json_extract(CAST(document AS TEXT), '$.ack_operator') END";

impl EmbeddedReader {
    pub(super) fn new(path: &Path, events: EventReader) -> EmbeddedReader {
        EmbeddedReader { path: path.to_path_buf(), events, idle: Arc::default() }
    }

    /// Runs a read on a connection of its own, inside one transaction: all it reads is one commit's state.
    pub(super) fn read<T>(&self, what: &'static str, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect().map_err(sqlite_error("open for reading", &self.path))?,
        };
        let transaction = connection.unchecked_transaction().map_err(sqlite_error(what, &self.path))?;
        let answer = read(&transaction).map_err(noted_error(what, &self.path));
        drop(transaction);
        if let Err(error @ StoreError::Damaged { .. }) = &answer {
            tracing::error!("{error}");
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(connection);
        }
        answer
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.pragma_update(None, "query_only", true)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(connection)
    }

    pub(super) fn event_reader(&self) -> &EventReader {
        &self.events
    }

    /// Alerts, newest first by `seq`; `cursor` is the last `seq` of the page before.
    pub fn list_alerts(&self, filter: &AlertFilter, limit: usize, cursor: Option<u64>, documents: bool) -> Result<Vec<AlertRow>, StoreError> {
        self.read("list alerts", |connection| {
            let tenants = match &filter.tenant {
                Some(tenant) => vec![tenant.clone()],
                None => tenants(connection)?,
            };
            // Each (tenant, status, severity) is a run of the index in the order of the list; the page is merged from
            // their first rows, so its cost does not grow with the number of alerts. Bounds of time are looked at row by
            // row: the cost of a page grows with the newer alerts that they leave out, though never beyond the index.
            let mut run = connection.prepare_cached(
                "SELECT seq FROM alerts INDEXED BY alerts_by_status WHERE tenant = ?1 AND status = ?2 AND severity = ?3 AND seq < ?4
                 AND begin_time <= ?5 AND (end_time IS NULL OR end_time >= ?6) ORDER BY seq DESC LIMIT ?7",
            )?;
            let below = storable(cursor.unwrap_or(u64::MAX));
            let (from, to) = (filter.from_s.unwrap_or(i64::MIN), filter.to_s.unwrap_or(i64::MAX));
            let mut newest: Vec<u64> = Vec::new();
            for tenant in &tenants {
                for status in STATUSES.into_iter().filter(|status| filter.status.is_empty() || filter.status.contains(status)) {
                    for severity in (1..=3u8).filter(|severity| filter.severity.is_empty() || filter.severity.contains(severity)) {
                        let found = run.query_map(params![tenant, status_number(status), severity, below, to, from, limit], |row| row.get(0))?;
                        for seq in found {
                            newest.push(seq?);
                        }
                    }
                }
            }
            newest.sort_unstable_by(|a, b| b.cmp(a));
            newest.truncate(limit);
            // The document is read anyway, for the operator in it, so its checksum is looked at.
            let mut one = connection.prepare_cached(&format!("SELECT {ALERT_COLUMNS}, document, {ACK_OPERATOR} FROM alerts WHERE seq = ?1"))?;
            newest.iter().map(|seq| one.query_row([seq], |row| alert_row(row, documents))).collect()
        })
    }

    /// One alert with its document.
    pub fn alert(&self, seq: u64) -> Result<Option<StoredAlert>, StoreError> {
        let Ok(seq) = i64::try_from(seq) else { return Ok(None) };
        self.read("read an alert", |connection| {
            let mut one = connection.prepare_cached(&format!("SELECT {ALERT_COLUMNS}, document FROM alerts WHERE seq = ?1"))?;
            let alert = |row: &Row<'_>| {
                checksum::check_alert(row)?;
                Ok(StoredAlert { revision: row.get(12)?, document: row.get(16)?, state: row.get(14)? })
            };
            one.query_row([seq], alert).optional()
        })
    }

    /// Events of an alert, newest first; `cursor` is the last one's of the page before.
    pub fn alert_events(&self, seq: u64, cursor: Option<(u64, u32)>, limit: usize) -> Result<Vec<AlertEvent>, StoreError> {
        let Ok(seq) = i64::try_from(seq) else { return Ok(Vec::new()) };
        let places = self.read("read an alert's events", |connection| {
            let mut lists =
                connection.prepare_cached("SELECT position, refs, sum FROM alert_events WHERE seq = ?1 AND position <= ?2 ORDER BY position DESC")?;
            let mut rows = lists.query(params![seq, storable(cursor.map_or(u64::MAX, |cursor| cursor.0))])?;
            let mut places = Vec::new();
            while let Some(row) = rows.next()? {
                let position: u64 = row.get(0)?;
                let refs = row.get_ref(1)?.as_blob()?;
                let is_whole = checksum::of_event_list(seq, position, refs) == row.get::<_, i64>(2)?;
                checked((), is_whole, || format!("the event list of alert {seq} at {position}"))?;
                let count = refs.len() / event_list::ENTRY_BYTES;
                let newest_first = event_list::entries(refs).rev().zip((0..count as u32).rev());
                for ((place, role), index) in newest_first {
                    if cursor.is_none_or(|cursor| (position, index) < cursor) {
                        places.push(((position, index), place, role));
                    }
                    if places.len() == limit {
                        return Ok(places);
                    }
                }
            }
            Ok(places)
        })?;
        let event = |(cursor, place, role)| Ok(AlertEvent { cursor, role, row: self.events.read(place)? });
        places.into_iter().take(limit).map(event).collect()
    }

    /// Alerts by tenant, status and severity; of one tenant or all.
    pub fn alert_counts(&self, tenant: Option<&str>) -> Result<Vec<AlertCount>, StoreError> {
        self.read("count alerts", |connection| {
            let tenants = match tenant {
                Some(tenant) => vec![tenant.to_string()],
                None => tenants(connection)?,
            };
            let mut count = connection
                .prepare_cached("SELECT status, severity, count(*) FROM alerts INDEXED BY alerts_by_status WHERE tenant = ?1 GROUP BY status, severity")?;
            let mut counts = Vec::new();
            for tenant in tenants {
                let found = count.query_map([&tenant], |row| {
                    Ok(AlertCount { tenant: tenant.clone(), status: status_of(row, 0)?, severity: row.get(1)?, count: row.get(2)? })
                })?;
                for line in found {
                    counts.push(line?);
                }
            }
            Ok(counts)
        })
    }

    /// All counters of the ledger.
    pub fn ledger(&self) -> Result<Vec<LedgerRow>, StoreError> {
        self.read("read the ledger", |connection| {
            let mut all = connection.prepare_cached("SELECT scope, name, counter, value, sum FROM ledger")?;
            let line = |row: &Row<'_>| {
                let line = LedgerRow { scope: row.get(0)?, name: row.get(1)?, counter: row.get(2)?, value: row.get(3)? };
                let is_whole = checksum::of_ledger(&line.scope, &line.name, &line.counter, line.value) == row.get::<_, i64>(4)?;
                let words = format!("counter {} of {} {}", line.counter, line.scope, line.name);
                checked(line, is_whole, || words)
            };
            all.query_map([], line)?.collect()
        })
    }

    /// Rule-set generations, newest first.
    pub fn rule_sets(&self, limit: usize) -> Result<Vec<RuleSetRow>, StoreError> {
        self.read("read rule sets", |connection| {
            let mut all =
                connection.prepare_cached("SELECT generation, ordinal, received_at_ms, content, sum FROM rule_sets ORDER BY generation DESC LIMIT ?1")?;
            let line = |row: &Row<'_>| {
                let text = row.get_ref(3)?.as_str()?;
                let set =
                    RuleSetRow { generation: row.get(0)?, ordinal: row.get(1)?, received_at_ms: row.get(2)?, content: rule_sets::set_of(text).to_owned() };
                let is_whole = checksum::of_rule_set(set.generation, set.ordinal, set.received_at_ms, text) == row.get::<_, i64>(4)?;
                let words = format!("rule-set generation {}", set.generation);
                checked(set, is_whole, || words)
            };
            all.query_map([limit], line)?.collect()
        })
    }

    /// How far the state is.
    pub fn position(&self) -> Result<Position, StoreError> {
        self.read("read the position", |connection| {
            let row = super::position::read(connection)?;
            Ok(Position { ordinal: row.ordinal, received_at_ms: row.received_at_ms, next_due_ms: row.next_due_ms })
        })
    }
}

/// A bound that comes from outside, as SQLite can hold it: nothing is beyond its largest number.
pub(super) fn storable(bound: u64) -> i64 {
    i64::try_from(bound).unwrap_or(i64::MAX)
}

/// The tenants that have alerts, by jumps through the index.
fn tenants(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut next = connection.prepare_cached("SELECT tenant FROM alerts INDEXED BY alerts_by_status WHERE tenant > ?1 ORDER BY tenant LIMIT 1")?;
    let mut tenants: Vec<String> = connection
        .query_row("SELECT tenant FROM alerts INDEXED BY alerts_by_status ORDER BY tenant LIMIT 1", [], |row| row.get(0))
        .optional()?
        .into_iter()
        .collect();
    while let Some(last) = tenants.last() {
        match next.query_row([last], |row| row.get(0)).optional()? {
            Some(tenant) => tenants.push(tenant),
            None => break,
        }
    }
    Ok(tenants)
}

fn status_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Status> {
    let number: u8 = row.get(column)?;
    STATUSES.into_iter().find(|status| status_number(*status) == number).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, number.into()))
}

fn alert_row(row: &Row<'_>, documents: bool) -> rusqlite::Result<AlertRow> {
    checksum::check_alert(row)?;
    Ok(AlertRow {
        seq: row.get(0)?,
        id: row.get(1)?,
        tenant: row.get(2)?,
        status: status_of(row, 3)?,
        severity: row.get(4)?,
        alert_name: row.get(5)?,
        fingerprint: Fingerprint(row.get(6)?),
        create_time: row.get(7)?,
        begin_time: row.get(8)?,
        latest_time: row.get(9)?,
        end_time: row.get(10)?,
        event_count: row.get(11)?,
        revision: row.get(12)?,
        rule_generation: row.get(13)?,
        ack_operator: row.get(17)?,
        document: if documents { row.get(16)? } else { None },
    })
}
