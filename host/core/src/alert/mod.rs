//! The alert: what one fingerprint's events fold into. Pure: open alerts + events + time -> alerts, logs, time-outs.
//!
//! Reading order: [`open`], [`update`], [`end`], [`command`], then [`fold`](crate::pipeline::fold), which chooses between them for each
//! event (docs/semantics.md, Fold). [`document`] is the form that Elasticsearch holds (the same, Documents).

mod command;
mod document;
mod end;
mod log;
mod open;
mod update;

pub use command::Acknowledged;
pub use document::{AlertDocument, event_of};
pub use end::EndReason;
pub use log::LogEntry;
pub use update::Updated;

use crate::event::{Event, Fingerprint, Status, Tag};
use crate::row::Lasting;
use crate::value::{Text, Value};

/// Seconds without an event after which an alert of a third party is closed.
pub const THIRD_PARTY_CLOSE_AFTER_S: i64 = 3600;

/// What of the life cycle is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifecycleConfig {
    /// Seconds between the last event and the close by time-out (alerts without a strategy).
    pub close_after_s: i64,
    /// Seconds by which a recovery event is held back; 0 recovers at once.
    pub recover_window_s: i64,
    /// Milliseconds after a start in which an episode of a re-sending source does not run out.
    pub lasting_grace_ms: i64,
}

impl Default for LifecycleConfig {
    fn default() -> Self {
        LifecycleConfig { close_after_s: THIRD_PARTY_CLOSE_AFTER_S, recover_window_s: 0, lasting_grace_ms: 300_000 }
    }
}

/// An alert. Times are Unix seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// `seq_id`; see [`identity::alert_seq`](crate::identity::alert_seq).
    pub seq: u64,
    /// What it is about.
    pub fingerprint: Fingerprint,
    /// The rule that made its key; empty when none did.
    pub keyed_by: Text,
    /// `dedupe_md5` of the document.
    pub dedupe_md5: Text,
    /// `bk_tenant_id`.
    pub tenant: Text,
    /// Name, of the event that opened it.
    pub alert_name: Value,
    /// Strategy, absent for third parties.
    pub strategy_id: Value,
    /// Stored status; it leaves `Abnormal` once.
    pub status: Status,
    /// 1 to 3.
    pub severity: u8,
    /// A rule set the severity: events of another severity then neither replace nor leave the alert.
    pub severity_by_rule: bool,
    /// When it was made.
    pub create_time: i64,
    /// When it last changed.
    pub update_time: i64,
    /// Time of its earliest event.
    pub begin_time: i64,
    /// Time of its newest event.
    pub latest_time: i64,
    /// Earliest anomaly time, as the sender gave it.
    pub first_anomaly_time: Value,
    /// When it ended.
    pub end_time: Option<i64>,
    /// The representative event.
    pub event: Event,
    /// Labels of the strategy.
    pub labels: Value,
    /// What the dedupe keys mean, for people.
    pub dimensions: Vec<Tag>,
    /// Everything else.
    pub extra_info: Value,
    /// Blocked by quality of service.
    pub is_blocked: bool,
    /// Status that a time-out brings, and when.
    pub next_status: Option<(Status, i64)>,
    /// The episode of a source that re-sends while a condition lasts.
    pub lasting: Option<Lasting>,
    /// A time-out or an operator ended it, so that its sender may still hold the condition for true.
    pub ended_by_us: bool,
    /// The item of a re-sending source that ended it: `event_id`, and the start of its episode.
    pub ended_by: Option<(Value, i64)>,
    /// Who takes care of it.
    pub ack: Option<Acknowledged>,
    /// Requests whose commands changed it, oldest first ([`Command::request_id`](crate::command::Command::request_id)).
    pub requests: Vec<Text>,
    /// Bytes that alert rules wrote into it, one over the other, for the bounds of alerts and commits.
    pub written_bytes: usize,
    /// Distinct events that opened, updated, converged into or ended it.
    pub event_count: u64,
    /// Rises with every change, wherever commits begin and end; external version of the document.
    pub revision: u64,
    /// Rule-set generation of its last folded event.
    pub rule_generation: u64,
}

impl Alert {
    /// The document's id.
    pub fn id(&self) -> Text {
        crate::identity::alert_id(self.create_time, self.seq)
    }

    /// True until it ends.
    pub fn is_open(&self) -> bool {
        self.status == Status::Abnormal
    }

    /// Seconds, at least 60 (docs/semantics.md, Documents).
    pub fn duration(&self) -> i64 {
        let first = match &self.first_anomaly_time {
            Value::Int(n) => *n,
            Value::Float(f) => *f as i64,
            _ => self.begin_time,
        };
        (self.latest_time - first).max(60)
    }
}
