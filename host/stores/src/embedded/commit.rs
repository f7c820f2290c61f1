//! One commit: event documents first, durable; then one transaction; then the uids. All of it or nothing.

use super::audit;
use super::checkpoint::Reached;
use super::checksum::{self, is_damage};
use super::dead_letters;
use super::event_list;
use super::outbox;
use super::position::{self, PositionRow};
use super::rule_sets;
use super::rule_versions;
use super::{Begun, EmbeddedStore, status_number};
use crate::durable::StoreError;
use crate::event_segments::EventPlace;
use alertmill_core::ports::{AlertWrite, Commit, LocalStore, PortError};
use rusqlite::{CachedStatement, Connection, params};
use std::time::Duration;

/// A sync of the event file that takes so long leaves time to fold the next batch. On a quick disk the commit would only wait
/// for that.
const SYNC_IS_SLOW: Duration = Duration::from_millis(10);

impl LocalStore for EmbeddedStore {
    /// Where syncs take long, that of the event file runs from here on.
    fn begin(&mut self, commit: &Commit) -> bool {
        if commit.events.is_empty() || self.events.sync_took < SYNC_IS_SLOW || self.position != commit.from {
            return false;
        }
        self.take_back_begun();
        let before = self.events.end();
        match self.events.begin(&commit.events, &commit.event_heap, commit.received_at_ms.div_euclid(1_000)) {
            Ok(()) => self.begun = Some(Begun { from: commit.from, to: commit.to, before }),
            // The commit meets it again, and says so.
            Err(_) => self.events.rewind(before),
        }
        self.begun.is_some()
    }

    /// Blocks the calling thread for one fdatasync of the event file (if there are events, and as much as is left of it when it
    /// was begun) and one SQLite transaction.
    async fn commit(&mut self, commit: &Commit) -> Result<(), PortError> {
        self.commit_blocking(commit)
    }
}

