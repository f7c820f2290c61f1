//! A raw body of a source whose events a *normalize* rule makes, and what such a rule answers.

use crate::row::RuleFailure;
use crate::value::{Text, text_bytes};
use std::sync::Arc;

/// One body as it was received.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload {
    /// Its record.
    pub ordinal: u64,
    /// Whose it is.
    pub tenant: Text,
    /// Name of the source.
    pub source: Text,
    /// As the sender said, without parameters, lower case; empty when it said nothing.
    pub content_type: Text,
    /// Those that the source's configuration names, in its order, names in lower case.
    pub headers: Vec<(Text, Text)>,
    /// Milliseconds since 1970, of its record.
    pub received_at_ms: i64,
    /// Its bytes.
    pub body: Arc<[u8]>,
}

/// What the rules made of one payload.
#[derive(Clone, Debug, PartialEq)]
pub enum Normalized {
    /// Events, in the rule's order; none is an answer too.
    Events(Vec<NewEvent>),
    /// The rule could not judge it.
    Failed(RuleFailure),
    /// No rule of the generation is for it.
    Unclaimed,
}

/// An event as a normalize rule gives it. It is then held to what a sender of `POST /api/v1/events` is held to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewEvent {
    /// Identity; made from the content when absent.
    pub event_id: Option<Text>,
    /// The source's name when absent.
    pub plugin_id: Option<Text>,
    /// Name of what happened.
    pub alert_name: Text,
    /// For people.
    pub description: Text,
    /// `abnormal`, `recovered`, `closed`; abnormal when absent.
    pub status: Option<Text>,
    /// Unix seconds.
    pub time: Option<u64>,
    /// Unix seconds; when the anomaly began.
    pub anomaly_time: Option<u64>,
    /// 1 fatal, 2 warning, 3 remind.
    pub severity: Option<u8>,
    /// Category.
    pub category: Option<Text>,
    /// Kind of target.
    pub target_type: Option<Text>,
    /// What it is about.
    pub target: Option<Text>,
    /// Business.
    pub bk_biz_id: Option<i64>,
    /// Metrics.
    pub metric: Vec<Text>,
    /// Key and value; the order stays.
    pub tags: Vec<(Text, Text)>,
    /// Fields that make events one alert.
    pub dedupe_keys: Vec<Text>,
    /// A JSON object for `extra_info`.
    pub extra: Option<Text>,
    /// Any other field that an event may have, as text: `assignee`, `ip`, `bk_host_id`, ...
    pub more: Vec<(Text, Text)>,
}

impl NewEvent {
    /// Bytes that it takes in memory, roughly.
    pub fn size_bytes(&self) -> usize {
        let NewEvent { event_id, plugin_id, alert_name, description, status, category, target_type, target, metric, tags, dedupe_keys, extra, more, .. } = self;
        let optional = [event_id, plugin_id, status, category, target_type, target, extra].into_iter().flatten();
        let listed = metric.iter().chain(dedupe_keys);
        let texts = [alert_name, description].into_iter().chain(optional).chain(listed).map(text_bytes).sum::<usize>();
        let pairs = tags.iter().chain(more).map(|(key, value)| text_bytes(key) + text_bytes(value)).sum::<usize>();
        size_of::<NewEvent>() + size_of_val(&**metric) + size_of_val(&**dedupe_keys) + size_of_val(&**tags) + size_of_val(&**more) + texts + pairs
    }
}
