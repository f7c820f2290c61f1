//! What one batch gathers on its way to a commit.

use crate::alert::{Alert, LogEntry};
use crate::decode::OUR_MARKS;
use crate::event::{Fingerprint, Uid};
use crate::letter::DeadLetter;
use crate::pipeline::expiry::index_time_s;
use crate::ports::{AlertEvents, AlertWrite, Commit, EventRole, LogWrite, StoredEvent};
use crate::row::{Row, RuleFailure};
use crate::value::{Text, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::new_alerts::NewAlerts;
use super::{HOUR_S, REMEMBER_S};

/// The changes of the batch in hand.
#[derive(Default)]
pub(super) struct Batch {
    pub commit: Commit,
    /// Alerts to write, by seq: those that ended in this batch, whole; open ones by their fingerprint.
    touched: BTreeMap<u64, Touched>,
    /// Bytes that alert rules wrote into those.
    pub written_bytes: usize,
    /// Alerts that wait for their rules.
    pub new: NewAlerts,
    /// Place of an alert's list in `commit.alert_events`.
    lists: HashMap<u64, usize>,
    /// Uids of the events in `commit`, and until when each is known.
    pub stored: HashMap<Uid, i64>,
}

pub(super) enum Touched {
    Open(Fingerprint),
    Ended(Box<Alert>),
}

impl Batch {
    /// An open alert is to be written; `written_bytes` is the alert's.
    pub fn touch(&mut self, seq: u64, fingerprint: Fingerprint, written_bytes: usize) {
        if self.touched.insert(seq, Touched::Open(fingerprint)).is_none() {
            self.written_bytes += written_bytes;
        }
    }

    /// What dies. What dies again takes its place anew: an event of a payload may have died there before.
    pub fn bury(&mut self, letter: DeadLetter) {
        if letter.arrival.as_ref().is_some_and(|arrival| arrival.redriven > 0) {
            self.take_letters(BTreeSet::from([(letter.ordinal, letter.index)]));
        }
        self.commit.dead_letters.push(letter);
    }

    /// Takes the letters of these places out: those of this very commit are not stored yet.
    pub fn take_letters(&mut self, places: BTreeSet<(u64, u32)>) {
        self.commit.dead_letters.retain(|letter| !places.contains(&(letter.ordinal, letter.index)));
        self.commit.letters_done.extend(places);
    }

    /// An alert has just ended.
    pub fn ended(&mut self, alert: Box<Alert>) {
        let written_bytes = alert.written_bytes;
        if self.touched.insert(alert.seq, Touched::Ended(alert)).is_none() {
            self.written_bytes += written_bytes;
        }
    }

    /// Takes the commit and what is to be written into it. Uids stay: the store does not know those of this commit yet when
    /// the rest of the batch is folded.
    pub fn take_part(&mut self) -> (Commit, BTreeMap<u64, Touched>) {
        self.lists.clear();
        self.written_bytes = 0;
        (std::mem::take(&mut self.commit), std::mem::take(&mut self.touched))
    }
}

/// The alert as stores take it.
pub(super) fn write_alert(alert: &Alert) -> AlertWrite {
    let mut document = Vec::with_capacity(2048);
    alert.write_document(&mut document);
    AlertWrite {
        seq: alert.seq,
        id: alert.id(),
        tenant: alert.tenant.clone(),
        status: alert.status,
        severity: alert.severity,
        alert_name: alert.alert_name.to_rule_text().map(Text::from).unwrap_or_default(),
        fingerprint: alert.fingerprint,
        create_time: alert.create_time,
        begin_time: alert.begin_time,
        latest_time: alert.latest_time,
        end_time: alert.end_time,
        event_count: alert.event_count,
        revision: alert.revision,
        rule_generation: alert.rule_generation,
        document,
        state: alert.write_state(),
    }
}

pub(super) fn write_log(seq: u64, log: LogEntry, batch: &mut Batch) {
    batch.commit.logs.push(log_write(seq, log));
}

/// The entry as stores take it.
pub(super) fn log_write(seq: u64, log: LogEntry) -> LogWrite {
    let document = serde_json::to_vec(&log).unwrap_or_default();
    LogWrite { seq, op_type: log.op_type, create_time: log.create_time, document }
}

pub(super) fn list_event(seq: u64, event_at: u32, role: EventRole, batch: &mut Batch) {
    let lists = &mut batch.commit.alert_events;
    let at = *batch.lists.entry(seq).or_insert_with(|| {
        lists.push(AlertEvents { seq, events: Vec::new() });
        lists.len() - 1
    });
    lists[at].events.push((event_at, role));
}

/// Puts the event's document into the commit and gives its index there.
pub(super) fn store_event(row: &Row, now_s: i64, batch: &mut Batch) -> u32 {
    let start = heap_end(batch);
    let _ = serde_json::to_writer(&mut batch.commit.event_heap, &row.event.document());
    let end = heap_end(batch);
    let access_time = row.event.access_time().as_int().unwrap_or(now_s);
    // An episode may start ahead of us: its uid decides until it is a day old.
    let starts_at = row.lasting.map_or(now_s, |lasting| lasting.starts_at);
    // A time ahead was moved to the receipt; a retry brings it as it was sent, and may come when it is not ahead any more.
    let marks = row.event.extra_info.get(OUR_MARKS);
    let sent = |name| marks.and_then(|marks| marks.get(name)).and_then(whole_seconds).unwrap_or(now_s);
    let newest = row.event.time_s().max(access_time).max(starts_at).max(now_s).max(sent("time_sent")).max(sent("access_time_sent"));
    // To the full hour, from the event alone: stores keep uids by the hour, and no two may differ.
    let known_until_s = end_of_hour(newest.min(now_s + REMEMBER_S) + REMEMBER_S);
    batch.commit.events.push(StoredEvent { uid: row.event.uid, known_until_s, index_time_s: index_time_s(&row.event), document: start..end });
    batch.stored.insert(row.event.uid, known_until_s);
    batch.commit.events.len() as u32 - 1
}

/// Seconds of a time that may have a fraction; none of what is no number.
fn whole_seconds(value: &Value) -> Option<i64> {
    match value {
        Value::Int(n) => Some(*n),
        Value::Float(f) => Some(*f as i64),
        _ => None,
    }
}

/// The first full hour that is not before it.
fn end_of_hour(at_s: i64) -> i64 {
    at_s.saturating_add(HOUR_S - 1).div_euclid(HOUR_S) * HOUR_S
}

/// A longer heap has no places; the loop never lets such a commit reach a store.
fn heap_end(batch: &Batch) -> u32 {
    u32::try_from(batch.commit.event_heap.len()).unwrap_or(u32::MAX)
}

/// What rules could not judge, and who dropped it, is written with the event, so that nothing is silent.
pub(super) fn write_failures(row: &mut Row) {
    if row.failures.is_empty() && row.dropped.is_none() {
        return;
    }
    let mut mark = row.event.extra_info.remove(OUR_MARKS).unwrap_or_default();
    if let Some(dropped) = &row.dropped {
        mark.set("dropped_by", Value::Text(dropped.rule.clone()));
        mark.set("drop_reason", Value::Text(dropped.reason.clone()));
    }
    if !row.failures.is_empty() {
        mark.set(RULE_FAILURES, Value::List(row.failures.iter().map(failure).collect()));
    }
    row.event.extra_info.set(OUR_MARKS, mark);
}

/// What alert rules could not judge is written with the alert, behind what it has from the event that opened it.
pub(super) fn write_alert_failures(alert: &mut Alert, failures: &[RuleFailure]) {
    if failures.is_empty() {
        return;
    }
    let mut mark = alert.extra_info.remove(OUR_MARKS).unwrap_or_default();
    let mut all = match mark.remove(RULE_FAILURES) {
        Some(Value::List(of_event)) => of_event,
        _ => Vec::new(),
    };
    all.extend(failures.iter().map(failure));
    mark.set(RULE_FAILURES, Value::List(all));
    alert.extra_info.set(OUR_MARKS, mark);
}

const RULE_FAILURES: &str = "rule_failures";

fn failure(failure: &RuleFailure) -> Value {
    let text = |t: &Text| Value::Text(t.clone());
    let fields = [
        (Text::new_static("rule"), text(&failure.rule)),
        (Text::new_static("version"), text(&failure.version)),
        (Text::new_static("kind"), text(&failure.kind)),
        (Text::new_static("message"), text(&failure.message)),
        (Text::new_static("policy"), Value::literal(failure.policy.as_str())),
    ]
    .into_iter()
    .chain(failure.judged_by.as_ref().map(|version| (Text::new_static("judged_by"), text(version))));
    Value::Object(fields.collect())
}
