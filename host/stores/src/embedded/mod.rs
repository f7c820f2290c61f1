//! The state in SQLite: alerts, positions, logs, event lists, dead letters, ledger, rule sets. One transaction a commit.
//!
//! Write-ahead log with `synchronous=NORMAL`: after kill -9 the last commit is there; after power loss an earlier one may
//! be, and the journal holds everything since, because it is released only behind a [`SyncedPosition`]. The fold writes
//! through [`EmbeddedStore`]; everyone else reads through [`EmbeddedReader`], on connections that cannot write.

mod audit;
mod check;
mod checkpoint;
mod checksum;
mod commit;
pub(crate) mod copy;
#[cfg(test)]
mod damage_tests;
mod dead_letters;
mod event_list;
pub(crate) mod fence;
mod logs;
mod outbox;
#[cfg(test)]
mod outbox_tests;
mod position;
mod read;
mod retention;
mod rule_sets;
mod rule_versions;
#[cfg(test)]
mod tests;
mod unsummed;

pub use audit::{AuditCheck, AuditRow};
pub use checkpoint::{Checkpointer, SyncedPosition};
pub use dead_letters::DeadLetterRow;
pub use fence::FenceReport;
pub use logs::AlertLog;
pub use outbox::{EmbeddedOutbox, REFUSED_SOURCE};
pub use read::{AlertCount, AlertEvent, AlertFilter, AlertRow, EmbeddedReader, LedgerRow, Position, RuleSetRow, StoredAlert};
pub use retention::Pages;

use crate::durable::{self, StoreError};
use crate::event_segments::{self, EventPlace, EventReader, EventSegments};
use crate::known_uids::{KnownUidsHandle, UidIndex, UidOptions};
use alertmill_core::event::{Status, Uid};
use alertmill_core::pipeline::fold::REMEMBER_END_S;
use alertmill_core::ports::{KnownUids, PortError, Restored, RestoredAlert};
use alertmill_core::value::Text;
use checkpoint::{CheckpointThread, Reached};
use dead_letters::DeadLetterBounds;
use outbox::{Services, StoreErrorOrSqlite};
use position::{OpenAlerts, PositionRow};
use retention::Sweep;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior, params};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const SCHEMA: &str = include_str!("schema.sql");
const SCHEMA_VERSION: u32 = 4;
const PAGE_BYTES: u64 = 4096;

/// How an embedded store is opened.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// Bytes of an event file.
    pub event_segment_bytes: u32,
    /// Dead letters kept for one source; older ones go.
    pub dead_letters_per_source_max: u64,
    /// Bytes of the items of dead letters kept for one source; older ones go, but the newest stays whatever its size.
    pub dead_letter_bytes_per_source_max: u64,
    /// Whether alerts are noted for services; off when none is configured.
    pub outbox: bool,
    /// The same for snapshots of open alerts.
    pub snapshots: bool,
    /// Bytes of new pages in SQLite's write-ahead log that make the thread move them into the database; the log itself
    /// stays under four times that.
    pub wal_bytes: u64,
    /// Bytes of SQLite's page cache of the writing connection.
    pub cache_bytes: u64,
    /// A database up to so many bytes is checked as a whole when it is opened, structure and every row; of a larger one what
    /// the fold goes on from.
    pub check_bytes_max: u64,
    /// The index of known uids.
    pub uids: UidOptions,
}

impl Default for EmbeddedOptions {
    fn default() -> EmbeddedOptions {
        EmbeddedOptions {
            event_segment_bytes: event_segments::SEGMENT_BYTES,
            dead_letters_per_source_max: 10_000,
            dead_letter_bytes_per_source_max: 64 << 20,
            outbox: true,
            snapshots: false,
            wal_bytes: 16 << 20,
            cache_bytes: 64 << 20,
            check_bytes_max: 256 << 20,
            uids: UidOptions::default(),
        }
    }
}

/// What was found when a store was opened, beside the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmbeddedReport {
    /// The event files end before the state says: events since then cannot be shown, their alerts are right.
    pub event_rows_missing: bool,
    /// Uids read again from event files.
    pub uids_read_again: u64,
    /// Uids in files.
    pub uids_in_files: u64,
    /// Event files with damage; uids behind it are forgotten.
    pub damaged_event_files: usize,
    /// Uid files were damaged or gone, and the event files to build them from as well: retries of events count again.
    pub uids_forgotten: bool,
}

/// A commit whose event rows are on their way: its positions, and where rows ended before it.
#[derive(Clone, Copy, Debug)]
struct Begun {
    from: u64,
    to: u64,
    before: EventPlace,
}

