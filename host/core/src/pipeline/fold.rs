//! The fold: prepared events + open alerts + time -> commits. One thread per process, in journal order, pure.
//!
//! [`Folding`] leads a batch through it, and stops where the rules over alerts have to answer.
//!
//! docs/semantics.md, Fold: severity never gates an end event, an end event never opens an alert, only the newest event
//! time moves an alert forward.

mod batch;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod command_tests;
mod commands;
#[cfg(test)]
mod enrich_tests;
mod folding;
#[cfg(test)]
mod lasting_tests;
mod new_alerts;
mod open_keys;
#[cfg(test)]
mod open_keys_tests;
#[cfg(test)]
mod rejected_tests;
#[cfg(test)]
mod tests;
mod time_outs;

use super::dedupe::{SHARDS, shard_of};
use super::expiry::is_expired;
use super::prepare::Prepared;
use super::understand::EPISODE_AGE_MAX_S;
use crate::alert::{Alert, EndReason, LifecycleConfig, LogEntry};
use crate::event::{Event, Fingerprint, Status};
use crate::identity::{Algorithm, alert_seq};
use crate::ledger::{Ledger, Outcome, StoredOnly};
use crate::ports::{Commit, EventRole, PortError, Restored};
use crate::record::RuleSet;
use crate::row::{AlertRow, Row};
use crate::rules::AlertChain;
use crate::value::{Text, Value};
use crate::verdict::{Verdict, Verdicts};
use batch::{Batch, Touched, list_event, store_event, write_alert, write_failures, write_log};
pub(crate) use folding::generations;
pub use folding::{Folding, Step};
pub use new_alerts::AlertBatch;
use open_keys::OpenKeys;
use std::collections::{BTreeMap, HashMap};
use time_outs::{milliseconds, next_due};

/// How long a uid must be remembered at least: 24 h, in seconds. Then to the end of the hour.
pub const REMEMBER_S: i64 = 86_400;
/// Uids end with hours, in seconds.
const HOUR_S: i64 = 3_600;
/// How long the end of an alert must be remembered, seconds: by then, whatever is older than it is older than a day.
pub const REMEMBER_END_S: i64 = REMEMBER_S + 60;

/// What of the fold is configured.
#[derive(Clone, Copy, Debug, Default)]
pub struct FoldConfig {
    /// The life cycle's times.
    pub lifecycle: LifecycleConfig,
    /// Write a CONVERGE log for each event instead of deriving it from the event list when it is read.
    pub converge_each: bool,
    /// That by which the events were keyed, for those that a rule's key has no room for.
    pub algorithm: Algorithm,
}

/// What the fold knows of one fingerprint.
enum Slot {
    Open {
        alert: Box<Alert>,
        /// Where its entry among the timers is.
        timer_ms: Option<i64>,
    },
    /// An alert was just opened and is with the [rules](new_alerts); nothing looks at it before they have answered.
    New {
        seq: u64,
    },
    Ended(EndedAlert),
}

impl Slot {
    /// The `seq_id` by which commands find it.
    fn commanded_as(&self) -> Option<u64> {
        match self {
            Slot::Open { alert, .. } => Some(alert.seq),
            Slot::New { seq } => Some(*seq),
            Slot::Ended(ended) => (!ended.requests.is_empty()).then_some(ended.seq),
        }
    }
}

/// What later events need of an alert that has ended.
#[derive(Clone, Debug)]
struct EndedAlert {
    seq: u64,
    /// With `seq` the alert's id.
    create_time: i64,
    end_time: i64,
    /// The item that ended it, if a re-sending source did: `event_id`, and the start of its episode.
    ended_by: Option<(Value, i64)>,
    /// So that its sender may still hold the condition for true.
    ended_by_us: bool,
    /// Requests whose commands changed it.
    requests: Vec<Text>,
}

