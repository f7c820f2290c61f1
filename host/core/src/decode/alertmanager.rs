//! One alert as Prometheus posts it to an Alertmanager: `{labels, annotations, startsAt, endsAt, generatorURL}`.
//!
//! | our field | from |
//! |---|---|
//! | `alert_name` | label `alertname` |
//! | `tags` | all labels with a value, sorted by name |
//! | `dedupe_keys` | `tags.NAME` of all of them |
//! | `event_id` | digest of the sorted labels |
//! | `description` | annotation `description`, else `message`, else `summary` |
//! | `severity` | label `severity`, else `level`, else `priority`, by word; 3 when there is none |
//! | `extra_info.alertmanager` | `{annotations, generator_url, starts_at, ends_at, starts_at_s, ends_at_s}`, times in ms and s |
//!
//! `time`, `status` and `anomaly_time` rest on when the record was received; `pipeline::understand` settles them from
//! `starts_at_s` and `ends_at_s`. Go's zero time means absent. Other members are ignored, as Alertmanager does.

use super::code::{Code, Refusal, quoted};
use super::coerce::{TEXT_BYTES_MAX, digest, mark, sweep};
use super::rfc3339::parse_rfc3339_ms;
use crate::fields::{ALERT_NAME_BYTES_MAX, DESCRIPTION_BYTES_MAX, TAGS_MAX, check_tag_key};
use crate::item::{Item, ItemField};
use crate::value::{Text, Value};

/// Go's `time.Time{}`: year 1.
const ZERO_TIME_MS: i64 = -62_135_596_800_000;

/// Makes the item of a posted alert.
pub(super) fn to_item(posted: Item, bytes: &[u8]) -> Result<Item, Refusal> {
    let mut posted = Posted::new(posted)?;
    posted.labels.sort();
    let mut item = Item::default();
    item.set(ItemField::AlertName, Value::Text(posted.name()?));
    item.set(ItemField::EventId, digest_of(&posted.labels));
    item.set(ItemField::Severity, Value::Int(posted.severity()));
    let cut = posted.description().map(|(text, cut)| {
        item.set(ItemField::Description, Value::Text(text));
        cut
    });
    let keys = posted.labels.iter().map(|(key, _)| Value::Text(Text::from(format!("tags.{key}"))));
    item.set(ItemField::DedupeKeys, Value::List(keys.collect()));
    let tag = |(key, value): (Text, Text)| Value::Object(vec![(Text::new_static("key"), Value::Text(key)), (Text::new_static("value"), Value::Text(value))]);
    item.set(ItemField::Tags, Value::List(posted.labels.into_iter().map(tag).collect()));

    let mut ours = Value::Object(Vec::new());
    ours.set("annotations", Value::Object(posted.annotations));
    if !posted.generator_url.is_null() {
        ours.set("generator_url", posted.generator_url);
    }
    for (name, name_s, ms) in [("starts_at", "starts_at_s", posted.starts_at_ms), ("ends_at", "ends_at_s", posted.ends_at_ms)] {
        if let Some(ms) = ms {
            ours.set(name, Value::Int(ms));
            ours.set(name_s, Value::Int(ms.div_euclid(1_000)));
        }
    }
    item.set(ItemField::ExtraInfo, Value::Object(vec![(Text::new_static("alertmanager"), ours)]));
    sweep(&mut item, bytes)?;
    if cut == Some(true) {
        mark(&mut item, "description_cut");
    }
    Ok(item)
}

struct Posted {
    labels: Vec<(Text, Text)>,
    annotations: Vec<(Text, Value)>,
    generator_url: Value,
    starts_at_ms: Option<i64>,
    ends_at_ms: Option<i64>,
}

