//! Never comes back from a row with the tag `poison`, and spends the time inside single instructions that move 60 MiB: `fill` writes
//! them, `copy` moves one half over the other.

use alertmill_rule::prelude::*;
use std::hint::black_box;

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

const BYTES: usize = 60 << 20;

struct Fills;

impl Enrich for Fills {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(Fills)
    }

    fn enrich(&self, event: &Event, change: &mut Change) -> Result<(), String> {
        change.note.set("seen");
        let Some(how) = event.poison else { return Ok(()) };
        let mut block = vec![0_u8; BYTES];
        let mut turns = 0_u8;
        loop {
            turns = turns.wrapping_add(1);
            match how {
                "copy" => block.copy_within(..BYTES / 2, BYTES / 2),
                _ => block.fill(turns),
            }
            black_box(&mut block);
        }
    }
}

export!(name: "fills", version: "0.1.0", enrich: Fills);
