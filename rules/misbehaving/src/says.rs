//! Sets the tag `version` of every event to "a". Its twin `says_b` has the same name and another version, for tests that swap.

use alertmill_rule::prelude::*;

reads! {
    struct Event {
        name: Text = "alert_name",
    }
}
writes! {
    struct Change {
        version: Text = "tags.version",
    }
}

struct Says;

impl Enrich for Says {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(Says)
    }

    fn enrich(&self, _event: &Event, change: &mut Change) -> Result<(), String> {
        change.version.set("a");
        Ok(())
    }
}

export!(name: "says", version: "1.0.0", enrich: Says);
