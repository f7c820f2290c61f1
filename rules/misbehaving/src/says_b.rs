//! Sets the tag `version` of every event to "b". Twin of `says`: the same name, another version, for tests that swap.

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
        change.version.set("b");
        Ok(())
    }
}

export!(name: "says", version: "1.1.0", enrich: Says);
