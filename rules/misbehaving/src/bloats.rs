//! Makes an event large in the way that the tag `bloats` names.
//!
//! `value`: a tag of 1 MiB. `tags`: 10,000 tags. `name`: an alert name of 1 MiB. `all`: 250 tags of 8,000 bytes each, of which every one is
//! allowed.

use alertmill_rule::prelude::*;

reads! {
    struct Event {
        bloats: Text = "tags.bloats",
    }
}
writes! {
    struct Change {
        note: Text = "tags.note",
        name: Text = "alert_name",
        tags: Tags = "tags.*",
    }
}

struct Bloats;

impl Enrich for Bloats {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(Bloats)
    }

    fn enrich(&self, event: &Event, change: &mut Change) -> Result<(), String> {
        change.note.set("seen");
        match event.bloats {
            Some("value") => change.tags.set("large", "x".repeat(1 << 20)),
            Some("tags") => (0..10_000).for_each(|n| change.tags.set(format!("tag-{n}"), "x")),
            Some("name") => change.name.set("x".repeat(1 << 20)),
            Some("all") => (0..250).for_each(|n| change.tags.set(format!("tag-{n}"), "x".repeat(8_000))),
            _ => {}
        }
        Ok(())
    }
}

export!(name: "bloats", version: "0.1.0", enrich: Bloats);
