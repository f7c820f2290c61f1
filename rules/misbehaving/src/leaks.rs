//! Keeps 64 KiB for every row with the tag `poison` and never gives them back: what a call can do depends on the calls before
//! it, and an instance that is kept warm long enough fails on a row that is none of its fault.

use alertmill_rule::prelude::*;
use std::cell::RefCell;

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

struct Leaks {
    hoard: RefCell<Vec<Vec<u8>>>,
}

impl Enrich for Leaks {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(Leaks { hoard: RefCell::default() })
    }

    fn enrich(&self, event: &Event, change: &mut Change) -> Result<(), String> {
        change.note.set("seen");
        if event.poison.is_some() {
            self.hoard.borrow_mut().push(std::hint::black_box(vec![1; 64 << 10]));
        }
        Ok(())
    }
}

export!(name: "leaks", version: "0.1.0", enrich: Leaks);
