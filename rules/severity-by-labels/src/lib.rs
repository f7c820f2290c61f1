//! Sets the severity from a word in the tags (`severity`, `level`, `priority`), with exceptions by environment, team and so on.
//!
//! Senders speak different tongues: Prometheus says `critical`, syslog `err`, a pager `P1`. Words that the rule does not know
//! leave the severity as it is. The config may add words and exceptions; the first exception that fits decides.

mod config;
mod words;

use alertmill_rule::prelude::*;
use config::{Config, Effect, Label, Place};

reads! {
    struct Event {
        now: Integer = "severity",
        severity: Text = "tags.severity",
        level: Text = "tags.level",
        priority: Text = "tags.priority",
        // What exceptions may ask for. The list is fixed because a module names its fields before it sees a config, and it is
        // short because these are what people tell environments and owners apart by.
        env: Text = "tags.env",
        environment: Text = "tags.environment",
        stage: Text = "tags.stage",
        tier: Text = "tags.tier",
        cluster: Text = "tags.cluster",
        namespace: Text = "tags.namespace",
        service: Text = "tags.service",
        team: Text = "tags.team",
    }
}
writes! {
    struct Change {
        severity: Integer = "severity",
    }
}

struct SeverityByLabels {
    config: Config,
}

impl Enrich for SeverityByLabels {
    type Row<'a> = Event<'a>;
    type Change = Change;
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");

    fn new(config: &str) -> Result<Self, String> {
        Ok(SeverityByLabels { config: Config::parse(config)? })
    }

    fn enrich(&self, event: &Event, change: &mut Change) -> Result<(), String> {
        let worded = self.config.labels.iter().find_map(|label| self.severity_of(label_of(event, *label)?));
        let before = worded.or(event.now);
        let exception = self.config.exceptions.iter().find(|exception| {
            let value = place_of(event, exception.tag);
            value.is_some_and(|value| exception.values.iter().any(|v| v.eq_ignore_ascii_case(value)))
        });
        let after = match exception {
            None => before,
            Some(exception) => Some(match exception.effect {
                Effect::Set(severity) => severity,
                // 1 is the worst: at least as bad as `severity` is the smaller of the two.
                Effect::AtLeast(severity) => before.map_or(severity, |before| before.min(severity)),
                Effect::AtMost(severity) => before.map_or(severity, |before| before.max(severity)),
            }),
        };
        if let Some(severity) = after.filter(|_| after != event.now) {
            change.severity.set(severity);
        }
        Ok(())
    }
}

impl SeverityByLabels {
    fn severity_of(&self, word: &str) -> Option<i64> {
        let word = word.trim();
        let own = self.config.words.iter().find(|(own, _)| own.eq_ignore_ascii_case(word));
        own.map(|(_, severity)| *severity).or_else(|| words::severity_of(word))
    }
}

fn label_of<'a>(event: &Event<'a>, label: Label) -> Option<&'a str> {
    match label {
        Label::Severity => event.severity,
        Label::Level => event.level,
        Label::Priority => event.priority,
    }
}

fn place_of<'a>(event: &Event<'a>, place: Place) -> Option<&'a str> {
    match place {
        Place::Env => event.env,
        Place::Environment => event.environment,
        Place::Stage => event.stage,
        Place::Tier => event.tier,
        Place::Cluster => event.cluster,
        Place::Namespace => event.namespace,
        Place::Service => event.service,
        Place::Team => event.team,
    }
}

export!(enrich: SeverityByLabels);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        cases::enrich::<SeverityByLabels>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
    }

    #[test]
    fn an_event_that_has_it_right_is_left_alone() {
        let rule = SeverityByLabels::new("").unwrap();
        let mut change = Change::default();
        let event = Event { now: Some(1), severity: Some("critical"), ..Event::default() };
        rule.enrich(&event, &mut change).unwrap();
        assert_eq!(change.severity.get(), None);
    }
}
