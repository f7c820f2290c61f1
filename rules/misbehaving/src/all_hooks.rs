//! A well-behaved module with all four hooks; a row or payload with `poison` makes it panic in any of them.

use alertmill_rule::prelude::*;

reads! {
    struct Event {
        poison: Text = "tags.poison",
        host: Text = "tags.host",
    }
}
writes! {
    struct Change {
        note: Text = "tags.note",
    }
}

struct AllHooks;

impl Enrich for AllHooks {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(AllHooks)
    }

    fn enrich(&self, event: &Event, change: &mut Change) -> Result<(), String> {
        assert!(event.poison.is_none(), "poison row");
        change.note.format(format_args!("host {}", event.host.unwrap_or("?")));
        Ok(())
    }
}

impl Dedupe for AllHooks {
    type Row<'a> = Event<'a>;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(AllHooks)
    }

    fn key(&self, event: &Event, key: &mut String) -> Result<Answer, String> {
        assert!(event.poison.is_none(), "poison row");
        match event.host {
            None => Ok(Answer::Default),
            Some("alone") => Ok(Answer::Unique),
            Some("unsure") => Err("which host?".to_string()),
            Some(host) => {
                key.push_str(host);
                Ok(Answer::Key)
            }
        }
    }
}

impl Normalize for AllHooks {
    fn new(_config: &str) -> Result<Self, String> {
        Ok(AllHooks)
    }

    fn normalize(&self, payload: &Payload, events: &mut Vec<NewEvent>) -> Result<(), String> {
        let text = payload.text()?;
        assert!(text != "poison", "poison payload");
        events.extend(text.lines().map(|line| NewEvent::named(line).tag("host", line)));
        if text == "unsure" { Err("which host?".to_string()) } else { Ok(()) }
    }
}

export!(name: "all-hooks", version: "0.1.0", normalize: AllHooks, enrich: AllHooks, dedupe: AllHooks, alert: AllHooks);
