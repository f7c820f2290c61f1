//! Panics on a row with the tag `poison`; other rows get a tag. For bisecting a batch until the poison row is alone.

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

struct Traps;

impl Enrich for Traps {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(Traps)
    }

    fn enrich(&self, event: &Event, change: &mut Change) -> Result<(), String> {
        assert!(event.poison.is_none(), "poison row");
        change.note.set("seen");
        Ok(())
    }
}

export!(name: "traps", version: "0.1.0", enrich: Traps);
