//! Answers keys that are none, in the way that the tag `lie` names.
//!
//! `empty`: a key without text. `long`: one of 1 MiB. `huge`: one of 10 MiB. `nul`: one with a NUL in it, which is a key like any other.
//! `fewer` and `more`: an answer too few or too many. An honest row gets the key `honest`.

// Elsewhere than in a module nothing calls what it exports.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

use alertmill_rule::glue::dedupe_rule::DedupeKey;
use alertmill_rule::glue::{Batch, DedupeHook, dedupe_rule, lifecycle, manifest};
use alertmill_rule::prelude::*;
use alertmill_rule::row::Row;

reads! {
    struct Event {
        lie: Text = "tags.lie",
    }
}

struct Honest;

impl Dedupe for Honest {
    type Row<'a> = Event<'a>;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(Honest)
    }

    fn key(&self, event: &Event, key: &mut String) -> Result<Answer, String> {
        match event.lie {
            Some("empty") => {}
            Some("long") => key.push_str(&"k".repeat(1 << 20)),
            Some("huge") => key.push_str(&"k".repeat(10 << 20)),
            Some("nul") => key.push_str("a\0b"),
            _ => key.push_str("honest"),
        }
        Ok(Answer::Key)
    }
}

/// By hand, because the SDK answers once for each row.
struct Module;

impl lifecycle::Guest for Module {
    fn describe() -> lifecycle::Manifest {
        manifest("lies-dedupe", "0.1.0", "", vec![DedupeHook::<Honest>::describe(lifecycle::Hook::Dedupe)])
    }
    fn init(_config: String) -> Result<(), String> {
        Ok(())
    }
}

impl dedupe_rule::Guest for Module {
    fn dedupe(events: Batch) -> Vec<DedupeKey> {
        let (fewer, more) = (lies(&events, "fewer"), lies(&events, "more"));
        let honest = DedupeHook::<Honest>::new("").expect("it takes any config");
        let mut answers = honest.run(events);
        if fewer {
            answers.pop();
        }
        if more {
            answers.push(DedupeKey::Unique);
        }
        answers
    }
}

fn lies(events: &Batch, wanted: &str) -> bool {
    let mut columns = Event::open(&events.columns).expect("one text column");
    (0..events.rows).any(|row| Event::next(&mut columns, row).lie == Some(wanted))
}

alertmill_rule::export!(@section LIFECYCLE lifecycle __export_alertmill_rules_lifecycle_0_1_0_cabi);
alertmill_rule::export!(@section DEDUPE_RULE dedupe_rule __export_alertmill_rules_dedupe_rule_0_1_0_cabi);