impl EndedAlert {
    /// Whether it was an event that ended it, and not the end of another sender's item.
    fn is_over(&self, event: &Event, starts_at: i64) -> bool {
        !self.ended_by_us && self.ended_by.as_ref().is_none_or(|(event_id, start)| *event_id == event.event_id && *start == starts_at)
    }
}

/// The state of the fold, and the only place where alerts change.
pub struct Fold {
    config: FoldConfig,
    shards: Vec<HashMap<Fingerprint, Slot>>,
    /// Alerts that a command may find by their `seq_id`: the open ones, and ended ones that remember a request.
    by_seq: HashMap<u64, Fingerprint>,
    /// (due in ms, seq) -> fingerprint, one entry for each open alert that can end by itself. It may be earlier than the
    /// alert's time-out; it is then put forward when it comes up, so that an update costs nothing here.
    timers: BTreeMap<(i64, u64), Fingerprint>,
    /// (in ms, seq) -> fingerprint: when the end of an alert may be forgotten. Nobody waits for it.
    ended: BTreeMap<(i64, u64), Fingerprint>,
    position: u64,
    /// A record was folded in this life.
    has_begun: bool,
    now_ms: i64,
    started_at_ms: i64,
    ledger: Ledger,
    rule_set: RuleSet,
    /// Verdicts of its generation that have no end.
    open_verdicts: Vec<Verdict>,
    open_alerts: usize,
    open_keys: OpenKeys,
}

impl Fold {
    /// Goes on from what the store holds.
    pub fn restore(restored: &Restored, config: FoldConfig) -> Result<Fold, PortError> {
        let mut fold = Fold {
            config,
            shards: (0..SHARDS).map(|_| HashMap::new()).collect(),
            by_seq: HashMap::new(),
            timers: BTreeMap::new(),
            ended: BTreeMap::new(),
            position: restored.position,
            has_begun: false,
            now_ms: restored.received_at_ms,
            started_at_ms: restored.started_at_ms,
            ledger: Ledger::restore(&restored.ledger),
            rule_set: restored.rule_set.clone(),
            open_verdicts: restored.open_verdicts.clone(),
            open_alerts: 0,
            open_keys: OpenKeys::default(),
        };
        for stored in &restored.alerts {
            let alert = Alert::restore(stored.seq, &stored.document, &stored.state).map_err(|e| PortError::Fatal(e.to_string()))?;
            fold.place(alert);
        }
        Ok(fold)
    }

    fn place(&mut self, alert: Alert) {
        let fingerprint = alert.fingerprint;
        if alert.is_open() {
            self.open_keys.opened(&alert.keyed_by);
            self.place_open(Box::new(alert));
            return;
        }
        // Of several ended alerts of one fingerprint the last one counts; an open one counts before all.
        match self.slot(&fingerprint) {
            Some(Slot::Open { .. } | Slot::New { .. }) => {}
            Some(Slot::Ended(other)) if other.seq > alert.seq => {}
            _ => self.place_ended(fingerprint, remember(&alert)),
        }
    }

    fn place_open(&mut self, alert: Box<Alert>) {
        let fingerprint = alert.fingerprint;
        self.open_alerts += 1;
        self.slot_insert(fingerprint, Slot::Open { alert, timer_ms: None });
        self.schedule(&fingerprint);
    }

    fn place_ended(&mut self, fingerprint: Fingerprint, ended: EndedAlert) {
        let forget_ms = milliseconds(ended.end_time.saturating_add(REMEMBER_END_S));
        self.ended.insert((forget_ms, ended.seq), fingerprint);
        self.slot_insert(fingerprint, Slot::Ended(ended));
    }

    /// The last ordinal that was folded.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many alerts are open.
    pub fn open_alerts(&self) -> usize {
        self.open_alerts
    }

    /// When the next time-out of an alert may be due, milliseconds; a clock record at that time fires it.
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