impl EmbeddedStore {
    /// How long the last fdatasync of event documents took, beside which the rest of a commit is the same in any size.
    pub fn last_event_sync(&self) -> Duration {
        self.events.sync_took
    }

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
        let (before, appended) = self.append_events(commit);
        let places = appended.map_err(|error| {
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

    /// Event rows of a commit, durable, and where rows ended before them.
    fn append_events(&mut self, commit: &Commit) -> (EventPlace, Result<Vec<EventPlace>, StoreError>) {
        match self.begun.take_if(|begun| (begun.from, begun.to) == (commit.from, commit.to)) {
            Some(begun) => (begun.before, self.events.finish()),
            None => {
                self.take_back_begun();
                let received_at_s = commit.received_at_ms.div_euclid(1_000);
                (self.events.end(), self.events.append(&commit.events, &commit.event_heap, received_at_s))
            }
        }
    }

    /// Another commit was begun than the one that came.
    fn take_back_begun(&mut self) {
        if let Some(begun) = self.begun.take() {
            // It is garbage, durable or not.
            let _ = self.events.finish();
            self.events.rewind(begun.before);
        }
    }

    fn applied(&mut self, commit: &Commit, end: EventPlace) {
        self.position = commit.to;
        self.received_at_s = commit.received_at_ms.div_euclid(1_000);
        if !commit.events.is_empty() {
            self.events_received_at_s = self.received_at_s;
        }
        self.committed_events = end;
        self.open.apply(&commit.alerts);
        let mut uids = self.uids.lock();
        uids.advance(self.received_at_s);
        for event in &commit.events {
            uids.insert(event.uid, event.known_until_s);
        }
        let synced = self.checkpointer.committed(Reached { position: commit.to, events: end, received_at_s: self.received_at_s });
        uids.committed(end, synced.events, synced.received_at_s);
    }

    /// What SQLite holds after an error decides, not what it said.
    fn after_failure(&mut self, commit: &Commit, before: EventPlace, error: &rusqlite::Error) -> Result<(), PortError> {
        let words = format!("{}: commit {} to {} failed: {error}", self.path.display(), commit.from, commit.to);
        match position::read(&self.connection) {
            Ok(found) if found.ordinal == commit.to => {
                self.applied(commit, found.end);
                Ok(())
            }
            // It would be the same for ever.
            Ok(_) if is_damage(error) => {
                self.events.rewind(before);
                self.suspect(&words);
                Err(PortError::Fatal(format!("{words}; restart: the start sets the damaged state aside")))
            }
            Ok(_) => {
                self.events.rewind(before);
                Err(PortError::Unavailable(format!("{words}; nothing was changed, free space or check the disk")))
            }
            Err(second) if is_damage(error) => Err(PortError::Fatal(format!("{words}; {second}; restart: the start sets the damaged state aside"))),
            Err(second) => Err(PortError::Unclear(format!("{words}; and its position cannot be read: {second}; restart the process"))),
        }
    }

    fn transact(&mut self, commit: &Commit, places: &[EventPlace], end: EventPlace) -> rusqlite::Result<()> {
        let (dead_letters_max, services) = (self.dead_letters_max, self.services);
        let (open_alerts, open_sum) = self.open.after(&commit.alerts);
        let ended = self.ended_event_file(end);
        let transaction = self.connection.transaction()?;
        write_alerts(&transaction, &commit.alerts)?;
        outbox::note(&transaction, commit, services)?;
        write_event_lists(&transaction, commit, places)?;
        {
            let mut log = transaction
                .prepare_cached("INSERT INTO logs (seq, position, number, create_time, op_type, document, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
            for (number, write) in commit.logs.iter().enumerate() {
                let sum = checksum::of_log(write.seq as i64, commit.to, number as u64, write.create_time, write.op_type, &write.document);
                log.execute(params![write.seq, commit.to, number, write.create_time, write.op_type, write.document, sum])?;
            }
            let mut ledger = transaction.prepare_cached(
                "INSERT INTO ledger (scope, name, counter, value, sum) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (scope, name, counter) DO UPDATE SET value = excluded.value, sum = excluded.sum",
            )?;
            for line in &commit.ledger {
                let sum = checksum::of_ledger(line.scope, &line.name, &line.counter, line.value);
                ledger.execute(params![line.scope, line.name.as_str(), line.counter.as_str(), line.value, sum])?;
            }
        }
        dead_letters::remove_done(&transaction, &commit.letters_done)?;
        dead_letters::write(&transaction, &commit.dead_letters, dead_letters_max)?;
        for set in &commit.rule_sets {
            let mut insert = transaction
                .prepare_cached("INSERT OR REPLACE INTO rule_sets (generation, ordinal, received_at_ms, content, sum) VALUES (?1, ?2, ?3, ?4, ?5)")?;
            let content = rule_sets::to_text(set);
            let sum = checksum::of_rule_set(set.generation, commit.to, commit.received_at_ms, &content);
            insert.execute(params![set.generation, commit.to, commit.received_at_ms, content, sum])?;
        }
        if let Some(verdicts) = &commit.open_verdicts {
            rule_sets::write_open_verdicts(&transaction, verdicts)?;
        }
        rule_versions::write(&transaction, &commit.rule_versions)?;
        audit::write(&transaction, &commit.audit)?;
        if let Some((number, received_at_s)) = ended {
            transaction.prepare_cached("INSERT OR REPLACE INTO event_files VALUES (?1, ?2)")?.execute(params![number, received_at_s])?;
        }
        let (ordinal, received_at_ms, started_at_ms, next_due_ms) = (commit.to, commit.received_at_ms, commit.started_at_ms, commit.next_due_ms);
        position::write(&transaction, &PositionRow { ordinal, received_at_ms, started_at_ms, end, next_due_ms, open_alerts, open_sum })?;
        transaction.commit()
    }
}

fn write_alerts(connection: &Connection, alerts: &[AlertWrite]) -> rusqlite::Result<()> {
    // SQLite rewrites an index entry whenever its columns are set, changed or not. An alert that only absorbs events keeps
    // all of them, so most writes leave the index alone.
    let mut update = connection.prepare_cached(
        "UPDATE alerts SET alert_name = ?1, latest_time = ?2, event_count = ?3, revision = ?4, rule_generation = ?5, state = ?6,
         document = ?7, create_time = ?8, fingerprint = ?9, id = ?10, sum = ?17
         WHERE seq = ?11 AND tenant = ?12 AND status = ?13 AND severity = ?14 AND begin_time = ?15 AND end_time IS ?16",
    )?;
    let mut upsert = connection.prepare_cached(
        "INSERT INTO alerts (alert_name, latest_time, event_count, revision, rule_generation, state, document, create_time,
         fingerprint, id, seq, tenant, status, severity, begin_time, end_time, sum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
         ON CONFLICT (seq) DO UPDATE SET alert_name = excluded.alert_name, latest_time = excluded.latest_time,
         event_count = excluded.event_count, revision = excluded.revision, rule_generation = excluded.rule_generation,
         state = excluded.state, document = excluded.document, create_time = excluded.create_time,
         fingerprint = excluded.fingerprint, id = excluded.id, tenant = excluded.tenant, status = excluded.status,
         severity = excluded.severity, begin_time = excluded.begin_time, end_time = excluded.end_time, sum = excluded.sum",
    )?;
    for alert in alerts {
        if alert.revision <= 1 || write_alert(&mut update, alert)? == 0 {
            write_alert(&mut upsert, alert)?;
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
        checksum::of_alert(alert),
    ])
}

fn write_event_lists(connection: &Connection, commit: &Commit, places: &[EventPlace]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached("INSERT INTO alert_events (seq, position, refs, sum) VALUES (?1, ?2, ?3, ?4)")?;
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
        insert.execute(params![list.seq, commit.to, refs, checksum::of_event_list(list.seq as i64, commit.to, &refs)])?;
    }
    Ok(())
}
