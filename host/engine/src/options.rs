//! What the operator says about one rule: `NN-name.toml` beside the module, or the same keys over the API.

use crate::limits::Limits;
use crate::manifest::RuleInfo;
use crate::refusal::Refusal;
use alertmill_core::record::RuleEntry;
use alertmill_core::value::Text;
use serde::{Deserialize, Serialize};

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

/// What happens to a row that the rule fails on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// It goes on as if the rule were not there, with the failure written on it.
    #[default]
    PassThrough,
    /// The version before judges it.
    PreviousVersion,
    /// It becomes a dead letter.
    DeadLetter,
    /// The pipeline waits for the operator.
    Stop,
}

/// Options of one rule. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleOptions {
    /// Off means that it is checked and listed, not run.
    pub enabled: bool,
    /// What it may import.
    pub grants: Vec<Grant>,
    /// Its failure policy.
    pub on_failure: OnFailure,
    /// Its own configuration, an object; handed to `init` as JSON, as the empty text when there is none.
    pub config: serde_json::Value,
    /// Its limits.
    pub limits: Limits,
}

impl Default for RuleOptions {
    fn default() -> RuleOptions {
        RuleOptions { enabled: true, grants: Vec::new(), on_failure: OnFailure::PassThrough, config: serde_json::Value::Null, limits: Limits::default() }
    }
}

impl RuleOptions {
    /// From a parsed document: TOML tables convert to this value without loss.
    pub fn from_value(value: serde_json::Value) -> Result<RuleOptions, Refusal> {
        let options: RuleOptions = serde_json::from_value(value).map_err(|e| Refusal::Options(e.to_string()))?;
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
        let mut options = RuleOptions::from_json(&entry.options)?;
        if !entry.config.is_empty() {
            options.config = serde_json::from_str(&entry.config).map_err(|e| Refusal::Options(format!("config: {e}")))?;
        }
        options.check()?;
        Ok(options)
    }

    /// The entry of a generation's record for a module with these options: `config` apart, all else as JSON.
    pub fn to_entry(&self, info: &RuleInfo) -> RuleEntry {
        let mut rest = serde_json::to_value(self).unwrap_or_default();
        if let Some(object) = rest.as_object_mut() {
            object.remove("config");
        }
        RuleEntry {
            name: info.name.clone(),
            version: info.version.clone(),
            digest: info.digest.clone(),
            config: Text::from(self.config_text()),
            options: Text::from(rest.to_string()),
        }
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
        let later = match self.on_failure {
            OnFailure::PassThrough => return Ok(()),
            OnFailure::PreviousVersion => "previous-version",
            OnFailure::DeadLetter => "dead-letter",
            OnFailure::Stop => "stop",
        };
        Err(Refusal::Options(format!("on_failure = \"{later}\" is not offered by this version; use \"pass-through\"")))
    }
}
