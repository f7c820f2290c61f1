//! The rule's config; `config.schema.json` says the same for the operator.

use crate::path::Path;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// All of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How to read the bodies of each source.
    pub sources: BTreeMap<String, Source>,
}

/// Where in a body things are.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The list of events; without it the body is one event, or a list of them.
    #[serde(default)]
    pub events: Option<Path>,
    #[serde(default)]
    pub fields: Fields,
    /// Tags by their key.
    #[serde(default)]
    pub tags: BTreeMap<String, Wanted>,
    /// Objects whose members all become tags; a tag of `tags` wins.
    #[serde(default)]
    pub all_tags: Vec<Path>,
    /// Members of `extra_info`.
    #[serde(default)]
    pub extra: BTreeMap<String, Wanted>,
    /// Other fields that a sender may set: `assignee`, `ip`, `bk_host_id`, ...
    #[serde(default)]
    pub more: BTreeMap<String, Wanted>,
}

/// The event's own fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fields {
    pub alert_name: Wanted,
    pub description: Wanted,
    pub event_id: Wanted,
    pub plugin_id: Wanted,
    pub status: Wanted,
    pub time: Wanted,
    pub anomaly_time: Wanted,
    pub severity: Wanted,
    pub category: Wanted,
    pub target_type: Wanted,
    pub target: Wanted,
    pub bk_biz_id: Wanted,
    pub metric: Wanted,
    pub dedupe_keys: Wanted,
}

/// What a field is: the value at the first path that has one, in other words if `values` has it, else the default.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Written")]
pub struct Wanted {
    pub paths: Vec<Path>,
    pub values: BTreeMap<String, Value>,
    pub default: Option<Value>,
}

/// A path, several, or all that there is to say.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Path(Path),
    Paths(Vec<Path>),
    Whole(Whole),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    #[serde(default)]
    paths: Vec<Path>,
    #[serde(default)]
    values: BTreeMap<String, Value>,
    #[serde(default)]
    default: Option<Value>,
}

impl From<Written> for Wanted {
    fn from(written: Written) -> Wanted {
        match written {
            Written::Path(path) => Wanted { paths: vec![path], ..Wanted::default() },
            Written::Paths(paths) => Wanted { paths, ..Wanted::default() },
            Written::Whole(Whole { paths, values, default }) => Wanted { paths, values, default },
        }
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Path, D::Error> {
        Path::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Config {
    /// Reads the JSON.
    pub fn parse(json: &str) -> Result<Config, String> {
        if json.trim().is_empty() {
            return Err("config: name at least one source with its paths".to_string());
        }
        let config: Config = serde_json::from_str(json).map_err(|error| format!("config: {error}"))?;
        let without_name = config.sources.iter().find(|(_, source)| source.fields.alert_name.is_empty());
        match without_name {
            Some((name, _)) => Err(format!("config: sources.{name}.fields.alert_name is missing: an event has a name")),
            None => Ok(config),
        }
    }
}

impl Wanted {
    fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.default.is_none()
    }

    /// The value, in the words that are wanted.
    pub fn find<'a>(&'a self, body: &'a Value, event: &'a Value) -> Option<&'a Value> {
        let Some(found) = self.paths.iter().find_map(|path| path.find(body, event)) else { return self.default.as_ref() };
        if self.values.is_empty() {
            return Some(found);
        }
        self.values.get(crate::text_of(found).as_ref()).or(self.default.as_ref()).or(Some(found))
    }

    /// For messages.
    pub fn paths_in_words(&self) -> String {
        let paths: Vec<&str> = self.paths.iter().map(|path| path.text.as_str()).collect();
        paths.join(", ")
    }
}
