//! What waits for services: a row for each alert and service, a cursor for events and one for logs, the version base, the
//! markers of the cache. Read and written on connections of its own: each transaction is short, and the fold's commits wait
//! for it no longer than for each other.
//!
//! A state in which a service is new to it, by configuration or because the state was rebuilt, lets everything that it holds
//! wait; a copy that was made for a backup lets its open alerts wait: what was shipped since the copy may differ in them only.

use super::checksum::{self, ALERT_COLUMNS, Sum, checked};
use super::dead_letters::{self, DeadLetterBounds};
use super::read::{EmbeddedReader, storable};
use super::{Checkpointer, EmbeddedStore, note_suspicion, open_as_it_is, position, sqlite_error, status_number};
use crate::durable::StoreError;
use crate::event_segments::{EventPlace, EventReader, NextRow};
use alertmill_core::event::Status;
use alertmill_core::pipeline::ship::log_id;
use alertmill_core::ports::{Commit, DeadLetter, PortError};
use alertmill_core::services::{
    AlertOutbox, AlertPage, Behind, DOCUMENT_REFUSED, Drift, Marker, Markers, QueuePlace, Refusal, Service, SettledAlerts, SnapshotOutbox, Stream,
    StreamDocument, StreamOutbox, StreamPage, StreamPlace, WaitingAlert,
};
use alertmill_core::value::Text;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use std::path::PathBuf;

/// Which services alerts are noted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Services {
    pub documents: bool,
    pub snapshots: bool,
}

/// Source of the dead letters that refused documents become; no source of events can have this name.
pub const REFUSED_SOURCE: &str = "@elasticsearch";

/// Names of the rows of `shipping`, each two numbers.
mod name {
    /// Added to revisions.
    pub const VERSION_BASE: &str = "version_base";
    /// Place packed into one number, and how many events lie before it.
    pub const EVENTS: &str = "events";
    /// Events in all.
    pub const EVENTS_TOTAL: &str = "events_total";
    /// Milliseconds: all events up to then are shipped.
    pub const EVENTS_EVEN: &str = "events_even_ms";
    /// Commit and number in it.
    pub const LOGS: &str = "logs";
    pub const MARKER_SETTLED: &str = "marker_settled";
    pub const MARKER_IN_FLIGHT: &str = "marker_in_flight";
    /// Whether documents and snapshots are on.
    pub const SERVICES: &str = "services";
    /// Alerts, events and logs that were refused; events and logs that went unshipped.
    pub const REFUSED: [&str; 3] = ["refused_alerts", "refused_events", "refused_logs"];
    pub const LOST_EVENTS: &str = "lost_events";
    pub const LOST_LOGS: &str = "lost_logs";
}

pub(super) fn row_sum(name: &str, a: i64, b: i64) -> i64 {
    Sum::default().bytes(name.as_bytes()).int(a).int(b).stored()
}

