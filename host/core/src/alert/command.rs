//! An operator's command meets an open alert (docs/semantics.md, Commands).

use super::{Alert, EndReason, LogEntry};
use crate::command::{Action, AlertNow, Command};
use crate::value::{Text, Value};

/// Requests that an alert remembers; the oldest is forgotten for a newer one.
const REQUESTS_MAX: usize = 16;

/// Who acknowledged an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// By name.
    pub operator: Text,
    /// Seconds from the alert's creation to it.
    pub after_s: i64,
}

impl Alert {
    /// Does what is asked and gives the entry for the log; none when the alert is so already, and nothing changes then.
    pub fn command(&mut self, command: &Command, now_s: i64) -> Option<LogEntry> {
        let log = match (command.action, &self.ack) {
            (Action::Acknowledge, None) => {
                self.ack = Some(Acknowledged { operator: command.operator.clone(), after_s: now_s - self.create_time });
                self.note(command, "ACK", now_s)
            }
            (Action::Unacknowledge, Some(_)) => {
                self.ack = None;
                self.note(command, "UNACK", now_s)
            }
            (Action::Acknowledge, Some(_)) | (Action::Unacknowledge, None) => return None,
            (Action::Close, _) => self.end(EndReason::Operator(command), now_s),
        };
        if let Some(request) = command.request_id() {
            if self.requests.len() == REQUESTS_MAX {
                self.requests.remove(0);
            }
            self.requests.push(request);
        }
        Some(log)
    }

    fn note(&mut self, command: &Command, op_type: &'static str, now_s: i64) -> LogEntry {
        self.revision += 1;
        self.update_time = now_s;
        LogEntry::of_operator(self.id(), op_type, now_s, command)
    }

    /// What whoever commanded it is told.
    pub fn now(&self) -> AlertNow {
        AlertNow { status: self.status, ack_operator: self.ack.as_ref().map(|ack| ack.operator.clone()), end_time: self.end_time, revision: self.revision }
    }
}

/// Why it was closed: the operator's words, or a code.
pub(super) fn close_description(command: &Command) -> Value {
    match command.comment.is_empty() {
        true => Value::literal("@closed.by_operator"),
        false => Value::Text(command.comment.clone()),
    }
}