    /// Whether `prepared` is what comes next, with one answer of `known_until_s` for each row: anything else would lose events.
    pub fn check(&self, prepared: &Prepared, known_until_s: &[Option<i64>]) -> Result<(), PortError> {
        if known_until_s.len() != prepared.rows.len() {
            return Err(PortError::Fatal(format!("{} events and {} answers whether they are known; this is a bug", prepared.rows.len(), known_until_s.len())));
        }
        let mut last = self.position;
        for (i, record) in prepared.records.iter().enumerate() {
            // The journal may have lost its front, or the state may have begun anew: a life starts with what there is.
            let is_first = !self.has_begun && i == 0 && record.ordinal > last;
            if record.ordinal != last + 1 && !is_first {
                return Err(PortError::Fatal(format!(
                    "record {} came after record {last}; this is a bug, a restart reads on from {}",
                    record.ordinal, self.position
                )));
            }
            last = record.ordinal;
        }
        let rows: usize = prepared.records.iter().map(|record| record.body.rows()).sum();
        if rows != prepared.rows.len() {
            return Err(PortError::Fatal(format!("records with {rows} events came with {}; this is a bug", prepared.rows.len())));
        }
        Ok(())
    }

    /// Folds a batch that passes [`check`](Fold::check), in a generation without alert rules, into one commit. `known_until_s`
    /// says for each of its rows until when its uid is known from a commit before this batch, if it is (`KnownUids`).
    pub fn apply(&mut self, prepared: Prepared, known_until_s: Vec<Option<i64>>) -> Commit {
        self.apply_with(prepared, known_until_s, None)
    }

    /// As [`apply`](Fold::apply), with the alert rules of all generations in the batch.
    pub fn apply_with(&mut self, prepared: Prepared, known_until_s: Vec<Option<i64>>, mut rules: Option<&mut dyn AlertChain>) -> Commit {
        let generations = if rules.is_some() { generations(&prepared) } else { Vec::new() };
        let mut folding = self.begin(prepared, known_until_s, generations, usize::MAX);
        loop {
            match folding.run() {
                Step::Enrich(mut new) => {
                    if let Some(rules) = &mut rules {
                        rules.enrich_alerts(&mut new.rows, &mut new.tallies).expect("rules that halt belong to the conductor");
                    }
                    folding.enriched(new);
                }
                Step::Part(commit) | Step::Done(commit) => return commit,
            }
        }
    }

    /// A generation begins: what was said of the rules of the one before is over with it.
    fn begin_generation(&mut self, set: RuleSet, batch: &mut Batch) {
        self.rule_set = set.clone();
        batch.commit.rule_sets.push(set);
        if !self.open_verdicts.is_empty() {
            self.open_verdicts.clear();
            batch.commit.open_verdicts = Some(Vec::new());
        }
    }

    /// Verdicts without an end hold for records that come when their own record is long gone.
    fn keep_open_verdicts(&mut self, found: Verdicts, batch: &mut Batch) {
        if found.generation != self.rule_set.generation {
            return;
        }
        let before = self.open_verdicts.len();
        for verdict in found.verdicts.into_iter().filter(|verdict| verdict.until.is_none()) {
            // One whose append was in doubt is there twice.
            if !self.open_verdicts.contains(&verdict) {
                self.open_verdicts.push(verdict);
            }
        }
        if self.open_verdicts.len() > before {
            batch.commit.open_verdicts = Some(self.open_verdicts.clone());
        }
    }

    fn end_record(&mut self, ordinal: u64) {
        self.position = ordinal;
        self.has_begun = true;
    }

