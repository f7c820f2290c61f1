//! Never comes back from `init`.

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

struct SpinsInit;

impl Enrich for SpinsInit {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        let mut turns = 0_u64;
        loop {
            turns = std::hint::black_box(turns.wrapping_add(1));
            if turns == 0 {
                return Ok(SpinsInit);
            }
        }
    }

    fn enrich(&self, _event: &Event, _change: &mut Change) -> Result<(), String> {
        Ok(())
    }
}

export!(name: "spins-init", version: "0.1.0", enrich: SpinsInit);
