//! Writes a log line for a row with the tag `flood`: of as many MiB as the tag says, cut by nobody. `lines`: a hundred thousand lines of colours and
//! line breaks.

use alertmill_rule::log;
use alertmill_rule::prelude::*;

reads! {
    struct Event {
        flood: Text = "tags.flood",
    }
}
writes! {
    struct Change {
        note: Text = "tags.note",
    }
}

struct Floods;

impl Enrich for Floods {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(Floods)
    }

    fn enrich(&self, event: &Event, change: &mut Change) -> Result<(), String> {
        if event.flood == Some("lines") {
            (0..100_000).for_each(|n| log::info(&format!("\u{1b}[31m{n}\nfaked line\r\u{202e}")));
        } else if let Some(mebibytes) = event.flood {
            let mebibytes: usize = mebibytes.parse().map_err(|_| "the tag `flood` is no number".to_string())?;
            log::error(&"x".repeat(mebibytes << 20));
        }
        change.note.set("seen");
        Ok(())
    }
}

export!(name: "floods", version: "0.1.0", enrich: Floods);
