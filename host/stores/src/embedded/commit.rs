//! One commit: event documents first, durable; then one transaction; then the uids. All of it or nothing.

use super::dead_letters;
use super::event_list;
use super::rule_sets;
use super::{EmbeddedStore, status_number};
use crate::event_segments::EventPlace;
use alertmill_core::ports::{AlertWrite, Commit, LocalStore, PortError};
use rusqlite::{CachedStatement, Connection, params};

impl LocalStore for EmbeddedStore {
    /// Blocks the calling thread for one fdatasync of the event file (if there are events) and one SQLite transaction.
    async fn commit(&mut self, commit: &Commit) -> Result<(), PortError> {
        self.commit_blocking(commit)
    }
}

impl EmbeddedStore {
    /// As `commit`, without a future.
    pub fn commit_blocking(&mut self, commit: &Commit) -> Result<(), PortError> {
        if let Some(why) = self.checkpointer.failure() {
            return Err(PortError::Fatal(why));
        }
        if self.position == commit.to && commit.from != commit.to {
            return Ok(());
        }
        if self.position != commit.from {
            let (at, from, to) = (self.position, commit.from, commit.to);
            return Err(PortError::Fatal(format!(
                "{}: the state is at {at}, the commit goes from {from} to {to}; restart to replay the journal from {at}",
                self.path.display()
            )));
        }
        if let Some(why) = self.uids.lock().overfull(self.checkpointer.synced_events()) {
            return Err(PortError::Unavailable(why));
        }
        self.checkpointer.shorten_wal(&self.connection);
        let before = self.events.end();
        let received_at_s = commit.received_at_ms.div_euclid(1_000);
        let places = self.events.append(&commit.events, &commit.event_heap, received_at_s).map_err(|error| {
            self.events.rewind(before);
            PortError::Unavailable(error.to_string())
        })?;
        let end = self.events.end();
        if let Err(error) = self.transact(commit, &places, end) {
            return self.after_failure(commit, before, &error);
        }
        self.applied(commit, end);
        Ok(())
    }

    fn applied(&mut self, commit: &Commit, end: EventPlace) {
        self.position = commit.to;
        let mut uids = self.uids.lock();
        uids.advance(commit.received_at_ms.div_euclid(1_000));
        for event in &commit.events {
            uids.insert(event.uid, event.known_until_s);
        }
        let synced = self.checkpointer.committed(commit.to, end);
        uids.committed(end, synced);
    }

    /// What SQLite holds after an error decides, not what it said.
    fn after_failure(&mut self, commit: &Commit, before: EventPlace, error: &rusqlite::Error) -> Result<(), PortError> {
        let words = format!("{}: commit {} to {} failed: {error}", self.path.display(), commit.from, commit.to);
        let read = self.connection.query_row("SELECT ordinal, event_segment, event_offset FROM position", [], |row| {
            Ok((row.get::<_, u64>(0)?, EventPlace { segment: row.get(1)?, offset: row.get(2)? }))
        });
        match read {
            Ok((ordinal, end)) if ordinal == commit.to => {
                self.applied(commit, end);
                Ok(())
            }
            Ok(_) => {
                self.events.rewind(before);
                Err(PortError::Unavailable(format!("{words}; nothing was changed, free space or check the disk")))
            }
            Err(second) => Err(PortError::Unclear(format!("{words}; and its position cannot be read: {second}; restart the process"))),
        }
    }

