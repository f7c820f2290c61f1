//! Counts its rows, which no rule may: the answer for a row then depends on the rows before it.

use alertmill_rule::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

reads! {
    struct Event {
        host: Text = "tags.host",
    }
}
writes! {
    struct Change {
        note: Text = "tags.note",
    }
}

struct Remembers;

static ROWS: AtomicU64 = AtomicU64::new(0);

impl Enrich for Remembers {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(Remembers)
    }

    fn enrich(&self, event: &Event, change: &mut Change) -> Result<(), String> {
        let rows = ROWS.fetch_add(1, Ordering::Relaxed);
        change.note.format(format_args!("{} is row {rows}", event.host.unwrap_or("?")));
        Ok(())
    }
}

export!(name: "remembers", version: "0.1.0", enrich: Remembers);
