//! Extism: a plugin that takes an event as JSON and answers what changes as JSON (`plugin/`). Writing and
//! reading the JSON is part of a call: a plugin can be handed nothing else.

use crate::report::version;
use crate::rule_rows::hosts;
use crate::side::{Answer, Rule, Side, set_tag, tag};
use anyhow::{Context, Result};
use bench_logic::samples::Sample;
use extism::{Manifest, Plugin, Wasm};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;

/// Where `cargo xtask bench peers` leaves it.
const PLUGIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin/target/wasm32-unknown-unknown/release/peers_plugin.wasm");

/// What is written of an event.
#[derive(Clone, Copy)]
pub enum Input {
    /// All of it, so that the plugin's author need not agree with the host on what is read.
    WholeEvent,
    /// What the rule reads and nothing else.
    FieldsRead,
}

#[derive(Serialize)]
struct Whole<'a> {
    event_id: &'a str,
    plugin_id: &'a str,
    alert_name: &'a str,
    description: &'a str,
    time: u64,
    severity: i64,
    target: &'a str,
    metric: &'a [String],
    category: &'a str,
    ip: &'a str,
    bk_biz_id: i64,
    #[serde(serialize_with = "as_object")]
    tags: &'a [(String, String)],
}

#[derive(Serialize)]
struct ReadByR1<'a> {
    ip: &'a str,
    severity: i64,
    tags: Tags<'a, 1>,
}

#[derive(Serialize)]
struct ReadByR2<'a> {
    alert_name: &'a str,
    tags: Tags<'a, 2>,
}

/// The tags of these keys that are there.
struct Tags<'a, const N: usize>([(&'static str, Option<&'a str>); N]);

impl<const N: usize> Serialize for Tags<'_, N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().filter_map(|(key, value)| Some((key, (*value)?))))
    }
}

fn as_object<S: Serializer>(tags: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(tags.iter().map(|(key, value)| (key, value)))
}

/// The plugin's answer to R1.
#[derive(Deserialize)]
struct Change<'a> {
    severity: Option<i64>,
    #[serde(borrow)]
    tags: Vec<(&'a str, String)>,
}

pub struct Extism {
    rule: Rule,
    input: Input,
    plugin: Plugin,
    events: Vec<Sample>,
    keys: Vec<String>,
}

impl Extism {
    pub fn new(rule: Rule, input: Input) -> Result<Extism> {
        let module = std::fs::read(PLUGIN).with_context(|| format!("{PLUGIN}: `cargo xtask bench peers` builds it"))?;
        let mut plugin = Plugin::new(Manifest::new([Wasm::data(module)]), [], false)?;
        let hosts: BTreeMap<String, [String; 5]> = hosts().into_iter().collect();
        plugin.call::<Vec<u8>, ()>("load", serde_json::to_vec(&hosts)?)?;
        Ok(Extism { rule, input, plugin, events: Vec::new(), keys: Vec::new() })
    }
}

fn write(input: Input, rule: Rule, event: &Sample) -> serde_json::Result<Vec<u8>> {
    let of = |key| (key, tag(event, key));
    match (input, rule) {
        (Input::WholeEvent, _) => serde_json::to_vec(&Whole {
            event_id: &event.event_id,
            plugin_id: event.plugin_id,
            alert_name: &event.alert_name,
            description: &event.description,
            time: event.time,
            severity: event.severity,
            target: &event.target,
            metric: &event.metric,
            category: event.category,
            ip: &event.ip,
            bk_biz_id: event.bk_biz_id,
            tags: &event.tags,
        }),
        (Input::FieldsRead, Rule::Enrich) => serde_json::to_vec(&ReadByR1 { ip: &event.ip, severity: event.severity, tags: Tags([of("service")]) }),
        (Input::FieldsRead, Rule::Dedupe) => serde_json::to_vec(&ReadByR2 { alert_name: &event.alert_name, tags: Tags([of("host"), of("service")]) }),
    }
}

impl Side for Extism {
    fn name(&self) -> String {
        format!("Extism {} (wasmtime {})", version("extism"), crate::report::older_wasmtime())
    }

    fn idiom(&self) -> &'static str {
        match self.input {
            Input::WholeEvent => "the whole event as JSON in, a change as JSON out, one event a call; the table is in the plugin",
            Input::FieldsRead => "only what the rule reads as JSON in, a change as JSON out, one event a call; the table is in the plugin",
        }
    }

    fn load(&mut self, events: &[Sample]) {
        self.keys.clear();
        self.events = events.to_vec();
    }

    fn run(&mut self) -> Result<()> {
        for event in &mut self.events {
            let input = write(self.input, self.rule, event)?;
            match self.rule {
                Rule::Enrich => {
                    let change: Change = serde_json::from_str(self.plugin.call("enrich", input)?)?;
                    event.severity = change.severity.unwrap_or(event.severity);
                    change.tags.into_iter().for_each(|(key, value)| set_tag(event, key, value));
                }
                Rule::Dedupe => self.keys.push(self.plugin.call::<_, &str>("dedupe", input)?.to_owned()),
            }
        }
        Ok(())
    }

    fn answers(&mut self) -> Result<Vec<Answer>> {
        Ok(match self.rule {
            Rule::Enrich => self.events.iter().map(Answer::enriched).collect(),
            Rule::Dedupe => self.keys.iter().cloned().map(Answer::Key).collect(),
        })
    }
}