impl Posted {
    fn new(item: Item) -> Result<Posted, Refusal> {
        let mut posted = Posted { labels: Vec::new(), annotations: Vec::new(), generator_url: Value::Null, starts_at_ms: None, ends_at_ms: None };
        for (key, value) in item.unknown {
            match (key.as_str(), value) {
                (_, Value::Null) => {}
                ("labels", value) => posted.labels = labels(value)?,
                ("annotations", value) => posted.annotations = annotations(value)?,
                ("generatorURL", value) => posted.generator_url = generator_url(value)?,
                ("startsAt", value) => posted.starts_at_ms = time("/startsAt", value)?,
                ("endsAt", value) => posted.ends_at_ms = time("/endsAt", value)?,
                _ => {}
            }
        }
        match (posted.starts_at_ms, posted.ends_at_ms) {
            (Some(starts), Some(ends)) if ends < starts => Err(Refusal::new(Code::Time, "/endsAt", "start time must be before end time")),
            _ => Ok(posted),
        }
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn name(&self) -> Result<Text, Refusal> {
        let refuse = |code, why: String| Err(Refusal::new(code, "/labels/alertname", why));
        match self.label("alertname") {
            None => refuse(Code::Name, "the label alertname is missing or empty".to_owned()),
            Some(name) if name.trim().is_empty() => refuse(Code::Name, "the label alertname is blank".to_owned()),
            Some(name) if name.contains('\0') => refuse(Code::Name, "the label alertname has a NUL".to_owned()),
            Some(name) if name.len() > ALERT_NAME_BYTES_MAX => {
                refuse(Code::Size, format!("the label alertname has {} bytes, at most {ALERT_NAME_BYTES_MAX}", name.len()))
            }
            Some(name) => Ok(Text::new(name)),
        }
    }

    fn severity(&self) -> i64 {
        let word = ["severity", "level", "priority"].iter().find_map(|name| self.label(name)).unwrap_or_default();
        match word.to_ascii_lowercase().as_str() {
            "critical" | "crit" | "fatal" | "page" | "emergency" | "emerg" | "disaster" | "p0" | "p1" | "sev0" | "sev1" | "1" => 1,
            "warning" | "warn" | "major" | "error" | "high" | "p2" | "sev2" | "2" => 2,
            _ => 3,
        }
    }

    /// The text and whether it was cut; the whole one stays among the annotations.
    fn description(&self) -> Option<(Text, bool)> {
        let text = ["description", "message", "summary"].iter().find_map(|name| {
            let (_, value) = self.annotations.iter().find(|(key, _)| key == name)?;
            value.as_text().filter(|text| !text.is_empty())
        })?;
        let mut end = text.len().min(DESCRIPTION_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Some((Text::new(&text[..end]), end < text.len()))
    }
}

/// Labels with an empty value count as absent, as in Prometheus.
fn labels(value: Value) -> Result<Vec<(Text, Text)>, Refusal> {
    let Value::Object(fields) = value else {
        return Err(Refusal::new(Code::Tags, "/labels", "labels is an object of texts"));
    };
    let mut labels = Vec::with_capacity(fields.len());
    for (key, value) in fields {
        let Value::Text(value) = value else {
            return Err(Refusal::new(Code::Tags, "/labels", format!("the label {} is no text", quoted(&key))));
        };
        if value.is_empty() {
            continue;
        }
        check_tag_key(&key).map_err(|why| Refusal::new(Code::TagKey, "/labels", format!("{}: {why}", quoted(&key))))?;
        if value.len() > TEXT_BYTES_MAX {
            let why = format!("the label {} has {} bytes, at most {TEXT_BYTES_MAX}", quoted(&key), value.len());
            return Err(Refusal::new(Code::Size, "/labels", why));
        }
        labels.push((key, value));
    }
    if labels.len() > TAGS_MAX {
        return Err(Refusal::new(Code::Size, "/labels", format!("{} labels, at most {TAGS_MAX}", labels.len())));
    }
    Ok(labels)
}

fn annotations(value: Value) -> Result<Vec<(Text, Value)>, Refusal> {
    match value {
        Value::Object(fields) if fields.iter().all(|(_, value)| value.as_text().is_some()) => Ok(fields),
        _ => Err(Refusal::new(Code::Type, "/annotations", "annotations is an object of texts")),
    }
}

fn generator_url(value: Value) -> Result<Value, Refusal> {
    match value.as_text() {
        None => Err(Refusal::new(Code::Type, "/generatorURL", "generatorURL takes a text")),
        Some("") => Ok(Value::Null),
        Some(url) if url.len() > TEXT_BYTES_MAX => {
            Err(Refusal::new(Code::Size, "/generatorURL", format!("generatorURL has {} bytes, at most {TEXT_BYTES_MAX}", url.len())))
        }
        Some(_) => Ok(value),
    }
}

fn time(pointer: &str, value: Value) -> Result<Option<i64>, Refusal> {
    let refuse = |why| Err(Refusal::new(Code::Time, pointer, why));
    match value.as_text().map(parse_rfc3339_ms) {
        Some(Some(ZERO_TIME_MS)) => Ok(None),
        Some(Some(ms)) if ms < 0 => refuse("times before 1970 are refused"),
        Some(Some(ms)) => Ok(Some(ms)),
        _ => refuse("a time is RFC 3339 text, such as 2026-11-22T20:00:00.000+08:00"),
    }
}

/// Names and values behind their lengths, so that no two sets of labels give the same bytes.
fn digest_of(labels: &[(Text, Text)]) -> Value {
    let mut bytes = Vec::new();
    for text in labels.iter().flat_map(|(key, value)| [key, value]) {
        bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    digest(&bytes)
}
