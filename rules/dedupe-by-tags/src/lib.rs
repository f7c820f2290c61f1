//! Makes the dedupe key of chosen fields and tags, with what changes from event to event (ids, pod hashes, numbers) taken out.
//!
//! Which tags may be chosen is fixed, although the config chooses among them: a module says what it reads before it sees a
//! config. Reading the field `tags` would allow any name, but then every tag of every event crosses as two strings, which
//! costs more than the rest of the rule many times over; a column of a tag that nobody has costs next to nothing. So the
//! module reads the names that most senders use. Another name is one more line in each of the two lists below and
//! `cargo xtask rules`; a config that asks for it meanwhile is refused, with the list.

mod config;
mod normalise;

use alertmill_rule::prelude::*;
use config::Config;

reads! {
    struct Event {
        alert_name: Text = "alert_name",
        target: Text = "target",
        app: Text = "tags.app",
        cluster: Text = "tags.cluster",
        container: Text = "tags.container",
        device: Text = "tags.device",
        env: Text = "tags.env",
        host: Text = "tags.host",
        instance: Text = "tags.instance",
        ip: Text = "tags.ip",
        job: Text = "tags.job",
        mountpoint: Text = "tags.mountpoint",
        namespace: Text = "tags.namespace",
        node: Text = "tags.node",
        pod: Text = "tags.pod",
        region: Text = "tags.region",
        service: Text = "tags.service",
    }
}

/// Names in a config, and with [`value_of`] the order of everything; the first [`FIELD_COUNT`] are no tags.
const NAMES: [&str; 17] = [
    "alert_name",
    "target",
    "app",
    "cluster",
    "container",
    "device",
    "env",
    "host",
    "instance",
    "ip",
    "job",
    "mountpoint",
    "namespace",
    "node",
    "pod",
    "region",
    "service",
];
const FIELD_COUNT: usize = 2;

#[inline]
fn value_of<'a>(event: &Event<'a>, name: usize) -> Option<&'a str> {
    let e = event;
    let values = [
        e.alert_name,
        e.target,
        e.app,
        e.cluster,
        e.container,
        e.device,
        e.env,
        e.host,
        e.instance,
        e.ip,
        e.job,
        e.mountpoint,
        e.namespace,
        e.node,
        e.pod,
        e.region,
        e.service,
    ];
    values[name]
}

struct DedupeByTags {
    config: Config,
}

impl Dedupe for DedupeByTags {
    type Row<'a> = Event<'a>;
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");

    fn new(config: &str) -> Result<Self, String> {
        Ok(DedupeByTags { config: Config::parse(config)? })
    }

    /// `name=value|name=value`, in the order of the config, without those that the event lacks. If it lacks all chosen tags the
    /// event's own dedupe keys decide: its name alone would merge what has nothing to do with each other.
    fn key(&self, event: &Event, key: &mut String) -> Result<Answer, String> {
        let mut has_tag = !self.config.has_tags;
        for part in &self.config.parts {
            let Some(value) = value_of(event, part.name) else { continue };
            has_tag |= part.name >= FIELD_COUNT;
            if !key.is_empty() {
                key.push('|');
            }
            key.push_str(NAMES[part.name]);
            key.push('=');
            normalise::write(value, part.kinds, key);
        }
        Ok(if has_tag && !key.is_empty() { Answer::Key } else { Answer::Default })
    }
}

export!(dedupe: DedupeByTags);

#[cfg(test)]
mod tests {
    use super::*;
    use alertmill_rule::row::Row;
    use alertmill_rule::testing::{Fields, Value, batch};

    #[test]
    fn cases() {
        cases::dedupe::<DedupeByTags>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
    }

    #[test]
    fn names_fields_and_values_are_in_the_same_order() {
        for (place, (name, field)) in NAMES.iter().zip(Event::FIELDS).enumerate() {
            assert_eq!(field.trim_start_matches("tags."), *name);
            assert_eq!(field.starts_with("tags."), place >= FIELD_COUNT);
            let row: Fields = [(field.to_string(), Value::Text("x".to_string()))].into();
            let batch = batch(Event::FIELDS, &[row]);
            let event = Event::next(&mut Event::open(&batch.columns).unwrap(), 0);
            let set: Vec<usize> = (0..NAMES.len()).filter(|name| value_of(&event, *name).is_some()).collect();
            assert_eq!(set, [place]);
        }
    }
}
