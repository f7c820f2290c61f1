//! The rule's config; `config.schema.json` says the same for the operator.

use crate::normalise::Kinds;
use crate::{FIELD_COUNT, NAMES};
use serde::Deserialize;

/// What may be taken out of a value.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Ids,
    Pods,
    Numbers,
    Ips,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Raw {
    by: Vec<String>,
    normalise: Vec<Kind>,
    exact: Vec<String>,
}

impl Default for Raw {
    fn default() -> Self {
        Raw {
            by: ["alert_name", "cluster", "namespace", "service", "host"].map(String::from).to_vec(),
            // Numbers are left in by default: `web-1` and `web-2` are two hosts, and both may be down.
            normalise: vec![Kind::Ids, Kind::Pods],
            exact: Vec::new(),
        }
    }
}

/// A part of the key.
pub struct Part {
    /// Its place in [`NAMES`].
    pub name: usize,
    /// What is taken out of its value.
    pub kinds: Kinds,
}

/// All of it; nothing is required.
pub struct Config {
    pub parts: Vec<Part>,
    /// Whether any part is a tag.
    pub has_tags: bool,
}

impl Config {
    /// Reads the JSON; no config is the default one.
    pub fn parse(json: &str) -> Result<Self, String> {
        let raw: Raw = match json.trim() {
            "" => Raw::default(),
            json => serde_json::from_str(json).map_err(|error| format!("config: {error}"))?,
        };
        if raw.by.is_empty() {
            return Err("config: `by` is empty".to_string());
        }
        if let Some(stray) = raw.exact.iter().find(|name| !raw.by.contains(name)) {
            return Err(format!("config: `exact` names `{stray}`, which is not in `by`"));
        }
        let has = |kind| raw.normalise.contains(&kind);
        let kinds = Kinds { ids: has(Kind::Ids), pods: has(Kind::Pods), numbers: has(Kind::Numbers), ips: has(Kind::Ips) };
        let part = |name: &String| {
            let kinds = if raw.exact.contains(name) { Kinds::default() } else { kinds };
            Ok(Part { name: place_of(name)?, kinds })
        };
        let parts: Vec<Part> = raw.by.iter().map(part).collect::<Result<_, String>>()?;
        Ok(Config { has_tags: parts.iter().any(|part| part.name >= FIELD_COUNT), parts })
    }
}

fn place_of(name: &str) -> Result<usize, String> {
    NAMES.iter().position(|known| *known == name).ok_or_else(|| format!("config: this build does not read `{name}`; it reads {}", NAMES.join(", ")))
}
