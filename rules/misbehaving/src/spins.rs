//! Never comes back from a row with the tag `poison`: for the deadline of a batch.

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

struct Spins;

impl Enrich for Spins {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(Spins)
    }

    fn enrich(&self, event: &Event, change: &mut Change) -> Result<(), String> {
        change.note.set("seen");
        let mut turns = 0_u64;
        while event.poison.is_some() {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
        Ok(())
    }
}

export!(name: "spins", version: "0.1.0", enrich: Spins);