fn get(connection: &Connection, name: &str) -> rusqlite::Result<Option<(i64, i64)>> {
    let mut one = connection.prepare_cached("SELECT a, b, sum FROM shipping WHERE name = ?1")?;
    let found = one.query_row([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
    found.map(|(a, b, sum): (i64, i64, i64)| checked((a, b), sum == row_sum(name, a, b), || format!("shipping {name}"))).transpose()
}

fn get_or_zero(connection: &Connection, name: &str) -> rusqlite::Result<(i64, i64)> {
    Ok(get(connection, name)?.unwrap_or_default())
}

fn set(connection: &Connection, name: &str, a: i64, b: i64) -> rusqlite::Result<()> {
    let mut put = connection.prepare_cached("INSERT OR REPLACE INTO shipping (name, a, b, sum) VALUES (?1, ?2, ?3, ?4)")?;
    put.execute(params![name, a, b, row_sum(name, a, b)]).map(drop)
}

fn forget(connection: &Connection, name: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM shipping WHERE name = ?1")?.execute([name]).map(drop)
}

fn add(connection: &Connection, name: &str, n: usize) -> rusqlite::Result<()> {
    if n == 0 {
        return Ok(());
    }
    let (before, _) = get_or_zero(connection, name)?;
    set(connection, name, before + n as i64, 0)
}

fn pack(place: EventPlace) -> i64 {
    (u64::from(place.segment) << 32 | u64::from(place.offset)) as i64
}

fn unpack(packed: i64) -> EventPlace {
    EventPlace { segment: (packed as u64 >> 32) as u32, offset: packed as u32 }
}

/// What a commit changed waits, in its transaction.
pub(super) fn note(connection: &Connection, commit: &Commit, services: Services) -> rusqlite::Result<()> {
    let on = [(Service::Documents, services.documents), (Service::Snapshots, services.snapshots)];
    let mut wait = connection.prepare_cached(
        "INSERT INTO outbox (service, seq, revision, since, since_ms) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (service, seq) DO UPDATE SET revision = excluded.revision",
    )?;
    for (service, _) in on.iter().filter(|(_, on)| *on) {
        for alert in &commit.alerts {
            wait.execute(params![*service as u8, alert.seq, alert.revision, commit.to, commit.received_at_ms])?;
        }
    }
    if services.documents { add(connection, name::EVENTS_TOTAL, commit.events.len()) } else { Ok(()) }
}

/// Which services are on, in a state that is being opened: a new one gets everything, and one that is gone waits for nothing.
pub(super) fn begin(connection: &Connection, services: Services, events: &EventReader) -> Result<(), StoreErrorOrSqlite> {
    let before = get_or_zero(connection, name::SERVICES)?;
    let now = (i64::from(services.documents), i64::from(services.snapshots));
    if before == now {
        return Ok(());
    }
    let row = position::read(connection)?;
    for (service, is_on, was_on) in [(Service::Documents, now.0, before.0), (Service::Snapshots, now.1, before.1)] {
        if is_on == was_on {
            continue;
        }
        connection.execute("DELETE FROM outbox WHERE service = ?1", [service as u8])?;
        if is_on == 1 && service == Service::Documents {
            connection.execute(
                "INSERT INTO outbox (service, seq, revision, since, since_ms) SELECT ?1, seq, revision, ?2, ?3 FROM alerts",
                params![service as u8, row.ordinal, row.received_at_ms],
            )?;
            let mut total = 0;
            events.scan(EventPlace::default(), row.end, |_, _, _| total += 1)?;
            set(connection, name::EVENTS_TOTAL, total, 0)?;
            [name::EVENTS, name::LOGS, name::EVENTS_EVEN].iter().try_for_each(|name| forget(connection, name))?;
        }
        if service == Service::Snapshots {
            [name::MARKER_SETTLED, name::MARKER_IN_FLIGHT].iter().try_for_each(|name| forget(connection, name))?;
        }
    }
    Ok(set(connection, name::SERVICES, now.0, now.1)?)
}

/// An error of either kind; what it says is the same.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreErrorOrSqlite {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// In a copy of the state: what is written to services from now on, it does not know.
pub(super) fn wait_again(connection: &Connection) -> rusqlite::Result<()> {
    if get_or_zero(connection, name::SERVICES)?.0 == 1 {
        open_alerts_wait(connection, Service::Documents)?;
    }
    Ok(())
}

fn open_alerts_wait(connection: &Connection, service: Service) -> rusqlite::Result<()> {
    let row = position::read(connection)?;
    let mut wait = connection.prepare_cached(
        "INSERT OR IGNORE INTO outbox (service, seq, revision, since, since_ms)
         SELECT ?1, seq, revision, ?2, ?3 FROM alerts WHERE seq IN (SELECT seq FROM alerts INDEXED BY alerts_by_status WHERE status = ?4)",
    )?;
    wait.execute(params![service as u8, row.ordinal, row.received_at_ms, status_number(Status::Abnormal)]).map(drop)
}

/// Logs of an alert that retention removes, and no service has.
pub(super) fn count_lost_logs(connection: &Connection, seq: u64) -> rusqlite::Result<()> {
    if get_or_zero(connection, name::SERVICES)?.0 == 0 {
        return Ok(());
    }
    let (position, number) = get(connection, name::LOGS)?.unwrap_or((-1, 0));
    let mut behind = connection.prepare_cached("SELECT count(*) FROM logs WHERE seq = ?1 AND (position, number) >= (?2, ?3)")?;
    let n: usize = behind.query_row(params![seq, position, number], |row| row.get(0))?;
    add(connection, name::LOST_LOGS, n)
}

/// Where unshipped events begin, if they are to be shipped.
pub(super) fn events_begin(connection: &Connection) -> rusqlite::Result<Option<EventPlace>> {
    let is_on = get_or_zero(connection, name::SERVICES)?.0 == 1;
    Ok(is_on.then_some(unpack(get_or_zero(connection, name::EVENTS)?.0)))
}

/// Retention is about to remove what lies before `behind`, `n` events among it that no service has.
pub(super) fn lose_events(connection: &Connection, n: usize, behind: EventPlace) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    let (packed, done) = get_or_zero(&transaction, name::EVENTS)?;
    if unpack(packed) < behind {
        set(&transaction, name::EVENTS, pack(behind), done)?;
    }
    add(&transaction, name::LOST_EVENTS, n)?;
    transaction.commit()
}

impl EmbeddedReader {
    /// How far services are behind.
    pub fn drift(&self) -> Result<Drift, StoreError> {
        self.read("measure the drift", |connection| {
            let alerts = |service: Service| -> rusqlite::Result<Behind> {
                let mut count = connection.prepare_cached("SELECT count(*) FROM outbox WHERE service = ?1")?;
                let mut oldest = connection.prepare_cached("SELECT since_ms FROM outbox WHERE service = ?1 ORDER BY since, seq LIMIT 1")?;
                let waiting = count.query_row([service as u8], |row| row.get(0))?;
                Ok(Behind { waiting, since_ms: oldest.query_row([service as u8], |row| row.get(0)).optional()?, ..Behind::default() })
            };
            let counted = |name: &str| Ok::<u64, rusqlite::Error>(get_or_zero(connection, name)?.0 as u64);
            let mut drift = Drift { alerts: alerts(Service::Documents)?, snapshots: alerts(Service::Snapshots)?, ..Drift::default() };
            drift.alerts.refused = counted(name::REFUSED[0])?;
            (drift.events.refused, drift.events.lost) = (counted(name::REFUSED[1])?, counted(name::LOST_EVENTS)?);
            (drift.logs.refused, drift.logs.lost) = (counted(name::REFUSED[2])?, counted(name::LOST_LOGS)?);
            if get_or_zero(connection, name::SERVICES)?.0 == 0 {
                return Ok(drift);
            }
            let (row, (place, done)) = (position::read(connection)?, get_or_zero(connection, name::EVENTS)?);
            if unpack(place) < row.end {
                let total = counted(name::EVENTS_TOTAL)?;
                drift.events.waiting = total.saturating_sub(done as u64 + drift.events.lost).max(1);
                drift.events.since_ms = Some(get_or_zero(connection, name::EVENTS_EVEN)?.0);
            }
            let from = get(connection, name::LOGS)?.unwrap_or((-1, 0));
            let mut logs = connection.prepare_cached("SELECT count(*), min(create_time) FROM logs WHERE (position, number) >= (?1, ?2)")?;
            let oldest_s: Option<i64>;
            (drift.logs.waiting, oldest_s) = logs.query_row([from.0, from.1], |row| Ok((row.get(0)?, row.get(1)?)))?;
            drift.logs.since_ms = oldest_s.map(|second| second.saturating_mul(1_000));
            Ok(drift)
        })
    }
}

impl EmbeddedStore {
    /// The outbox, on a connection of its own; each loop of shipping takes one.
    pub fn outbox(&self) -> Result<EmbeddedOutbox, StoreError> {
        let open = || -> rusqlite::Result<Connection> {
            let mut connection = open_as_it_is(&self.path)?;
            connection.busy_timeout(std::time::Duration::from_secs(5))?;
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            connection.pragma_update(None, "wal_autocheckpoint", 0)?;
            connection.set_transaction_behavior(TransactionBehavior::Immediate);
            Ok(connection)
        };
        Ok(EmbeddedOutbox {
            connection: open().map_err(sqlite_error("open", &self.path))?,
            path: self.path.clone(),
            events: self.reader.event_reader().clone(),
            checkpointer: self.checkpointer(),
            dead_letters_max: self.dead_letters_max,
        })
    }
}

/// Hands out what waits, behind synced positions only. Each call blocks its thread for one read or one short transaction, and
/// for one sync of the state if what was read is newer than the last one.
pub struct EmbeddedOutbox {
    path: PathBuf,
    connection: Connection,
    events: EventReader,
    checkpointer: Checkpointer,
    dead_letters_max: DeadLetterBounds,
}

impl EmbeddedOutbox {
    /// Reads one moment of the state, then waits until it is synced. The moment comes first: an alert that changes all the time
    /// would have changed again by the time of a sync.
    fn read<T>(&mut self, read: impl FnOnce(&Connection, &EventReader) -> Result<(u64, T), StoreErrorOrSqlite>) -> Result<T, PortError> {
        let told = self.moment().map_err(StoreErrorOrSqlite::from);
        let (position, page) = told.and_then(|moment| read(&moment, &self.events)).map_err(|error| self.unavailable(&error))?;
        if self.checkpointer.synced_position().ordinal() < position {
            // All that was read was in the log before this began.
            self.sync()?;
        }
        Ok(page)
    }

    /// One moment of the state, for which no commit has to wait.
    fn moment(&self) -> rusqlite::Result<Transaction<'_>> {
        Transaction::new_unchecked(&self.connection, TransactionBehavior::Deferred)
    }

    fn sync(&self) -> Result<(), PortError> {
        // It is the same for commits: a restart syncs anew.
        self.checkpointer.checkpoint().map(drop).map_err(|error| PortError::Fatal(error.to_string()))
    }

    fn write(&mut self, write: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> Result<(), PortError> {
        let transact = |connection: &mut Connection| -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            write(&transaction)?;
            transaction.commit()
        };
        transact(&mut self.connection).map_err(|error| self.unavailable(&StoreErrorOrSqlite::Sqlite(error)))
    }

    fn unavailable(&self, error: &StoreErrorOrSqlite) -> PortError {
        if let StoreErrorOrSqlite::Sqlite(damage) = error
            && checksum::is_damage(damage)
        {
            note_suspicion(&self.path, &damage.to_string());
        }
        PortError::Unavailable(format!("{}: what waits for services: {error}", self.path.display()))
    }

    fn page(&mut self, service: Service, behind: QueuePlace, bytes_max: usize) -> Result<AlertPage, PortError> {
        self.read(|connection, _| {
            let position = position::read(connection)?.ordinal;
            let version_base = get_or_zero(connection, name::VERSION_BASE)?.0 as u64;
            let mut page = AlertPage { position, version_base, alerts: Vec::new() };
            let mut queue = connection
                .prepare_cached("SELECT seq, since FROM outbox INDEXED BY outbox_by_age WHERE service = ?1 AND (since, seq) > (?2, ?3) ORDER BY since, seq")?;
            let mut one = connection.prepare_cached(&format!("SELECT {ALERT_COLUMNS}, document FROM alerts WHERE seq = ?1"))?;
            let mut rows = queue.query(params![service as u8, storable(behind.since), storable(behind.seq)])?;
            let mut bytes = 0;
            while let Some(row) = rows.next()?.filter(|_| bytes < bytes_max) {
                let (seq, since): (u64, u64) = (row.get(0)?, row.get(1)?);
                let alert = one.query_row([seq], |row| {
                    checksum::check_alert(row)?;
                    let text = |i: usize| Ok::<Text, rusqlite::Error>(Text::new(row.get_ref(i)?.as_str()?));
                    Ok(WaitingAlert {
                        since,
                        seq,
                        id: text(1)?,
                        tenant: text(2)?,
                        create_time: row.get(7)?,
                        is_open: row.get::<_, u8>(3)? == status_number(Status::Abnormal),
                        revision: row.get(12)?,
                        document: row.get(16)?,
                    })
                })?;
                bytes += alert.document.len();
                page.alerts.push(alert);
            }
            Ok((position, page))
        })
    }
}

