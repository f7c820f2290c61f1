//! Panics in `init`.

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

struct TrapsInit;

impl Enrich for TrapsInit {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        panic!("init never works here")
    }

    fn enrich(&self, _event: &Event, _change: &mut Change) -> Result<(), String> {
        Ok(())
    }
}

export!(name: "traps-init", version: "0.1.0", enrich: TrapsInit);
