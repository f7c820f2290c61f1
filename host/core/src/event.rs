//! The event: one observation of one thing, cleaned (docs/semantics.md, Clean), in upstream's field names.

use crate::value::{Text, Value, text_bytes};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::fmt;

/// Identity of an event, 128 bits; written as 32 hex digits in documents (`id`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Uid(pub [u8; 16]);

/// Identity of what an event is about; events of one fingerprint fold into one open alert. 32 hex digits (`dedupe_md5`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Fingerprint(pub [u8; 16]);

/// 32 lower-case hex digits, as bytes.
pub fn hex_digits(bytes: &[u8; 16]) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0u8; 32];
    for (i, byte) in bytes.iter().enumerate() {
        text[2 * i] = DIGITS[usize::from(byte >> 4)];
        text[2 * i + 1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

/// 32 lower-case hex digits.
pub fn hex(bytes: &[u8; 16]) -> Text {
    Text::new(std::str::from_utf8(&hex_digits(bytes)).unwrap_or_default())
}

/// The 16 bytes of 32 hex digits.
pub fn unhex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0u8; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}

macro_rules! hex_identity {
    ($name:ident) => {
        impl $name {
            /// 32 lower-case hex digits.
            pub fn to_hex(self) -> Text {
                hex(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.to_hex())
            }
        }
    };
}
hex_identity!(Uid);
hex_identity!(Fingerprint);

/// Where in `extra_info` the time is at which an origin alarm was read.
pub const ACCESS_TIME: [&str; 3] = ["origin_alarm", "data", "access_time"];

/// What an event says of its thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Status {
    /// Something is wrong.
    #[default]
    Abnormal,
    /// It is right again.
    Recovered,
    /// Nobody needs to look any more.
    Closed,
}

impl Status {
    /// The text in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Abnormal => "ABNORMAL",
            Status::Recovered => "RECOVERED",
            Status::Closed => "CLOSED",
        }
    }

    /// Reads the text of documents.
    pub fn parse(text: &str) -> Option<Status> {
        [Status::Abnormal, Status::Recovered, Status::Closed].into_iter().find(|s| s.as_str() == text)
    }
}

/// One tag. Keys may repeat; the last one is what a look-up by key finds.
#[derive(Clone, Debug, PartialEq)]
pub struct Tag {
    /// Name.
    pub key: Text,
    /// Value, of any JSON type; objects are JSON text after cleaning.
    pub value: Value,
    /// Name to show, if the sender gave one.
    pub display_key: Option<Value>,
    /// Value to show, if the sender gave one.
    pub display_value: Option<Value>,
}

impl Tag {
    /// A tag with nothing but key and value.
    pub fn new(key: impl Into<Text>, value: impl Into<Value>) -> Tag {
        Tag { key: key.into(), value: value.into(), display_key: None, display_value: None }
    }

    /// The tag as an object.
    pub fn to_value(&self) -> Value {
        let mut fields = vec![(Text::new_static("key"), Value::Text(self.key.clone())), (Text::new_static("value"), self.value.clone())];
        let display = [("display_key", &self.display_key), ("display_value", &self.display_value)];
        fields.extend(display.into_iter().filter_map(|(name, value)| Some((Text::new_static(name), value.clone()?))));
        Value::Object(fields)
    }
}

impl Serialize for Tag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("key", self.key.as_str())?;
        map.serialize_entry("value", &self.value)?;
        if let Some(value) = &self.display_key {
            map.serialize_entry("display_key", value)?;
        }
        if let Some(value) = &self.display_value {
            map.serialize_entry("display_value", value)?;
        }
        map.end()
    }
}

