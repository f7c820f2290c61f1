//! Imports a clock, which no rule may have: `../wit/clock.wit` says so to the wrapper.

use alertmill_rule::prelude::*;

reads! {
    struct Event {
        name: Text = "alert_name",
    }
}
writes! {
    struct Change {
        note: Text = "tags.note",
    }
}

struct UndeclaredImport;

impl Enrich for UndeclaredImport {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(UndeclaredImport)
    }

    fn enrich(&self, _event: &Event, change: &mut Change) -> Result<(), String> {
        change.note.format(format_args!("{}", now()));
        Ok(())
    }
}

#[cfg(target_arch = "wasm32")]
fn now() -> u64 {
    #[link(wasm_import_module = "wasi:clocks/monotonic-clock@0.2.0")]
    unsafe extern "C" {
        #[link_name = "now"]
        fn now() -> u64;
    }
    // SAFETY: takes nothing and gives a number.
    unsafe { now() }
}

#[cfg(not(target_arch = "wasm32"))]
fn now() -> u64 {
    0
}

export!(name: "undeclared-import", version: "0.1.0", enrich: UndeclaredImport);
