//! The fold: prepared events + open alerts + time -> one commit. One thread per process, in journal order, pure.
//!
//! Spec 02 section 4.1 with DESIGN section 6: severity never gates an end event, an end event never opens an alert, only
//! the newest event time moves an alert forward.

use super::expiry::{index_time_s, is_expired};
use super::dedupe::{SHARDS, shard_of};
use super::prepare::{Prepared, PreparedBody, PreparedRecord};
use crate::alert::{Alert, EndReason, LifecycleConfig, LogEntry};
use crate::event::{Fingerprint, Status, Uid};
use crate::identity::alert_seq;
use crate::ledger::{Ledger, Outcome, StoredOnly};
use crate::ports::{AlertEvents, AlertWrite, Commit, EventRole, LogWrite, PortError, Restored, StoredEvent};
use crate::record::RuleSet;
use crate::row::{Row, RuleFailure};
use crate::value::{Text, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// How long a uid, and the end of an alert, must be remembered: 24 h, in seconds.
pub const REMEMBER_S: i64 = 86_400;

/// What of the fold is configured.
#[derive(Clone, Copy, Debug, Default)]
pub struct FoldConfig {
    /// The life cycle's times.
    pub lifecycle: LifecycleConfig,
    /// Write a CONVERGE log for each event instead of deriving it from the event list when it is read.
    pub converge_each: bool,
}

/// What the fold knows of one fingerprint.
enum Slot {
    Open(Box<Alert>),
    Ended(EndedAlert),
}

/// What later events need of an alert that has ended.
#[derive(Clone, Copy, Debug)]
struct EndedAlert {
    seq: u64,
    end_time: i64,
    /// Start of the episode that it absorbed.
    starts_at: Option<i64>,
    /// Ended by us, so that its sender may still hold the condition for true.
    timed_out: bool,
}

/// The state of the fold, and the only place where alerts change.
pub struct Fold {
    config: FoldConfig,
    shards: Vec<HashMap<Fingerprint, Slot>>,
    /// (due in ms, seq) -> fingerprint. An entry may be older than the alert's time-out; it is then put forward when it
    /// comes up, so that an update costs nothing here.
    timers: BTreeMap<(i64, u64), Fingerprint>,
    position: u64,
    now_ms: i64,
    started_at_ms: i64,
    ledger: Ledger,
    rule_set: RuleSet,
    open_alerts: usize,
}

/// The changes of the batch in hand.
#[derive(Default)]
struct Batch {
    commit: Commit,
    /// Alerts to write, by seq: those that ended in this batch, whole; open ones by their fingerprint.
    touched: BTreeMap<u64, Touched>,
    /// Place of an alert's list in `commit.alert_events`.
    lists: HashMap<u64, usize>,
    stored: HashSet<Uid>,
}

enum Touched {
    Open(Fingerprint),
    Ended(Box<Alert>),
}

impl Fold {
    /// Goes on from what the store holds.
    pub fn restore(restored: &Restored, config: FoldConfig) -> Result<Fold, PortError> {
        let mut fold = Fold {
            config,
            shards: (0..SHARDS).map(|_| HashMap::new()).collect(),
            timers: BTreeMap::new(),
            position: restored.position,
            now_ms: restored.received_at_ms,
            started_at_ms: i64::MIN / 2,
            ledger: Ledger::restore(&restored.ledger),
            rule_set: restored.rule_set.clone(),
            open_alerts: 0,
        };
        for stored in &restored.alerts {
            let alert = Alert::restore(stored.seq, &stored.document, &stored.state).map_err(|e| PortError::Fatal(e.to_string()))?;
            fold.place(alert);
        }
        Ok(fold)
    }

    fn place(&mut self, alert: Alert) {
        let (fingerprint, seq) = (alert.fingerprint, alert.seq);
        if alert.is_open() {
            self.schedule(&alert);
            self.open_alerts += 1;
            self.slot_insert(fingerprint, Slot::Open(Box::new(alert)));
        } else {
            let ended = remember(&alert);
            // Of several ended alerts of one fingerprint the last one counts; an open one counts before all.
            match self.slot(&fingerprint) {
                Some(Slot::Open(_)) => return,
                Some(Slot::Ended(other)) if other.seq > seq => return,
                _ => {}
            }
            self.timers.insert(((ended.end_time + REMEMBER_S + 60) * 1000, seq), fingerprint);
            self.slot_insert(fingerprint, Slot::Ended(ended));
        }
    }

    /// The last ordinal that was folded.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many alerts are open.
    pub fn open_alerts(&self) -> usize {
        self.open_alerts
    }

    /// When the next time-out may be due, milliseconds; a clock record at that time fires it.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.timers.keys().next().map(|(due, _)| *due)
    }

    /// The counters.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The generation in force.
    pub fn rule_set(&self) -> &RuleSet {
        &self.rule_set
    }

    /// The open alert of a fingerprint.
    pub fn open_alert(&self, fingerprint: &Fingerprint) -> Option<&Alert> {
        match self.slot(fingerprint) {
            Some(Slot::Open(alert)) => Some(alert),
            _ => None,
        }
    }

    /// Folds a batch. `known` says for each of its rows whether a commit before this batch stored its uid.
    pub fn apply(&mut self, prepared: Prepared, known: Vec<bool>) -> Commit {
        debug_assert_eq!(known.len(), prepared.rows.len());
        let mut batch = Batch::default();
        batch.commit.from = self.position;
        for tally in &prepared.tallies {
            self.ledger.rule(tally);
        }
        let mut rows = prepared.rows.into_iter().zip(known);
        for record in prepared.records {
            self.record(record, &mut rows, &mut batch);
        }
        self.finish(batch)
    }

    fn record(&mut self, record: PreparedRecord, rows: &mut impl Iterator<Item = (Row, bool)>, batch: &mut Batch) {
        debug_assert_eq!(record.ordinal, self.position + 1, "records come without a gap");
        self.now_ms = record.received_at_ms;
        self.fire_due(batch);
        match record.body {
            PreparedBody::Items { source, counts, journaled, rows: n, dead_letters } => {
                self.ledger.door(&source, counts, journaled);
                self.ledger.outcome(&source, Outcome::DeadLetter, dead_letters.len() as u64);
                batch.commit.dead_letters.extend(dead_letters);
                // Neighbours mostly end alike, so runs are counted, not rows.
                let mut run: Option<(Outcome, u64)> = None;
                for (row, known) in rows.by_ref().take(n) {
                    let outcome = self.row(row, known, record.generation, batch);
                    match &mut run {
                        Some((same, n)) if *same == outcome => *n += 1,
                        _ => {
                            if let Some((before, n)) = run.replace((outcome, 1)) {
                                self.ledger.outcome(&source, before, n);
                            }
                        }
                    }
                }
                if let Some((last, n)) = run {
                    self.ledger.outcome(&source, last, n);
                }
            }
            PreparedBody::RuleSet(set) => {
                self.rule_set = set.clone();
                batch.commit.rule_set = Some(set);
            }
            PreparedBody::Start => self.started_at_ms = record.received_at_ms,
            PreparedBody::Clock => {}
        }
        self.position = record.ordinal;
    }

    /// One event (spec 02 section 4.1).
    fn row(&mut self, mut row: Row, known: bool, generation: u64, batch: &mut Batch) -> Outcome {
        if let Some(outcome) = self.refresh(&mut row, known, batch) {
            return outcome;
        }
        if batch.stored.contains(&row.event.uid) || (known && row.uid_if_reopened != Some(row.event.uid)) {
            return Outcome::Duplicate;
        }
        let now_s = self.now_s();
        let fingerprint = row.fingerprint;
        write_failures(&mut row);
        let event_at = store_event(&row, now_s, batch);
        if row.dropped.is_some() {
            return Outcome::StoredOnly(StoredOnly::RuleDropped);
        }
        let bound = match self.slot(&fingerprint) {
            Some(Slot::Ended(ended)) => Some(ended.end_time - 60),
            _ => None,
        };
        if is_expired(&row.event, now_s, bound) {
            return Outcome::StoredOnly(StoredOnly::Expired);
        }
        let Some(Slot::Open(alert)) = self.slot_mut(&fingerprint) else {
            return match row.event.status {
                Status::Abnormal => self.open(row, event_at, generation, batch),
                _ => Outcome::StoredOnly(StoredOnly::NoOpenAlert),
            };
        };
        let is_abnormal = row.event.status == Status::Abnormal;
        let severity = row.event.severity_level();
        if is_abnormal && severity < alert.severity && !alert.severity_by_rule {
            self.close_for_worse(&row, batch);
            return self.open(row, event_at, generation, batch);
        }
        if is_abnormal && severity > alert.event.severity_level() {
            let seq = alert.seq;
            let mut log = LogEntry::of_event(alert.id(), "EVENT_DROP", now_s, &row.event);
            log.severity = Some(row.event.severity.clone());
            write_log(seq, log, batch);
            list_event(seq, event_at, EventRole::Milder, batch);
            return Outcome::StoredOnly(StoredOnly::LowerSeverity);
        }
        self.update(row, event_at, generation, batch)
    }

    /// A re-sending source's item whose episode the open alert has absorbed moves only its time-outs; one whose episode
    /// was absorbed by an alert that timed out since counts again, from now.
    fn refresh(&mut self, row: &mut Row, known: bool, batch: &mut Batch) -> Option<Outcome> {
        let lasting = row.lasting?;
        let (now_s, lifecycle) = (self.now_s(), self.config.lifecycle);
        match self.slot_mut(&row.fingerprint) {
            Some(Slot::Open(alert)) if alert.lasting.is_some_and(|l| l.starts_at == lasting.starts_at) => {
                alert.refresh(lasting.ends_at, now_s, &lifecycle);
                let (seq, fingerprint) = (alert.seq, alert.fingerprint);
                batch.touched.insert(seq, Touched::Open(fingerprint));
                Some(Outcome::Refreshed)
            }
            Some(Slot::Ended(ended)) if known && ended.timed_out && ended.starts_at == Some(lasting.starts_at) => {
                row.event.time = Value::Int(now_s);
                row.event.uid = row.uid_if_reopened?;
                None
            }
            _ => None,
        }
    }

    fn open(&mut self, row: Row, event_at: u32, generation: u64, batch: &mut Batch) -> Outcome {
        let seq = alert_seq(row.ordinal, row.index);
        let (alert, log) = Alert::open(row, seq, self.now_s(), generation, &self.config.lifecycle);
        write_log(seq, log, batch);
        list_event(seq, event_at, EventRole::Opened, batch);
        batch.touched.insert(seq, Touched::Open(alert.fingerprint));
        self.schedule(&alert);
        self.open_alerts += 1;
        self.slot_insert(alert.fingerprint, Slot::Open(Box::new(alert)));
        Outcome::Folded
    }

    fn update(&mut self, row: Row, event_at: u32, generation: u64, batch: &mut Batch) -> Outcome {
        let (now_s, config, fingerprint) = (self.now_s(), self.config, row.fingerprint);
        let Some(Slot::Open(alert)) = self.slot_mut(&fingerprint) else { return Outcome::StoredOnly(StoredOnly::NoOpenAlert) };
        let converge = config.converge_each.then(|| {
            let mut log = LogEntry::of_event(alert.id(), "CONVERGE", now_s, &row.event);
            log.status = Some(row.event.status);
            log
        });
        let (seq, due_before) = (alert.seq, alert.due_ms());
        let updated = alert.update(row, now_s, generation, &config.lifecycle);
        let (is_open, due) = (alert.is_open(), alert.due_ms());
        if matches!(updated.role, EventRole::Updated | EventRole::Late) {
            converge.into_iter().for_each(|log| write_log(seq, log, batch));
        }
        updated.logs.into_iter().for_each(|log| write_log(seq, log, batch));
        list_event(seq, event_at, updated.role, batch);
        if is_open {
            batch.touched.insert(seq, Touched::Open(fingerprint));
            // Later time-outs are found when the old entry comes up; an earlier one needs an entry of its own.
            if let Some(due) = due.filter(|due| due_before.is_none_or(|before| *due < before)) {
                self.timers.insert((due, seq), fingerprint);
            }
        } else {
            self.retire(fingerprint, batch);
        }
        Outcome::Folded
    }

    fn close_for_worse(&mut self, row: &Row, batch: &mut Batch) {
        let now_s = self.now_s();
        if let Some(Slot::Open(alert)) = self.slot_mut(&row.fingerprint) {
            let log = alert.end(EndReason::HigherSeverity(&row.event), now_s);
            write_log(alert.seq, log, batch);
            self.retire(row.fingerprint, batch);
        }
    }

    /// All time-outs due up to now, at their due times, in their order.
    fn fire_due(&mut self, batch: &mut Batch) {
        while let Some((&(due_ms, seq), &fingerprint)) = self.timers.first_key_value() {
            if due_ms > self.now_ms {
                return;
            }
            self.timers.remove(&(due_ms, seq));
            self.time_out(seq, fingerprint, batch);
        }
    }

    fn time_out(&mut self, seq: u64, fingerprint: Fingerprint, batch: &mut Batch) {
        let (now_ms, grace_until_ms) = (self.now_ms, self.started_at_ms + self.config.lifecycle.lasting_grace_ms);
        match self.slot_mut(&fingerprint) {
            Some(Slot::Open(alert)) if alert.seq == seq => {
                let Some(due) = fires_at(alert, grace_until_ms) else { return };
                if due.at_ms > now_ms {
                    self.timers.insert((due.at_ms, seq), fingerprint);
                    return;
                }
                let log = alert.end(EndReason::TimeOut(due.status, due.end_time_s), due.at_ms.div_euclid(1000));
                write_log(seq, log, batch);
                self.retire(fingerprint, batch);
            }
            Some(Slot::Ended(ended)) if ended.seq == seq => {
                self.shards[shard_of(fingerprint)].remove(&fingerprint);
            }
            _ => {}
        }
    }

    /// Takes an alert that has just ended out of the open ones, to be written whole.
    fn retire(&mut self, fingerprint: Fingerprint, batch: &mut Batch) {
        let shard = &mut self.shards[shard_of(fingerprint)];
        let Some(Slot::Open(alert)) = shard.remove(&fingerprint) else { return };
        let ended = remember(&alert);
        shard.insert(fingerprint, Slot::Ended(ended));
        self.timers.insert(((ended.end_time + REMEMBER_S + 60) * 1000, ended.seq), fingerprint);
        self.open_alerts -= 1;
        batch.touched.insert(alert.seq, Touched::Ended(alert));
    }

    fn finish(&mut self, batch: Batch) -> Commit {
        let Batch { mut commit, touched, .. } = batch;
        for (_, touched) in touched {
            match touched {
                Touched::Ended(alert) => commit.alerts.push(write_alert(&alert)),
                Touched::Open(fingerprint) => {
                    if let Some(Slot::Open(alert)) = self.slot(&fingerprint) {
                        commit.alerts.push(write_alert(alert));
                    }
                }
            }
        }
        commit.to = self.position;
        commit.received_at_ms = self.now_ms;
        commit.ledger = self.ledger.take_changed();
        commit.next_due_ms = self.next_due_ms();
        commit
    }

    fn schedule(&mut self, alert: &Alert) {
        if let Some(due) = alert.due_ms() {
            self.timers.insert((due, alert.seq), alert.fingerprint);
        }
    }

    fn now_s(&self) -> i64 {
        self.now_ms.div_euclid(1000)
    }
    fn slot(&self, fingerprint: &Fingerprint) -> Option<&Slot> {
        self.shards[shard_of(*fingerprint)].get(fingerprint)
    }
    fn slot_mut(&mut self, fingerprint: &Fingerprint) -> Option<&mut Slot> {
        self.shards[shard_of(*fingerprint)].get_mut(fingerprint)
    }
    fn slot_insert(&mut self, fingerprint: Fingerprint, slot: Slot) {
        self.shards[shard_of(fingerprint)].insert(fingerprint, slot);
    }

    /// Fingerprints of all open alerts, sorted: for checks, never on the way of an event.
    pub fn open_fingerprints(&self) -> BTreeSet<Fingerprint> {
        self.shards.iter().flatten().filter(|(_, slot)| matches!(slot, Slot::Open(_))).map(|(f, _)| *f).collect()
    }
}

