//! The rule's config; `config.schema.json` says the same for the operator.

use serde::Deserialize;
use std::collections::BTreeMap;

/// What an entry may ask for.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// `alert_name`
    AlertName,
    /// `source` of the event that opened the alert
    Source,
    /// `category` of that event
    Category,
    /// `target` of that event
    Target,
    /// `strategy_id`
    StrategyId,
    /// tag `env`
    Env,
    /// tag `environment`
    Environment,
    /// tag `cluster`
    Cluster,
    /// tag `namespace`
    Namespace,
    /// tag `service`
    Service,
    /// tag `team`
    Team,
    /// tag `host`
    Host,
}

/// If all of `when` hold, the alert gets the labels, and the severity.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Values of which the place has to have one. `*` at the end stands for any end; case counts.
    pub when: BTreeMap<Place, Vec<String>>,
    #[serde(default)]
    pub labels: Vec<String>,
    #[serde(default)]
    pub severity: Option<i64>,
}

/// All of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub alerts: Vec<Entry>,
}

impl Config {
    /// Reads the JSON.
    pub fn parse(json: &str) -> Result<Self, String> {
        if json.trim().is_empty() {
            return Err("config: name at least one entry of `alerts`".to_string());
        }
        let config: Config = serde_json::from_str(json).map_err(|error| format!("config: {error}"))?;
        for (i, entry) in config.alerts.iter().enumerate() {
            if entry.labels.is_empty() && entry.severity.is_none() {
                return Err(format!("config: alerts[{i}] has neither labels nor a severity"));
            }
            if let Some(wrong) = entry.severity.filter(|severity| !(1..=3).contains(severity)) {
                return Err(format!("config: {wrong} is no severity; 1 is fatal, 2 warning, 3 remind"));
            }
        }
        Ok(config)
    }
}
