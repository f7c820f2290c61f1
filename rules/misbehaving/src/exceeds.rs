//! Goes beyond one limit of the host, the one that the tag `exceeds` names.
//!
//! `stack`: calls itself without end. `handles`: opens the table `hosts` and keeps it open. `columns` and `rows`: asks `hosts` for
//! the key `big` 10,000 times at once, in each of the two forms. `key`: looks up a key of 2,000 bytes, `long-key` one of 10 MiB, and
//! `lookups` a million keys one by one. `twice`: wants the same
//! column twice, and writes the host's answer as the tag `note`. `output`: answers 1 MiB. `lift`: answers text that is no
//! UTF-8. `lower`: has damaged its allocator when the host wants to hand something over. `time`: never comes back. Other rows get
//! the tag `note`.

// Elsewhere than in a module nothing calls what it exports.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

use alertmill_rule::bindings::alertmill::rules::tables::Table;
use alertmill_rule::glue::{Batch, Column, EnrichHook, Output, enrich_rule, lifecycle, manifest};
use alertmill_rule::prelude::*;
use alertmill_rule::row::Row;
use std::alloc::Layout;
use std::hint::black_box;

reads! {
    struct Event {
        exceeds: Text = "tags.exceeds",
    }
}
writes! {
    struct Change {
        note: Text = "tags.note",
    }
}

struct Exceeds;

impl Enrich for Exceeds {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(Exceeds)
    }

    fn enrich(&self, event: &Event, change: &mut Change) -> Result<(), String> {
        change.note.set("seen");
        match event.exceeds {
            Some("stack") => drop(black_box(down(1))),
            Some("handles") => (0..100_000).for_each(|_| std::mem::forget(hosts())),
            Some("columns") => drop(black_box(hosts().get_columns(&["big"; 10_000]))),
            Some("rows") => drop(black_box(hosts().get_many(&["big"; 10_000]))),
            Some("key") => drop(black_box(hosts().get(&"k".repeat(2_000)))),
            Some("time") => forever(),
            Some("long-key") => drop(black_box(hosts().get(&"k".repeat(10 << 20)))),
            Some("lookups") => {
                let hosts = hosts();
                (0..1_000_000).for_each(|_| drop(black_box(hosts.get("big"))));
            }
            Some("twice") => change.note.set(Table::open("hosts", &["owner", "owner"]).err().as_deref().unwrap_or("taken")),
            Some("output") => change.note.set(&"x".repeat(1 << 20)),
            Some("lower") => {
                let hosts = hosts();
                damage_the_allocator();
                drop(black_box(hosts.get("big")));
            }
            _ => {}
        }
        Ok(())
    }
}

fn hosts() -> Table {
    Table::open("hosts", &["owner"]).expect("the table of the test")
}

fn forever() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

#[allow(unconditional_recursion)]
fn down(depth: u64) -> u64 {
    black_box(down(black_box(depth + 1))) + 1
}

/// Gives back blocks that begin one byte late, so that the next ones taken do too.
fn damage_the_allocator() {
    for class in 4..16 {
        let layout = Layout::from_size_align(1 << class, 1).expect("a power of two");
        // SAFETY: none, on purpose; what follows is what the test is about. The block is large enough for what is written.
        unsafe {
            let block = black_box(std::alloc::alloc(Layout::from_size_align_unchecked(2 << class, 16)));
            std::alloc::dealloc(black_box(block.add(1)), layout);
        }
    }
}

/// By hand, because the SDK lets no rule answer text that is none.
struct Module;

impl lifecycle::Guest for Module {
    fn describe() -> lifecycle::Manifest {
        let mut manifest = manifest("exceeds", "0.1.0", "", vec![EnrichHook::<Exceeds>::describe(lifecycle::Hook::EnrichEvent)]);
        manifest.tables = vec!["hosts".to_string()];
        manifest
    }
    fn init(_config: String) -> Result<(), String> {
        Ok(())
    }
}

impl enrich_rule::Guest for Module {
    fn enrich(events: Batch) -> Output {
        let lifts = rows_that_lift(&events);
        let hook = EnrichHook::<Exceeds>::new("").expect("it takes any config");
        let mut output = hook.run(events);
        for row in lifts {
            // SAFETY: none, on purpose.
            let text = unsafe { String::from_utf8_unchecked(vec![0xff]) };
            output.patches.drops.push((row, text));
        }
        output
    }
}

fn rows_that_lift(events: &Batch) -> Vec<u32> {
    let columns: &[Column] = &events.columns;
    let mut columns = Event::open(columns).expect("one text column");
    (0..events.rows).filter(|row| Event::next(&mut columns, *row).exceeds == Some("lift")).collect()
}

alertmill_rule::export!(@section LIFECYCLE lifecycle __export_alertmill_rules_lifecycle_0_1_0_cabi);
alertmill_rule::export!(@section ENRICH_RULE enrich_rule __export_alertmill_rules_enrich_rule_0_1_0_cabi);
