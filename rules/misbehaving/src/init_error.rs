//! Refuses every config, as a rule does whose config is wrong.

use alertmill_rule::prelude::*;

reads! {
    struct Event {
        poison: Text = "tags.poison",
    }
}
writes! {
    struct Change {
        note: Text = "tags.note",
    }
}

struct InitError;

impl Enrich for InitError {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(config: &str) -> Result<Self, String> {
        Err(format!("config: nothing fits, least of all {config:?}"))
    }

    fn enrich(&self, _event: &Event, _change: &mut Change) -> Result<(), String> {
        Ok(())
    }
}

export!(name: "init-error", version: "0.1.0", enrich: InitError);
