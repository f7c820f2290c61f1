//! The rule's config; `config.schema.json` says the same for the operator.

use serde::Deserialize;
use std::collections::BTreeMap;

/// A tag with a word for the severity.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// `severity`
    Severity,
    /// `level`
    Level,
    /// `priority`
    Priority,
}

/// A tag that exceptions may ask for.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// `env`
    Env,
    /// `environment`
    Environment,
    /// `stage`
    Stage,
    /// `tier`
    Tier,
    /// `cluster`
    Cluster,
    /// `namespace`
    Namespace,
    /// `service`
    Service,
    /// `team`
    Team,
}

/// What an exception does.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// This severity, whatever the word.
    Set(i64),
    /// This one or worse.
    AtLeast(i64),
    /// This one or milder.
    AtMost(i64),
}

/// If the tag has one of the values (case does not matter), the effect comes after the word.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    pub tag: Place,
    pub values: Vec<String>,
    pub effect: Effect,
}

/// All of it; nothing is required.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub labels: Vec<Label>,
    pub words: BTreeMap<String, i64>,
    pub exceptions: Vec<Exception>,
}

impl Default for Config {
    fn default() -> Self {
        Config { labels: vec![Label::Severity, Label::Level, Label::Priority], words: BTreeMap::new(), exceptions: Vec::new() }
    }
}

impl Config {
    /// Reads the JSON; no config is the default one.
    pub fn parse(json: &str) -> Result<Self, String> {
        if json.trim().is_empty() {
            return Ok(Config::default());
        }
        let config: Config = serde_json::from_str(json).map_err(|error| format!("config: {error}"))?;
        let effects = config.exceptions.iter().map(|exception| match exception.effect {
            Effect::Set(severity) | Effect::AtLeast(severity) | Effect::AtMost(severity) => severity,
        });
        match config.words.values().copied().chain(effects).find(|severity| !(1..=3).contains(severity)) {
            Some(wrong) => Err(format!("config: {wrong} is no severity; 1 is fatal, 2 warning, 3 remind")),
            None => Ok(config),
        }
    }
}
