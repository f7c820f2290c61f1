//! Answers what depends on where in memory things lie, and on the order of a map with a seed of its own: the same row, another answer,
//! as soon as the batch around it is another.

use alertmill_rule::prelude::*;
use std::collections::HashMap;

reads! {
    struct Event {
        host: Text = "tags.host",
    }
}
writes! {
    struct Change {
        note: Text = "tags.note",
        nan: Text = "tags.nan",
    }
}

struct Addresses;

impl Enrich for Addresses {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(Addresses)
    }

    fn enrich(&self, event: &Event, change: &mut Change) -> Result<(), String> {
        let host = event.host.unwrap_or("?");
        let first = HashMap::from([(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")]).into_values().next().unwrap_or("");
        change.note.format(format_args!("{:x} {first}", host.as_ptr() as usize));
        // Its bits are the processor's to choose, if the host lets it.
        let nan = std::hint::black_box(0.0_f64) / std::hint::black_box(0.0_f64);
        change.nan.format(format_args!("{:x}", nan.to_bits()));
        Ok(())
    }
}

export!(name: "addresses", version: "0.1.0", enrich: Addresses);
