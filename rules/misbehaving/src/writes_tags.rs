//! Writes a tag by the name that the tag `key` holds: whatever its author's mind, or an event's, comes up with.

use alertmill_rule::prelude::*;

reads! {
    struct Event {
        key: Text = "tags.key",
    }
}
writes! {
    struct Change {
        tags: Tags = "tags.*",
    }
}

struct WritesTags;

impl Enrich for WritesTags {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(WritesTags)
    }

    fn enrich(&self, event: &Event, change: &mut Change) -> Result<(), String> {
        if let Some(key) = event.key {
            change.tags.set(key, "by rule");
        }
        Ok(())
    }
}

export!(name: "writes-tags", version: "0.1.0", enrich: WritesTags);
