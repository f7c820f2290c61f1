//! Log entries of an alert (docs/semantics.md, Logs).

use crate::command::Command;
use crate::event::{Event, Status};
use crate::value::{Text, Value};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// One entry of an alert's log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogEntry {
    /// The alert's id.
    pub alert_id: Text,
    /// `CREATE`, `CONVERGE`, `RECOVER`, ...
    pub op_type: &'static str,
    /// Seconds; when it was written.
    pub create_time: i64,
    /// Seconds; what it is about.
    pub time: i64,
    /// Text, or a code such as `@closed.higher_severity`.
    pub description: Value,
    /// Uid of the event that caused it.
    pub event_id: Option<Text>,
    /// Who caused it, if somebody did.
    pub operator: Option<Text>,
    /// Severity of a dropped event.
    pub severity: Option<Value>,
    /// Status of a converged event.
    pub status: Option<Status>,
    /// What a delayed recovery will bring, and when.
    pub next: Option<(Status, i64)>,
}

impl LogEntry {
    /// An entry caused by an event.
    pub fn of_event(alert_id: Text, op_type: &'static str, now_s: i64, event: &Event) -> LogEntry {
        LogEntry {
            alert_id,
            op_type,
            create_time: now_s,
            time: event.time_s(),
            description: event.description.clone(),
            event_id: Some(event.uid.to_hex()),
            operator: None,
            severity: None,
            status: None,
            next: None,
        }
    }

    /// An entry that no event caused.
    pub fn of_system(alert_id: Text, op_type: &'static str, now_s: i64, description: &str) -> LogEntry {
        LogEntry {
            alert_id,
            op_type,
            create_time: now_s,
            time: now_s,
            description: Value::from(description),
            event_id: None,
            operator: None,
            severity: None,
            status: None,
            next: None,
        }
    }

    /// An entry that an operator caused, with the comment as its description.
    pub fn of_operator(alert_id: Text, op_type: &'static str, now_s: i64, command: &Command) -> LogEntry {
        LogEntry { operator: Some(command.operator.clone()), ..LogEntry::of_system(alert_id, op_type, now_s, &command.comment) }
    }
}

impl Serialize for LogEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("alert_id", self.alert_id.as_str())?;
        map.serialize_entry("op_type", self.op_type)?;
        map.serialize_entry("create_time", &self.create_time)?;
        map.serialize_entry("time", &self.time)?;
        if !self.description.is_null() {
            map.serialize_entry("description", &self.description)?;
        }
        if let Some(id) = &self.event_id {
            map.serialize_entry("event_id", id.as_str())?;
        }
        if let Some(operator) = &self.operator {
            map.serialize_entry("operator", operator.as_str())?;
        }
        if let Some(severity) = &self.severity {
            map.serialize_entry("severity", severity)?;
        }
        if let Some(status) = self.status {
            map.serialize_entry("status", status.as_str())?;
        }
        if let Some((status, at)) = self.next {
            map.serialize_entry("next_status", status.as_str())?;
            map.serialize_entry("next_status_time", &at)?;
        }
        map.end()
    }
}
