//! Makes events of any JSON body: the config names for each source where in it an event's fields are.
//!
//! What cannot be read is said and never guessed: a body in which an event has no name, or a time that is none, becomes a dead letter
//! as a whole, with the place in words, and is posted again when the config is right.

mod config;
mod path;
mod time;

use alertmill_rule::prelude::*;
use config::{Config, Source, Wanted};
use serde_json::{Map, Value};

struct WebhookByPaths {
    config: Config,
}

impl Normalize for WebhookByPaths {
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");

    fn new(config: &str) -> Result<Self, String> {
        Ok(WebhookByPaths { config: Config::parse(config)? })
    }

    fn normalize(&self, payload: &Payload, events: &mut Vec<NewEvent>) -> Result<(), String> {
        let source = self.config.sources.get(&payload.source).ok_or_else(|| format!("config.sources has no `{}`", payload.source))?;
        let body: Value = serde_json::from_slice(&payload.body).map_err(|error| format!("the body is no JSON: {error}"))?;
        let list = match &source.events {
            None => &body,
            Some(path) => path.find(&body, &body).ok_or_else(|| format!("the body has no `{}`", path.text))?,
        };
        let list = match list {
            Value::Array(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        };
        for (i, event) in list.iter().enumerate() {
            let of_event = |why: String| if list.len() == 1 { why } else { format!("event {i}: {why}") };
            events.push(Reader { source, body: &body, event }.read().map_err(of_event)?);
        }
        Ok(())
    }
}

/// One event in its body.
struct Reader<'a> {
    source: &'a Source,
    body: &'a Value,
    event: &'a Value,
}

impl Reader<'_> {
    fn read(&self) -> Result<NewEvent, String> {
        let fields = &self.source.fields;
        let name = self.text(&fields.alert_name).ok_or_else(|| format!("alert_name: there is nothing at {}", fields.alert_name.paths_in_words()))?;
        let event = NewEvent {
            description: self.text(&fields.description).unwrap_or_default(),
            event_id: self.text(&fields.event_id),
            plugin_id: self.text(&fields.plugin_id),
            status: self.text(&fields.status),
            time: self.time("time", &fields.time)?,
            anomaly_time: self.time("anomaly_time", &fields.anomaly_time)?,
            severity: self.number("severity", &fields.severity)?,
            category: self.text(&fields.category),
            target_type: self.text(&fields.target_type),
            target: self.text(&fields.target),
            bk_biz_id: self.number("bk_biz_id", &fields.bk_biz_id)?,
            metric: self.texts(&fields.metric),
            tags: self.tags(),
            dedupe_keys: self.texts(&fields.dedupe_keys),
            extra: self.extra(),
            ..NewEvent::named(name)
        };
        Ok(self.named(&self.source.more).fold(event, |event, (name, value)| event.field(name, value)))
    }

    fn find<'a>(&'a self, wanted: &'a Wanted) -> Option<&'a Value> {
        wanted.find(self.body, self.event)
    }

    /// Empty text is none.
    fn text(&self, wanted: &Wanted) -> Option<String> {
        self.find(wanted).map(|value| text_of(value).into_owned()).filter(|text| !text.is_empty())
    }

    /// Those of a list, or the one.
    fn texts(&self, wanted: &Wanted) -> Vec<String> {
        match self.find(wanted) {
            Some(Value::Array(all)) => all.iter().map(|value| text_of(value).into_owned()).collect(),
            Some(one) => vec![text_of(one).into_owned()],
            None => Vec::new(),
        }
    }

    fn time(&self, name: &str, wanted: &Wanted) -> Result<Option<u64>, String> {
        let value = self.find(wanted).filter(|value| value.as_str() != Some(""));
        value.map_or(Ok(None), time::seconds).map_err(|why| format!("{name}: {why}"))
    }

    /// A whole number, also in a text.
    fn number<N: TryFrom<i64>>(&self, name: &str, wanted: &Wanted) -> Result<Option<N>, String> {
        let Some(value) = self.find(wanted).filter(|value| value.as_str() != Some("")) else { return Ok(None) };
        let number = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
        let number = number.and_then(|number| N::try_from(number).ok());
        number.map(Some).ok_or_else(|| format!("{name}: {value} is none; `values` in the config says what a word stands for"))
    }

    fn named<'a>(&'a self, all: &'a std::collections::BTreeMap<String, Wanted>) -> impl Iterator<Item = (&'a str, String)> {
        all.iter().filter_map(|(name, wanted)| Some((name.as_str(), self.text(wanted)?)))
    }

    /// By key, each once.
    fn tags(&self) -> Vec<(String, String)> {
        let mut tags: Vec<(String, String)> = self.named(&self.source.tags).map(|(key, value)| (key.to_string(), value)).collect();
        let objects = self.source.all_tags.iter().filter_map(|path| path.find(self.body, self.event)?.as_object());
        for (key, value) in objects.flatten().filter(|(_, value)| !value.is_null()) {
            if !key.is_empty() && !tags.iter().any(|(known, _)| known == key) {
                tags.push((key.clone(), text_of(value).into_owned()));
            }
        }
        tags.sort();
        tags
    }

    fn extra(&self) -> Option<String> {
        let extra = self.source.extra.iter().filter_map(|(name, wanted)| Some((name.clone(), self.find(wanted)?.clone())));
        let extra: Map<String, Value> = extra.collect();
        (!extra.is_empty()).then(|| Value::Object(extra).to_string())
    }
}

/// A value as text: texts as they are, everything else as JSON.
fn text_of(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

export!(normalize: WebhookByPaths);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        cases::normalize::<WebhookByPaths>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
    }
}