fn settle(connection: &Connection, service: Service, at: u64, done: &[(u64, u64)]) -> rusqlite::Result<()> {
    let now_ms = position::read(connection)?.received_at_ms;
    let mut free = connection.prepare_cached("DELETE FROM outbox WHERE service = ?1 AND seq = ?2 AND revision <= ?3")?;
    let mut put_back = connection.prepare_cached("UPDATE outbox SET since = ?3, since_ms = ?4 WHERE service = ?1 AND seq = ?2")?;
    for (seq, revision) in done {
        if free.execute(params![service as u8, seq, revision])? == 0 {
            put_back.execute(params![service as u8, seq, at, now_ms])?;
        }
    }
    Ok(())
}

fn refuse(connection: &Connection, refused: &[Refusal], counter: &str, bounds: DeadLetterBounds) -> rusqlite::Result<()> {
    if refused.is_empty() {
        return Ok(());
    }
    let row = position::read(connection)?;
    let letter = |refusal: &Refusal| DeadLetter {
        ordinal: row.ordinal,
        index: 0,
        received_at_ms: row.received_at_ms,
        tenant: refusal.tenant.clone(),
        source: Text::new_static(REFUSED_SOURCE),
        code: Text::new_static(DOCUMENT_REFUSED),
        detail: format!("{} {}: {}", refusal.family.name(), refusal.id, refusal.reason),
        item: refusal.document.clone(),
        arrival: None,
    };
    let letters: Vec<DeadLetter> = refused.iter().map(letter).collect();
    dead_letters::write(connection, &letters, bounds)?;
    add(connection, counter, refused.len())
}

