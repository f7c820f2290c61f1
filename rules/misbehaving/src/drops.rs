//! Drops rows with the tag `drop`, its value being the reason.

use alertmill_rule::prelude::*;

reads! {
    struct Event {
        reason: Text = "tags.drop",
    }
}
writes! {
    struct Change {
        drop: Drop = "drop",
    }
}

struct Drops;

impl Enrich for Drops {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(Drops)
    }

    fn enrich(&self, event: &Event, change: &mut Change) -> Result<(), String> {
        if let Some(reason) = event.reason {
            change.drop.because(reason);
        }
        Ok(())
    }
}

export!(name: "drops", version: "0.1.0", enrich: Drops);
