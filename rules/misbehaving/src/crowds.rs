//! Never comes back from a batch of more than 128 rows that begins with the tag `crowd`; fewer are no matter. For a batch that is
//! made smaller after its deadline.

// Elsewhere than in a module nothing calls what it exports.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

use alertmill_rule::glue::{Batch, EnrichHook, Output, enrich_rule, lifecycle, manifest};
use alertmill_rule::prelude::*;
use alertmill_rule::row::Row;

reads! {
    struct Event {
        crowd: Text = "tags.crowd",
    }
}
writes! {
    struct Change {
        note: Text = "tags.note",
    }
}

struct Crowds;

impl Enrich for Crowds {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(Crowds)
    }

    fn enrich(&self, _event: &Event, change: &mut Change) -> Result<(), String> {
        change.note.set("seen");
        Ok(())
    }
}

/// By hand, because the SDK shows a rule one row at a time.
struct Module;

impl lifecycle::Guest for Module {
    fn describe() -> lifecycle::Manifest {
        manifest("crowds", "0.1.0", "", vec![EnrichHook::<Crowds>::describe(lifecycle::Hook::EnrichEvent)])
    }
    fn init(_config: String) -> Result<(), String> {
        Ok(())
    }
}

impl enrich_rule::Guest for Module {
    fn enrich(events: Batch) -> Output {
        let mut columns = Event::open(&events.columns).expect("one text column");
        let is_crowd = events.rows > 128 && Event::next(&mut columns, 0).crowd.is_some();
        let mut turns = 0_u64;
        while std::hint::black_box(is_crowd) {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
        EnrichHook::<Crowds>::new("").expect("it takes any config").run(events)
    }
}

alertmill_rule::export!(@section LIFECYCLE lifecycle __export_alertmill_rules_lifecycle_0_1_0_cabi);
alertmill_rule::export!(@section ENRICH_RULE enrich_rule __export_alertmill_rules_enrich_rule_0_1_0_cabi);
