//! Cannot judge rows with the tag `error`, its value being the message; other rows get a tag.

use alertmill_rule::prelude::*;

reads! {
    struct Event {
        message: Text = "tags.error",
    }
}
writes! {
    struct Change {
        note: Text = "tags.note",
    }
}

struct Errors;

impl Enrich for Errors {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(Errors)
    }

    fn enrich(&self, event: &Event, change: &mut Change) -> Result<(), String> {
        // Set before the refusal on purpose: nothing of a refused row may be left.
        change.note.set("seen");
        match event.message {
            Some(message) => Err(message.to_string()),
            None => Ok(()),
        }
    }
}

export!(name: "errors", version: "0.1.0", enrich: Errors);