    /// One event (the table of docs/semantics.md, Fold).
    fn row(&mut self, mut row: Row, known_until_s: Option<i64>, generation: u64, batch: &mut Batch) -> Outcome {
        // An event of this batch is as known as one of an earlier commit, or the cut into batches would show.
        let known_until_s = known_until_s.max(batch.stored.get(&row.event.uid).copied());
        let known = known_until_s.is_some_and(|until_s| self.now_s() <= until_s);
        // What no rule could judge refreshes nothing, and its uid stays unknown: when it is sent again it counts.
        if let Some(letter) = row.dead_letter.take().filter(|_| !known) {
            batch.bury(*letter);
            return Outcome::DeadLetter;
        }
        if row.rejected {
            return Outcome::Duplicate;
        }
        let sent = (row.event.uid, row.event.time.clone());
        if let Some(outcome) = self.absorbed(&mut row, known, batch) {
            return outcome;
        }
        if let Some(rule) = self.beyond_budget(&row) {
            (row.event.uid, row.event.time) = sent;
            self.fall_back(&mut row, &rule);
            // Another alert may have absorbed it.
            if let Some(outcome) = self.absorbed(&mut row, known, batch) {
                return outcome;
            }
            self.ledger.dedupe_overflow(&rule.name);
        }
        let now_s = self.now_s();
        let fingerprint = row.fingerprint;
        write_failures(&mut row);
        let event_at = store_event(&row, now_s, batch);
        if row.dropped.is_some() {
            return Outcome::StoredOnly(StoredOnly::RuleDropped);
        }
        if is_expired(&row.event, now_s, self.expiry_bound(&fingerprint)) {
            return Outcome::StoredOnly(StoredOnly::Expired);
        }
        let Some(alert) = self.open_mut(&fingerprint) else {
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

    /// What comes again and adds nothing.
    fn absorbed(&mut self, row: &mut Row, known: bool, batch: &mut Batch) -> Option<Outcome> {
        let refreshed = self.refresh(row, known, batch);
        refreshed.or_else(|| (known && row.uid_if_reopened != Some(row.event.uid)).then_some(Outcome::Duplicate))
    }

    /// What is older belongs to the last alert of its fingerprint, which has ended.
    fn expiry_bound(&self, fingerprint: &Fingerprint) -> Option<i64> {
        match self.slot(fingerprint) {
            Some(Slot::Ended(ended)) => Some(ended.end_time - 60),
            _ => None,
        }
    }

    /// A re-sending source's item that was counted before moves only the time-outs of its open alert. If no alert holds
    /// it any more, though its sender still holds the condition for true, it counts again, from now, under a new uid.
    fn refresh(&mut self, row: &mut Row, known: bool, batch: &mut Batch) -> Option<Outcome> {
        let lasting = row.lasting.filter(|_| row.event.status == Status::Abnormal)?;
        let (now_s, lifecycle) = (self.now_s(), self.config.lifecycle);
        // Only what is tried again later says that it lasts until a time that has passed: it holds nothing, and ends nothing.
        if lasting.ends_at.is_some_and(|ends_at| ends_at <= now_s) {
            return None;
        }
        // From then on a uid that was counted may be forgotten, so that known or not must make no difference.
        let may_be_forgotten = now_s.saturating_sub(lasting.starts_at) >= EPISODE_AGE_MAX_S;
        let is_old = known || may_be_forgotten;
        if row.dropped.is_some() {
            // It is stored when it first comes, and must hold no alert open. A day after its start nobody can tell whether it was.
            return is_old.then_some(Outcome::StoredOnly(StoredOnly::RuleDropped));
        }
        let severity = row.event.severity_level();
        let again = match self.slot_mut(&row.fingerprint) {
            Some(Slot::Open { alert, .. }) => {
                let is_worse = severity < alert.severity && !alert.severity_by_rule;
                // A rule may have put items of other labels, with the same start, into one alert: they are no re-sends.
                let is_same = |held: crate::row::Lasting| held.starts_at == lasting.starts_at && alert.event.event_id == row.event.event_id;
                match alert.lasting {
                    // It takes the milder alert's place, as when it was sent for the first time.
                    Some(_) if is_worse => is_old,
                    // Only what the alert has counted holds it open.
                    Some(held) if severity > alert.event.severity_level() && !is_same(held) => {
                        return is_old.then_some(Outcome::StoredOnly(StoredOnly::LowerSeverity));
                    }
                    Some(held) if is_old || is_same(held) => {
                        alert.refresh(lasting.ends_at, now_s, &lifecycle);
                        batch.touch(alert.seq, row.fingerprint, alert.written_bytes);
                        self.schedule(&row.fingerprint);
                        return Some(Outcome::Refreshed);
                    }
                    Some(_) => false,
                    None => may_be_forgotten,
                }
            }
            // What was ended by its own sender is a retry that was late. Others, of another replica or of labels that a rule
            // has put together, are still firing.
            Some(Slot::Ended(ended)) => may_be_forgotten || known && !ended.is_over(&row.event, lasting.starts_at),
            // The rules gave it another fingerprint since, or its alert is long forgotten. None is new: its rules were asked.
            None | Some(Slot::New { .. }) => is_old,
        };
        if again {
            row.event.uid = row.uid_if_reopened?;
            row.event.time = Value::Int(now_s);
        }
        None
    }

    fn open(&mut self, row: Row, event_at: u32, generation: u64, batch: &mut Batch) -> Outcome {
        let seq = alert_seq(row.ordinal, row.index);
        let opener = batch.new.are_enriched.then(|| (row.place(), row.source.clone(), row.received_at_ms, row.seed));
        let alert = Box::new(Alert::open(row, seq, self.now_s(), generation, &self.config.lifecycle));
        self.open_keys.opened(&alert.keyed_by);
        batch.touch(seq, alert.fingerprint, 0);
        list_event(seq, event_at, EventRole::Opened, batch);
        write_log(seq, alert.created(), batch);
        match opener {
            None => self.place_open(alert),
            Some((at, source, received_at_ms, seed)) => {
                self.slot_insert(alert.fingerprint, Slot::New { seq });
                let due_ms = next_due(&alert, self.grace_until_ms()).map(|due| due.at_ms);
                batch.new.push(AlertRow::new(alert, at, source, received_at_ms, seed), batch.commit.logs.len() - 1, due_ms);
            }
        }
        Outcome::Folded
    }

    fn update(&mut self, row: Row, event_at: u32, generation: u64, batch: &mut Batch) -> Outcome {
        let (now_s, config, fingerprint) = (self.now_s(), self.config, row.fingerprint);
        let Some(alert) = self.open_mut(&fingerprint) else { return Outcome::StoredOnly(StoredOnly::NoOpenAlert) };
        let converge = config.converge_each.then(|| {
            let mut log = LogEntry::of_event(alert.id(), "CONVERGE", now_s, &row.event);
            log.status = Some(row.event.status);
            log
        });
        let (seq, written_bytes) = (alert.seq, alert.written_bytes);
        let updated = alert.update(row, now_s, generation, &config.lifecycle);
        let is_open = alert.is_open();
        if matches!(updated.role, EventRole::Updated | EventRole::Late) {
            converge.into_iter().for_each(|log| write_log(seq, log, batch));
        }
        updated.logs.into_iter().for_each(|log| write_log(seq, log, batch));
        list_event(seq, event_at, updated.role, batch);
        if is_open {
            batch.touch(seq, fingerprint, written_bytes);
            self.schedule(&fingerprint);
        } else {
            self.retire(fingerprint, batch);
        }
        Outcome::Folded
    }

    fn close_for_worse(&mut self, row: &Row, batch: &mut Batch) {
        let now_s = self.now_s();
        if let Some(alert) = self.open_mut(&row.fingerprint) {
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
            self.time_out(due_ms, seq, fingerprint, batch);
        }
    }

    fn time_out(&mut self, due_ms: i64, seq: u64, fingerprint: Fingerprint, batch: &mut Batch) {
        let grace_until_ms = self.grace_until_ms();
        let Some(Slot::Open { alert, timer_ms }) = self.slot_mut(&fingerprint) else { return };
        *timer_ms = None;
        match next_due(alert, grace_until_ms) {
            Some(due) if due.at_ms <= due_ms => {
                let log = alert.end(EndReason::TimeOut(due.status, due.end_time_s), due.at_ms.div_euclid(1000));
                write_log(seq, log, batch);
                self.retire(fingerprint, batch);
            }
            _ => self.schedule(&fingerprint),
        }
    }

    /// Ends that no event can ask for any more.
    fn forget_ended(&mut self) {
        while let Some((&(at_ms, seq), &fingerprint)) = self.ended.first_key_value() {
            if at_ms > self.now_ms {
                return;
            }
            self.ended.remove(&(at_ms, seq));
            if matches!(self.slot(&fingerprint), Some(Slot::Ended(ended)) if ended.seq == seq) {
                self.slot_remove(&fingerprint);
            }
        }
    }

    /// Takes an alert that has just ended out of the open ones, to be written whole.
    fn retire(&mut self, fingerprint: Fingerprint, batch: &mut Batch) {
        let Some(Slot::Open { alert, timer_ms }) = self.slot_remove(&fingerprint) else { return };
        if let Some(at_ms) = timer_ms {
            self.timers.remove(&(at_ms, alert.seq));
        }
        self.open_alerts -= 1;
        self.open_keys.ended(&alert.keyed_by);
        self.place_ended(fingerprint, remember(&alert));
        batch.ended(alert);
    }

    /// The commit of all that was folded since the last one.
    fn take_commit(&mut self, batch: &mut Batch) -> Commit {
        let (mut commit, touched) = batch.take_part();
        for (_, touched) in touched {
            match touched {
                Touched::Ended(alert) => commit.alerts.push(write_alert(&alert)),
                Touched::Open(fingerprint) => {
                    if let Some(Slot::Open { alert, .. }) = self.slot(&fingerprint) {
                        commit.alerts.push(write_alert(alert));
                    }
                }
            }
        }
        commit.to = self.position;
        commit.received_at_ms = self.now_ms;
        commit.started_at_ms = self.started_at_ms;
        commit.ledger = self.ledger.take_changed();
        commit.next_due_ms = self.next_due_ms();
        commit.open_alerts = self.open_alerts as u64;
        batch.commit.from = self.position;
        commit
    }

    /// Sees to it that an open alert's entry among the timers is not later than its time-out.
    fn schedule(&mut self, fingerprint: &Fingerprint) {
        let grace_until_ms = self.grace_until_ms();
        let Some(Slot::Open { alert, timer_ms }) = self.shards[shard_of(*fingerprint)].get_mut(fingerprint) else { return };
        let Some(due) = next_due(alert, grace_until_ms) else { return };
        if timer_ms.is_some_and(|at_ms| at_ms <= due.at_ms) {
            return;
        }
        if let Some(later_ms) = timer_ms.replace(due.at_ms) {
            self.timers.remove(&(later_ms, alert.seq));
        }
        self.timers.insert((due.at_ms, alert.seq), *fingerprint);
    }

    fn grace_until_ms(&self) -> i64 {
        self.started_at_ms.saturating_add(self.config.lifecycle.lasting_grace_ms)
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
        self.slot_remove(&fingerprint);
        if let Some(seq) = slot.commanded_as() {
            self.by_seq.insert(seq, fingerprint);
        }
        self.shards[shard_of(fingerprint)].insert(fingerprint, slot);
    }
    fn slot_remove(&mut self, fingerprint: &Fingerprint) -> Option<Slot> {
        let slot = self.shards[shard_of(*fingerprint)].remove(fingerprint)?;
        if let Some(seq) = slot.commanded_as() {
            self.by_seq.remove(&seq);
        }
        Some(slot)
    }
    fn open_mut(&mut self, fingerprint: &Fingerprint) -> Option<&mut Alert> {
        match self.slot_mut(fingerprint) {
            Some(Slot::Open { alert, .. }) => Some(alert),
            _ => None,
        }
    }
}

fn remember(alert: &Alert) -> EndedAlert {
    let end_time = alert.end_time.unwrap_or(alert.latest_time);
    let (ended_by, requests) = (alert.ended_by.clone(), alert.requests.clone());
    EndedAlert { seq: alert.seq, create_time: alert.create_time, end_time, ended_by, ended_by_us: alert.ended_by_us, requests }
}
