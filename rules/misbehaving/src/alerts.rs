//! Changes new alerts: what the tag `grade` says becomes the severity, which may be none. Panics on one with the tag `poison`, cannot judge
//! one with the tag `error`, and keeps to itself what the tag `extra` names.

use alertmill_rule::prelude::*;

reads! {
    struct Alert {
        name: Text = "alert_name",
        count: Integer = "event_count",
        cause: Text = "event.description",
        grade: Text = "tags.grade",
        poison: Text = "tags.poison",
        error: Text = "tags.error",
    }
}
writes! {
    struct Change {
        severity: Integer = "severity",
        labels: Text = "labels",
        runbook: Text = "extra_info.runbook",
        note: Text = "tags.note",
        tags: Tags = "tags.*",
    }
}

struct Alerts;

impl Enrich for Alerts {
    type Row<'a> = Alert<'a>;
    type Change = Change;
    const WHEN: &'static [When] = &[When::Missing("tags.skip")];

    fn new(_config: &str) -> Result<Self, String> {
        Ok(Alerts)
    }

    fn enrich(&self, alert: &Alert, change: &mut Change) -> Result<(), String> {
        assert!(alert.poison.is_none(), "poison alert");
        change.note.set("seen");
        if let Some(grade) = alert.grade.and_then(|grade| grade.parse().ok()) {
            change.severity.set(grade);
        }
        change.labels.set(r#"["by-rule"]"#);
        change.runbook.format(format_args!("{} after {}: {}", alert.name.unwrap_or("?"), alert.count.unwrap_or(0), alert.cause.unwrap_or("")));
        change.tags.set("free", "yes");
        alert.error.map_or(Ok(()), |why| Err(why.to_string()))
    }
}

export!(name: "alerts", version: "0.1.0", alert: Alerts);
