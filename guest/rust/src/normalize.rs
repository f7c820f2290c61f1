//! Rules that make events of what a sender sent.

use crate::When;
use crate::bindings::alertmill::rules::types::{RowError, Tag};
use crate::glue::lifecycle;
use crate::glue::normalize_rule::{self, Normalized};
use crate::manifest::Hook;

pub use crate::glue::normalize_rule::Payload;

/// A rule that makes events of a payload. Conditions may name `source`, `content_type` and `headers.NAME`; the first rule whose
/// conditions hold gets the payload, and no other does.
///
/// ```
/// use alertmill_rule::prelude::*;
///
/// /// One event for each line, as `disk full on web-1`.
/// struct Lines;
///
/// impl Normalize for Lines {
///     const WHEN: &'static [When] = &[When::Equals("content_type", "text/plain")];
///     fn new(_config: &str) -> Result<Self, String> {
///         Ok(Lines)
///     }
///     fn normalize(&self, payload: &Payload, events: &mut Vec<NewEvent>) -> Result<(), String> {
///         for line in payload.text()?.lines() {
///             let (what, host) = line.split_once(" on ").ok_or("a line without a host")?;
///             events.push(NewEvent::named(what).tag("host", host));
///         }
///         Ok(())
///     }
/// }
///
/// export!(normalize: Lines);
/// # fn main() {
/// let mut events = Vec::new();
/// Lines.normalize(&alertmill_rule::testing::payload("hook", "disk full on web-1"), &mut events).unwrap();
/// assert_eq!(events, [NewEvent::named("disk full").tag("host", "web-1")]);
/// # }
/// ```
pub trait Normalize: Sized {
    /// Payloads that it is for.
    const WHEN: &'static [When] = &[];
    /// JSON schema of the config; empty means that there is none.
    const CONFIG_SCHEMA: &'static str = "";

    /// Called once, with the JSON configured for the rule. `Err` is shown to the operator, and the version does not start.
    fn new(config: &str) -> Result<Self, String>;

    /// Called for each payload; adds its events. `Err`: what was added is forgotten and the payload becomes a dead letter.
    fn normalize(&self, payload: &Payload, events: &mut Vec<NewEvent>) -> Result<(), String>;
}

impl Payload {
    /// The body, if it is UTF-8.
    pub fn text(&self) -> Result<&str, String> {
        std::str::from_utf8(&self.body).map_err(|error| format!("the body is no text: {error}"))
    }

    /// A header by its name in lower case; only those that the source's configuration names are there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// An event to be. What is left out gets the host's default: an event without time has the time of its arrival.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewEvent {
    /// The sender's id of it; repeats of an id are counted once.
    pub event_id: Option<String>,
    /// Kind of sender; the source's name by default.
    pub plugin_id: Option<String>,
    /// What is wrong; the only text that an event must have.
    pub alert_name: String,
    /// In words.
    pub description: String,
    /// `abnormal` (default), `recovered` or `closed`.
    pub status: Option<String>,
    /// Unix seconds.
    pub time: Option<u64>,
    /// Unix seconds; when the anomaly began, if not at `time`.
    pub anomaly_time: Option<u64>,
    /// 1 fatal, 2 warning, 3 remind.
    pub severity: Option<u8>,
    /// Group of alerts, as `os` or `application`.
    pub category: Option<String>,
    /// Kind of the thing that is ill, as `HOST`.
    pub target_type: Option<String>,
    /// The thing that is ill.
    pub target: Option<String>,
    /// Business in bk-monitor.
    pub bk_biz_id: Option<i64>,
    /// Metrics concerned.
    pub metric: Vec<String>,
    /// Tags, as key and value.
    pub tags: Vec<(String, String)>,
    /// Fields whose values make events the same alert.
    pub dedupe_keys: Vec<String>,
    /// A JSON object kept under `extra_info`.
    pub extra: Option<String>,
    /// Name and value of any other field that a sender may set: `assignee`, `ip`, `bk_host_id`, ...
    pub more: Vec<(String, String)>,
}

impl NewEvent {
    /// An event with a name and nothing else.
    pub fn named(alert_name: impl Into<String>) -> Self {
        NewEvent { alert_name: alert_name.into(), ..NewEvent::default() }
    }

    /// The same with one tag more.
    #[must_use]
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }

    /// The same with one more field: `assignee`, `ip`, `bk_host_id`, ...
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.more.push((name.into(), value.into()));
        self
    }

    fn of_payload(self, row: u32) -> normalize_rule::NewEvent {
        normalize_rule::NewEvent {
            row,
            event_id: self.event_id,
            plugin_id: self.plugin_id,
            alert_name: self.alert_name,
            description: self.description,
            status: self.status,
            time: self.time,
            anomaly_time: self.anomaly_time,
            severity: self.severity,
            category: self.category,
            target_type: self.target_type,
            target: self.target,
            bk_biz_id: self.bk_biz_id,
            metric: self.metric,
            tags: self.tags.into_iter().map(|(key, value)| Tag { key, value }).collect(),
            dedupe_keys: self.dedupe_keys,
            extra: self.extra,
            more: self.more,
        }
    }
}

/// A [`Normalize`] rule behind its export.
pub struct NormalizeHook<R> {
    rule: R,
}

impl<R: Normalize> NormalizeHook<R> {
    /// The rule with its config.
    pub fn new(config: &str) -> Result<Self, String> {
        Ok(NormalizeHook { rule: R::new(config)? })
    }

    /// Its part of the manifest.
    pub fn describe(hook: lifecycle::Hook) -> Hook {
        Hook::new(hook, &[], &[], R::WHEN, R::CONFIG_SCHEMA)
    }

    /// Understands a batch of payloads.
    pub fn run(&self, payloads: Vec<Payload>) -> Normalized {
        let mut normalized = Normalized { events: Vec::with_capacity(payloads.len()), errors: Vec::new() };
        let mut events = Vec::new();
        for (row, payload) in (0u32..).zip(&payloads) {
            match self.rule.normalize(payload, &mut events) {
                Ok(()) => normalized.events.extend(events.drain(..).map(|event| event.of_payload(row))),
                Err(message) => {
                    events.clear();
                    normalized.errors.push(RowError { row, message });
                }
            }
        }
        normalized
    }
}
