//! What the operator says about one rule: `NN-name.toml` beside the module, or the same keys over the API.

use crate::limits::Limits;
use crate::manifest::RuleInfo;
use crate::refusal::Refusal;
use alertmill_core::rule_set::{RuleEntry, RuleVersion};
use alertmill_core::value::Text;
use alertmill_core::verdict::Policy;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A host interface that a module may import once the operator grants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// Write log lines.
    Log,
    /// Read the tables that its manifest names.
    Tables,
}

impl Grant {
    /// Its name in options and in the contract.
    pub const fn name(self) -> &'static str {
        match self {
            Grant::Log => "log",
            Grant::Tables => "tables",
        }
    }
}

/// Options of one rule. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleOptions {
    /// Off means that it is checked and listed, not run.
    pub enabled: bool,
    /// What it may import.
    pub grants: Vec<Grant>,
    /// What becomes of a row that it fails on.
    pub on_failure: Policy,
    /// So many strikes within `strike_window_s` put it out; a call that runs into its time limit is one. Default 3.
    pub strikes: u32,
    /// How long a strike counts, seconds. Default 60.
    pub strike_window_s: u64,
    /// Pause before it is tried again out of quarantine, seconds; it doubles with each time in a row. 0: only an operator ends it. Default 60.
    pub quarantine_retry_s: u64,
    /// Its own configuration, an object; handed to `init` as JSON, as the empty text when there is none.
    pub config: Value,
    /// Its limits.
    pub limits: Limits,
}

impl Default for RuleOptions {
    fn default() -> RuleOptions {
        RuleOptions {
            enabled: true,
            grants: Vec::new(),
            on_failure: Policy::PassThrough,
            strikes: 3,
            strike_window_s: 60,
            quarantine_retry_s: 60,
            config: Value::Null,
            limits: Limits::default(),
        }
    }
}

impl RuleOptions {
    /// From a parsed document: TOML tables convert to this value without loss.
    pub fn from_value(value: Value) -> Result<RuleOptions, Refusal> {
        let options = RuleOptions::deserialize(&value).map_err(|e| Refusal::Options(slip(&value).unwrap_or_else(|| e.to_string())))?;
        options.check()?;
        Ok(options)
    }

    /// From JSON text; empty means all defaults.
    pub fn from_json(text: &str) -> Result<RuleOptions, Refusal> {
        if text.trim().is_empty() {
            return Ok(RuleOptions::default());
        }
        RuleOptions::from_value(serde_json::from_str(text).map_err(|e| Refusal::Options(e.to_string()))?)
    }

    /// From the record of a generation.
    pub fn from_entry(entry: &RuleEntry) -> Result<RuleOptions, Refusal> {
        RuleOptions::recorded(&entry.options, &entry.config)
    }

    /// Those of a version that is kept beside the one that runs.
    pub fn from_version(version: &RuleVersion) -> Result<RuleOptions, Refusal> {
        RuleOptions::recorded(&version.options, &version.config)
    }

    fn recorded(options: &str, config: &str) -> Result<RuleOptions, Refusal> {
        let mut options = RuleOptions::from_json(options)?;
        if !config.is_empty() {
            options.config = serde_json::from_str(config).map_err(|e| Refusal::Options(format!("config: {e}")))?;
        }
        options.check()?;
        Ok(options)
    }

    /// The entry of a generation's record for a module with these options: `config` apart, all else as JSON.
    pub fn to_entry(&self, info: &RuleInfo) -> RuleEntry {
        let (config, options) = self.texts();
        RuleEntry { name: info.name.clone(), version: info.version.clone(), digest: info.digest.clone(), config, options, ..RuleEntry::default() }
    }

    /// What an entry has of it: `config`, and all else as JSON.
    pub fn texts(&self) -> (Text, Text) {
        let mut rest = serde_json::to_value(self).unwrap_or_default();
        if let Some(object) = rest.as_object_mut() {
            object.remove("config");
        }
        (Text::from(self.config_text()), Text::from(rest.to_string()))
    }

    /// What `init` gets.
    pub fn config_text(&self) -> String {
        if self.config.is_null() { String::new() } else { self.config.to_string() }
    }

    /// Whether an import is granted.
    pub fn grants(&self, grant: Grant) -> bool {
        self.grants.contains(&grant)
    }

    fn check(&self) -> Result<(), Refusal> {
        self.limits.check().map_err(Refusal::Options)?;
        if !self.config.is_object() && !self.config.is_null() {
            return Err(Refusal::Options("config has to be a table (a JSON object)".to_owned()));
        }
        let ranges = [
            ("strikes", u64::from(self.strikes), 1, 100),
            ("strike_window_s", self.strike_window_s, 1, 3_600),
            ("quarantine_retry_s", self.quarantine_retry_s, 0, 86_400),
        ];
        match ranges.into_iter().find(|(_, value, min, max)| !(min..=max).contains(&value)) {
            None => Ok(()),
            Some((key, value, min, max)) => Err(Refusal::Options(format!("{key} = {value} is out of range; it may be {min} to {max}"))),
        }
    }
}

/// What is wrong with a document that does not fit, with the key that it is wrong at: each key is tried alone.
fn slip(value: &Value) -> Option<String> {
    let alone = |key: &str, value: &Value| RuleOptions::deserialize(&Value::from_iter([(key, value.clone())])).err();
    value.as_object()?.iter().find_map(|(key, value)| {
        let error = alone(key, value)?;
        let inner = value
            .as_object()
            .filter(|_| key == "limits")
            .and_then(|limits| limits.iter().find_map(|(name, limit)| Some((name, alone(key, &Value::from_iter([(name.as_str(), limit.clone())]))?))));
        Some(match inner {
            Some((name, error)) => told(&format!("{key}.{name}"), name, &error.to_string()),
            None => told(key, key, &error.to_string()),
        })
    })
}

/// An error of serde's with the key before it. An unknown key gets the known one that is most like it.
fn told(path: &str, name: &str, error: &str) -> String {
    let Some((_, known)) = error.strip_prefix("unknown field ").and_then(|rest| rest.split_once(", expected ")) else {
        return format!("{path}: {error}");
    };
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("{path}: unknown key; did you mean `{near}`?"),
        None => format!("{path}: unknown key; known here: {}", known.join(", ")),
    }
}

/// The known key that a mistyped one is most like.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.map(|key| (distance(name, key), key)).min().filter(|(steps, _)| *steps <= 2).map(|(_, key)| key)
}

/// How many letters have to be put in, taken out or changed to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let changed = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = changed.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_named_with_its_key() {
        let told = |text: &str| RuleOptions::from_json(text).expect_err(text).to_string();
        for (text, word) in [
            (r#"{"enabled":true,"grant":["tables"]}"#, "grant: unknown key; did you mean `grants`?"),
            (r#"{"owner":1}"#, "owner: unknown key; known here: enabled, grants, on_failure, strikes, strike_window_s, quarantine_retry_s, config, limits"),
            (r#"{"grants":"tables"}"#, "grants: invalid type: string \"tables\""),
            (r#"{"enabled":"no"}"#, "enabled: invalid type"),
            (r#"{"limits":{"time_m":5}}"#, "limits.time_m: unknown key; did you mean `time_ms`?"),
            (r#"{"limits":{"time_ms":"5s"}}"#, "limits.time_ms: invalid type"),
        ] {
            assert!(told(text).contains(word), "{text}: {}", told(text));
        }
    }
}
