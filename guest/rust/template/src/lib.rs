//! What this rule is for, in a sentence.

use alertmill_rule::prelude::*;

// What the rule reads of an event; only this is handed over. Fields: alert_name, severity, target, tags.NAME, ...
reads! {
    struct Event {
        level: Text = "tags.level",
    }
}

// What it may change.
writes! {
    struct Change {
        severity: Integer = "severity",
    }
}

struct MyRule;

impl Enrich for MyRule {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(MyRule)
    }

    fn enrich(&self, event: &Event, change: &mut Change) -> Result<(), String> {
        if event.level == Some("critical") {
            change.severity.set(1);
        }
        Ok(())
    }
}

export!(enrich: MyRule);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn critical_is_fatal() {
        let rule = MyRule::new("").unwrap();
        let mut change = Change::default();
        let event = Event { level: Some("critical"), ..Event::default() };
        rule.enrich(&event, &mut change).unwrap();
        assert_eq!(change.severity.get(), Some(1));
    }
}