/// The next time-out of an open alert.
struct Due {
    at_ms: i64,
    status: Status,
    end_time_s: i64,
}

/// Which time-out ends the alert next, and when: the close or delayed recovery, or the end of a re-sent episode, which
/// waits for the grace after a start, since nobody could re-send while we were down.
fn fires_at(alert: &Alert, grace_until_ms: i64) -> Option<Due> {
    let timer = alert.next_status.filter(|_| !alert.strategy_id.is_truthy());
    let timer = timer.map(|(status, at)| Due { at_ms: at * 1000, status, end_time_s: at });
    let episode = alert.lasting.and_then(|l| l.ends_at);
    let episode = episode.map(|at| Due { at_ms: (at * 1000).max(grace_until_ms), status: Status::Recovered, end_time_s: at });
    match (timer, episode) {
        (Some(a), Some(b)) => Some(if b.at_ms <= a.at_ms { b } else { a }),
        (a, b) => a.or(b),
    }
}

fn remember(alert: &Alert) -> EndedAlert {
    let end_time = alert.end_time.unwrap_or(alert.latest_time);
    EndedAlert { seq: alert.seq, end_time, starts_at: alert.lasting.map(|l| l.starts_at), timed_out: alert.timed_out }
}

fn write_alert(alert: &Alert) -> AlertWrite {
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

fn write_log(seq: u64, log: LogEntry, batch: &mut Batch) {
    let document = serde_json::to_vec(&log).unwrap_or_default();
    batch.commit.logs.push(LogWrite { seq, op_type: log.op_type, create_time: log.create_time, document });
}

fn list_event(seq: u64, event_at: u32, role: EventRole, batch: &mut Batch) {
    let lists = &mut batch.commit.alert_events;
    let at = *batch.lists.entry(seq).or_insert_with(|| {
        lists.push(AlertEvents { seq, events: Vec::new() });
        lists.len() - 1
    });
    lists[at].events.push((event_at, role));
}

/// Puts the event's document into the commit and gives its index there.
fn store_event(row: &Row, now_s: i64, batch: &mut Batch) -> u32 {
    let start = batch.commit.event_heap.len() as u32;
    let _ = serde_json::to_writer(&mut batch.commit.event_heap, &row.event.document());
    let access_time = row.event.access_time().as_int().unwrap_or(now_s);
    let newest = row.event.time_s().max(access_time).max(now_s);
    batch.commit.events.push(StoredEvent {
        uid: row.event.uid,
        known_until_s: newest.min(now_s + REMEMBER_S) + REMEMBER_S,
        index_time_s: index_time_s(&row.event),
        document: start..batch.commit.event_heap.len() as u32,
    });
    batch.stored.insert(row.event.uid);
    batch.commit.events.len() as u32 - 1
}

/// What rules could not judge, and who dropped it, is written with the event, so that nothing is silent.
fn write_failures(row: &mut Row) {
    if row.failures.is_empty() && row.dropped.is_none() {
        return;
    }
    let mut mark = row.event.extra_info.remove("alertmill").unwrap_or_default();
    let text = |t: &Text| Value::Text(t.clone());
    if let Some(dropped) = &row.dropped {
        mark.set("dropped_by", text(&dropped.rule));
        mark.set("drop_reason", text(&dropped.reason));
    }
    if !row.failures.is_empty() {
        let of = |f: &RuleFailure| {
            Value::Object(vec![
                (Text::new_static("rule"), text(&f.rule)),
                (Text::new_static("version"), text(&f.version)),
                (Text::new_static("kind"), text(&f.kind)),
                (Text::new_static("message"), text(&f.message)),
                (Text::new_static("policy"), Value::literal("pass-through")),
            ])
        };
        mark.set("rule_failures", Value::List(row.failures.iter().map(of).collect()));
    }
    row.event.extra_info.set("alertmill", mark);
}