/// A cleaned event. `Value::Null` means that the field is absent. Field types: docs/semantics.md, Clean.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Event {
    /// `id` of the document.
    pub uid: Uid,
    /// `bk_tenant_id`.
    pub tenant: Text,
    /// The sender's id.
    pub event_id: Value,
    /// Which source made it; `bkmonitor` for our own strategies.
    pub plugin_id: Value,
    /// Absent for third-party events.
    pub strategy_id: Value,
    /// Name of the alert.
    pub alert_name: Value,
    /// Free text.
    pub description: Value,
    /// 1 fatal, 2 warning, 3 reminder. A dynamic override may leave any JSON type; see [`Event::severity_level`].
    pub severity: Value,
    /// `time_series`, `log` or `event`.
    pub data_type: Text,
    /// Tags in the order sent.
    pub tags: Vec<Tag>,
    /// `HOST`, `SERVICE`, `TOPO`, empty, or custom text.
    pub target_type: Text,
    /// What it is about.
    pub target: Value,
    /// Who was assigned by the sender.
    pub assignee: Value,
    /// Abnormal, recovered or closed.
    pub status: Status,
    /// List of metric ids.
    pub metric: Value,
    /// One of twelve known labels, else `other_rt`.
    pub category: Text,
    /// Names of the fields and tags that make up the fingerprint.
    pub dedupe_keys: Vec<Value>,
    /// `dedupe_md5` of the document; set when the event is keyed (or sent, and trusted, under `bk-monitor`).
    pub dedupe_md5: Option<Text>,
    /// Unix seconds.
    pub time: Value,
    /// Unix seconds; absent means `time`.
    pub anomaly_time: Value,
    /// Unix seconds.
    pub bk_ingest_time: Value,
    /// Unix seconds.
    pub bk_clean_time: Value,
    /// Unix seconds; when it was received here.
    pub create_time: i64,
    /// Business id.
    pub bk_biz_id: Value,
    /// Host address.
    pub ip: Value,
    /// Host address.
    pub ipv6: Value,
    /// Cloud area of the host.
    pub bk_cloud_id: Value,
    /// Host id.
    pub bk_host_id: Value,
    /// Service instance id.
    pub bk_service_instance_id: Value,
    /// Topology nodes, `obj|inst`.
    pub bk_topo_node: Value,
    /// Everything else, an object; kept but not searched.
    pub extra_info: Value,
    /// Top-level fields without a meaning that a dedupe key names, where clean left them. In memory only, for the
    /// fingerprint.
    pub unknown: Vec<(Text, Value)>,
}

impl Event {
    /// Rough bytes held outside of the event itself, for the bound of queues. The fields that are short by their nature hold none.
    pub(crate) fn heap_bytes(&self) -> usize {
        let values = [
            &self.event_id,
            &self.plugin_id,
            &self.strategy_id,
            &self.alert_name,
            &self.description,
            &self.target,
            &self.assignee,
            &self.metric,
            &self.bk_biz_id,
            &self.ip,
            &self.ipv6,
            &self.bk_cloud_id,
            &self.bk_host_id,
            &self.bk_service_instance_id,
            &self.bk_topo_node,
            &self.extra_info,
        ];
        let of_values = values.into_iter().map(Value::heap_bytes).sum::<usize>();
        let of_texts = [&self.tenant, &self.data_type, &self.target_type, &self.category].into_iter().map(text_bytes).sum::<usize>();
        let of_tag = |tag: &Tag| {
            let shown = [&tag.display_key, &tag.display_value].into_iter().flatten().map(Value::heap_bytes).sum::<usize>();
            size_of::<Tag>() + text_bytes(&tag.key) + tag.value.heap_bytes() + shown
        };
        let of_tags = self.tags.iter().map(of_tag).sum::<usize>();
        let of_keys = self.dedupe_keys.iter().map(|key| size_of::<Value>() + key.heap_bytes()).sum::<usize>();
        let of_unknown = self.unknown.iter().map(|(key, value)| size_of::<(Text, Value)>() + text_bytes(key) + value.heap_bytes()).sum::<usize>();
        of_values + of_texts + of_tags + of_keys + of_unknown
    }

    /// 1 to 3; anything that is no such integer counts as 3, the mildest.
    pub fn severity_level(&self) -> u8 {
        match self.severity {
            Value::Int(n @ 1..=3) => n as u8,
            _ => 3,
        }
    }

    /// Unix seconds, without a fraction. What is no number was refused before; see
    /// [`check_poison`](crate::pipeline::clean::check_poison).
    pub fn time_s(&self) -> i64 {
        match self.time {
            Value::Int(n) => n,
            Value::Float(f) => f as i64,
            _ => 0,
        }
    }

    /// `anomaly_time`, falling back to `time`.
    pub fn anomaly_time_or_time(&self) -> Value {
        if self.anomaly_time.is_null() { self.time.clone() } else { self.anomaly_time.clone() }
    }

    /// The value of the last tag of that key.
    pub fn tag(&self, key: &str) -> Option<&Value> {
        self.tags.iter().rev().find(|tag| tag.key == key).map(|tag| &tag.value)
    }

    /// `access_time` of the origin alarm, else `time`: what expiry looks at (docs/semantics.md, Expiry).
    pub fn access_time(&self) -> &Value {
        let sent = self.extra_info.path(&ACCESS_TIME);
        sent.filter(|time| !time.is_null()).unwrap_or(&self.time)
    }