/// The writer of the state. One per process.
pub struct EmbeddedStore {
    path: PathBuf,
    events: EventSegments,
    begun: Option<Begun>,
    uids: KnownUidsHandle,
    checkpointer: Checkpointer,
    position: u64,
    /// Time of the record at the position, seconds.
    received_at_s: i64,
    /// Time of the last commit that had events, seconds; of a state that was opened, no earlier than that.
    events_received_at_s: i64,
    /// Where the committed event rows end.
    committed_events: EventPlace,
    open: OpenAlerts,
    dead_letters_max: DeadLetterBounds,
    services: Services,
    sweep: Sweep,
    /// The state is over its bound because of alerts that wait for services.
    held_back: bool,
    reader: EmbeddedReader,
    report: EmbeddedReport,
    _thread: CheckpointThread,
    /// Closed behind the others: only the last one moves the log into the database, and only this one may.
    connection: Connection,
}

impl EmbeddedStore {
    /// Opens the state in `dir` (`state.sqlite`, `events/`, `uids/`) with the default options, or makes it.
    pub fn open(dir: &Path) -> Result<(EmbeddedStore, Restored), StoreError> {
        EmbeddedStore::open_with(dir, EmbeddedOptions::default())
    }

    /// Opens with options. Fails when the database is damaged or of a newer version; the error names file and remedy.
    pub fn open_with(dir: &Path, options: EmbeddedOptions) -> Result<(EmbeddedStore, Restored), StoreError> {
        durable::make_dir(dir)?;
        let path = dir.join("state.sqlite");
        if fence::has_damaged_head(&path) {
            return Err(check::damaged(&path, &["its head is not that of a state".to_owned()]));
        }
        // Its log may have lost what was moved into the database already: then the two are not of one time.
        let without_log = fence::position_without_log(&path);
        let mut connection = open_database(&path, options.cache_bytes)?;
        if let Some(finding) = log_behind_database(without_log, &connection) {
            return Err(check::damaged(&path, &[finding]));
        }
        whole_check(&connection, &path, options.check_bytes_max)?;
        let (restored, end, open) = restore(&connection).map_err(sqlite_error("read", &path))?;
        // Only now: what is moved from a damaged log would spoil a database that is whole without it.
        settle(&connection, &path)?;
        // What was suspected is not there.
        durable::remove_files(dir, &[suspect_path(&path)])?;
        let (events, whole) = EventSegments::open(&dir.join("events"), end, options.event_segment_bytes)?;
        let event_reader = EventReader::new(&dir.join("events"));
        let now_s = restored.received_at_ms.div_euclid(1_000);
        let (uids, uid_report) = UidIndex::open(&dir.join("uids"), options.uids, &event_reader, end, now_s)?;
        let services = Services { documents: options.outbox, snapshots: options.snapshots };
        begin_shipping(&mut connection, services, &event_reader, &path)?;
        let pages = (options.wal_bytes / PAGE_BYTES).max(1);
        let (checkpointer, thread) = Checkpointer::start(&path, Reached { position: restored.position, events: end, received_at_s: now_s }, pages)?;
        let report = EmbeddedReport {
            event_rows_missing: !whole,
            uids_read_again: uid_report.read_again,
            uids_in_files: uid_report.in_files,
            damaged_event_files: uid_report.damaged_event_files,
            uids_forgotten: uid_report.forgotten,
        };
        let store = EmbeddedStore {
            reader: EmbeddedReader::new(&path, event_reader),
            path,
            events,
            begun: None,
            uids: KnownUidsHandle::new(uids),
            checkpointer,
            position: restored.position,
            received_at_s: now_s,
            events_received_at_s: now_s,
            committed_events: end,
            open,
            dead_letters_max: DeadLetterBounds { count: options.dead_letters_per_source_max, bytes: options.dead_letter_bytes_per_source_max },
            services,
            sweep: Sweep::default(),
            held_back: false,
            report,
            _thread: thread,
            connection,
        };
        Ok((store, restored))
    }

    /// What was found when it was opened.
    pub fn report(&self) -> &EmbeddedReport {
        &self.report
    }

    /// The last committed position.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// A reader for the API; make more by cloning it.
    pub fn reader(&self) -> EmbeddedReader {
        self.reader.clone()
    }

    /// The same index of uids that this store answers from, as a value of its own.
    pub fn known_uids(&self) -> KnownUidsHandle {
        self.uids.clone()
    }

    /// Tells how far the state is synced, and syncs on demand; may be used from any thread.
    pub fn checkpointer(&self) -> Checkpointer {
        self.checkpointer.clone()
    }

    /// Syncs the state; gives the position that survives power loss from then on.
    pub fn checkpoint(&self) -> Result<SyncedPosition, StoreError> {
        self.checkpointer.checkpoint()
    }
}

impl EmbeddedStore {
    /// Notes that the database is damaged, for the next start, which then looks at all of it whatever its size.
    fn suspect(&self, why: &str) {
        note_suspicion(&self.path, why);
    }

