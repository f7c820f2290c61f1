//! The rule's config; `config.schema.json` says the same for the operator.

use serde::Deserialize;
use std::borrow::Cow;

/// Where the host may stand in an event.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Tag `host`.
    Host,
    /// Tag `instance`, as Prometheus sets it.
    Instance,
    /// Tag `ip`, or the event's field `ip`.
    Ip,
    /// The event's `target`.
    Target,
}

/// The table's column for each tag; an empty name leaves the tag alone, for tables that have no such column.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Columns {
    pub owner: String,
    pub team: String,
    pub service: String,
    pub tier: String,
}

impl Default for Columns {
    fn default() -> Self {
        let [owner, team, service, tier] = ["owner", "team", "service", "tier"].map(String::from);
        Columns { owner, team, service, tier }
    }
}

/// All of it; nothing is required.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub places: Vec<Place>,
    pub columns: Columns,
    pub overwrite: bool,
    /// Look up `web-1` for `web-1.example.com`; addresses stay whole.
    pub strip_domain: bool,
    /// The table's keys are lower case.
    pub lowercase: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            places: vec![Place::Host, Place::Instance, Place::Ip, Place::Target],
            columns: Columns::default(),
            overwrite: false,
            strip_domain: false,
            lowercase: false,
        }
    }
}

impl Config {
    /// Reads the JSON; no config is the default one.
    pub fn parse(json: &str) -> Result<Self, String> {
        if json.trim().is_empty() {
            return Ok(Config::default());
        }
        let config: Config = serde_json::from_str(json).map_err(|error| format!("config: {error}"))?;
        if config.places.is_empty() {
            return Err("config: `places` is empty, so that no host would ever be looked up".to_string());
        }
        if config.columns().iter().all(|column| column.is_empty()) {
            return Err("config: all `columns` are empty, so that no tag would ever be set".to_string());
        }
        Ok(config)
    }

    /// The table's columns by tag: owner, team, service, tier.
    pub fn columns(&self) -> [&str; 4] {
        let columns = &self.columns;
        [&columns.owner, &columns.team, &columns.service, &columns.tier]
    }

    /// The table's key of a host.
    pub fn key_of<'a>(&self, host: &'a str) -> Cow<'a, str> {
        let is_address = host.contains(':') || host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let host = if self.strip_domain && !is_address { host.split('.').next().unwrap_or(host) } else { host };
        if self.lowercase && host.chars().any(char::is_uppercase) {
            return Cow::Owned(host.to_lowercase());
        }
        Cow::Borrowed(host)
    }
}