impl AlertOutbox for EmbeddedOutbox {
    async fn waiting_alerts(&mut self, behind: QueuePlace, bytes_max: usize) -> Result<AlertPage, PortError> {
        self.page(Service::Documents, behind, bytes_max)
    }

    async fn settle_alerts(&mut self, settled: &SettledAlerts) -> Result<(), PortError> {
        let bounds = self.dead_letters_max;
        self.write(|connection| {
            settle(connection, Service::Documents, settled.position, &settled.done)?;
            refuse(connection, &settled.refused, name::REFUSED[0], bounds)
        })
    }

    async fn raise_version_base(&mut self, base: u64, open_wait: bool) -> Result<(), PortError> {
        self.write(|connection| {
            let before = get_or_zero(connection, name::VERSION_BASE)?.0;
            set(connection, name::VERSION_BASE, before.max(storable(base)), 0)?;
            if open_wait { open_alerts_wait(connection, Service::Documents) } else { Ok(()) }
        })?;
        self.sync()
    }
}

impl StreamOutbox for EmbeddedOutbox {
    async fn next_documents(&mut self, stream: Stream, bytes_max: usize) -> Result<StreamPage, PortError> {
        let mut begins = EventPlace::default();
        let page = self.read(|connection, events| {
            let row = position::read(connection)?;
            let page = match stream {
                Stream::Events => {
                    begins = unpack(get_or_zero(connection, name::EVENTS)?.0);
                    next_events(connection, events, row.end, bytes_max)?
                }
                Stream::Logs => next_logs(connection, bytes_max)?,
            };
            Ok((row.ordinal, StreamPage { position: row.ordinal, ..page }))
        })?;
        // Nothing but damage or files that are gone: no page would ever be settled that passes them by.
        if stream == Stream::Events && page.documents.is_empty() && unpack(page.end.0 as i64) > begins {
            self.write(|connection| settle_events(connection, page.end))?;
        }
        Ok(page)
    }