    /// The event file that a commit whose rows end at `end` leaves behind, and when the last of its rows was received.
    fn ended_event_file(&self, end: EventPlace) -> Option<(u32, i64)> {
        let before = self.committed_events.segment;
        (before > 0 && end.segment > before).then_some((before, self.events_received_at_s))
    }
}

/// A log that is suspected, or that could not be synced, stays as it is: the next start looks at both before it moves anything.
impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        if (self.checkpointer.failure().is_some() || suspect_path(&self.path).exists())
            && let Err(error) = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        {
            tracing::warn!("{}: {error}; its log is moved into it although it is suspected", self.path.display());
        }
    }
}

fn begin_shipping(connection: &mut Connection, services: Services, events: &EventReader, path: &Path) -> Result<(), StoreError> {
    let transaction = connection.transaction().map_err(sqlite_error("begin shipping from", path))?;
    outbox::begin(&transaction, services, events).map_err(|error| match error {
        StoreErrorOrSqlite::Store(error) => error,
        StoreErrorOrSqlite::Sqlite(error) => sqlite_error("begin shipping from", path)(error),
    })?;
    transaction.commit().map_err(sqlite_error("begin shipping from", path))
}

fn suspect_path(state: &Path) -> PathBuf {
    state.with_extension("suspect")
}

fn note_suspicion(state: &Path, why: &str) {
    let path = suspect_path(state);
    // One note is enough, and the disk may be the very problem.
    if !path.exists()
        && let Err(error) = durable::write_atomically(&path, why.as_bytes())
    {
        tracing::warn!("{error}; the next start does not know that the state is suspected");
    }
}

/// What is wrong where the database alone says a later position than it does with its log.
fn log_behind_database(without_log: Option<u64>, connection: &Connection) -> Option<String> {
    let (moved, row) = (without_log?, position::salvage(connection)?);
    (moved > row.ordinal).then(|| format!("its log ends at position {}, and the database has rows of {moved}", row.ordinal))
}

/// Checks all of a database that is small enough or suspected.
fn whole_check(connection: &Connection, path: &Path, bytes_max: u64) -> Result<(), StoreError> {
    let log = path.with_extension("sqlite-wal").metadata().map_or(0, |found| found.len());
    let bytes = path.metadata().map_err(StoreError::io("look at", path))?.len() + log;
    if bytes > bytes_max && !suspect_path(path).exists() {
        return Ok(());
    }
    let findings = check::check(connection);
    if findings.is_empty() { Ok(()) } else { Err(check::damaged(path, &findings)) }
}

impl KnownUids for EmbeddedStore {
    fn known_until_s(&mut self, uids: &[Uid]) -> Result<Vec<Option<i64>>, PortError> {
        self.uids.known_until_s(uids)
    }
}

pub(crate) fn sqlite_error(what: &'static str, path: &Path) -> impl FnOnce(rusqlite::Error) -> StoreError {
    let path = path.to_path_buf();
    move |error| {
        if checksum::is_damage(&error) {
            StoreError::Damaged { path, what: error.to_string(), remedy: DAMAGED_REMEDY }
        } else {
            StoreError::Sqlite { what, path, error }
        }
    }
}

/// As [`sqlite_error`], for whoever works on a state that is open: damage is noted for the next start, which looks at all of it.
fn noted_error(what: &'static str, path: &Path) -> impl FnOnce(rusqlite::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| {
        let error = sqlite_error(what, &path)(source);
        if let StoreError::Damaged { .. } = &error {
            note_suspicion(&path, &error.to_string());
        }
        error
    }
}

const DAMAGED_REMEDY: &str = "restart: the start sets it aside under quarantine/, keeps what is whole, and says what is lost";

pub(crate) const STATUSES: [Status; 3] = [Status::Abnormal, Status::Recovered, Status::Closed];

pub(crate) fn status_number(status: Status) -> u8 {
    match status {
        Status::Abnormal => 0,
        Status::Recovered => 1,
        Status::Closed => 2,
    }
}

/// As the head of the file says; a damaged one says anything.
fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get::<_, i32>(0)).map(|version| version as u32)
}