    fn transact(&mut self, commit: &Commit, places: &[EventPlace], end: EventPlace) -> rusqlite::Result<()> {
        let (dead_letters_max, outbox) = (self.dead_letters_max, self.outbox);
        let transaction = self.connection.transaction()?;
        write_alerts(&transaction, &commit.alerts, outbox)?;
        write_event_lists(&transaction, commit, places)?;
        {
            let mut log = transaction.prepare_cached("INSERT INTO logs VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            for (number, write) in commit.logs.iter().enumerate() {
                log.execute(params![write.seq, commit.to, number, write.create_time, write.op_type, write.document])?;
            }
            let mut ledger = transaction
                .prepare_cached("INSERT INTO ledger VALUES (?1, ?2, ?3, ?4) ON CONFLICT (scope, name, counter) DO UPDATE SET value = excluded.value")?;
            for line in &commit.ledger {
                ledger.execute(params![line.scope, line.name.as_str(), line.counter.as_str(), line.value])?;
            }
        }
        dead_letters::write(&transaction, &commit.dead_letters, dead_letters_max)?;
        if let Some(set) = &commit.rule_set {
            let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO rule_sets VALUES (?1, ?2, ?3, ?4)")?;
            insert.execute(params![set.generation, commit.to, commit.received_at_ms, rule_sets::to_json(set)])?;
        }
        transaction
            .prepare_cached(
                "UPDATE position SET ordinal = ?1, received_at_ms = ?2, started_at_ms = ?3, event_segment = ?4, event_offset = ?5,
                 next_due_ms = ?6",
            )?
            .execute(params![commit.to, commit.received_at_ms, commit.started_at_ms, end.segment, end.offset, commit.next_due_ms])?;
        transaction.commit()
    }
}

fn write_alerts(connection: &Connection, alerts: &[AlertWrite], outbox: bool) -> rusqlite::Result<()> {
    // SQLite rewrites an index entry whenever its columns are set, changed or not. An alert that only absorbs events keeps
    // all of them, so most writes leave the index alone.
    let mut update = connection.prepare_cached(
        "UPDATE alerts SET alert_name = ?1, latest_time = ?2, event_count = ?3, revision = ?4, rule_generation = ?5, state = ?6,
         document = ?7, create_time = ?8, fingerprint = ?9, id = ?10
         WHERE seq = ?11 AND tenant = ?12 AND status = ?13 AND severity = ?14 AND begin_time = ?15 AND end_time IS ?16",
    )?;
    let mut upsert = connection.prepare_cached(
        "INSERT INTO alerts (alert_name, latest_time, event_count, revision, rule_generation, state, document, create_time,
         fingerprint, id, seq, tenant, status, severity, begin_time, end_time)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
         ON CONFLICT (seq) DO UPDATE SET alert_name = excluded.alert_name, latest_time = excluded.latest_time,
         event_count = excluded.event_count, revision = excluded.revision, rule_generation = excluded.rule_generation,
         state = excluded.state, document = excluded.document, create_time = excluded.create_time,
         fingerprint = excluded.fingerprint, id = excluded.id, tenant = excluded.tenant, status = excluded.status,
         severity = excluded.severity, begin_time = excluded.begin_time, end_time = excluded.end_time",
    )?;
    let mut out = connection.prepare_cached("INSERT INTO outbox VALUES (?1, ?2) ON CONFLICT (seq) DO UPDATE SET revision = excluded.revision")?;
    for alert in alerts {
        if alert.revision <= 1 || write_alert(&mut update, alert)? == 0 {
            write_alert(&mut upsert, alert)?;
        }
        if outbox {
            out.execute(params![alert.seq, alert.revision])?;
        }
    }
    Ok(())
}

fn write_alert(statement: &mut CachedStatement<'_>, alert: &AlertWrite) -> rusqlite::Result<usize> {
    statement.execute(params![
        alert.alert_name.as_str(),
        alert.latest_time,
        alert.event_count,
        alert.revision,
        alert.rule_generation,
        alert.state,
        alert.document,
        alert.create_time,
        alert.fingerprint.0,
        alert.id.as_str(),
        alert.seq,
        alert.tenant.as_str(),
        status_number(alert.status),
        alert.severity,
        alert.begin_time,
        alert.end_time,
    ])
}

fn write_event_lists(connection: &Connection, commit: &Commit, places: &[EventPlace]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached("INSERT INTO alert_events VALUES (?1, ?2, ?3)")?;
    let mut refs = Vec::new();
    for list in &commit.alert_events {
        refs.clear();
        for (index, role) in &list.events {
            let place = places
                .get(*index as usize)
                .copied()
                .ok_or_else(|| rusqlite::Error::InvalidParameterName(format!("alert {} names event {index} of {}", list.seq, places.len())))?;
            event_list::put(&mut refs, place, *role);
        }
        insert.execute(params![list.seq, commit.to, refs])?;
    }
    Ok(())
}
