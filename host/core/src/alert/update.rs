//! An event meets an open alert (docs/semantics.md, Fold), with event-time order where upstream has none (the same,
//! Differences, rows 18 and 53 to 56): only an event at least as new as the newest one moves the alert forward or ends it.

use super::{Alert, EndReason, LifecycleConfig, LogEntry};
use crate::event::Status;
use crate::ports::EventRole;
use crate::row::Row;
use crate::value::Value;

/// What an event did to an alert.
#[derive(Debug)]
pub struct Updated {
    /// Its part in the alert's list of events.
    pub role: EventRole,
    /// Entries to write, besides the CONVERGE one that the event list stands for.
    pub logs: Vec<LogEntry>,
}

impl Alert {
    /// Folds one event in. The caller has settled severity (docs/semantics.md, Fold, rows 8 and 9).
    pub fn update(&mut self, row: Row, now_s: i64, generation: u64, config: &LifecycleConfig) -> Updated {
        self.update_time = now_s;
        self.event_count += 1;
        self.revision += 1;
        self.rule_generation = generation;
        let time = row.event.time_s();
        let status = row.event.status;
        if status == Status::Abnormal {
            self.first_anomaly_time = earlier(&self.first_anomaly_time, row.event.anomaly_time_or_time());
            self.begin_time = self.begin_time.min(time);
        }
        if time < self.latest_time {
            return Updated { role: EventRole::Late, logs: Vec::new() };
        }
        self.latest_time = time;
        match status {
            Status::Abnormal => self.go_on(row, now_s, config),
            Status::Recovered if config.recover_window_s > 0 => self.delay_recovery(&row, now_s, config),
            Status::Recovered | Status::Closed => {
                let log = self.end(EndReason::Event(&row.event), now_s);
                self.ended_by = row.lasting.map(|lasting| (row.event.event_id, lasting.starts_at));
                Updated { role: EventRole::Ended, logs: vec![log] }
            }
        }
    }

    fn go_on(&mut self, row: Row, now_s: i64, config: &LifecycleConfig) -> Updated {
        let mut logs = Vec::new();
        if matches!(self.next_status, Some((Status::Recovered, _))) {
            logs.push(LogEntry::of_event(self.id(), "ABORT_RECOVER", now_s, &row.event));
        }
        self.next_status = Some((Status::Closed, now_s + config.close_after_s));
        // What is tried again later may say that it lasts until a time that has passed: what others said since stays.
        let is_past = row.lasting.and_then(|lasting| lasting.ends_at).is_some_and(|ends_at| ends_at <= now_s);
        if row.lasting.is_some() && !(is_past && self.lasting.is_some()) {
            self.lasting = row.lasting;
        }
        // A severity that a rule assigned differs from the event's own; the newest event still represents the alert.
        if row.event.severity_level() == self.severity || self.severity_by_rule {
            self.event = row.event;
        }
        Updated { role: EventRole::Updated, logs }
    }

    fn delay_recovery(&mut self, row: &Row, now_s: i64, config: &LifecycleConfig) -> Updated {
        let next = (Status::Recovered, now_s + config.recover_window_s);
        self.next_status = Some(next);
        let mut log = LogEntry::of_event(self.id(), "DELAY_RECOVER", now_s, &row.event);
        log.next = Some(next);
        Updated { role: EventRole::RecoveryDelayed, logs: vec![log] }
    }

    /// A re-send of an episode that the alert has absorbed: only its time-outs move. The latest one decides when it ends.
    pub fn refresh(&mut self, ends_at: Option<i64>, now_s: i64, config: &LifecycleConfig) {
        self.revision += 1;
        if let Some(lasting) = &mut self.lasting {
            lasting.ends_at = ends_at;
        }
        if matches!(self.next_status, Some((Status::Closed, _))) {
            self.next_status = Some((Status::Closed, now_s + config.close_after_s));
        }
    }
}

/// The earlier of two times if both are truthy numbers, else the new one.
fn earlier(existing: &Value, new: Value) -> Value {
    let seconds = |value: &Value| match value {
        Value::Int(n) => Some(*n as f64),
        Value::Float(f) => Some(*f),
        _ => None,
    };
    match (seconds(existing), seconds(&new)) {
        (Some(a), Some(b)) if a != 0.0 && b != 0.0 && a <= b => existing.clone(),
        _ => new,
    }
}