    async fn settle_documents(&mut self, stream: Stream, end: StreamPlace, refused: &[Refusal]) -> Result<(), PortError> {
        let bounds = self.dead_letters_max;
        let counter = match stream {
            Stream::Events => name::REFUSED[1],
            Stream::Logs => name::REFUSED[2],
        };
        self.write(|connection| {
            match stream {
                Stream::Events => settle_events(connection, end)?,
                Stream::Logs => set(connection, name::LOGS, end.0 as i64, end.1 as i64)?,
            }
            refuse(connection, refused, counter, bounds)
        })
    }
}

/// All events before `end` are shipped, or cannot be. Where it is the end of all, those that are missing were damaged or gone.
fn settle_events(connection: &Connection, end: StreamPlace) -> rusqlite::Result<()> {
    let row = position::read(connection)?;
    set(connection, name::EVENTS, end.0 as i64, end.1 as i64)?;
    if unpack(end.0 as i64) != row.end {
        return Ok(());
    }
    set(connection, name::EVENTS_EVEN, row.received_at_ms, 0)?;
    let all = get_or_zero(connection, name::EVENTS_TOTAL)?.0;
    let missing = all - end.1 as i64 - get_or_zero(connection, name::LOST_EVENTS)?.0;
    add(connection, name::LOST_EVENTS, usize::try_from(missing).unwrap_or(0))
}

