//! How an alert ends. Once ended it never changes again; a new event opens a new alert.

use super::command::close_description;
use super::{Alert, LogEntry};
use crate::command::Command;
use crate::event::{Event, Status};
use crate::value::Value;

/// Why an alert ends.
#[derive(Clone, Copy, Debug)]
pub enum EndReason<'a> {
    /// A recovery or close event, its newest.
    Event(&'a Event),
    /// A worse event takes its place.
    HigherSeverity(&'a Event),
    /// `next_status` is due, or the episode ran out; at that second.
    TimeOut(Status, i64),
    /// An operator says so.
    Operator(&'a Command),
}

impl Alert {
    /// Ends the alert and gives the entry for its log. Does nothing to one that has ended.
    pub fn end(&mut self, reason: EndReason<'_>, now_s: i64) -> LogEntry {
        let id = self.id();
        let (status, end_time, description, log) = match reason {
            EndReason::Event(event) => {
                let op_type = if event.status == Status::Recovered { "RECOVER" } else { "CLOSE" };
                (event.status, event.time_s(), event.description.clone(), LogEntry::of_event(id, op_type, now_s, event))
            }
            EndReason::HigherSeverity(event) => {
                let why = Value::literal("@closed.higher_severity");
                let mut log = LogEntry::of_event(id, "CLOSE", now_s, event);
                log.description = why.clone();
                // The log tells when it ended, which an older worse event does not move back.
                log.time = event.time_s().max(self.latest_time);
                (Status::Closed, log.time, why, log)
            }
            EndReason::TimeOut(status, at_s) => {
                let op_type = if status == Status::Recovered { "SYSTEM_RECOVER" } else { "SYSTEM_CLOSE" };
                (status, at_s, Value::literal(""), LogEntry::of_system(id, op_type, at_s, ""))
            }
            EndReason::Operator(command) => {
                let why = close_description(command);
                let mut log = LogEntry::of_operator(id, "CLOSE", now_s, command);
                log.description = why.clone();
                (Status::Closed, now_s, why, log)
            }
        };
        if self.is_open() {
            self.ended_by_us = matches!(reason, EndReason::TimeOut(..) | EndReason::Operator(_));
            self.revision += 1;
            self.status = status;
            self.end_time = Some(end_time);
            self.next_status = None;
            self.update_time = now_s;
            self.extra_info.set("end_description", description);
        }
        log
    }
}
