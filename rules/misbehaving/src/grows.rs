//! Takes memory until the host gives no more, on a row with the tag `poison`: for the limit of a module.

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

struct Grows;

impl Enrich for Grows {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(Grows)
    }

    fn enrich(&self, event: &Event, change: &mut Change) -> Result<(), String> {
        change.note.set("seen");
        let mut hoard: Vec<Vec<u8>> = Vec::new();
        while event.poison.is_some() {
            hoard.push(std::hint::black_box(vec![1; 1 << 20]));
        }
        Ok(())
    }
}

export!(name: "grows", version: "0.1.0", enrich: Grows);