/// The place of a stream of events is its cursor's row: the place in the files, and how many events lie before it.
fn next_events(connection: &Connection, events: &EventReader, end: EventPlace, bytes_max: usize) -> Result<StreamPage, StoreErrorOrSqlite> {
    let (packed, mut done) = get_or_zero(connection, name::EVENTS)?;
    let (mut at, mut page, mut bytes) = (unpack(packed), StreamPage::default(), 0);
    while bytes < bytes_max {
        match events.next_row(at, end)? {
            NextRow::Row(row, next) => {
                bytes += row.document.len();
                let (id, index_time_s) = (row.uid.to_hex(), row.index_time_s);
                page.documents.push(StreamDocument { id, tenant: Text::default(), index_time_s, document: row.document });
                (at, done) = (next, done + 1);
            }
            NextRow::Elsewhere(next) => at = next,
            NextRow::End => break,
        }
    }
    page.end = StreamPlace(pack(at) as u64, done as u64);
    Ok(page)
}

/// That of logs is the first row that is not shipped: commit, and number in it.
fn next_logs(connection: &Connection, bytes_max: usize) -> rusqlite::Result<StreamPage> {
    let from = get(connection, name::LOGS)?.unwrap_or((-1, 0));
    let mut page = StreamPage { end: StreamPlace(from.0 as u64, from.1 as u64), ..StreamPage::default() };
    let mut next = connection.prepare_cached(
        "SELECT logs.seq, position, number, logs.create_time, op_type, logs.document, logs.sum, tenant
         FROM logs INDEXED BY logs_by_commit LEFT JOIN alerts ON alerts.seq = logs.seq
         WHERE (position, number) >= (?1, ?2) ORDER BY position, number",
    )?;
    let mut rows = next.query([from.0, from.1])?;
    let mut bytes = 0;
    while let Some(row) = rows.next()?.filter(|_| bytes < bytes_max) {
        super::check::check_log(row)?;
        let document: Vec<u8> = row.get(5)?;
        bytes += document.len();
        let tenant = row.get_ref(7)?.as_str_or_null()?.map(Text::new).unwrap_or_default();
        page.end = StreamPlace(row.get(1)?, row.get::<_, u64>(2)? + 1);
        page.documents.push(StreamDocument { id: log_id(&document), tenant, index_time_s: row.get(3)?, document });
    }
    Ok(page)
}

fn marker(connection: &Connection, name: &str) -> rusqlite::Result<Option<Marker>> {
    Ok(get(connection, name)?.map(|(life, batch)| Marker { life: life as u64, batch: batch as u64 }))
}

fn set_marker(connection: &Connection, name: &str, marker: Marker) -> rusqlite::Result<()> {
    set(connection, name, marker.life as i64, marker.batch as i64)
}

impl SnapshotOutbox for EmbeddedOutbox {
    async fn markers(&mut self) -> Result<Markers, PortError> {
        let read = || -> rusqlite::Result<Markers> {
            let moment = self.moment()?;
            Ok(Markers { settled: marker(&moment, name::MARKER_SETTLED)?, in_flight: marker(&moment, name::MARKER_IN_FLIGHT)? })
        };
        read().map_err(|error| self.unavailable(&StoreErrorOrSqlite::Sqlite(error)))
    }

    async fn rebuild(&mut self, next: Marker) -> Result<(), PortError> {
        self.write(|connection| {
            connection.execute("DELETE FROM outbox WHERE service = ?1", [Service::Snapshots as u8])?;
            open_alerts_wait(connection, Service::Snapshots)?;
            forget(connection, name::MARKER_SETTLED)?;
            set_marker(connection, name::MARKER_IN_FLIGHT, next)
        })
    }

    async fn announce(&mut self, next: Marker) -> Result<(), PortError> {
        self.write(|connection| set_marker(connection, name::MARKER_IN_FLIGHT, next))
    }

    async fn waiting_snapshots(&mut self, bytes_max: usize) -> Result<AlertPage, PortError> {
        self.page(Service::Snapshots, QueuePlace::default(), bytes_max)
    }

    async fn settle_snapshots(&mut self, position: u64, done: &[(u64, u64)], marker: Marker) -> Result<(), PortError> {
        self.write(|connection| {
            settle(connection, Service::Snapshots, position, done)?;
            forget(connection, name::MARKER_IN_FLIGHT)?;
            set_marker(connection, name::MARKER_SETTLED, marker)
        })
    }
}
