//! Logs of an alert: the stored ones, and a CONVERGE entry for every event that moved it or came late, derived from the
//! event list, so that no row is written for each.

use super::checksum::{self, checked};
use super::event_list;
use super::read::{EmbeddedReader, storable};
use crate::durable::StoreError;
use crate::event_segments::{EventPlace, EventRead};
use alertmill_core::ports::EventRole;
use alertmill_core::value::Value;
use rusqlite::{OptionalExtension, params};

/// One log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertLog {
    /// Cursor: the commit it came with, and its place among that commit's entries.
    pub cursor: (u64, u32),
    /// Operation, such as `CREATE`.
    pub op_type: String,
    /// Seconds.
    pub create_time: i64,
    /// The log document, JSON.
    pub document: Vec<u8>,
}

const CONVERGE: &str = "CONVERGE";

/// What one commit logged for an alert, before event documents are read.
#[derive(Default)]
struct OfCommit {
    position: u64,
    stored: Vec<(String, i64, Vec<u8>)>,
    converged: Vec<EventPlace>,
}

impl EmbeddedReader {
    /// Log entries of an alert, newest first; `cursor` is the last one's of the page before. A CONVERGE entry whose event
    /// was removed by retention, or is damaged, is left out.
    pub fn alert_logs(&self, seq: u64, cursor: Option<(u64, u32)>, limit: usize) -> Result<Vec<AlertLog>, StoreError> {
        let mut page = Vec::new();
        let Ok(seq) = i64::try_from(seq) else { return Ok(page) };
        let mut until = cursor.map_or(u64::MAX, |cursor| cursor.0);
        while page.len() < limit {
            let Some((alert_id, commit)) = self.commit_logs(seq, until)? else { break };
            let entries = self.entries(&alert_id, &commit)?;
            page.extend(entries.into_iter().rev().filter(|entry| cursor.is_none_or(|cursor| entry.cursor < cursor)));
            let Some(before) = commit.position.checked_sub(1) else { break };
            until = before;
        }
        page.truncate(limit);
        Ok(page)
    }

    /// The newest commit up to `until` that logged something for the alert.
    fn commit_logs(&self, seq: i64, until: u64) -> Result<Option<(String, OfCommit)>, StoreError> {
        self.read("read an alert's logs", |connection| {
            let id = connection.prepare_cached("SELECT id FROM alerts WHERE seq = ?1")?.query_row([seq], |row| row.get(0)).optional()?;
            let Some(id) = id else { return Ok(None) };
            let mut newest = connection.prepare_cached(
                "SELECT max(p) FROM (SELECT max(position) AS p FROM logs WHERE seq = ?1 AND position <= ?2
                 UNION ALL SELECT max(position) FROM alert_events WHERE seq = ?1 AND position <= ?2)",
            )?;
            let Some(position) = newest.query_row(params![seq, storable(until)], |row| row.get::<_, Option<u64>>(0))? else { return Ok(None) };
            let mut commit = OfCommit { position, ..OfCommit::default() };
            let mut stored =
                connection.prepare_cached("SELECT op_type, create_time, document, number, sum FROM logs WHERE seq = ?1 AND position = ?2 ORDER BY number")?;
            let log = |row: &rusqlite::Row<'_>| {
                let log: (String, i64, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
                let is_whole = checksum::of_log(seq, position, row.get(3)?, log.1, &log.0, &log.2) == row.get::<_, i64>(4)?;
                checked(log, is_whole, || format!("a log of alert {seq} at {position}"))
            };
            for log in stored.query_map(params![seq, position], log)? {
                commit.stored.push(log?);
            }
            let mut list = connection.prepare_cached("SELECT refs, sum FROM alert_events WHERE seq = ?1 AND position = ?2")?;
            let found: Option<(Vec<u8>, i64)> = list.query_row(params![seq, position], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let refs = match found {
                None => Vec::new(),
                Some((refs, sum)) => {
                    let is_whole = checksum::of_event_list(seq, position, &refs) == sum;
                    checked(refs, is_whole, || format!("the event list of alert {seq} at {position}"))?
                }
            };
            let moved = event_list::entries(&refs).filter(|(_, role)| matches!(role, EventRole::Updated | EventRole::Late));
            commit.converged.extend(moved.map(|(place, _)| place));
            Ok(Some((id, commit)))
        })
    }

    /// Oldest first: by second, and within one second what opened, what converged, what came of it.
    fn entries(&self, alert_id: &str, commit: &OfCommit) -> Result<Vec<AlertLog>, StoreError> {
        let mut entries = Vec::new();
        for (op_type, create_time, document) in &commit.stored {
            let rank = if op_type == "CREATE" { 0 } else { 2 };
            entries.push((*create_time, rank, op_type.clone(), document.clone()));
        }
        for place in &commit.converged {
            if let EventRead::Found(row) = self.event_reader().read(*place)? {
                let (create_time, document) = converge(alert_id, &row.document);
                entries.push((create_time, 1, CONVERGE.to_string(), document));
            }
        }
        entries.sort_by_key(|entry| (entry.0, entry.1));
        let log = |(number, (create_time, _, op_type, document))| AlertLog { cursor: (commit.position, number), op_type, create_time, document };
        Ok((0..).zip(entries).map(log).collect())
    }
}

/// The entry of one event. Its second is the event's `create_time`, which is that of its record: the same second in which
/// it was folded, however records were cut into commits.
fn converge(alert_id: &str, event: &[u8]) -> (i64, Vec<u8>) {
    let event = Value::from_json(event).unwrap_or_default();
    let field = |name: &str| event.get(name).cloned().unwrap_or_default();
    let create_time = field("create_time");
    let document = Value::Object(vec![
        ("alert_id".into(), alert_id.into()),
        ("op_type".into(), CONVERGE.into()),
        ("create_time".into(), create_time.clone()),
        ("time".into(), field("time")),
        ("description".into(), field("description")),
        ("event_id".into(), field("id")),
    ]);
    (create_time.as_int().unwrap_or_default(), document.to_json().into_bytes())
}
