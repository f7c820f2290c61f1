//! Gives new alerts labels by what they are about, and a severity of the operator's: as a runbook for one service, or a milder severity
//! for whatever comes from a test environment.
//!
//! Every entry that fits adds its labels, beside those that the alert has; of the severities the first one counts, and holds to the
//! alert's end.

mod config;

use alertmill_rule::prelude::*;
use config::{Config, Place};

reads! {
    struct Alert {
        labels: Text = "labels",
        severity: Integer = "severity",
        alert_name: Text = "alert_name",
        source: Text = "event.source",
        category: Text = "event.category",
        target: Text = "event.target",
        strategy_id: Text = "strategy_id",
        // Fixed because a module names its fields before it sees a config.
        env: Text = "tags.env",
        environment: Text = "tags.environment",
        cluster: Text = "tags.cluster",
        namespace: Text = "tags.namespace",
        service: Text = "tags.service",
        team: Text = "tags.team",
        host: Text = "tags.host",
    }
}
writes! {
    struct Change {
        labels: Text = "labels",
        severity: Integer = "severity",
    }
}

struct LabelAlerts {
    config: Config,
}

impl Enrich for LabelAlerts {
    type Row<'a> = Alert<'a>;
    type Change = Change;
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");

    fn new(config: &str) -> Result<Self, String> {
        Ok(LabelAlerts { config: Config::parse(config)? })
    }

    fn enrich(&self, alert: &Alert, change: &mut Change) -> Result<(), String> {
        let holds = |(place, values): (&Place, &Vec<String>)| value_at(alert, *place).is_some_and(|value| values.iter().any(|wanted| fits(wanted, value)));
        let entries: Vec<_> = self.config.alerts.iter().filter(|entry| entry.when.iter().all(holds)).collect();
        let before: Vec<String> = match alert.labels {
            None | Some("") => Vec::new(),
            Some(labels) => serde_json::from_str(labels).map_err(|error| format!("the alert's labels are no list of texts: {error}"))?,
        };
        let mut labels = before.clone();
        for label in entries.iter().flat_map(|entry| &entry.labels) {
            if !labels.contains(label) {
                labels.push(label.clone());
            }
        }
        if labels != before {
            change.labels.set(serde_json::Value::from(labels).to_string());
        }
        // Also where it is what the alert has: it then stays, whatever its next events say.
        if let Some(severity) = entries.iter().find_map(|entry| entry.severity) {
            change.severity.set(severity);
        }
        Ok(())
    }
}

fn fits(wanted: &str, value: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => value.starts_with(start),
        None => value == wanted,
    }
}

fn value_at<'a>(alert: &Alert<'a>, place: Place) -> Option<&'a str> {
    match place {
        Place::AlertName => alert.alert_name,
        Place::Source => alert.source,
        Place::Category => alert.category,
        Place::Target => alert.target,
        Place::StrategyId => alert.strategy_id,
        Place::Env => alert.env,
        Place::Environment => alert.environment,
        Place::Cluster => alert.cluster,
        Place::Namespace => alert.namespace,
        Place::Service => alert.service,
        Place::Team => alert.team,
        Place::Host => alert.host,
    }
}

export!(alert: LabelAlerts);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        cases::enrich::<LabelAlerts>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
    }

    #[test]
    fn labels_that_are_there_stay_and_none_comes_twice() {
        let rule = LabelAlerts::new(r#"{ "alerts": [{ "when": {}, "labels": ["a", "b"] }] }"#).unwrap();
        for (before, after) in [(r#"["x","a"]"#, Some(r#"["x","a","b"]"#)), (r#"["b","a"]"#, None), ("", Some(r#"["a","b"]"#))] {
            let mut change = Change::default();
            rule.enrich(&Alert { labels: Some(before), ..Alert::default() }, &mut change).unwrap();
            assert_eq!(change.labels.get().map(|text| text.to_string()).as_deref(), after, "{before}");
        }
        assert!(rule.enrich(&Alert { labels: Some("[1]"), ..Alert::default() }, &mut Change::default()).is_err());
    }
}