/// Opens a database without moving its log into it when it is closed, as SQLite does: until both are known to be whole, each
/// stays as it is. Nobody but the writer of the state ever changes that.
fn open_as_it_is(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// Opens it, or makes it. What a state has already is not changed, neither the database nor its log.
fn open_database(path: &Path, cache_bytes: u64) -> Result<Connection, StoreError> {
    let mut connection = open_as_it_is(path).map_err(sqlite_error("open", path))?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, private).map_err(StoreError::io("protect", path))?;
    let prepare = |connection: &mut Connection| -> rusqlite::Result<u32> {
        connection.busy_timeout(std::time::Duration::from_secs(2))?;
        connection.pragma_update(None, "page_size", PAGE_BYTES)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.pragma_update(None, "cache_size", -((cache_bytes / 1024) as i64))?;
        connection.pragma_update(None, "foreign_keys", false)?;
        connection.set_prepared_statement_cache_capacity(32);
        // Others write too: a transaction that begins with a read could find that it may not go on.
        connection.set_transaction_behavior(TransactionBehavior::Immediate);
        let version = version(connection)?;
        if version == 0 {
            let tables: u64 = connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
            if tables > 0 {
                return Err(checksum::damaged("the version, which is 0 although there are tables,".to_owned()));
            }
            let transaction = connection.transaction()?;
            transaction.execute_batch(SCHEMA)?;
            position::write(&transaction, &PositionRow::default())?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            transaction.commit()?;
        }
        self::version(connection)
    };
    let found = prepare(&mut connection).map_err(sqlite_error("prepare", path))?;
    if found != SCHEMA_VERSION {
        return Err(other_version(&connection, path, found));
    }
    Ok(connection)
}

/// Everything that the last process left in the log goes into the database and is synced there: its own sync of the log may
/// have failed without a second error. A write makes sure that the log's file exists.
fn settle(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let move_all = || -> rusqlite::Result<bool> {
        connection.execute("UPDATE position SET one = 1", [])?;
        let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        Ok(busy)
    };
    let busy = move_all().map_err(sqlite_error("settle the log of", path))?;
    // Somebody reads it in one long transaction; what is behind that transaction is in the log only.
    if busy { Err(StoreError::Locked { path: path.to_path_buf() }) } else { Ok(()) }
}

/// A version of another program is in the head of the file; a damaged head, where the tables are those of this one.
fn other_version(connection: &Connection, path: &Path, found: u32) -> StoreError {
    if position::read_both(connection).is_ok() {
        return check::damaged(path, &[format!("its head says version {found}, its tables are of version {SCHEMA_VERSION}")]);
    }
    let path = path.to_path_buf();
    if found > SCHEMA_VERSION { StoreError::Newer { path, found, known: SCHEMA_VERSION } } else { StoreError::Older { path, found, known: SCHEMA_VERSION } }
}

fn restore(connection: &Connection) -> rusqlite::Result<(Restored, EventPlace, OpenAlerts)> {
    let mut restored = Restored::default();
    let row = position::read_both(connection)?;
    (restored.position, restored.received_at_ms, restored.started_at_ms) = (row.ordinal, row.received_at_ms, row.started_at_ms);
    let end = row.end;
    let since_s = restored.received_at_ms.div_euclid(1_000) - REMEMBER_END_S;
    // The small index finds the few that count among all that ever were.
    let mut wanted = connection.prepare(&format!(
        "SELECT {}, document FROM alerts WHERE seq IN
         (SELECT seq FROM alerts INDEXED BY alerts_by_status WHERE status = ?1 OR end_time >= ?2) ORDER BY seq",
        checksum::ALERT_COLUMNS
    ))?;
    let mut open = OpenAlerts::default();
    let alert = |row: &rusqlite::Row<'_>| {
        checksum::check_alert(row)?;
        open.add_row(row)?;
        Ok(RestoredAlert { seq: row.get(0)?, document: row.get(16)?, state: row.get(14)?, revision: row.get(12)? })
    };
    restored.alerts = wanted.query_map(params![status_number(Status::Abnormal), since_s], alert)?.collect::<Result<_, _>>()?;
    let (counted, expected) = (open.counted(), (row.open_alerts, row.open_sum));
    checksum::checked((), counted == expected, || format!("{} open alerts, where {} are to be, or not those that were written,", counted.0, expected.0))?;
    let text = |row: &rusqlite::Row<'_>, i| Ok::<Text, rusqlite::Error>(Text::new(row.get_ref(i)?.as_str()?));
    let mut ledger = connection.prepare("SELECT scope, name, counter, value, sum FROM ledger")?;
    let line = |row: &rusqlite::Row<'_>| {
        check::check_ledger(row)?;
        Ok((text(row, 0)?, text(row, 1)?, text(row, 2)?, row.get(3)?))
    };
    restored.ledger = ledger.query_map([], line)?.collect::<Result<_, _>>()?;
    let mut newest = connection.prepare("SELECT generation, ordinal, received_at_ms, content, sum FROM rule_sets ORDER BY generation DESC LIMIT 1")?;
    let mut rows = newest.query([])?;
    if let Some(row) = rows.next()? {
        check::check_rule_set(row)?;
        let content: String = row.get(3)?;
        (restored.rule_set, restored.open_verdicts) = rule_sets::from_text(row.get(0)?, &content)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(3, rusqlite::types::Type::Text, Box::new(error)))?;
    }
    Ok((restored, end, open))
}