    /// A top-level field by upstream's name, as dedupe keys and documents address it; one without a meaning as it was sent.
    pub fn field(&self, name: &str) -> Value {
        let owned = |text: &Text| Value::Text(text.clone());
        match name {
            "id" => owned(&self.uid.to_hex()),
            "bk_tenant_id" => owned(&self.tenant),
            "event_id" => self.event_id.clone(),
            "plugin_id" => self.plugin_id.clone(),
            "strategy_id" => self.strategy_id.clone(),
            "alert_name" => self.alert_name.clone(),
            "description" => self.description.clone(),
            "severity" => self.severity.clone(),
            "data_type" => owned(&self.data_type),
            "target_type" => owned(&self.target_type),
            "target" => self.target.clone(),
            "assignee" => self.assignee.clone(),
            "status" => Value::literal(self.status.as_str()),
            "metric" => self.metric.clone(),
            "category" => owned(&self.category),
            "dedupe_keys" => Value::List(self.dedupe_keys.clone()),
            "time" => self.time.clone(),
            "anomaly_time" => self.anomaly_time.clone(),
            "bk_ingest_time" => self.bk_ingest_time.clone(),
            "bk_clean_time" => self.bk_clean_time.clone(),
            "create_time" => Value::Int(self.create_time),
            "bk_biz_id" => self.bk_biz_id.clone(),
            "ip" => self.ip.clone(),
            "ipv6" => self.ipv6.clone(),
            "bk_cloud_id" => self.bk_cloud_id.clone(),
            "bk_host_id" => self.bk_host_id.clone(),
            "bk_service_instance_id" => self.bk_service_instance_id.clone(),
            "bk_topo_node" => self.bk_topo_node.clone(),
            "extra_info" => self.extra_info.clone(),
            "tags" => Value::List(self.tags.iter().map(Tag::to_value).collect()),
            _ => {
                let sent = self.unknown.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value);
                // Our own doors have moved it there.
                sent.or_else(|| self.extra_info.path(&["unknown", name])).cloned().unwrap_or_default()
            }
        }
    }

    /// The event document of the `bkfta_event` family: without nulls, empty lists and empty objects.
    pub fn document(&self) -> EventDocument<'_> {
        EventDocument { event: self, keep_empty: false }
    }

    /// The event as an alert embeds it: nulls left out, empty lists and objects kept; `extra_info` is always there.
    pub fn embedded(&self) -> EventDocument<'_> {
        EventDocument { event: self, keep_empty: true }
    }
}

/// A view of an event that serialises as one of its two document forms.
pub struct EventDocument<'a> {
    event: &'a Event,
    keep_empty: bool,
}

impl Serialize for EventDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let e = self.event;
        let skip = |value: &Value| if self.keep_empty { value.is_null() } else { value.is_empty_in_document() };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &e.uid)?;
        map.serialize_entry("bk_tenant_id", e.tenant.as_str())?;
        for (name, value) in [
            ("event_id", &e.event_id),
            ("plugin_id", &e.plugin_id),
            ("strategy_id", &e.strategy_id),
            ("alert_name", &e.alert_name),
            ("description", &e.description),
            ("severity", &e.severity),
        ] {
            if !skip(value) {
                map.serialize_entry(name, value)?;
            }
        }
        map.serialize_entry("data_type", e.data_type.as_str())?;
        if self.keep_empty || !e.tags.is_empty() {
            map.serialize_entry("tags", &e.tags)?;
        }
        map.serialize_entry("target_type", e.target_type.as_str())?;
        for (name, value) in [("target", &e.target), ("assignee", &e.assignee)] {
            if !skip(value) {
                map.serialize_entry(name, value)?;
            }
        }
        map.serialize_entry("status", e.status.as_str())?;
        if !skip(&e.metric) {
            map.serialize_entry("metric", &e.metric)?;
        }
        map.serialize_entry("category", e.category.as_str())?;
        if self.keep_empty || !e.dedupe_keys.is_empty() {
            map.serialize_entry("dedupe_keys", &e.dedupe_keys)?;
        }
        if let Some(md5) = &e.dedupe_md5 {
            map.serialize_entry("dedupe_md5", md5.as_str())?;
        }
        if !skip(&e.time) {
            map.serialize_entry("time", &e.time)?;
        }
        let anomaly_time = if e.anomaly_time.is_null() { &e.time } else { &e.anomaly_time };
        for (name, value) in [("anomaly_time", anomaly_time), ("bk_ingest_time", &e.bk_ingest_time), ("bk_clean_time", &e.bk_clean_time)] {
            if !skip(value) {
                map.serialize_entry(name, value)?;
            }
        }
        map.serialize_entry("create_time", &e.create_time)?;
        for (name, value) in [
            ("bk_biz_id", &e.bk_biz_id),
            ("ip", &e.ip),
            ("ipv6", &e.ipv6),
            ("bk_cloud_id", &e.bk_cloud_id),
            ("bk_host_id", &e.bk_host_id),
            ("bk_service_instance_id", &e.bk_service_instance_id),
            ("bk_topo_node", &e.bk_topo_node),
        ] {
            if !skip(value) {
                map.serialize_entry(name, value)?;
            }
        }
        if !skip(&e.extra_info) {
            map.serialize_entry("extra_info", &e.extra_info)?;
        } else if self.keep_empty {
            map.serialize_entry("extra_info", &Value::Object(Vec::new()))?;
        }
        map.end()
    }
}
